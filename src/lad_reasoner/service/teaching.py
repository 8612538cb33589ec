"""Teach a station: pictures are accepted as normal, as a preview on the archive, then live, then perhaps rolled back.

    change = propose_change(runtime, live, "references", [17, 23], who="Ada")     # at once; the preview takes its time
    live.archive.change(change.id).preview["changes"]                             # when its state is "preview"
    apply_change(live, change.id, who="Ada")
    roll_back_change(live, change.id, who="Ada")

A picture goes to the references, where the judge compares with it, or to the normals of the calibration, from which the
limit is made. Whichever it is, the normals are scored again, and the limits are set again by the station's promise. A
station that promises nothing gets the limit that fits what was said of its archive; target `limit` does that alone.
Other zones and other rules go the same way (`propose_zones`, `propose_rules`): what they change on the archive is seen
before they are live. A preview that takes too long is stopped by `discard_change`.
"""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any, Literal

from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.files.opening import PictureSource, open_picture
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import lock, write_whole
from lad_reasoner.records import Checked, Failure, Verdict
from lad_reasoner.records import Outcome as StationOutcome
from lad_reasoner.service.archived import Change, Inspection, StateError, Target
from lad_reasoner.service.folds import score_normals
from lad_reasoner.service.inspection import Decision, OpenStation, judged_anomalous, outcome_of
from lad_reasoner.service.rule_sheet import MOST_CHECKS, Check, PlaceCheck, RuleSheet
from lad_reasoner.service.rules import describe_check
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.setup import NORMALS, REFERENCES, read_scores, set_limits, tested_rules
from lad_reasoner.service.station import FILE, JUDGE_LIMIT, ScoredPicture, Station, Zone, path_inside

logger = logging.getLogger(__name__)

JUDGED, MOST_JUDGED = 200, 5000  # pictures of the archive, the newest, that a preview judges again: as a rule, at most
PATIENCE = 3600.0  # seconds that a picture of a preview may wait for the line's own pictures
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "MPO": ".jpg"}  # others are their format's name


def propose_change(
    runtime: Runtime,
    live: LiveStation,
    target: Target,
    inspections: Sequence[int],
    *,
    who: str,
    pictures: int = JUDGED,
) -> Change:
    """Begin a change; a thread makes its preview on the newest `pictures` of the archive.

    AbsentError if an inspection or its picture is not kept, InputError if the target does not fit the station or
    a person said that the part has a defect, StateError while another preview is being made.
    """
    numbers = tuple(dict.fromkeys(inspections))
    if target in ("zones", "rules"):
        raise InputError(f"target: {target} are sent as {target}")
    if bool(numbers) == (target == "limit"):
        need = "no inspections: the whole archive counts" if target == "limit" else "at least one inspection"
        raise InputError(f"inspections: target {target} takes {need}")
    if target == "limit" and live.open.station.max_false_alarms is not None:
        raise InputError(f"{live.name}: its limit follows from its promise; accept pictures for the calibration")
    contents = {number: live.archive.content(number) for number in numbers}
    _refuse_defects(live, numbers, "leave it out")
    return _begin(_Preview(runtime, live, contents, pictures), target, who=who)


def _refuse_defects(live: LiveStation, inspections: Iterable[int], otherwise: str) -> None:
    """InputError if a person said last that one of these parts has a defect."""
    for number in inspections:
        inspection = live.archive.inspection(number)
        if inspection.truth == "anomalous":
            raise InputError(
                f"{live.name}: inspection {number} has a defect, says {inspection.feedback[-1].who}; "
                f"say first that it is good after all, or {otherwise}"
            )


