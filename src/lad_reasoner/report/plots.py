"""The plots of a comparison, drawn with Matplotlib (the extra `figures`) from the numbers of its tables.

    figure6      accuracy and F1 against the number of parameters, as bubbles, with 95 % intervals
    roc          ROC curves of the systems that give scores; the dot is their verdict
    agreement    how often each two systems agree, and the p-value of their exact McNemar test
    gallery      reference, query, and what each system says (the examples of gallery.py)

Of runs over seeds there is figure6 alone: a bubble is their mean, the bar reaches from the lowest to the highest run.

Each as PNG, and as PDF and SVG for print. The size of a model is in its run's settings; a system of unknown size is a
hollow bubble at the left margin, and systems of one size stand side by side. Published rows are diamonds without
intervals. What a model wrote is drawn as it is: Matplotlib reads no markup in it.

Deviation from the paper, whose Figure 6 sets accuracy against F1 with the size as the bubble only: here the size is an
axis too, so that three quantities need no legend of bubbles. The constant answers are lines: they have no size.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.errors import InputError, require
from lad_reasoner.evaluation.comparison import POOLED, RunComparison, Table
from lad_reasoner.evaluation.seeds import SeedComparison
from lad_reasoner.files.whole import describe_write_error, write_whole
from lad_reasoner.records import Estimate, Prediction
from lad_reasoner.report.gallery import GalleryExample, SystemAnswer, choose_examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

GOOD, BAD, GREY = "#2e7d32", "#c62828", "#777777"
FORMS = {"png": 150, "pdf": 300, "svg": 300}  # and the dots per inch of what is no vector
APART = 0.035  # share of the axis between systems of one size
EXAMPLES = 10  # in the gallery
LINE, LINES = 52, 15  # characters in a line, lines of a reasoning; longer ones are cut
LONGEST_NAME = 40

Floats = NDArray[np.float64]


def draw_plots(out: Path, comparison: RunComparison | SeedComparison) -> list[Path]:
    """Draw all plots into a folder that exists; returns the files. A plot that would be empty is skipped.

    MissingExtraError without Matplotlib, InputError for a folder that cannot be written.
    """
    matplotlib = require("matplotlib", "figures")
    written = []
    # `$` would begin a formula; without a salt the names inside an SVG are drawn by lot.
    settings = {"text.parse_math": False, "svg.hashsalt": "lad-reasoner"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; Matplotlib would warn about each.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        if isinstance(comparison, SeedComparison):
            canvases: dict[str, Canvas | None] = {"figure6": _draw_sizes(_overall_of_seeds(comparison))}
        else:
            canvases = {
                "figure6": _draw_sizes(_overall_of_runs(comparison)),
                "roc": _draw_roc(comparison),
                "agreement": _draw_agreement(comparison),
                "gallery": _draw_gallery(choose_examples(comparison, EXAMPLES)),
            }
        for name, canvas in canvases.items():
            if canvas is None:
                continue
            for form, dpi in FORMS.items():
                drawn = io.BytesIO()
                # Without a date the same numbers give the same file.
                made = None if form == "png" else {"CreationDate" if form == "pdf" else "Date": None}
                canvas.savefig(drawn, format=form, dpi=dpi, bbox_inches="tight", facecolor="white", metadata=made)
                path = out / f"{name}.{form}"
                try:
                    write_whole(path, drawn.getvalue())
                except OSError as error:
                    raise InputError(f"--out {describe_write_error(error, path)}") from None
                written.append(path)
                canvas.set_layout_engine("none")  # the other forms stand as the first, which takes a quarter less
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


@dataclass(frozen=True)
class _Overall:
    """What Figure 6 shows: numbers of parameters, and accuracy and F1 pooled over images.

    `estimates` are by `Acc` and `F1`, and by name, of the constant answers too. `published` are the sizes of published
    rows, whose numbers stand in the `table`.
    """

    sizes: dict[str, int | None]
    estimates: dict[str, dict[str, Estimate]]
    published: dict[str, int | None]
    table: Table
    title: str


def _overall_of_runs(comparison: RunComparison) -> _Overall:
    measured = comparison.measured.items()
    return _Overall(
        sizes={name: run.settings.parameters for name, (_, run) in comparison.runs.items()},
        estimates={
            "Acc": {name: metrics.pooled.accuracy for name, metrics in measured},
            "F1": {name: metrics.pooled.f1 for name, metrics in measured},
        },
        published=comparison.sizes,
        table=comparison.table,
        title=f"{comparison.pairs} pairs; bars are 95 % intervals",
    )


def _overall_of_seeds(comparison: SeedComparison) -> _Overall:
    rows = {name: [comparison.values[path] for path in runs] for name, runs in comparison.runs.items()}
    rows |= {name: [values] for name, values in comparison.constant.items()}
    estimates: dict[str, dict[str, Estimate]] = {}
    for column in ("Acc", "F1"):
        of_runs = {name: [run[POOLED, column] for run in runs] for name, runs in rows.items()}
        estimates[column] = {name: _mean_and_range(values) for name, values in of_runs.items()}
    return _Overall(
        sizes={name: next(iter(runs.values())).settings.parameters for name, runs in comparison.runs.items()},
        estimates=estimates,
        published=comparison.sizes,
        table=comparison.table,
        title=f"{comparison.pairs} queries; bars reach from the lowest to the highest run",
    )


def _mean_and_range(values: Sequence[float | None]) -> Estimate:
    """Not defined if one of the values is not."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return Estimate(value=None)
    return Estimate(value=float(np.mean(numbers)), interval=(min(numbers), max(numbers)))


