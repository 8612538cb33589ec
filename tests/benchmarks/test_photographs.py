"""What the judges are worth on real photographs; skipped where they are absent."""

import os
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import Estimate, draw, evaluate, load_sets, localise
from PIL import Image

import lad_reasoner
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.comparison import compare_runs, to_markdown
from lad_reasoner.evaluation.run import read_run
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import Evidence

ROOT = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[3] / "shared/data/real"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no photographs in {ROOT}; set LAD_PHOTOGRAPHS to their folder"),
]


class Remembering:
    """A backbone that looks at each picture once, though each draw of the references judges it again."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.name, self.multiple, self.parameters = backbone.name, backbone.multiple, backbone.parameters
        self.known: dict[tuple[bytes, tuple[int, int]], NDArray[np.float32]] = {}

    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        key = sha256(image.tobytes()).digest(), size
        if key not in self.known:
            self.known[key] = self.backbone.features(image, size)
        return self.known[key]


@lru_cache(1)  # one data set at a time, of which the features take some hundred megabytes
def judge_of(name: str) -> Evidence:
    judge = Evidence()
    judge.backbone = Remembering(judge.backbone)
    return judge


@cache
def estimate(name: str, count: int) -> dict[str, Estimate]:
    """Measures of a data set with so many references; judged once, though two tests ask, which follow each other."""
    return evaluate(load_sets(ROOT)[name], count, judge_of(name))


@pytest.mark.parametrize(
    ("name", "auroc", "accuracy"), [("metal_nut", 0.97, 0.85), ("bottle", 0.99, 0.90), ("toy_aliens", 0.92, 0.60)]
)
def test_one_reference(name: str, auroc: float, accuracy: float) -> None:
    result = estimate(name, 1)
    assert result["AUROC"][0] >= auroc
    assert result["verdict"][0] >= accuracy


@pytest.mark.parametrize("name", ["toy_aliens", "transistor"])
def test_more_references_do_no_harm(name: str) -> None:
    """The interval of the mean over the draws is the noise that is allowed for."""
    one, four = estimate(name, 1), estimate(name, 4)
    for measure in ("AUROC", "verdict"):
        mean, low, _ = one[measure]
        assert four[measure][0] >= mean - (mean - low)


def test_where_it_looks(backbone: Backbone) -> None:
    (bottle,) = load_sets(ROOT)["bottle"]
    area, pointing = localise(bottle, draw(bottle, 1, 0)[0], backbone)
    assert area >= 0.95
    assert pointing >= 0.90


def test_eval_of_real_loco_pictures(tmp_path: Path) -> None:
    """25 photographs of MVTec LOCO AD through eval and compare; `pytest -s` prints the table, with wide intervals."""
    runs = {"micro": None, "pixel-difference": None, "colour-histogram": None, "random": None, "evidence": 5}
    measured = {
        name: lad_reasoner.evaluate(
            name, "mvtec-loco", root=ROOT / "mvtec_loco_small", out=tmp_path / name, limit=limit
        )
        for name, limit in runs.items()
    }
    for name, metrics in measured.items():
        matrix, accuracy = metrics.pooled.confusion, metrics.pooled.accuracy
        assert matrix
        assert matrix.tp + matrix.fn + matrix.fp + matrix.tn == (runs[name] or 25)
        assert (matrix.invalid, metrics.failed) == (0, {})
        assert accuracy.value is not None
        assert accuracy.interval is None or accuracy.interval[0] <= accuracy.value <= accuracy.interval[1]
    whole = [metrics.pooled.accuracy.interval for name, metrics in measured.items() if name != "evidence"]
    assert all(interval and interval[1] - interval[0] > 0.2 for interval in whole)  # 25 pictures say little
    assert len(measured["micro"].by_class) == 5
    assert measured["micro"].explanations
    assert measured["micro"].explanations.naming is None  # these copies have no masks, which name the defects
    assert measured["random"].explanations is None
    notes = read_run(tmp_path / "micro").settings.notes
    assert any("40 anomalous pictures have no mask" in note for note in notes)
    assert "25 queries, not the 1,136 of MVTec LOCO AD: not the paper's protocol" in notes
    folders = [tmp_path / name for name, limit in runs.items() if limit is None]
    table = to_markdown(compare_runs(folders))
    print(table)
    assert table.startswith("25 pairs.")
    with pytest.raises(InputError, match=r"micro and .*evidence .*only in the first run and 15 more$"):
        compare_runs([tmp_path / "micro", tmp_path / "evidence"])
