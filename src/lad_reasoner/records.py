"""What is written to disk and handed around: pairs, verdicts, predictions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lad_reasoner.answers import Answer

Kind = Literal["good", "logical", "structural"]
Label = Literal["yes", "no"]
Split = Literal["train", "validation", "test"]


class Record(BaseModel):
    """Frozen; unknown fields are ignored, so that newer files can be read."""

    model_config = ConfigDict(frozen=True)


class Box(Record):
    """A region of the query that differs, in pixels of the query; `strength` 1 is the limit of normal variation."""

    x: int
    y: int
    width: int
    height: int
    strength: float


class Sample(Record):
    """A picture of a data set, with what its source says about it.

    `kind` is None for an anomalous picture of which the source does not say what kind of anomaly it shows, `split` None
    where the source has no splits. `masks` are files in which all that is not black is anomalous. `facts` is the line
    of MiniLOCO's facts.jsonl.
    """

    image: str
    dataset: str
    category: str
    split: Split | None
    kind: Kind | None
    defect: str | None = None
    masks: tuple[str, ...] = ()
    licence: str
    facts: dict[str, Any] | None = None

    @property
    def label(self) -> Label:
        """Yes for anomalous."""
        return "no" if self.kind == "good" else "yes"


class Pair(Record):
    """References and a query, with what is known about it. `label` is yes for anomalous.

    Several defects in one query are joined by semicolons.
    """

    references: tuple[str, ...] = Field(min_length=1)
    query: str
    label: Label | None = None
    kind: Kind | None = None
    defect: str | None = None
    category: str | None = None

    def defect_names(self) -> list[str]:
        """Each defect of the query by its own name; none for a good one."""
        return [name for name in (self.defect or "").split(";") if name]


class Verdict(Record):
    """One judged query, and how the verdict was made.

    A `score` of 0.5 is the boundary, `seconds` are this query's (of a batch its share). `boxes_from` names the judge
    that the boxes come from, where it is not `model`.
    """

    query: str
    references: tuple[str, ...]
    answer: Answer
    anomalous: bool
    score: float = Field(ge=0, le=1)
    reasoning: str
    response: str
    boxes: tuple[Box, ...] = ()
    boxes_from: str = ""
    model: str
    prompt_version: str
    tokens: int = 0
    seconds: float = Field(ge=0)


class Failure(Record):
    """A query that could not be judged, and why."""

    query: str
    error: str


class Prediction(Record):
    """A verdict on a labelled pair.

    `scored` is false for a system that answers without a score: its verdict's score only repeats the answer. `error`
    says why there is no opinion on this pair; its answer is then invalid, which counts as wrong. `facts` are MiniLOCO's
    of each reference and, at the end, of the query.
    """

    pair: Pair
    verdict: Verdict
    scored: bool = True
    error: str = ""
    facts: tuple[dict[str, Any], ...] = ()
