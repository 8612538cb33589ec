"""Finds the pictures in files, folders and globs: one walk and one order for all verbs.

find_pictures(["good.png", "folder/", "new/*.jpg"])      # paths, folders and globs in natural order
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import listed, nearest_name, shown

HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
SUFFIXES = HEIC_SUFFIXES | frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif"}
)
_DIGITS = re.compile(r"(\d+)")
LOOKED_THROUGH = 1000  # names of a folder in which one that was mistyped is looked for
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

Parts = tuple[str, ...]  # of a path: `("bottle", "test", "good", "000.png")`


def find_pictures(sources: Iterable[str | Path], passed_over: list[Path] | None = None) -> list[Path]:
    """Files, folders and globs -> the files they name, in the given order, folders and globs in natural order.

    What cannot be read stays in the list, so that reading it says why and the others are still judged: a file that does
    not exist, and inside a folder links without a target, locked folders and pipes. `passed_over` receives the files
    of a folder whose suffix is not a picture's. Raises `InputError` for a folder without pictures and for a glob that
    matches nothing.
    """
    paths: list[Path] = []
    other = [] if passed_over is None else passed_over
    for source in sources:
        if not str(source):
            raise InputError("the name is empty; give a picture, a folder or a quoted glob")
        path = Path(source)
        if is_folder(path):
            inside = _pictures_below(path, other)
            if not inside:
                kinds = " ".join(sorted(SUFFIXES))
                raise InputError(f"{shown(source)}: no pictures in this folder (looked for {kinds})")
            paths += inside
        elif glob.has_magic(str(source)) and not os.path.lexists(path):
            matches = _matches(str(source))
            if not matches:
                raise InputError(f"{shown(source)}: no file matches this pattern{_suggest_pattern(path)}")
            for match in matches:
                paths += _pictures_below(match, other) if is_folder(match) else [match]
        else:
            paths.append(path)
    return paths


def _suggest_pattern(path: Path) -> str:
    """`suggest_path` for the folders in front of a pattern."""
    fixed = takewhile(lambda part: not glob.has_magic(part), path.parts)
    return suggest_path(Path(*fixed))


def is_folder(path: Path) -> bool:
    """False also where that cannot be told: in a locked folder, by a name that is too long."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _matches(pattern: str) -> list[Path]:
    """What a glob matches, by name; once each, also where links lead in circles."""
    # Path.glob takes no absolute patterns.
    paths = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    shortest_last = sorted(paths, key=lambda path: -len(path.parts))
    once = {os.path.realpath(path): path for path in shortest_last}.values()
    return sorted(once, key=lambda path: natural_path(path.parts))


def _pictures_below(folder: Path, passed_over: list[Path]) -> list[Path]:
    """Pictures of a folder and of the folders in it, in the order of `list_files`, with what cannot be read."""
    unreadable: list[Parts] = []
    files = list_files(folder, unreadable)
    pictures: list[Path] = []
    for parts in sorted([*files, *unreadable], key=natural_path):
        suffix = Path(parts[-1]).suffix.lower()
        # Without a suffix a link or a locked folder may be a whole folder of pictures.
        wanted = suffix in SUFFIXES or (not suffix and parts in unreadable)
        (pictures if wanted else passed_over).append(folder.joinpath(*parts))
    return pictures


def describe_passed_over(paths: Sequence[Path]) -> str:
    """`3 files in folders were passed over (2 x .txt, 1 x .pdf): a.txt, b.txt, c.pdf`; empty for none."""
    if not paths:
        return ""
    counts = Counter(path.suffix.lower() or "without suffix" for path in paths)
    kinds = listed([f"{number} x {suffix}" for suffix, number in counts.most_common()], limit=6)
    files = "file in folders was" if len(paths) == 1 else "files in folders were"
    return f"{len(paths)} {files} passed over ({kinds}): {listed([shown(path.name) for path in paths])}"


def suggest_path(path: Path) -> str:
    """`; did you mean Good/001.png?` for a path that does not exist where there is one like it; else empty.

    Numbers are not mistyped for other numbers, and suffixes are not compared.
    """
    found, differs = Path(path.anchor), False
    for name in path.relative_to(path.anchor).parts:
        if not os.path.lexists(found / name):
            near = _nearest_entry(found, name)
            if near is None:
                break
            name, differs = near, True
        found /= name
    if not differs:
        return ""
    words = shown(found)
    return f"; did you mean {words!r}?" if " " in words else f"; did you mean {words}?"


def _nearest_entry(folder: Path, name: str) -> str | None:
    """The one of the first `LOOKED_THROUGH` names in a folder that is most like this one; None if none is."""
    try:
        with os.scandir(folder) as scan:
            names = [entry.name for entry in islice(scan, LOOKED_THROUGH) if not is_hidden(entry.name)]
    except OSError:
        return None
    digits = _DIGITS.findall(Path(name).stem)
    stems = {Path(entry).stem: entry for entry in names if _DIGITS.findall(Path(entry).stem) == digits}
    near = nearest_name(Path(name).stem, stems)
    return None if near is None else stems[near]


def list_files(folder: Path, unreadable: list[Parts] | None = None) -> list[Parts]:
    """All files below a folder, each as its parts relative to it: `("bottle", "test", "good", "000.png")`.

    Natural order: `9.png` before `10.png`. Hidden names and what desktops leave behind are passed over. Links are
    followed, but each folder is entered once, and by its own name rather than by a link's where it has both.
    `unreadable` receives links without a target, pipes, sockets, and folders that cannot be read. InputError if the
    folder itself cannot be read, and for one inside without `unreadable`.
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
            if unreadable is not None and below:
                unreadable.append(below)
                continue
            raise InputError(f"{shown(path)}: {error.strerror}; give a folder that can be read") from None
        for entry in entries:
            if is_hidden(entry.name):
                continue
            parts = (*below, entry.name)
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(parts)
                    continue
                is_file = entry.is_file()
            except OSError:  # a link that leads to itself, a folder whose files may not be looked at
                is_file = False
            if is_file:
                files.append(parts)
            elif unreadable is not None:
                unreadable.append(parts)
    return sorted(files, key=natural_path)


def is_hidden(name: str) -> bool:
    """Hidden names, and what desktops leave behind: passed over in every folder."""
    return name.startswith(".") or name.casefold() in _JUNK


@lru_cache(maxsize=65536)
def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorting key of one name: numbers by value, letters without regard to case."""
    pieces = _DIGITS.split(name.casefold())
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def natural_path(parts: Parts) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorting key of a path."""
    return tuple(natural(part) for part in parts)
