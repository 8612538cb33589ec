"""The plots of a comparison, drawn with Matplotlib (the extra `figures`) from the numbers of its tables.

    figure6.png      accuracy and F1 against the number of parameters, as bubbles, with 95 % intervals
    roc.png          ROC curves of the systems that give scores; the dot is their verdict
    agreement.png    how often each two systems agree, and the p-value of their exact McNemar test
    gallery.png      reference, query, and what each system says (the examples of gallery.py)

The size of a model is in its run's settings; a system of unknown size is a hollow bubble at the left margin. What a
model wrote is drawn as it is: Matplotlib reads no markup in it.

Deviation from the paper, whose Figure 6 sets accuracy against F1 with the size as the bubble only: here the size is an
axis too, so that three quantities need no legend of bubbles. The constant answers are lines: they have no size.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.errors import InputError, require
from lad_reasoner.estimate import Estimate
from lad_reasoner.evaluation.comparison import RunComparison
from lad_reasoner.evaluation.metrics import Estimates
from lad_reasoner.records import Prediction
from lad_reasoner.report.gallery import GalleryExample, SystemAnswer, choose_examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

GOOD, BAD, GREY = "#2e7d32", "#c62828", "#777777"
EXAMPLES = 10  # in the gallery
LINE, LINES = 52, 15  # characters in a line, lines of a reasoning; longer ones are cut
LONGEST_NAME = 40

Floats = NDArray[np.float64]


def draw_plots(out: Path, comparison: RunComparison) -> list[Path]:
    """Draw all plots into a folder that exists; returns the files. A plot that would be empty is skipped.

    MissingExtraError without Matplotlib, InputError for a folder that cannot be written.
    """
    matplotlib = require("matplotlib", "figures")
    written = []
    # `$` would begin a formula. Letters that the font lacks are drawn as boxes; Matplotlib would warn about each.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        canvases = {
            "figure6.png": _draw_sizes(comparison),
            "roc.png": _draw_roc(comparison),
            "agreement.png": _draw_agreement(comparison),
            "gallery.png": _draw_gallery(choose_examples(comparison, EXAMPLES)),
        }
        for name, canvas in canvases.items():
            if canvas is None:
                continue
            try:
                canvas.savefig(out / name, dpi=150, bbox_inches="tight", facecolor="white")
            except OSError as error:
                raise InputError(f"--out {out}: {error.strerror}; choose a folder that can be written") from None
            written.append(out / name)
    return written


def _canvas(width: float, height: float) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """The same colour for a system in every plot."""
    from matplotlib import colormaps

    palette: Any = colormaps["tab10"]
    return {name: palette(at % 10) for at, name in enumerate(names)}


def _short(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut at the front: the end tells folders and checkpoints apart better than the beginning."""
    name = " ".join(name.split())
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _draw_sizes(comparison: RunComparison) -> Canvas:
    """Figure 6: accuracy on the left, F1 on the right, both pooled over images."""
    sizes = {name: run.settings.parameters for name, (_, run) in comparison.runs.items()}
    known = [size for size in sizes.values() if size]
    nowhere = min(known) / 6 if known else 1.0
    canvas, colours = _canvas(11, 4.6), _colours(list(sizes))
    for number, (field, title) in enumerate((("accuracy", "Accuracy (%)"), ("f1", "F1 (%)")), 1):
        axes = canvas.add_subplot(1, 2, number)
        for name, size in sizes.items():
            figure: Estimate = getattr(comparison.measured[name].pooled, field)
            if figure.value is None:
                continue
            x, y = size or nowhere, 100 * figure.value
            if figure.interval:
                axes.plot([x, x], [100 * end for end in figure.interval], color=colours[name], linewidth=1, alpha=0.6)
            # The area grows with the logarithm: 72 billion would hide all else otherwise.
            area = 60 * (1 + np.log10(size / min(known))) ** 1.5 if size else 60
            label = f"{_short(name)} ({_say_size(size)})"
            fill = {"facecolor": colours[name], "alpha": 0.75} if size else {"facecolor": "none"}
            axes.scatter([x], [y], s=area, edgecolor=colours[name], linewidth=1.5, label=label, zorder=3, **fill)
        for name, style in (("always-yes", "--"), ("always-no", ":")):
            value = getattr(comparison.measured[name].pooled, field).value
            if value is not None:
                axes.axhline(100 * value, linestyle=style, color=GREY, linewidth=1, label=f"{name} (a constant)")
        axes.set_xscale("log")
        axes.set_xlim(nowhere / 2, max(known, default=1.0) * 3)
        ticks = [10.0**power for power in range(13) if known and min(known) / 3 <= 10.0**power <= 3 * max(known)]
        axes.set_xticks(ticks, [_say_size(round(tick)) for tick in ticks])
        axes.minorticks_off()
        if len(known) < len(sizes):
            axes.axvline(nowhere * 2, color="#dddddd", linewidth=1, zorder=0)
            axes.text(nowhere, 1, "unknown", ha="center", va="bottom", fontsize=7, color=GREY)
        axes.set_ylim(0, 100)
        axes.set_xlabel("parameters")
        axes.set_ylabel(title)
        axes.grid(alpha=0.2)
        if number == 2:
            axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), labelspacing=1.1)
    canvas.suptitle(f"{comparison.pairs} pairs; bars are 95 % intervals", fontsize=9, color=GREY)
    return canvas


def _say_size(size: int | None) -> str:
    if not size:
        return "size unknown"
    for unit, factor in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return str(size)