def propose_zones(
    runtime: Runtime,
    live: LiveStation,
    zones: Sequence[Zone],
    *,
    mm_per_pixel: float | None,
    fixed_camera: bool,
    base: int,
    who: str,
    pictures: int = JUDGED,
) -> Change:
    """Begin a change of all zones of a station, as its version `base` was; a thread makes its preview.

    InputError for zones that do not fit the station, or for a mask that it does not have: no path from outside is
    opened. StateError if the station changed since `base`, or while another preview is being made.
    """
    station = live.open.station
    masks = {zone.mask for zone in station.zones}
    width, height = live.open.references[0].width, live.open.references[0].height
    for number, zone in enumerate(zones, 1):
        if zone.mask is not None and zone.mask not in masks:
            raise InputError(f"zones: zone {number}: mask: not one of this station; give one with `station zones`")
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in zone.points):
            raise InputError(f"zones: zone {number}: points: outside of the first reference, {width} x {height} pixels")
    values = [zone.model_dump(mode="json") for zone in zones]
    drawn = station.revised("zones", zones=values, mm_per_pixel=mm_per_pixel, fixed_camera=fixed_camera)
    if drawn == station:
        raise InputError("zones: the same as they are")
    drawn = drawn.model_copy(update={"scored_zones": drawn.zone_digest})
    return _begin(_Preview(runtime, live, {}, pictures, drawn), "zones", who=who, base=base)


def propose_rules(
    runtime: Runtime,
    live: LiveStation,
    checks: Sequence[Check] | None,
    *,
    broken: Literal["note", "unsure", "anomalous"],
    base: int,
    who: str,
    pictures: int = JUDGED,
) -> Change:
    """Begin a change of the rules of a station, as its version `base` was; without `checks` they are written anew.

    The model that answers questions stays that of the station's file: no address from outside is opened. InputError
    for the rules that there are or a place off the first reference, StateError as in `propose_zones`.
    """
    station = live.open.station
    sheet = station.rules or RuleSheet()
    edited = sheet.model_copy(update={"broken": broken, "checks": sheet.checks if checks is None else tuple(checks)})
    if checks is not None and edited == sheet:
        raise InputError("rules: the same as they are")
    width, height = live.open.references[0].width, live.open.references[0].height
    for number, check in enumerate(checks or (), 1):
        if isinstance(check, PlaceCheck) and (check.box[0] >= width or check.box[1] >= height):
            raise InputError(f"rule {number}: box: outside of the first reference, {width} x {height} pixels")
    drawn = station.model_copy(update={"rules": edited})
    return _begin(_Preview(runtime, live, {}, pictures, drawn, checks is None), "rules", who=who, base=base)


def _begin(work: _Preview, target: Target, *, who: str, base: int | None = None) -> Change:
    live = work.live
    with live.teaching:
        busy = [change.id for change in live.archive.changes() if change.state == "preparing"]
        if busy:
            raise StateError(f"{live.name}: the preview of change {busy[0]} is being made; wait for it")
        if base is not None and base != live.version:
            raise StateError(f"{live.name}: the station changed meanwhile; load the page again")
        change = live.archive.begin_change(target, tuple(work.contents), who=who, base=live.version)
    threading.Thread(target=work.run, args=(change,), name=f"preview {change.id}", daemon=True).start()
    return change


def apply_change(live: LiveStation, number: int, *, who: str) -> Change:
    """The preview goes live. StateError if it is none, or if the station changed since it was made.

    InputError if a person said meanwhile that a part of it has a defect.
    """
    with live.teaching:
        change = _in_state(live, number, "preview")
        _refuse_defects(live, change.inspections, "discard the change")
        if change.base != live.version:
            raise StateError(f"{live.name}: the station changed since the preview of change {number}; make it again")
        version = _replace_file(live, change.draft, who=who, why=f"change {number}")
        return live.archive.move_change(number, "live", who=who, version=version)


def discard_change(live: LiveStation, number: int, *, who: str) -> Change:
    """Throw a preview away, with the pictures that it would have added; one that is being made is stopped."""
    with live.teaching:
        _in_state(live, number, "preview", "preparing")
        _delete_pictures(live, number)
        return live.archive.move_change(number, "discarded", who=who)


