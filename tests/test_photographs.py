"""What the evidence judge is worth on real photographs; skipped where they are absent."""

import os
from pathlib import Path

import pytest
from photographs import draw, evaluate, load_sets, localise

from lad_reasoner.backbone import Backbone

ROOT = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[2] / "shared/data/real"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no photographs in {ROOT}; set LAD_PHOTOGRAPHS to their folder"),
]


@pytest.mark.parametrize(("name", "auroc", "accuracy"), [("toy_aliens", 0.98, 0.85), ("mvtec_ad_bottle", 0.99, 0.90)])
def test_one_reference(name: str, auroc: float, accuracy: float, backbone: Backbone) -> None:
    result = evaluate(load_sets(ROOT)[name], 1, backbone)
    assert result["AUROC"][0] >= auroc
    assert result["balanced accuracy"][0] >= accuracy


@pytest.mark.parametrize("name", ["toy_aliens", "transistor"])
def test_more_references_do_no_harm(name: str, backbone: Backbone) -> None:
    """The interval of the mean over the draws is the noise that is allowed for."""
    sets = load_sets(ROOT)
    one, four = (evaluate(sets[name], count, backbone) for count in (1, 4))
    for measure in ("AUROC", "balanced accuracy"):
        mean, low, _ = one[measure]
        assert four[measure][0] >= mean - (mean - low)


def test_where_it_looks(backbone: Backbone) -> None:
    (bottle,) = load_sets(ROOT)["mvtec_ad_bottle"]
    area, pointing = localise(bottle, draw(bottle, 1, 0)[0], backbone)
    assert area >= 0.95
    assert pointing >= 0.90
