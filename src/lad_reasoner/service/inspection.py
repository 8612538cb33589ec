"""An opened station: judge and references in memory, and a decision for each picture.

    station = OpenStation("bottle")
    for decision in station.inspect(pictures):       # in order; a live source gets each decision at once
        decision.outcome, decision.p_value           # "unsure", 0.04

Several threads may share one. To judge pictures of several stations in one batch, give them one judge and run it
yourself: `run(judge, [(station, picture), …], lambda item: item[0].read(item[1]))`, then `station.decide(result)`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lad_reasoner.answers import Answer
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import hash_file
from lad_reasoner.inspector import Inspector
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.records import Box, Checked, Failure, Outcome, Verdict
from lad_reasoner.runner import Judged, judge_batch, run
from lad_reasoner.service.conformal import allowed_above, p_value
from lad_reasoner.service.rules import RuleChecker, broken_rules, name_broken
from lad_reasoner.service.second_look import SecondLook
from lad_reasoner.service.station import FILE, JUDGE_LIMIT, STUDIED, TESTS, Station, path_inside, station_folder
from lad_reasoner.service.zones import LEAST_VISIBLE, PlacedZones
from lad_reasoner.text import counted, listed, place_words, printable

MAP_CORE = 0.6  # of the map's maximum: from here on a cell belongs to a box that the judge did not give
MOST_BOXES = 3  # of those that are read from the map
OWN_LIMIT = "times the limit"  # how a judge tells a ratio to its own limit
OWN_RATIO = re.compile(rf"\d+(\.\d+)? {OWN_LIMIT}\.$")


@dataclass(frozen=True, eq=False)
class Decision:
    """What a station says about one picture.

    `verdict` is by the station's limit, and has outcome and p-value too. `p_value` is the share of good parts that
    score at least as high; None without normals or without a valid answer. `judged` has this verdict, the pictures,
    and the map in `judged.judgement.heat`.
    """

    verdict: Verdict
    outcome: Outcome
    p_value: float | None
    judged: Judged


def load_station_judge(station: Station, given: Mapping[str, Any] | None = None) -> Judge:
    """The judge of a station; options that are `given` go before those of its file.

    InputError for one that changes scores (each but the device), if the limit was made without it. Raises what
    `load_judge` raises, too.
    """
    options: dict[str, Any] = {**station.options, "max_pixels": station.max_pixels}
    for name, value in (given or {}).items():
        if name != "device" and station.limit is not None and options.get(name) != value:
            flag = f"--{name.replace('_', '-')} {value}"
            made_with = "without it" if options.get(name) is None else f"with {options[name]}"
            raise InputError(
                f"{flag}: the limit of {station.name} was made {made_with}; "
                f"make it anew with `lad-reasoner station calibrate STATION {flag}`"
            )
    return load_judge(station.judge, evidence=station.evidence, **{**options, **(given or {})})


class StaleLimitError(InputError):
    """The limit is not the one that was made with this judge, these zones and this promise: calibrate the station."""


def unkept_promise(station: Station) -> str:
    """Which limit breaks its promise, since it was moved by hand: more normals lie above it than the promise allows."""
    if station.max_false_alarms is None:
        return ""
    limits = {"limit": (station.limit, station.max_false_alarms)}
    if station.max_unsure is not None:
        limits["unsure_from"] = (station.unsure_from, min(0.999, station.max_false_alarms + station.max_unsure))
    scores = station.normal_scores
    for name, (limit, rate) in limits.items():
        above = 0 if limit is None else sum(score > limit for score in scores)
        if above > max(0, allowed_above(len(scores), rate)):
            return (
                f"{name}: {above} of {counted(len(scores), 'normal picture')} score above {limit:g}, too many for "
                "what is promised; delete max_false_alarms and max_unsure if the limits are yours"
            )
    return ""


class OpenStation:
    """A station with its judge and references in memory.

    `judge` is one that several stations share (see `load_station_judge`); by default the station loads its own, with
    `options` over those of its file.
    `station` is tried out in place of the file's content, such as with one more reference. Each picture of a locked
    station is a failure, unless one is tried out or `obey_lock` is false. InputError if the file or a reference cannot
    be used, or the judge cannot take so many; StaleLimitError if judge or zones are not those that the limit was made
    with.
    """

    def __init__(
        self,
        folder: str | Path,
        judge: Judge | None = None,
        station: Station | None = None,
        *,
        obey_lock: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.obey_lock = station_folder(folder), obey_lock and station is None
        self.station = Station.load(self.folder) if station is None else station
        self.judge = load_station_judge(self.station, options) if judge is None else judge
        if self.judge.prompt_version != self.station.prompt_version:
            raise StaleLimitError(
                f"{printable(self.folder / FILE)}: prompt_version: the limit was made with "
                f"{self.station.prompt_version}, and {self.judge.name} is {self.judge.prompt_version} now; "
                f"make it anew with `lad-reasoner station calibrate {shlex.quote(printable(self.folder))}`"
            )
        if self.station.normals and self.station.zone_digest != self.station.scored_zones:
            raise StaleLimitError(
                f"{printable(self.folder / FILE)}: zones: not those that the limit was made with; "
                f"make it anew with `lad-reasoner station calibrate {shlex.quote(printable(self.folder))}`"
            )
        if station is None and (unkept := unkept_promise(self.station)):
            raise StaleLimitError(
                f"{printable(self.folder / FILE)}: {unkept}, or "
                f"make them anew with `lad-reasoner station calibrate {shlex.quote(printable(self.folder))}`"
            )
        if gone := [name for name in self.station.references if not os.path.lexists(self.folder / name)]:
            raise InputError(
                f"{printable(self.folder / FILE)}: references: {listed(gone)}: no such file; put it back, or delete "
                f"its line and run `lad-reasoner station calibrate {shlex.quote(printable(self.folder))}`"
            )
        self.inspector = Inspector(self.judge, [path_inside(self.folder, name) for name in self.station.compared])
        self.zones = PlacedZones(self.station, self.folder, self.references) if self.station.zones else None
        self.rules: RuleChecker | None = None
        if self.station.rules is not None and self.station.rules.active:
            # A station that is only tried out puts no question to a model: each costs time or money.
            self.rules = RuleChecker(self.station.rules, self.painted_references[0], ask=station is None)
        self.second: SecondLook | None = None
        if self.station.second_look is not None and station is None:  # what is only tried out asks nobody else
            settings = self.station.second_look
            given: dict[str, Any] = dict(settings.options)
            self.second = SecondLook(load_judge(settings.model, **given), settings.within)
        check = getattr(self.judge, "check_references", None)
        if check:  # else each picture would fail for the same reason
            check(self.painted_references)
        # What is only tried out leaves the file of the station as it is.
        self._keep(self.folder / STUDIED if station is None else None)

    def save_studied(self) -> None:
        """Keep what the judge computed of the references on the disk, for a quick start."""
        self._keep(self.folder / STUDIED)

    def _keep(self, path: Path | None) -> None:
        # Only a judge that computes something of references has this.
        keep = getattr(self.judge, "keep", None)
        if keep:
            keep(self.painted_references, path)

    @property
    def painted_references(self) -> tuple[Picture, ...]:
        """The references as the judge sees them: what the zones leave out is painted over."""
        return self.references if self.zones is None else self.zones.references

    @property
    def references(self) -> tuple[Picture, ...]:
        """The references in memory."""
        return self.inspector.references

    @property
    def depth(self) -> int | None:
        """Bits of a value in files of more than 8, seen from the references; None if those have 8."""
        return self.inspector.depth

    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the verdicts should know."""
        second = self.second.notes(self.references) if self.second is not None else ()
        return (*self.inspector.notes(), *second)

    def count_own(self, files: Iterable[str | Path]) -> int:
        """How many of these files are references or normals of the station; one that cannot be read is none."""
        station = self.station
        names = [*station.references, *(normal.picture for normal in station.normals)]
        made_of = [path_inside(self.folder, name) for name in names]
        # Only files of the same size can be the same, and reading all of a benchmark takes long.
        sizes = {_size(file) for file in made_of} - {None}
        alike = [file for file in files if _size(file) in sizes]
        sizes = {_size(file) for file in alike}
        own = {_content_hash(file) for file in made_of if _size(file) in sizes} - {""}
        return sum(_content_hash(file) in own for file in alike)

    def inspect(self, pictures: Iterable[PictureSource | Failure]) -> Iterator[Decision | Failure]:
        """A decision for each picture, in order, each as soon as the judge has made it.

        A picture that cannot be read or judged becomes a `Failure`; a `Failure` among them is passed through.
        """
        for _, result in run(self.judge, pictures, self.read):
            yield self.decide(result)

    def run(self, pictures: Iterable[PictureSource | Failure]) -> Iterator[Judged | Failure]:
        """Like `inspect`, as `Inspector.run` gives its results."""
        for decision in self.inspect(pictures):
            yield decision.judged if isinstance(decision, Decision) else decision

    def read(self, picture: PictureSource | Failure) -> PicturePair:
        """The picture as the judge takes it. Raises InputError if it cannot be used, or the station is locked."""
        if reason := self.why_locked():
            raise InputError(reason)
        return self.prepare(self.inspector.read_pair(picture).query)

    def why_locked(self) -> str:
        """Why the station judges nothing now; empty if it may judge."""
        reason = why_locked(self.folder) if self.obey_lock else ""
        return f"{self.station.name}: {reason}" if reason else ""

    def prepare(self, query: Picture) -> PicturePair:
        """The pair of a picture in memory; what the zones leave out is painted over."""
        return PicturePair(self.painted_references, query if self.zones is None else self.zones.paint(query))

    def decide(self, result: Judged | Failure) -> Decision | Failure:
        """The station's decision on a judged picture; a `Failure` stays one, with the station's name.

        Zones to check are judged here; a picture that does not show one of them is a `Failure`.
        """
        if isinstance(result, Failure):
            return result.model_copy(update={"station": self.station.name})
        judgement, score, broken = result.judgement, result.verdict.score, ""
        if self.zones is not None and judgement.answer != "invalid":
            try:
                judgement, score, broken = self._check_zones(self.zones, judgement, score, result.pair.query)
            except InputError as error:
                return Failure(query=result.verdict.query, error=str(error), station=self.station.name)
        checks = self.rules.check(result.pair.query) if self.rules and judgement.answer != "invalid" else ()
        ruled = self.rule(judgement, score, result.pair.query, broken, checks)
        judgement = ruled.judgement
        verdict = result.verdict.model_copy(
            update={
                "score": score,
                "answer": judgement.answer,
                "anomalous": judgement.answer == "yes",
                "headline": judgement.headline,
                "reasoning": judgement.reasoning,
                "boxes": judgement.boxes,
                "station": self.station.name,
                "outcome": ruled.outcome,
                "p_value": ruled.p_value,
                "checks": checks,
            }
        )
        judged = Judged(verdict, result.pair, judgement)
        ruled_out = self.station.rules is not None and self.station.rules.broken != "note" and broken_rules(checks)
        if self.second is not None and not broken and not ruled_out:  # those are no question of the score
            judged = self.second.look(judged, limit=self.station.boundary, unsure_from=self.station.unsure_from)
        outcome = judged.verdict.outcome or ruled.outcome
        return Decision(judged.verdict, outcome, ruled.p_value, judged)

    def _check_zones(
        self, zones: PlacedZones, judgement: Judgement, score: float, query: Picture
    ) -> tuple[Judgement, float, str]:
        """The judgement, the score of the whole or of the worst zone, and the tolerance that a zone breaks."""
        broken = []
        for crop in zones.crops(query):
            name = crop.zone.name or "to check"
            if crop.visible < LEAST_VISIBLE:
                raise InputError(f"{query.name}: zone {name} is not in the picture; look at the camera and the part")
            (own,) = self.judge.judge([PicturePair(crop.references, crop.query)])
            if own.score is None or own.answer == "invalid":
                raise InputError(f"{query.name}: zone {name}: {self.judge.name} gives no score")
            if own.score > score:
                score = own.score
                judgement = replace(
                    judgement,
                    answer=own.answer,
                    score=own.score,
                    headline=f"Zone {name}: {own.headline}".strip(),
                    reasoning=f"Zone {name}: {own.reasoning}".strip(),
                    boxes=zones.boxes_in_query(crop, own.boxes, query),
                )
            if crop.zone.max_shift_mm is not None:
                shift = zones.shift_mm(crop)
                if shift > crop.zone.max_shift_mm:
                    broken.append(f"Zone {name} lies {shift:.2f} mm off, at most {crop.zone.max_shift_mm:g} mm.")
        return judgement, score, " ".join(broken)

    def rule(
        self,
        judgement: Judgement,
        score: float,
        query: Picture,
        broken: str = "",
        checks: Sequence[Checked] = (),
    ) -> Ruling:
        """The judgement by the station's limit and rules; where they decide otherwise than the judge, it says so.

        A `broken` tolerance is an anomaly whatever the score.
        """
        if judgement.answer == "invalid":
            return Ruling(judgement, "invalid", None)
        station = self.station
        if not judgement.boxes and judgement.heat is not None:
            judgement = replace(judgement, boxes=boxes_of_map(judgement.heat, query))
        anomalous = judgement.answer == "yes"
        by_score = "anomalous" if broken else _outcome(station, anomalous, score)
        p = p_value(station.normal_scores, score) if station.normals else None
        if broken or by_score != ("anomalous" if anomalous else "good"):
            # The judge's words were written for another limit, and do not know of tolerances.
            reason = broken or _reason(station, by_score, score, _place(judgement.boxes, query))
            reasoning = f"{judgement.reasoning} {reason}".strip()
            judgement = replace(judgement, headline=reason, reasoning=reasoning)
        if station.limit is not None:
            judgement = _by_station(judgement, station.limit, score)
        outcome = _outcome_by_rules(station, by_score, checks)
        if sentence := name_broken(checks):
            named = "; ".join(f"{checked.rule} ({checked.seen})" for checked in broken_rules(checks))
            moved = "" if outcome == by_score else f" By its score alone the part is {by_score}."
            reasoning = f"{judgement.reasoning} Broken rules: {named}.{moved}".strip()
            judgement = replace(judgement, headline=sentence, reasoning=reasoning)
        answer: Answer = "yes" if outcome == "anomalous" else "no"
        return Ruling(replace(judgement, answer=answer), outcome, p)


