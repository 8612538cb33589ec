"""The figures of a run as rows and columns, for the terminal and the report alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lad_reasoner.evaluate import Recorded, RunMetrics, Settings
from lad_reasoner.metrics import Figures

# A figure's field -> what it is called. The two groups never share a table: those of a fixed verdict, and those that
# look at every threshold with the test labels in hand.
VERDICT_HEADINGS = {
    "accuracy": "Accuracy",
    "f1": "F1",
    "precision": "Precision",
    "tpr": "TPR",
    "tnr": "TNR",
    "balanced_accuracy": "Balanced acc.",
    "mcc": "MCC",
}
SCORE_HEADINGS = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "f1_max_on_test_labels": "F1-max (threshold chosen on the test labels)",
}
NAMED = 3  # failures that are spelled out


@dataclass(frozen=True)
class Line:
    """One row: `count` queries ("" for a mean over classes); `trivial` for a constant answer."""

    name: str
    count: str
    figures: Figures
    trivial: bool = False

    def cells(self, headings: Mapping[str, str]) -> list[tuple[str, str]]:
        """(value, interval) in percent, of each heading."""
        figures = [getattr(self.figures, field) for field in headings]
        return [(figure.percent(), figure.percent_interval()) for figure in figures]


def lines(metrics: RunMetrics) -> list[Line]:
    """Both overalls, each class, and each kind where there are several."""
    table = [
        _line("pooled over images", metrics.pooled),
        _line("mean over classes", metrics.mean_over_classes),
        *(_line(name, figures) for name, figures in metrics.by_class.items()),
    ]
    if len(metrics.by_kind) > 1:
        table += [_line(f"{kind}, pooled", kinds.pooled) for kind, kinds in metrics.by_kind.items()]
    return table


def trivial_lines(metrics: RunMetrics) -> list[Line]:
    """The constant answers on the same pairs: what no look at the pictures is worth."""
    return [
        _line(f"{name}, {overall}", figures, trivial=True)
        for name, constant in metrics.trivial.items()
        for overall, figures in (("pooled", constant.pooled), ("mean", constant.mean_over_classes))
    ]


def defect_lines(metrics: RunMetrics) -> list[Line]:
    """Each defect against the good queries of its class."""
    return [_line(name, figures) for name, figures in metrics.by_defect.items()]


def _line(name: str, figures: Figures, *, trivial: bool = False) -> Line:
    matrix = figures.confusion
    count = str(matrix.tp + matrix.fn + matrix.fp + matrix.tn) if matrix else ""
    return Line(name, count, figures, trivial)


def faithfulness_lines(metrics: RunMetrics) -> list[tuple[str, str, str, str]]:
    """(class, true of all claims, percent, interval); empty where nothing was claimed that can be checked."""
    if not metrics.claiming or metrics.faithfulness is None:
        return []
    return [
        (name or "pooled", f"{one.true} of {one.claims}", one.share.percent(), one.share.percent_interval())
        for name, one in metrics.faithfulness.items()
    ]


def remarks(recorded: Recorded, metrics: RunMetrics) -> list[str]:
    """Sentences that belong with the figures."""
    settings, asked = recorded.settings, len(recorded.predictions)
    invalid = metrics.pooled.confusion.invalid if metrics.pooled.confusion else 0
    found = list(settings.notes)
    if asked < settings.pairs:
        found.append(f"{asked} of {settings.pairs} pairs are judged so far; the figures are of these")
    if metrics.failures:
        errors = [line.error for line in recorded.predictions if line.error]
        rest = f" and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        found.append(f"{len(errors)} queries could not be judged and count as wrong: {'; '.join(errors[:NAMED])}{rest}")
    if invalid > metrics.failures:
        found.append(f"{invalid - metrics.failures} responses had no valid answer; they count as wrong")
    return found


def describe(settings: Settings) -> str:
    """The settings in one line."""
    references = f"{settings.references} reference{'' if settings.references == 1 else 's'}"
    asked = f"{references} a query, seed {settings.seed} · {', '.join(settings.kinds)}"
    return f"{settings.benchmark} · {asked} · prompt {settings.prompt_version}"
