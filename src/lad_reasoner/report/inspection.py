"""The HTML report of an inspection: one file, nothing loaded from elsewhere, all text escaped, quick with 1,000 rows.

A picture is stored once (about 10 KB a row) and shown twice, as the query and under the map, if there is one. The map
is a small transparent PNG that the browser enlarges. Boxes are numbered in the order of the verdict; those of a good
verdict are drawn thin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lad_reasoner.evaluation.thumbnails import heat_image
from lad_reasoner.files.pictures import Picture, picture_uri
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Failure, Kind
from lad_reasoner.report.verdicts import VERDICTS, percent_boxes
from lad_reasoner.runner import Judged
from lad_reasoner.templates import made_with, render_page

THUMBNAIL_SIDE = 320  # pixels


@dataclass(frozen=True)
class InspectionRow:
    """One row of the table, small enough to keep thousands; made by `inspection_row`.

    `picture` and `heat` are data URIs, boxes are those of `percent_boxes`, `aspect` is width / height.
    """

    name: str
    answer: str = "error"
    verdict: str = "not judged"
    score: float = -1.0  # sorts failures last
    headline: str = ""
    reasoning: str = ""
    details: str = ""
    made: str = ""
    model: str = ""
    picture: str = ""
    aspect: float = 1.0
    heat: str = ""
    boxes: list[dict[str, Any]] = field(default_factory=list)
    reference: int = 0
    truth: str | None = None
    right: bool | None = None
    error: str = ""

    @property
    def mapped(self) -> bool:
        """Whether the query has a map or boxes: not every judge gives them."""
        return bool(self.heat or self.boxes)


def inspection_row(
    result: Judged | Failure, *, kind: Kind | None = None, truth: str | None = None, reference: int = 0
) -> InspectionRow:
    """The row of one query. `kind` and `truth` come with its label; `reference` is the number of the one to show."""
    if isinstance(result, Failure):
        return InspectionRow(name=result.query, error=result.reason, truth=truth)
    verdict, picture, heat = result.verdict, result.pair.query, result.judgement.heat
    made = f"{verdict.model} · {picture.width}×{picture.height} pixels · {verdict.seconds:.2f} s"
    if verdict.p_value is not None:
        made += f" · p = {verdict.p_value:.2g}"
    if verdict.boxes_from:
        made += f" · map and boxes from {verdict.boxes_from}"
    return InspectionRow(
        name=verdict.query,
        answer=verdict.answer,
        verdict="unsure" if verdict.outcome == "unsure" else VERDICTS[verdict.answer],
        score=round(verdict.score, 4),
        headline=verdict.headline,
        reasoning=": ".join(filter(None, (verdict.reason, verdict.reasoning or verdict.response))),
        details=verdict.details,
        model=verdict.model,
        made=made,
        picture=_thumbnail(picture),
        aspect=_aspect(picture),
        heat="" if heat is None else picture_uri(heat_image(heat), "PNG", optimize=True),
        boxes=percent_boxes(verdict, picture.width, picture.height),
        reference=reference,
        truth=truth,
        right=None if kind is None else verdict.answer == ("no" if kind == "good" else "yes"),
    )


def render_inspection(
    rows: Sequence[InspectionRow],
    references: Sequence[Picture],
    *,
    title: str,
    notes: Sequence[str] = (),
    limit: float = 0.5,
    unsure_from: float | None = None,
) -> str:
    """The whole page as a string; `notes` stand at its top, the limits of the score at its end."""
    judged = [row for row in rows if row.answer in ("yes", "no")]
    summary = f"{len(judged)} judged, {sum(row.answer == 'yes' for row in judged)} anomalous"
    if unsure := sum(row.verdict == "unsure" for row in judged):
        summary += f", {unsure} unsure"
    if len(judged) < len(rows):
        summary += f", {len(rows) - len(judged)} not judged"
    known = [row.right for row in rows if row.right is not None]
    if known:
        summary += f", {sum(known)} of {len(known)} verdicts right"
    return render_page(
        "inspection.html",
        made_with=made_with(limit, unsure_from),
        limit=limit,
        title=title,
        summary=summary,
        notes=notes,
        rows=rows,
        references=[{"name": picture.name, "aspect": _aspect(picture)} for picture in references],
        picture_uris=[_thumbnail(picture) for picture in references],
        with_truth=any(row.truth for row in rows),
        with_maps=any(row.mapped for row in rows),
    )


def write_inspection_page(
    folder: Path, rows: Sequence[InspectionRow], references: Sequence[Picture], **rest: Any
) -> Path:
    """Write `folder/report.html`; returns its path. `rest` goes to `render_inspection`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_whole(path, render_inspection(rows, references, **rest))
    return path


def _aspect(picture: Picture) -> float:
    return round(picture.width / picture.height, 4)


def _thumbnail(picture: Picture) -> str:
    small = picture.image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return picture_uri(small, "JPEG", quality=82)