@dataclass(frozen=True, eq=False)
class Ruling:
    """A judgement by a station's limit."""

    judgement: Judgement
    outcome: Outcome
    p_value: float | None


class StationJudge:
    """A station as a judge, for all that takes one: the references of a pair are those of the station.

    A note says how many of a benchmark's `queries`, which are files, made the station: of all, since a run that judges
    a part of them may be resumed with more. InputError for a station that is locked.
    """

    def __init__(self, station: OpenStation, queries: Sequence[str | Path] = ()) -> None:
        if reason := station.why_locked():
            raise InputError(reason)
        self.station, judge = station, station.judge
        settings = station.station
        self.name = f"station {settings.name}"
        limits = [f"{limit:.6g}" for limit in (settings.limit, settings.unsure_from) if limit is not None]
        self.prompt_version = " ".join([judge.prompt_version, *limits])
        self.batch_size, self.parameters = judge.batch_size, judge.parameters
        self.address = getattr(judge, "address", "")
        self.limit = settings.boundary
        self.notes = (*station.notes(), f"judged by {judge.name} with the references and the limit of {settings.name}")
        if own := station.count_own(queries):
            self.notes += (
                f"{own} of the {len(queries)} queries of the benchmark are references or normal pictures of "
                f"{settings.name}, which do not tell how good it is: measure it on others",
            )

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """The judge's judgements, by the station's limit."""
        judgements = []
        for judged in judge_batch(self.station.judge, [self.station.prepare(pair.query) for pair in pairs]):
            decision = self.station.decide(judged)
            if isinstance(decision, Failure):
                raise InputError(decision.error)
            score = None if judged.judgement.score is None else decision.verdict.score
            judgements.append(replace(decision.judged.judgement, score=score))
        return judgements

    def receipt(self) -> str:
        """The receipt of the judge, see `HostedJudge.receipt`; empty if it has no service."""
        receipt = getattr(self.station.judge, "receipt", None)
        return receipt() if receipt else ""


