"""Rendered pictures that several tests look at, and the matcher of a product."""

from functools import cache

import pytest

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.miniloco import draw_picture


@cache
def shot(kind: str, index: int, product: str = "circuit_board", split: str = "test") -> Picture:
    """A rendered picture; logical defects take turns with the index."""
    drawn = draw_picture(product, split, kind, index, size=384, seed=11)  # type: ignore[arg-type]
    return Picture(f"{kind}_{index}", drawn.image, drawn.image.width, drawn.image.height)


@cache
def defect(index: int, product: str = "circuit_board") -> str:
    return str(draw_picture(product, "test", "logical", index, size=64, seed=11).facts["defect"])


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone()


@pytest.fixture(scope="session")
def matcher(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", i, split="train") for i in range(4)], backbone)


@pytest.fixture(scope="session")
def one_shot(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", 0, split="train")], backbone)
