"""Data sets on disk -> samples: those of `LAYOUTS`, and folders of your own.

    source = find_samples("mvtec_anomaly_detection")
    source.samples      # records.Sample, in natural order
    source.refused      # reason -> pictures that were left out

The layout of each class is recognised by its folders (`LAYOUTS`; each class below shows its folder tree), so one
function reads them all, also several data sets side by side. A CSV file, yours or VisA's, says itself what it lists
(csv_table.py). What the names of folders mean is the same for all layouts (folder_words.py), and so is which files are
masks (mask_files.py).

**Deviations.** MVTec AD and VisA do not say which defects are logical. Here four of MVTec AD's are
(`public_sets.LOGICAL`), its others are structural; VisA's have no kind.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.data.class_folders import (
    ClassFolder,
    PicturePath,
    find_classes,
    is_picture,
    refuse_path,
)
from lad_reasoner.data.csv_table import has_samples, read_run_lengths, read_table
from lad_reasoner.data.folder_words import is_short_split, read_name, word
from lad_reasoner.data.masks import looks_inverted, read_mask
from lad_reasoner.data.public_sets import (
    BTECH,
    LICENCES,
    LOCO,
    LOCO_ROOTS,
    LOGICAL,
    MVTEC_AD,
    MVTEC_AD_2,
    REAL_IAD,
    VISA,
    WRONG_IN_DS_MVTEC,
)
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.tables import read_table_header
from lad_reasoner.files.walk import Parts, list_files, natural_path
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Kind, Sample
from lad_reasoner.text import listed, printable, shown

_ANOMALOUS = re.compile(r"^anomalous:\s*([01fFtT])", re.MULTILINE)
LOCO_FOLDERS = frozenset({"good", "logical_anomalies", "structural_anomalies"})
EXPECTED: str = read_packaged(__file__, "layouts.toml")["expected"]


@dataclass(frozen=True)
class Source:
    """The samples of a folder. `refused`: reason -> pictures that were left out, relative to the folder.

    `notes` say what had to be decided about labels, and what is not finished.
    """

    folder: Path
    samples: tuple[Sample, ...]
    refused: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def find_samples(folder: str | Path) -> Source:
    """The samples below a folder, or of a CSV file, in natural order of their paths.

    Pictures are opened only where names do not tell masks from pictures, or where masks are the only labels: 15,000
    files take about a second. InputError, in one line, if the folder does not exist,
    if its layout is not recognised (with what it holds and what was expected), and if a table or facts.jsonl is
    malformed (with file and line).
    """
    path = Path(folder)
    refused: dict[str, list[str]] = {}
    notes: list[str] = []
    if path.is_file():
        if not _is_table(path.name) or not has_samples(path):
            columns = f"; it has {_columns(path)}" if _is_table(path.name) else _why_no_table(path.name)
            raise InputError(f"{shown(path)}: give a folder, or a CSV file with the columns image and label{columns}")
        base = path.parents[1] if path.parent.name == "split_csv" else path.parent
        samples = read_table(path, base, set(list_files(base, [])), refused, notes)
        if not samples:
            raise InputError(
                f"{shown(path)}: no picture of it can be used ({count_reasons(refused) or 'it has no rows'})"
            )
        return _sort(path, base, samples, refused, notes)
    if not path.is_dir():
        raise InputError(f"{shown(path)}: no such folder")
    # CLASS/test alone is read as what it is: a part of CLASS.
    is_part = word(path.name) == "image" or read_name(path.name).split is not None
    base, top = (path.parent, (path.name,)) if is_part else (path, ())
    unreadable: list[Parts] = []
    files = [(*top, *parts) for parts in list_files(path, unreadable)]
    for parts in unreadable:
        refuse_path("cannot be read: links without a target, pipes, or locked folders", (*top, *parts), refused)
    if top:
        files += _mask_folders(base)
    samples = []
    lengths = read_run_lengths(base, files, refused)
    samples += lengths
    listed_files = {Path(sample.image).relative_to(base).parts for sample in lengths}
    files = [parts for parts in files if parts not in listed_files]
    tables = _tables(base, files)
    for table, prefix in tables.items():
        below = {parts[len(prefix) :] for parts in files if _is_below(parts, prefix)}
        samples += read_table(table, base.joinpath(*prefix), below, refused, notes)
    notes += filter(None, (_note_short_splits(files), _note_unfinished(path)))
    rest = [parts for parts in files if not any(_is_below(parts, prefix) for prefix in tables.values())]
    samples += read_layouts(base, rest, refused)
    if not samples:
        raise InputError(
            f"{shown(path)}: layout not recognised; {_describe(base, files, refused)}; expected {EXPECTED}"
        )
    return _sort(path, base, samples, refused, notes)


def _note_short_splits(files: Sequence[Parts]) -> str:
    """`te/ was taken for test, tr/ for train`: two letters may be a product's name as well."""
    names = {folder for parts in files if is_picture(parts) for folder in parts[:-1] if is_short_split(folder)}
    taken = [f"{name}/ for {read_name(name).split}" for name in sorted(names)]
    return f"taken for splits by their names: {', '.join(taken)}" if taken else ""


