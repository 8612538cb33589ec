"""Data sets on disk -> samples: MVTec AD, VisA, MVTec LOCO AD, DS-MVTec, MiniLOCO, and folders of your own.

    source = find_samples("mvtec_anomaly_detection")
    source.samples      # records.Sample, in natural order
    source.refused      # reason -> pictures that were left out

What a folder holds is told from its shape, so one function reads them all, also several data sets side by side.

MVTec AD (Bergmann et al., CVPR 2019), CC BY-NC-SA 4.0. 3,629 pictures for training, 1,725 for testing: bottle 83, cable
150, capsule 132, carpet 117, grid 78, hazelnut 110, leather 124, metal_nut 115, pill 167, screw 160, tile 117,
toothbrush 42, transistor 100, wood 79, zipper 151.

    bottle/train/good/000.png
    bottle/test/{good,broken_large,…}/000.png
    bottle/ground_truth/broken_large/000_mask.png

DS-MVTec (Defect Spectrum, ECCV 2024; the form in which MMAD uses it): the test pictures of MVTec AD with finer masks.

    bottle/image/{good,broken_large,…}/000.png
    bottle/mask/broken_large/000_mask.png               also rgb_mask/ and caption/, which are not read

VisA (Zou et al., ECCV 2022), CC BY 4.0. 8,659 pictures for training, 2,162 for testing (962 good, 1,200 anomalous) by
its one-class list. Its own layout needs that list; converted to MVTec's layout it does not.

    split_csv/1cls.csv                                  object,split,label,image,mask
    candle/Data/Images/{Normal,Anomaly}/0000.JPG
    candle/Data/Masks/Anomaly/000.png
    candle/image_anno.csv                               what is wrong, in words
    or candle/{train,test}/{good,bad}/000.JPG, candle/ground_truth/bad/000.png

MVTec LOCO AD (Bergmann et al., IJCV 2022), CC BY-NC-SA 4.0. 1,778 pictures for training, 305 for validation, 1,568 for
testing (575 good, 561 logical, 432 structural). Each mask's grey value names a defect (see masks.py).

    pushpins/{train,validation}/good/000.png
    pushpins/test/{good,logical_anomalies,structural_anomalies}/000.png
    pushpins/ground_truth/logical_anomalies/000/{000,001,…}.png
    pushpins/defects_config.json

MiniLOCO: MVTec LOCO AD's layout with facts.jsonl, written by `lad-reasoner data miniloco` (see miniloco/writer.py).

Your own: good/ and bad/ (normal, ok, io; abnormal, anomaly, defective, nok, ng; logical, structural), at any depth,
`bad/` with a folder a defect or without; MVTec AD's layout with defects of your own; or a CSV file (see tables.py).

**Deviations.** MVTec AD and VisA do not say which defects are logical. Here four of MVTec AD's are (`LOGICAL`), its
others are structural; VisA's have no kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict

from lad_reasoner.data.csv_table import (
    SPLITS,
    UNKNOWN_LICENCE,
    VISA,
    VISA_LICENCE,
    WORDS,
    has_samples,
    read_table,
    word,
)
from lad_reasoner.errors import InputError
from lad_reasoner.files.listing import Parts, list_files, natural_path
from lad_reasoner.files.pictures import SUFFIXES, printable
from lad_reasoner.records import Kind, Record, Sample, Split, read_records

MVTEC_AD: dict[str, frozenset[str]] = {
    category: frozenset(defects.split())
    for category, defects in {
        "bottle": "broken_large broken_small contamination",
        "cable": "bent_wire cable_swap combined cut_inner_insulation cut_outer_insulation missing_cable missing_wire "
        "poke_insulation",
        "capsule": "crack faulty_imprint poke scratch squeeze",
        "carpet": "color cut hole metal_contamination thread",
        "grid": "bent broken glue metal_contamination thread",
        "hazelnut": "crack cut hole print",
        "leather": "color cut fold glue poke",
        "metal_nut": "bent color flip scratch",
        "pill": "color combined contamination crack faulty_imprint pill_type scratch",
        "screw": "manipulated_front scratch_head scratch_neck thread_side thread_top",
        "tile": "crack glue_strip gray_stroke oil rough",
        "toothbrush": "defective",
        "transistor": "bent_lead cut_lead damaged_case misplaced",
        "wood": "color combined hole liquid scratch",
        "zipper": "broken_teeth combined fabric_border fabric_interior rough split_teeth squeezed_teeth",
    }.items()
}
# Each part is flawless, or missing; what is wrong is the number, the place or the way round.
LOGICAL = frozenset(
    {("cable", "cable_swap"), ("cable", "missing_cable"), ("metal_nut", "flip"), ("transistor", "misplaced")}
)
LOCO = frozenset({"breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"})
LOCO_ROOTS = frozenset({"mvtec_loco", "mvtec_loco_ad", "mvtec_loco_anomaly_detection"})
LOCO_FOLDERS = frozenset({"good", "logical_anomalies", "structural_anomalies"})
# DS-MVTec's pill/image/good/000…021 show metal nuts, whose good test pictures are 000…021.
WRONG_IN_DS_MVTEC = frozenset(("pill", "good", f"{number:03d}") for number in range(22))

LICENCES = {
    "MVTec AD": "CC BY-NC-SA 4.0",
    "VisA": VISA_LICENCE,
    "MVTec LOCO AD": "CC BY-NC-SA 4.0",
    "MiniLOCO": "Apache-2.0",
}
EXPECTED = (
    "good/ and bad/ (or normal, ok; abnormal, anomaly, nok, ng, logical, structural), CLASS/train/good and "
    "CLASS/test/DEFECT (MVTec AD, LOCO AD, MiniLOCO), CLASS/image/DEFECT (DS-MVTec), VisA with split_csv/1cls.csv, "
    "or a CSV file with the columns image and label"
)

_MASKS = frozenset({"ground_truth", "mask", "masks"})
_UNREAD = frozenset({"rgb_mask", "caption"})


@dataclass(frozen=True)
class Source:
    """What was found in a folder. `refused`: reason -> pictures that were left out, relative to the folder."""

    folder: Path
    samples: tuple[Sample, ...]
    refused: Mapping[str, tuple[str, ...]]


def find_samples(folder: str | Path) -> Source:
    """The samples below a folder, or of a CSV file, in natural order of their paths.

    No picture is opened: 15,000 files take less than a second. InputError, in one line, for a folder that does not
    exist, for one whose layout is not recognised (with what was found and what was expected), and for a table or
    facts.jsonl that cannot be understood (with file and line).
    """
    path = Path(folder)
    refused: dict[str, list[str]] = {}
    if path.is_file():
        if path.suffix.lower() != ".csv" or not has_samples(path):
            raise InputError(f"{printable(path)}: give a folder, or a CSV file with the columns image and label")
        base = path.parents[1] if path.parent.name == "split_csv" else path.parent
        samples = read_table(path, base, set(list_files(base)), refused)
        if not samples:
            reasons = "; ".join(f"{len(names)} {reason}" for reason, names in refused.items())
            raise InputError(f"{printable(path)}: no picture of this table can be used ({reasons or 'it has no rows'})")
        return _source(path, base, samples, refused)
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
        samples += read_table(
            table, base.joinpath(*prefix), {p[len(prefix) :] for p in files if _below(p, prefix)}, refused
        )
    rest = [parts for parts in files if not any(_below(parts, prefix) for prefix in tables.values())]
    samples += _Layout(base, rest, refused).samples()
    if not samples:
        raise InputError(f"{printable(path)}: layout not recognised; {_found(files, refused)}; expected {EXPECTED}")
    return _source(path, base, samples, refused)


def why_not_train(sample: Sample) -> str | None:
    """Why a sample must not enter a training set, or None where it may.

    MVTec LOCO AD is the benchmark; MiniLOCO's evaluation products have the names of its classes. A name in the path
    is enough, so that a copy in another layout or in a table is refused too.
    """
    names = {word(name) for name in (sample.category, *Path(sample.image).parts)}
    if sample.dataset == "MVTec LOCO AD" or names & (LOCO | LOCO_ROOTS):
        return "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks"
    return None


def _source(path: Path, base: Path, samples: list[Sample], refused: dict[str, list[str]]) -> Source:
    """Sorted, each picture once."""
    kept: dict[tuple[str | None, ...], Sample] = {}
    for sample in sorted(samples, key=lambda sample: natural_path(Path(sample.image).relative_to(base).parts)):
        image = Path(sample.image)
        key: tuple[str | None, ...]
        if sample.dataset in LICENCES and sample.dataset != "MiniLOCO":
            # A public picture is known by its name, in whatever layout. VisA's defects have other words in each.
            defect = sample.defect if sample.dataset == "MVTec AD" else None
            key = (sample.dataset, sample.category, sample.split, sample.kind, defect, image.stem.casefold())
        else:
            key = tuple(part.casefold() for part in image.parts)
        if key in kept:
            refused.setdefault("has the name of another picture, or differs only in case", []).append(
                _name(image, base)
            )
        else:
            kept[key] = sample
    return Source(path, tuple(kept.values()), {reason: tuple(names) for reason, names in refused.items()})


def _name(image: Path, base: Path) -> str:
    return printable(image.relative_to(base).as_posix())


def _below(parts: Parts, prefix: Parts) -> bool:
    return parts[: len(prefix)] == prefix


def _tables(base: Path, files: list[Parts]) -> dict[Path, Parts]:
    """The tables that say what is in this folder, and the folder that each speaks about."""
    tables = {base.joinpath(*parts): parts[:-2] for parts in files if parts[-2:] == ("split_csv", "1cls.csv")}
    own = [parts[0] for parts in files if len(parts) == 1 and parts[0].casefold().endswith(".csv")]
    own = [name for name in own if name != "image_anno.csv" and has_samples(base / name)]
    if len(own) > 1:
        raise InputError(
            f"{printable(base)}: several tables of pictures ({', '.join(own)}); give the one that is meant"
        )
    return tables or {base / name: () for name in own}


def _found(files: list[Parts], refused: Mapping[str, list[str]]) -> str:
    """What an unrecognised folder holds, in a few words."""
    pictures = [parts for parts in files if _is_picture(parts)]
    if not pictures:
        suffixes = sorted({Path(parts[-1]).suffix or "without a suffix" for parts in files})
        return f"found no pictures, {len(files)} other files" + (f" ({', '.join(suffixes[:5])})" if suffixes else "")
    folders = list(dict.fromkeys("/".join(parts[:-1]) or "the folder itself" for parts in pictures))
    shown = ", ".join(folders[:5]) + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
    reasons = "; ".join(f"{len(names)} {reason}" for reason, names in refused.items())
    return printable(f"found {len(pictures)} pictures in {shown} ({reasons or 'all of them masks'})")


def _is_picture(parts: Parts) -> bool:
    return Path(parts[-1]).suffix.lower() in SUFFIXES


class _Facts(Record):
    """A line of MiniLOCO's facts.jsonl."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str
    defect: str | None