def _size(path: str | Path) -> int | None:
    """None for a file that cannot be read."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _content_hash(path: str | Path) -> str:
    """Empty for a file that cannot be read: what opens it as a picture says so."""
    try:
        return hash_file(path)
    except OSError:
        return ""


def why_locked(folder: Path) -> str:
    """Why the station may not judge: its last challenge failed (see challenge.py). Empty if it may."""
    try:
        log = (folder / TESTS).read_bytes()
    except FileNotFoundError:
        return ""
    # The last whole line; one that was cut off by a crash does not count.
    lines = log[: log.rfind(b"\n") + 1].splitlines()
    try:
        last = load_json(lines[-1]) if lines else {"passed": True}
        passed, time, reason = last["passed"], last.get("time"), last.get("reason")
    except (ValueError, TypeError, KeyError):
        return f"locked, because {TESTS} cannot be read; run `lad-reasoner station test`"
    if passed is True:
        return ""
    return printable(f"locked since {time}: {reason}; run `lad-reasoner station test` with the master parts")


def outcome_of(station: Station, verdict: Verdict) -> Outcome:
    """By the station's limits and the rules that were checked; without limits the judge's answer stands."""
    return _outcome_by_rules(station, _outcome(station, judged_anomalous(verdict), verdict.score), verdict.checks)


def judged_anomalous(verdict: Verdict) -> bool:
    """The judge's own answer, whatever the rules made of it."""
    return verdict.score >= JUDGE_LIMIT if broken_rules(verdict.checks) else verdict.anomalous


