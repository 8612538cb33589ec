"""Results as files: pictures sorted into folders, and JSON lines."""

from __future__ import annotations

import errno
import filecmp
import mmap
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_record
from lad_reasoner.files.opening import MAX_BYTES
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Outcome
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import RejectedResultError, Sink
from lad_reasoner.text import printable

FOLDERS: dict[Outcome, str] = {"good": "good", "anomalous": "bad", "unsure": "unsure", "invalid": "invalid"}
LONGEST_NAME = 255  # bytes, of the usual file systems


class SortedFolders(Sink):
    """Copies each picture to good/, bad/, unsure/ or invalid/ below a folder, or moves it there.

    A picture never replaces another: where the name is taken, the number of the result follows it (`0001_17.png`).
    """

    def __init__(self, name: str, *, move: bool = False) -> None:
        super().__init__(name)
        self.root, self.move = Path(name), move
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"--to {printable(name)}: a file; give a folder, or FILE.jsonl for JSON lines")

    def folders(self) -> list[Path]:
        """All folders that pictures go to."""
        return [self.root / folder for folder in FOLDERS.values()]

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        folder = self.root / FOLDERS[result.outcome]
        folder.mkdir(parents=True, exist_ok=True)
        names = (folder / name for name in _names(file.path, result.number))
        if PictureFile.at(file.path) != file:
            if self._took(names, file):
                return
            raise RejectedResultError(
                f"{printable(file.path)}: the picture was removed or overwritten before it could be sorted"
            )
        target = next(path for path in names if not path.exists() or filecmp.cmp(path, file.path, shallow=False))
        if self.move:
            self._move(file, target)
        elif not target.exists():
            _copy(file, target)

    def _took(self, names: Iterator[Path], file: PictureFile) -> bool:
        """Whether a move that a crash interrupted had already reached its end; a move keeps the time of change."""
        if not self.move or file.path.exists():
            return False
        for path in names:
            there = PictureFile.at(path)
            if there is None:
                return False
            if (there.size, there.modified_ns) == (file.size, file.modified_ns):
                return True
        return False

    def _move(self, file: PictureFile, target: Path) -> None:
        if not target.exists():
            try:
                file.path.rename(target)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:  # a rename does not lead to another disk
                    raise
            _copy(file, target)
        file.path.unlink()


def _names(path: Path, number: int) -> Iterator[str]:
    """`0001.png`, `0001_17.png`, `0001_17_2.png` …: the same at each try."""
    yield path.name
    yield _with_ending(path.stem, f"_{number}{path.suffix}")
    for turn in count(2):
        yield _with_ending(path.stem, f"_{number}_{turn}{path.suffix}")


def _with_ending(stem: str, ending: str) -> str:
    """The longest start of the stem with which the name is not too long for a disk."""
    while len(os.fsencode(stem + ending)) > LONGEST_NAME:
        stem = stem[:-1]
    return stem + ending


def _copy(file: PictureFile, target: Path) -> None:
    """Copy a whole picture with its time of change; RejectedResultError if it is overwritten meanwhile."""
    if file.size > MAX_BYTES:
        raise RejectedResultError(f"{printable(file.path)}: too large to be copied")
    content = file.path.read_bytes()
    if PictureFile.at(file.path) != file:
        raise RejectedResultError(f"{printable(file.path)}: the picture was overwritten while it was copied")
    write_whole(target, content)
    shutil.copystat(file.path, target)


class JsonLines(Sink):
    """Appends one line for each result to a file. After a crash, half a line is removed and no line comes twice."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.path = Path(name)
        self._written: set[bytes] | None = None  # lines that a crash may have kept from the journal
        if self.path.is_dir():
            raise InputError(f"--to {printable(name)}: a folder; give a file for JSON lines")

    def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _cut_half_line(self.path)
        self._written = None

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        if self._written is None:
            self._written = _lines_from(self.path, result)
        if result.model_dump_json().encode() not in self._written:
            append_record(self.path, result)


def _cut_half_line(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            size, end = len(content), content.rfind(b"\n") + 1
        if end < size:
            os.truncate(path, end)


def _lines_from(path: Path, result: PartResult) -> set[bytes]:
    """The lines at the end of a file up to the first that is older than this result; the rest is not read."""
    lines: set[bytes] = set()
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = len(content) - 1  # the last line end
            while end > 0:
                start = content.rfind(b"\n", 0, end) + 1
                line = content[start:end]
                try:
                    before = PartResult.model_validate_json(line)
                except ValidationError:  # another program's line
                    break
                # Another folder of the station, whose lines stand between, has the same numbers.
                older = before.number < result.number and before.time < result.time
                if before.station == result.station and older:
                    break
                lines.add(line)
                end = start - 1
    return lines
