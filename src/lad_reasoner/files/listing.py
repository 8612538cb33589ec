"""What lies below a folder: one walk with os.scandir, in natural order, safe from links that lead in circles."""

from __future__ import annotations

import os
import re
from collections import deque
from functools import lru_cache
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable

Parts = tuple[str, ...]

_DIGITS = re.compile(r"(\d+)")
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def list_files(folder: Path) -> list[Parts]:
    """All files below a folder, each as its parts relative to it: `("bottle", "test", "good", "000.png")`.

    Natural order: `9.png` before `10.png`. Hidden names and what desktops leave behind are passed over. Links are
    followed, but each folder is entered once, and by its own name rather than by a link's where it has both. InputError
    for a folder that cannot be read.
    """
    files: list[Parts] = []
    entered: set[tuple[int, int]] = set()
    waiting: deque[Parts] = deque([()])
    linked: deque[Parts] = deque()
    while waiting or linked:
        below = waiting.popleft() if waiting else linked.popleft()
        path = folder.joinpath(*below)
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: natural(entry.name))
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}; give a folder that can be read") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _JUNK:
                continue
            parts = (*below, entry.name)
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(parts)
                elif entry.is_file():
                    files.append(parts)
            except OSError:  # a link that leads to itself
                continue
    return sorted(files, key=natural_path)


@lru_cache(maxsize=65536)
def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorting key of one name: numbers by value, letters without regard to case."""
    pieces = _DIGITS.split(name.casefold())
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def natural_path(parts: Parts) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorting key of a path."""
    return tuple(natural(part) for part in parts)
