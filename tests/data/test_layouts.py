"""Sources: each layout gives its samples, full-size skeletons the public counts; traps are refused and counted."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.skeletons import TEST
from lad_reasoner.data.class_folders import find_classes
from lad_reasoner.data.layouts import LAYOUTS, read_layouts
from lad_reasoner.data.public_sets import LOGICAL, MVTEC_AD
from lad_reasoner.data.sources import Source, find_samples, why_not_train
from lad_reasoner.errors import InputError, RecordError
from lad_reasoner.files.walk import list_files, natural, natural_path
from lad_reasoner.miniloco import write_benchmark
from lad_reasoner.records import Sample

DATA = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[3] / "shared/data/real")).parent
needs_data = pytest.mark.skipif(
    not (DATA / "real").is_dir(), reason=f"no data in {DATA}; set LAD_PHOTOGRAPHS to the folder `real` in it"
)


def plant(folder: Path, names: Iterable[str]) -> Path:
    """Empty files: the scan opens no picture."""
    made = set()
    for name in names:
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return folder


def mvtec(category: str, *, train: int = 3) -> list[str]:
    """A category of MVTec AD at full size; its defects share what is not good."""
    everything, good = TEST[category]
    defects = sorted(MVTEC_AD[category])
    names = [f"{category}/train/good/{i:03d}.png" for i in range(train)]
    names += [f"{category}/test/good/{i:03d}.png" for i in range(good)]
    for i in range(everything - good):
        file = f"{defects[i % len(defects)]}/{i // len(defects):03d}"
        names += [f"{category}/test/{file}.png", f"{category}/ground_truth/{file}_mask.png"]
    return names


def images(source: Source) -> list[str]:
    return [Path(sample.image).relative_to(source.folder).as_posix() for sample in source.samples]


def shown(source: Source) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Picture -> (split, kind, defect)."""
    return {
        name: (sample.split, sample.kind, sample.defect)
        for name, sample in zip(images(source), source.samples, strict=True)
    }


def test_mvtec_ad_at_full_size_in_seconds(tmp_path: Path) -> None:
    names = [name for category in TEST for name in mvtec(category, train=700)]
    plant(tmp_path / "mvtec", [*names, "mvtec_note.txt", "bottle/license.txt", ".DS_Store", "bottle/Thumbs.db"])
    assert len(names) > 13_000
    start = time.process_time()
    source = find_samples(tmp_path / "mvtec")
    assert time.process_time() - start < 10  # half a second where nothing else runs
    test = [sample for sample in source.samples if sample.split == "test"]
    assert Counter(sample.category for sample in test) == {name: count for name, (count, _) in TEST.items()}
    assert Counter(sample.category for sample in test if sample.kind == "good") == {
        name: good for name, (_, good) in TEST.items()
    }
    assert {sample.category for sample in source.samples if sample.split == "train"} == TEST.keys()
    assert {(sample.dataset, sample.licence) for sample in source.samples} == {("MVTec AD", "CC BY-NC-SA 4.0")}
    for sample in source.samples:
        assert len(sample.masks) == (sample.kind != "good")
        assert (sample.kind == "logical") == ((sample.category, sample.defect) in LOGICAL)
        assert sample.label == ("no" if sample.kind == "good" else "yes")
    assert source.refused == {}


def test_a_mask_is_that_of_its_picture(tmp_path: Path) -> None:
    plant(tmp_path / "bottle", [name.removeprefix("bottle/") for name in mvtec("bottle")])
    for folder in (tmp_path, tmp_path / "bottle", tmp_path / "bottle/test"):
        source = find_samples(folder)
        assert {sample.category for sample in source.samples} == {"bottle"}
        for sample in source.samples:
            if sample.kind != "good":
                stem = f"{sample.defect}/{Path(sample.image).stem}_mask.png"
                assert sample.masks == (str(tmp_path / "bottle/ground_truth" / stem),)


