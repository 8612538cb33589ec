"""The figures of a run as rows and columns, for the terminal and the report alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lad_reasoner.estimate import Estimate
from lad_reasoner.evaluation.explanations import ALL
from lad_reasoner.evaluation.metrics import Estimates
from lad_reasoner.evaluation.run import Recorded, RunMetrics, Settings

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
EXPLAINED = (
    "By word lists (defect_words.toml): what is put in other words is not found. A defect is named where one sentence "
    "has its object and, next to it, its change; the share of other defects that the same texts name says what that is "
    "worth. Facts are those of both pictures."
)


@dataclass(frozen=True)
class Line:
    """One row: `count` queries ("" for a mean over classes); `trivial` for a constant answer."""

    name: str
    count: str
    figures: Estimates
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


def _line(name: str, figures: Estimates, *, trivial: bool = False) -> Line:
    matrix = figures.confusion
    count = str(matrix.tp + matrix.fn + matrix.fp + matrix.tn) if matrix else ""
    return Line(name, count, figures, trivial)


def explanation_lines(metrics: RunMetrics) -> list[tuple[str, str, str, str]]:
    """(what, of how many, value, interval) of the explanations; empty where none were given."""
    found = metrics.explanations
    if found is None:
        return []
    rows = []
    if found.faithfulness is not None and found.claiming:
        for sort, one in found.faithfulness.items():
            name = "of all sorts" if sort == ALL else f"about {sort}"
            if one.claims:
                rows.append(_share(f"claims {name} that are true", f"{one.true} of {one.claims}", one.precision))
            if one.facts:
                rows.append(_share(f"facts {name} that are truly claimed", f"{one.told} of {one.facts}", one.recall))
        for name, one in (found.faithfulness_by_class or {}).items():
            rows.append(_share(f"claims that are true, {name}", f"{one.true} of {one.claims}", one.precision))
    naming = found.naming
    if naming is not None:
        count = f"of {naming.defects} defects"
        rows += [
            _share("names the defect: object and change", count, naming.defect),
            _share("says its object", count, naming.object),
            _share("says its change", count, naming.change),
            _share("names the defect, where the answer was yes", f"of {naming.found}", naming.when_found),
            _share("names other defects of the class, which are not there", f"of {naming.others}", naming.others_named),
        ]
    count = f"of {found.responses} responses"
    rows += [
        _share("answer contradicts the reasoning", f"of {found.concluding} that conclude", found.contradicting),
        _share("no reasoning", count, found.empty),
        _share("the same text at another query too", count, found.repeated),
        ("queries with the most repeated text", count, str(found.most_repeated_times), "–"),
        ("words of a reasoning, on average (at most)", "", f"{found.mean_words} ({found.most_words})", "–"),
    ]
    return rows


def _share(name: str, count: str, figure: Estimate) -> tuple[str, str, str, str]:
    return name, count, f"{figure.percent()} %" if figure.value is not None else "–", figure.percent_interval()


def remarks(recorded: Recorded, metrics: RunMetrics) -> list[str]:
    """Sentences that belong with the figures."""
    settings, asked = recorded.settings, len(recorded.predictions)
    invalid = metrics.pooled.confusion.invalid if metrics.pooled.confusion else 0
    found = list(settings.notes)
    if asked < settings.pairs:
        found.append(f"{asked} of {settings.pairs} pairs are judged so far; the figures are of these")
    if metrics.failed:
        errors = list(metrics.failed.values())
        rest = f" and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        found.append(f"{len(errors)} queries could not be judged and count as wrong: {'; '.join(errors[:NAMED])}{rest}")
    if invalid > len(metrics.failed):
        found.append(f"{invalid - len(metrics.failed)} responses had no valid answer; they count as wrong")
    explanations = metrics.explanations
    if explanations and explanations.naming and explanations.naming.unknown:
        found.append(f"defects without words in defect_words.toml: {', '.join(explanations.naming.unknown)}")
    return found


def describe(settings: Settings) -> str:
    """The settings in one line."""
    references = f"{settings.references} reference{'' if settings.references == 1 else 's'}"
    asked = f"{references} a query, seed {settings.seed} · {', '.join(settings.kinds)}"
    return f"{settings.benchmark} · {asked} · prompt {settings.prompt_version}"