@dataclass(frozen=True)
class _Place:
    """What the path of a picture says: `top` / split / `folder` / `below` / name, or `top` / `folder` / …"""

    parts: Parts
    top: Parts
    folder: str
    below: Parts
    split: Split | None
    shape: str  # split, flat or image

    @property
    def stem(self) -> str:
        return Path(self.parts[-1]).stem


def _place(parts: Parts) -> _Place | None:
    folders = parts[:-1]
    words = [word(name) for name in folders]
    if words[-2:-1] == ["image"] and (len(folders) < 3 or folders[-3] in MVTEC_AD):
        return _Place(parts, folders[:-2], folders[-1], (), "test", "image")
    said = next((at for at, name in enumerate(words) if name in WORDS), len(words))
    split = next((at for at in range(len(words) - 2, -1, -1) if words[at] in SPLITS and at < said), None)
    if split is not None:
        return _Place(parts, folders[:split], folders[split + 1], folders[split + 2 :], SPLITS[words[split]], "split")
    if said == len(words) or words[max(0, said - 2) : said] == ["data", "images"]:
        return None
    below = next((SPLITS[name] for name in words[said:] if name in SPLITS), None)
    return _Place(parts, folders[:said], folders[said], folders[said + 1 :], below, "flat")


class _Layout:
    """Samples from the paths of pictures; those that say nothing are added to `refused`."""

    def __init__(self, base: Path, files: list[Parts], refused: dict[str, list[str]]) -> None:
        self.base, self.files, self.refused = base, set(files), refused
        self.masks: dict[Parts, list[str]] = defaultdict(list)
        self.places: dict[Parts, list[_Place]] = defaultdict(list)
        for parts in filter(_is_picture, files):
            # MiniLOCO's contact sheets have the name of the product that lies beside them.
            sheet = (*parts[:-1], Path(parts[-1]).stem, "facts.jsonl") in self.files
            if not (sheet or self._is_mask(parts)) and _UNREAD.isdisjoint(parts):
                self._add(parts)

    def _is_mask(self, parts: Parts) -> bool:
        """Masks stand in a folder of their own, or beside their picture as NAME_mask.png."""
        at = next((at for at, name in enumerate(parts[:-1]) if word(name) in _MASKS), None)
        name = Path(parts[-1])
        stem = name.stem.removesuffix("_mask")
        file = str(self.base.joinpath(*parts))
        if at is not None:
            top = parts[: at - 1] if at and word(parts[at - 1]) in SPLITS else parts[:at]
            self.masks[(*top, *parts[at + 1 : -1], stem)].append(file)
            self.masks[(*top, *parts[at + 1 : -1])].append(file)  # LOCO: a folder of masks for a picture
            return True
        beside = stem != name.stem and any((*parts[:-1], stem + suffix) in self.files for suffix in _suffixes(name))
        if beside:
            self.masks[(*parts[:-1], stem)].append(file)
        return beside

    def _add(self, parts: Parts) -> None:
        place = _place(parts)
        if not _is_text(parts):
            self._refuse("have a name that is no UTF-8", parts)
        elif place is None:
            self._refuse("lie in no folder that says what they show", parts)
        else:
            self.places[place.top].append(place)

    def _refuse(self, reason: str, parts: Parts) -> None:
        self.refused.setdefault(reason, []).append(printable("/".join(parts)))

    def samples(self) -> list[Sample]:
        return [sample for top, places in self.places.items() for sample in self._category(top, places)]

    def _category(self, top: Parts, places: list[_Place]) -> list[Sample]:
        name = top[-1] if top else self.base.resolve().name
        dataset = self._dataset(top, name, places)
        facts = {}
        if dataset == "MiniLOCO":
            lines = read_records(self.base.joinpath(*top, "facts.jsonl"), _Facts)
            facts = {line.file: line for line in lines}
        category = name if dataset else "/".join(top) or name
        has_good = any(WORDS.get(word(place.folder)) == "good" for place in places if place.shape == "split")
        samples = []
        for place in places:
            known = facts.get("/".join(place.parts[len(top) :]))
            if place.shape == "image" and (name, place.folder, place.stem) in WRONG_IN_DS_MVTEC:
                self._refuse("are metal nuts among DS-MVTec's pills", place.parts)
                continue
            kind, defect = _shown(dataset, name, place)
            if dataset is None and kind is None and word(place.folder) not in WORDS:
                # MVTec AD's way: in test/, beside good/, a folder is a defect.
                if place.split == "train" or not has_good:
                    self._refuse(f"are in {place.folder}/, which says neither good nor bad", place.parts)
                    continue
                defect = place.folder
            samples.append(
                Sample(
                    image=str(self.base.joinpath(*place.parts)),
                    dataset=dataset or self.base.resolve().name,
                    category=category,
                    split=None if place.shape == "image" and dataset is None else place.split,
                    kind=kind,
                    defect=known.defect if known else defect,
                    masks=() if kind == "good" else self._masks_of(place),
                    licence=LICENCES.get(dataset or "", UNKNOWN_LICENCE),
                    facts=known and known.model_dump(),
                )
            )
        return samples

    def _dataset(self, top: Parts, category: str, places: list[_Place]) -> str | None:
        """The public data set that a category has the shape of, or None."""
        shapes, folders = {place.shape for place in places}, {place.folder for place in places}
        if "flat" in shapes:
            return None
        if (*top, "facts.jsonl") in self.files and (*top, "defects_config.json") in self.files:
            return "MiniLOCO"
        if folders <= LOCO_FOLDERS and (category in LOCO or (*top, "defects_config.json") in self.files):
            return "MVTec LOCO AD"
        if folders <= MVTEC_AD.get(category, frozenset()) | {"good"} and category in MVTEC_AD:
            return "MVTec AD"
        return "VisA" if category in VISA and folders <= {"good", "bad"} else None

    def _masks_of(self, place: _Place) -> tuple[str, ...]:
        for key in ((*place.top, place.folder, *place.below, place.stem), (*place.parts[:-1], place.stem)):
            if key in self.masks:
                return tuple(self.masks[key])
        return ()


def _shown(dataset: str | None, category: str, place: _Place) -> tuple[Kind | None, str | None]:
    """(kind, defect) that a picture's folder says it shows."""
    if dataset == "MVTec AD" and place.folder != "good":
        return "logical" if (category, place.folder) in LOGICAL else "structural", place.folder
    kind = WORDS.get(word(place.folder))
    below = "/".join(name for name in place.below if word(name) not in SPLITS)
    return kind, (below or None) if kind != "good" else None


def _suffixes(name: Path) -> set[str]:
    return {*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES), name.suffix}


def _is_text(parts: Parts) -> bool:
    return printable("/".join(parts)) == "/".join(parts)