def test_ds_mvtec_without_its_wrong_pictures(tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            *(f"DS-MVTec/pill/image/good/{i:03d}.png" for i in range(26)),
            "DS-MVTec/pill/image/color/000.png",
            "DS-MVTec/pill/mask/color/000_mask.png",
            "DS-MVTec/pill/rgb_mask/color/000_mask.png",
            "DS-MVTec/pill/caption/color/000.txt",
            "DS-MVTec/metal_nut/image/good/000.png",
        ],
    )
    for folder, count in ((tmp_path, 6), (tmp_path / "DS-MVTec", 6), (tmp_path / "DS-MVTec/pill", 5)):
        source = find_samples(folder)
        assert len(source.samples) == count
        assert {(sample.dataset, sample.split) for sample in source.samples} == {("MVTec AD", "test")}
        ((reason, names),) = source.refused.items()
        assert reason == "are metal nuts among DS-MVTec's pills"
        assert [name[-7:] for name in names] == [f"{i:03d}.png" for i in range(22)]
        (color,) = [sample for sample in source.samples if sample.defect == "color"]
        assert color.masks == (str(tmp_path / "DS-MVTec/pill/mask/color/000_mask.png"),)


def test_metal_nuts_are_refused_where_further_folders_lie_beside_them(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path, [f"pill/image/{name}.png" for name in ("good/000", "good/022", "notes/1")]))
    assert shown(source) == {"pill/image/good/022.png": (None, "good", None)}
    assert source.refused == {
        "are metal nuts among DS-MVTec's pills": ("pill/image/good/000.png",),
        "are in notes/, which says neither good nor bad": ("pill/image/notes/1.png",),
    }


def test_the_tree_in_each_docstring_is_recognised() -> None:
    trees = {
        "MiniLOCO": ["test/good/0.png", "facts.jsonl", "defects_config.json"],
        "MVTec LOCO AD": ["test/logical_anomalies/000.png", "defects_config.json"],
        "MVTec AD": ["test/broken_large/000.png"],
        "VisA": ["test/bad/000.JPG"],
        None: ["bad/scratch/1.png"],
    }
    for dataset, files in trees.items():
        name = "candle" if dataset == "VisA" else "bottle"
        [folder] = find_classes(Path("/data"), [(name, *file.split("/")) for file in files], {})
        assert next(layout for layout in LAYOUTS if layout.recognises(folder)).dataset == dataset


def test_a_public_picture_in_two_layouts_counts_once(tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            "DS-MVTec/pill/image/good/022.png",
            "DS-MVTec/pill/image/good/000.png",
            "MVTec-AD/pill/test/good/000.png",
            "MVTec-AD/pill/test/good/022.png",
            "MVTec-AD/pill/train/good/022.png",
        ],
    )
    source = find_samples(tmp_path)
    assert images(source) == [
        "DS-MVTec/pill/image/good/022.png",
        "MVTec-AD/pill/test/good/000.png",
        "MVTec-AD/pill/train/good/022.png",
    ]
    assert source.refused["have the name of another picture, or differ only in case"] == (
        "MVTec-AD/pill/test/good/022.png",
    )


@needs_data
def test_loco_at_full_size(tmp_path: Path) -> None:
    names = []
    with (DATA / "mvtec_loco_listing.csv").open() as file:
        for row in csv.DictReader(file):
            category, stem = row["category"], Path(row["file"]).stem
            names.append(f"{category}/{row['split']}/{row['kind']}/{row['file']}")
            masks = range(row["defects"].count(";") + 1) if row["kind"] != "good" else ()  # a file for each defect
            names += [f"{category}/ground_truth/{row['kind']}/{stem}/{i:03d}.png" for i in masks]
    source = find_samples(plant(tmp_path, [*names, "pushpins/defects_config.json", "readme.txt"]))
    assert len(source.samples) == 3651
    assert {sample.dataset for sample in source.samples} == {"MVTec LOCO AD"}
    counts = Counter((sample.category, sample.kind) for sample in source.samples if sample.split == "test")
    expected = {
        "juice_bottle": (94, 142),
        "breakfast_box": (102, 83),
        "screw_bag": (122, 137),
        "splicing_connectors": (119, 108),
        "pushpins": (138, 91),
    }
    assert {name: (counts[name, "good"], counts[name, "logical"]) for name in expected} == expected
    assert sum(good + logical for good, logical in expected.values()) == 1136
    assert Counter(sample.split for sample in source.samples) == {"train": 1778, "validation": 305, "test": 1568}
    for sample in source.samples:
        assert bool(sample.masks) == (sample.kind in ("logical", "structural"))
        assert why_not_train(sample)
    assert max(len(sample.masks) for sample in source.samples) == 2


