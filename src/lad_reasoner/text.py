"""Small pieces of text: printable names, lists, numbers and places in words, the first problem of a record."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_BIDI = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_ACTING = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f{_BIDI}]")
_ACTING_IN_LINES = re.compile(f"[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f{_BIDI}]")
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def printable(name: object) -> str:
    """A file's name as valid UTF-8; other bytes are escaped."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def shown(text: object, *, lines: bool = False) -> str:
    """Text of strangers, for a terminal: names, what a model wrote, what a service answered.

    What would act instead of being seen becomes `\\u001b`: control characters (ESC sets titles and the clipboard) and
    marks that turn the direction of writing. `lines` keeps line ends and tabs. In JSON the result has the same meaning.
    """
    return (_ACTING_IN_LINES if lines else _ACTING).sub(_escape, printable(text))


def print_shown(*parts: object, **options: Any) -> None:
    """`print`, with every part `shown`: modules of the command line import it under that name."""
    print(*(shown(part, lines=True) for part in parts), **options)


class ShownFormatter(logging.Formatter):
    """Log lines, `shown`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return shown(super().format(record), lines=True)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def listed(names: Sequence[object], limit: int = 3, separator: str = ", ") -> str:
    """`a, b, c and 7 more`."""
    first = separator.join(str(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{first} and {rest} more" if rest > 0 else first


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The one of the names that is most like this one, in whatever case; None if none is like it."""
    by_folded = {each.casefold(): each for each in names}
    near = get_close_matches(name.casefold(), by_folded, 1)
    return by_folded[near[0]] if near else None


def label_counts(counts: Mapping[str, int]) -> str:
    """`{"yes": 6, "no": 1}` -> `6 anomalous, 1 good`, the anomalous ones first."""
    words = {"yes": "anomalous", "no": "good"}
    return ", ".join(f"{counts.get(label, 0)} {word}" for label, word in words.items())


def first_problem(error: ValidationError) -> str:
    """The first problem of a Pydantic error: `field.of.record: problem`, without the input."""
    return describe_problem(error.errors(include_url=False, include_input=False)[0])


def describe_problem(problem: Mapping[str, Any]) -> str:
    """One of the problems that Pydantic lists: `field.of.record: problem`."""
    # Pydantic names the branch of a union of literals, too, with all that they allow.
    field = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("literal["))
    sentence = str(problem["msg"]).removeprefix("Value error, ")  # before those of our own validators
    return f"{field}: {sentence}" if field else sentence


def counted(number: int, noun: str) -> str:
    """`0 pixels`, `1 pixel`, `2 pixels`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number_word(number: int) -> str:
    """`no`, `one` … `twelve`, then digits."""
    return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)


def degree_words(degrees: float) -> str:
    """`1 degree`, `10.5 degrees`."""
    number = f"{degrees:g}"
    return f"{number} degree{'' if number == '1' else 's'}"


def turn_words(degrees: float) -> str:
    """`turned 90 degrees clockwise`, `turned 180 degrees`, which is the same either way, or `not turned`."""
    if not degrees:
        return "not turned"
    way = "" if abs(degrees) == 180 else " anticlockwise" if degrees < 0 else " clockwise"
    return f"turned {degree_words(abs(degrees))}{way}"


def place_words(x: float, y: float) -> str:
    """Fractions from the left and from the top -> one of nine places: `upper left` … `centre` … `lower right`."""
    row = ("upper", "", "lower")[min(2, int(y * 3))]
    column = ("left", "", "right")[min(2, int(x * 3))]
    if not row and not column:
        return "centre"
    return f"{row or 'middle'} {column or 'middle'}"
