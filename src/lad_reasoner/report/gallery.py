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
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, read_thumbnail
from lad_reasoner.files.walk import natural_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Pair, Prediction
from lad_reasoner.report.verdicts import Marks, answer_in_words, read_marks, truth_in_words
from lad_reasoner.templates import made_with, render_page

if TYPE_CHECKING:
    from lad_reasoner.evaluation.comparison import RunComparison

SHOWN = 60  # pairs on the page
_Key = tuple[str, tuple[str, ...]]  # query and references


@dataclass(frozen=True)
class SystemAnswer:
    """The answer of one system to a pair; `text` is its reasoning, its response, or the error."""

    system: str
    answer: str
    score: str
    right: bool
    text: str
    marks: Marks


@dataclass(frozen=True)
class GalleryExample:
    """A pair with the answers of all systems; pictures are data URIs, "" if no run has kept them."""

    pair: Pair
    truth: str
    references: list[str]
    query: str
    answers: list[SystemAnswer]


def choose_examples(comparison: RunComparison, most: int) -> list[GalleryExample]:
    """At most `most` pairs, with the answers of all runs."""
    systems: dict[str, dict[_Key, Prediction]] = {}
    for name, (_, run) in comparison.runs.items():
        systems[name] = {_key(prediction.pair): prediction for prediction in run.predictions}
    first = next(iter(systems.values()))  # all systems have judged the same pairs
    pairs = sorted((prediction.pair for prediction in first.values()), key=lambda pair: natural_path((pair.query,)))
    examples = []
    for pair in limit_pairs(pairs, most):
        answers = []
        for name, predictions in systems.items():
            folder, _ = comparison.runs[name]
            answers.append(_answer(name, folder, predictions[_key(pair)]))
        example = GalleryExample(
            pair=pair,
            truth=truth_in_words(pair),
            references=[_find_thumbnail(comparison, name) for name in pair.references],
            query=_find_thumbnail(comparison, pair.query),
            answers=answers,
        )
        examples.append(example)
    return examples


def _key(pair: Pair) -> _Key:
    return pair.query, pair.references


def _find_thumbnail(comparison: RunComparison, name: str) -> str:
    for folder, _ in comparison.runs.values():
        uri = read_thumbnail(folder / THUMBNAILS, name)
        if uri:
            return uri
    return ""


def _answer(system: str, folder: Path, prediction: Prediction) -> SystemAnswer:
    verdict = prediction.verdict
    return SystemAnswer(
        system=system,
        answer=answer_in_words(prediction),
        score=f"{verdict.score:.2f}" if prediction.scored and not prediction.error else "",
        right=verdict.answer == prediction.pair.label,
        text=prediction.reason or verdict.reasoning or verdict.response,
        marks=read_marks(folder, prediction),
    )


def render_gallery(comparison: RunComparison) -> str:
    """The page as a string."""
    examples = choose_examples(comparison, SHOWN)
    summary = f"{len(examples)} of {comparison.pairs} pairs"
    if examples:
        summary += "; taken from all classes and kinds in turn, independent of the answers."
    limits = {run.settings.limit for _, run in comparison.runs.values()}
    notes = list(comparison.notes)
    if len(limits) > 1:
        said = (f"{run.settings.limit:.4g} of {name}" for name, (_, run) in comparison.runs.items())
        notes.append(f"limits of the score: {', '.join(said)}")
    numbers: dict[str, int] = {}  # picture -> its number on the page: pairs share references
    for example in examples:
        for uri in (*example.references, example.query):
            numbers.setdefault(uri, len(numbers))
    return render_page(
        "gallery.html",
        made_with=made_with(limits.pop() if len(limits) == 1 else None),
        title=" · ".join(comparison.runs),
        summary=summary,
        notes=notes,
        examples=examples,
        numbers=numbers,
        picture_uris=list(numbers),
    )


def write_gallery_page(out: Path, comparison: RunComparison) -> Path:
    """Write `out/gallery.html`; returns its path."""
    path = out / "gallery.html"
    write_whole(path, render_gallery(comparison))
    return path