def _draw_sizes(overall: _Overall) -> Canvas:
    """Figure 6: accuracy on the left, F1 on the right."""
    sizes, everything = overall.sizes, {**overall.sizes, **overall.published}
    known = [size for size in everything.values() if size]
    smallest, largest = min(known, default=6), max(known, default=1)
    margin = smallest / 6  # where systems of unknown size stand
    ticks = [10.0**power for power in range(13) if known and smallest / 3 <= 10.0**power <= 3 * largest]
    canvas = _canvas(11, 4.6)
    left, right = canvas.subplots(1, 2)
    places = _spread(everything, margin, np.log10(largest * 3 / (margin / 2)))
    for axes, column, title in ((left, "Acc", "Accuracy (%)"), (right, "F1", "F1 (%)")):
        estimates = overall.estimates[column]
        _draw_bubbles(axes, estimates, sizes, places, smallest)
        _draw_published(axes, overall, column, places)
        for name, style in (("always-yes", "--"), ("always-no", ":")):
            if (value := estimates[name].value) is not None:
                axes.axhline(100 * value, linestyle=style, color=GREY, linewidth=1, label=f"{name} (a constant)")
        axes.set_xscale("log")
        axes.set_xlim(margin / 2, largest * 3)
        axes.set_xticks(ticks, [_say_size(round(tick)) for tick in ticks])
        axes.minorticks_off()
        if len(known) < len(everything):
            axes.axvline(margin * 2, color="#dddddd", linewidth=1, zorder=0)
            axes.text(margin, 1, "unknown", ha="center", va="bottom", fontsize=7, color=GREY)
        axes.set(ylim=(0, 100), xlabel="parameters", ylabel=title)
        axes.grid(alpha=0.2)
    right.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), labelspacing=1.1)
    canvas.suptitle(overall.title, fontsize=9, color=GREY)
    return canvas


def _spread(sizes: Mapping[str, int | None], margin: float, decades: float) -> dict[str, float]:
    """Where each system stands on the axis of sizes, which is so many `decades` long: those of one size side by side.

    A system of unknown size stands about `margin`.
    """
    groups: dict[float, list[str]] = {}
    for name, size in sizes.items():
        at = float(size or margin)
        # A checkpoint and its base may differ by a few tensors.
        near = next((other for other in groups if abs(np.log10(other / at)) < 0.02 * decades), at)
        groups.setdefault(near, []).append(name)
    places = {}
    for at, names in groups.items():
        step = min(APART, 0.12 / len(names)) * decades
        for number, name in enumerate(names):
            places[name] = float(at * 10 ** (step * (number - (len(names) - 1) / 2)))
    return places


def _draw_bubbles(
    axes: Axes,
    estimates: Mapping[str, Estimate],
    sizes: Mapping[str, int | None],
    places: Mapping[str, float],
    smallest: float,
) -> None:
    """A bubble for each system, its interval as a bar; hollow if its size is unknown."""
    colours = _colours(list(sizes))
    for name, size in sizes.items():
        value, interval = estimates[name].value, estimates[name].interval
        if value is None:
            continue
        x = places[name]
        if interval:
            axes.plot([x, x], [100 * end for end in interval], color=colours[name], linewidth=1, alpha=0.6)
        # The area grows with the logarithm of the size: otherwise 72 billion would hide all else.
        area = 60 * (1 + np.log10(size / smallest)) ** 1.5 if size else 60
        label = f"{_short(name)} ({_say_size(size)})"
        fill: dict[str, Any] = {"facecolor": colours[name], "alpha": 0.75} if size else {"facecolor": "none"}
        # Not cut in half at 100 %.
        drawn = {"s": area, "edgecolor": colours[name], "linewidth": 1.5, "zorder": 3, "clip_on": False, **fill}
        axes.scatter([x], [100 * value], label=label, **drawn)