def _note_unfinished(folder: Path) -> str:
    """What `data miniloco` had not finished when it was stopped: its hidden folders are passed over."""
    names = sorted(half.name[1:-5] for half in folder.glob(".*.part") if half.is_dir())
    if not names:
        return ""
    mend = "the same `lad-reasoner data miniloco` again draws the rest"
    return shown(f"passed over, not drawn to the end: {listed(names, 5)}; {mend}")


def _mask_folders(base: Path) -> list[Parts]:
    """The files in the folders of masks directly below `base`."""
    folders = [folder.name for folder in sorted(base.iterdir()) if read_name(folder.name).role == "masks"]
    return [(name, *parts) for name in folders if (base / name).is_dir() for parts in list_files(base / name, [])]


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


def _sort(path: Path, base: Path, samples: list[Sample], refused: dict[str, list[str]], notes: Sequence[str]) -> Source:
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
    return Source(path, tuple(kept.values()), {reason: tuple(names) for reason, names in refused.items()}, tuple(notes))


def _is_below(parts: Parts, prefix: Parts) -> bool:
    return parts[: len(prefix)] == prefix


def _tables(base: Path, files: list[Parts]) -> dict[Path, Parts]:
    """The tables that list pictures of this folder -> the folder that each describes."""
    tables = {base.joinpath(*parts): parts[:-2] for parts in files if parts[-2:] == ("split_csv", "1cls.csv")}
    names = [parts[0] for parts in files if len(parts) == 1 and _is_table(parts[0])]
    own = [name for name in names if name != "image_anno.csv" and has_samples(base / name)]
    own = [name for name in own if name.casefold().endswith(".csv")] or own
    if len(own) > 1:
        raise InputError(f"{shown(base)}: several tables of pictures ({', '.join(own)}); give one of them")
    return tables or {base / name: () for name in own}


def _is_table(name: str) -> bool:
    return Path(name).suffix.lower() in (".csv", ".tsv", ".txt")


def _why_no_table(name: str) -> str:
    """The mend for a file that holds labels in another form."""
    suffix = Path(name).suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        return f"; {shown(name)} is a workbook: save it as CSV"
    return f"; {shown(name)} is not read: write its labels as CSV" if suffix in (".json", ".jsonl", ".parquet") else ""


def _columns(table: Path) -> str:
    """The columns of a table that is not understood."""
    return shown(listed([name.strip() for name in read_table_header(table)], 8)) or "none"


def _describe(base: Path, files: list[Parts], refused: Mapping[str, list[str]]) -> str:
    """What an unrecognised folder holds, in a few words."""
    near = ["/".join(parts) for parts in files if len(parts) <= 2]
    tables = [name for name in near if name.casefold().endswith((".csv", ".tsv"))]
    columns = "".join(f", {shown(name)} with the columns {_columns(base / name)}" for name in tables[:3])
    columns += "".join([why for name in near if (why := _why_no_table(name))][:2])
    pictures = [parts for parts in files if is_picture(parts)]
    if not pictures:
        suffixes = sorted({Path(parts[-1]).suffix or "without a suffix" for parts in files})
        kinds = f" ({', '.join(suffixes[:5])})" if suffixes else ""
        reasons = f"; {why}" if (why := count_reasons(refused)) else ""
        return shown(f"found no pictures, {len(files)} other files{kinds}{reasons}{columns}")
    folders = list(dict.fromkeys("/".join(parts[:-1]) or "the folder itself" for parts in pictures))
    reasons = count_reasons(refused) or "all of them masks"
    return shown(f"found {len(pictures)} pictures in {listed(folders, 5)} ({reasons}){columns}")


def count_reasons(refused: Mapping[str, Sequence[str]]) -> str:
    """`3 cannot be read; 1 are in two of the sources`; empty without refusals."""
    return "; ".join(f"{len(names)} {reason}" for reason, names in refused.items())


def read_layouts(base: Path, files: Sequence[Parts], refused: dict[str, list[str]]) -> list[Sample]:
    """Samples by the paths of pictures below `base`, class by class.

    Pictures that are neither samples nor masks are added to `refused` (reason -> names).
    """
    samples = []
    for folder in find_classes(base, files, refused):
        layout = next(layout for layout in LAYOUTS if layout.recognises(folder))
        for picture in folder.pictures:
            result = layout.sample(folder, picture)
            if isinstance(result, Refusal):
                refuse_path(result.reason, picture.parts, refused)
            else:
                samples.append(result)
    return samples


