"""The pool: no benchmark, each picture once, a name of its own for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.skeletons import draw, own_folder, pool_of, write_pairs
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.sets.built_set import read_manifest
from lad_reasoner.data.sets.check import ALMOST_BLACK, check_set
from lad_reasoner.data.sets.pool import TWICE
from lad_reasoner.data.sets.sft import plan_sft
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.miniloco import write_benchmark


def test_nothing_of_a_benchmark(miniloco: Path, tmp_path: Path) -> None:
    list(write_benchmark(tmp_path / "evaluation", products=["pushpins"], per_class=1, size=64))
    with pytest.raises(InputError, match=r"nothing is left to train on.*benchmark"):
        pool_of(tmp_path / "evaluation")
    found = pool_of(tmp_path / "evaluation", miniloco)
    assert {item.sample.category for item in found.items} == {"bolt_plate", "test_tubes"}
    [(reason, names)] = [(reason, names) for reason, names in found.refused.items() if "benchmark" in reason]
    assert (len(names), reason) == (5, "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks")


def test_a_picture_that_two_sources_hold_counts_once(mvtec: Path, tmp_path: Path) -> None:
    for name in ("000.png", "001.png"):
        draw(tmp_path / "DS-MVTec/bottle/image/contamination" / name, 7)
    found = pool_of(mvtec, tmp_path / "DS-MVTec")
    assert len(found.refused[TWICE]) == 2
    assert len(found.tests()) == len(pool_of(mvtec).tests())
    assert len(pool_of(mvtec, mvtec / "bottle").items) == len(pool_of(mvtec).items)


def test_values_of_twelve_bits_beside_good_pictures_of_eight_become_eight(tmp_path: Path) -> None:
    lamp = own_folder(tmp_path / "lamp")
    for number, path in enumerate(sorted((lamp / "bad").glob("*.png"))):
        Image.fromarray(np.full((20, 20), 2000 + 16 * number, np.uint16)).save(path)
    write_pairs(tmp_path / "pairs", pool_of(lamp))
    assert read_manifest(tmp_path / "pairs")["depths"] == {"lamp/lamp": 12}
    assert ALMOST_BLACK not in check_set(tmp_path / "pairs").errors


def test_values_of_twelve_bits_become_eight_as_inspection_sees_them(tmp_path: Path) -> None:
    lamp = own_folder(tmp_path / "lamp")
    for number, path in enumerate(sorted(lamp.rglob("*.png"))):
        Image.fromarray(np.full((20, 20), 2000 + 16 * number, np.uint16)).save(path)
    draw(lamp / "bad" / "8.png", 3)  # with 8 bits already
    pool = pool_of(lamp)
    entries = write_pairs(tmp_path / "pairs", pool)
    assert read_manifest(tmp_path / "pairs")["depths"] == {"lamp/lamp": 12}
    for entry in entries:
        query = tmp_path / "pairs" / entry.images_file_names[-1]
        with Image.open(query) as image:
            assert image.mode in ("L", "RGB")
        seen = np.asarray(read_picture(query).image)
        assert np.array_equal(seen, np.asarray(read_picture(lamp / entry.source, 12).image))
    assert (tmp_path / "pairs/images/lamp/lamp/bad/8.png").stat().st_ino == (lamp / "bad/8.png").stat().st_ino
    assert ALMOST_BLACK not in check_set(tmp_path / "pairs").errors
    dark = next((tmp_path / "pairs/images").rglob("good/*.png"))
    dark.unlink()
    shutil.copy(lamp / "good" / dark.name, dark)  # as a set of an earlier version has it
    assert check_set(tmp_path / "pairs").errors[ALMOST_BLACK] == ["lamp/lamp (12 bits)"]
    asked = plan_sft(pool, read_mmad()).requests
    assert {request.depth for request in asked} == {12}


def test_names_in_a_set_are_unique(tmp_path: Path) -> None:
    found = pool_of(own_folder(tmp_path / "a/lamp"), own_folder(tmp_path / "b/lamp"))
    names = [item.name for item in found.items]
    assert len(set(names)) == len(names) == 20
    assert "lamp/lamp/bad/0.png" in names
    assert "lamp/lamp/bad/0-2.png" in names
