"""Makes a station from pictures: copies them, scores the normal ones, sets the limits.

station = create_station("bottle", references, normals, max_false_alarms=0.02)
station = calibrate("bottle")                    # the same pictures, scored again by the judge as it is now
set_limits(station)                              # the limits from the scores that it has; nothing is judged
"""

from __future__ import annotations

import glob
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.opening import check_file, open_picture
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.files.whole import describe_write_error, lock, own_folder, write_whole
from lad_reasoner.judge import Judge
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Failure
from lad_reasoner.service.conformal import conformal_limit
from lad_reasoner.service.folds import score_normals
from lad_reasoner.service.inspection import Decision, OpenStation, load_station_judge
from lad_reasoner.service.rule_sheet import RuleSheet
from lad_reasoner.service.rule_writing import write_rules
from lad_reasoner.service.rules import RuleChecker
from lad_reasoner.service.station import FILE, ScoredPicture, Station, path_inside, station_folder, station_name
from lad_reasoner.service.zones import WHITE, read_svg
from lad_reasoner.text import first_problem, listed, printable
from lad_reasoner.version import __version__

REFERENCES, NORMALS, BAD, ZONES = "references", "normals", "bad", "zones"
HALF = ".part"  # ends the name of the folder of a station that is not whole yet
NEARLY_BLACK, MOST_BETWEEN = 32, 0.25  # a mask has soft edges at most: so few of its pixels are neither black nor white


def create_station(
    out: str | Path,
    references: Sequence[Path],
    normals: Sequence[Path] = (),
    bad: Sequence[Path] = (),
    *,
    name: str = "",
    judge: str = "evidence",
    evidence: bool = False,
    options: Mapping[str, Any] | None = None,
    max_false_alarms: float | None = None,
    max_unsure: float | None = None,
    folds: int | None = None,
    track: Track = silent,
) -> Station:
    """Make a station in the new folder `out`, which appears when it is complete.

    `normals` are good pictures that are not references; without them the judge's own limit stands and nothing is
    promised. With `folds` they are compared with as well, see folds.py. `options` are those of the judge's loader.
    InputError if the folder exists, a picture cannot be used or is given twice, or the normals are too few for the
    promise.
    """
    out = Path(out)
    require("tomli_w", "serve", "tomli-w")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{printable(out)}: exists already; give another -o")
    _refuse_twice(references, normals, bad)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    max_pixels = given.pop("max_pixels", None)
    try:
        station = Station(
            name=name or station_name(out),
            version=__version__,
            made=datetime.now(UTC).replace(microsecond=0),
            judge=judge,
            evidence=evidence,
            options=given,
            prompt_version="",
            max_pixels=None if max_pixels is None else int(max_pixels),
            references=_names(REFERENCES, references),
            normals=_unscored(NORMALS, normals),
            bad=_unscored(BAD, bad),
            max_false_alarms=max_false_alarms,
            max_unsure=max_unsure,
            folds=folds,
        )
    except ValidationError as error:
        raise InputError(f"{printable(out)}: {first_problem(error)}") from None
    set_limits(station)  # refuses too few normals before anything is judged
    loaded = load_station_judge(station)
    if show_progress := getattr(loaded, "show_progress", None):
        show_progress(track)
    return _write_station(station, out, loaded, (references, normals, bad), track)


