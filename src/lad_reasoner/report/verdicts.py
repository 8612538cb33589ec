"""A verdict as every page shows it: its word, the truth, and what is marked on the query: map and boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lad_reasoner.evaluation.thumbnails import THUMBNAILS, read_map
from lad_reasoner.records import Box, Pair, Prediction, Verdict

VERDICTS = {"yes": "anomalous", "no": "good", "invalid": "not judged"}


@dataclass(frozen=True)
class Marks:
    """The map of a query as a data URI, "" if there is none, its boxes (see `percent_boxes`), and width / height."""

    heat: str = ""
    boxes: list[dict[str, float]] = field(default_factory=list)
    aspect: float = 1.0

    def __bool__(self) -> bool:
        return bool(self.heat or self.boxes)


def read_marks(folder: Path, prediction: Prediction) -> Marks:
    """What the judge marked, from the run's `folder`; nothing if the run is from before its lines had a `size`."""
    if prediction.size is None:
        return Marks()
    width, height = prediction.size
    heat = read_map(folder / THUMBNAILS, prediction.pair.query)
    return Marks(heat, percent_boxes(prediction.verdict, width, height), round(width / height, 4))


def percent_boxes(verdict: Verdict, width: int, height: int) -> list[dict[str, float]]:
    """The boxes of a verdict, in percent of a query of `width` by `height` pixels.

    Boxes of a good verdict are weak; of boxes that another judge has lent, those below the limit are.
    """
    return [_percent_box(box, width, height) | {"weak": is_weak(box, verdict)} for box in verdict.boxes]


def _percent_box(box: Box, width: int, height: int) -> dict[str, float]:
    return {
        "left": round(100 * box.x / width, 2),
        "top": round(100 * box.y / height, 2),
        "width": round(100 * box.width / width, 2),
        "height": round(100 * box.height / height, 2),
        "strength": box.strength,
    }


def is_weak(box: Box, verdict: Verdict) -> bool:
    """Whether a box is drawn thin: what it shows is within the limit, or its verdict is good."""
    return box.strength < 1 or (verdict.answer == "no" and not verdict.boxes_from)


def answer_in_words(prediction: Prediction) -> str:
    """`anomalous`, `good` or `not judged`."""
    return VERDICTS["invalid" if prediction.error else prediction.verdict.answer]


def truth_in_words(pair: Pair) -> str:
    """`anomalous · logical · missing_label`."""
    words = ["anomalous" if pair.label == "yes" else "good"]
    return " · ".join([*words, *(word for word in (pair.kind, pair.defect) if word and word != "good")])