@needs_data
def test_visa_at_full_size_in_both_layouts(tmp_path: Path) -> None:
    text = (DATA / "visa_1cls.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    own, converted = tmp_path / "VisA", tmp_path / "converted"
    plant(own, [name for row in rows for name in (row["image"], row["mask"]) if name])
    (own / "split_csv").mkdir()
    (own / "split_csv/1cls.csv").write_text(text)
    (own / "candle/image_anno.csv").write_text(
        "image,label,mask\ncandle/Data/Images/Normal/0000.JPG,normal,\n"
        'candle/Data/Images/Anomaly/000.JPG,"chunk of wax missing,other",candle/Data/Masks/Anomaly/000.png\n'
    )
    for row in rows:
        folder, stem = "bad" if row["mask"] else "good", Path(row["image"]).stem
        names = [f"{row['object']}/{row['split']}/{folder}/{stem}.JPG"]
        names += [f"{row['object']}/ground_truth/bad/{stem}.png"] if row["mask"] else []
        plant(converted, names)
    for folder in (own, own / "split_csv/1cls.csv", converted):
        samples = find_samples(folder).samples
        counts = Counter((sample.split, sample.kind, len(sample.masks)) for sample in samples)
        assert counts == {("train", "good", 0): 8659, ("test", "good", 0): 962, ("test", None, 1): 1200}
        assert {(sample.dataset, sample.licence) for sample in samples} == {("VisA", "CC BY 4.0")}
        defects = [sample.defect for sample in samples if sample.defect]
        assert defects == (["chunk of wax missing,other"] if folder != converted else [])


def test_visa_without_its_split_list_is_told_what_is_missing(tmp_path: Path) -> None:
    plant(tmp_path, ["candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Anomaly/000.JPG"])
    with pytest.raises(InputError, match=r"found 2 pictures in candle/Data/Images/.*VisA with split_csv/1cls\.csv"):
        find_samples(tmp_path)


def test_miniloco_with_its_facts(tmp_path: Path) -> None:
    written = list(write_benchmark(tmp_path, products=["bolt_plate", "pushpins"], per_class=2, size=64))
    source = find_samples(tmp_path)
    assert len(source.samples) == len(written) == 20
    truth = {(fact["product"], fact["file"]): fact for fact in written}
    for sample in source.samples:
        fact = truth[sample.category, Path(sample.image).relative_to(tmp_path / sample.category).as_posix()]
        assert sample.facts == fact
        assert (sample.split, sample.kind, sample.defect) == (fact["split"], fact["kind"], fact["defect"])
        assert sample.masks == ((str(tmp_path / sample.category / fact["mask"]),) if fact["mask"] else ())
        assert (sample.dataset, sample.licence) == ("MiniLOCO", "Apache-2.0")
        assert bool(why_not_train(sample)) == (sample.category == "pushpins")
        assert Sample.model_validate_json(sample.model_dump_json()) == sample
    # Contact sheets lie beside the products.
    assert source.refused == {}  # the contact sheets are no pictures of the set
    facts = tmp_path / "bolt_plate/facts.jsonl"
    whole = facts.read_text()
    facts.write_text(whole[:-20])  # a crash cut the last line off
    assert [sample.facts for sample in find_samples(tmp_path / "bolt_plate").samples].count(None) == 1
    facts.write_text("{}\n" + whole)
    with pytest.raises(RecordError, match=r"facts\.jsonl:1: file: Field required"):
        find_samples(tmp_path)
    first = json.loads(whole.splitlines()[0])
    for field, value in (("items", [None]), ("fills", 3), ("product", None), ("kind", "odd"), ("defect_words", [])):
        facts.write_text(json.dumps({**first, field: value}) + "\n" + whole)
        with pytest.raises(RecordError, match=rf"facts\.jsonl:1: {field}"):  # a traceback where claims were checked
            find_samples(tmp_path)


def test_own_folders_with_any_usual_names(tmp_path: Path) -> None:
    for good, bad, kind in (
        ("good", "bad", None),
        ("Normal", "ABNORMAL", None),
        ("ok", "nok", None),
        ("OK", "not OK", None),
        ("normal", "anomaly", None),
        ("good", "logical", "logical"),
        ("good", "structural_anomalies", "structural"),
    ):
        folder = plant(tmp_path / f"{good}-{bad}/lamp", [f"{good}/1.JPG", f"{bad}/1.JPG", f"{bad}/scratch/1.jpeg"])
        source = find_samples(folder)
        assert shown(source) == {
            f"{good}/1.JPG": (None, "good", None),
            f"{bad}/1.JPG": (None, kind, None),
            f"{bad}/scratch/1.jpeg": (None, kind, "scratch"),
        }
        assert {(s.dataset, s.category, s.licence) for s in source.samples} == {("lamp", "lamp", "unknown")}
        assert [sample.label for sample in source.samples].count("yes") == 2


def test_own_folders_with_splits_products_and_masks(tmp_path: Path) -> None:
    folder = plant(
        tmp_path / "line",
        [
            *("a/lamp/train/good/1.png", "a/lamp/test/good/1.png", "a/lamp/test/bad/1.png", "a/lamp/test/dent/1.png"),
            *("a/lamp/ground_truth/dent/1_mask.png", "a/lamp/test/masks/bad/1.png"),
            *(
                "socket/good/val/1.png",
                "socket/bad/val/1.png",
                "socket/bad/val/1_mask.png",
                "socket/bad/val/2_mask.png",
            ),
        ],
    )
    source = find_samples(folder)
    assert shown(source) == {
        "a/lamp/test/bad/1.png": ("test", None, None),
        "a/lamp/test/dent/1.png": ("test", None, "dent"),
        "a/lamp/test/good/1.png": ("test", "good", None),
        "a/lamp/train/good/1.png": ("train", "good", None),
        "socket/bad/val/1.png": ("validation", None, None),
        "socket/good/val/1.png": ("validation", "good", None),
    }
    assert source.refused == {"are masks of no picture": ("socket/bad/val/2_mask.png",)}
    masks = {name: sample.masks for name, sample in zip(images(source), source.samples, strict=True) if sample.masks}
    assert masks == {
        "a/lamp/test/bad/1.png": (str(folder / "a/lamp/test/masks/bad/1.png"),),
        "a/lamp/test/dent/1.png": (str(folder / "a/lamp/ground_truth/dent/1_mask.png"),),
        "socket/bad/val/1.png": (str(folder / "socket/bad/val/1_mask.png"),),
    }
    assert {sample.category for sample in source.samples} == {"a/lamp", "socket"}


def test_own_folder_called_image_has_no_split(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path / "lamp", ["image/good/1.png", "image/bad/1.png"]))
    assert shown(source) == {"image/bad/1.png": (None, None, None), "image/good/1.png": (None, "good", None)}