def _draw_published(axes: Axes, overall: _Overall, column: str, places: Mapping[str, float]) -> None:
    """A diamond for each published row; its number has no interval."""
    from matplotlib import colormaps

    palette: Any = colormaps["tab20b"]
    for number, (name, size) in enumerate(overall.published.items()):
        value, colour = overall.table.printed(name, column), palette(number % 20)
        if value is None:
            continue
        fill: dict[str, Any] = {"facecolor": colour if size else "none", "edgecolor": colour}
        label = f"{_short(name)} ({_say_size(size)})"
        axes.scatter([places[name]], [value], s=45, marker="D", linewidth=1.2, label=label, zorder=2, **fill)


def _say_size(size: int | None) -> str:
    if not size:
        return "size unknown"
    for unit, factor in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return str(size)


def _draw_roc(comparison: RunComparison) -> Canvas | None:
    """ROC curves, pooled; None if no system gives scores, or all pairs have one label."""
    canvas, colours = _canvas(5.6, 5.2), _colours(list(comparison.runs))
    axes = canvas.add_subplot()
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=":")
    empty = True
    for number, (name, (_, run)) in enumerate(comparison.runs.items()):
        curve, pooled = roc_curve(run.predictions), comparison.measured[name].pooled
        matrix = pooled.confusion
        if curve is None or matrix is None:
            continue
        empty = False
        label = f"{_short(name)}, AUROC {pooled.auroc.percent()} {pooled.auroc.percent_interval()}"
        axes.plot(*(100 * rates for rates in curve), color=colours[name], linewidth=1.6, label=label)
        # The verdict is one point: the rates at the threshold that the system itself chose.
        false = matrix.fp / (matrix.fp + matrix.tn)
        true = matrix.tp / (matrix.tp + matrix.fn)
        # A later dot is smaller, so that it does not hide an earlier one at the same place.
        size = max(4, 11 - 1.5 * number)
        place = [100 * false], [100 * true]
        axes.plot(*place, "o", color=colours[name], markersize=size, markeredgecolor="white", zorder=3 + number)
    if empty:
        return None
    axes.set(xlabel="good products called anomalous (%)", ylabel="anomalies found (%)", aspect="equal")
    axes.grid(alpha=0.2)
    axes.set_title(f"{comparison.pairs} pairs, pooled; the dot is the verdict", fontsize=9, color=GREY)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return canvas


def roc_curve(predictions: Sequence[Prediction]) -> tuple[Floats, Floats] | None:
    """(false positive rates, true positive rates) from (0, 0) to (1, 1), one point for each distinct score.

    None without scores, or if all labels are the same. An invalid answer is wrong at every threshold, as in metrics.py:
    the area under the curve is its AUROC.
    """
    if not all(line.scored or line.verdict.answer == "invalid" for line in predictions):
        return None
    anomalous = np.array([line.pair.label == "yes" for line in predictions])
    invalid = np.array([line.verdict.answer == "invalid" for line in predictions])
    if anomalous.all() or not anomalous.any():
        return None
    scores = np.array([line.verdict.score for line in predictions])
    # Wrong at every threshold: below all scores if anomalous, above all if good.
    scores = np.where(invalid, np.where(anomalous, -np.inf, np.inf), scores)
    thresholds = np.unique(scores)[::-1]
    return _shares_above(scores[~anomalous], thresholds), _shares_above(scores[anomalous], thresholds)


def _shares_above(scores: Floats, thresholds: Floats) -> Floats:
    """The share of scores at or above each threshold, (1 + thresholds,): it begins with 0, above them all."""
    above = len(scores) - np.searchsorted(np.sort(scores), thresholds)
    return np.append(0.0, above / len(scores))


def _draw_agreement(comparison: RunComparison) -> Canvas:
    """A cell for each two systems, constant answers included: agreement in percent, p-value below it."""
    names = list(comparison.measured)
    values = np.full((len(names), len(names)), np.nan)
    side = 1.6 + 0.95 * len(names)
    canvas = _canvas(side + 1.2, side)
    axes = canvas.add_subplot()
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            duel = comparison.duel(first, second)
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
    lines = [max(text.count("\n") + 1 for text in row) for row in texts]  # of each row's longest text
    heights = [max(1.75, 0.55 + 0.145 * number) for number in lines]
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
