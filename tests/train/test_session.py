"""Runs that are stopped by signals, that share a folder, that run out of memory."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.tutored import write_recipe
from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.train.session import agree, catch_signals, out_of_memory, run_folder, watcher
from lad_reasoner.train.settings import TrainSettings, read_recipe

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.posix
def test_a_signal_is_remembered_and_the_second_one_counts(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        watch = watcher(object(), None)
        with catch_signals(watch):
            signal.raise_signal(signal.SIGTERM)
            assert (watch.number, heard) == (signal.SIGTERM, [])
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(heard) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "send the signal again to stop at once" in caplog.text


@pytest.mark.parametrize("number", [0, signal.SIGINT])
def test_training_ends_with_a_checkpoint_after_a_signal(number: int) -> None:
    watch, control = watcher(object(), None), SimpleNamespace(should_training_stop=False, should_save=False)
    watch.number = number
    watch.on_step_end(SimpleNamespace(world_size=1), SimpleNamespace(), control)
    assert (control.should_training_stop, control.should_save) == (bool(number), bool(number))


def test_a_checkpoint_waits_for_the_end_of_the_round() -> None:
    trainer, control = SimpleNamespace(), SimpleNamespace(should_training_stop=False, should_save=False)
    watch, args = watcher(trainer, None), SimpleNamespace(world_size=1)
    wishes: list[tuple[bool, bool]] = []
    for step, (saves, number) in enumerate([(True, 0), (False, 0), (False, 2), (False, 2), (True, 2)], start=1):
        trainer.between_rounds, control.should_save, watch.number = step % 2 == 0, saves, number
        watch.on_step_end(args, SimpleNamespace(global_step=step, max_steps=5), control)
        wishes.append((control.should_save, control.should_training_stop))
    assert wishes[:4] == [(False, False), (True, False), (False, False), (True, True)]
    assert wishes[4][0]  # the last step of a run, whatever its round


def test_without_a_display_the_first_process_logs_what_it_would_show(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lad_reasoner")
    for first in (True, False):
        watch, state = watcher(object(), None), SimpleNamespace(global_step=2, max_steps=8, is_world_process_zero=first)
        watch.on_train_begin(None, state, None)
        watch.on_log(None, state, None, logs={"loss": "0.5", "reward": 1, "grad_norm": 3})
        watch.on_log(None, state, None, logs={"train_runtime": 3})
    assert caplog.messages == ["training: 2 of 8 done", "step 2 of 8: loss 0.5000, reward 1.0000"]


def test_a_display_is_told_stages_steps_and_losses() -> None:
    shown: list[Any] = []
    display: Any = SimpleNamespace(
        stage=lambda *facts: shown.append(facts), advance=shown.append, note=lambda text: shown.append(text)
    )
    state = SimpleNamespace(global_step=2, max_steps=8, is_world_process_zero=True)
    watch = watcher(object(), display)
    watch.on_train_begin(None, state, None)
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    watch.on_step_end(SimpleNamespace(world_size=1), state, control)
    watch.on_log(None, state, None, logs={"loss": 0.25})
    assert shown == [("training", 2, 8), 1, "step 2 of 8: loss 0.2500"]


def test_two_do_not_train_in_one_folder(tmp_path: Path) -> None:
    recipe: Any = SimpleNamespace(out=tmp_path)
    with (
        lock(tmp_path, "--out"),
        pytest.raises(InputError, match="another process is using it; wait for it, or give another --output_dir"),
    ):
        run_folder(recipe).__enter__()


@pytest.mark.posix
def test_all_processes_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process of two got SIGTERM."""

    def largest(shared: torch.Tensor, how: Any) -> None:
        assert how is torch.distributed.ReduceOp.MAX
        shared.clamp_(min=signal.SIGTERM)

    monkeypatch.setattr(torch.distributed, "all_reduce", largest)
    assert agree(0, SimpleNamespace(world_size=2, device="cpu")) == signal.SIGTERM
    assert agree(0, SimpleNamespace(world_size=1)) == 0


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(tiny.save_qwen(tmp_path_factory.mktemp("qwen")))


@pytest.mark.parametrize(
    ("given", "wanted", "unwanted"),
    [
        (
            {"gradient_checkpointing": "false"},
            [
                "--gradient_checkpointing true",
                "--per_device_train_batch_size 1 --gradient_accumulation_steps 2 instead",
            ],
            [],
        ),
        (
            {"gradient_checkpointing": "true", "per_device_train_batch_size": 1, "max_pixels": 12544},
            ["--max_pixels 6272 instead of 12544", "--lora.r 16"],
            ["gradient_checkpointing", "batch_size"],
        ),
        (
            {"lora": "{r: 4}", "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2},
            ["size 3 ", "4"],
            ["lora"],
        ),
        (
            {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
            ["size 1 --gradient_accumulation_steps 6"],
            [],
        ),
    ],
)
def test_what_to_lower_where_memory_ran_out(
    tmp_path: Path, qwen: Checkpoint, given: dict[str, Any], wanted: list[str], unwanted: list[str]
) -> None:
    recipe = read_recipe(write_recipe(tmp_path, **given), ours=TrainSettings, theirs=trl.SFTConfig)
    trainer = SimpleNamespace(args=recipe.arguments(trl.SFTConfig), processing_class=qwen.processor)
    message = out_of_memory(trainer, recipe, torch.OutOfMemoryError("CUDA\nout of memory"))
    assert "not enough memory on this machine (CUDA out of memory)" in message
    assert all(words in message for words in wanted), message
    assert not any(words in message for words in unwanted), message


def test_long_completions_are_shortened_too(tmp_path: Path, qwen: Checkpoint) -> None:
    path = write_recipe(tmp_path, max_completion_length=300, num_generations=2)
    recipe = read_recipe(path, ours=TrainSettings, theirs=trl.GRPOConfig)
    trainer = SimpleNamespace(args=recipe.arguments(trl.GRPOConfig), processing_class=qwen.processor)
    trainer.rollouts = SimpleNamespace(budget=280)
    message = out_of_memory(trainer, recipe, MemoryError())
    assert "--max_completion_length 150 instead of 300" in message
    trainer.rollouts.budget = 150  # half of it would hold the tags, and no reasoning
    assert "--max_completion_length" not in out_of_memory(trainer, recipe, MemoryError())
