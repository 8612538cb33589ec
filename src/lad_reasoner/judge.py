"""The contract of every judge: a function from pairs of pictures to judgements.

    class Brightness:
        name, prompt_version, batch_size, notes, parameters = "brightness", "brightness-1", 1, (), None

        def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
            return [Judgement("yes" if too_dark(pair) else "no") for pair in pairs]

A judge keeps no state between calls: several inspectors may share it, in several threads. What it computes from
references may be cached, in a bounded cache keyed by `PicturePair.references`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.answers import Answer, parse_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.records import Box

NO_ANSWER = "the response has no valid answer"
NO_RESPONSE = "the response is empty"


@dataclass(frozen=True, eq=False)
class PicturePair:
    """One or more references, and the query to compare with them; `category` is the name of the product, if known.

    Pairs that share references share the `Picture` objects, so that `references` can be the key of a cache.
    """

    references: tuple[Picture, ...]
    query: Picture
    category: str = ""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a judge says about one pair.

    `score` in [0, 1] is None if the judge gives answers only. `boxes` are in pixels of the query. `heat` (rows,
    columns) is the anomaly map in units of the limit of normal variation: above 1 is more than normal. `boxes_from`
    names the judge that made boxes and map if it is another one. `headline` says it in at most 15 words, if at all;
    `details` say how it was measured, for readers who ask. `nearest` is the index of the
    reference that is most like the query, if the judge knows. `reason` says why an answer is invalid.
    `cut_off` is true for a response that a service did not finish: a later run asks for it again.
    """

    answer: Answer
    score: float | None = None
    response: str = ""
    reasoning: str = ""
    boxes: tuple[Box, ...] = ()
    boxes_from: str = ""
    heat: NDArray[np.float32] | None = None
    tokens: int = 0
    headline: str = ""
    details: str = ""
    reason: str = ""
    cut_off: bool = False
    nearest: int | None = None

    @classmethod
    def of(cls, response: str, score: float | None = None, **rest: Any) -> Judgement:
        """Parse a response; the only place outside training that does."""
        parsed = parse_response(response)
        if parsed.answer == "invalid" and not rest.get("reason"):
            rest["reason"] = NO_ANSWER if response.strip() else NO_RESPONSE
        return cls(parsed.answer, score, response, parsed.reasoning, **rest)


def refuse_copy(judge: Judge, holds: str, instead: str = "make an Inspector there") -> NoReturn:
    """For the `__reduce__` of a judge that cannot be pickled: what to do, where Python would name a lock or a class."""
    raise TypeError(f"{judge.name} holds {holds} and cannot be copied into another process: {instead}")


class Judge(Protocol):
    """A class with these attributes and this method is a judge. It keeps no state that one call leaves for the next.

    `batch_size` is the number of pairs of one call. `notes` are sentences for readers of its verdicts, such as what it
    was made for. `parameters` is the number of weights of its network, or None.

    A judge may also have:

    - `looks_at_pictures = False`: the quality of the pictures does not matter to it.
    - `limit`: the score from which on it calls a query anomalous, if not 0.5.
    - `address`: that of the service behind it, without keys; two services may call different models by one name.
    - `calls_at_once`: how many calls it should get at a time, if not one.
    - `many(number)`: a context that gives the judge for so many queries, which may be itself.
    - `prepare()`: finds out what it has to know, such as what a service can do; called before its notes are read.
    - `notes_on(references)`: sentences that depend on the references.
    - `check_references(references)`: InputError if it cannot take so many.
    - `keep(references, path)`: holds what it computes of references as long as they live, and in a file if given one.
    - `show_progress(track)`: is told how to show the progress of work on references.
    - `receipt()`: one line on what a service was asked and paid; empty if there is nothing to say.
    """

    # Read only, so that type checkers take a judge whose `parameters` is None, and frozen ones.
    @property
    def name(self) -> str: ...

    @property
    def prompt_version(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def parameters(self) -> int | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """One judgement for each pair, in order; a pair gets the same judgement in any batch.

        Raises InputError if it cannot judge one of the pairs, MachineError if memory or a server fails.
        """
        ...
