"""Public data sets and usual trees, built with empty or tiny files: samples, labels, masks and classes are exact.

Numbers and names are those that their authors publish; where those are not known here, a few pictures stand for all.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.skeletons import TEST
from lad_reasoner.data.folder_words import read_name
from lad_reasoner.data.mask_files import look_at
from lad_reasoner.data.public_sets import MVTEC_AD
from lad_reasoner.data.sources import Source, find_samples
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import draw_pairs, open_benchmark

Tree = Mapping[str, bytes]  # path -> content


def png(*values: int, suffix: str = "PNG") -> bytes:
    """A tiny mask: black, or with these values."""
    buffer = io.BytesIO()
    array = np.zeros((4, 4), np.uint8)
    array[0, : len(values)] = values
    Image.fromarray(array).save(buffer, suffix)
    return buffer.getvalue()


def photograph(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def swapped() -> bytes:
    """A mask that is black where the defect is."""
    buffer = io.BytesIO()
    array = np.full((4, 4), 255, np.uint8)
    array[1, 1] = 0
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


BLACK, MARKED, SWAPPED = png(), png(255, 255), swapped()
# The usual places of the mask of bad/1.jpg, seen from bad/.
MASKS = [
    *(f"1{end}.png" for end in ("_mask", "_GT", "-gt", "_ground_truth", ".mask", "_mask_0", "_label", "_seg", "")),
    *("mask_1.png", "1_segmentation.tif", "1_annotation.bmp", "1.bmp", "gt/1.png", "GT/1_gt.png", "annotations/1.png"),
    *("../annotations/bad/1.png", "../../set/labels/1.png", "../ground_truth/bad/1/000.png", "../Masks/1.png"),
    *("1mask.png", "1GT.png", "../mask_bin/bad/1.png", "../LabelMasks/1.png", "../bitmap/bad/1.png"),
]


def plant(folder: Path, tree: Tree) -> Path:
    made = set()
    for name, content in tree.items():
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(content)
    return folder


def files(pattern: str, number: int, content: bytes = b"") -> dict[str, bytes]:
    return {pattern.format(at): content for at in range(number)}


def shown(source: Source) -> dict[str, tuple[str | None, str | None, str | None, list[str]]]:
    """Picture -> (split, kind, defect, masks)."""
    rows: dict[str, tuple[str | None, str | None, str | None, list[str]]] = {}
    for sample in source.samples:
        masks = [Path(mask).relative_to(source.folder).as_posix() for mask in sample.masks]
        name = Path(sample.image).relative_to(source.folder).as_posix()
        rows[name] = (sample.split, sample.kind, sample.defect, masks)
    return rows


def btech() -> Tree:
    """BTech (Mishra et al., ISIE 2021, table 1)."""
    tree: dict[str, bytes] = {}
    for name, suffix, train, ok, ko in (
        ("01", "bmp", 400, 21, 49),
        ("02", "png", 399, 30, 200),
        ("03", "bmp", 1000, 400, 41),
    ):
        tree |= files(f"BTech_Dataset_transformed/{name}/train/ok/{{:04}}.{suffix}", train)
        tree |= files(f"BTech_Dataset_transformed/{name}/test/ok/{{:04}}.{suffix}", ok)
        tree |= files(f"BTech_Dataset_transformed/{name}/test/ko/{{:04}}.{suffix}", ko)
        tree |= files(f"BTech_Dataset_transformed/{name}/ground_truth/ko/{{:04}}.png", ko)
    return tree


def real_iad() -> Tree:
    """Real-IAD (Wang et al., CVPR 2024): a thirtieth of its 99,721 good and 51,329 anomalous pictures, in one class."""
    tree = files("realiad_1024/audiojack/OK/S{0:04}/audiojack_{0:04}_OK_C1_20231021.jpg", 3324)
    for defect, number in (("BX", 600), ("HS", 611), ("YW", 500)):
        stem = f"realiad_1024/audiojack/NG/{defect}/S{{0:04}}/audiojack_{{0:04}}_NG_{defect}_C1_20231021"
        tree |= files(f"{stem}.jpg", number) | files(f"{stem}.png", number)
    return tree | {"realiad_jsons/audiojack.json": b"{}"}


def kolektor() -> Tree:
    """KolektorSDD (Tabernik et al., 2019): 50 items of 8 pictures, one of 7; 52 have a crack.

    Masks are BMP files, most of them black.
    """
    tree = {}
    names = [f"kos{item:02}/Part{part}" for item in range(1, 51) for part in range(8)][:399]
    for at, name in enumerate(names):
        tree[f"{name}.jpg"] = b""
        tree[f"{name}_label.bmp"] = png(1, suffix="BMP") if at % 8 == 3 or at in (0, 8) else png(suffix="BMP")
    return tree


def kolektor_2() -> Tree:
    """KolektorSDD2 (Bozic et al., 2021, table 1): good and defective pictures of each split."""
    tree: dict[str, bytes] = {}
    for split, good, bad in (("train", 2085, 246), ("test", 894, 110)):
        for at in range(good + bad):
            tree[f"KolektorSDD2/{split}/{10000 + at}.png"] = b""
            tree[f"KolektorSDD2/{split}/{10000 + at}_GT.png"] = MARKED if at < bad else BLACK
    return tree


def mpdd() -> Tree:
    """MPDD (Jezek et al., ICUMT 2021, table 1): good for training; good and defective for testing."""
    numbers = {"bracket_black": (289, 32, 47), "bracket_brown": (185, 26, 51), "bracket_white": (110, 30, 30)}
    numbers |= {"connector": (128, 30, 14), "metal_plate": (54, 26, 71), "tubes": (122, 32, 69)}
    tree: dict[str, bytes] = {}
    for name, (train, good, bad) in numbers.items():
        tree |= files(f"{name}/train/good/{{:03}}.png", train) | files(f"{name}/test/good/{{:03}}.png", good)
        tree |= files(f"{name}/test/flaw/{{:03}}.png", bad) | files(f"{name}/ground_truth/flaw/{{:03}}_mask.png", bad)
    return tree


def magnetic_tile() -> Tree:
    """Magnetic-Tile-Defect (Huang et al., The Visual Computer 2018): pictures of each kind."""
    numbers = {"Blowhole": 115, "Break": 85, "Crack": 57, "Fray": 32, "Uneven": 103}
    tree = files("MT_Free/Imgs/exp1_num_{}.jpg", 952) | files("MT_Free/Imgs/exp1_num_{}.png", 952, BLACK)
    for name, number in numbers.items():
        tree |= files(f"MT_{name}/Imgs/exp1_num_{{}}.jpg", number)
        tree |= files(f"MT_{name}/Imgs/exp1_num_{{}}.png", number, MARKED)
    return tree


def casting() -> Tree:
    """Kaggle's casting product data (R. Dabhi): pictures of each folder."""
    tree: dict[str, bytes] = {}
    for split, bad, good in (("train", 3758, 2875), ("test", 453, 262)):
        tree |= files(f"casting_data/casting_data/{split}/def_front/cast_def_0_{{}}.jpeg", bad)
        tree |= files(f"casting_data/casting_data/{split}/ok_front/cast_ok_0_{{}}.jpeg", good)
    return tree


