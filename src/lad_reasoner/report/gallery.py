"""The gallery: pictures with the answers of several systems, as in the paper's Figures 4 and 7.

    write_gallery_page(out, comparison)             gallery.html: one file, nothing loaded from elsewhere, text escaped
    examples = choose_examples(comparison, 8)       the same examples, for the plot (see plots.py)

Results do not decide which pairs are shown: classes and kinds take turns, in the order of their names, as with
`eval --limit`. Pictures are the thumbnails in the folders of the runs.

Deviation from the paper, which shows examples of its choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lad_reasoner.evaluation.benchmark import limit_pairs
from lad_reasoner.evaluation.run import THUMBNAILS
from lad_reasoner.evaluation.thumbnails import read_thumbnail
from lad_reasoner.files.walk import natural_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Pair, Prediction
from lad_reasoner.templates import made_with, render_page

if TYPE_CHECKING:
    from lad_reasoner.evaluation.comparison import RunComparison

SHOWN = 60  # pairs on the page


@dataclass(frozen=True)
class SystemAnswer:
    """The answer of one system to a pair; `text` is its reasoning, its response, or the error."""

    system: str
    answer: str
    score: str
    right: bool
    text: str


@dataclass(frozen=True)
class GalleryExample:
    """A pair with the answers of all systems; pictures are data URIs, "" if no run has kept them."""

    pair: Pair
    references: list[str]
    query: str
    answers: list[SystemAnswer]

    @property
    def truth(self) -> str:
        """`anomalous · logical · missing_label`."""
        words = ["anomalous" if self.pair.label == "yes" else "good"]
        words += [word for word in (self.pair.kind, self.pair.defect) if word and word != "good"]
        return " · ".join(words)


def choose_examples(comparison: RunComparison, most: int) -> list[GalleryExample]:
    """At most `most` pairs, with the answers of all runs."""
    systems = {
        name: {_key(prediction.pair): prediction for prediction in run.predictions}
        for name, (_, run) in comparison.runs.items()
    }
    first = next(iter(systems.values()))  # all systems have judged the same pairs
    pairs = sorted((prediction.pair for prediction in first.values()), key=lambda pair: natural_path((pair.query,)))
    return [
        GalleryExample(
            pair=pair,
            references=[_find_thumbnail(comparison, name) for name in pair.references],
            query=_find_thumbnail(comparison, pair.query),
            answers=[_answer(name, predictions[_key(pair)]) for name, predictions in systems.items()],
        )
        for pair in limit_pairs(pairs, most)
    ]


def _key(pair: Pair) -> tuple[str, tuple[str, ...]]:
    return pair.query, pair.references


def _find_thumbnail(comparison: RunComparison, name: str) -> str:
    for folder, _ in comparison.runs.values():
        uri = read_thumbnail(folder / THUMBNAILS, name)
        if uri:
            return uri
    return ""


def _answer(system: str, prediction: Prediction) -> SystemAnswer:
    verdict = prediction.verdict
    return SystemAnswer(
        system=system,
        answer="not judged" if prediction.error else verdict.answer,
        score=f"{verdict.score:.2f}" if prediction.scored and not prediction.error else "",
        right=verdict.answer == prediction.pair.label,
        text=prediction.error or verdict.reasoning or verdict.response,
    )


def render_gallery(comparison: RunComparison) -> str:
    """The page as a string."""
    examples = choose_examples(comparison, SHOWN)
    summary = f"{len(examples)} of {comparison.pairs} pairs"
    if examples:
        summary += "; taken from all classes and kinds in turn, independent of the answers."
    numbers: dict[str, int] = {}  # picture -> its number on the page: pairs share references
    for example in examples:
        for uri in (*example.references, example.query):
            numbers.setdefault(uri, len(numbers))
    return render_page(
        "gallery.html",
        made_with=made_with(),
        title=" · ".join(comparison.runs),
        summary=summary,
        notes=comparison.notes,
        examples=examples,
        numbers=numbers,
        picture_uris=list(numbers),
    )


def write_gallery_page(out: Path, comparison: RunComparison) -> Path:
    """Write `out/gallery.html`; returns its path."""
    path = out / "gallery.html"
    write_whole(path, render_gallery(comparison))
    return path