def roll_back_change(live: LiveStation, number: int, *, who: str) -> Change:
    """The station is again as it was before the change. StateError if the station changed since then."""
    with live.teaching:
        change = _in_state(live, number, "live")
        if change.version is None or live.archive.version_file(change.version) != live.archive.version_file(
            live.version
        ):
            later = any(each.id > number and each.state == "live" for each in live.archive.changes())
            by_hand = "that was by hand: put it back in station.toml and reload the station first"
            mend = "roll back the later change first" if later else by_hand
            raise StateError(f"{live.name}: the station changed after change {number}; {mend}")
        _replace_file(live, live.archive.version_file(change.base), who=who, why=f"roll back change {number}")
        return live.archive.move_change(number, "rolled back", who=who)


def move_limit(live: LiveStation, limit: float, *, who: str) -> int:
    """Set the limit by hand; returns the new version. The station then promises no rate of false alarms."""
    with live.teaching:
        station = live.open.station
        lower = None if station.unsure_from is None else min(limit, station.unsure_from)
        moved = {"limit": limit, "unsure_from": lower, "max_false_alarms": None, "max_unsure": None}
        return _replace_file(live, station.model_copy(update=moved).to_toml(), who=who, why="limit by hand")


def reload_station(live: LiveStation, *, who: str) -> int:
    """Use the station's file as it is on the disk now; returns its version. InputError as of `LiveStation.reload`."""
    with live.teaching:
        return live.reload(who=who, why="reload")


def recover_changes(live: LiveStation) -> None:
    """After a crash: a preview that was being made is discarded, and one whose file is in use is live."""
    current = live.archive.version_file(live.version)
    for change in live.archive.changes():
        if change.state == "preparing":
            _delete_pictures(live, change.id)
            live.archive.move_change(change.id, "discarded", who="server", preview={"error": "the server stopped"})
        elif change.state == "preview" and change.draft == current:
            live.archive.move_change(change.id, "live", who="server", version=live.version)


class _StoppedError(Exception):
    """A person discarded the change while its preview was being made."""


@dataclass(frozen=True, eq=False)
class _Row:
    """A kept picture: its outcome by the station as it is, and its verdict by the references as they would be."""

    inspection: Inspection
    before: StationOutcome
    verdict: Verdict
    score: float  # by the station as it is

    @property
    def label(self) -> str:
        """What was said of the part; else what was decided."""
        return self.inspection.truth or self.before


