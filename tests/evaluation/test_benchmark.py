"""Benchmarks: which pairs there are, where references come from, what is said of an incomplete copy."""

import csv
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.planted import lamps, plant, png
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.evaluation.benchmark import KEPT_FILES, Benchmark, draw_pairs, limit_pairs, open_benchmark
from lad_reasoner.miniloco import write_benchmark
from lad_reasoner.records import SAMPLE_KINDS, Pair

DATA = Path(os.environ.get("LAD_DATA", Path(__file__).parents[3] / "shared/data"))
LISTING = DATA / "mvtec_loco_listing.csv"
SIZES = {
    "juice_bottle": (94, 142),
    "breakfast_box": (102, 83),
    "screw_bag": (122, 137),
    "splicing_connectors": (119, 108),
    "pushpins": (138, 91),
}


@pytest.fixture
def lamp(tmp_path: Path) -> Benchmark:
    return open_benchmark("folder", lamps(tmp_path))


@pytest.mark.skipif(not LISTING.is_file(), reason=f"no {LISTING.name} in {DATA}; set LAD_DATA to its folder")
def test_the_papers_protocol_on_all_real_names(tmp_path: Path) -> None:
    with LISTING.open() as file:
        rows = list(csv.DictReader(file))
    plant(tmp_path, [f"{row['category']}/{row['split']}/{row['kind']}/{row['file']}" for row in rows])
    start = time.process_time()  # of this process alone, however busy the machine is
    benchmark = open_benchmark("mvtec-loco", tmp_path)
    pairs, notes = draw_pairs(benchmark)
    assert time.process_time() - start < 2
    assert len(benchmark.samples) == 3651
    assert len(pairs) == 1136
    counts = Counter((pair.category, pair.label) for pair in pairs)
    assert {name: (counts[name, "no"], counts[name, "yes"]) for name in SIZES} == SIZES
    assert all(pair.references[0].startswith(f"{pair.category}/train/good/") for pair in pairs)
    assert len({pair.references for pair in pairs}) > 700  # drawn anew for each query
    assert notes == ()
    (note,) = benchmark.notes  # the skeleton has no masks
    assert note.startswith("993 anomalous pictures have no mask")
    with_structural, _ = draw_pairs(benchmark, kinds=SAMPLE_KINDS)
    assert len(with_structural) == 1568


def test_depth_is_found_for_each_class(tmp_path: Path) -> None:
    """A 12-bit camera beside an 8-bit one: its pictures are not read 16 times too dark."""
    folder = lamps(tmp_path)
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for name in ("train/good/000", "test/good/000", "test/crack/000"):
        path = folder / "gauge" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey * 16 + 15).save(path)
    benchmark = open_benchmark("folder", folder)
    assert "bits of the values in files of 16 bits, seen from the references: gauge 12" in benchmark.notes
    values = np.asarray(benchmark.read("gauge/test/crack/000.png")[0].image)[..., 0]
    assert np.array_equal(values, grey)


def test_a_picture_that_shows_nothing_is_not_judged(tmp_path: Path) -> None:
    folder = lamps(tmp_path)
    Image.new("L", (64, 64), 7).save(folder / "lamp/test/good/000.png")
    benchmark = open_benchmark("folder", folder)
    with pytest.raises(ImageError, match=r"lamp/test/good/000\.png: the picture has one colour only"):
        benchmark.read("lamp/test/good/000.png")


def test_references_hang_on_seed_and_query_alone(lamp: Benchmark) -> None:
    pairs, _ = draw_pairs(lamp, references=3)
    assert [pair.query for pair in pairs] == [
        *(f"lamp/test/good/{i:03}.png" for i in range(4)),
        *(f"lamp/test/logical_anomalies/{i:03}.png" for i in range(3)),
    ]
    for pair in pairs:
        assert len(set(pair.references)) == 3
        assert all(name.startswith("lamp/train/good/") for name in pair.references)
        assert (pair.label, pair.kind) == (("no", "good") if "/good/" in pair.query else ("yes", "logical"))
    only_bad, _ = draw_pairs(lamp, references=3, kinds=["logical"])
    assert only_bad == pairs[4:]
    assert draw_pairs(lamp, references=3, seed=1)[0] != pairs


