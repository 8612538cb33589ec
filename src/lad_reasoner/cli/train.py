"""The verbs of `lad-reasoner train`. See cli.py, which they belong to; heavy imports stay inside here too."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lad_reasoner.errors import StoppedError

train = typer.Typer(help="Train models.", no_args_is_help=True)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file with our keys and TRL's settings.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the newest whole checkpoint in the run's folder, if there is one.")
]
# What follows CONFIG as --key value belongs to the config, whose reader knows the keys.
ANY_KEY = {"allow_extra_args": True, "ignore_unknown_options": True}


@train.command(
    context_settings=ANY_KEY,
    options_metavar="[--resume] [--key value]...",
    epilog="Example: lad-reasoner train sft configs/micro/sft.yaml --max_steps 10 --output_dir runs/sft-trial",
)
def sft(context: typer.Context, config: Config, resume: Resume = False) -> None:
    """Stage one: fine-tune on questions and answers that `data sft` built. Any key of CONFIG may follow it."""
    from lad_reasoner.train import sft as train_sft

    _run(train_sft.train, context, config, resume)


@train.command(
    context_settings=ANY_KEY,
    options_metavar="[--resume] [--key value]...",
    epilog="Example: lad-reasoner train grpo configs/micro/grpo.yaml --max_steps 2 --output_dir runs/grpo-trial",
)
def grpo(context: typer.Context, config: Config, resume: Resume = False) -> None:
    """Stage two: reinforce right and well-formed answers on pairs of `data pairs`. Any key of CONFIG may follow it."""
    from lad_reasoner.train import grpo as train_grpo

    _run(train_grpo.train, context, config, resume)


@train.command(epilog="Example: lad-reasoner train micro configs/micro/base.yaml")
def micro(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file with the run's folder and sizes.")],
) -> None:
    """Pretrain the built-in model from random weights; an interrupted run goes on where it stopped."""
    from lad_reasoner.micro.training import Run, read_config
    from lad_reasoner.report.terminal import TrainingProgress

    settings = read_config(config)
    # A polite kill ends as Ctrl-C does: what was learned is saved first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with TrainingProgress() as progress:
        folder = Run(settings, progress).train()
    print(f"model: {folder}")


def _run(train: Callable[..., Path], context: typer.Context, config: str, resume: bool) -> None:
    from lad_reasoner.train.settings import first_process

    if config.startswith("--"):
        raise typer.BadParameter(f"CONFIG comes first, then {config} and other settings")
    try:
        folder = train(config, context.args, resume=resume)
    except StoppedError as stop:
        if first_process():
            print(f"lad-reasoner: {stop}", file=sys.stderr)
        raise typer.Exit(128 + stop.number) from None
    if first_process():
        print(f"model: {folder}")
