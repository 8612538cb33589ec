"""What an archive holds: inspections, what people said of them, changes of a station, lines of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from lad_reasoner.errors import InputError
from lad_reasoner.records import Record, Verdict

Outcome = Literal["good", "anomalous", "unsure", "not judged"]
Target = Literal["references", "calibration", "limit", "zones", "rules"]
State = Literal["preparing", "preview", "live", "rolled back", "discarded"]

# What a person gives as the cause of a wrong verdict; free words go into the note.
REASONS = (
    "allowed variation",
    "light or focus",
    "position",
    "dirt or reflection",
    "missing or extra part",
    "wrong part or place",
    "damage",
    "other",
)


class AbsentError(InputError):
    """There is no station, inspection, picture or change of this name or number."""


class StateError(InputError):
    """A station or a change is not in the state that this needs."""


class Opinion(StrEnum):
    """What a person says of a part: good after all, or a defect that was missed."""

    GOOD = "good"
    MISSED = "missed"


class Feedback(Record):
    """One person's opinion of one inspection; the last one counts."""

    at: str
    who: str
    opinion: Opinion
    reason: str = ""
    note: str = ""


class Inspection(Record):
    """One inspected part, as it is kept and as clients get it.

    `id` is 0 for one that no station keeps. `why` is the reason of an outcome that is no verdict. `version` numbers the
    station's settings. `picture` says whether the picture is kept.
    """

    id: int = 0
    station: str = ""
    at: str
    part: str
    who: str
    outcome: Outcome
    why: str = ""
    p_value: float | None = None
    version: int = 0
    picture: bool = False
    verdict: Verdict | None = None
    feedback: tuple[Feedback, ...] = ()

    @property
    def score(self) -> float | None:
        """The verdict's; None where nothing was judged."""
        return None if self.verdict is None or self.outcome == "not judged" else self.verdict.score

    @property
    def truth(self) -> Literal["good", "anomalous"] | None:
        """What the last person said."""
        if not self.feedback:
            return None
        return "good" if self.feedback[-1].opinion == Opinion.GOOD else "anomalous"


class Change(Record):
    """What a station is to learn: a preview first, then live, and perhaps rolled back.

    `base` is the version of the station that it was made from, `version` the one that it became.
    """

    id: int
    at: str
    who: str
    target: Target
    inspections: tuple[int, ...]
    state: State
    base: int
    version: int | None = None
    preview: dict[str, Any] = Field({})
    draft: str = Field("", exclude=True)  # the station file as it would be


class AuditLine(Record):
    """Who did what, and when."""

    id: int
    at: str
    who: str
    action: str
    detail: dict[str, Any]
    chain: str


@dataclass(frozen=True, eq=False)
class Seen:
    """What `keep` is given: an inspection without a number. `content` is the picture's file, byte for byte."""

    part: str
    who: str
    outcome: Outcome
    version: int
    why: str = ""
    p_value: float | None = None
    verdict: Verdict | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Retention:
    """Days that pictures are kept, by outcome; None is for ever. A picture that a person spoke of is reviewed."""

    good: float | None = None
    rejected: float | None = None
    reviewed: float | None = None
