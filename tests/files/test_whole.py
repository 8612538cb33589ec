"""Whole files and locks."""

import os
from pathlib import Path

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock, write_whole


def test_two_do_not_work_in_one_folder(tmp_path: Path) -> None:
    for _ in range(2):  # what ended holds no lock
        with (
            lock(tmp_path, "--out"),
            pytest.raises(InputError, match="another process is using it; wait for it, or give another --out"),
            lock(tmp_path, "--out"),
        ):
            pass


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.json"
    write_whole(path, "ä")
    assert path.read_bytes() == "ä".encode()
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [file.name for file in tmp_path.iterdir()] == ["settings.json"]

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_whole(path, "new")
    assert path.read_bytes() == b"\x00\xff"
