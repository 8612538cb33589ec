"""The records on disk: samples, pairs, verdicts, failures, predictions; and a number with its interval.

share_of(45, 60).percent()              # "75.0"
share_of(45, 60).percent_interval()     # "[62.8, 84.2]"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lad_reasoner.answers import Answer
from lad_reasoner.text import shown

Kind = Literal["good", "logical", "structural"]
UNKNOWN_KIND = "other"  # of an anomalous picture whose source does not say what kind of anomaly it shows
SAMPLE_KINDS = (*get_args(Kind), UNKNOWN_KIND)  # what `--kinds` chooses from
Label = Literal["yes", "no"]
Outcome = Literal["good", "anomalous", "unsure", "invalid"]
Split = Literal["train", "validation", "test"]
# Of a file of a stranger, in which a number may have any length: Python divides no integer beyond a float's range.
Pixel = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Side = Annotated[int, Field(ge=1, lt=2**31)]
LEVEL = 0.95  # of intervals


class Record(BaseModel):
    """Frozen; unknown fields are ignored, so that newer files can be read."""

    model_config = ConfigDict(frozen=True)


class Box(Record):
    """A region of the query that differs, in pixels of the query; `strength` 1 is the limit of normal variation."""

    x: Pixel
    y: Pixel
    width: Pixel
    height: Pixel
    strength: float


class Checked(Record):
    """One rule of a station on one query: the rule in words, and what was seen.

    `holds` and `score` are None where the rule was not checked; `seen` then says why. A score of 0.5 is the boundary.
    """

    rule: str
    kind: str
    holds: bool | None = None
    score: float | None = None
    seen: str = ""


class SecondOpinion(Record):
    """What a second judge said of crops of a query near the limit.

    `decides` tells whether the verdict is by this answer, `statement` says that in words.
    """

    model: str
    prompt_version: str
    places: int
    answer: Answer
    score: float | None
    reasoning: str
    decides: bool
    statement: str


class Thing(Record):
    """A part, or another sight, in MiniLOCO's facts."""

    what: str
    colour: str = ""
    place: str | None = None


class Fill(Thing):
    """How full something is, as a share."""

    level: float = Field(ge=0, le=1, allow_inf_nan=False)


class Connection(Thing):
    """What joins two places."""

    colour: str
    start: str
    end: str


class SceneFacts(Record):
    """The fields of MiniLOCO's facts that the package reads; see miniloco/scene.py for all."""

    items: tuple[Thing, ...]
    fills: tuple[Fill, ...]
    sights: tuple[Thing, ...] = ()
    connections: tuple[Connection, ...] = ()


def check_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as they are. Raises ValidationError for those that no scene has; an empty object says nothing."""
    if facts:
        SceneFacts.model_validate(facts)
    return facts


PictureFacts = Annotated[dict[str, Any], AfterValidator(check_facts)]


class Sample(Record):
    """A picture of a data set and its labels.

    `kind` is None for an anomalous picture of unknown kind, `split` is None if the data set has no splits. In the files
    of `masks`, every pixel that is not black is anomalous. `facts` is the line of MiniLOCO's facts.jsonl.
    """

    image: str
    dataset: str
    category: str
    split: Split | None
    kind: Kind | None
    defect: str | None = None
    masks: tuple[str, ...] = ()
    licence: str
    facts: PictureFacts | None = None

    @property
    def label(self) -> Label:
        """Yes for anomalous."""
        return "no" if self.kind == "good" else "yes"


class Pair(Record):
    """The names of references and of a query, with the labels of the query; `label` is yes for anomalous.

    Several defects in one query are joined by semicolons.
    """

    references: tuple[str, ...] = Field(min_length=1)
    query: str
    label: Label | None = None
    kind: Kind | None = None
    defect: str | None = None
    category: str | None = None

    def defect_names(self) -> list[str]:
        """The names of the query's defects; empty for a good query."""
        return [name for name in (self.defect or "").split(";") if name]


class Verdict(Record):
    """One judged query, and how the verdict was made.

    A `score` of 0.5 is the boundary. `seconds` is the query's share of its batch. `boxes_from` names the judge that
    made the boxes if it is not `model`. `headline` says it in at most 15 words, and `details` how it was measured;
    both are empty if the judge writes none. A good verdict may have boxes too: what differs within the limit.
    `reason` says why the query was not judged; only an invalid answer has one.

    `notes` say what was changed in the pictures before they were judged.

    `station`, `outcome` and `p_value` are those of a station, whose limit then decides. An unsure part is not called
    anomalous. `p_value` is the share of good parts that score at least as high; None without normal pictures.
    `checks` are the rules of the station. With a `second_look` the score is that of the first judge, and the answer
    perhaps that of the second.
    """

    query: str
    references: tuple[str, ...]
    answer: Answer
    reason: str = ""
    anomalous: bool
    score: float = Field(ge=0, le=1)
    headline: str = ""
    reasoning: str
    details: str = ""
    response: str
    boxes: tuple[Box, ...] = ()
    boxes_from: str = ""
    model: str
    prompt_version: str
    tokens: int = 0
    seconds: float = Field(ge=0)
    notes: tuple[str, ...] = ()
    station: str = ""
    outcome: Outcome | None = None
    p_value: float | None = None
    checks: tuple[Checked, ...] = ()
    second_look: SecondOpinion | None = None


