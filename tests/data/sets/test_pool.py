"""The pool: no benchmark, each picture once, a name of its own for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.skeletons import draw, own_folder, pool_of
from lad_reasoner.data.sets.pool import TWICE
from lad_reasoner.errors import InputError
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


def test_names_in_a_set_are_unique(tmp_path: Path) -> None:
    found = pool_of(own_folder(tmp_path / "a/lamp"), own_folder(tmp_path / "b/lamp"))
    names = [item.name for item in found.items]
    assert len(set(names)) == len(names) == 20
    assert "lamp/lamp/bad/0.png" in names
    assert "lamp/lamp/bad/0-2.png" in names