def test_own_products_named_like_public_ones_stay_own(tmp_path: Path) -> None:
    plant(tmp_path / "shop", ["bottle/train/good/1.png", "bottle/test/good/1.png", "bottle/test/leak/1.png"])
    assert {sample.dataset for sample in find_samples(tmp_path / "shop").samples} == {"shop"}


def test_public_classes_in_another_case(tmp_path: Path) -> None:
    """As copies on Windows, and unpacked by hand, are called."""
    plant(
        tmp_path,
        [
            "Metal Nut/Train/Good/000.png",
            "Metal Nut/Test/Flip/000.png",
            "Metal Nut/Ground_Truth/Flip/000_mask.png",
            "Pill/image/good/000.png",
            "Pill/image/good/022.png",
            "Candle/test/Bad/000.JPG",
            "PUSHPINS/test/logical_anomalies/000.png",
        ],
    )
    source = find_samples(tmp_path)
    known = [(sample.dataset, sample.category, sample.kind, sample.defect) for sample in source.samples]
    assert known == [
        ("VisA", "candle", None, None),
        ("MVTec AD", "metal_nut", "logical", "flip"),
        ("MVTec AD", "metal_nut", "good", None),
        ("MVTec AD", "pill", "good", None),
        ("MVTec LOCO AD", "pushpins", "logical", None),
    ]
    assert source.refused == {"are metal nuts among DS-MVTec's pills": ("Pill/image/good/000.png",)}
    assert source.samples[1].masks == (str(tmp_path / "Metal Nut/Ground_Truth/Flip/000_mask.png"),)


def test_own_folders_keep_their_names(tmp_path: Path) -> None:
    plant(tmp_path, ["Bottle/good/1.png", "Bottle/bad/1.png"])
    assert {sample.category for sample in find_samples(tmp_path).samples} == {"Bottle"}
    assert {sample.category for sample in find_samples(tmp_path / "Bottle").samples} == {"Bottle"}


