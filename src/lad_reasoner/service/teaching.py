"""Teach a station: pictures are accepted as normal, as a preview on the archive, then live, then perhaps rolled back.

    change = propose_change(runtime, live, "references", [17, 23], who="Ada")     # at once; the preview takes its time
    live.archive.change(change.id).preview["changes"]                             # when its state is "preview"
    apply_change(live, change.id, who="Ada")
    roll_back_change(live, change.id, who="Ada")

A picture goes to the references, where the judge compares with it, or to the normals of the calibration, from which the
limit is made. Whichever it is, the normals are scored and the limits are set again by the station's own rule.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.files.pictures import PictureSource, open_picture
from lad_reasoner.files.whole import lock, write_whole
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.records import Outcome as StationOutcome
from lad_reasoner.service.archive import Change, Inspection, Target
from lad_reasoner.service.inspection import Decision, OpenStation, outcome_of
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.setup import NORMALS, REFERENCES, set_limits
from lad_reasoner.service.station import FILE, ScoredPicture, Station

logger = logging.getLogger(__name__)

MOST_JUDGED = 200  # pictures of the archive, the newest, that a preview judges again
PATIENCE = 3600.0  # seconds that a picture of a preview may wait for the line's own pictures
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "MPO": ".jpg"}  # others are their format's name


class StateError(InputError):
    """A change is not in the state that this needs."""


def propose_change(
    runtime: Runtime, live: LiveStation, target: Target, inspections: Sequence[int], *, who: str
) -> Change:
    """Begin a change; a thread makes its preview.

    AbsentError if an inspection or its picture is not kept, StateError while another preview is being made.
    """
    numbers = tuple(dict.fromkeys(inspections))
    contents = {number: live.archive.content(number) for number in numbers}
    with live.teaching:
        busy = [change.id for change in live.archive.changes() if change.state == "preparing"]
        if busy:
            raise StateError(f"{live.name}: the preview of change {busy[0]} is being made; wait for it")
        change = live.archive.begin_change(target, numbers, who=who, base=live.version)
    work = _Preview(runtime, live, change, contents)
    threading.Thread(target=work.run, name=f"preview {change.id}", daemon=True).start()
    return change


def apply_change(live: LiveStation, number: int, *, who: str) -> Change:
    """The preview goes live. StateError if it is none, or if the station changed since it was made."""
    with live.teaching:
        change = _in_state(live, number, "preview")
        if change.base != live.version:
            raise StateError(f"{live.name}: the station changed since the preview of change {number}; make it again")
        version = _replace_file(live, change.draft, who=who, why=f"change {number}")
        return live.archive.move_change(number, "live", who=who, version=version)


def discard_change(live: LiveStation, number: int, *, who: str) -> Change:
    """Throw a preview away, with the pictures that it would have added."""
    with live.teaching:
        _in_state(live, number, "preview")
        _delete_pictures(live, number)
        return live.archive.move_change(number, "discarded", who=who)


def roll_back_change(live: LiveStation, number: int, *, who: str) -> Change:
    """The station is again as it was before the change. StateError if the station changed since then."""
    with live.teaching:
        change = _in_state(live, number, "live")
        if change.version is None or live.archive.version_file(change.version) != live.archive.version_file(
            live.version
        ):
            raise StateError(
                f"{live.name}: the station changed after change {number}; roll back the later change first"
            )
        _replace_file(live, live.archive.version_file(change.base), who=who, why=f"roll back change {number}")
        return live.archive.move_change(number, "rolled back", who=who)


def recover_changes(live: LiveStation) -> None:
    """After a crash: a preview that was being made is discarded, and one whose file is in use is live."""
    current = live.archive.version_file(live.version)
    for change in live.archive.changes():
        if change.state == "preparing":
            _delete_pictures(live, change.id)
            live.archive.move_change(change.id, "discarded", who="server", preview={"error": "the server stopped"})
        elif change.state == "preview" and change.draft == current:
            live.archive.move_change(change.id, "live", who="server", version=live.version)


@dataclass(eq=False)
class _Preview:
    """Makes the preview of one change, in a thread; the line's own pictures go first."""

    runtime: Runtime
    live: LiveStation
    change: Change
    contents: dict[int, bytes]

    def run(self) -> None:
        archive, number = self.live.archive, self.change.id
        try:
            draft, preview = self._make()
            archive.move_change(number, "preview", who=self.change.who, preview=preview, draft=draft.to_toml())
        except BaseException as error:
            if not isinstance(error, LadError):
                logger.exception("the preview of change %d failed", number)
            problem = str(error) if isinstance(error, LadError) else type(error).__name__
            _delete_pictures(self.live, number)
            with suppress(LadError):  # the disk may be full, or the server may be stopping
                archive.move_change(number, "discarded", who="server", preview={"error": problem})

    def _make(self) -> tuple[Station, dict[str, Any]]:
        opened = self.live.open
        before = opened.station
        self._refuse_twice(before)
        names = [self._copy(number, content) for number, content in self.contents.items()]
        if self.change.target == "references":
            draft = before.model_copy(update={"references": (*before.references, *names)})
            candidate = OpenStation(self.live.folder, opened.judge, draft)
            normals = self._score(candidate, [picture.picture for picture in draft.normals])
            bad = self._score(candidate, [picture.picture for picture in draft.bad])
            draft = set_limits(draft.model_copy(update={"normals": normals, "bad": bad}))
        else:
            normals = (*before.normals, *self._score(opened, names))
            draft = set_limits(before.model_copy(update={"normals": normals}))
        candidate = OpenStation(self.live.folder, opened.judge, draft)
        return draft, self._compare(opened, candidate)

    def _refuse_twice(self, station: Station) -> None:
        """A picture that is a reference scores nothing: among the normals too, it would make the promise false."""
        known: dict[bytes, str] = {}
        for name in (*station.references, *(picture.picture for picture in station.normals)):
            with suppress(OSError):  # whoever needs it says that it is gone
                known[(self.live.folder / name).read_bytes()] = name
        for number, content in self.contents.items():
            if content in known:
                raise InputError(f"the picture of inspection {number} is the same as {known[content]}")
            known[content] = f"that of inspection {number}"

    def _copy(self, number: int, content: bytes) -> str:
        """Write the picture into the station's folder; returns its name there."""
        with open_picture(io.BytesIO(content)) as image:
            suffix = _SUFFIXES.get(image.format or "", f".{(image.format or 'png').lower()}")
        folder = REFERENCES if self.change.target == "references" else NORMALS
        name = f"{folder}/{_prefix(self.change.id)}{number}{suffix}"
        (self.live.folder / folder).mkdir(exist_ok=True)
        try:
            write_whole(self.live.folder / name, content)
        except OSError as error:
            raise MachineError(f"{self.live.folder / name}: {error.strerror}") from None
        return name

    def _score(self, station: OpenStation, names: Sequence[str]) -> tuple[ScoredPicture, ...]:
        scored = []
        for name, decision in zip(names, self._judge(station, [station.folder / name for name in names]), strict=True):
            if isinstance(decision, Failure):
                raise InputError(decision.error)
            if decision.outcome == "invalid" or decision.judged.judgement.score is None:
                raise InputError(f"{name}: {station.judge.name} gives no score; a limit needs scores")
            scored.append(ScoredPicture(picture=name, score=decision.verdict.score))
        return tuple(scored)

    def _judge(self, station: OpenStation, pictures: Sequence[PictureSource]) -> Iterator[Decision | Failure]:
        """Decisions in order, a batch at a time, when nobody else waits."""
        waiting = iter(pictures)
        while batch := list(islice(waiting, max(1, station.judge.batch_size))):
            futures = []
            for picture in batch:
                pair = station.read(picture)
                futures.append(self.runtime.queue.submit(station.judge, pair, seconds=PATIENCE, background=True))
            for future in futures:
                yield station.decide(future.result())

    def _compare(self, opened: OpenStation, candidate: OpenStation) -> dict[str, Any]:
        """What the archive's newest pictures would have got, and how many known mistakes there are."""
        inspections = [
            inspection
            for inspection in self.live.archive.history(limit=MOST_JUDGED, with_picture=True)
            if inspection.id not in self.contents and inspection.verdict is not None
        ]
        rows: list[dict[str, Any]] = []
        unreadable = 0
        for inspection in inspections:
            try:
                before, after = self._outcomes(opened, candidate, inspection)
            except InputError:
                unreadable += 1  # its picture was deleted meanwhile, or changed on the disk
                continue
            row = {"id": inspection.id, "part": inspection.part, "before": before, "after": after}
            rows.append({**row, "truth": inspection.truth})
        old, new = opened.station, candidate.station
        return {
            "judged": len(rows),
            "unreadable": unreadable,
            "limit": [old.limit, new.limit],
            "unsure_from": [old.unsure_from, new.unsure_from],
            "anomalous": [_count(rows, when, _is_anomalous) for when in ("before", "after")],
            "known_false_alarms": [_count(rows, when, _is_false_alarm) for when in ("before", "after")],
            "known_misses": [_count(rows, when, _is_miss) for when in ("before", "after")],
            "changes": [row for row in rows if row["before"] != row["after"]],
        }

    def _outcomes(
        self, opened: OpenStation, candidate: OpenStation, inspection: Inspection
    ) -> tuple[StationOutcome, StationOutcome]:
        """Of the station as it is, and as it would be."""
        verdict = inspection.verdict
        content: bytes | None = None
        if verdict is None or inspection.version != self.change.base:
            content = self.live.archive.content(inspection.id)
            verdict = self._verdict(opened, content)
        before = outcome_of(opened.station, verdict)
        if candidate.station.references != opened.station.references:
            content = content or self.live.archive.content(inspection.id)
            verdict = self._verdict(candidate, content)
        return before, outcome_of(candidate.station, verdict)

    def _verdict(self, station: OpenStation, content: bytes) -> Verdict:
        (decision,) = self._judge(station, [content])
        if isinstance(decision, Failure):
            raise InputError(decision.error)
        return decision.judged.verdict


