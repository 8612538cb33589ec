"""Prices of a service's tokens, and the bill for its answers.

prices = parse_prices("0.1,0.4")    # for a million input and a million output tokens
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lad_reasoner.errors import InputError
from lad_reasoner.text import counted

# English text, and a middle value of what services charge for a picture.
CHARACTERS_A_TOKEN, PIXELS_A_TOKEN = 4, 750


def estimate_tokens(characters: int, pixels: int = 0) -> int:
    """The tokens of a text and of pictures, for a service that does not count them."""
    return characters // CHARACTERS_A_TOKEN + pixels // PIXELS_A_TOKEN


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in any one currency."""

    input: float
    output: float


def parse_prices(text: str) -> Prices:
    """`0.1,0.4`, as given on the command line; InputError for anything else."""
    try:
        prices = Prices(*map(float, text.split(",")))
    except (TypeError, ValueError):
        prices = Prices(math.nan, math.nan)
    if not (0 <= prices.input < math.inf and 0 <= prices.output < math.inf):
        raise InputError(f"prices {text}: give two numbers with a comma, such as 0.1,0.4")
    return prices


def budget_needs_prices(budget: str, prices: str) -> str:
    """The message for a budget without prices; both names are those that the user knows."""
    return f"{budget}: needs {prices}, those of a million input and of a million output tokens"


@dataclass
class Bill:
    """Tokens and cost of a number of answers. `cost` is None if the prices are unknown."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def add(self, input_tokens: int, output_tokens: int, prices: Prices | None, *, answers: int = 1) -> None:
        """One more answer, or with `answers` 0 only its cost: an unusable one is paid, too."""
        self.answers += answers
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        if prices is not None:
            money = input_tokens * prices.input + output_tokens * prices.output
            self.cost = (self.cost or 0.0) + money / 1_000_000

    def describe(self) -> str:
        """`3 answers (2700 input and 90 output tokens, cost 0.0003)`."""
        cost = "" if self.cost is None else f", cost {self.cost:.4g}"
        tokens = f"{self.input_tokens} input and {self.output_tokens} output tokens"
        return f"{counted(self.answers, 'answer')} ({tokens}{cost})"
