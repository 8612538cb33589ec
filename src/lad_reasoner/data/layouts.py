"""How data sets lie on disk: which folders make a layout, and what each of its pictures shows.

    read_layouts(base, files, refused)      # records.Sample of each picture of `files` that one of `LAYOUTS` knows

The layout of each class is recognised by its folders; each class below shows its folder tree. What the names of folders
mean is the same for all layouts (folder_words.py), and so is which files are masks (mask_files.py).

**Deviations.** MVTec AD and VisA do not say which defects are logical. Here four of MVTec AD's are
(`public_sets.LOGICAL`), its others are structural; VisA's have no kind.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.data.class_folders import ClassFolder, PicturePath, find_classes, refuse_path
from lad_reasoner.data.folder_words import read_name, word
from lad_reasoner.data.masks import looks_inverted, read_mask
from lad_reasoner.data.public_sets import (
    BTECH,
    LOCO,
    LOGICAL,
    MVTEC_AD,
    MVTEC_AD_2,
    REAL_IAD,
    VISA,
    WRONG_IN_DS_MVTEC,
)
from lad_reasoner.errors import ImageError
from lad_reasoner.files.walk import Parts
from lad_reasoner.records import Kind, Sample

_ANOMALOUS = re.compile(r"^anomalous:\s*([01fFtT])", re.MULTILINE)
LOCO_FOLDERS = frozenset({"good", "logical_anomalies", "structural_anomalies"})


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
        defect = word(picture.folder)
        if defect == "good":
            return folder.sample(picture, self.dataset, "good")
        kind: Kind = "logical" if (folder.name, defect) in LOGICAL else "structural"
        return folder.sample(picture, self.dataset, kind, defect=defect)


def _refuse_metal_nut(folder: ClassFolder, picture: PicturePath) -> Refusal | None:
    if picture.shape == "image" and (folder.name, word(picture.folder), picture.stem) in WRONG_IN_DS_MVTEC:
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
