"""The classes of a data set on disk: what the paths of their pictures say, and the files that lie beside them.

    for folder in find_classes(base, list_files(base), refused):
        folder.name, folder.pictures

A layout (layouts.py) decides what each picture shows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, model_validator

from lad_reasoner.data.folder_words import ANNOTATIONS, OTHER_PICTURES, read_name, word
from lad_reasoner.data.mask_files import MaskFiles
from lad_reasoner.data.public_sets import LICENCES, MVTEC_AD, PUBLIC_CLASSES, UNKNOWN_LICENCE
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.walk import SUFFIXES, Parts
from lad_reasoner.records import Kind, Record, Sample, SceneFacts, Split
from lad_reasoner.text import printable

_UNREAD = frozenset({"rgb_mask", "caption"})
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class PicturePath:
    """A picture's path, taken apart: `top` / split / `folder` / `below` / name, or `top` / `folder` / `below` / name.

    `shape`: split for CLASS/test/DEFECT, image for DS-MVTec's CLASS/image/DEFECT, flat for a folder without a split
    above it, bare for a path that does not say what the picture shows. `folder` is then the last folder, or empty.
    """

    parts: Parts
    top: Parts
    folder: str
    below: Parts
    split: Split | None
    shape: Literal["split", "flat", "image", "bare"]

    @property
    def stem(self) -> str:
        return Path(self.parts[-1]).stem


class KindFolders:
    """The folders that have good/, or bad/, directly in them: a sibling of good/ with another name is a defect."""

    def __init__(self, pictures: Sequence[Parts]) -> None:
        self.good: set[Parts] = set()
        self.bad: set[Parts] = set()
        for folders in {parts[:-1] for parts in pictures}:
            for at, folder in enumerate(folders):
                name = read_name(folder)
                if name.has_kind and not name.split:
                    (self.good if name.kind == "good" else self.bad).add(folders[:at])


def parse_path(parts: Parts, siblings: KindFolders) -> PicturePath:
    """What the folders of a picture say."""
    folders = parts[:-1]
    words = [word(folder) for folder in folders]
    if words[-2:-1] == ["image"] and (len(folders) < 3 or words[-3] in MVTEC_AD):
        return PicturePath(parts, folders[:-2], folders[-1], (), "test", "image")
    names = [read_name(folder) for folder in folders]
    first = next((at for at, name in enumerate(names) if name.has_kind), None)
    if first is not None:
        if words[max(0, first - 2) : first] == ["data", "images"] and words[first] in ("normal", "anomaly"):
            return _bare(parts, None)  # VisA's own layout needs its list
        split = next((at for at in range(first, -1, -1) if names[at].split), None)
        below = folders[first + 1 :]
        if split is not None:
            top = (*folders[:split], *folders[split + 1 : first])
            return PicturePath(parts, _classes(top), folders[first], below, names[split].split, "split")
        split_below = next((name.split for name in names[first:] if name.split), None)
        return PicturePath(parts, _classes(folders[:first]), folders[first], below, split_below, "flat")
    split = next((at for at in range(len(names) - 1, -1, -1) if names[at].split), None)
    if split is not None:
        rest = tuple(folder for folder in folders[split + 1 :] if read_name(folder).role != "pictures")
        if not rest or read_name(rest[0]).role is not None:
            return _bare(parts, split)
        return PicturePath(parts, _classes(folders[:split]), rest[0], rest[1:], names[split].split, "split")
    for at in range(len(folders) - 1, -1, -1):
        above = folders[:at]
        if names[at].is_silent and above in siblings.good and above not in siblings.bad:
            return PicturePath(parts, _classes(above), folders[at], folders[at + 1 :], None, "flat")
    return _bare(parts, None)


def _bare(parts: Parts, split: int | None) -> PicturePath:
    folders = parts[:-1]
    top = folders if split is None else folders[:split]
    name = read_name(folders[split]).split if split is not None else None
    return PicturePath(parts, _classes(top), folders[-1] if split is not None else "", (), name, "bare")


def _classes(folders: Parts) -> Parts:
    """The folders that name a class: `images/` does not."""
    return tuple(folder for folder in folders if read_name(folder).role != "pictures")


class _Drawn(SceneFacts):
    """What every line has beside its scene."""

    product: str
    kind: Kind
    defect_words: str | None


class _Facts(Record):
    """A line of MiniLOCO's facts.jsonl."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str
    defect: str | None

    @model_validator(mode="after")
    def _check(self) -> _Facts:
        _Drawn.model_validate(self.model_extra)  # the line itself stays as it is
        return self


