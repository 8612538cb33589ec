"""The matchers of a product that several tests ask."""

import pytest

from helpers.shots import shot
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone()


@pytest.fixture(scope="session")
def matcher(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", i, split="train") for i in range(4)], backbone)


@pytest.fixture(scope="session")
def one_shot(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", 0, split="train")], backbone)