def _draw_roc(comparison: RunComparison) -> Canvas | None:
    """ROC curves, pooled; None where no system gives scores, or all pairs have one label."""
    drawn = {
        name: (curve, comparison.measured[name].pooled)
        for name, (_, run) in comparison.runs.items()
        if (curve := roc_curve(run.predictions)) is not None
    }
    if not drawn:
        return None
    canvas, colours = _canvas(5.6, 5.2), _colours(list(comparison.runs))
    axes = canvas.add_subplot()
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=":")
    for name, ((false, true), figures) in drawn.items():
        label = f"{_short(name)}, AUROC {figures.auroc.percent()} {figures.auroc.percent_interval()}"
        axes.plot(100 * false, 100 * true, color=colours[name], linewidth=1.6, label=label)
        axes.plot(*_verdict(figures), "o", color=colours[name], markersize=7, markeredgecolor="white")
    axes.set_xlabel("good products called anomalous (%)")
    axes.set_ylabel("anomalies found (%)")
    axes.set_aspect("equal")
    axes.grid(alpha=0.2)
    axes.set_title(f"{comparison.pairs} pairs, pooled; the dot is the verdict", fontsize=9, color=GREY)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return canvas


def _verdict(figures: Estimates) -> tuple[list[float], list[float]]:
    matrix = figures.confusion
    assert matrix is not None  # pooled figures have one
    return [100 * matrix.fp / (matrix.fp + matrix.tn)], [100 * matrix.tp / (matrix.tp + matrix.fn)]


def roc_curve(predictions: Sequence[Prediction]) -> tuple[Floats, Floats] | None:
    """(false positive rates, true positive rates) from (0, 0) to (1, 1), a point for each different score.

    None without scores, or with one label only. An invalid answer is wrong at every threshold, as in metrics.py: the
    area below is its AUROC.
    """
    if not all(line.scored or line.verdict.answer == "invalid" for line in predictions):
        return None
    anomalous = np.array([line.pair.label == "yes" for line in predictions])
    invalid = np.array([line.verdict.answer == "invalid" for line in predictions])
    if anomalous.all() or not anomalous.any():
        return None
    score = np.array([line.verdict.score for line in predictions])
    score = np.where(invalid, np.where(anomalous, -np.inf, np.inf), score)
    cuts = np.unique(score)[::-1]
    false, true = (
        np.array([0.0, *((score[members] >= cut).mean() for cut in cuts)]) for members in (~anomalous, anomalous)
    )
    return false, true


def _draw_agreement(comparison: RunComparison) -> Canvas:
    """A cell for each two systems, constant answers included: agreement in percent, p-value below it."""
    names = list(comparison.measured)
    values = np.full((len(names), len(names)), np.nan)
    side = 1.6 + 0.95 * len(names)
    canvas = _canvas(side + 1.2, side)
    axes = canvas.add_subplot()
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            duel = comparison.duel(one, other)
            if duel is None:
                continue
            values[row, column] = duel.agreement
            text = f"{100 * duel.agreement:.1f}\np = {duel.p_value:.2g}"
            colour = "white" if duel.agreement > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    labels = [textwrap.fill(_short(name), 18) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.set_title(
        f"Same answer, % of {comparison.pairs} pairs;\np of exact McNemar, not corrected", fontsize=9, color=GREY
    )
    return canvas


def _draw_gallery(examples: Sequence[GalleryExample]) -> Canvas | None:
    """A row for each pair: first reference, query, each system's reasoning, green if right; None without pairs."""
    if not examples:
        return None
    texts = [[_wrap(answer.text) for answer in example.answers] for example in examples]
    heights = [max(1.75, 0.55 + 0.145 * max(text.count("\n") + 1 for text in row)) for row in texts]
    # A system that only answers needs no room for reasons.
    widths = [1.7, 1.7, *(3.2 if any(column) else 1.6 for column in zip(*texts, strict=True))]
    canvas = _canvas(sum(widths) + 0.2, sum(heights) + 0.3)
    grid = canvas.add_gridspec(len(examples), len(widths), width_ratios=widths, height_ratios=heights)
    for row, (example, wrapped) in enumerate(zip(examples, texts, strict=True)):
        pictures = ((example.references[0], "reference"), (example.query, f"query: {example.truth}"))
        for column, (uri, title) in enumerate(pictures):
            axes = canvas.add_subplot(grid[row, column])
            axes.set_axis_off()
            axes.set_title(textwrap.fill(title, 30), fontsize=7, color=GREY)
            if uri:
                axes.imshow(_read(uri))
        for column, (answer, text) in enumerate(zip(example.answers, wrapped, strict=True), 2):
            _draw_answer(canvas.add_subplot(grid[row, column]), answer, text, widths[column], heights[row])
    return canvas


def _draw_answer(axes: Axes, answer: SystemAnswer, text: str, width: float, height: float) -> None:
    """One cell, `width` by `height` inches: system, verdict, reasoning, and a bar in the colour of right or wrong."""
    colour = GOOD if answer.right else BAD
    head = f"{'✓' if answer.right else '✗'} {answer.answer} {answer.score}".strip()
    axes.set_axis_off()
    axes.text(0.03, 1, _short(answer.system, 26), fontsize=8, weight="bold", va="top")
    if width > 2:
        axes.text(0.98, 1, head, fontsize=8, weight="bold", va="top", ha="right", color=colour)
    else:  # no room beside the name
        axes.text(0.03, 1 - 0.2 / height, head, fontsize=8, weight="bold", va="top", color=colour)
    axes.text(0.03, 1 - 0.22 / height, text, fontsize=7, va="top", style="italic")
    axes.plot([0, 0], [0, 1], color=colour, linewidth=3, transform=axes.transAxes, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _wrap(text: str) -> str:
    lines = textwrap.wrap("".join(letter if letter.isprintable() else " " for letter in text), LINE)
    return "\n".join([*lines[: LINES - 1], "…"] if len(lines) > LINES else lines)


def _read(uri: str) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))