def test_visa_in_another_case(tmp_path: Path) -> None:
    plant(tmp_path, ["Candle/Data/Images/Normal/0000.JPG", "Candle/Data/Images/Anomaly/000.JPG"])
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(
        "object,split,label,image,mask\nCandle,test,normal,Candle/Data/Images/Normal/0000.JPG,\n"
        "Candle,test,anomaly,Candle/Data/Images/Anomaly/000.JPG,\n"
    )
    (tmp_path / "Candle/image_anno.csv").write_text(
        "image,label,mask\nCandle/Data/Images/Anomaly/000.JPG,chunk of wax missing,\n"
    )
    samples = find_samples(tmp_path).samples
    assert {(sample.dataset, sample.category) for sample in samples} == {("VisA", "candle")}
    assert [sample.defect for sample in samples] == ["chunk of wax missing", None]


def test_a_folder_that_says_nothing_is_not_guessed(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path, ["good/1.png", "bad/1.png", "unsure/1.png", "test/images/1.png", "1.png"]))
    assert images(source) == ["bad/1.png", "good/1.png"]
    assert source.refused == {
        "are in no folder whose name says what they show": ("1.png", "unsure/1.png"),
        "are in images/, which says neither good nor bad": ("test/images/1.png",),
    }


def test_copies_of_the_benchmark_are_known_by_name(tmp_path: Path) -> None:
    plant(tmp_path, ["Screw-Bag/good/1.png", "Screw-Bag/bad/1.png", "lamp/good/1.png"])
    refused = {sample.category for sample in find_samples(tmp_path).samples if why_not_train(sample)}
    assert refused == {"Screw-Bag"}
    plant(tmp_path / "all", ["pushpins/test/a/1.png", "mvtec_loco_anomaly_detection/x/2.png", "lamp/3.png"])
    (tmp_path / "all/t.csv").write_text(
        "image,label\npushpins/test/a/1.png,bad\nmvtec_loco_anomaly_detection/x/2.png,good\nlamp/3.png,good\n"
    )
    assert [bool(why_not_train(sample)) for sample in find_samples(tmp_path / "all").samples] == [False, True, True]
    plant(tmp_path / "pins", ["test/good/1.png", "test/logical_anomalies/1.png", "defects_config.json"])
    assert all(why_not_train(sample) for sample in find_samples(tmp_path / "pins").samples)


def test_names_that_differ_only_in_case(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path, ["good/a.png", "good/A.png", "good/b.PNG", "bad/a.png"]))
    assert len(source.samples) == 3
    ((reason, names),) = source.refused.items()
    assert "differ only in case" in reason
    assert len(names) == 1


def test_natural_order(tmp_path: Path) -> None:
    source = find_samples(plant(tmp_path, [f"good/{i}.png" for i in (10, 9, 1, 100)] + ["good/a2.png", "good/A10.png"]))
    assert images(source) == [f"good/{name}.png" for name in ("1", "9", "10", "100", "a2", "A10")]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9)), unique=True, max_size=9))
def test_order_is_total_and_repeatable(paths: list[tuple[str, ...]]) -> None:
    backwards = paths[::-1]
    assert sorted(paths, key=natural_path) == sorted(backwards, key=natural_path)
    assert len({natural(name) for path in paths for name in path}) == len({name for path in paths for name in path})


FOLDERS = st.sampled_from(
    ["bottle", "lamp", "pushpins", "candle", "pill", "train", "test", "image", "Data", "Images"]
) | (
    st.sampled_from(
        ["good", "ok", "bad", "broken_large", "logical", "logical_anomalies", "masks", "ground_truth", "rgb_mask"]
    )
)
FILES = st.sampled_from(["000.png", "000_mask.png", "1.JPG", "note.txt", "defects_config.json"])


