"""The HTML report of an evaluation: metrics at the top, every pair below; one file, nothing loaded from elsewhere.

A pure function of the predictions and the thumbnails beside them. All text is escaped: what a model wrote stays text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.evaluation.explanations import check_line
from lad_reasoner.evaluation.run import Recorded, RunMetrics, write_metrics
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, read_thumbnail
from lad_reasoner.files.walk import natural_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Prediction
from lad_reasoner.report.rows import (
    EXPLAINED,
    LOCALISATION_HEADINGS,
    LOCALISED,
    SCORE_HEADINGS,
    VERDICT_HEADINGS,
    defect_rows,
    describe_settings,
    explanation_rows,
    localisation_rows,
    metrics_rows,
    remarks,
    trivial_rows,
)
from lad_reasoner.report.verdicts import Marks, answer_in_words, read_marks, truth_in_words
from lad_reasoner.templates import made_with, render_page


@dataclass(frozen=True)
class PairRow:
    """One pair on the page; `references` and `query` are numbers of pictures."""

    prediction: Prediction
    right: bool
    references: list[int]
    query: int
    marks: Marks
    answer: str
    truth: str
    claims: str


def render_evaluation(folder: Path, recorded: Recorded, metrics: RunMetrics) -> str:
    """The page as a string; thumbnails are read from the run's `folder`."""
    numbers: dict[str, int] = {}  # name of a picture -> its number on the page
    pairs = []
    for prediction in sorted(recorded.predictions, key=lambda prediction: natural_path((prediction.pair.query,))):
        pair, check = prediction.pair, check_line(prediction)
        pairs.append(
            PairRow(
                prediction=prediction,
                right=prediction.verdict.answer == pair.label,
                references=[numbers.setdefault(name, len(numbers)) for name in pair.references],
                query=numbers.setdefault(pair.query, len(numbers)),
                marks=read_marks(folder, prediction),
                answer=answer_in_words(prediction),
                truth=truth_in_words(pair),
                claims=f"{check.true} of {check.claims} claims true" if check.claims else "",
            )
        )
    return render_page(
        "evaluation.html",
        title=f"{recorded.settings.model} on {recorded.settings.benchmark}",
        summary=describe_settings(recorded.settings),
        remarks=remarks(recorded, metrics),
        level=f"95 % intervals: bootstrap over images, drawn within each class ({metrics.resamples} resamples)",
        verdict_headings=VERDICT_HEADINGS,
        score_headings=SCORE_HEADINGS,
        rows=metrics_rows(metrics),
        trivial=trivial_rows(metrics),
        defects=defect_rows(metrics),
        localisation=localisation_rows(metrics),
        localisation_headings=LOCALISATION_HEADINGS,
        localised=LOCALISED,
        explanations=explanation_rows(metrics),
        explained=EXPLAINED,
        speed=f"{metrics.mean_seconds:.3f} s and {metrics.mean_tokens:.0f} tokens per query on average",
        pairs=pairs,
        with_maps=any(row.marks for row in pairs),
        made_with=made_with(recorded.settings.limit, command=recorded.settings.command or None),
        picture_uris=[read_thumbnail(folder / THUMBNAILS, name) for name in numbers],
    )


def write_evaluation_page(folder: Path, recorded: Recorded, metrics: RunMetrics) -> Path:
    """Write `folder/report.html`; returns its path."""
    path = folder / "report.html"
    write_whole(path, render_evaluation(folder, recorded, metrics))
    return path


def write_evaluation(out: str | Path) -> tuple[Recorded, RunMetrics, Path]:
    """Write metrics.json and report.html of a run folder; returns the run, its metrics and the path of the report."""
    recorded, metrics = write_metrics(out)
    return recorded, metrics, write_evaluation_page(Path(out), recorded, metrics)
