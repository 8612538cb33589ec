"""Checkpoints that are complete or not, and which one is the newest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lad_reasoner.train.checkpoints import is_whole, newest_checkpoint


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