def _outcome_by_rules(station: Station, outcome: Outcome, checks: Sequence[Checked]) -> Outcome:
    """What a broken rule makes of an outcome."""
    if station.rules is None or not broken_rules(checks):
        return outcome
    if station.rules.broken == "anomalous":
        return "anomalous"
    return "unsure" if station.rules.broken == "unsure" and outcome == "good" else outcome


def _outcome(station: Station, anomalous: bool, score: float) -> Outcome:
    if station.limit is None:
        return "anomalous" if anomalous else "good"
    if score > station.limit:
        return "anomalous"
    if station.unsure_from is not None and score > station.unsure_from:
        return "unsure"
    return "good"


def _place(boxes: Sequence[Box], query: Picture) -> str:
    """Where the strongest box is, as the end of a sentence."""
    if not boxes:
        return "."
    strongest = max(boxes, key=lambda box: box.strength)
    x, y = strongest.x + strongest.width / 2, strongest.y + strongest.height / 2
    return f", most at {place_words(x / query.width, y / query.height)}."


def _by_station(judgement: Judgement, limit: float, score: float) -> Judgement:
    """The judgement in words that do not call the judge's own limit the limit, which is another here."""
    headline = OWN_RATIO.sub(f"Score {score:.4f}, limit {limit:.4f}.", judgement.headline)
    reasoning = judgement.reasoning.replace(OWN_LIMIT, "times the judge's own limit")
    return replace(judgement, headline=headline, reasoning=reasoning)


