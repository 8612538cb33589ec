"""Figures: the numbers behind them exactly, and what lands on the picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from sklearn.metrics import auc

from helpers.browser import EVIL
from helpers.runs import from_matrix, noisy_run, picture, prediction, runs, said, write_run
from lad_reasoner.errors import InputError, MissingExtraError
from lad_reasoner.evaluation.comparison import compare_runs
from lad_reasoner.evaluation.metrics import compute_metrics
from lad_reasoner.evaluation.run import THUMBNAILS
from lad_reasoner.evaluation.thumbnails import save_thumbnail
from lad_reasoner.records import Prediction
from lad_reasoner.report.plots import draw_plots, roc_curve

# Nothing of this may be read as a formula, and the font lacks some of it.
HOSTILE = f"{EVIL} $\\frac{{1}} ^ $ 缺少 🔩\x07\n" * 3


@settings(deadline=None)
@given(runs())
def test_the_area_under_the_curve_is_the_auroc(lines: list[Prediction]) -> None:
    curve, figure = roc_curve(lines), compute_metrics(lines, resamples=0).pooled.auroc
    if curve is None:
        assert figure.value is None
        return
    false, true = curve
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    # What was answered invalid on an anomalous query is never found: the curve ends below 1.
    assert auc([*false, 1.0], [*true, true[-1]]) == pytest.approx(figure.value)


def drawn(tmp_path: Path, first: list[Prediction], second: list[Prediction], **settings: object) -> list[Path]:
    folders = [
        write_run(tmp_path / "a", first, **{"model": HOSTILE, "parameters": 3_754_622_976, **settings}),
        write_run(tmp_path / "b", second, **{"model": "b", **settings}),
    ]
    for name in {line.pair.query for line in first} | {"r.png"}:
        save_thumbnail(folders[0] / THUMBNAILS, picture(name))
    out = tmp_path / "out"
    out.mkdir()
    return draw_plots(out, compare_runs(folders, resamples=50))


def test_all_are_drawn_whatever_a_model_wrote(tmp_path: Path) -> None:
    first = [said(line, reasoning=HOSTILE) for line in noisy_run(24, 0)]
    written = drawn(tmp_path, first, noisy_run(24, 0, noise=0.5))
    assert [path.name for path in written] == ["figure6.png", "roc.png", "agreement.png", "gallery.png"]
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 400
            colours = image.convert("RGB").getcolors(1_000_000)
        assert colours
        assert len(colours) > 20, path


def test_what_would_be_empty_is_left_out(tmp_path: Path) -> None:
    lines = [prediction(f"{i}.png", True, "yes", scored=False) for i in range(3)]
    written = drawn(tmp_path, lines, lines, parameters=None)
    assert [path.name for path in written] == ["figure6.png", "agreement.png", "gallery.png"]


def test_without_matplotlib_or_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = from_matrix("pins", 2, 1, 1, 2)
    comparison = compare_runs([write_run(tmp_path / name, lines, model=name) for name in "ab"], resamples=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose a folder that can be written"):
        draw_plots(tmp_path / "file", comparison)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e \".+\[figures\]\""):
        draw_plots(tmp_path, comparison)