class ClassFolder:
    """One class: the pictures with the same `top`, and what lies beside them."""

    def __init__(
        self, top: Parts, pictures: Sequence[PicturePath], masks: MaskFiles, files: frozenset[Parts] = frozenset()
    ) -> None:
        self.top, self.pictures, self.masks, self.files = top, pictures, masks, files
        self.source = masks.base.resolve().name
        name = top[-1] if top else self.source
        self.name = word(name) if word(name) in PUBLIC_CLASSES else name  # copies may be called Bottle or Metal Nut
        self.folders = {picture.folder for picture in pictures}
        self.shapes = {picture.shape for picture in pictures}

    def has(self, name: str) -> bool:
        """Whether a file of this name lies in the folder itself."""
        return (*self.top, name) in self.files

    def has_only(self, folders: frozenset[str]) -> bool:
        """Whether every picture lies in SPLIT/FOLDER or image/FOLDER of these folders, in whatever case."""
        return self.shapes.isdisjoint({"flat", "bare"}) and set(map(word, self.folders)) <= folders

    @cached_property
    def has_masks(self) -> bool:
        """Whether a picture of the class has a mask."""
        return any(self.masks.of(picture.parts) for picture in self.pictures)

    @cached_property
    def has_good(self) -> bool:
        """Whether SPLIT/good (or another word for it) is there, beside which a folder with any name is a defect."""
        folders = {picture.folder for picture in self.pictures if picture.shape == "split"}
        return any(read_name(folder).kind == "good" for folder in folders)

    @cached_property
    def below_good(self) -> frozenset[str]:
        """Names of folders below good/, numbers as #: a camera or a part, which names no defect below bad/ either."""
        good = [picture for picture in self.pictures if read_name(picture.folder).kind == "good"]
        return frozenset(_NUMBER.sub("#", name.casefold()) for picture in good for name in picture.below)

    def kind_and_defect(self, picture: PicturePath) -> tuple[Kind | None, str | None]:
        """(kind, defect) by the known words: bad/scratch/1.png shows a scratch."""
        kind = read_name(picture.folder).kind
        if kind == "good":
            return kind, None
        names = [name for name in picture.below if _NUMBER.sub("#", name.casefold()) not in self.below_good]
        silent = [name for name in names if not (read_name(name).split or read_name(name).role)]
        return kind, "/".join(silent) or None

    @cached_property
    def facts(self) -> dict[str, _Facts]:
        """Picture, relative to the class -> its line of facts.jsonl."""
        lines = read_records(self.masks.base.joinpath(*self.top, "facts.jsonl"), _Facts)
        return {line.file: line for line in lines}

    def sample(self, picture: PicturePath, dataset: str | None, kind: Kind | None, **fields: Any) -> Sample:
        """A sample of a public data set, or of one's own (None), which is named after its folder."""
        known: dict[str, Any] = {
            "image": str(self.masks.base.joinpath(*picture.parts)),
            "dataset": self.source,
            "category": "/".join(self.top) or self.source,
            "split": picture.split,
            "kind": kind,
            "masks": () if kind == "good" else self.masks.of(picture.parts),
            "licence": UNKNOWN_LICENCE,
        }
        if dataset:
            known |= {"dataset": dataset, "category": self.name, "licence": LICENCES[dataset]}
        return Sample(**{**known, **fields})