def _reason(station: Station, outcome: Outcome, score: float, place: str) -> str:
    """Why the station's limit makes this outcome, in at most 15 words."""
    limit, lower = station.limit or 0.0, station.unsure_from or 0.0
    if outcome == "unsure":
        return f"Unsure: {score:.4f} lies between the limits of {lower:.4f} and {limit:.4f}{place}"
    if outcome == "anomalous":
        return f"Anomalous: {score:.4f} is above the station's limit of {limit:.4f}{place}"
    return f"Good: {score:.4f} is not above the station's limit of {limit:.4f}."


def boxes_of_map(heat: NDArray[np.float32], query: Picture) -> tuple[Box, ...]:
    """Boxes around the strongest cells of a map (rows, columns), strongest first, in pixels of the query."""
    top = float(heat.max())
    if top <= 0:
        return ()
    labels, _ = ndimage.label(heat >= MAP_CORE * top, structure=np.ones((3, 3)))
    x_step, y_step = query.width / heat.shape[1], query.height / heat.shape[0]
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        strength = float(heat[rows, columns][labels[rows, columns] == number].max())
        boxes.append(
            Box(
                x=int(columns.start * x_step),
                y=int(rows.start * y_step),
                width=max(1, round((columns.stop - columns.start) * x_step)),
                height=max(1, round((rows.stop - rows.start) * y_step)),
                strength=round(strength, 3),
            )
        )
    return tuple(sorted(boxes, key=lambda box: -box.strength)[:MOST_BOXES])
