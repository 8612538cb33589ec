"""The benchmark on disk: MVTec LOCO AD's layout, written picture by picture."""

from __future__ import annotations

import json
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.miniloco import (
    CATALOGUE,
    count_pictures,
    defect_values,
    write_benchmark,
)
from lad_reasoner.miniloco.families.free import draw_product


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_layout_on_disk_is_that_of_mvtec_loco_ad(tmp_path: Path) -> None:
    names = ("bolt_plate", "pushpins")
    records = list(write_benchmark(tmp_path, products=names, per_class=2, size=64, seed=1))
    assert len(records) == count_pictures(names, per_class=2) == 20
    assert {path.name for path in tmp_path.iterdir()} == {*names, "bolt_plate.png", "pushpins.png", ".lock"}
    for name in names:
        folder = tmp_path / name
        written = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
        facts = lines(folder / "facts.jsonl")
        assert written == {f["file"] for f in facts} | {f["mask"] for f in facts if f["mask"]}
        assert {str(Path(f["file"]).parent) for f in facts} == {
            "train/good",
            "validation/good",
            "test/good",
            "test/logical_anomalies",
            "test/structural_anomalies",
        }
        config = json.loads((folder / "defects_config.json").read_text(encoding="utf-8"))
        listed = {entry["defect_name"]: entry["pixel_value"] for entry in config}
        assert listed == defect_values(name)
        assert {"saturation_threshold", "relative_saturation"} <= set(config[0])
        for fact in facts:
            with Image.open(folder / fact["file"]) as image:
                assert (image.mode, image.size) == ("RGB", (fact["width"], fact["height"]))
            assert (fact["mask"] is None) == (fact["kind"] == "good")
            if fact["mask"]:
                stem = Path(fact["file"]).stem
                assert fact["mask"] == f"ground_truth/{Path(fact['file']).parent.name}/{stem}/000.png"
                mask = np.asarray(Image.open(folder / fact["mask"]))
                assert set(np.unique(mask)) == {0, listed[fact["defect"]]}
        assert (folder / "rule.txt").read_text(encoding="utf-8").strip() == CATALOGUE[name].rule
        with Image.open(tmp_path / f"{name}.png") as sheet:
            assert sheet.width > 2 * 64
    assert [r["file"] for r in records[:10]] == [f["file"] for f in lines(tmp_path / "bolt_plate" / "facts.jsonl")]


def test_a_smaller_benchmark_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    for name, number in (("small", 1), ("large", 3)):
        list(write_benchmark(tmp_path / name, products=["gear_pair"], per_class=number, size=64, seed=9))
    small, large = (
        {f["file"]: f for f in lines(tmp_path / name / "gear_pair" / "facts.jsonl")} for name in ("small", "large")
    )
    assert len(small) == 5
    for file, fact in small.items():
        assert large[file] == fact
        one, two = (tmp_path / name / "gear_pair" / file for name in ("small", "large"))
        assert one.read_bytes() == two.read_bytes()


def test_writing_is_lazy_and_its_memory_does_not_grow(tmp_path: Path) -> None:
    steps = write_benchmark(tmp_path / "lazy", products=["pill_blister"], per_class=5, size=64)
    list(islice(steps, 3))
    assert len(list((tmp_path / "lazy").rglob("*.png"))) == 3
    peaks = []
    for number in (8, 16):
        tracemalloc.start()
        for _ in write_benchmark(tmp_path / str(number), products=["pill_blister"], per_class=number, size=48):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"products": ["teapot"]}, "unknown product 'teapot'; there are: breakfast_box"),
        ({"products": ["teapot-1"]}, "unknown product 'teapot-1'; there are: .*loose_parts-N"),
        ({"products": ["loose_parts"]}, "unknown product 'loose_parts'"),
        ({"products": ["Screw_Bag"]}, "unknown product 'Screw_Bag'; did you mean screw_bag"),
        ({"products": []}, "no product is given"),
        ({"per_class": 0}, "at least 1 picture"),
        ({"seed": -1}, "0 or more"),
        ({"size": 8}, "32 pixels or more"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        write_benchmark(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_product_that_is_named_twice_is_written_once(tmp_path: Path) -> None:
    names = ["keyboard_row", "keyboard_row"]
    assert len(list(write_benchmark(tmp_path, products=names, per_class=1, size=48))) == 5
    assert count_pictures(names, per_class=1) == 5


def test_nothing_is_overwritten_unless_asked_for(tmp_path: Path) -> None:
    again: dict[str, Any] = {"products": ["keyboard_row"], "per_class": 1, "size": 48}
    list(write_benchmark(tmp_path, **again))
    with pytest.raises(InputError, match="exists already"):
        write_benchmark(tmp_path, **again)
    assert len(list(write_benchmark(tmp_path, overwrite=True, **again))) == 5
    assert not list(tmp_path.glob(".*.part"))
    foreign = tmp_path / "gear_pair"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="no MiniLOCO folder"):
        write_benchmark(tmp_path, products=["gear_pair"], per_class=1, overwrite=True)
    assert (foreign / "mine.txt").exists()


def test_a_benchmark_that_a_kill_interrupted_is_finished_by_the_same_call(tmp_path: Path) -> None:
    call: dict[str, Any] = {"products": ["bolt_plate", "screw_bag"], "per_class": 1, "size": 48}
    whole = list(write_benchmark(tmp_path / "whole", **call))
    killed = write_benchmark(tmp_path / "out", **call)
    assert list(islice(killed, 7)) == whole[:7]
    killed.close()  # type: ignore[attr-defined]
    first = tmp_path / "out/bolt_plate/test/good/000.png"
    assert not (tmp_path / "out/screw_bag").exists()
    first.touch()
    before = first.stat().st_mtime_ns
    for other in ({"size": 64}, {"seed": 1}, {"per_class": 2}):
        with pytest.raises(InputError, match="bolt_plate exists already"):
            write_benchmark(tmp_path / "out", **{**call, **other})
    assert list(write_benchmark(tmp_path / "out", **call)) == whole
    assert first.stat().st_mtime_ns == before  # kept, not drawn again
    contents = []
    for folder in ("whole", "out"):
        files = {path.relative_to(tmp_path / folder): path for path in (tmp_path / folder).rglob("*") if path.is_file()}
        contents.append({name: path.read_bytes() for name, path in files.items()})
    assert contents[0] == contents[1]
    with pytest.raises(InputError, match="exists already"):
        write_benchmark(tmp_path / "out", **call)


def test_a_full_disk_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/train/good/000\.png'"):
        list(write_benchmark(tmp_path, products=["bolt_plate"], per_class=1, size=48))


def test_free_products_have_a_rule_of_their_own(tmp_path: Path) -> None:
    names = ["loose_parts-0", "wiring-12"]
    call: dict[str, Any] = {"products": names, "per_class": 1, "size": 48}
    records = list(write_benchmark(tmp_path / "one", **call))
    assert [record["product"] for record in records[::5]] == names
    for name in names:
        family, _, seed = name.partition("-")
        rule = draw_product(family, seed=int(seed)).rule
        assert (tmp_path / "one" / name / "rule.txt").read_text(encoding="utf-8").strip() == rule
    # Another seed draws other scenes of the same product.
    other = list(write_benchmark(tmp_path / "two", seed=5, **call))
    assert other != records
    assert (tmp_path / "two/wiring-12/rule.txt").read_bytes() == (tmp_path / "one/wiring-12/rule.txt").read_bytes()
    assert list(write_benchmark(tmp_path / "three", **call)) == records
