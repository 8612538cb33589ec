"""The lines and pictures of headlines.py, on drawn products."""

from pathlib import Path

import headlines
from photographs import Category

from helpers.scenes import BOTH, scene
from lad_reasoner.judges.evidence.backbone import Backbone


def test_a_missing_part_is_named(tmp_path: Path, backbone: Backbone) -> None:
    paths = {}
    for name, discs in (("good", BOTH), ("logical_anomalies", BOTH[:1]), ("structural_anomalies", ())):
        paths[name] = tmp_path / name / "000.png"
        paths[name].parent.mkdir()
        scene(*discs).image.save(paths[name])
    bad = [paths["logical_anomalies"], paths["structural_anomalies"]]
    found = list(headlines.describe_product(Category("discs", [paths["good"]], [paths["good"]], bad), backbone))
    (good, _), (logical, pair) = found  # structural ones are left out
    assert "discs/good/000" in good
    assert "Nothing stands out." in good
    assert "Missing at middle right: a blue" in logical
    assert pair.size == (2 * 384, 384 + headlines.CAPTION)
