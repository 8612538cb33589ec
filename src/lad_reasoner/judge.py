"""What stands behind `--model`: the interface that every judge fulfils.

A judge has a `name`, a `prompt_version`, a `batch_size`, `notes`, and two steps:

    study(references)      looks at the references once and keeps what it needs of them
    judge_many(queries)    answers each in the response grammar, with a score and, where it can, boxes and a map

or both in one, where each query has references of its own:

    judge_pairs(pairs)     the same for pairs; what was studied before may be forgotten

`batch_size` is how many queries it likes to get at once; a query gets the same judgement alone and among others.
`notes` are sentences that whoever reads the verdicts should know, such as what the judge was made for. A judge that
knows how many weights its network has says so in `parameters`; it may lack this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.files.pictures import Picture
from lad_reasoner.records import Box


@dataclass(frozen=True, eq=False)
class PicturePair:
    """One or more references, and the query to compare with them; `category` names the product, where it is known."""

    references: Sequence[Picture]
    query: Picture
    category: str = ""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a judge says about one query.

    `boxes` are in pixels of the query. `heat` (rows, columns), if any, is the anomaly map in units of the limit of
    normal variation: what is above 1 is more than that. `boxes_from` names the judge that these two come from, where it
    is another one. `scored` is false where the judge only answers: `score` then repeats the answer.
    """

    response: str
    score: float
    boxes: tuple[Box, ...] = ()
    heat: NDArray[np.float32] | None = None
    boxes_from: str = ""
    tokens: int = 0
    scored: bool = True


class Judge(Protocol):
    """See the module's docstring."""

    name: str
    prompt_version: str
    batch_size: int
    notes: tuple[str, ...]

    def study(self, references: Sequence[Picture]) -> None: ...

    def judge_many(self, queries: Sequence[Picture]) -> list[Judgement]: ...

    def judge_pairs(self, pairs: Sequence[PicturePair]) -> list[Judgement]: ...


def judge_one_by_one(judge: Judge, pairs: Sequence[PicturePair]) -> list[Judgement]:
    """`judge_pairs` of a judge that gains nothing from seeing several pairs at once."""
    judgements = []
    for pair in pairs:
        judge.study(pair.references)
        judgements += judge.judge_many([pair.query])
    return judgements