def ds_mvtec() -> Tree:
    """DS-MVTec (Defect Spectrum, ECCV 2024): the test pictures of MVTec AD."""
    tree: dict[str, bytes] = {}
    for name, (everything, good) in TEST.items():
        tree |= files(f"DS-MVTec/{name}/image/good/{{:03}}.png", good)
        for at in range(everything - good):
            defect = sorted(MVTEC_AD[name])[at % len(MVTEC_AD[name])]
            file = f"{defect}/{at:03}"
            tree |= {f"DS-MVTec/{name}/image/{file}.png": b"", f"DS-MVTec/{name}/mask/{file}_mask.png": b""}
            tree |= {f"DS-MVTec/{name}/rgb_mask/{file}_mask.png": b"", f"DS-MVTec/{name}/caption/{file}.txt": b""}
    return tree


# MVTec 3D-AD (Bergmann et al., VISAPP 2022, table 1): train, validation, good and anomalous test scans.
MVTEC_3D = {
    **{"bagel": (244, 22, 22, 88), "cable_gland": (223, 23, 21, 87), "carrot": (286, 29, 27, 132)},
    **{"cookie": (210, 22, 28, 103), "dowel": (288, 34, 26, 104), "foam": (236, 27, 20, 80)},
    **{"peach": (361, 42, 26, 106), "potato": (300, 33, 22, 92), "rope": (298, 33, 32, 69), "tire": (210, 29, 25, 87)},
}


def mvtec_3d() -> Tree:
    """Pictures in rgb/, places in xyz/, masks in gt/; good scans have black masks. Defects share what is not good."""
    tree: dict[str, bytes] = {}
    for name, (train, validation, good, bad) in MVTEC_3D.items():
        numbers = {"train/good": train, "validation/good": validation, "test/good": good}
        for at in range(bad):
            defect = ("combined", "contamination", "cut", "hole")[at % 4]
            numbers[f"test/{defect}"] = numbers.get(f"test/{defect}", 0) + 1
        for folder, number in numbers.items():
            tree |= files(f"{name}/{folder}/rgb/{{:03}}.png", number)
            tree |= files(f"{name}/{folder}/xyz/{{:03}}.tiff", number)
            tree |= files(f"{name}/{folder}/gt/{{:03}}.png", number) if folder.startswith("test") else {}
        tree[f"{name}/calibration/camera_parameters.json"] = b"{}"
    return tree


# DAGM 2007: pictures of each split, and those with a defect in Train/ and Test/ (the sets' own Labels.txt).
DAGM = {
    **{1: (575, 79, 71), 2: (575, 66, 84), 3: (575, 66, 84), 4: (575, 82, 68), 5: (575, 70, 80), 6: (575, 83, 67)},
    **dict.fromkeys(range(7, 11), (1150, 150, 150)),
}


