"""What the API takes and gives beside pictures, with an example of each request."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lad_reasoner.service.archived import REASONS, Opinion, Target
from lad_reasoner.service.rule_sheet import MOST_CHECKS, Check
from lad_reasoner.service.station import MOST_ZONES, Zone
from lad_reasoner.service.teaching import JUDGED, MOST_JUDGED

MOST_ID = 2**53  # whole numbers that JSON holds everywhere

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
INSPECT_EXAMPLE = {"station": "bottle", "part": "4711", "picture": PICTURE, "seconds": 5}
ZONES_EXAMPLE = {
    "zones": [{"kind": "ignore", "name": "date", "points": [[20, 400], [200, 400], [200, 460], [20, 460]]}],
    "base": 1,
}
RULES_EXAMPLE = {
    "checks": [{"kind": "place", "colour": "red", "box": [66, 240, 72, 40], "least": 0.7}],
    "broken": "anomalous",
    "base": 1,
}
BATCH_EXAMPLE = {"station": "bottle", "pictures": [{"part": "4711", "picture": PICTURE}]}


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str


class FeedbackForm(BaseModel):
    """A person's opinion of an inspected part."""

    model_config = ConfigDict(extra="forbid")

    opinion: Opinion
    reason: Literal[REASONS] | Literal[""] = ""  # type: ignore[valid-type]
    note: str = Field("", max_length=1000)
    who: str = Field("", max_length=100, description="A person's name, where several share a key.")


Pictures = Annotated[
    int, Field(ge=1, le=MOST_JUDGED, description="Kept pictures, the newest, that the preview judges again.")
]


class ChangeForm(BaseModel):
    """Inspections whose pictures are to be accepted as normal; none for target `limit`."""

    model_config = ConfigDict(extra="forbid")

    target: Target
    inspections: list[Annotated[int, Field(ge=1, le=MOST_ID)]] = Field([], max_length=100)
    pictures: Pictures = JUDGED


class ZonesForm(BaseModel):
    """All zones of a station, in place of those that it has."""

    model_config = ConfigDict(extra="forbid")

    zones: list[Zone] = Field(max_length=MOST_ZONES)
    mm_per_pixel: float | None = Field(None, gt=0, allow_inf_nan=False)
    fixed_camera: bool = False
    base: int = Field(ge=1, le=MOST_ID, description="The version of the station that they are for.")
    pictures: Pictures = JUDGED


class RulesForm(BaseModel):
    """All rules of a station, in place of those that it has; without `checks` they are written anew.

    The model that answers questions is that of the station file.
    """

    model_config = ConfigDict(extra="forbid")

    checks: list[Check] | None = Field(None, max_length=MOST_CHECKS)
    broken: Literal["note", "unsure", "anomalous"] = "unsure"
    base: int = Field(ge=1, le=MOST_ID, description="The version of the station that they are for.")
    pictures: Pictures = JUDGED


class RulesCard(BaseModel):
    """The rules of a station; `words` says each of `checks` in words."""

    broken: Literal["note", "unsure", "anomalous"]
    model: str
    checks: list[Check]
    words: list[str]
    version: int


class StationCard(BaseModel):
    """A station that is served; `version` is 0 for one that must be calibrated before, as `problem` says."""

    name: str
    judge: str
    references: int
    normals: int
    limit: float | None
    unsure_from: float | None
    version: int
    counts: dict[str, int]
    problem: str
    notes: tuple[str, ...] = ()
