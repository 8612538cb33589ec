"""What both stages share: what is trained, signals, checkpoints that are whole or not, memory."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from helpers import tiny
from helpers.tutored import write_recipe
from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.train.session import (
    adapter,
    agree,
    catch_signals,
    is_whole,
    load_trainee,
    newest_checkpoint,
    out_of_memory,
    run_trainer,
    vision_tower,
    watcher,
)
from lad_reasoner.train.settings import Settings, read_recipe

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(model=str(folder), data=folder, **more)


@pytest.mark.parametrize("save", [tiny.save_qwen, tiny.save_qwen3, tiny.save_llava, tiny.save_idefics])
def test_the_vision_tower_of_every_family(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    folder = save(tmp_path / "model")
    model = load_trainee(settings(folder, freeze_vision=True)).model
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} <= {"visual", "vision_tower", "vision_model"}
    assert frozen
    assert len(frozen) == len(list(vision_tower(model).parameters()))
    assert all(parameter.requires_grad for parameter in load_trainee(settings(folder)).model.parameters())


def test_a_model_without_a_vision_tower() -> None:
    blind = torch.nn.Linear(2, 2)
    blind.get_encoder = lambda modality: blind  # type: ignore[assignment]
    blind.base_model = blind
    with pytest.raises(InputError, match="freeze_vision: Linear names no vision tower"):
        vision_tower(blind)


def test_the_pixel_budget_must_be_one_that_the_model_can_carry(tmp_path: Path) -> None:
    qwen, llava = tiny.save_qwen(tmp_path / "qwen"), tiny.save_llava(tmp_path / "llava")
    assert load_trainee(settings(qwen, max_pixels=2000)).processor.image_processor.size["longest_edge"] == 2000
    with pytest.raises(InputError, match=r"max_pixels: the processor of .* keeps no pixel budget; leave the key out"):
        load_trainee(settings(llava, max_pixels=2000))


def test_weights_are_trained_in_float32_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_trainee(settings(Path("micro-base"))).model.dtype is torch.float32  # bfloat16 on the disk
    assert load_trainee(settings(Path("micro-base"), dtype="bfloat16")).model.dtype is torch.bfloat16
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert load_trainee(settings(Path("micro-base"), lora={"r": 2})).model.dtype is torch.bfloat16


def test_adapters_keep_off_a_frozen_tower(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = tiny.save_qwen(tmp_path / "model")
    touched = {}
    for frozen in (True, False):
        wanted = settings(folder, lora={"r": 2}, freeze_vision=frozen)
        model = load_checkpoint(folder).model
        model = peft.get_peft_model(model, adapter(wanted, model))
        touched[frozen] = {name for name, _ in model.named_parameters() if "lora_A" in name}
    assert touched[True]
    assert not any("visual" in name for name in touched[True])
    assert any("visual" in name for name in touched[False])
    assert not any("lm_head" in name for name in touched[False])
    assert adapter(settings(folder), load_checkpoint(folder).model) is None
    with pytest.raises(InputError, match="lora: "):
        adapter(settings(folder, lora={"r": 2, "init_lora_weights": "loftq"}), load_checkpoint(folder).model)


def test_a_signal_is_remembered_and_the_second_one_counts(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        watch = watcher(None)
        with catch_signals(watch):
            signal.raise_signal(signal.SIGTERM)
            assert (watch.number, heard) == (signal.SIGTERM, [])
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(heard) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "once more to leave at once" in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, signal.SIGINT])
def test_training_ends_with_a_checkpoint_after_a_signal(number: int) -> None:
    watch, control = watcher(None), SimpleNamespace(should_training_stop=False, should_save=False)
    watch.number = number
    watch.on_step_end(SimpleNamespace(world_size=1), SimpleNamespace(), control)
    assert (control.should_training_stop, control.should_save) == (bool(number), bool(number))


def test_two_do_not_train_in_one_folder(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(is_world_process_zero=lambda: True)
    recipe: Any = SimpleNamespace(out=tmp_path)
    with (
        lock(tmp_path, "--out"),
        pytest.raises(InputError, match="another process is using it; wait for it, or give another --output_dir"),
    ):
        run_trainer(trainer, recipe, resume=False)


def test_all_processes_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process of two got SIGTERM."""

    def largest(shared: torch.Tensor, how: Any) -> None:
        assert how is torch.distributed.ReduceOp.MAX
        shared.clamp_(min=signal.SIGTERM)

    monkeypatch.setattr(torch.distributed, "all_reduce", largest)
    assert agree(0, SimpleNamespace(world_size=2, device="cpu")) == signal.SIGTERM
    assert agree(0, SimpleNamespace(world_size=1)) == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoint-10"
    folder.mkdir()
    save_file({"weight": torch.ones(40)}, folder / "model.safetensors")
    torch.save({"state": torch.ones(40)}, folder / "optimizer.pt")
    torch.save({"cpu": torch.ones(4)}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10}))
    return folder


def test_the_newest_whole_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None
    for step in (4, 9, 10, 11):
        shutil.copytree(checkpoint, tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-11" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"  # not 9, which is later by the alphabet
    assert (tmp_path / "checkpoint-11").is_dir()
    assert newest_checkpoint(tmp_path, remove_halves=True) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10",
        "checkpoint-4",
        "checkpoint-9",
        "checkpoint-best",
    ]


@given(data=st.data())
def test_a_checkpoint_that_was_cut_off_anywhere_is_not_whole(checkpoint: Path, data: st.DataObject) -> None:
    assert is_whole(checkpoint)
    file = data.draw(st.sampled_from(sorted(checkpoint.iterdir())))
    content = file.read_bytes()
    try:
        file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        assert not is_whole(checkpoint)
    finally:
        file.write_bytes(content)


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
    recipe = read_recipe(write_recipe(tmp_path, **given), ours=Settings, theirs=trl.SFTConfig)
    trainer = SimpleNamespace(args=recipe.arguments(trl.SFTConfig), processing_class=qwen.processor)
    message = out_of_memory(trainer, recipe, torch.OutOfMemoryError("CUDA\nout of memory"))
    assert "not enough memory on this machine (CUDA out of memory)" in message
    assert all(words in message for words in wanted), message
    assert not any(words in message for words in unwanted), message


def test_long_completions_are_shortened_too(tmp_path: Path, qwen: Checkpoint) -> None:
    path = write_recipe(tmp_path, max_completion_length=300, num_generations=2)
    recipe = read_recipe(path, ours=Settings, theirs=trl.GRPOConfig)
    trainer = SimpleNamespace(args=recipe.arguments(trl.GRPOConfig), processing_class=qwen.processor)
    message = out_of_memory(trainer, recipe, MemoryError())
    assert "--max_completion_length 150 instead of 300" in message
