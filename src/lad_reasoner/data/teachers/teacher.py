"""The teacher: answers questions about pictures, from which training data is made (paper, section 4.1.1).

`Teacher` is what every teacher fulfils: one behind a service (`remote_teacher.py`), or one that writes from what is
known about rendered scenes. A request's answer fits its schema, or the request is unanswered with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from lad_reasoner.errors import InputError


@dataclass(frozen=True, eq=False)
class Request:
    """One question: chat messages, the pictures for their places, and the form of the answer.

    `messages` are those of a chat template (as from `prompts.build_messages`): each part `{"type": "image"}` stands for
    the next of `pictures`. `facts` is what the caller knows besides. It is never sent: a teacher that writes from facts
    reads it, and the validators of `schema` get it as their context, so that an answer may be refused for
    contradicting it. Raises `ValueError` when places and pictures do not match.
    """

    messages: Sequence[Mapping[str, Any]]
    pictures: Sequence[str | Path]
    schema: type[BaseModel]
    prompt_version: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = sum(part.get("type") == "image" for message in self.messages for part in parts_of(message))
        if places != len(self.pictures):
            raise ValueError(f"{places} places for pictures in the messages, but {len(self.pictures)} pictures")


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer that fits the request's schema. `complaints` tells why earlier ones were refused."""

    content: BaseModel
    model: str
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Unanswered:
    """A request without a usable answer, and why.

    malformed: no answer fitted the schema; service: it refused the request or kept failing, and is asked again by the
    next run; picture: one cannot be read; budget: it was spent before.
    """

    reason: Literal["malformed", "service", "picture", "budget"]
    error: str
    complaints: tuple[str, ...] = ()


Outcome = Reply | Unanswered


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in any one currency."""

    input: float
    output: float


def parse_prices(text: str) -> Prices:
    """`0.1,0.4`, as given with --prices; InputError for anything else."""
    try:
        found = Prices(*(float(price) for price in text.split(",")))
    except (TypeError, ValueError):
        found = Prices(-1, -1)
    if not (0 <= found.input < math.inf and 0 <= found.output < math.inf):
        raise InputError(f"--prices {text}: give two numbers with a comma, such as 0.1,0.4")
    return found


@dataclass
class Bill:
    """What a number of answers used. `cost` is None where no prices are known."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def add(self, input_tokens: int, output_tokens: int, prices: Prices | None) -> None:
        """One more answer."""
        self.answers += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        if prices is not None:
            money = input_tokens * prices.input + output_tokens * prices.output
            self.cost = (self.cost or 0.0) + money / 1_000_000


@dataclass(frozen=True)
class Estimate:
    """What asking would take. `expected` is a guess for what is not on disk yet; refused answers come on top."""

    requests: int
    on_disk: int
    unreadable: int
    expected: Bill


class Teacher(Protocol):
    """Answers requests. `paid` is what this object's answers used so far, `recalled` what those from disk once did."""

    name: str
    paid: Bill
    recalled: Bill

    def estimate(self, requests: Sequence[Request]) -> Estimate:
        """What `ask_many` would take, without asking."""
        ...

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """Each request's index once, with its outcome, in the order in which they come."""
        ...


def parts_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A message's content as a list of parts, also where it is plain text."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