def find_classes(base: Path, files: Sequence[Parts], refused: dict[str, list[str]]) -> list[ClassFolder]:
    """The classes among the files below `base`; what is neither a picture nor its mask is added to `refused`."""
    present = frozenset(files)
    stems = {(*parts[:-1], Path(parts[-1]).stem) for parts in files if is_picture(parts)}
    candidates = []
    for parts in files:
        # MiniLOCO's contact sheets have the name of the product that lies beside them.
        is_sheet = (*parts[:-1], Path(parts[-1]).stem, "facts.jsonl") in present
        if is_sheet or not _UNREAD.isdisjoint(parts):
            continue
        if Path(parts[-1]).suffix.lower() in OTHER_PICTURES:
            refuse_path("have a format that is not read; export them as PNG or JPEG", parts, refused)
        elif _annotates(parts, stems):
            refuse_path("are annotations that are not read; export them as masks", parts, refused)
        elif is_picture(parts) and printable("/".join(parts)) != "/".join(parts):
            refuse_path("have a name that is not UTF-8", parts, refused)
        elif is_picture(parts) and any(read_name(folder).role == "maps" for folder in parts[:-1]):
            refuse_path("are maps, not pictures, by the name of their folder", parts, refused)
        elif is_picture(parts) and _contradicts(parts):
            refuse_path("are in a folder that says bad, below one that says good", parts, refused)
        elif is_picture(parts):
            candidates.append(parts)
    masks = MaskFiles(base, candidates)
    for parts, reason in masks.refused.items():
        refuse_path(reason, parts, refused)
    siblings = KindFolders(masks.pictures)
    pictures = [parse_path(parts, siblings) for parts in masks.pictures]
    items = _numbered_items(pictures)
    classes: dict[tuple[Parts, bool], list[PicturePath]] = defaultdict(list)
    for picture in pictures:
        is_bare = picture.shape == "bare"
        top = picture.top[:-1] if is_bare and _pattern(picture.top) in items else picture.top
        classes[top, is_bare].append(picture)
    return [ClassFolder(top, group, masks, present) for (top, _), group in classes.items()]


def _annotates(parts: Parts, stems: set[Parts]) -> bool:
    """Whether a file says where a defect is, but not as a picture: beside a picture of its name, or among masks."""
    if Path(parts[-1]).suffix.lower() not in ANNOTATIONS or parts[-1] == "defects_config.json":
        return False
    among_masks = any(read_name(folder).role == "masks" for folder in parts[:-1])
    return among_masks or (*parts[:-1], Path(parts[-1]).stem) in stems


def _contradicts(parts: Parts) -> bool:
    """`clean/bad/1.png`: the first word would make it good."""
    kinds = [name.kind for name in map(read_name, parts[:-1]) if name.has_kind]
    return bool(kinds) and kinds[0] == "good" and any(kind != "good" for kind in kinds)


def _numbered_items(pictures: Sequence[PicturePath]) -> set[Parts]:
    """Patterns of folders that differ in their number only, such as kos01/ to kos50/: parts of one class."""
    # With a split below the number, as DAGM has, it is a class.
    tops = {picture.top for picture in pictures if picture.shape == "bare" and picture.top and not picture.split}
    counts = Counter(_pattern(top) for top in tops if _NUMBER.search(top[-1]))
    return {pattern for pattern, number in counts.items() if number > 1}


def _pattern(top: Parts) -> Parts:
    return (*top[:-1], _NUMBER.sub("#", top[-1])) if top else ()


def is_picture(parts: Parts) -> bool:
    """By the suffix; the file is not opened."""
    return Path(parts[-1]).suffix.lower() in SUFFIXES


def refuse_path(reason: str, parts: Parts, refused: dict[str, list[str]]) -> None:
    """Add a picture to `refused`: reason -> names."""
    refused.setdefault(reason, []).append(printable("/".join(parts)))