@given(st.sets(st.tuples(st.lists(FOLDERS, max_size=5).map(tuple), FILES), max_size=12))
def test_each_picture_is_a_sample_or_refused_or_a_mask(tree: set[tuple[tuple[str, ...], str]]) -> None:
    files = [(*folders, name) for folders, name in sorted(tree)]
    refused: dict[str, list[str]] = {}
    samples = read_layouts(Path("/data/base"), files, refused)
    told = [
        *(sample.image.removeprefix("/data/base/") for sample in samples),
        *(n for ns in refused.values() for n in ns),
    ]
    assert len(told) == len(set(told))
    pictures = {"/".join(parts) for parts in files if parts[-1][-3:] in ("png", "JPG") and "rgb_mask" not in parts}
    assert set(told) <= pictures
    masks = [mask.removeprefix("/data/base/") for sample in samples for mask in sample.masks]
    assert len(masks) == len(set(masks))
    assert set(masks) <= pictures - set(told)
    # What is neither is the mask of a picture that is good or refused: named as a mask, or in a folder of masks.
    for name in pictures - set(told) - set(masks):
        assert "_mask" in name or not {"ground_truth", "masks"}.isdisjoint(name.split("/"))
    for sample in samples:
        assert sample.kind != "good" or (sample.defect is None and not sample.masks)


def test_links_and_what_is_hidden(tmp_path: Path) -> None:
    plant(tmp_path / "real", ["good/1.png", "bad/1.png", ".trash/good/2.png", "__MACOSX/good/._1.png", "good/._1.png"])
    (tmp_path / "real/good/loop").symlink_to(tmp_path / "real")
    (tmp_path / "real/aaa").symlink_to(tmp_path / "real/good")  # sorts first, yet the folder's own name counts
    (tmp_path / "real/bad/self.png").symlink_to("self.png")
    (tmp_path / "real/bad/gone.png").symlink_to("nowhere.png")
    (tmp_path / "real/bad/2.png").symlink_to(tmp_path / "real/good/1.png")
    assert images(find_samples(tmp_path / "real")) == ["bad/1.png", "bad/2.png", "good/1.png"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lamp").symlink_to(tmp_path / "real")
    assert images(find_samples(tmp_path / "elsewhere")) == [f"lamp/{n}.png" for n in ("bad/1", "bad/2", "good/1")]
    assert list_files(tmp_path / "elsewhere")[0] == ("lamp", "bad", "1.png")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    plant(tmp_path, ["good/1.png"])
    Path(os.fsdecode(os.fsencode(tmp_path / "good") + b"/\xff.png")).touch()
    source = find_samples(tmp_path)
    assert images(source) == ["good/1.png"]
    assert source.refused == {"have a name that is not UTF-8": ("good/\\udcff.png",)}


def test_unrecognised_folders_are_described_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: no such folder"):
        find_samples(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found no pictures, 0 other files; expected good/ and bad/"):
        find_samples(tmp_path / "empty")
    plant(tmp_path / "text", ["a.txt", "b.zip"])
    with pytest.raises(InputError, match=r"found no pictures, 2 other files \(\.txt, \.zip\); expected"):
        find_samples(tmp_path / "text")
    plant(tmp_path / "flat", [f"{i}.png" for i in range(3)] + [f"day{i}/x.png" for i in range(7)])
    with pytest.raises(InputError) as caught:
        find_samples(tmp_path / "flat")
    message = str(caught.value)
    assert "found 10 pictures in the folder itself, day0, day1, day2, day3 and 3 more" in message
    assert "\n" not in message
    (tmp_path / "flat/1.png").write_bytes(b"")
    with pytest.raises(InputError, match="give a folder, or a CSV file"):
        find_samples(tmp_path / "flat/1.png")


TABLE = """\
File;Label;Product;Split;Defect;Masks
p/10.JPG;bad;lamp;Test;missing screw;m/10a.png|m/10b.png
p/9.JPG;0;lamp;Training;;
p\\11.JPG;logical;lamp;val;;m/absent.png
"""


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    plant(tmp_path, ["p/9.JPG", "p/10.JPG", "p/11.JPG", "m/10a.png", "m/10b.png", "good/other.png"])
    (tmp_path / "labels.csv").write_text("\ufeff" + TABLE, encoding="utf-8")
    (tmp_path / "verdicts.csv").write_text("query,score\nx.png,0.5\n")
    for given_path in (tmp_path, tmp_path / "labels.csv"):
        samples = find_samples(given_path).samples
        assert [(Path(s.image).name, s.split, s.kind, s.defect, len(s.masks)) for s in samples] == [
            ("9.JPG", "train", "good", None, 0),
            ("10.JPG", "test", None, "missing screw", 2),
            ("11.JPG", "validation", "logical", None, 0),
        ]
        assert {(s.dataset, s.category) for s in samples} == {(tmp_path.name, "lamp")}
    (tmp_path / "second.csv").write_text("image,label\np/9.JPG,good\n")
    with pytest.raises(InputError, match=r"several tables of pictures \(labels\.csv, second\.csv\)"):
        find_samples(tmp_path)


def test_columns_that_are_not_read_and_absent_masks_are_told(tmp_path: Path) -> None:
    """`class` is not the category: unsaid, the pictures of two products would be references of each other."""
    plant(tmp_path, ["1.png", "2.png", "m/2.png"])
    (tmp_path / "t.csv").write_text("image,label,class,mask,\n1.png,good,nut,\n2.png,bad,bolt,m/2.png;m/gone.png\n")
    source = find_samples(tmp_path)
    assert source.notes == (
        "t.csv: columns that are not read: class; those that are: image, label, category, split, defect, mask",
        "t.csv: 1 mask is named, but absent: m/gone.png",
    )
    assert [len(sample.masks) for sample in source.samples] == [0, 1]
    (tmp_path / "t.csv").write_text("image,label\n1.png,good\n2.png,bad\n")
    assert find_samples(tmp_path).notes == ()


def test_a_table_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    plant(tmp_path, ["secret.png", "set/in.png"])
    rows = [
        "../secret.png",
        "in.png",
        "a/../../secret.png",
        str(tmp_path / "secret.png"),
        "gone.png",
        "..",
        "set/../in.png",
    ]
    rows += [str(tmp_path / "set/in.png")]
    (tmp_path / "set/t.csv").write_text("image,label,mask\n" + "".join(f"{row},bad,../secret.png\n" for row in rows))
    source = find_samples(tmp_path / "set")
    assert images(source) == ["in.png"]
    assert source.samples[0].masks == ()
    assert source.refused["are named in t.csv, but outside its folder"] == (rows[0], rows[2], rows[3], rows[5])
    assert source.refused["are named in t.csv, but absent"] == ("gone.png",)


@pytest.mark.parametrize("name", ["labels.tsv", "labels.txt", "LABELS.TSV"])
def test_tables_with_other_suffixes(tmp_path: Path, name: str) -> None:
    plant(tmp_path, ["p/1.png", "p/2.png"])
    (tmp_path / name).write_text("image\tlabel\np/1.png\tgood\np/2.png\tbad\n")
    (tmp_path / "readme.txt").write_text("image and label of each part\n")
    for given_path in (tmp_path, tmp_path / name):
        assert [sample.kind for sample in find_samples(given_path).samples] == ["good", None]
    (tmp_path / "labels.csv").write_text("image,label\np/1.png,good\n")  # the same for other programs
    assert len(find_samples(tmp_path).samples) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("labels.xlsx", r"labels\.xlsx is a workbook: save it as CSV"),
        ("label.json", r"label\.json is not read: write its labels as CSV"),
        ("train/metadata.jsonl", r"train/metadata\.jsonl is not read: write its labels as CSV"),
    ],
)
def test_labels_in_other_files_are_named_with_the_mend(tmp_path: Path, name: str, words: str) -> None:
    plant(tmp_path, ["1.png", "2.png", "train/3.png", name])
    for given_path in (tmp_path, tmp_path / name):
        if given_path == tmp_path or "/" not in name:
            with pytest.raises(InputError, match=words):
                find_samples(given_path)


