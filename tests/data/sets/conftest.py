"""Sources that the tests of the builders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.skeletons import mvtec_ad
from lad_reasoner.miniloco import write_benchmark


@pytest.fixture(scope="package")
def mvtec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of MVTec AD."""
    return mvtec_ad(tmp_path_factory.mktemp("data") / "mvtec", part=0.1)


@pytest.fixture(scope="package")
def miniloco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training products of MiniLOCO, three pictures of each kind."""
    folder = tmp_path_factory.mktemp("data") / "miniloco"
    list(write_benchmark(folder, products=["bolt_plate", "test_tubes"], per_class=3, size=64))
    return folder
