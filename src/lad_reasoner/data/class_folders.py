"""The classes of a data set on disk: what the paths of their pictures say, and the files that lie beside them.

    for folder in find_classes(base, list_files(base), refused):
        folder.name, folder.pictures

A layout (layouts.py) decides what each picture shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from lad_reasoner.data.csv_table import SPLITS, WORDS, word
from lad_reasoner.data.public_sets import LICENCES, MVTEC_AD, UNKNOWN_LICENCE
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.pictures import SUFFIXES, Parts
from lad_reasoner.records import Kind, Record, Sample, Split
from lad_reasoner.text import printable

_MASKS = frozenset({"ground_truth", "mask", "masks"})
_UNREAD = frozenset({"rgb_mask", "caption"})


@dataclass(frozen=True)
class PicturePath:
    """A picture's path, taken apart: `top` / split / `folder` / `below` / name, or `top` / `folder` / `below` / name.

    `shape`: split for CLASS/test/DEFECT, image for DS-MVTec's CLASS/image/DEFECT, flat for a folder without a split
    above it.
    """

    parts: Parts
    top: Parts
    folder: str
    below: Parts
    split: Split | None
    shape: Literal["split", "flat", "image"]

    @property
    def stem(self) -> str:
        return Path(self.parts[-1]).stem


def parse_path(parts: Parts) -> PicturePath | None:
    """None for a path without a split and without one of `csv_table.WORDS` in it."""
    folders = parts[:-1]
    words = [word(name) for name in folders]
    if words[-2:-1] == ["image"] and (len(folders) < 3 or folders[-3] in MVTEC_AD):
        return PicturePath(parts, folders[:-2], folders[-1], (), "test", "image")
    first = next((at for at, name in enumerate(words) if name in WORDS), len(words))  # the folder that is a known word
    split = next((at for at in range(len(words) - 2, -1, -1) if words[at] in SPLITS and at < first), None)
    if split is not None:
        below = folders[split + 2 :]
        return PicturePath(parts, folders[:split], folders[split + 1], below, SPLITS[words[split]], "split")
    if first == len(words) or words[max(0, first - 2) : first] == ["data", "images"]:  # the latter: VisA's own layout
        return None
    split_below = next((SPLITS[name] for name in words[first:] if name in SPLITS), None)
    return PicturePath(parts, folders[:first], folders[first], folders[first + 1 :], split_below, "flat")


class MaskFiles:
    """The masks among the files of a folder, by the pictures that they belong to."""

    def __init__(self, base: Path, files: frozenset[Parts]) -> None:
        self.base, self.files = base, files
        self.by_key: dict[Parts, list[str]] = defaultdict(list)

    def add_if_mask(self, parts: Parts) -> bool:
        """Whether it is one: masks lie in a folder of their own, or beside their picture as NAME_mask.png."""
        at = next((at for at, name in enumerate(parts[:-1]) if word(name) in _MASKS), None)
        name = Path(parts[-1])
        stem = name.stem.removesuffix("_mask")
        file = str(self.base.joinpath(*parts))
        if at is not None:
            top = parts[: at - 1] if at and word(parts[at - 1]) in SPLITS else parts[:at]
            folder = (*top, *parts[at + 1 : -1])
            self.by_key[(*folder, stem)].append(file)
            self.by_key[folder].append(file)  # MVTec LOCO AD: a folder of masks for a picture
            return True
        suffixes = {*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES), name.suffix}
        beside = stem != name.stem and any((*parts[:-1], stem + suffix) in self.files for suffix in suffixes)
        if beside:
            self.by_key[(*parts[:-1], stem)].append(file)
        return beside

    def of(self, picture: PicturePath) -> tuple[str, ...]:
        """The masks of a picture; none for one without."""
        in_folder = (*picture.top, picture.folder, *picture.below, picture.stem)
        beside = (*picture.parts[:-1], picture.stem)
        return tuple(self.by_key.get(in_folder) or self.by_key.get(beside) or ())


class _Facts(Record):
    """A line of MiniLOCO's facts.jsonl."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str
    defect: str | None


