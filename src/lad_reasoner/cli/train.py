"""The verbs of `lad-reasoner train`. Heavy imports stay inside the functions, so that `--help` is fast."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lad_reasoner.cli.options import FlagsError
from lad_reasoner.errors import StoppedError, require
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from rich.console import Console

    from lad_reasoner.train.monitor import Sample

SHOWN = 4  # responses in a table

train = typer.Typer(help="Train models.", no_args_is_help=True)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file with our keys and TRL's settings.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Resume from the newest complete checkpoint in the run folder, if any."),
]


@train.callback()
def _start() -> None:
    require("torch", "train")  # before the first module that imports it


class _SftCommand(TyperCommand):
    """A verb whose --help lists the keys of CONFIG, read from the settings themselves only when it is asked for."""

    trl_config = "SFTConfig"

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        from lad_reasoner.train.fields import describe_keys

        with formatter.section("Keys of CONFIG, also given as --key value"):
            formatter.write_dl(
                [(key, f"{text} [{default or 'required'}]") for key, default, text in describe_keys(self.settings())]
            )
        formatter.write_paragraph()
        formatter.write_text(
            f"All other keys are those of TRL's {self.trl_config}, such as output_dir, learning_rate, max_steps: "
            f"https://huggingface.co/docs/trl/{self.trl_config.removesuffix('Config').lower()}_trainer"
        )

    def settings(self) -> type[Any]:
        from lad_reasoner.train.settings import TrainSettings

        return TrainSettings


class _GrpoCommand(_SftCommand):
    trl_config = "GRPOConfig"

    def settings(self) -> type[Any]:
        from lad_reasoner.train.grpo import GrpoSettings

        return GrpoSettings


# Words after CONFIG (--key value) are passed to the reader of the config, which knows the keys.
ANY_KEY: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "options_metavar": "[--resume] [--key value]...",
}


@train.command(
    "sft",
    cls=_SftCommand,
    **ANY_KEY,
    epilog="Example: lad-reasoner train sft configs/micro/sft.yaml --max_steps 10 --output_dir runs/sft-trial",
)
def _sft(context: typer.Context, config: Config, resume: Resume = False) -> None:
    """Stage one: fine-tune on the questions of `data sft`. Any key of CONFIG may follow it."""
    from lad_reasoner.train.sft import train_sft

    _run(train_sft, context, config, resume)


@train.command(
    "grpo",
    cls=_GrpoCommand,
    **ANY_KEY,
    epilog="Example: lad-reasoner train grpo configs/micro/grpo.yaml --max_steps 2 --output_dir runs/grpo-trial",
)
def _grpo(context: typer.Context, config: Config, resume: Resume = False) -> None:
    """Stage two: reinforce right answers to pairs of `data pairs`. Any key of CONFIG may follow it."""
    from lad_reasoner.train.grpo import train_grpo

    _run(train_grpo, context, config, resume, show_samples=show_samples)


@train.command("micro", epilog="Example: lad-reasoner train micro configs/micro/base.yaml")
def _micro(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file with the run folder and the sizes.")],
) -> None:
    """Pretrain the built-in model from random weights. An interrupted run is resumed."""
    from lad_reasoner.files.whole import check_own_folder, own_folder
    from lad_reasoner.micro.training import MicroRun, read_config
    from lad_reasoner.report.terminal import TrainingProgress

    settings = read_config(config)
    check_own_folder(settings.out, "out", "config.json")
    # SIGTERM ends the run like Ctrl-C: a checkpoint is saved first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with own_folder(settings.out, "out"), TrainingProgress() as progress:
        folder = MicroRun(settings, progress).train()
    print(f"model: {folder}")


def _run(stage: Callable[..., Path], context: typer.Context, config: str, resume: bool, **views: Any) -> None:
    from lad_reasoner.report.terminal import TrainingProgress, track
    from lad_reasoner.train.run_record import read_run_record
    from lad_reasoner.train.session import first_process

    if config.startswith("--"):
        raise FlagsError(f"CONFIG comes first, then {config} and other settings")
    try:
        folder = stage(config, context.args, resume=resume, track=track, progress=TrainingProgress(), **views)
    except StoppedError as stop:
        if first_process():
            print(f"lad-reasoner: {stop}", file=sys.stderr)
        raise typer.Exit(128 + stop.number) from None
    if first_process():
        print(f"model: {folder}")
        published = (read_run_record(folder.parent) or {}).get("published")
        if published and published["update_kept"] is not None:  # else publish has warned
            kept = f"{100 * published['update_kept']:.1f} % of the update"
            print(f"the model holds {kept}, in {published['dtype']}", file=sys.stderr)


def show_samples(step: int, samples: Sequence[Sample], console: Console | None = None) -> None:
    """Print one response of each of the first pairs; markup that the model wrote is not interpreted."""
    from rich.console import Console
    from rich.table import Table

    from lad_reasoner.report.terminal import plain

    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample["id"], sample)
    table = Table(title=f"Sampled at step {step}", title_justify="left", show_lines=True, show_header=False)
    for sample in list(first.values())[:SHOWN]:
        right = sample["answer"] == sample["label"]
        rewards = ", ".join(
            f"{name.removesuffix('_reward')} {'–' if value is None else f'{value:g}'}"
            for name, value in sample["rewards"].items()
        )
        line = plain(f"{sample['id']}: label {sample['label']}, answer ")
        line.append(sample["answer"], style="green" if right else "red")
        line.append_text(plain(f", {rewards}, advantage {sample.get('advantage', 0):+.2f}\n"))
        line.append_text(plain(sample["response"], "dim"))
        table.add_row(line)
    (console or Console(stderr=True, highlight=False)).print(table)