def dagm() -> Tree:
    tree: dict[str, bytes] = {}
    for number, (pictures, *defects) in DAGM.items():
        for split, bad in zip(("Train", "Test"), defects, strict=True):
            folder = f"Class{number}/{split}"
            tree |= files(f"{folder}/{{:04}}.PNG", pictures) | {f"{folder}/Label/Labels.txt": b"1\n"}
            tree |= {f"{folder}/Label/{7 * at % pictures:04}_label.PNG": MARKED for at in range(bad)}
    return tree


def eyecandies() -> Tree:
    """One class of Eyecandies (Bonfiglioli et al., ACCV 2022): 1,000 parts for training, 100 and 50 for the others."""
    tree: dict[str, bytes] = {}
    for split, number in (("train", 1000), ("val", 100), ("test_public", 50), ("test_private", 20)):
        for at in range(number):
            name = f"CandyCane/{split}/data/{at:03}"
            tree |= {f"{name}_image_{light}.png": b"" for light in range(6)}
            tree |= {f"{name}_depth.png": b"", f"{name}_normals.png": b""}
            if split != "test_private":
                tree[f"{name}_metadata.yaml"] = f"anomalous: {int(split == 'test_public' and at % 2)}\n".encode()
            if split == "test_public":
                tree[f"{name}_mask.png"] = MARKED
    return tree


def severstal() -> Tree:
    """Kaggle's Severstal (2019): 12,568 pictures, 6,666 with a defect, 1,801 for the test without labels."""
    rows = "".join(f"{at:05}.jpg,{1 + at % 4},29102 12\n" for at in range(6666))
    tree = files("train_images/{:05}.jpg", 12568) | files("test_images/{:05}.jpg", 1801)
    return tree | {"train.csv": f"ImageId,ClassId,EncodedPixels\n{rows}".encode(), "sample_submission.csv": b"a,b\n"}


def vad() -> Tree:
    """The Valeo Anomaly Dataset (2024): 2,000 good and 1,000 bad for training, 1,000 of each for testing."""
    numbers = {"train/good": 2000, "train/bad": 1000, "test/good": 1000, "test/bad": 1000}
    return {name: b"" for folder, number in numbers.items() for name in files(f"{folder}/{{:06}}.png", number)}


def mvtec_ad_2() -> Tree:
    """MVTec AD 2 (Heckler-Kram et al., 2025): its names; the numbers are made up."""
    tree: dict[str, bytes] = {}
    for name in ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"):
        tree |= files(f"mvtec_ad_2/{name}/train/good/{{:03}}_regular.png", 300)
        tree |= files(f"mvtec_ad_2/{name}/validation/good/{{:03}}_regular.png", 40)
        tree |= files(f"mvtec_ad_2/{name}/test_public/good/{{:03}}_regular.png", 30)
        tree |= files(f"mvtec_ad_2/{name}/test_public/bad/{{:03}}_overexposed.png", 90)
        tree |= files(f"mvtec_ad_2/{name}/test_public/ground_truth/bad/{{:03}}_overexposed_mask.png", 90)
        tree |= files(f"mvtec_ad_2/{name}/test_private/{{:03}}_regular.png", 200)
        tree |= files(f"mvtec_ad_2/{name}/test_private_mixed/{{:03}}_mixed.png", 200)
    return tree


def anomalib_folder() -> Tree:
    """The tree of anomalib's hazelnut_toy; the numbers are made up."""
    tree = files("good/{:02}.jpg", 34) | files("crack/{:02}.jpg", 5) | files("colour/{:02}.jpg", 6)
    return tree | files("mask/crack/{:02}.jpg", 5) | files("mask/colour/{:02}.jpg", 6)


def roboflow() -> Tree:
    """An export of Roboflow; numbers made up."""
    tree: dict[str, bytes] = {"README.roboflow.txt": b"", "README.dataset.txt": b""}
    for split, number in (("train", 300), ("valid", 60), ("test", 40)):
        for kind in ("good", "defective"):
            tree |= files(f"{split}/{kind}/part_{{}}_jpg.rf.3f2a9c.jpg", number)
    return tree


def images_and_masks() -> Tree:
    """A usual tree; numbers made up."""
    tree = files("images/train/good/{}.png", 50) | files("images/test/good/{}.png", 20)
    return tree | files("images/test/bad/{}.png", 30) | files("masks/test/bad/{}.png", 30)