@dataclass(eq=False)
class _Preview:
    """Makes the preview of one change, in a thread; the line's own pictures go first."""

    runtime: Runtime
    live: LiveStation
    contents: dict[int, bytes]
    pictures: int  # of the archive
    drawn: Station | None = None  # the station with other zones or rules, not yet scored
    writes_rules: bool = False
    change: Change = field(init=False)

    def run(self, change: Change) -> None:
        self.change = change
        archive, number = self.live.archive, change.id
        try:
            draft, preview = self._make()
            with self.live.teaching:
                self._check_wanted()
                archive.move_change(number, "preview", who=change.who, preview=preview, draft=draft.to_toml())
        except _StoppedError:
            _delete_pictures(self.live, number)
        except BaseException as error:
            if not isinstance(error, LadError):
                logger.exception("the preview of change %d failed", number)
            problem = str(error) if isinstance(error, LadError) else type(error).__name__
            _delete_pictures(self.live, number)
            with suppress(LadError, _StoppedError):  # the disk may be full, or the server may be stopping
                self._check_wanted()
                archive.move_change(number, "discarded", who="server", preview={"error": problem})

    def _make(self) -> tuple[Station, dict[str, Any]]:
        """The station as it would be, and what that changes."""
        opened = self.live.open
        before = draft = opened.station
        self._refuse_twice(before)
        names = [self._copy(number, content) for number, content in self.contents.items()]
        candidate = opened
        added = tuple(ScoredPicture(picture=name, score=0.0) for name in names)
        shared = self.change.target == "calibration" and before.folds is not None
        if shared or self.change.target in ("references", "zones"):
            draft = self.drawn or before.model_copy(
                update={"normals": (*before.normals, *added)}
                if shared
                else {"references": (*before.references, *names)}
            )
            candidate = OpenStation(self.live.folder, opened.judge, draft)
            normals = score_normals(candidate, self._score)
            bad = self._score(candidate, [picture.picture for picture in draft.bad])
            draft = draft.model_copy(update={"normals": normals, "bad": bad})
        elif self.change.target == "calibration":
            normals = (*before.normals, *self._score(opened, names))
            draft = before.model_copy(update={"normals": normals})
        elif self.change.target == "rules" and self.drawn is not None:
            draft = self._with_rules(self.drawn)
            candidate = OpenStation(self.live.folder, opened.judge, draft)
        rows, unreadable = self._judge_archive(opened, candidate)
        if self.change.target != "rules":  # which move no score
            draft = _fit_to_archive(draft, rows) if draft.max_false_alarms is None else set_limits(draft)
        preview = _describe(before, draft, rows, unreadable)
        if self.change.target == "rules":
            preview["rules"] = _edited_rules(before, draft, opened.painted_references[0])
            preview["broken"] = [(station.rules or RuleSheet()).broken for station in (before, draft)]
        return draft, preview

    def _with_rules(self, station: Station) -> Station:
        """The station with its rules written anew, if that was asked for; questions stay, for they cost money."""
        sheet = station.rules
        if sheet is None or not self.writes_rules:
            return station
        written, _ = tested_rules(self.live.open)
        questions = [check for check in sheet.checks if check.kind == "question"]
        checks = (*written.checks, *questions)[:MOST_CHECKS]
        return station.model_copy(update={"rules": sheet.model_copy(update={"checks": checks})})

    def _check_wanted(self) -> None:
        """Raises if a person has discarded the change meanwhile."""
        if self.live.archive.change(self.change.id).state != "preparing":
            raise _StoppedError

    def _refuse_twice(self, station: Station) -> None:
        """A picture that is a reference scores nothing: among the normals too, it would make the promise false."""
        known: dict[bytes, str] = {}
        for name in (*station.references, *(picture.picture for picture in station.normals)):
            with suppress(OSError):  # whoever needs it says that it is gone
                known[path_inside(self.live.folder, name).read_bytes()] = name
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
        decisions = self._judge(station, [path_inside(station.folder, name) for name in names])
        return read_scores(station, names, decisions)

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

    def _judge_archive(self, opened: OpenStation, candidate: OpenStation) -> tuple[list[_Row], int]:
        """The newest pictures of the archive as both stations judge them; and how many could not be read."""
        rows: list[_Row] = []
        unreadable = 0
        for inspection in self.live.archive.newest(self.pictures, with_picture=True):
            if inspection.id in self.contents or inspection.verdict is None:
                continue
            self._check_wanted()
            try:
                rows.append(self._judge_row(opened, candidate, inspection))
            except InputError:
                unreadable += 1  # its picture was deleted meanwhile, or changed on the disk
        return rows, unreadable

    def _judge_row(self, opened: OpenStation, candidate: OpenStation, inspection: Inspection) -> _Row:
        verdict = inspection.verdict
        if verdict is None or inspection.version != self.change.base:
            verdict = self._verdict(opened, self.live.archive.content(inspection.id))
        before = outcome_of(opened.station, verdict)
        old = verdict.score
        if self.change.target == "rules":
            checks = self._check_rules(candidate, self.live.archive.content(inspection.id), verdict)
            verdict = verdict.model_copy(update={"checks": checks, "anomalous": judged_anomalous(verdict)})
        elif candidate is not opened:
            verdict = self._verdict(candidate, self.live.archive.content(inspection.id))
        return _Row(inspection, before, verdict, old)

    def _check_rules(self, candidate: OpenStation, content: bytes, verdict: Verdict) -> tuple[Checked, ...]:
        """The candidate's rules on a kept picture; a question that was answered then is not put again."""
        if candidate.rules is None:
            return ()
        known = {checked.rule: checked for checked in verdict.checks}
        checks = candidate.rules.check(candidate.read(content).query)
        return tuple(known.get(each.rule, each) if each.kind == "question" else each for each in checks)

    def _verdict(self, station: OpenStation, content: bytes) -> Verdict:
        (decision,) = self._judge(station, [content])
        if isinstance(decision, Failure):
            raise InputError(decision.error)
        return decision.judged.verdict