class ClassFolder:
    """One class: the pictures with the same `top`, and what lies beside them."""

    def __init__(self, top: Parts, pictures: Sequence[PicturePath], masks: MaskFiles) -> None:
        self.top, self.pictures, self.masks = top, pictures, masks
        self.source = masks.base.resolve().name
        self.name = top[-1] if top else self.source
        self.folders = {picture.folder for picture in pictures}
        self.shapes = {picture.shape for picture in pictures}

    def has(self, name: str) -> bool:
        """Whether a file of this name lies in the folder itself."""
        return (*self.top, name) in self.masks.files

    def has_only(self, folders: frozenset[str]) -> bool:
        """Whether every picture lies in SPLIT/FOLDER or image/FOLDER of these folders."""
        return "flat" not in self.shapes and self.folders <= folders

    @cached_property
    def has_good(self) -> bool:
        """Whether SPLIT/good (or another word for it) is there, beside which a folder with any name is a defect."""
        folders = {picture.folder for picture in self.pictures if picture.shape == "split"}
        return any(WORDS.get(word(folder)) == "good" for folder in folders)

    @cached_property
    def facts(self) -> dict[str, _Facts]:
        """Picture, relative to the class -> its line of facts.jsonl."""
        lines = read_records(self.masks.base.joinpath(*self.top, "facts.jsonl"), _Facts)
        return {line.file: line for line in lines}

    def sample(self, picture: PicturePath, dataset: str | None, kind: Kind | None, **fields: Any) -> Sample:
        """A sample of a public data set, or of one's own (None), which is named after its folder."""
        known = {
            "category": self.name if dataset else "/".join(self.top) or self.name,
            "split": picture.split,
            "masks": () if kind == "good" else self.masks.of(picture),
            "licence": LICENCES[dataset] if dataset else UNKNOWN_LICENCE,
        }
        image = str(self.masks.base.joinpath(*picture.parts))
        return Sample(image=image, dataset=dataset or self.source, kind=kind, **{**known, **fields})


def kind_and_defect(picture: PicturePath) -> tuple[Kind | None, str | None]:
    """(kind, defect) by the known words: bad/scratch/1.png shows a scratch."""
    kind = WORDS.get(word(picture.folder))
    if kind == "good":
        return kind, None
    return kind, "/".join(name for name in picture.below if word(name) not in SPLITS) or None


def find_classes(base: Path, files: Sequence[Parts], refused: dict[str, list[str]]) -> list[ClassFolder]:
    """The classes among the files below `base`; pictures whose path says nothing are added to `refused`."""
    masks = MaskFiles(base, frozenset(files))
    classes: dict[Parts, list[PicturePath]] = defaultdict(list)
    for parts in filter(is_picture, files):
        # MiniLOCO's contact sheets have the name of the product that lies beside them.
        is_sheet = (*parts[:-1], Path(parts[-1]).stem, "facts.jsonl") in masks.files
        if is_sheet or masks.add_if_mask(parts) or not _UNREAD.isdisjoint(parts):
            continue
        picture = parse_path(parts)
        if printable("/".join(parts)) != "/".join(parts):
            refuse_path("have a name that is not UTF-8", parts, refused)
        elif picture is None:
            refuse_path("are in no folder whose name says what they show", parts, refused)
        else:
            classes[picture.top].append(picture)
    return [ClassFolder(top, pictures, masks) for top, pictures in classes.items()]


def is_picture(parts: Parts) -> bool:
    """By the suffix; the file is not opened."""
    return Path(parts[-1]).suffix.lower() in SUFFIXES


def refuse_path(reason: str, parts: Parts, refused: dict[str, list[str]]) -> None:
    """Add a picture to `refused`: reason -> names."""
    refused.setdefault(reason, []).append(printable("/".join(parts)))