# Tree -> (data set, classes, {(split, kind, number of masks): samples}, pictures refused). Where numbers come from is
# said where each tree is built; those of BTech, both KolektorSDD, MPDD, Magnetic-Tile-Defect, casting, DS-MVTec, MVTec
# 3D-AD, DAGM, Severstal and VAD are the whole data set's. MVTec AD, VisA and MVTec LOCO AD are whole in
# test_layouts.py.
GOOD, BAD = "good", None
TREES: dict[str, Any] = {
    "BTech": (
        btech,
        "BTech",
        {"01", "02", "03"},
        {("train", GOOD, 0): 1799, ("test", GOOD, 0): 451, ("test", BAD, 1): 290},
        0,
    ),
    "Real-IAD": (real_iad, "Real-IAD", {"audiojack"}, {(None, GOOD, 0): 3324, (None, BAD, 1): 1711}, 0),
    "KolektorSDD": (kolektor, None, {None}, {(None, GOOD, 0): 347, (None, BAD, 1): 52}, 0),
    "KolektorSDD2": (
        kolektor_2,
        None,
        {"KolektorSDD2"},
        {("train", GOOD, 0): 2085, ("train", BAD, 1): 246, ("test", GOOD, 0): 894, ("test", BAD, 1): 110},
        0,
    ),
    "MPDD": (
        mpdd,
        None,
        {"bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"},
        {("train", GOOD, 0): 888, ("test", GOOD, 0): 176, ("test", BAD, 1): 282},
        0,
    ),
    "Magnetic-Tile-Defect": (magnetic_tile, None, {None}, {(None, GOOD, 0): 952, (None, BAD, 1): 392}, 0),
    "casting": (
        casting,
        None,
        {"casting_data/casting_data"},
        {("train", GOOD, 0): 2875, ("train", BAD, 0): 3758, ("test", GOOD, 0): 262, ("test", BAD, 0): 453},
        0,
    ),
    "DS-MVTec": (
        ds_mvtec,
        "MVTec AD",
        set(TEST),
        {("test", GOOD, 0): 467 - 22, ("test", "logical", 1): 56, ("test", "structural", 1): 1202},
        22,
    ),
    "MVTec 3D-AD": (
        mvtec_3d,
        None,
        set(MVTEC_3D),
        {("train", GOOD, 0): 2656, ("validation", GOOD, 0): 294, ("test", GOOD, 0): 249, ("test", BAD, 1): 948},
        4147,  # the files of places, one for each scan
    ),
    "DAGM": (
        dagm,
        None,
        {f"Class{number}" for number in DAGM},
        {("train", GOOD, 0): 7004, ("train", BAD, 1): 1046, ("test", GOOD, 0): 6996, ("test", BAD, 1): 1054},
        0,
    ),
    "Eyecandies": (
        eyecandies,
        None,
        {"CandyCane"},
        {("train", GOOD, 0): 6000, ("validation", GOOD, 0): 600, ("test", GOOD, 0): 150, ("test", BAD, 0): 150},
        2510,  # two maps of each part, the masks, and the pictures without labels
    ),
    "Severstal": (severstal, None, {None}, {(None, GOOD, 0): 5902, (None, BAD, 0): 6666}, 1801),
    "VAD": (
        vad,
        None,
        {None},
        {("train", GOOD, 0): 2000, ("train", BAD, 0): 1000, ("test", GOOD, 0): 1000, ("test", BAD, 0): 1000},
        0,
    ),
    "MVTec AD 2": (
        mvtec_ad_2,
        "MVTec AD 2",
        {"can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"},
        {("train", GOOD, 0): 2400, ("validation", GOOD, 0): 320, ("test", GOOD, 0): 240, ("test", BAD, 1): 720},
        3200,
    ),
    "anomalib's Folder": (anomalib_folder, None, {None}, {(None, GOOD, 0): 34, (None, BAD, 1): 11}, 0),
    "Roboflow": (
        roboflow,
        None,
        {None},
        {
            (split, kind, 0): number
            for split, number in (("train", 300), ("validation", 60), ("test", 40))
            for kind in (GOOD, BAD)
        },
        0,
    ),
    "images/ and masks/": (
        images_and_masks,
        None,
        {None},
        {("train", GOOD, 0): 50, ("test", GOOD, 0): 20, ("test", BAD, 1): 30},
        0,
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_public_tree(tmp_path: Path, name: str) -> None:
    build, dataset, classes, counts, refused = TREES[name]
    tree = build()
    folder = plant(tmp_path / "set", tree)
    start = time.process_time()
    source = find_samples(folder)
    assert time.process_time() - start < 10  # a second or two where nothing else runs
    assert {sample.dataset for sample in source.samples} == {dataset or "set"}
    assert {sample.category for sample in source.samples} == {category or "set" for category in classes}
    found = Counter((sample.split, sample.kind, len(sample.masks)) for sample in source.samples)
    assert found == counts
    assert sum(map(len, source.refused.values())) == refused
    for sample in source.samples:
        for mask in sample.masks:  # the name of each is that of its picture
            assert Path(sample.image).stem in mask


def test_real_iad_names_its_defects(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path, real_iad()))
    assert Counter(sample.defect for sample in source.samples) == {None: 3324, "BX": 600, "HS": 611, "YW": 500}


def test_real_iad_with_several_classes_and_five_cameras(tmp_path: Path) -> None:
    """The first camera alone sees the defects; the other views of a defective part are good queries."""
    tree: Tree = {}
    for name in ("audiojack", "bottle_cap", "toy_brick"):
        for camera in range(1, 6):
            stem = f"realiad_512/{name}/OK/S{{0:04}}/{name}_{{0:04}}_OK_C{camera}_20231021"
            tree |= files(f"{stem}.jpg", 20)
            for defect in ("HS", "QS"):
                stem = f"realiad_512/{name}/NG/{defect}/S{{0:04}}/{name}_{{0:04}}_NG_{defect}_C{camera}_20231021"
                tree |= files(f"{stem}.jpg", 6) | (files(f"{stem}.png", 6) if camera == 1 else {})
    source = find_samples(plant(tmp_path / "masked", tree))
    counts = Counter((sample.category, sample.split, sample.kind, sample.defect) for sample in source.samples)
    for name in ("audiojack", "bottle_cap", "toy_brick"):
        assert counts[name, None, "good", None] == 100
        assert counts[name, "test", "good", None] == 48
        assert counts[name, None, None, "HS"] == counts[name, None, None, "QS"] == 6
    assert (sum(counts.values()), source.refused) == (480, {})
    pairs, _ = draw_pairs(open_benchmark("folder", tmp_path / "masked"), references=4)
    assert {Path(name).parts[-3] for pair in pairs for name in pair.references} == {"OK"}
    # Without the masks nobody knows which view shows the defect.
    bare = {name: content for name, content in tree.items() if name.endswith("jpg")}
    unmasked = find_samples(plant(tmp_path / "bare", bare))
    assert Counter(sample.kind for sample in unmasked.samples) == {"good": 300, None: 180}


@pytest.mark.parametrize(
    ("name", "split", "kind", "role"),
    [
        ("test_public", "test", ..., None),
        ("test_A", "test", ..., None),
        ("train_1", "train", ..., None),
        ("val2", "validation", ..., None),
        ("Test_images", "test", ..., None),
        ("testSet", "test", ..., None),
        ("training set", "train", ..., None),
        ("train_good", "train", "good", None),
        ("Test-NG", "test", None, None),
        ("ok_front", None, "good", None),
        ("def_front", None, None, None),
        ("NotOK", None, None, None),
        ("nOK", None, None, None),
        ("bad_2", None, None, None),
        ("normal images", None, "good", None),
        ("Ground Truth", None, ..., "masks"),
        ("test_masks", "test", ..., "masks"),
        ("GT", None, ..., "masks"),
        ("imgs", None, ..., "pictures"),
        ("n.OK", None, None, None),
        ("n OK", None, None, None),
        ("i.O.", None, "good", None),
        ("n.i.O.", None, None, None),
        ("not good parts", None, None, None),
        ("Gutteile", None, "good", None),
        ("non conforme", None, None, None),
        ("不良品", None, None, None),
        ("良品_2", None, "good", None),
        ("train_合格", "train", "good", None),
        ("Eval", "test", ..., None),
        ("hold-out", "test", ..., None),
        ("Testdaten", "test", ..., None),
        ("references", "train", ..., None),
        ("dev", "validation", ..., None),
        ("with_defects", None, None, None),
        ("tr", "train", ..., None),
        ("te", "test", ..., None),
        ("trn", "train", ..., None),
        ("tst", "test", ..., None),
        ("Vld", "validation", ..., None),
        ("imagesTr", "train", ..., None),
        ("labelsTs", "test", ..., "masks"),
        ("tests", "test", ..., None),
        ("nodefect", None, "good", None),
        ("uncracked", None, "good", None),
        ("non-crack", None, "good", None),
        ("a_ok", None, "good", None),
        ("годные", None, "good", None),
        ("sağlam", None, "good", None),
        ("vadné", None, None, None),
        ("unqualified", None, None, None),
        ("out_of_spec", None, None, None),
        ("Ungood", None, None, None),
        ("class_good", None, "good", None),
        ("normals", None, ..., "maps"),
        ("te_connector", None, ..., None),
        ("transistor", None, ..., None),
        ("damaged", None, ..., None),
        ("fine", None, ..., None),
        ("positive", None, ..., None),
        ("test_strip", None, ..., None),
        ("ok_button", None, ..., None),
        ("accepted", None, "good", None),
        ("Okay", None, "good", None),
        ("non-defect", None, "good", None),
        ("conforming", None, "good", None),
        ("nonconforming", None, None, None),
        ("NotOkay", None, None, None),
        ("mask_bin", None, ..., None),
        ("front_label", None, ..., None),
        ("validated", None, ..., None),
        ("01", None, ..., None),
        ("broken_large", None, ..., None),
    ],
)
def test_what_the_name_of_a_folder_says(name: str, split: str | None, kind: object, role: str | None) -> None:
    said = read_name(name)
    assert (said.split, said.role) == (split, role)
    assert said.has_kind == (kind is not ...)
    assert said.kind == (None if kind is ... else kind)


@pytest.mark.parametrize(
    "mask",
    MASKS,
)
def test_masks_are_never_judged(tmp_path: Path, mask: str) -> None:
    tree = files("good/{}.jpg", 3) | files("bad/{}.jpg", 3)
    folder = plant(tmp_path / "set", tree | {"bad/.keep": b""})
    path = folder / "bad" / mask
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MARKED)
    source = find_samples(folder)
    assert len(source.samples) == 6
    assert source.refused == {}
    masks = {name: row[3] for name, row in shown(source).items() if row[3]}
    assert masks == {"bad/1.jpg": [path.resolve().relative_to(folder.resolve()).as_posix()]}


