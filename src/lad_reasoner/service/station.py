"""The station file: all that one inspection point needs, as TOML that a person may read and edit.

    station = Station.load("bottle")                 # the folder, or its station.toml
    station.limit, station.normals[0].score          # 0.83, 0.12
    station.model_copy(update={"limit": 0.9}).save("bottle")

    bottle/station.toml        this record
    bottle/references/         copies of the references
    bottle/normals/  bad/      copies of the pictures that the limit was made with
    bottle/studied.safetensors what the judge computed of the references; made anew when it is missing or does not fit
    bottle/tests.jsonl         the log of `station test`

All paths in the file are relative to the folder, so that a station can be copied to another machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.walk import suggest_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.service.rule_sheet import RuleSheet
from lad_reasoner.service.trust import refuse_untrusted
from lad_reasoner.text import first_problem, printable, shown

FILE, STUDIED, TESTS = "station.toml", "studied.safetensors", "tests.jsonl"
MOST_ZONES, MOST_CORNERS = 50, 10_000  # each zone is a mask in memory
JUDGE_LIMIT = 0.5  # a judge's own boundary
HEADER = "# A station of LAD-Reasoner. `lad-reasoner station show FOLDER` says what it means.\n"


def _check_inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("give a path inside the station's folder, with / between its parts")
    return path


PathInside = Annotated[str, AfterValidator(_check_inside)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]  # pixels
# A list of JSON is a corner too, whatever has parsed it.
Corner = Annotated[tuple[Coordinate, Coordinate], Field(strict=False)]


class StationRecord(BaseModel):
    """Frozen and strict: an unknown field is a typing error of the person who edited the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class ScoredPicture(StationRecord):
    """A picture of the calibration, and its score."""

    picture: PathInside
    score: Score


class Zone(StationRecord):
    """A polygon on the first reference, `points` in pixels of its file, or a picture that is white inside the zone.

    `ignore`: does not count; `include`: nothing outside of such zones counts; `check`: also judged on its own, and must
    be in the picture. What a zone to check shows may lie at most `max_shift_mm` from its place.
    """

    kind: Literal["ignore", "include", "check"]
    name: str = Field("", max_length=64)
    points: Annotated[tuple[Corner, ...], Field(strict=False, max_length=MOST_CORNERS)] = ()
    mask: PathInside | None = None
    max_shift_mm: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_shape(self) -> Zone:
        if (self.mask is None) == (not self.points):
            raise ValueError("give either points or a mask")
        if self.points and len(self.points) < 3:
            raise ValueError("points: a zone has three corners or more")
        if self.max_shift_mm is not None and self.kind != "check":
            raise ValueError("max_shift_mm is for zones of the kind check")
        return self


class SecondLookSettings(StationRecord):
    """The judge that looks again at queries near the limit, see second_look.py; `options` are those of its loader."""

    model: str = Field(min_length=1)
    options: dict[str, str | int | FiniteFloat | bool] = {}
    within: float = Field(2.0, ge=1, allow_inf_nan=False)