def _count(rows: Sequence[dict[str, Any]], when: str, counts: Callable[[str, str | None], bool]) -> int:
    return sum(counts(row[when], row["truth"]) for row in rows)


def _is_anomalous(outcome: str, truth: str | None) -> bool:
    return outcome == "anomalous"


def _is_false_alarm(outcome: str, truth: str | None) -> bool:
    return outcome == "anomalous" and truth == "good"


def _is_miss(outcome: str, truth: str | None) -> bool:
    return outcome == "good" and truth == "anomalous"


def _prefix(change: int) -> str:
    return f"accepted-{change}-"


def _in_state(live: LiveStation, number: int, state: str) -> Change:
    change = live.archive.change(number)
    if change.state != state:
        raise StateError(f"{live.name}: change {number} is {change.state}, not {state}")
    return change


def _replace_file(live: LiveStation, text: str, *, who: str, why: str) -> int:
    """Write the station file and use it; the old one comes back if it cannot be used."""
    with lock(live.folder, "station"):
        old = live.file()
        if old != live.archive.version_file(live.version):
            raise StateError(f"{live.name}: the station file was edited by hand; reload the station first")
        path = live.folder / FILE
        try:
            write_whole(path, text)
            return live.reload(who=who, why=why)
        except LadError:
            write_whole(path, old)
            raise
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}; nothing was changed") from None


def _delete_pictures(live: LiveStation, change: int) -> None:
    for folder in (REFERENCES, NORMALS):
        for path in (live.folder / folder).glob(f"{_prefix(change)}*"):
            path.unlink(missing_ok=True)