def _write_station(
    station: Station, out: Path, judge: Judge, pictures: tuple[Sequence[Path], ...], track: Track
) -> Station:
    """Score its pictures (references, normals, bad) and write it; nothing of it stays where that fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_halves(out)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=HALF, dir=out.parent))
    except OSError as error:
        raise InputError(f"-o {describe_write_error(error, out.parent)}") from None
    try:
        with own_folder(partial, "-o"):
            partial.chmod(0o755)
            for folder, paths in zip((REFERENCES, NORMALS, BAD), pictures, strict=True):
                _copy(paths, partial, folder)
            station = _score(station, partial, judge, track)
            station.save(partial)
        # Not under the lock: some systems do not rename a folder with an open file.
        partial.replace(out)
    except InputError as error:
        raise InputError(_by_given_names(str(error), partial, pictures)) from None
    except OSError:
        if not out.exists():
            raise
        raise InputError(f"{printable(out)}: exists already; give another -o") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return station


def _remove_halves(out: Path) -> None:
    """Remove what kills left: halves that nobody holds. A whole one, which has its file, is about to be renamed."""
    for half in out.parent.glob(f".{glob.escape(out.name)}.*{HALF}"):
        if not (half / FILE).exists():
            with suppress(InputError), lock(half, "-o"):
                shutil.rmtree(half, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[Station]:
    """The station, which no other process changes meanwhile."""
    Station.load(folder)  # a folder without a station gets no lock file
    with lock(folder, "station"):
        yield Station.load(folder)


def calibrate(
    folder: str | Path,
    *,
    max_false_alarms: float | None = None,
    max_unsure: float | None = None,
    folds: int | None = None,
    options: Mapping[str, Any] | None = None,
    track: Track = silent,
) -> Station:
    """Score the station's own pictures again, and set the limits anew; a rate that is given replaces its promise.

    So do `folds` (0 for none) and `options` of the judge, the pixel budget among them. Raises what
    `create_station` raises.
    """
    folder = station_folder(folder)
    rates = {"max_false_alarms": max_false_alarms, "max_unsure": max_unsure}
    with _held(folder) as station:
        station = station.model_copy(update={name: rate for name, rate in rates.items() if rate is not None})
        given = dict(options or {})
        pixels = given.pop("max_pixels", station.max_pixels)
        station = station.model_copy(update={"max_pixels": pixels, "options": {**station.options, **given}})
        if folds is not None:
            station = station.revised(printable(folder / FILE), folds=folds or None)
        try:
            set_limits(station)  # first: scoring takes a while
        except InputError as error:
            raise InputError(
                f"{error}: accept good parts into the calibration on the station's page, or make the station anew "
                "with `lad-reasoner station create --normal`"
            ) from None
        station = _score(station, folder, load_station_judge(station), track)
        station.save(folder)
    return station


def set_zones(
    folder: str | Path,
    *,
    svg: Path | None = None,
    mask: Path | None = None,
    kind: str = "ignore",
    name: str = "",
    clear: bool = False,
    mm_per_pixel: float | None = None,
    fixed_camera: bool | None = None,
    options: Mapping[str, Any] | None = None,
    track: Track = silent,
) -> Station:
    """Add the zones of an SVG, or of a mask (a copy is kept), and set the limits anew; `clear` removes those there are.

    `options` are as in `OpenStation`. InputError for a file that cannot be used; the station then stays as it was.
    """
    folder = station_folder(folder)
    with _held(folder) as station:
        zones = [] if clear else [zone.model_dump() for zone in station.zones]
        if svg is not None:
            drawn = read_svg(svg, read_picture(path_inside(folder, station.references[0])))
            zones += [zone.model_dump() for zone in drawn]
        if mask is not None:
            zones.append({"kind": kind, "name": name, "mask": _copy_mask(mask, folder)})
        values: dict[str, Any] = {"zones": zones}
        if mm_per_pixel is not None:
            values["mm_per_pixel"] = mm_per_pixel
        if fixed_camera is not None:
            values["fixed_camera"] = fixed_camera
        station = station.revised(printable(folder / FILE), **values)
        station = _score(station, folder, load_station_judge(station, options), track)
        station.save(folder)
    return station


def make_rules(
    folder: str | Path,
    *,
    model: str = "",
    server: str = "",
    broken: Literal["note", "unsure", "anomalous"] | None = None,
    clear: bool = False,
    track: Track = silent,
) -> tuple[Station, tuple[tuple[int, int], ...]]:
    """Write the rules of a station from its references and normal pictures, in place of those that it has.

    Returns the station, and of each of its rules on how many of all good pictures it holds, and was checked:
    a rule that breaks on more of the normal ones than the promised share of false alarms (5 % without one) is left
    out. With `broken` alone, or `clear`, nothing is written anew. Raises what `write_rules` raises.
    """
    folder = station_folder(folder)
    with _held(folder) as station:
        if clear or (broken is not None and station.rules is not None):
            rules = None if clear or station.rules is None else station.rules.model_copy(update={"broken": broken})
            station = station.model_copy(update={"rules": rules})
            station.save(folder)
            return station, ()
        opened = OpenStation(folder, load_station_judge(station), station.model_copy(update={"rules": None}))
        sheet, held = tested_rules(opened, model=model, server=server, track=track)
        if broken is not None:
            sheet = sheet.model_copy(update={"broken": broken})
        station = station.model_copy(update={"rules": sheet})
        station.save(folder)
    return station, held


def tested_rules(
    opened: OpenStation, *, model: str = "", server: str = "", track: Track = silent
) -> tuple[RuleSheet, tuple[tuple[int, int], ...]]:
    """Rules from the good pictures of a station, as `make_rules` returns them; the station stays as it is."""
    station = opened.station
    # As the judge sees them: what the zones leave out is painted over.
    good = list(opened.painted_references[: len(station.references)])
    good += [opened.read(path_inside(opened.folder, normal.picture)).query for normal in station.normals]
    sheet = write_rules(good, good[0], model=model, server=server, track=track)
    return _keep_tested(sheet, good, len(station.references), station.max_false_alarms or 0.05, track)


def _keep_tested(
    sheet: RuleSheet, good: Sequence[Picture], references: int, rate: float, track: Track
) -> tuple[RuleSheet, tuple[tuple[int, int], ...]]:
    """The rules that hold on the good pictures; what only a model answers was tried when it was written."""
    checker = RuleChecker(sheet, good[0], ask=False)
    results = [checker.check(picture) for picture in track(good, len(good), "Trying the rules")]
    kept, held = [], []
    for check, column in zip(sheet.checks, zip(*results, strict=True), strict=True):
        broken = [checked.holds is False for checked in column]
        normals = max(1, len(good) - references)
        if any(broken[:references]) or sum(broken[references:]) > rate * normals:
            continue
        kept.append(check)
        checked = sum(each.holds is not None for each in column)
        held.append((checked - sum(broken), checked))
    return sheet.model_copy(update={"checks": tuple(kept)}), tuple(held)


def _copy_mask(mask: Path, folder: Path) -> str:
    """Its name in the station's folder."""
    with open_picture(mask) as image:
        values = np.asarray(image.convert("L"))
    low, high = int(values.min()), int(values.max())
    if not low <= WHITE < high:
        held = "one value" if low == high else f"values from {low} to {high}"
        raise InputError(f"{printable(mask)}: has {held} only; paint the zone white and the rest black")
    between = float(((values > NEARLY_BLACK) & (values < 255 - NEARLY_BLACK)).mean())
    if between > MOST_BETWEEN:
        raise InputError(
            f"{printable(mask)}: {between:.0%} of it is neither black nor white, as in a photograph; "
            "paint the zone white and the rest black"
        )
    content = mask.read_bytes()
    name = f"{ZONES}/{hashlib.sha256(content).hexdigest()[:16]}{mask.suffix.lower()}"
    (folder / ZONES).mkdir(exist_ok=True)
    write_whole(folder / name, content)
    return name


