"""Checkpoints that are complete or not, and which one is the newest."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lad_reasoner.train.checkpoints import find_fault, newest_checkpoint, rotate, seal


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoint-10"
    folder.mkdir()
    save_file({"weight": torch.ones(40)}, folder / "model.safetensors")
    torch.save({"state": torch.ones(40)}, folder / "optimizer.pt")
    torch.save({"cpu": torch.ones(4)}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10}))
    return folder


def copy_checkpoint(checkpoint: Path, folder: Path, step: int) -> Path:
    copy = folder / f"checkpoint-{step}"
    shutil.copytree(checkpoint, copy)
    (copy / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return copy


def test_the_newest_whole_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None
    for step in (4, 9, 10, 11):
        copy_checkpoint(checkpoint, tmp_path, step)
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


def test_a_checkpoint_that_a_kill_left_without_its_seal_is_sealed_when_it_is_used(
    checkpoint: Path, tmp_path: Path
) -> None:
    copy = copy_checkpoint(checkpoint, tmp_path, 4)
    assert newest_checkpoint(tmp_path) == copy
    assert not (copy / "hashes.json").exists()  # who only looks writes nothing
    assert newest_checkpoint(tmp_path, remove_halves=True) == copy
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:-1] + b"\1")
    assert "model.safetensors is not as it was written" in find_fault(copy)


def test_a_link_is_no_checkpoint_and_what_it_leads_to_stays(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    copy_checkpoint(checkpoint, tmp_path / "run", 4)
    for step, target in ((10, checkpoint), (12, checkpoint), (3, checkpoint)):
        (tmp_path / f"run/checkpoint-{step}").symlink_to(target)
    assert newest_checkpoint(tmp_path / "run") == tmp_path / "run/checkpoint-4"
    assert newest_checkpoint(tmp_path / "run", remove_halves=True) == tmp_path / "run/checkpoint-4"
    rotate(tmp_path / "run", keep=1)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-4"]
    assert not find_fault(checkpoint)


@given(data=st.data())
def test_a_checkpoint_that_was_cut_off_anywhere_is_not_whole(checkpoint: Path, data: st.DataObject) -> None:
    assert not find_fault(checkpoint)
    file = data.draw(st.sampled_from(sorted(checkpoint.iterdir())))
    content = file.read_bytes()
    try:
        file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        assert find_fault(checkpoint)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    ("name", "fault"),
    [("model.safetensors", "weights"), ("optimizer.pt", "optimizer"), ("rng_state.pth", "random state")],
)
def test_without_weights_optimizer_or_random_state_the_one_before_counts(
    checkpoint: Path, tmp_path: Path, name: str, fault: str, sealed: bool
) -> None:
    paths = [copy_checkpoint(checkpoint, tmp_path, step) for step in (1, 2)]
    for path in paths:
        if sealed:
            seal(path)
    (paths[1] / name).unlink()
    assert find_fault(paths[1], 2) == f"has no {fault}"
    assert newest_checkpoint(tmp_path) == paths[0]


@given(data=st.data())
def test_a_sealed_checkpoint_with_another_byte_anywhere_is_not_whole(checkpoint: Path, data: st.DataObject) -> None:
    seal(checkpoint)
    file = data.draw(st.sampled_from(sorted(path for path in checkpoint.iterdir() if path.name != "hashes.json")))
    content = bytearray(file.read_bytes())
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    try:
        assert not find_fault(checkpoint)
        file.write_bytes(bytes([*content[:at], content[at] ^ 1 << bit, *content[at + 1 :]]))
        assert find_fault(checkpoint) == f"{file.name} is not as it was written"
    finally:
        file.write_bytes(content)
        (checkpoint / "hashes.json").unlink()


def test_what_else_is_wrong_with_a_checkpoint(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = copy_checkpoint(checkpoint, tmp_path, 3)
    assert find_fault(path, 3) == ""
    assert find_fault(path, 4) == "trainer_state.json is of step 3"
    (path / "hashes.json").write_text("[]")
    assert find_fault(path, 3).startswith("is incomplete (")
    (path / "hashes.json").write_text(json.dumps({"scheduler.pt": "0"}))
    assert "scheduler.pt" in find_fault(path, 3)
    assert newest_checkpoint(tmp_path, remove_halves=True) is None
    assert "scheduler.pt" in caplog.text
    assert "it is removed" in caplog.text


def test_the_oldest_are_removed_by_number_whatever_the_clock_says(checkpoint: Path, tmp_path: Path) -> None:
    tomorrow = time.time() + 86400
    for step in (9, 10, 11, 12):
        copy = copy_checkpoint(checkpoint, tmp_path, step)
        if step < 11:
            os.utime(copy, (tomorrow, tomorrow))
    rotate(tmp_path, None)
    assert len(list(tmp_path.iterdir())) == 4
    rotate(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-11", "checkpoint-12"]