@pytest.mark.parametrize(
    "end",
    [
        "_msk",
        "_binary",
        "_m",
        "_labelmap",
        "_roi",
        "-Maske",
        "_掩码",
        "_gt_mask",
        "_defect_mask",
        ".instance",
        "_label_GT",
    ],
)
def test_masks_with_any_ending_are_known_by_their_pixels(tmp_path: Path, end: str) -> None:
    tree = {f"good/{at}.png": photograph(at) for at in range(3)} | {
        f"bad/{at}.jpg": photograph(9 + at) for at in range(3)
    }
    folder = plant(tmp_path / "set", tree | {f"bad/{at}{end}.png": MARKED for at in range(3)})
    source = find_samples(folder)
    assert source.refused == {}
    assert [row[3] for name, row in shown(source).items() if name.startswith("bad")] == [
        [f"bad/{at}{end}.png"] for at in range(3)
    ]


def test_pictures_whose_names_extend_others_stay_pictures(tmp_path: Path) -> None:
    tree = {
        f"{kind}/{name}.png": photograph(at) for at, name in enumerate(("1", "1_2", "1_2_3")) for kind in ("ok", "ng")
    }
    source = find_samples(plant(tmp_path / "photographs", tree))
    assert (len(source.samples), source.refused) == (6, {})
    # Where all pictures look like masks, as renders of black parts may, a longer name says nothing.
    dark = find_samples(plant(tmp_path / "dark", dict.fromkeys(tree, MARKED)))
    assert (len(dark.samples), dark.refused) == (6, {})


