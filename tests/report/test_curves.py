"""The curves of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.report.curves import draw_curves, read_curve, running_mean

pytest.importorskip("matplotlib")

HISTORY = [
    {"step": 1, "loss": 0.0, "reward": 0.5, "yes_rate": 0.4, "response_length": 80.0, "kl": 0.0},
    {"step": 2, "loss": 0.0, "reward": 0.7, "yes_rate": 0.5, "response_length": 90.0, "kl": None},
    {"step": 2, "train_runtime": 3.0},
]


def test_figures_are_read_by_step() -> None:
    assert read_curve(HISTORY, "reward") == [(1, 0.5), (2, 0.7)]
    assert read_curve(HISTORY, "kl") == [(1, 0.0)]
    assert read_curve(HISTORY, "entropy") == []
    assert read_curve([*HISTORY, {"step": 2, "reward": 0.8}], "reward")[-1] == (2, 0.8)


def test_a_running_mean_looks_back_over_a_tenth() -> None:
    assert running_mean([1.0, 0.0, 4.0]) == [1.0, 0.0, 4.0]
    assert running_mean([float(value) for value in range(30)])[:4] == [0.0, 0.5, 1.0, 2.0]


def test_one_run_and_several(tmp_path: Path) -> None:
    one = draw_curves({"sft+grpo": HISTORY}, tmp_path / "new" / "one.png")
    higher = [{**line, "reward": 0.9, "response_length": 10.0} for line in HISTORY[:2]]
    two = draw_curves({"sft+grpo": HISTORY, "grpo": higher}, tmp_path / "two.png")
    pictures = [np.asarray(Image.open(path).convert("L")) for path in (one, two)]
    assert pictures[0].shape == pictures[1].shape == (780, 1200)
    for panel in np.split(pictures[0], 2)[0], np.split(pictures[0], 2)[1]:
        assert panel.min() < 100 < panel.max()
    assert (pictures[0] != pictures[1]).mean() > 0.001


def test_nothing_logged_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no step was logged"):
        draw_curves({"run": [{"step": 1, "train_runtime": 3.0}]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
