"""A station in words: what it is made of, what its limit promises, and a histogram of the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.records import Outcome
from lad_reasoner.service.conformal import balanced_rate, conformal_limit, expected_misses, false_alarm_interval
from lad_reasoner.service.inspection import unkept_promise
from lad_reasoner.service.rules import describe_check
from lad_reasoner.service.station import JUDGE_LIMIT, Station, path_inside, station_folder
from lad_reasoner.service.upkeep import Drift, Rescored, Stood
from lad_reasoner.text import counted, listed

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BINS, BAR = 20, 40  # of the histogram: rows, and characters of the longest bar


def describe_station(station: Station) -> list[str]:
    """Lines for a terminal or a log."""
    references = counted(len(station.references), "reference")
    counts = f"{references}, {len(station.normals)} normal and {len(station.bad)} bad pictures"
    lines = [
        f"{station.name}: {station.judge} ({station.prompt_version}), {counts}",
        f"made {station.made:%Y-%m-%d %H:%M} with version {station.version}",
    ]
    if station.folds is not None:
        lines.append(f"the normals are references as well; each was scored without its fold, one of {station.folds}")
    if station.zones:
        lines += describe_zones(station)
    if station.rules is not None and station.rules.checks:
        lines.append(f"{counted(len(station.rules.active), 'rule')}; `lad-reasoner station rules --show` lists them")
    if station.limit is None:
        return [*lines, "no limit of its own: the judge's answer stands, and no rate of false alarms is promised"]
    unkept = unkept_promise(station)
    if unkept:
        lines.append(f"note: {unkept}, or make them anew with `lad-reasoner station calibrate`")
    lines.append(f"anomalous above {station.limit:.4f}{_promise(station)}")
    if station.unsure_from is not None:
        promised = (
            "" if station.max_unsure is None or unkept else f": at most {_percent(station.max_unsure)} of good parts"
        )
        lines.append(f"unsure above {station.unsure_from:.4f}{promised}")
    if station.bad:
        lines += _misses(station)
    return [*lines, *_doubts(station), *histogram(station)]


def _doubts(station: Station) -> list[str]:
    """Said where most normal pictures are anomalous to the judge: a limit above them calls nearly everything good."""
    scores = station.normal_scores
    above = sum(score >= JUDGE_LIMIT for score in scores)
    if above <= len(scores) / 2:
        return []
    return [
        f"note: {above} of {len(scores)} normal pictures are anomalous by the judge's own limit of {JUDGE_LIMIT}: "
        "check that they show the same product as the references; more references may help"
    ]


def _promise(station: Station) -> str:
    if station.max_false_alarms is None or unkept_promise(station):
        return ": set by hand, no rate of false alarms is promised"
    if station.folds is not None:
        return (
            f": made for at most {_percent(station.max_false_alarms)} of good parts; with folds no theorem says so: "
            "count with `lad-reasoner station check --recent`"
        )
    interval = false_alarm_interval(len(station.normals), station.max_false_alarms)
    return (
        f": at most {_percent(station.max_false_alarms)} of good parts; "
        f"with these normals the true rate is {interval.percent()} % {interval.percent_interval()}"
    )


def _misses(station: Station) -> list[str]:
    scores = [picture.score for picture in station.bad]
    assert station.limit is not None
    passing = station.limit if station.unsure_from is None else station.unsure_from
    missed = expected_misses(scores, passing)
    lines = [f"missed: {missed.percent()} % of bad parts {missed.percent_interval()} pass as good"]
    if passing != station.limit:
        aside = sum(passing < score <= station.limit for score in scores)
        lines.append(f"{aside} of {len(scores)} bad pictures are unsure")
    return [*lines, *_advice(station, scores)]


def _advice(station: Station, bad: Sequence[float]) -> list[str]:
    """What another promise would find and cost, if it errs less on good and bad parts together."""
    if station.max_false_alarms is None or station.limit is None:
        return []
    normals = station.normal_scores
    rate = math.ceil(1000 * balanced_rate(normals, bad)) / 1000  # rounded up, so that it can be promised
    other_limit = conformal_limit(normals, rate)
    found = sum(score > station.limit for score in bad)
    would_find = sum(score > other_limit for score in bad)
    if rate <= station.max_false_alarms or would_find <= found:
        return []
    return [
        f"--max-false-alarms {rate:g} would find {would_find} of the {len(bad)} bad pictures instead of {found}, "
        "and errs least on good and bad parts together; chosen by these very pictures, its real rate may lie higher"
    ]


def describe_zones(station: Station) -> list[str]:
    """A line for each zone."""
    lines = []
    for zone in station.zones:
        shape = f"mask {zone.mask}" if zone.mask else f"{len(zone.points)} corners"
        tolerance = "" if zone.max_shift_mm is None else f", at most {zone.max_shift_mm:g} mm off"
        lines.append(f"{zone.kind} {zone.name or '(no name)'}: {shape}{tolerance}")
    scale = "no scale in mm" if station.mm_per_pixel is None else f"{station.mm_per_pixel:g} mm a pixel"
    moving = "in their places" if station.fixed_camera else "moved with the part"
    return [*lines, f"{counted(len(lines), 'zone')}, {moving}; {scale}"]


def describe_rules(station: Station, folder: Path, held: Sequence[tuple[int, int]] = ()) -> list[str]:
    """A line for each rule; `held` tells of each new one on how many good pictures it holds."""
    if station.rules is None or not station.rules.checks:
        return ["no rules"]
    first = read_picture(path_inside(station_folder(folder), station.references[0]))
    lines = []
    for number, check in enumerate(station.rules.checks, 1):
        good, checked = held[number - 1] if held else (0, 0)
        holds = f": holds on {good} of {checked} good pictures" if checked else ""
        off = " (off)" if check.off else ""
        lines.append(f"{number}. {describe_check(check, first)}{holds}{off}")
    means = {
        "note": "is said and changes no outcome",
        "unsure": "makes a good part unsure",
        "anomalous": "makes any part anomalous",
    }[station.rules.broken]
    asked = f"; questions go to {station.rules.model}" if station.rules.model else ""
    rules = counted(len(lines), "rule")
    return [*lines, f"{rules}{asked}; a broken rule {means}; what the limits promise does not count rules"]


def describe_rescored(rescored: Rescored) -> str:
    """One line."""
    pictures = counted(rescored.pictures, "picture")
    line = f"{pictures} scored again: the largest change of a score is {rescored.largest:.4f}"
    if rescored.changed:
        line += f"; CHANGED: {listed(rescored.changed)}; make the limit anew with `lad-reasoner station calibrate`"
    return line


def describe_audit(broken: int | None, lines: int) -> str:
    """One line."""
    if broken is None:
        return f"audit log: {counted(lines, 'line')}, each follows from the one before it"
    return f"audit log: CHANGED: line {broken} does not follow from the one before it; compare it with a backup"


def describe_drift(drift: Drift, station: Station) -> str:
    """One line."""
    promised = "" if station.max_false_alarms is None else f", promised at most {_percent(station.max_false_alarms)}"
    own = f"; {drift.own} of them made the station, which hides a drift: leave them out" if drift.own else ""
    return (
        f"drift: {'FOUND' if drift.found else 'none found'} in {drift.pictures} recent pictures "
        f"(Kolmogorov-Smirnov {drift.statistic:.2f}, p = {drift.p:.2g}); "
        f"false alarms {drift.alarms.percent()} % {drift.alarms.percent_interval()}{promised}{own}"
    )


def describe_robustness(report: Sequence[Stood]) -> list[str]:
    """A line for each change."""
    lines = ["good pictures after a change that does no harm:"]
    for stood in report:
        numbers = {outcome: stood.outcomes.count(outcome) for outcome in OUTCOMES[1:] if outcome in stood.outcomes}
        words = {"invalid": "not judged"}
        others = ", ".join(f"{number} {words.get(outcome, outcome)}" for outcome, number in numbers.items())
        counted = f"{stood.good} of {len(stood.outcomes)} good"
        lines.append(f"  {stood.change:<12} {counted}{', ' if others else ''}{others}; mean score {stood.score:.3f}")
    return lines


def histogram(station: Station) -> list[str]:
    """How many normal (#) and bad (x) pictures have which score, and where the limits lie; empty without pictures."""
    normals, bad = [0] * BINS, [0] * BINS
    for counts, pictures in ((normals, station.normals), (bad, station.bad)):
        for picture in pictures:
            counts[_row(picture.score)] += 1
    most = max(map(sum, zip(normals, bad, strict=True)))
    if not most:
        return []
    scale = min(1.0, BAR / most)
    limits = {"limit": station.limit, "unsure": station.unsure_from}
    lines = ["scores of normal (#) and bad (x) pictures:"]
    for row in range(BINS):
        bar = "#" * _length(normals[row], scale) + "x" * _length(bad[row], scale)
        marks = [
            name for name, value in limits.items() if value is not None and min(BINS - 1, int(value * BINS)) == row
        ]
        mark = f"  < {' '.join(marks)}" if marks else ""
        lines.append(f"{row / BINS:.2f} {bar}{mark}")
    return lines


def _row(score: float) -> int:
    return min(BINS - 1, int(score * BINS))


def _length(count: int, scale: float) -> int:
    return max(1, round(count * scale)) if count else 0


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