def test_good_and_bad_folders_lend_their_good_pictures(tmp_path: Path) -> None:
    plant(tmp_path, ["good/0.png", "good/1.png", "good/2.png", "bad/0.png"])
    benchmark = open_benchmark("folder", tmp_path)
    pairs, notes = draw_pairs(benchmark, references=2)
    assert notes == ()
    assert [pair.query for pair in pairs] == ["bad/0.png", "good/0.png", "good/1.png", "good/2.png"]
    for pair in pairs[1:]:
        assert set(pair.references) == {"good/0.png", "good/1.png", "good/2.png"} - {pair.query}
    assert pairs[0].kind is None
    pairs, notes = draw_pairs(benchmark, references=3)
    assert [pair.query for pair in pairs] == ["bad/0.png"]
    assert notes == ("3 good queries left out, because too few other good pictures are there: good/0.png …",)
    with pytest.raises(InputError, match=r"3 good pictures to draw 4 references from; .* smaller --references"):
        draw_pairs(benchmark, references=4)


def test_too_few_good_pictures_are_told_with_what_was_left_out(tmp_path: Path) -> None:
    plant(tmp_path, ["bad/0.png", "zufrieden/0.png"])
    with pytest.raises(InputError, match=r"0 good pictures .* left out: they are in no folder .* \(zufrieden/0\.png\)"):
        draw_pairs(open_benchmark("folder", tmp_path))


@pytest.mark.parametrize(("good", "bad"), [("Gute Teile", "schlechte Teile"), ("gute", "schlechte"), ("好", "坏")])
def test_folders_in_other_languages(tmp_path: Path, good: str, bad: str) -> None:
    plant(tmp_path, [f"{good}/0.png", f"{bad}/0.png"])
    samples = open_benchmark("folder", tmp_path).samples
    assert {name: sample.label for name, sample in samples.items()} == {f"{good}/0.png": "no", f"{bad}/0.png": "yes"}


def test_kinds_are_checked(lamp: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind 'gud': no such kind; give some of good, logical, structural, other"):
        draw_pairs(lamp, kinds=["gud"])
    with pytest.raises(InputError, match="no test picture of the kinds structural"):
        draw_pairs(lamp, kinds=["structural"])
    only_training = open_benchmark("folder", plant(tmp_path / "two", [f"lamp/train/good/{i}.png" for i in range(2)]))
    with pytest.raises(InputError, match=r"no test picture of .*; all of them are for training or validation"):
        draw_pairs(only_training)
    with pytest.raises(InputError, match="references is 0"):
        draw_pairs(lamp, references=0)


def test_names_and_folders_are_checked(tmp_path: Path) -> None:
    lamps(tmp_path)
    with pytest.raises(InputError, match="mvtec: no such benchmark; give one of miniloco, mvtec-loco"):
        open_benchmark("mvtec", tmp_path)
    with pytest.raises(InputError, match="visa: give its folder with --root"):
        open_benchmark("visa")
    with pytest.raises(InputError, match=r"no VisA in it, but .*; give another --benchmark or --root"):
        open_benchmark("visa", tmp_path)


def test_what_a_copy_lacks_is_said(tmp_path: Path) -> None:
    names = [f"pushpins/{place}/000.png" for place in ("train/good", "test/good", "test/logical_anomalies")]
    plant(tmp_path, [*names, "lamp/test/good/0.png", "lamp/test/bad/0.png"])
    benchmark = open_benchmark("mvtec-loco", tmp_path)
    others, incomplete, bare = benchmark.notes
    assert others == "2 pictures of other data sets left out"
    assert incomplete.endswith("not complete here: no breakfast_box, juice_bottle, screw_bag, splicing_connectors")
    assert bare.startswith("1 anomalous pictures have no mask")
    assert draw_pairs(benchmark)[1] == ("2 queries, not the 1,136 of MVTec LOCO AD: not the paper's protocol",)


def test_defects_of_mvtec_loco_are_named_by_their_masks(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path, products=["pushpins"], per_class=3, size=64))
    known = open_benchmark("miniloco", tmp_path)
    (tmp_path / "pushpins/facts.jsonl").unlink()  # what is left has the shape of MVTec LOCO AD
    benchmark = open_benchmark("mvtec-loco", tmp_path)
    assert set(benchmark.samples) == set(known.samples)
    named = [name for name, sample in benchmark.samples.items() if sample.masks]
    assert len(named) >= 4
    for name in named:
        assert benchmark.samples[name].defect is None
        assert benchmark.defect(name) == known.defect(name) == known.samples[name].defect
    assert benchmark.defect("pushpins/test/good/000.png") is None
    (tmp_path / "pushpins/defects_config.json").unlink()
    nameless = open_benchmark("mvtec-loco", tmp_path)
    assert "no defects_config.json for pushpins: their defects are not named" in nameless.notes
    assert nameless.defect(named[0]) is None


