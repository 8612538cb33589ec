"""The HTML report of an evaluation: figures on top, every pair below; one file, nothing loaded from elsewhere.

A pure function of the predictions and the thumbnails beside them. All text is escaped: what a model wrote stays text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.evaluation.explanations import check_line
from lad_reasoner.evaluation.run import THUMBNAILS, Recorded, RunMetrics
from lad_reasoner.evaluation.thumbnails import read_thumbnail
from lad_reasoner.records import Prediction
from lad_reasoner.report.rows import (
    EXPLAINED,
    SCORE_HEADINGS,
    VERDICT_HEADINGS,
    defect_lines,
    describe,
    explanation_lines,
    lines,
    remarks,
    trivial_lines,
)
from lad_reasoner.templates import render_page


@dataclass(frozen=True)
class Shown:
    """One pair on the page; `references` and `query` are numbers of pictures."""

    line: Prediction
    right: bool
    references: list[int]
    query: int
    claims: str


def render_evaluation(folder: Path, recorded: Recorded, metrics: RunMetrics) -> str:
    """The page as a string; thumbnails are read from the run's `folder`."""
    numbers: dict[str, int] = {}
    shown = []
    for line in sorted(recorded.predictions, key=lambda line: line.pair.query):
        check = check_line(line)
        shown.append(
            Shown(
                line=line,
                right=line.verdict.answer == line.pair.label,
                references=[numbers.setdefault(name, len(numbers)) for name in line.pair.references],
                query=numbers.setdefault(line.pair.query, len(numbers)),
                claims=f"{check.true} of {check.claims} claims true" if check.claims else "",
            )
        )
    return render_page(
        "evaluation.html",
        title=f"{recorded.settings.model} on {recorded.settings.benchmark}",
        summary=describe(recorded.settings),
        remarks=remarks(recorded, metrics),
        level=f"95 % intervals: bootstrap over images, drawn within each class ({metrics.resamples} resamples)",
        verdicts=VERDICT_HEADINGS,
        scores=SCORE_HEADINGS,
        lines=lines(metrics),
        trivial=trivial_lines(metrics),
        defects=defect_lines(metrics),
        explanations=explanation_lines(metrics),
        explained=EXPLAINED,
        speed=f"{metrics.mean_seconds:.3f} s and {metrics.mean_tokens:.0f} tokens a query on average",
        shown=shown,
        picture_uris=[read_thumbnail(folder / THUMBNAILS, name) for name in numbers],
    )


def write_evaluation_page(folder: Path, recorded: Recorded, metrics: RunMetrics) -> Path:
    """`folder/report.html`; returns its path."""
    path = folder / "report.html"
    path.write_text(render_evaluation(folder, recorded, metrics), encoding="utf-8")
    return path