@dataclass(frozen=True)
class Refusal:
    """A picture that is not a sample, and why."""

    reason: str


class Layout(ABC):
    """How a data set lies on disk. `dataset` is its name, None for a set that is named after its folder."""

    dataset: str | None = None

    @abstractmethod
    def recognises(self, folder: ClassFolder) -> bool:
        """Whether the pictures of a class lie in this layout."""

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        """What a picture of a class that was recognised shows; by default what the known words in its path say."""
        kind, defect = folder.kind_and_defect(picture)
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
        kind, _ = folder.kind_and_defect(picture)
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


class MvtecAd2(Layout):
    """MVTec AD 2 (Heckler-Kram et al., 2025), CC BY-NC-SA 4.0; `test_private/` has no labels and is refused.

    can/{train,validation}/good/000_regular.png
    can/test_public/{good,bad}/000_overexposed.png
    can/test_public/ground_truth/bad/000_overexposed_mask.png
    can/{test_private,test_private_mixed}/000_regular.png
    """

    dataset = "MVTec AD 2"

    def recognises(self, folder: ClassFolder) -> bool:
        has_test = any("test_public" in picture.parts for picture in folder.pictures)
        return folder.name in MVTEC_AD_2 and has_test and folder.has_only(frozenset({"good", "bad"}))


class RealIad(Layout):
    """Real-IAD (Wang et al., CVPR 2024), CC BY-NC-SA 4.0: 151,050 JPEG pictures, 51,329 masks as PNG beside them.

    The splits of its JSON files are not read: good pictures are references, all others queries. Five cameras look at
    each part. A view that does not show the defect has no mask, and the data set counts it as good: it is a good query,
    not a reference.

        audiojack/OK/S0001/audiojack_0001_OK_C1_20231021.jpg
        audiojack/NG/BX/S0001/audiojack_0001_NG_BX_C1_20231021.jpg     BX: the defect
        audiojack/NG/BX/S0001/audiojack_0001_NG_BX_C1_20231021.png     its mask
    """

    dataset = "Real-IAD"

    def recognises(self, folder: ClassFolder) -> bool:
        is_flat = folder.shapes == {"flat"} and folder.folders <= {"OK", "NG"}
        return is_flat and folder.name in REAL_IAD and all("_C" in picture.stem for picture in folder.pictures)

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        kind, defect = folder.kind_and_defect(picture)
        if kind != "good" and folder.has_masks and not folder.masks.of(picture.parts):
            return folder.sample(picture, self.dataset, "good", split="test")
        return folder.sample(picture, self.dataset, kind, defect=defect)


class BTech(Layout):
    """BTech or BTAD (Mishra et al., ISIE 2021), CC BY-NC-SA 4.0: 1,799 pictures for training, 741 for testing.

    01/train/ok/0000.bmp                        03: also in BMP, 02: PNG
    01/test/{ok,ko}/0000.bmp
    01/ground_truth/ko/0000.png
    """

    dataset = "BTech"

    def recognises(self, folder: ClassFolder) -> bool:
        return folder.name in BTECH and folder.has_only(frozenset({"ok", "ko"}))


class Dagm(Layout):
    """DAGM 2007 (Wieler and Hahn): ten classes; a picture without a file in Label/ has no defect.

    1,150 pictures of each of Class1 to Class6, 2,300 of each of the others, half of them for training; 150 or 300 have
    a defect.

        Class1/{Train,Test}/0576.PNG
        Class1/{Train,Test}/Label/0576_label.PNG    and Labels.txt, which lists all pictures
    """

    def recognises(self, folder: ClassFolder) -> bool:
        lists = {(*folder.top, split, "Label", "Labels.txt") for split in ("Train", "Test")}
        return folder.shapes == {"bare"} and not lists.isdisjoint(folder.files)

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        return folder.sample(picture, self.dataset, None if folder.masks.of(picture.parts) else "good")


class Eyecandies(Layout):
    """Eyecandies (Bonfiglioli et al., ACCV 2022): each part under six lights; its metadata say `anomalous: 1`.

    Depth and normals are maps, and no masks are read. `test_private/` has no labels.

        CandyCane/{train,val,test_public}/data/000_image_0.png      to 000_image_5.png
        CandyCane/{train,val,test_public}/data/000_metadata.yaml
        CandyCane/{train,val,test_public}/data/{000_depth,000_normals}.png
    """

    def recognises(self, folder: ClassFolder) -> bool:
        is_data = folder.shapes == {"split"} and folder.folders == {"data"}
        return is_data and any(parts[-1].endswith("_metadata.yaml") for parts in folder.files)

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        number, _, rest = picture.stem.partition("_")
        if not rest.startswith("image_"):
            return Refusal("are maps, not pictures, by the end of their name")
        facts = (*picture.parts[:-1], f"{number}_metadata.yaml")
        if facts not in folder.files:
            return Refusal("have no metadata, which are their only label")
        said = _ANOMALOUS.search(folder.masks.base.joinpath(*facts).read_text(encoding="utf-8", errors="replace"))
        if said is None:
            return Refusal("have metadata that do not say whether they are anomalous")
        return folder.sample(picture, self.dataset, "good" if said[1] in "0fF" else None)