def test_pictures_that_were_drawn_from_others_are_named(tmp_path: Path) -> None:
    ends = ("_heatmap", "-overlay", "_anomaly_map", "_Pred", " vis")
    tree = files("good/{}.png", 2) | {f"bad/{at}.png": b"" for at in range(len(ends))}
    drawn = {f"bad/{at}{end}.png": photograph(at) for at, end in enumerate(ends)}
    source = find_samples(plant(tmp_path, tree | drawn | {"bad/alone_overlay.png": b""}))
    assert source.refused.keys() == {"are maps, not pictures, by the end of their name"}
    assert {*source.refused["are maps, not pictures, by the end of their name"]} == drawn.keys()
    assert len(source.samples) == 2 + len(ends) + 1


def test_products_named_like_masks_beside_others_stay_products(tmp_path: Path) -> None:
    """Their pictures do not look like masks."""
    products = ("face_mask", "front_label", "bitmap_display")
    tree = {
        f"{product}/{kind}/{at}.png": photograph(at)
        for product in products
        for kind in ("test/good", "test/torn", "train/good")
        for at in range(3)
    }
    source = find_samples(plant(tmp_path, tree))
    assert Counter(sample.category for sample in source.samples) == dict.fromkeys(products, 9)


def test_masks_that_belong_to_no_picture_are_named(tmp_path: Path) -> None:
    tree = files("good/{}.png", 3) | files("bad/{}.png", 2)
    tree |= {"masks/bad/1.png": b"", "masks/bad/7.png": b"", "bad/9_mask.png": b"", "masks/odd/5.png": b""}
    source = find_samples(plant(tmp_path, tree))
    assert len(source.samples) == 5
    assert source.refused == {"are masks of no picture": ("masks/bad/7.png", "masks/odd/5.png", "bad/9_mask.png")}


def test_a_mask_that_fits_two_pictures_is_that_of_neither(tmp_path: Path) -> None:
    tree = files("good/{}.png", 3) | {"bad/crack/1.png": b"", "bad/dent/1.png": b"", "masks/1.png": b""}
    source = find_samples(plant(tmp_path, tree))
    assert not any(sample.masks for sample in source.samples)
    assert source.refused == {"are masks that fit several pictures": ("masks/1.png",)}


def test_two_photographs_of_one_name_are_two_pictures(tmp_path: Path) -> None:
    tree: dict[str, bytes] = {}
    for kind, first in (("good", 0), ("bad", 100)):
        for at in range(3):
            tree |= {f"{kind}/{at}.jpg": photograph(first + at), f"{kind}/{at}.png": photograph(first + at + 50)}
    source = find_samples(plant(tmp_path, tree))
    assert len(source.samples) == 12
    assert source.refused == {}
    # A picture that has its name's ending is one, too, by its pixels: the label of a bottle.
    plant(tmp_path, {"bad/bottle.png": photograph(7), "bad/bottle_label.png": photograph(8)})
    assert len(find_samples(tmp_path).samples) == 14