class Station(StationRecord):
    """The content of station.toml.

    A score above `limit` is an anomaly; above `unsure_from`, if it is given, a person should look. Without a limit the
    judge's own answer stands. `max_false_alarms` and `max_unsure` are the promised shares of good parts above the two,
    from which the limits were made at `made`; a limit that was set by hand has none. `options` are those of the judge's
    loader. `version` is the version of the package. `scored_zones` tells the zones that the scores were made with,
    `mm_per_pixel` the scale of the first reference. With `folds` queries are compared with the normals as well, see
    folds.py. The zones of a `fixed_camera` do not move with the picture. `rules` are checked one by one, see
    rule_sheet.py; with a `second_look` another judge is asked near the limit. What the limits promise counts neither.
    """

    format: Literal[1] = 1
    name: str
    version: str
    made: datetime
    judge: str = "evidence"
    evidence: bool = False
    options: dict[str, str | int | FiniteFloat | bool] = {}
    prompt_version: str
    max_pixels: int | None = Field(None, ge=1)
    references: tuple[PathInside, ...] = Field(min_length=1)
    limit: Score | None = None
    unsure_from: Score | None = None
    max_false_alarms: Rate | None = None
    max_unsure: Rate | None = None
    folds: int | None = Field(None, ge=2, le=1000)
    normals: tuple[ScoredPicture, ...] = ()
    bad: tuple[ScoredPicture, ...] = ()
    mm_per_pixel: float | None = Field(None, gt=0, allow_inf_nan=False)
    fixed_camera: bool = False
    scored_zones: str = ""
    zones: tuple[Zone, ...] = Field((), max_length=MOST_ZONES)
    rules: RuleSheet | None = None
    second_look: SecondLookSettings | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]{0,63}", name):
            raise ValueError(
                f"{shown(name)!r} is no name of a station; take letters, digits, _, . and - (no blanks), at most 64"
            )
        return name

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := {"name", "defaults", "evidence", "max_pixels"} & options.keys():
            raise ValueError(f"{min(taken)} is not an option of a judge; name, evidence and max_pixels are fields")
        return options

    @model_validator(mode="after")
    def _check_limits(self) -> Station:
        if self.unsure_from is not None and (self.limit is None or self.unsure_from > self.limit):
            raise ValueError("unsure_from must be at most limit, which must be given too")
        if self.mm_per_pixel is None and any(zone.max_shift_mm is not None for zone in self.zones):
            raise ValueError("max_shift_mm of a zone needs mm_per_pixel")
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Station:
        if self.folds is not None and self.folds > len(self.normals):
            raise ValueError(f"folds: {self.folds} is more than the {len(self.normals)} normals")
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Station:
        """Read a station; `folder` may also be its station.toml.

        InputError names file and field; also where it names what nobody trusts, see trust.py.
        """
        path = station_folder(folder) / FILE
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            # By way of JSON, whose arrays are tuples and whose dates are text, also where all else is strict.
            content = json.dumps(values, default=_text_of)
        except (FileNotFoundError, NotADirectoryError):
            mend = suggest_path(path) or "; make a station with `lad-reasoner station create`"
            raise InputError(f"{printable(path)}: no such file{mend}") from None
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number of 5000 digits
            raise InputError(f"{printable(path)}: not valid TOML ({error})") from None
        station = cls._check(content, printable(path))
        refuse_untrusted(station, printable(path))
        return station

    def revised(self, called: str, **values: Any) -> Station:
        """With other values, checked as those of a file are; an InputError begins with what they are `called`."""
        return self._check(json.dumps(self.model_dump(mode="json") | values), called)

    @classmethod
    def _check(cls, content: str, called: str) -> Station:
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            # What `json` wrote is JSON: only its depth can be too much.
            too_deep = error.errors()[0]["type"] == "json_invalid"
            problem = "not valid TOML (tables inside tables, too many)" if too_deep else first_problem(error)
            raise InputError(f"{called}: {problem}") from None

    def save(self, folder: str | Path) -> Path:
        """Write station.toml, all or nothing; returns its path. MissingExtraError without the extra `serve`."""
        path = Path(folder) / FILE
        write_whole(path, self.to_toml())
        return path

    def to_toml(self) -> str:
        """The content of station.toml. MissingExtraError without the extra `serve`."""
        tomli_w = require("tomli_w", "serve", "tomli-w")
        return HEADER + str(tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)))

    @property
    def boundary(self) -> float:
        """The limit, or the judge's own where the station has none."""
        return JUDGE_LIMIT if self.limit is None else self.limit

    @property
    def zone_digest(self) -> str:
        """Of all that decides what of a picture counts; empty without zones."""
        if not self.zones:
            return ""
        text = self.model_dump_json(include={"zones", "fixed_camera", "mm_per_pixel"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def compared(self) -> tuple[str, ...]:
        """The pictures that a query is compared with: the references, and with `folds` the normals."""
        shared = () if self.folds is None else self.normals
        return (*self.references, *(normal.picture for normal in shared))

    @property
    def normal_scores(self) -> tuple[float, ...]:
        """Of the normal pictures, in the order of the file."""
        return tuple(picture.score for picture in self.normals)


def path_inside(folder: Path, name: str) -> Path:
    """The path of a file of the station. InputError if a link leads out of the station's folder."""
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links: whoever reads it says so
        inside = True
    if not inside:
        raise InputError(f"{printable(path)}: a link that leads out of the station; put a copy in its place")
    return path


def station_folder(path: str | Path) -> Path:
    """The folder of a station, given as its folder or as its file."""
    path = Path(path)
    return path.parent if path.name == FILE else path


def station_name(folder: Path) -> str:
    """A station's name from that of its folder: `line 3` -> `line_3`."""
    return re.sub(r"[^\w.-]+", "_", folder.resolve().name).lstrip(".-")[:64] or "station"


def _text_of(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