def _fit_to_archive(station: Station, rows: Sequence[_Row]) -> Station:
    """The station with the limit that fits what was said of its archive; what nobody spoke of was judged rightly."""
    good = [row.verdict.score for row in rows if row.label == "good"]
    bad = [row.verdict.score for row in rows if row.label == "anomalous"]
    limit = fit_limit(good, bad, station.limit)
    if limit is None or limit == station.limit:
        return station
    unsure_from = None if station.unsure_from is None else min(limit, station.unsure_from)
    return station.model_copy(update={"limit": limit, "unsure_from": unsure_from})


def fit_limit(good: Sequence[float], bad: Sequence[float], limit: float | None) -> float | None:
    """The limit with the best balanced accuracy on these scores, moved no further than they ask for.

    Without a limit the judge's own boundary, 0.5, is where it stands. `limit` itself if one of the two is empty.
    """
    if not good or not bad:
        return limit
    current = JUDGE_LIMIT if limit is None else limit
    # A score above the limit is an anomaly: lowered, the limit is just below a score; raised, it is at one.
    moved = [math.nextafter(score, 0) if score <= current else score for score in (*good, *bad)]

    def value(candidate: float) -> tuple[float, float]:
        passed = sum(score <= candidate for score in good) / len(good)
        found = sum(score > candidate for score in bad) / len(bad)
        return round(passed + found, 9), -abs(candidate - current)

    best = max([current, *moved], key=value)
    return limit if best == current else best


def _describe(before: Station, after: Station, rows: Sequence[_Row], unreadable: int) -> dict[str, Any]:
    """What the preview says."""
    pairs = [(row.before, outcome_of(after, row.verdict)) for row in rows]
    changes = []
    for row, (old, new) in zip(rows, pairs, strict=True):
        if old != new:
            named = {"id": row.inspection.id, "part": row.inspection.part}
            scores = [round(row.score, 6), round(row.verdict.score, 6)]
            changes.append({**named, "before": old, "after": new, "scores": scores, "truth": row.inspection.truth})

    def count(outcome: str, truth: str | None = None) -> list[int]:
        """Parts with this outcome, before and after; with `truth`, of those that a person said it of."""
        counted = [pair for pair, row in zip(pairs, rows, strict=True) if truth in (None, row.inspection.truth)]
        return [sum(pair[when] == outcome for pair in counted) for when in (0, 1)]

    return {
        "judged": len(rows),
        "unreadable": unreadable,
        "zones": [len(before.zones), len(after.zones)],
        "limit": [before.limit, after.limit],
        "unsure_from": [before.unsure_from, after.unsure_from],
        "anomalous": count("anomalous"),
        "known_false_alarms": count("anomalous", "good"),
        "known_misses": count("good", "anomalous"),
        "changes": changes,
    }


def _edited_rules(before: Station, after: Station, first: Picture) -> list[list[str]]:
    """The words of each rule that differs, before and after; those that stay are left out."""
    old, new = (() if station.rules is None else station.rules.checks for station in (before, after))

    def words(check: Check | None) -> str:
        return "no rule" if check is None else f"{describe_check(check, first)}{' (off)' if check.off else ''}"

    return [[words(one), words(other)] for one, other in zip_longest(old, new) if one != other]


def _prefix(change: int) -> str:
    return f"accepted-{change}-"


def _in_state(live: LiveStation, number: int, *states: str) -> Change:
    change = live.archive.change(number)
    if change.state not in states:
        raise StateError(f"{live.name}: change {number} is {change.state}, not {' or '.join(states)}")
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