def test_a_file_between_mask_and_photograph_is_refused(tmp_path: Path) -> None:
    values = np.zeros((40, 40), np.uint8)
    values[:5] = np.arange(200).reshape(5, 40)  # an eighth grey, the rest black
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert look_at(tmp_path / "grey.png") == "unclear"
    folder = plant(tmp_path / "set", files("good/{}.jpg", 2) | {"bad/1.jpg": photograph(1)})
    (folder / "bad/1.png").write_bytes((tmp_path / "grey.png").read_bytes())
    source = find_samples(folder)
    assert source.refused == {"may be masks or pictures (they lie beside a picture of their name)": ("bad/1.png",)}
    assert len(source.samples) == 3


def test_smoothed_masks_and_label_maps_are_masks(tmp_path: Path) -> None:
    disc = np.zeros((200, 200), np.uint8)
    disc[60:140, 60:140] = 255
    Image.fromarray(disc).resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / "smooth.png")
    Image.fromarray(disc // 255 * 3).save(tmp_path / "classes.png")
    Image.fromarray(disc).convert("1").save(tmp_path / "bits.png")
    Image.fromarray(disc).convert("P").save(tmp_path / "palette.gif")
    for name in ("smooth.png", "classes.png", "bits.png", "palette.gif"):
        assert look_at(tmp_path / name) == "mask"


def test_siblings_of_good_are_its_defects_unless_bad_is_there(tmp_path: Path) -> None:
    toy = plant(tmp_path / "toy", files("good/{}.png", 2) | {"crack/1.png": b"", "unsorted/1.png": b""})
    source = find_samples(toy)
    assert shown(source)["crack/1.png"] == (None, None, "crack", [])
    assert source.refused == {"are in no folder whose name says what they show": ("unsorted/1.png",)}
    both = plant(tmp_path / "both", files("good/{}.png", 2) | {"bad/1.png": b"", "archive/1.png": b""})
    assert source.refused.keys() == find_samples(both).refused.keys()
    deep = plant(tmp_path / "deep", {f"{c}/{k}/1.png": b"" for c in ("lamp", "cup") for k in ("good", "dent")})
    assert {sample.category for sample in find_samples(deep).samples} == {"lamp", "cup"}


def test_short_names_of_splits_are_taken_for_splits_and_this_is_said(tmp_path: Path) -> None:
    tree = files("lamp/tr/good/{}.png", 3) | files("lamp/te/good/{}.png", 2) | files("lamp/te/scratch/{}.png", 2)
    source = find_samples(plant(tmp_path / "two", tree))
    counts = Counter((sample.category, sample.split, sample.defect) for sample in source.samples)
    assert counts == {("lamp", "train", None): 3, ("lamp", "test", None): 2, ("lamp", "test", "scratch"): 2}
    assert source.notes == ("taken for splits by their names: te/ for test, tr/ for train",)
    assert find_samples(tmp_path / "two/lamp/te").notes == ("taken for splits by their names: te/ for test",)
    longer = {name.replace("/tr/", "/trn/").replace("/te/", "/tst/"): content for name, content in tree.items()}
    assert find_samples(plant(tmp_path / "three", longer)).notes == ()
    decathlon = files("imagesTr/ok/{}.png", 2) | files("imagesTs/ng/{}.png", 2) | files("labelsTs/ng/{}.png", 2)
    assert shown(find_samples(plant(tmp_path / "decathlon", decathlon)))["imagesTs/ng/1.png"] == (
        "test",
        None,
        None,
        ["labelsTs/ng/1.png"],
    )


def test_a_folder_that_says_bad_below_one_that_says_good_is_not_guessed(tmp_path: Path) -> None:
    tree = files("good/{}.png", 2) | files("bad/{}.png", 2) | files("good/rejected/{}.png", 2) | {"bad/ok/1.png": b""}
    source = find_samples(plant(tmp_path, tree))
    assert len(source.samples) == 5
    assert source.refused == {
        "are in a folder that says bad, below one that says good": ("good/rejected/0.png", "good/rejected/1.png")
    }


def test_splits_above_classes_and_images_below_kinds(tmp_path: Path) -> None:
    tree = {f"{split}/{name}/good/images/1.png": b"" for split in ("train", "test") for name in ("lamp", "cup")}
    source = find_samples(plant(tmp_path, tree | {"test/lamp/NG/images/1.png": b"", "test/lamp/NG/masks/1.png": b""}))
    assert {sample.category for sample in source.samples} == {"lamp", "cup"}
    assert shown(source)["test/lamp/NG/images/1.png"] == ("test", None, None, ["test/lamp/NG/masks/1.png"])
    assert source.refused == {}


def test_a_product_named_like_masks_is_a_product(tmp_path: Path) -> None:
    tree = files("label/train/good/{}.png", 2) | files("label/test/good/{}.png", 2) | files("label/test/torn/{}.png", 2)
    source = find_samples(plant(tmp_path, tree | files("label/ground_truth/torn/{}_mask.png", 2)))
    assert Counter((sample.category, sample.defect, len(sample.masks)) for sample in source.samples) == {
        ("label", None, 0): 4,
        ("label", "torn", 1): 2,
    }


def test_pictures_whose_only_label_is_a_mask(tmp_path: Path) -> None:
    tree = files("images/{}.png", 4) | files("masks/{}.png", 3, BLACK) | {"masks/3.png": MARKED}
    source = find_samples(plant(tmp_path / "all", tree))
    assert [sample.kind for sample in source.samples] == ["good"] * 3 + [None]
    some = plant(tmp_path / "some", {name: data for name, data in tree.items() if name != "masks/0.png"})
    with pytest.raises(InputError, match="4 are in no folder whose name says what they show"):
        find_samples(some)
    turned = plant(tmp_path / "turned", tree | {"masks/0.png": MARKED, "masks/1.png": SWAPPED})
    reason = "have a mask that is white along its border, which is their only label; swap black and white"
    assert find_samples(turned).refused == {reason: ("images/1.png",)}
    broken = plant(tmp_path / "broken", tree | {"masks/0.png": b""})
    reason = "have a mask that cannot be read, which is their only label"
    assert find_samples(broken).refused == {reason: ("images/0.png",)}


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    plant(tmp_path, files("good/{}.png", 2) | {"bad/1.png": b"", "bad/2.DNG": b"", "bad/heatmaps/1.png": b""})
    (tmp_path / "bad/gone.png").symlink_to("nowhere.png")
    assert find_samples(tmp_path).refused == {
        "cannot be read: links without a target, pipes, or locked folders": ("bad/gone.png",),
        "are maps, not pictures, by the name of their folder": ("bad/heatmaps/1.png",),
        "have a format that is not read; export them as PNG or JPEG": ("bad/2.DNG",),
    }


def test_run_lengths_in_their_first_form(tmp_path: Path) -> None:
    """A row for each class of each picture; those without a defect have empty cells."""
    rows = "".join(
        f"{at}.jpg_{kind},{'1 5' if (at, kind) in ((1, 2), (1, 4)) else ''}\n"
        for at in range(3)
        for kind in (1, 2, 3, 4)
    )
    tree = files("train_images/{}.jpg", 3) | {
        "train.csv": f"ImageId_ClassId,EncodedPixels\n{rows}9.jpg_1,1 5\n".encode()
    }
    source = find_samples(plant(tmp_path, tree))
    assert [(sample.kind, sample.defect) for sample in source.samples] == [
        ("good", None),
        (None, "class 2, class 4"),
        ("good", None),
    ]
    assert source.refused == {"are named in train.csv, but absent": ("9.jpg",)}


def test_annotations_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    """labelme's files beside the pictures, VOC's in a folder of masks, arrays; not what describes a whole data set."""
    tree = files("good/{}.jpg", 2) | files("bad/{}.jpg", 3) | {"bad/1.json": b"{}", "annotations/bad/2.xml": b""}
    tree |= {"groundTruth/0.mat": b"", "masks/bad/0.npy": b"", "camera.json": b"{}", "bad/notes.json": b"{}"}
    source = find_samples(plant(tmp_path, tree))
    assert len(source.samples) == 5
    assert source.refused == {
        "are annotations that are not read; export them as masks": (
            "annotations/bad/2.xml",
            "bad/1.json",
            "groundTruth/0.mat",
        ),
        "have a format that is not read; export them as PNG or JPEG": ("masks/bad/0.npy",),
    }


def test_maps_of_depth_and_of_normals_are_no_pictures(tmp_path: Path) -> None:
    tree = {
        f"candy/{split}/{kind}/{sort}/1.png": b""
        for split, kind in (("train", "good"), ("test", "bad"))
        for sort in ("rgb", "normals", "depth")
    }
    source = find_samples(plant(tmp_path, tree | {"candy/test/bad/gt/1.png": b""}))
    assert [(sample.split, sample.kind, len(sample.masks)) for sample in source.samples] == [
        ("test", None, 1),
        ("train", "good", 0),
    ]
    assert [len(names) for names in source.refused.values()] == [4]


@pytest.mark.posix
def test_a_folder_of_links_that_lead_nowhere_says_so(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).symlink_to(f"../store/{name}")
    with pytest.raises(InputError, match="found no pictures, 0 other files; 2 cannot be read: links without a target"):
        find_samples(tmp_path)


def test_a_split_alone_with_masks_beside_it(tmp_path: Path) -> None:
    plant(tmp_path, mvtec_ad_2())
    source = find_samples(tmp_path / "mvtec_ad_2/can/test_public")
    counts = Counter((sample.category, sample.kind, len(sample.masks)) for sample in source.samples)
    assert counts == {("can", "good", 0): 30, ("can", None, 1): 90}
