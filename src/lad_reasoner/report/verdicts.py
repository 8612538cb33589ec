"""A verdict as every page shows it: its word, the truth, and what is marked on the query: map and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lad_reasoner.evaluation.thumbnails import THUMBNAILS, read_map
from lad_reasoner.records import Box, Pair, Prediction, Verdict

SMALLEST = 110  # pixels: width of a query on a narrow page, where numbers of boxes take most room
VERDICTS = {"yes": "anomalous", "no": "good", "invalid": "not judged"}

_Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, in percent of the query


@dataclass(frozen=True)
class Marks:
    """The map of a query as a data URI, "" if there is none, its boxes (see `percent_boxes`), and width / height."""

    heat: str = ""
    boxes: list[dict[str, Any]] = field(default_factory=list)
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


def percent_boxes(verdict: Verdict, width: int, height: int) -> list[dict[str, Any]]:
    """The boxes of a verdict, in percent of a query of `width` by `height` pixels, and the `place` of their numbers.

    Boxes of a good verdict are weak; of boxes that another judge has lent, those below the limit are.
    """
    boxes: list[dict[str, Any]] = []
    taken: list[_Rectangle] = []
    for number, box in enumerate(verdict.boxes, 1):
        percent = _percent_box(box, width, height)
        place, rectangle = _place_number(percent, len(str(number)), width / height, taken)
        taken.append(rectangle)
        boxes.append(percent | {"place": place, "weak": is_weak(box, verdict)})
    return boxes


def _percent_box(box: Box, width: int, height: int) -> dict[str, float]:
    return {
        "left": round(100 * box.x / width, 2),
        "top": round(100 * box.y / height, 2),
        "width": round(100 * box.width / width, 2),
        "height": round(100 * box.height / height, 2),
        "strength": box.strength,
    }


def _place_number(
    box: dict[str, float], digits: int, aspect: float, taken: Sequence[_Rectangle]
) -> tuple[str, _Rectangle]:
    """The classes of a number in marked.html, and where it then stands: the first place in the picture that is free.

    Above its box, under it, beside it or inside it; the place that hides least of other numbers if none is free. Sizes
    are those in the smallest picture of a page: in larger ones numbers take less room.
    """
    wide, high = 100 * (8 + 8 * digits) / SMALLEST, 100 * 16 * aspect / SMALLEST
    left, right = box["left"], box["left"] + box["width"]
    top, bottom = box["top"], box["top"] + box["height"]
    corners = {
        "above": (left, top - high),
        "above flush": (right - wide, top - high),
        "under": (left, bottom),
        "under flush": (right - wide, bottom),
        "right": (right, top),
        "left": (left - wide, top),
        "inside": (left, top),
        "inside flush": (right - wide, top),
    }
    rectangles = {place: (x, y, x + wide, y + high) for place, (x, y) in corners.items()}
    # Inside it hides a part of its box, but there it is never cut off by much.
    free = {place: each for place, each in rectangles.items() if "inside" in place or not _outside(each)}
    return min(free.items(), key=lambda item: (_hidden(item[1], taken), _outside(item[1])))


def _hidden(number: _Rectangle, taken: Sequence[_Rectangle]) -> float:
    """How much of other numbers a number hides."""
    left, top, right, bottom = number
    hidden = 0.0
    for other_left, other_top, other_right, other_bottom in taken:
        width = min(right, other_right) - max(left, other_left)
        height = min(bottom, other_bottom) - max(top, other_top)
        hidden += max(0.0, width) * max(0.0, height)
    return hidden


def _outside(number: _Rectangle) -> float:
    """How far a number stands out of the picture."""
    left, top, right, bottom = number
    return max(0.0, -left, -top, right - 100, bottom - 100)


def is_weak(box: Box, verdict: Verdict) -> bool:
    """Whether a box is drawn thin: what it shows is within the limit, or its verdict is good."""
    return box.strength < 1 or (verdict.answer == "no" and not verdict.boxes_from)


def answer_in_words(prediction: Prediction) -> str:
    """`anomalous`, `good` or `not judged`."""
    return VERDICTS["invalid" if prediction.error else prediction.verdict.answer]


def truth_in_words(pair: Pair) -> str:
    """`anomalous · logical · missing_label`."""
    words = ["anomalous" if pair.label == "yes" else "good"]
    words += [word for word in (pair.kind, pair.defect) if word and word != "good"]
    return " · ".join(words)