class ByMask(Layout):
    """Data sets whose only labels are masks: each picture has one, that of a good picture is black.

    KolektorSDD (Tabernik et al., 2019; 399 pictures, 52 with a crack) and KolektorSDD2 (2021; 3,335 pictures, 356
    anomalous):

        KolektorSDD/kos01/Part0.jpg                 and Part0_label.bmp
        KolektorSDD2/{train,test}/10000.png         and 10000_GT.png

    Trees of images/ and masks/ that say no more:

        images/1.png, masks/1.png                   or {train,test}/images/1.png, {train,test}/masks/1.png
    """

    def recognises(self, folder: ClassFolder) -> bool:
        is_bare = folder.shapes == {"bare"}
        return is_bare and all(folder.masks.of(picture.parts) for picture in folder.pictures)

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        try:
            mask = read_mask(folder.masks.of(picture.parts))
        except ImageError:
            return Refusal("have a mask that cannot be read, which is their only label")
        if looks_inverted(mask):
            return Refusal(
                "have a mask that is white along its border, which is their only label; swap black and white"
            )
        return folder.sample(picture, self.dataset, None if mask.any() else "good")


class GoodBad(Layout):
    """A data set of your own: good/ and bad/, or another word of words.toml, at any depth, or good/ and its siblings.

    `bad/` may have a folder for each defect. MVTec AD's layout with defects of your own is read too. `images/` may lie
    anywhere in between. Masks lie beside their picture or in a folder of their own (mask_files.py).

        lamp/good/1.png
        lamp/bad/1.png                              or lamp/bad/scratch/1.png
        lamp/bad/1_mask.png                         or lamp/masks/bad/1.png
        or lamp/train/good/1.png, lamp/test/{good,scratch,…}/1.png, lamp/ground_truth/scratch/1.png

    anomalib's Folder: every sibling of good/ is a defect, unless bad/ is there as well:

        hazelnut_toy/{good,crack,colour}/01.jpg     and mask/{crack,colour}/01.jpg
        lamp/{train,test}/normal/images/1.png, lamp/test/anomalous/{images,masks}/1.png

    Exports of Roboflow and sets of Kaggle, also with the split above the class:

        {train,valid,test}/{good,bad}/1_jpg.rf.3f2a.jpg
        casting_data/{train,test}/{ok_front,def_front}/cast_ok_0_1.jpeg
        images/{train,test}/{good,bad}/1.png, masks/test/bad/1.png
        MT_Free/Imgs/1.jpg, MT_Crack/Imgs/{1.jpg,1.png}     Magnetic-Tile-Defect: the mask is the PNG
    """

    def recognises(self, folder: ClassFolder) -> bool:
        return True

    def sample(self, folder: ClassFolder, picture: PicturePath) -> Sample | Refusal:
        metal_nut = _refuse_metal_nut(folder, picture)
        if metal_nut:  # of DS-MVTec with further folders in it
            return metal_nut
        if picture.shape == "bare":
            return Refusal(_why_bare(picture))
        kind, defect = folder.kind_and_defect(picture)
        if not read_name(picture.folder).has_kind:
            # MVTec AD's way: in test/, beside good/, a folder is a defect.
            if picture.shape != "flat" and (picture.split == "train" or not folder.has_good):
                return Refusal(f"are in {picture.folder}/, which says neither good nor bad")
            defect = picture.folder
        split = None if picture.shape == "image" else picture.split
        return folder.sample(picture, self.dataset, kind, defect=defect, split=split)


def _why_bare(picture: PicturePath) -> str:
    if not picture.folder:
        return "are in no folder whose name says what they show"
    if read_name(picture.folder).split:
        return f"are in {picture.folder}/ without labels: no folder in it says good or bad"
    return f"are in {picture.folder}/, which says neither good nor bad"


# The first that recognises a class reads it.
LAYOUTS: tuple[Layout, ...] = (
    MiniLoco(),
    LocoAd(),
    DsMvtec(),
    MvtecAd(),
    MvtecAd2(),
    Visa(),
    RealIad(),
    BTech(),
    Dagm(),
    Eyecandies(),
    ByMask(),
    GoodBad(),
)
