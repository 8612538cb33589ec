"""The lines and pictures of headlines.py, on drawn products, and on photographs where there are any."""

import os
import re
from pathlib import Path

import headlines
import pytest
from photographs import Category, load_sets

from helpers.scenes import BOTH, scene
from lad_reasoner.judges.evidence.backbone import Backbone

REPOSITORY = Path(__file__).parents[2]
ROOT = Path(os.environ.get("LAD_PHOTOGRAPHS", REPOSITORY.parent / "shared/data/real"))


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


@pytest.mark.slow
@pytest.mark.skipif(not ROOT.is_dir(), reason=f"no photographs in {ROOT}; set LAD_PHOTOGRAPHS to their folder")
def test_the_logical_defects_that_the_readme_counts(backbone: Backbone) -> None:
    lines = [
        line
        for category in load_sets(ROOT)["mvtec_loco_small"]
        for line, _ in headlines.describe_product(category, backbone)
        if "/logical_anomalies/" in line
    ]
    found = sum(float(line.split()[1]) >= 0.5 for line in lines)
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    counts = re.search(r"three references finds (\d+) of (\d+) logical defects", readme)
    assert counts
    # One may lie so near the limit that another processor decides it.
    assert abs(found - int(counts[1])) <= 1
    assert len(lines) == int(counts[2])