def test_the_fingerprint_sees_names_labels_and_sizes(tmp_path: Path) -> None:
    lamps(tmp_path)
    prints = [open_benchmark("folder", tmp_path).fingerprint]
    assert open_benchmark("folder", tmp_path).fingerprint == prints[0]
    picture = tmp_path / "lamp/test/good/000.png"
    picture.write_bytes(png(side=200))
    prints.append(open_benchmark("folder", tmp_path).fingerprint)
    picture.rename(tmp_path / "lamp/test/logical_anomalies/999.png")
    prints.append(open_benchmark("folder", tmp_path).fingerprint)
    assert len(set(prints)) == 3


def test_looking_at_a_picture(lamp: Benchmark, tmp_path: Path) -> None:
    picture, facts = lamp.read("lamp/test/good/000.png")
    assert (picture.name, picture.width, facts) == ("lamp/test/good/000.png", 16, None)
    (tmp_path / "lamp/test/good/000.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="not a picture"):
        lamp.read("lamp/test/good/000.png")


def test_references_are_read_once_and_queries_each_time(lamp: Benchmark, tmp_path: Path) -> None:
    """Judges cache by `Picture` objects: pairs that share a reference must share the object."""
    for benchmark in (lamp, open_benchmark("miniloco")):
        pair = draw_pairs(benchmark)[0][0]
        (reference,) = pair.references
        assert benchmark.read(reference)[0] is benchmark.read(reference)[0]
        assert benchmark.read(pair.query)[0] is not benchmark.read(pair.query)[0]
    lent = open_benchmark("folder", plant(tmp_path / "lent", ["good/0.png", "good/1.png", "bad/0.png"]))
    assert lent.read("good/0.png")[0] is lent.read("good/0.png")[0]


def test_few_references_stay_in_memory(tmp_path: Path) -> None:
    many = open_benchmark("folder", lamps(tmp_path, train=KEPT_FILES + 1))
    names = [name for name, sample in many.samples.items() if sample.split == "train"]
    first = many.read(names[0])[0]
    for name in names[1:]:
        many.read(name)
    assert many.read(names[0])[0] is not first


def test_rendered_pictures_are_those_that_data_miniloco_writes(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path, products=["juice_bottle"], per_class=2))
    rendered, written = open_benchmark("miniloco"), open_benchmark("miniloco", tmp_path)
    names = [name for name in written.samples if "validation" not in name]
    assert len(names) == 8
    for name in names:
        mine, theirs = rendered.samples[name], written.samples[name]
        for field in ("category", "split", "kind", "defect", "dataset", "licence"):
            assert getattr(mine, field) == getattr(theirs, field), (name, field)
        (drawn, facts), (read, known) = rendered.read(name), written.read(name)
        assert drawn.name == read.name
        assert np.array_equal(np.asarray(drawn.image), np.asarray(read.image))
        assert facts
        assert known
        assert {field: known[field] for field in facts} == facts
    pairs, _ = draw_pairs(rendered)
    assert Counter(pair.label for pair in pairs) == {"yes": 500, "no": 500}


groups = st.tuples(st.sampled_from("ab"), st.sampled_from(["good", "logical"]))


@given(st.lists(groups, max_size=30), st.integers(0, 35))
def test_a_limit_takes_all_groups_in_turn(drawn: list[tuple[str, str]], limit: int) -> None:
    pairs = [
        Pair.model_validate({"references": ("r",), "query": str(i), "category": category, "kind": kind})
        for i, (category, kind) in enumerate(drawn)
    ]
    taken = limit_pairs(pairs, limit)
    assert len(taken) == min(limit, len(pairs))
    assert [pair for pair in pairs if pair in taken] == taken  # in their order
    assert all(pair in limit_pairs(pairs, limit + 1) for pair in taken)
    whole, part = (Counter((pair.category, pair.kind) for pair in some) for some in (pairs, taken))
    most = max(part.values(), default=0)
    assert all(part[group] >= min(count, most - 1) for group, count in whole.items())