ROWS = [("p/g0.png", "0"), ("p/g1.png", "0"), ("p/b0.png", "1"), ("p/b1.png", "1")]


LABELS = [("0", "1"), ("0.0", "1.0"), ("0.", "1."), ("0,0", "1,0"), ("OK ", "NOT OK"), ("False", "True")]
MINUS_ONE = [("1", "-1"), ("1.0", "-1.0"), ("+1", "\u22121"), ("good", "-1")]


@pytest.mark.parametrize("labels", LABELS + MINUS_ONE)
def test_labels_of_tables(tmp_path: Path, labels: tuple[str, str]) -> None:
    plant(tmp_path, [name for name, _ in ROWS])
    lines = [f'{name},"{labels[int(label)]}"\n' for name, label in ROWS]
    (tmp_path / "labels.csv").write_text("image,label\n" + "".join(lines), encoding="utf-8")
    source = find_samples(tmp_path)
    assert [sample.kind for sample in source.samples] == [None, None, "good", "good"]
    has_minus = labels[1].startswith(("-1", "\u2212"))
    assert [note.partition(":")[0] for note in source.notes] == ["labels.csv"] * has_minus
    assert not has_minus or "-1 were taken as anomalous" in source.notes[0]


def test_minus_one_beside_zero_is_not_guessed(tmp_path: Path) -> None:
    plant(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "t.csv").write_text("image,label\n1.png,0\n2.png,1\n3.png,-1\n")
    with pytest.raises(InputError, match=r"t\.csv:4: label: '-1' stands beside 0; write good and bad"):
        find_samples(tmp_path)


