"""Figures: the numbers behind them exactly, and what lands on the picture."""

from __future__ import annotations

import itertools
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
from lad_reasoner.evaluation.seeds import compare_seeds
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, save_thumbnail
from lad_reasoner.records import Prediction
from lad_reasoner.report import plots
from lad_reasoner.report.plots import _spread, draw_plots, roc_curve

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
    names = ("figure6", "roc", "agreement", "gallery")
    assert [path.name for path in written] == [f"{name}.{form}" for name in names for form in ("png", "pdf", "svg")]
    for path in written:
        if path.suffix != ".png":
            assert path.read_bytes().startswith({".pdf": b"%PDF", ".svg": b"<?xml"}[path.suffix])
            continue
        with Image.open(path) as image:
            assert min(image.size) > 400
            colours = image.convert("RGB").getcolors(1_000_000)
        assert colours
        assert len(colours) > 20, path


def test_the_same_runs_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "FORMS", dict.fromkeys(plots.FORMS, 20))
    comparison = compare_runs([write_run(tmp_path / name, noisy_run(6, 0), model=name) for name in "ab"], resamples=50)
    contents = []
    for out in (tmp_path / "first", tmp_path / "second"):
        out.mkdir()
        contents.append({path.name: path.read_bytes() for path in draw_plots(out, comparison)})
    first, second = contents
    assert [name for name in first if first[name] != second[name]] == []


def test_what_would_be_empty_is_left_out(tmp_path: Path) -> None:
    lines = [prediction(f"{i}.png", True, "yes", scored=False) for i in range(3)]
    written = drawn(tmp_path, lines, lines, parameters=None)
    assert [path.stem for path in written] == ["figure6"] * 3 + ["agreement"] * 3 + ["gallery"] * 3


def test_systems_of_one_size_do_not_hide_each_other() -> None:
    sizes = {"base": 6_770_000, "sft": 6_770_000, "grpo": 6_771_000, "large": 3_754_622_976, "x": None, "y": None}
    places = _spread(sizes, margin=1e6, decades=4)
    assert len(set(places.values())) == 6
    assert places["large"] == 3_754_622_976
    small = sorted(places[name] for name in ("base", "sft", "grpo"))
    assert small[0] < 6_770_000 < small[2]
    assert all(b / a > 1.2 for a, b in itertools.pairwise(small))
    assert all(abs(np.log10(place / 1e6)) < 0.3 for place in (places["x"], places["y"]))


def test_published_rows_are_in_figure_6(tmp_path: Path) -> None:
    lines = from_matrix("pushpins", 5, 2, 1, 6)
    runs = [write_run(tmp_path / name, lines, model=name, benchmark="mvtec-loco") for name in "ab"]
    comparison = compare_runs(runs, published="paper", resamples=0)
    assert (
        comparison.sizes["LAD-Reasoner (published)"] == comparison.sizes["Qwen2.5-VL-3B (published)"] == 3_754_622_976
    )
    assert comparison.sizes["APRIL-GAN (published)"] is None  # the paper does not say
    assert comparison.table.printed("LAD-Reasoner (published)", "Acc") == 60.4
    assert comparison.table.printed("APRIL-GAN (published)", "F1") == 47.1  # its mean over classes
    (tmp_path / "out").mkdir()
    draw_plots(tmp_path / "out", comparison)
    figure = (tmp_path / "out/figure6.svg").read_text()
    assert all(f"<!-- {name}" in figure for name in ("LAD-Reasoner (published)", "APRIL-GAN (published)", "a", "b"))


def test_of_seeds_figure_6_shows_the_mean_and_the_range(tmp_path: Path) -> None:
    for seed, right in enumerate((6, 8)):
        lines = from_matrix("pushpins", right, 10 - right, 0, 10)
        write_run(tmp_path / f"seeds/{seed}", lines, model="ours", seed=seed, parameters=5_000_000)
    comparison = compare_seeds([tmp_path / "seeds"])
    overall = plots._overall_of_seeds(comparison)
    assert overall.sizes == {"ours": 5_000_000}
    assert overall.estimates["Acc"]["ours"].value == pytest.approx(0.85)
    assert overall.estimates["Acc"]["ours"].interval == (0.8, 0.9)
    assert overall.estimates["Acc"]["always-yes"].value == 0.5
    (tmp_path / "out").mkdir()
    written = draw_plots(tmp_path / "out", comparison)
    assert [path.name for path in written] == ["figure6.png", "figure6.pdf", "figure6.svg"]
    figure = (tmp_path / "out/figure6.svg").read_text()
    assert "<!-- ours" in figure
    assert "bars reach from the lowest to the highest run" in figure


def test_without_matplotlib_or_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = from_matrix("pins", 2, 1, 1, 2)
    comparison = compare_runs([write_run(tmp_path / name, lines, model=name) for name in "ab"], resamples=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose a folder that can be written"):
        draw_plots(tmp_path / "file", comparison)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e \".+\[figures\]\""):
        draw_plots(tmp_path, comparison)