def set_limits(station: Station) -> Station:
    """The station with the limits that its normals and its promises make; without promises it stays as it is.

    InputError if the normals are too few.
    """
    if station.max_false_alarms is None:
        return station
    scores = station.normal_scores
    limit = conformal_limit(scores, station.max_false_alarms)
    unsure_from = None
    if station.max_unsure is not None:
        # The unsure part of the good ones lies below the limit, on top of the false alarms.
        unsure_from = min(limit, conformal_limit(scores, min(0.999, station.max_false_alarms + station.max_unsure)))
    return station.model_copy(update={"limit": limit, "unsure_from": unsure_from})


def read_scores(
    station: OpenStation, names: Sequence[str], decisions: Iterable[Decision | Failure]
) -> tuple[ScoredPicture, ...]:
    """Pictures of the station's folder with the scores of its decisions; InputError names all that were not judged."""
    scored, problems = [], []
    for name, decision in zip(names, decisions, strict=True):
        if isinstance(decision, Failure):
            problems.append(decision.error)
            continue
        if decision.outcome == "invalid" or decision.judged.judgement.score is None:
            raise InputError(f"{printable(name)}: {station.judge.name} gives no score; a limit needs scores")
        scored.append(ScoredPicture(picture=name, score=decision.verdict.score))
    if len(problems) > 1:
        raise InputError(f"{len(problems)} of {len(names)} pictures cannot be used: {listed(problems, separator='; ')}")
    if problems:
        raise InputError(problems[0])
    return tuple(scored)


def _score(station: Station, folder: Path, judge: Judge, track: Track) -> Station:
    """The station as this judge scores its pictures, with its limits."""
    station = station.model_copy(
        update={
            "prompt_version": judge.prompt_version,
            "version": __version__,
            "scored_zones": station.zone_digest,
            "made": datetime.now(UTC).replace(microsecond=0),
        }
    )

    def score(judged_by: OpenStation, names: Sequence[str]) -> tuple[ScoredPicture, ...]:
        decisions = judged_by.inspect([path_inside(folder, name) for name in names])
        return read_scores(judged_by, names, track(decisions, len(names), "Scoring"))

    opened = OpenStation(folder, judge, station)
    normals = score_normals(opened, score)
    bad = score(opened, [picture.picture for picture in station.bad])
    opened.save_studied()
    return set_limits(station.model_copy(update={"normals": normals, "bad": bad}))


def _names(folder: str, paths: Sequence[Path]) -> tuple[str, ...]:
    """Numbered, since names of strangers may clash or be hostile: `references/0001.png`."""
    return tuple(f"{folder}/{number:04}{path.suffix.lower()}" for number, path in enumerate(paths, 1))


def _unscored(folder: str, paths: Sequence[Path]) -> tuple[ScoredPicture, ...]:
    return tuple(ScoredPicture(picture=name, score=0.0) for name in _names(folder, paths))


def _copy(paths: Sequence[Path], station: Path, folder: str) -> None:
    (station / folder).mkdir()
    for path, name in zip(paths, _names(folder, paths), strict=True):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}") from None
        write_whole(station / name, content)


def _by_given_names(message: str, station: Path, groups: Sequence[Sequence[Path]]) -> str:
    """The message with the user's names in place of those of the copies."""
    for folder, paths in zip((REFERENCES, NORMALS, BAD), groups, strict=True):
        for path, name in zip(paths, _names(folder, paths), strict=True):
            message = message.replace(str(station / name), printable(path))
    return message


def _refuse_twice(*groups: Sequence[Path]) -> None:
    """A normal picture that is a reference, or is there twice, would make the promise false."""
    first: dict[str, Path] = {}
    for path in (path for group in groups for path in group):
        check_file(path, printable(path))
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}") from None
        if digest in first:
            same = "given twice" if first[digest] == path else f"the same picture as {printable(first[digest])}"
            raise InputError(
                f"{printable(path)}: {same}; give each picture once, as a reference, as a normal one or as a bad one"
            )
        first[digest] = path