def test_the_columns_of_a_table_that_is_not_understood_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("photo;verdict of the line\n1.png;good\n")
    with pytest.raises(InputError, match="columns image and label; it has photo, verdict of the line"):
        find_samples(tmp_path / "t.csv")
    plant(tmp_path, ["1.png"])
    with pytest.raises(InputError, match=r"t\.csv with the columns photo, verdict of the line; expected"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n1.png,good\n2.png,maybe\n", r"t\.csv:3: label: 'maybe' is unknown; write good, bad"),
        ("image,label\n1.png\n", r"t\.csv:2: label: '' is unknown"),
        ("image,label\n,good\n", r"t\.csv:2: image: the cell is empty"),
        ("image,label,split\n1.png,good,someday\n", r"t\.csv:2: split: 'someday' is unknown"),
        ('image,label\n"1.png,good\n', r"t\.csv:2: not valid CSV"),
        (
            "image,label\n2.png,good\n",
            r"layout not recognised; found 1 pictures in the folder itself \(1 are named in t\.csv",
        ),
        ("a,b\n1.png,good\n", "give a folder, or a CSV file with the columns image and label"),
    ],
)
def test_malformed_tables_name_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    plant(tmp_path, ["1.png"])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        find_samples(tmp_path / "t.csv" if "give" in message else tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_of_which_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\n1.png,good\n../2.png,good\n")
    with pytest.raises(
        InputError, match=r"no picture of it can be used \(1 are named in t\.csv, but absent; 1 are named in t"
    ):
        find_samples(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("image,label\n")
    with pytest.raises(InputError, match="it has no rows"):
        find_samples(tmp_path / "t.csv")


def test_a_table_that_is_no_utf8(tmp_path: Path) -> None:
    plant(tmp_path, ["1.png"])
    (tmp_path / "t.csv").write_bytes(b"image,label\n1.png,good\n\xff.png,good\n")
    with pytest.raises(InputError, match=r"t\.csv: not UTF-8 .* save it as UTF-8 CSV"):
        find_samples(tmp_path)


@needs_data
def test_real_pictures() -> None:
    expected = {
        "mvtec_ad_bottle": ("MVTec AD", 143),
        "mvtec_ad_256": ("MVTec AD", 120),
        "mvtec_ad_small": ("MVTec AD", 112),
        "visa_small": ("VisA", 96),
        "mvtec_loco_small": ("MVTec LOCO AD", 60),
        "toy_aliens": ("toy_aliens", 59),
    }
    for name, (dataset, count) in expected.items():
        source = find_samples(DATA / "real" / name)
        assert Counter(sample.dataset for sample in source.samples) == {dataset: count}
        assert source.refused == {}
    # All side by side: what two of the folders hold of the same MVTec AD picture counts once.
    together = find_samples(DATA / "real")
    names = [*images(together), *(name for refused in together.refused.values() for name in refused)]
    assert sum(Path(name).parts[0] in expected for name in names) == 590


def test_a_half_drawn_miniloco_says_so(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"products": ["keyboard_row", "pill_blister"], "per_class": 1, "size": 48}
    drawing = write_benchmark(tmp_path, **arguments)
    for _ in range(7):  # five pictures of the first product and two of the second
        next(drawing)
    drawing.close()
    source = find_samples(tmp_path)
    assert {sample.category for sample in source.samples} == {"keyboard_row"}
    mend = "the same `lad-reasoner data miniloco` again draws the rest"
    assert source.notes == (f"passed over, not drawn to the end: pill_blister; {mend}",)
    list(write_benchmark(tmp_path, **arguments))
    assert find_samples(tmp_path).notes == ()
