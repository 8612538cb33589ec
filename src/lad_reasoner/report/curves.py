"""Figure 5 of the paper, and more: reward, response length, KL and yes-rate over the steps of a GRPO run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.whole import write_whole
from lad_reasoner.packaged import read_packaged

History = Sequence[Mapping[str, Any]]  # what a Trainer logged: {"step": 1, "reward": 0.5, …}

PANELS: dict[str, dict[str, str]] = read_packaged(__file__, "curves.toml")


def read_curve(history: History, name: str) -> list[tuple[int, float]]:
    """(step, value) of one logged name, in order; the last value logged at a step counts."""
    values = {int(line["step"]): float(line[name]) for line in history if line.get(name) is not None}
    return sorted(values.items())


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, over a tenth of all: one batch of pairs is mostly noise."""
    window = max(1, len(values) // 10)
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - window) : end]
        means.append(sum(part) / len(part))
    return means


def draw_curves(runs: Mapping[str, History], path: Path) -> Path:
    """Write the four panels as a PNG; `runs` maps the name of a run to its log history. Returns the path.

    Lines are running means over a tenth of the steps, with the raw values in pale behind them. With several runs each
    panel shows only its first name, one line per run. InputError if nothing was logged, MissingExtraError without
    Matplotlib.
    """
    if not any(read_curve(history, "reward") for history in runs.values()):
        raise InputError(f"{path}: no step was logged, so there are no curves")
    canvas = require("matplotlib.figure", "train").Figure(figsize=(10, 6.5), layout="constrained")
    several = len(runs) > 1
    for axes, (title, labels) in zip(canvas.subplots(2, 2).flat, PANELS.items(), strict=True):
        for run, history in runs.items():
            for name in list(labels)[:1] if several else labels:
                _draw_line(axes, read_curve(history, name), run if several else labels[name])
        axes.set(title=title, xlabel="step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if several or len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(framealpha=0.5)
        if title == "Yes-rate":
            axes.set_ylim(-0.03, 1.03)
    path.parent.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    canvas.savefig(png, dpi=120)
    write_whole(path, png.getvalue())
    return path


def _draw_line(axes: Any, curve: Sequence[tuple[int, float]], label: str) -> None:
    if not curve:
        return
    steps, values = zip(*curve, strict=True)
    smooth = running_mean(values)
    (line,) = axes.plot(steps, smooth, marker="." if len(curve) < 40 else "", label=label)
    if smooth != list(values):
        axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