class Failure(Record):
    """A query that could not be judged, and why; `station` is the one that was to judge it, empty without one."""

    query: str
    error: str
    station: str = ""

    @property
    def reason(self) -> str:
        """The error without the query's name at its start, for where that stands beside it."""
        return self.error.removeprefix(f"{shown(self.query)}: ")


class ResultLine(Record):
    """A line of `inspect --json`: a verdict or a failure, with the same keys in both.

    What could not be judged has the answer `invalid` and a `reason`, so that nobody takes it for good. `error` is null
    in a verdict; a failure has no more than `query`, `answer`, `reason`, `notes` and `error`, and of a station its
    `station` and the `outcome` `invalid`. `notes` are those of the verdict and those of the whole run.
    """

    query: str
    references: tuple[str, ...] | None = None
    answer: Answer | None = None
    reason: str | None = None
    anomalous: bool | None = None
    score: float | None = None
    headline: str | None = None
    reasoning: str | None = None
    details: str | None = None
    response: str | None = None
    boxes: tuple[Box, ...] | None = None
    boxes_from: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    tokens: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    station: str | None = None
    outcome: Outcome | None = None
    p_value: float | None = None
    checks: tuple[Checked, ...] | None = None
    second_look: SecondOpinion | None = None
    error: str | None = None

    @classmethod
    def of(cls, record: Verdict | Failure, notes: Sequence[str] = ()) -> ResultLine:
        """The line of a verdict or a failure; `notes` are those of the run."""
        if isinstance(record, Failure):
            error, said = record.error, {}
            if record.station:
                said = {"station": record.station, "outcome": "invalid"}
            return cls(query=record.query, answer="invalid", reason=error, notes=tuple(notes), error=error, **said)
        values = record.model_dump()
        return cls.model_validate(values | {"notes": tuple(dict.fromkeys((*notes, *record.notes)))})


@dataclass(frozen=True)
class Tally:
    """How many results have each of the answers `yes`, `no`, `unsure`, `invalid` and `failed`.

    `reasons` are those of the invalid ones.
    """

    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, line: ResultLine) -> None:
        """Count one more."""
        if line.error is not None:
            self.answers["failed"] += 1
            return
        self.answers["unsure" if line.outcome == "unsure" else line.answer or "invalid"] += 1
        if line.answer == "invalid":
            self.reasons[(line.reason or "").partition(":")[0] or "no valid answer"] += 1

    @property
    def missing(self) -> int:
        """How many were not judged."""
        return self.answers["failed"] + self.answers["invalid"]

    def __str__(self) -> str:
        judged = self.answers.total() - self.missing
        unsure = f" {self.answers['unsure']} unsure," if self.answers["unsure"] else ""
        return f"{judged} judged, {self.answers['yes']} anomalous,{unsure} {self.missing} not judged"

    def name_reasons(self) -> list[str]:
        """Why answers were invalid, the most frequent first: `3 x cut off`."""
        return [f"{number} x {reason}" for reason, number in self.reasons.most_common()]


class Prediction(Record):
    """A verdict on a labelled pair.

    `scored` is false for a judge without scores: the verdict's score only repeats the answer. `error` is the reason why
    the pair has no judgement; its answer is then invalid, which counts as wrong. So does that of a response that was
    `cut_off`; the next start of the run asks for it again. `facts` are MiniLOCO's facts of each reference and, last, of
    the query. `size` is width and height of the query in pixels, None where it was not read.
    """

    pair: Pair
    verdict: Verdict
    scored: bool = True
    error: str = ""
    cut_off: bool = False
    facts: tuple[PictureFacts, ...] = ()
    size: tuple[Side, Side] | None = None

    @property
    def reason(self) -> str:
        """The error without the query's file at its start, for where its name stands beside it; a reference's stays."""
        file, _, problem = self.error.partition(": ")
        # Pictures of a benchmark have names below its folder, which an error names whole.
        names = (self.pair.query, *self.pair.references)
        named = [name for name in names if f"/{file}".endswith(f"/{shown(name)}")]
        return problem if named and max(named, key=len) == self.pair.query else self.error


class Estimate(Record):
    """A number between 0 and 1 (MCC and differences: -1 and 1) and its 95 % interval; None where not defined."""

    value: float | None
    interval: tuple[float, float] | None = None

    def percent(self) -> str:
        """As in the paper's Table 1: `60.4`; `–` where it is not defined."""
        return "–" if self.value is None else _percent(self.value)

    def percent_interval(self) -> str:
        """`[57.6, 63.2]`, or `–`."""
        return "–" if self.interval is None else f"[{', '.join(map(_percent, self.interval))}]"


def _percent(value: float) -> str:
    """One decimal, halves away from zero as in Table 1 (56.25 is printed 56.3), and never -0.0."""
    return str(Decimal(repr(100 * value)).quantize(Decimal("0.1"), ROUND_HALF_UP) + 0)


def share_of(part: int, whole: int) -> Estimate:
    """`part / whole` of things drawn independently, with Wilson's interval; not defined where `whole` is 0."""
    if not whole:
        return Estimate(value=None)
    from scipy.stats import binomtest  # late: its import takes half a second of every command

    interval = binomtest(part, whole).proportion_ci(LEVEL, method="wilson")
    return Estimate(value=part / whole, interval=(float(interval.low), float(interval.high)))
