"""Small pieces of text: printable names, lists, numbers and places in words, the first problem of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def printable(name: object) -> str:
    """A file's name as valid UTF-8; other bytes are escaped."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def listed(names: Sequence[object], limit: int = 3, separator: str = ", ") -> str:
    """`a, b, c and 7 more`."""
    shown = separator.join(str(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def label_counts(counts: Mapping[str, int]) -> str:
    """`{"yes": 6, "no": 1}` -> `6 anomalous, 1 good`, the anomalous ones first."""
    words = {"yes": "anomalous", "no": "good"}
    return ", ".join(f"{counts.get(label, 0)} {word}" for label, word in words.items())


def first_problem(error: ValidationError) -> str:
    """The first problem of a Pydantic error: `field.of.record: problem`, without the input."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"{field}: {problem['msg']}" if field else str(problem["msg"])


def counted(number: int, noun: str) -> str:
    """`0 pixels`, `1 pixel`, `2 pixels`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number_word(number: int) -> str:
    """`no`, `one` … `twelve`, then digits."""
    return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)


def place_words(x: float, y: float) -> str:
    """Fractions from the left and from the top -> one of nine places: `upper left` … `centre` … `lower right`."""
    row = ("upper", "", "lower")[min(2, int(y * 3))]
    column = ("left", "", "right")[min(2, int(x * 3))]
    if not row and not column:
        return "centre"
    return f"{row or 'middle'} {column or 'middle'}"
