"""The teacher: answers questions about pictures; training data is made from the answers (paper, section 4.1.1).

`Teacher` is the interface of all teachers: the one behind a service (`remote.py`), and the one that writes from the
facts of rendered scenes (`offline.py`). A teacher answers a request in the request's schema, or gives the reason why
it did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from lad_reasoner.remote.prices import Bill


@dataclass(frozen=True, eq=False)
class Request:
    """One question: chat messages, the pictures for their places, and the schema of the answer.

    `messages` are those of a chat template (as from `prompts.build_messages`): each part `{"type": "image"}` stands for
    the next of `pictures`. `facts` is what the caller knows about the pictures. It is never sent: the offline teacher
    writes from it, and the validators of `schema` get it as their context, so that they can reject an answer that
    contradicts it. `depth` is that of `pictures.read_picture`. Raises `ValueError` if the numbers of places and
    pictures differ.
    """

    messages: Sequence[Mapping[str, Any]]
    pictures: Sequence[str | Path]
    schema: type[BaseModel]
    prompt_version: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    depth: int | None = None

    def __post_init__(self) -> None:
        places = sum(part.get("type") == "image" for message in self.messages for part in parts_of(message))
        if places != len(self.pictures):
            raise ValueError(f"{places} places for pictures in the messages, but {len(self.pictures)} pictures")


@dataclass(frozen=True, eq=False)
class Answered:
    """An answer that fits the request's schema. `complaints` says why earlier answers were rejected."""

    content: BaseModel
    model: str
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Unanswered:
    """A request without a usable answer, and the reason.

    malformed: no answer fitted the schema. service: the service rejected the request or kept failing; the next run asks
    again. picture: a picture cannot be read. budget: the budget was spent before.
    """

    reason: Literal["malformed", "service", "picture", "budget"]
    error: str
    complaints: tuple[str, ...] = ()


Outcome = Answered | Unanswered


@dataclass(frozen=True)
class CostEstimate:
    """The expected cost of asking. `expected` is for answers that are not on disk yet; rejected answers cost extra."""

    requests: int
    on_disk: int
    unreadable: int
    expected: Bill


class Teacher(Protocol):
    """Answers requests. `paid` is the bill of this object's answers, `recalled` that of the answers from disk."""

    name: str
    paid: Bill
    recalled: Bill

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """The expected cost of `ask_many`; asks nothing."""
        ...

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """The index and the outcome of each request, once, in the order in which the answers come."""
        ...


def parts_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A message's content as a list of parts, also if it is plain text."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
