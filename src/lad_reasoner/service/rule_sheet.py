"""The rule sheet of a station: what is true of every good part, one check at a time, in the station's file.

    [rules]
    broken = "unsure"                                # what a broken rule makes of a part that the score calls good

    [[rules.checks]]
    kind = "place"
    colour = "red"
    box = [66, 240, 72, 40]                          # x, y, width, height in pixels of the first reference
    least = 0.7                                      # of the box is red

    [[rules.checks]]
    kind = "text"
    off = true                                       # kept, and not checked
    words = "CTRL-7 rev B"

`rule_writing.py` writes them, `rules.py` checks them; a person may change, add and delete them. Colours are everyday
ones, whether light or dark: `COLOURS`. Shares run from 0 to 1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

# What each everyday name of a colour belongs to is its last word: "dark red" and "light red" are red.
COLOURS = (
    "black",
    "grey",
    "white",
    "brown",
    "red",
    "orange",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
)
Colour = Literal[
    "black", "grey", "white", "brown", "red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink"
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Side = Annotated[FiniteFloat, Field(ge=0)]
MOST_CHECKS = 200  # of a station


class SheetRecord(BaseModel):
    """Frozen and strict: an unknown field is a typing error of the person who edited the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class RuleRecord(SheetRecord):
    """What every rule has: one that is `off` stays in the sheet and is not checked."""

    off: bool = False


class AmountCheck(RuleRecord):
    """A colour covers from `least` to `most` of the picture."""

    kind: Literal["amount"]
    colour: Colour
    least: Share
    most: Share

    @model_validator(mode="after")
    def _check_order(self) -> AmountCheck:
        if self.least > self.most:
            raise ValueError("least must be at most most")
        return self


class CountCheck(RuleRecord):
    """`number` separate areas of a colour; those below `smallest` of the picture do not count."""

    kind: Literal["count"]
    colour: Colour
    number: int = Field(ge=0)
    smallest: Share


class PlaceCheck(RuleRecord):
    """At least `least` of a box on the first reference, which moves with the part, has a colour."""

    kind: Literal["place"]
    colour: Colour
    box: Annotated[tuple[Side, Side, Side, Side], Field(strict=False)]  # a list of JSON is one too
    least: Share


class TurnCheck(RuleRecord):
    """The part is turned by at most `most` degrees against the first reference."""

    kind: Literal["turn"]
    most: Annotated[float, Field(gt=0, le=180, allow_inf_nan=False)]


class TextCheck(RuleRecord):
    """A text is on the product; one letter may be misread."""

    kind: Literal["text"]
    words: str = Field(min_length=1, max_length=200)


class QuestionCheck(RuleRecord):
    """A question in words, which a vision-language model answers."""

    kind: Literal["question"]
    question: str = Field(min_length=3, max_length=300)
    answer: Literal["yes", "no"] = "yes"


Check = Annotated[
    AmountCheck | CountCheck | PlaceCheck | TurnCheck | TextCheck | QuestionCheck, Field(discriminator="kind")
]


class RuleSheet(SheetRecord):
    """All checks of a station.

    `broken` is what a broken rule makes of a part: `note` says it and changes no outcome, `unsure` makes a good part
    unsure, `anomalous` makes any part anomalous. Questions are put to `model` at the service `server`.
    """

    broken: Literal["note", "unsure", "anomalous"] = "unsure"
    model: str = ""
    server: str = ""
    checks: tuple[Check, ...] = Field((), max_length=MOST_CHECKS)

    @property
    def active(self) -> tuple[Check, ...]:
        """The checks that are not off."""
        return tuple(check for check in self.checks if not check.off)
