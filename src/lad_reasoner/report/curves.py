"""Figure 5 of the paper, and more: how reward, response length, KL and yes-rate went in a GRPO run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError
from lad_reasoner.train.settings import library

PANELS = {
    "Reward": ("reward", "reward_penalised", "rewards/structure_reward/mean", "rewards/accuracy_reward/mean"),
    "Response length (tokens)": ("response_length",),
    "KL to the frozen model (a token)": ("kl",),
    "Yes-rate": ("yes_rate", "label_yes_rate"),
}
NAMES = {
    "reward": "weighted sum",
    "reward_penalised": "less the KL",
    "rewards/structure_reward/mean": "structure",
    "rewards/accuracy_reward/mean": "accuracy",
    "yes_rate": "answers",
    "label_yes_rate": "labels",
}


def read_curve(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of one figure in a Trainer's log history; the last one logged at a step counts."""
    found = {int(line["step"]): float(line[name]) for line in history if line.get(name) is not None}
    return sorted(found.items())


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, up to a tenth of all: a batch of pairs says little by itself."""
    window = max(1, len(values) // 10)
    parts = [values[max(0, at + 1 - window) : at + 1] for at in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def draw_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> Path:
    """Write the four panels as a PNG; `runs` maps the name of a run to its log history. Returns the path.

    Lines are running means over a tenth of the steps, with the values behind them in pale. With several runs each panel
    shows the first of its figures for each of them. InputError where nothing was logged.
    """
    if not any(read_curve(history, "reward") for history in runs.values()):
        raise InputError(f"{path}: no step was logged, so there are no curves")
    library("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for run, history in runs.items():
            for name in names if len(runs) == 1 else names[:1]:
                curve = read_curve(history, name)
                if curve:
                    steps, values = zip(*curve, strict=True)
                    smooth = running_mean(values)
                    mark = "." if len(curve) < 40 else ""
                    (line,) = axes.plot(
                        steps, smooth, marker=mark, label=NAMES.get(name, name) if len(runs) == 1 else run
                    )
                    if smooth != list(values):
                        axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
        axes.set(title=title, xlabel="step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if len(axes.get_legend_handles_labels()[0]) > 1 or len(runs) > 1:
            axes.legend(framealpha=0.5)
        if title == "Yes-rate":
            axes.set_ylim(-0.03, 1.03)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
