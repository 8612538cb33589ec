"""Pictures beside what several systems say of them, as in the paper's Figures 4 and 7: the page, and what it shows.

    html = render_gallery(comparison)       gallery.html: one file, nothing loaded from elsewhere, all text escaped
    examples = choose(comparison, 8)        the same rows for the picture (see figures.py)

Which pairs are shown is not chosen by what came out: classes and kinds take turns, in the order of their names, as
`eval --limit` does. Pictures are the small copies in the folders of the runs.

Deviation from the paper, which shows examples of its choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lad_reasoner.evaluation.benchmark import limit_pairs
from lad_reasoner.evaluation.run import THUMBNAILS
from lad_reasoner.evaluation.thumbnails import read_thumbnail
from lad_reasoner.files.listing import natural_path
from lad_reasoner.records import Pair, Prediction
from lad_reasoner.templates import render_page

if TYPE_CHECKING:
    from lad_reasoner.evaluation.comparison import RunComparison

SHOWN = 60  # pairs on the page


@dataclass(frozen=True)
class Opinion:
    """What one system says of a pair; `text` is its reasoning, its response, or why there is none."""

    system: str
    answer: str
    score: str
    right: bool
    text: str


@dataclass(frozen=True)
class Example:
    """A pair with all opinions; pictures are data URIs, empty where no run has kept them."""

    pair: Pair
    references: list[str]
    query: str
    opinions: list[Opinion]

    @property
    def truth(self) -> str:
        """`anomalous · logical · missing_label`."""
        words = ["anomalous" if self.pair.label == "yes" else "good"]
        words += [word for word in (self.pair.kind, self.pair.defect) if word and word != "good"]
        return " · ".join(words)


def choose(comparison: RunComparison, most: int) -> list[Example]:
    """At most so many pairs, with what every run says of them."""
    systems = {name: {_key(line.pair): line for line in run.predictions} for name, (_, run) in comparison.runs.items()}
    first = next(iter(systems.values()))
    pairs = sorted((line.pair for line in first.values()), key=lambda pair: natural_path((pair.query,)))
    return [
        Example(
            pair=pair,
            references=[_picture(comparison, name) for name in pair.references],
            query=_picture(comparison, pair.query),
            opinions=[_opinion(name, lines[_key(pair)]) for name, lines in systems.items()],
        )
        for pair in limit_pairs(pairs, most)
    ]


def _key(pair: Pair) -> tuple[str, tuple[str, ...]]:
    return pair.query, pair.references


def _picture(comparison: RunComparison, name: str) -> str:
    for folder, _ in comparison.runs.values():
        found = read_thumbnail(folder / THUMBNAILS, name)
        if found:
            return found
    return ""


def _opinion(system: str, line: Prediction) -> Opinion:
    verdict = line.verdict
    return Opinion(
        system=system,
        answer="not judged" if line.error else verdict.answer,
        score=f"{verdict.score:.2f}" if line.scored and not line.error else "",
        right=verdict.answer == line.pair.label,
        text=line.error or verdict.reasoning or verdict.response,
    )


def render_gallery(comparison: RunComparison) -> str:
    """The page as a string."""
    examples = choose(comparison, SHOWN)
    uris = list(dict.fromkeys(uri for one in examples for uri in (*one.references, one.query)))
    numbers = {uri: number for number, uri in enumerate(uris)}
    return render_page(
        "gallery.html",
        title=" · ".join(comparison.runs),
        summary=_summary(comparison, examples),
        notes=comparison.notes,
        examples=examples,
        numbers=numbers,
        picture_uris=uris,
    )


def _summary(comparison: RunComparison, examples: Sequence[Example]) -> str:
    shown = f"{len(examples)} of {comparison.pairs} pairs"
    return f"{shown}; classes and kinds take turns, whatever the systems said." if examples else shown
