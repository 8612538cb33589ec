"""The metrics of a run as rows and columns, for the terminal and the HTML report alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lad_reasoner.evaluation.explanations import ALL, Explanations, Faithfulness, Naming
from lad_reasoner.evaluation.localisation import LocalisationEstimates
from lad_reasoner.evaluation.metrics import Estimates
from lad_reasoner.evaluation.run import Recorded, RunMetrics, Settings
from lad_reasoner.judge import NO_ANSWER
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Estimate
from lad_reasoner.text import counted, listed

_TABLE = read_packaged(__file__, "rows.toml")
VERDICT_HEADINGS: dict[str, str] = _TABLE["verdict_headings"]
SCORE_HEADINGS: dict[str, str] = _TABLE["score_headings"]
LOCALISATION_HEADINGS: dict[str, str] = _TABLE["localisation_headings"]
LOCALISED: str = _TABLE["localised"]
EXPLAINED: str = _TABLE["explained"]

# What was counted, of how many, value, interval.
ExplanationRow = tuple[str, str, str, str]


@dataclass(frozen=True)
class MetricsRow:
    """One row: `count` is the number of queries, "" for a mean over classes; `trivial` marks a constant answer."""

    name: str
    count: str
    estimates: Estimates | LocalisationEstimates
    trivial: bool = False

    def cells(self, headings: Mapping[str, str]) -> list[tuple[str, str]]:
        """(value, interval) in percent, one for each heading."""
        estimates: list[Estimate] = [getattr(self.estimates, field) for field in headings]
        return [(estimate.percent(), estimate.percent_interval()) for estimate in estimates]


def metrics_rows(metrics: RunMetrics) -> list[MetricsRow]:
    """Pooled, mean over classes, each class, and each kind if there are several."""
    rows = [
        _metrics_row("pooled over images", metrics.pooled),
        _metrics_row("mean over classes", metrics.mean_over_classes),
    ]
    rows += [_metrics_row(name, estimates) for name, estimates in metrics.by_class.items()]
    if len(metrics.by_kind) > 1:
        rows += [_metrics_row(f"{kind}, pooled", summary.pooled) for kind, summary in metrics.by_kind.items()]
    return rows


def localisation_rows(metrics: RunMetrics) -> list[MetricsRow]:
    """Mean over classes, each class, and each kind if there are several; empty without maps or masks."""
    localisation = metrics.localisation
    if localisation is None:
        return []
    named = {"mean over classes": localisation.mean_over_classes, **localisation.by_class}
    if len(localisation.by_kind) > 1:
        named |= {f"{kind}, mean": estimates for kind, estimates in localisation.by_kind.items()}
        named["mean over kinds"] = localisation.mean_over_kinds
    return [MetricsRow(name, str(estimates.pictures), estimates) for name, estimates in named.items()]


def trivial_rows(metrics: RunMetrics) -> list[MetricsRow]:
    """Constant answers on the same pairs: the result without a look at the pictures."""
    rows = []
    for name, summary in metrics.trivial.items():
        rows.append(_metrics_row(f"{name}, pooled", summary.pooled, trivial=True))
        rows.append(_metrics_row(f"{name}, mean", summary.mean_over_classes, trivial=True))
    return rows


def defect_rows(metrics: RunMetrics) -> list[MetricsRow]:
    """Each defect against the good queries of its class."""
    return [_metrics_row(name, estimates) for name, estimates in metrics.by_defect.items()]


def _metrics_row(name: str, estimates: Estimates, *, trivial: bool = False) -> MetricsRow:
    matrix = estimates.confusion
    count = str(matrix.tp + matrix.fn + matrix.fp + matrix.tn) if matrix else ""
    return MetricsRow(name, count, estimates, trivial)


def explanation_rows(metrics: RunMetrics) -> list[ExplanationRow]:
    """Rows about the explanations; empty if the run has none."""
    explanations = metrics.explanations
    if explanations is None:
        return []
    rows = []
    if explanations.faithfulness is not None and explanations.claiming:
        rows += _faithfulness_rows(explanations.faithfulness, explanations.faithfulness_by_class or {})
    if explanations.naming is not None:
        rows += _naming_rows(explanations.naming)
    return rows + _text_rows(explanations)


def _faithfulness_rows(
    by_sort: Mapping[str, Faithfulness], by_class: Mapping[str, Faithfulness]
) -> list[ExplanationRow]:
    rows = []
    for sort, faithfulness in by_sort.items():
        name = "of all sorts" if sort == ALL else f"about {sort}"
        if faithfulness.claims:
            rows.append(_precision_row(f"claims {name} that are true", faithfulness))
        if faithfulness.facts:
            count = f"{faithfulness.told} of {faithfulness.facts}"
            rows.append(_share_row(f"facts {name} that are truly claimed", count, faithfulness.recall))
    rows += [_precision_row(f"claims that are true, {name}", faithfulness) for name, faithfulness in by_class.items()]
    return rows


def _precision_row(name: str, faithfulness: Faithfulness) -> ExplanationRow:
    return _share_row(name, f"{faithfulness.true} of {faithfulness.claims}", faithfulness.precision)


def _naming_rows(naming: Naming) -> list[ExplanationRow]:
    count = f"of {naming.defects} defects"
    return [
        _share_row("names the defect: object and change", count, naming.defect),
        _share_row("names its object", count, naming.object),
        _share_row("names its change", count, naming.change),
        _share_row("names the defect, where the verdict was anomalous", f"of {naming.found}", naming.when_found),
        _share_row("names other defects of the class, which are absent", f"of {naming.others}", naming.others_named),
    ]


def _text_rows(explanations: Explanations) -> list[ExplanationRow]:
    count = f"of {explanations.responses} responses"
    conclusions = f"of {explanations.concluding} that conclude"
    words = f"{explanations.mean_words} ({explanations.most_words})"
    return [
        _share_row("answer contradicts the reasoning", conclusions, explanations.contradicting),
        _share_row("no reasoning", count, explanations.empty),
        _share_row("same text at another query too", count, explanations.repeated),
        ("queries with the most repeated text", count, str(explanations.most_repeated_times), "–"),
        ("words in a reasoning: mean (maximum)", "", words, "–"),
    ]


def _share_row(name: str, count: str, share: Estimate) -> ExplanationRow:
    return name, count, f"{share.percent()} %" if share.value is not None else "–", share.percent_interval()


def remarks(recorded: Recorded, metrics: RunMetrics) -> list[str]:
    """Remarks on the metrics: missing pairs, failures, notes of the run."""
    settings, judged = recorded.settings, len(recorded.predictions)
    sentences = list(settings.notes)
    if judged < settings.pairs:
        # A run that is still at work has such a page, too, if `report` is asked for it.
        unfinished = "the run was interrupted or is still at work: " if judged < settings.asked else ""
        sentences.append(
            f"{unfinished}{judged} of {counted(settings.pairs, 'pair')} are judged so far; "
            "the metrics cover these pairs only"
        )
    if metrics.failed:
        failed, times = len(metrics.failed), Counter(metrics.failed.values())
        # Of a picture the error has its name; a service says the same of each that it rejects.
        errors = listed([f"{number} x {error}" if number > 1 else error for error, number in times.items()], 3, "; ")
        queries, wrong = ("query", "counts") if failed == 1 else ("queries", "count")
        sentences.append(f"{failed} {queries} could not be judged and {wrong} as wrong: {errors}")
    invalid = metrics.pooled.confusion.invalid if metrics.pooled.confusion else 0
    if invalid > len(metrics.failed):
        reasons = "; ".join(f"{number} x {why}" for why, number in metrics.not_judged.items() if why != NO_ANSWER)
        apart = f": {reasons}" if reasons else ""
        unread = invalid - len(metrics.failed)
        have, wrong = ("has", "counts") if unread == 1 else ("have", "count")
        sentences.append(f"{counted(unread, 'response')} {have} no valid answer and {wrong} as wrong{apart}")
    valid = [line for line in recorded.predictions if line.verdict.answer != "invalid"]
    if 0 < (scored := sum(line.scored for line in valid)) < len(valid):
        lacking = len(valid) - scored
        have = "has" if lacking == 1 else "have"
        sentences.append(
            f"{lacking} of {counted(len(valid), 'answer')} {have} no score: no metrics of scores are given"
        )
    sentences += [note for note in metrics.notes if note not in settings.notes]
    localisation = metrics.localisation
    if localisation and localisation.mean_over_classes.pictures < localisation.queries:
        sentences.append(
            f"maps of {localisation.mean_over_classes.pictures} of {localisation.queries} queries are measured; "
            "the others have no map, no mask, or a black one"
        )
    naming = metrics.explanations.naming if metrics.explanations else None
    if naming and naming.unknown:
        sentences.append(f"defects without words in defect_words.toml: {', '.join(naming.unknown)}")
    return sentences


def describe_settings(settings: Settings) -> str:
    """The settings in one line."""
    drawn = f"{counted(settings.references, 'reference')} a query, seed {settings.seed} · {', '.join(settings.kinds)}"
    return f"{settings.benchmark} · {drawn} · prompt {settings.prompt_version}"
