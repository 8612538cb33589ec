"""Data sets on disk -> samples: MVTec AD, VisA, MVTec LOCO AD, DS-MVTec, MiniLOCO, and folders of your own.

    source = find_samples("mvtec_anomaly_detection")
    source.samples      # records.Sample, in natural order
    source.refused      # reason -> pictures that were left out

The layout of each class is recognised by its folders (`LAYOUTS`; each class below shows its folder tree), so one
function reads them all, also several data sets side by side. A CSV file, yours or VisA's, says itself what it lists
(csv_table.py).

**Deviations.** MVTec AD and VisA do not say which defects are logical. Here four of MVTec AD's are
(`public_sets.LOGICAL`), its others are structural; VisA's have no kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from lad_reasoner.data.csv_table import SPLITS, WORDS, has_samples, read_table, word
from lad_reasoner.data.public_sets import (
    LICENCES,
    LOCO,
    LOCO_ROOTS,
    LOGICAL,
    MVTEC_AD,
    UNKNOWN_LICENCE,
    VISA,
    WRONG_IN_DS_MVTEC,
)
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.pictures import SUFFIXES, Parts, list_files, natural_path
from lad_reasoner.records import Kind, Record, Sample, Split
from lad_reasoner.text import listed, printable

LOCO_FOLDERS = frozenset({"good", "logical_anomalies", "structural_anomalies"})
EXPECTED = (
    "good/ and bad/ (or normal, ok; abnormal, anomaly, nok, ng, logical, structural), CLASS/train/good and "
    "CLASS/test/DEFECT (MVTec AD, LOCO AD, MiniLOCO), CLASS/image/DEFECT (DS-MVTec), VisA with split_csv/1cls.csv, "
    "or a CSV file with the columns image and label"
)

_MASKS = frozenset({"ground_truth", "mask", "masks"})
_UNREAD = frozenset({"rgb_mask", "caption"})


@dataclass(frozen=True)
class Source:
    """The samples of a folder. `refused`: reason -> pictures that were left out, relative to the folder."""

    folder: Path
    samples: tuple[Sample, ...]
    refused: Mapping[str, tuple[str, ...]]


def find_samples(folder: str | Path) -> Source:
    """The samples below a folder, or of a CSV file, in natural order of their paths.

    No picture is opened: 15,000 files take less than a second. InputError, in one line, if the folder does not exist,
    if its layout is not recognised (with what it holds and what was expected), and if a table or facts.jsonl is
    malformed (with file and line).
    """
    path = Path(folder)
    refused: dict[str, list[str]] = {}
    if path.is_file():
        if path.suffix.lower() != ".csv" or not has_samples(path):
            raise InputError(f"{printable(path)}: give a folder, or a CSV file with the columns image and label")
        base = path.parents[1] if path.parent.name == "split_csv" else path.parent
        samples = read_table(path, base, set(list_files(base)), refused)
        if not samples:
            raise InputError(
                f"{printable(path)}: no picture of it can be used ({count_reasons(refused) or 'it has no rows'})"
            )
        return _sort(path, base, samples, refused)
    if not path.is_dir():
        raise InputError(f"{printable(path)}: no such folder")
    # CLASS/test alone is read as what it is: a part of CLASS.
    base, top = (path.parent, (path.name,)) if word(path.name) in {*SPLITS, "image"} else (path, ())
    files = [(*top, *parts) for parts in list_files(path)]
    if top and (base / "ground_truth").is_dir():
        files += [("ground_truth", *parts) for parts in list_files(base / "ground_truth")]
    samples = []
    tables = _tables(base, files)
    for table, prefix in tables.items():
        below = {parts[len(prefix) :] for parts in files if _is_below(parts, prefix)}
        samples += read_table(table, base.joinpath(*prefix), below, refused)
    rest = [parts for parts in files if not any(_is_below(parts, prefix) for prefix in tables.values())]
    samples += read_layouts(base, rest, refused)
    if not samples:
        raise InputError(f"{printable(path)}: layout not recognised; {_describe(files, refused)}; expected {EXPECTED}")
    return _sort(path, base, samples, refused)


def why_not_train(sample: Sample) -> str | None:
    """Why a sample must not enter a training set, or None if it may.

    MVTec LOCO AD is the benchmark; MiniLOCO's evaluation products have the names of its classes. A name in the path
    is enough, so that a copy in another layout or in a table is refused too.
    """
    names = {word(name) for name in (sample.category, *Path(sample.image).parts)}
    if sample.dataset == "MVTec LOCO AD" or names & (LOCO | LOCO_ROOTS):
        return "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks"
    return None


def is_public(sample: Sample) -> bool:
    """Whether the picture is one that everybody has, known by its name in whatever layout; MiniLOCO is rendered."""
    return sample.dataset in LICENCES and sample.dataset != "MiniLOCO"


def _sort(path: Path, base: Path, samples: list[Sample], refused: dict[str, list[str]]) -> Source:
    """In natural order, each picture once."""
    kept: dict[tuple[str | None, ...], Sample] = {}
    for sample in sorted(samples, key=lambda sample: natural_path(Path(sample.image).relative_to(base).parts)):
        image = Path(sample.image)
        key: tuple[str | None, ...]
        if is_public(sample):
            # VisA's defects have other words in each layout.
            defect = sample.defect if sample.dataset == "MVTec AD" else None
            key = (sample.dataset, sample.category, sample.split, sample.kind, defect, image.stem.casefold())
        else:
            key = tuple(part.casefold() for part in image.parts)
        if key in kept:
            name = printable(image.relative_to(base).as_posix())
            refused.setdefault("have the name of another picture, or differ only in case", []).append(name)
        else:
            kept[key] = sample
    return Source(path, tuple(kept.values()), {reason: tuple(names) for reason, names in refused.items()})


def _is_below(parts: Parts, prefix: Parts) -> bool:
    return parts[: len(prefix)] == prefix


def _tables(base: Path, files: list[Parts]) -> dict[Path, Parts]:
    """The tables that list pictures of this folder -> the folder that each describes."""
    tables = {base.joinpath(*parts): parts[:-2] for parts in files if parts[-2:] == ("split_csv", "1cls.csv")}
    csv_files = [parts[0] for parts in files if len(parts) == 1 and parts[0].casefold().endswith(".csv")]
    own = [name for name in csv_files if name != "image_anno.csv" and has_samples(base / name)]
    if len(own) > 1:
        raise InputError(f"{printable(base)}: several tables of pictures ({', '.join(own)}); give one of them")
    return tables or {base / name: () for name in own}


def _describe(files: list[Parts], refused: Mapping[str, list[str]]) -> str:
    """What an unrecognised folder holds, in a few words."""
    pictures = [parts for parts in files if _is_picture(parts)]
    if not pictures:
        suffixes = sorted({Path(parts[-1]).suffix or "without a suffix" for parts in files})
        return f"found no pictures, {len(files)} other files" + (f" ({', '.join(suffixes[:5])})" if suffixes else "")
    folders = list(dict.fromkeys("/".join(parts[:-1]) or "the folder itself" for parts in pictures))
    reasons = count_reasons(refused) or "all of them masks"
    return printable(f"found {len(pictures)} pictures in {listed(folders, 5)} ({reasons})")


def count_reasons(refused: Mapping[str, Sequence[str]]) -> str:
    """`3 cannot be read; 1 are in two of the sources`; empty without refusals."""
    return "; ".join(f"{len(names)} {reason}" for reason, names in refused.items())


# What the path of one picture says, and what lies beside it


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


@dataclass(frozen=True)
class Refusal:
    """A picture that is no sample, and why."""

    reason: str


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


def _said_by_folder(picture: PicturePath) -> tuple[Kind | None, str | None]:
    """(kind, defect) by the known words: bad/scratch/1.png shows a scratch."""
    kind = WORDS.get(word(picture.folder))
    if kind == "good":
        return kind, None
    return kind, "/".join(name for name in picture.below if word(name) not in SPLITS) or None


def read_layouts(base: Path, files: Sequence[Parts], refused: dict[str, list[str]]) -> list[Sample]:
    """Samples by the paths of pictures below `base`, class by class.

    Pictures that are neither samples nor masks are added to `refused` (reason -> names).
    """
    masks = MaskFiles(base, frozenset(files))
    classes: dict[Parts, list[PicturePath]] = defaultdict(list)
    for parts in filter(_is_picture, files):
        # MiniLOCO's contact sheets have the name of the product that lies beside them.
        is_sheet = (*parts[:-1], Path(parts[-1]).stem, "facts.jsonl") in masks.files
        if is_sheet or masks.add_if_mask(parts) or not _UNREAD.isdisjoint(parts):
            continue
        picture = parse_path(parts)
        if printable("/".join(parts)) != "/".join(parts):
            _refuse("have a name that is not UTF-8", parts, refused)
        elif picture is None:
            _refuse("are in no folder whose name says what they show", parts, refused)
        else:
            classes[picture.top].append(picture)
    samples = []
    for top, pictures in classes.items():
        folder = ClassFolder(top, pictures, masks)
        layout = next(layout for layout in LAYOUTS if layout.recognises(folder))
        for picture in pictures:
            result = layout.sample(folder, picture)
            if isinstance(result, Refusal):
                _refuse(result.reason, picture.parts, refused)
            else:
                samples.append(result)
    return samples


def _refuse(reason: str, parts: Parts, refused: dict[str, list[str]]) -> None:
    refused.setdefault(reason, []).append(printable("/".join(parts)))


def _is_picture(parts: Parts) -> bool:
    return Path(parts[-1]).suffix.lower() in SUFFIXES


# The layouts


class Layout(ABC):
    """How a data set lies on disk. `dataset` is its name, None for a set that is named after its folder."""

    dataset: str | None = None

    @abstractmethod
    def recognises(self, folder: ClassFolder) -> bool:
        """Whether the pictures of a class lie in this layout."""

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        """What a picture of a class that was recognised shows; by default what the known words in its path say."""
        kind, defect = _said_by_folder(picture)
        return folder.sample(picture, self.dataset, kind, defect=defect)


class MiniLoco(Layout):
    """MiniLOCO, Apache-2.0: MVTec LOCO AD's layout with facts.jsonl, written by `lad-reasoner data miniloco`.

    facts.jsonl has a line for each picture (miniloco/writer.py).

        pushpins/{train,validation}/good/000.png
        pushpins/test/{good,logical_anomalies,structural_anomalies}/000.png
        pushpins/ground_truth/logical_anomalies/000/000.png
        pushpins/defects_config.json
        pushpins/facts.jsonl
    """

    dataset = "MiniLOCO"

    def recognises(self, folder: ClassFolder) -> bool:
        return "flat" not in folder.shapes and folder.has("facts.jsonl") and folder.has("defects_config.json")

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        facts = folder.facts.get("/".join(picture.parts[len(folder.top) :]))
        if facts is None:  # a crash cut the last line off
            return super().sample(folder, picture)
        kind, _ = _said_by_folder(picture)
        return folder.sample(picture, self.dataset, kind, defect=facts.defect, facts=facts.model_dump())


class LocoAd(Layout):
    """MVTec LOCO AD (Bergmann et al., IJCV 2022), CC BY-NC-SA 4.0.

    1,778 pictures for training, 305 for validation, 1,568 for testing (575 good, 561 logical, 432 structural). Each
    mask's grey value names a defect (masks.py).

        pushpins/{train,validation}/good/000.png
        pushpins/test/{good,logical_anomalies,structural_anomalies}/000.png
        pushpins/ground_truth/logical_anomalies/000/{000,001,…}.png
        pushpins/defects_config.json
    """

    dataset = "MVTec LOCO AD"

    def recognises(self, folder: ClassFolder) -> bool:
        return folder.has_only(LOCO_FOLDERS) and (folder.name in LOCO or folder.has("defects_config.json"))


class MvtecAd(Layout):
    """MVTec AD (Bergmann et al., CVPR 2019), CC BY-NC-SA 4.0.

    3,629 pictures for training, 1,725 for testing: bottle 83, cable 150, capsule 132, carpet 117, grid 78, hazelnut
    110, leather 124, metal_nut 115, pill 167, screw 160, tile 117, toothbrush 42, transistor 100, wood 79, zipper 151.

        bottle/train/good/000.png
        bottle/test/{good,broken_large,…}/000.png
        bottle/ground_truth/broken_large/000_mask.png
    """

    dataset = "MVTec AD"

    def recognises(self, folder: ClassFolder) -> bool:
        return folder.name in MVTEC_AD and folder.has_only(MVTEC_AD[folder.name] | {"good"})

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        if picture.folder == "good":
            return folder.sample(picture, self.dataset, "good")
        kind: Kind = "logical" if (folder.name, picture.folder) in LOGICAL else "structural"
        return folder.sample(picture, self.dataset, kind, defect=picture.folder)


def _refuse_metal_nut(folder: ClassFolder, picture: PicturePath) -> Refusal | None:
    if picture.shape == "image" and (folder.name, picture.folder, picture.stem) in WRONG_IN_DS_MVTEC:
        return Refusal("are metal nuts among DS-MVTec's pills")
    return None


class DsMvtec(MvtecAd):
    """DS-MVTec (Defect Spectrum, ECCV 2024; MMAD uses it): the test pictures of MVTec AD with finer masks.

    Its first 22 good pills are metal nuts, and refused.

        bottle/image/{good,broken_large,…}/000.png
        bottle/mask/broken_large/000_mask.png       also rgb_mask/ and caption/, which are not read
    """

    def recognises(self, folder: ClassFolder) -> bool:
        return "image" in folder.shapes and super().recognises(folder)

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        return _refuse_metal_nut(folder, picture) or super().sample(folder, picture)


class Visa(Layout):
    """VisA (Zou et al., ECCV 2022), CC BY 4.0, converted to MVTec AD's layout.

    8,659 pictures for training, 2,162 for testing (962 good, 1,200 anomalous) by its one-class list.

        candle/{train,test}/{good,bad}/000.JPG
        candle/ground_truth/bad/000.png

    Its own layout needs that list and is read as a table (csv_table.py):

        split_csv/1cls.csv                          object,split,label,image,mask
        candle/Data/Images/{Normal,Anomaly}/0000.JPG
        candle/Data/Masks/Anomaly/000.png
        candle/image_anno.csv                       what is wrong, in words
    """

    dataset = "VisA"

    def recognises(self, folder: ClassFolder) -> bool:
        return folder.name in VISA and folder.has_only(frozenset({"good", "bad"}))


class GoodBad(Layout):
    """A data set of your own: good/ and bad/, or another of `csv_table.WORDS`, at any depth.

    `bad/` may have a folder for each defect. MVTec AD's layout with defects of your own is read too.

        lamp/good/1.png
        lamp/bad/1.png                              or lamp/bad/scratch/1.png
        lamp/bad/1_mask.png                         or lamp/masks/bad/1.png
        or lamp/train/good/1.png, lamp/test/{good,scratch,…}/1.png, lamp/ground_truth/scratch/1.png
    """

    def recognises(self, folder: ClassFolder) -> bool:
        return True

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        metal_nut = _refuse_metal_nut(folder, picture)
        if metal_nut:  # of DS-MVTec with further folders in it
            return metal_nut
        kind, defect = _said_by_folder(picture)
        if word(picture.folder) not in WORDS:
            # MVTec AD's way: in test/, beside good/, a folder is a defect.
            if picture.split == "train" or not folder.has_good:
                return Refusal(f"are in {picture.folder}/, which says neither good nor bad")
            defect = picture.folder
        split = None if picture.shape == "image" else picture.split
        return folder.sample(picture, self.dataset, kind, defect=defect, split=split)


# The first that recognises a class reads it.
LAYOUTS: tuple[Layout, ...] = (MiniLoco(), LocoAd(), DsMvtec(), MvtecAd(), Visa(), GoodBad())
