"""Whole files and locks."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_record
from lad_reasoner.files.whole import (
    UNFINISHED,
    check_own_folder,
    describe_write_error,
    lock,
    new_folder,
    own_file,
    write_whole,
)
from lad_reasoner.records import Failure


def test_two_do_not_work_in_one_folder(tmp_path: Path) -> None:
    for _ in range(2):  # what ended holds no lock
        with (
            lock(tmp_path, "--out"),
            pytest.raises(InputError, match="another process is using it; wait for it, or give another --out"),
            lock(tmp_path, "--out"),
        ):
            pass


def test_a_full_disk_is_named_and_half_a_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as whole:
        write_whole(tmp_path / "a.json", "a")
    assert whole.value.filename == str(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
    assert describe_write_error(whole.value, "x") == (
        f"{tmp_path / 'a.json'}: No space left on device; free some space, then run the same command again; "
        "what was written is kept"
    )
    with pytest.raises(OSError, match="No space left on device") as line:
        append_record(tmp_path / "a.jsonl", Failure(query="a", error="b"))
    assert line.value.filename == str(tmp_path / "a.jsonl")


@pytest.mark.posix
def test_no_link_of_a_stranger_is_written_through(tmp_path: Path) -> None:
    """A folder that was unpacked may hold links under all the names of half a file."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / f".{os.getpid()}-{threading.get_native_id()}.part").symlink_to(mine)
    (tmp_path / "a.json").symlink_to(mine)
    write_whole(tmp_path / "a.json", "a")
    assert (mine.read_text(), (tmp_path / "a.json").read_text()) == ("mine", "a")
    (tmp_path / "lines.jsonl").symlink_to(mine)
    with pytest.raises(InputError, match=r"lines\.jsonl: a link; put the file itself in its place"):
        own_file(tmp_path, "lines.jsonl")
    assert own_file(tmp_path, "a.json") == tmp_path / "a.json"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            write_whole(tmp_path / "a", str(number) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(set((tmp_path / "a").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


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


def test_a_new_folder_takes_what_the_same_work_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyError), new_folder(out, "--out", "one") as folder:
        (folder / "half.txt").write_text("half", encoding="utf-8")
        raise KeyError
    with pytest.raises(InputError, match="is not empty; give a new folder"), new_folder(out, "--out", "two"):
        pass
    with new_folder(out, "--out", "one"):
        pass
    assert not (out / UNFINISHED).exists()
    early = tmp_path / "early"
    early.mkdir()
    (early / ".123-456.part").write_text("", encoding="utf-8")  # killed while it wrote its first file
    with new_folder(early, "--out", "one"):
        pass


def test_a_folder_of_something_else_is_told_by_its_file(tmp_path: Path) -> None:
    check_own_folder(tmp_path / "new", "--out")
    (tmp_path / "log.txt").touch()
    (tmp_path / "settings.json").touch()
    check_own_folder(tmp_path, "--out", "settings.json")
    with pytest.raises(InputError, match=r"^--out .*: holds a run of `eval` \(settings\.json\); give another folder$"):
        check_own_folder(tmp_path, "--out", "table1.md")
