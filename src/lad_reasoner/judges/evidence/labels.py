"""Text on the product: what all references show and the query does not, or the other way round.

    reader = LabelReader()                           # RapidOCR, of the extra `ocr`; nothing is downloaded
    references = [reader.read(picture) for picture in pictures]
    for change in compare_texts(references, reader.read(query)):
        change.kind, change.text.words, change.letters       # ("missing", "Organic", 7)

Only text that is read with confidence counts, and a difference of one letter never does: it may be a reading error. So
`B1` in place of `B2` is not found. Whether two lines are read as one does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lad_reasoner.errors import require
from lad_reasoner.files.pictures import Picture

CONFIDENT = 0.9  # of a reading: below, it is not said to be there
FEWEST = 3  # letters and digits: shorter readings are often specks
ALLOWED = 1  # letters by which two readings of one text may differ


@dataclass(frozen=True)
class Text:
    """One line that was read; lengths are fractions of the picture's width or height."""

    words: str
    confidence: float
    left: float
    top: float
    width: float
    height: float

    @property
    def letters(self) -> str:
        """Lower-case letters and digits, by which texts are compared."""
        return "".join(filter(str.isalnum, self.words.casefold()))


@dataclass(frozen=True)
class TextChange:
    """A text that the query lacks (as a reference shows it) or has (as the query shows it)."""

    kind: Literal["missing", "added"]
    text: Text
    letters: int  # by which it differs from everything on the other side, more than ALLOWED
    reference: int = 0  # index of the reference that shows a missing text

    @property
    def score(self) -> float:
        """Above 0.5, at most 1: the larger, the more of the text differs and the surer it was read."""
        return 0.5 + 0.5 * self.text.confidence * min(1.0, self.letters / len(self.text.letters))


class LabelReader:
    """Reads the text of pictures. MissingExtraError without RapidOCR and ONNX Runtime.

    One reader may be used by several threads, one after the other.
    """

    def __init__(self) -> None:
        require("onnxruntime", "ocr")
        rapidocr = require("rapidocr", "ocr")
        self._engine: Any = rapidocr.RapidOCR(params={"Global.log_level": "critical"})
        self._reading = threading.Lock()  # the engine keeps the parameters of a call in itself

    def read(self, picture: Picture) -> tuple[Text, ...]:
        """All lines of at least FEWEST letters, also doubtful ones, in the engine's order."""
        pixels = np.ascontiguousarray(np.asarray(picture.image)[..., ::-1])  # the engine takes blue, green, red
        with self._reading:
            result = self._engine(pixels)
        height, width = pixels.shape[:2]
        texts = []
        for corners, words, confidence in zip(
            () if result.boxes is None else result.boxes, result.txts or (), result.scores or (), strict=True
        ):
            left, top = corners.min(0).tolist()  # corners (4, 2) in pixels
            right, bottom = corners.max(0).tolist()
            place = (left / width, top / height, (right - left) / width, (bottom - top) / height)
            text = Text(str(words), float(confidence), *place)
            if len(text.letters) >= FEWEST:
                texts.append(text)
        return tuple(texts)


def compare_texts(
    references: Sequence[Sequence[Text]], query: Sequence[Text], nearest: int = 0
) -> tuple[TextChange, ...]:
    """What differs, surest first. A missing text is the one that reference number `nearest` shows."""
    # All references must show a text that is missing, or it is no part of the product.
    expected = [text for text in _sure(references[nearest]) if all(_shows(texts, text) for texts in references)]
    changes = [TextChange("missing", text, _distance(text, query), nearest) for text in expected]
    for text in _sure(query):
        letters = min(_distance(text, texts) for texts in references)
        changes.append(TextChange("added", text, letters))
    return tuple(sorted((change for change in changes if change.letters > ALLOWED), key=lambda change: -change.score))


def _sure(texts: Sequence[Text]) -> list[Text]:
    return [text for text in texts if text.confidence >= CONFIDENT]


def _shows(texts: Sequence[Text], text: Text) -> bool:
    return _distance(text, texts) <= ALLOWED


def _distance(text: Text, others: Sequence[Text]) -> int:
    """Letters to change, so that the text stands somewhere in the others, read in their order as one line."""
    wanted, line = text.letters, "".join(other.letters for other in others)
    # Sellers' algorithm: distances of the text's beginning to what ends at each place of the line; any start is free.
    previous = [0] * (len(line) + 1)
    for row, letter in enumerate(wanted, 1):
        current = [row]
        for column, other in enumerate(line, 1):
            replaced = previous[column - 1] + (letter != other)
            left_out, inserted = previous[column] + 1, current[-1] + 1
            current.append(min(replaced, left_out, inserted))
        previous = current
    return min(previous)
