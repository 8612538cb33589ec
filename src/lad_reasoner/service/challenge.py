"""The challenge at the start of a shift: a known-good and a known-bad master part, judged and logged.

    record = challenge("bottle", good=["master_good.png"], bad=["master_bad.png"])
    record.passed, record.reason
    why_locked("bottle")                             # "" or the reason why the station may not judge

The log `tests.jsonl` is only ever appended to. Its last line decides: after a failure the station judges nothing until
a challenge is passed. The order of the lines counts and not their time, since clocks are set back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_record, repair_records
from lad_reasoner.files.whole import lock
from lad_reasoner.records import Failure, Outcome, Record
from lad_reasoner.service.inspection import OpenStation
from lad_reasoner.service.station import TESTS, path_inside
from lad_reasoner.text import listed, printable


class MasterPart(Record):
    """A master part as the station judged it; `outcome` is None if it was not judged, for the reason in `error`."""

    picture: str
    bad: bool
    outcome: Outcome | None = None
    score: float | None = None
    error: str = ""

    @property
    def right(self) -> bool:
        """Good as good, bad as anomalous; unsure is neither."""
        return self.outcome == ("anomalous" if self.bad else "good")


class Challenge(Record):
    """A line of the log. `station_limit` is the limit at that time, `reason` says what failed."""

    time: datetime
    version: str
    station_limit: float | None
    parts: tuple[MasterPart, ...]
    passed: bool
    reason: str = ""


def challenge(
    folder: str | Path,
    *,
    good: Sequence[str | Path],
    bad: Sequence[str | Path],
    options: Mapping[str, Any] | None = None,
) -> Challenge:
    """Judge the master parts and append the result to the log, also on a locked station; `options` as in `OpenStation`.

    A part that cannot be read fails the challenge. InputError without a good and a bad one, and for a station that
    cannot be opened.
    """
    if not good or not bad:
        raise InputError("a challenge needs a good and a bad master part: give --good and --bad")
    opened = OpenStation(folder, obey_lock=False, options=options)
    parts: list[MasterPart] = []
    for path, decision in zip([*good, *bad], opened.inspect([*good, *bad]), strict=True):
        part = MasterPart(picture=printable(path), bad=len(parts) >= len(good))
        if isinstance(decision, Failure):
            parts.append(part.model_copy(update={"error": decision.error}))
        else:
            parts.append(part.model_copy(update={"outcome": decision.outcome, "score": decision.verdict.score}))
    failed = [_describe(part) for part in parts if not part.right]
    record = Challenge(
        time=datetime.now(UTC).replace(microsecond=0),
        version=opened.station.version,
        station_limit=opened.station.limit,
        parts=tuple(parts),
        passed=not failed,
        reason=listed(failed, separator="; "),
    )
    path = path_inside(opened.folder, TESTS)
    with lock(path, "station"):
        repair_records(path)
        append_record(path, record)
    return record


def _describe(part: MasterPart) -> str:
    kind = "bad" if part.bad else "good"
    return f"the {kind} master part {part.picture} was {part.outcome or f'not judged ({part.error})'}"
