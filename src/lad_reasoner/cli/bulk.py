"""`inspect --ray`: the queries judged by the workers of a Ray cluster."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lad_reasoner.cli.options import FlagsError, exit_by
from lad_reasoner.text import counted
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.bulk import BulkSettings, Inspecting


def inspect_on_cluster(
    queries: list[str],
    out: Path,
    *,
    address: str,
    workers: int | None,
    parquet: bool,
    station: Path | None,
    reference: list[str],
    model: str,
    options: dict[str, Any],
    evidence: bool,
    fail_on_anomaly: bool,
) -> None:
    """Judge the queries into the folder `out`, then say how many there are of each answer, as `inspect` does."""
    from lad_reasoner.bulk import ADDRESS, BulkRun
    from lad_reasoner.errors import MachineError, require
    from lad_reasoner.files.archives import find_queries
    from lad_reasoner.files.walk import describe_passed_over
    from lad_reasoner.report.terminal import track

    if not ADDRESS.fullmatch(address):
        raise FlagsError(f"--ray {address}: write --ray local, --ray auto or --ray HOST:PORT")
    if workers != 1:
        _tell_of_one_service(options, station)
    require("ray", "ray")
    found = find_queries(queries)
    opener, settings = (
        _station_opener(station, options) if station else _opener(reference, model, options, evidence=evidence)
    )
    bulk = BulkRun(out, found.queries, opener, settings, parquet=parquet)
    if passed_over := describe_passed_over(found.passed_over):
        print(f"note: {passed_over}", file=sys.stderr)
    if found.repeated:
        print(f"note: {counted(found.repeated, 'picture')} given more than once: judged once", file=sys.stderr)
    if bulk.done:
        print(f"{out}: resumed with {bulk.done} queries judged and {len(bulk.todo)} left", file=sys.stderr)
    # A GPU each where the judge is told to run on one; the cluster chooses which.
    gpus = 1.0 if str(options.get("device", "")).startswith("cuda") else 0.0
    lines = bulk.lines(address, workers=workers, gpus=gpus)
    told = 0  # notes that are printed
    try:
        # Ray prints to stdout when a worker dies; the note below says it in one line.
        with redirect_stdout(io.StringIO()):
            for number, _ in enumerate(track(lines, len(bulk.todo), "Inspecting", beside_results=False)):
                if number == 0:  # before, no worker has said them
                    told = _print_notes(bulk.settings.notes)
    except (MachineError, KeyboardInterrupt, SystemExit):  # SystemExit: SIGTERM
        print(f"{out}: all verdicts so far are kept; the same command resumes the run", file=sys.stderr)
        raise
    _print_notes(bulk.settings.notes[told:])  # what the judges learned later
    if bulk.repeated:
        print(f"note: workers died; {counted(bulk.repeated, 'unit')} judged again", file=sys.stderr)
    tally = bulk.tally
    print(tally)
    print(f"lines: {out}/part-*.{'parquet' if parquet else 'jsonl'}", file=sys.stderr)
    if tally.missing:
        failed = tally.answers["failed"]
        why = "; ".join([f"{failed} x error, see the lines"] * bool(failed) + tally.name_reasons())
        print(f"{tally.missing} of {tally.answers.total()} queries were not judged: {why}", file=sys.stderr)
    exit_by(tally, fail_on_anomaly=fail_on_anomaly)


def _tell_of_one_service(options: dict[str, Any], station: Path | None) -> None:
    """What several workers do with money and answers; FlagsError for what they cannot share."""
    of_judges = [options]
    if station is not None:
        from lad_reasoner.service.station import Station, station_folder

        loaded = Station.load(station_folder(station))
        of_judges = [loaded.options, *([loaded.second_look.options] if loaded.second_look else [])]
    for given in of_judges:
        if "server" not in given:  # they may mean anything to another judge
            continue
        if "cache" in given:
            raise FlagsError(
                f"cache={given['cache']}: one worker of --ray at a time can use it, and the next one stops the run; "
                "leave it out, which lets each keep its answers, or give --workers 1"
            )
        if "budget" in given:
            print(
                f"note: each worker keeps to the budget of {given['budget']} by itself: all of them may pay as many "
                "times that",
                file=sys.stderr,
            )


def _print_notes(notes: Sequence[str]) -> int:
    """Print the notes; returns how many there are."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return len(notes)


def _opener(
    reference: list[str], model: str, options: dict[str, Any], *, evidence: bool
) -> tuple[Callable[[], Inspecting], BulkSettings]:
    from lad_reasoner.bulk import BulkSettings, open_inspector, read_references
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.judges.hosted import NEUTRAL

    references = read_references(find_pictures(reference))
    neutral = NEUTRAL if "server" in options else frozenset()
    binding = {key: value for key, value in options.items() if key not in neutral}
    settings = BulkSettings(
        model=model,
        # A digest, since options may hold what is nobody's business.
        options=_digest(json.dumps([evidence, binding], sort_keys=True).encode()),
        references=tuple(_digest(content) for _, content in references),
    )
    return partial(open_inspector, model, options, references, evidence=evidence), settings


def _station_opener(station: Path, options: dict[str, Any]) -> tuple[Callable[[], Inspecting], BulkSettings]:
    from lad_reasoner.bulk import BulkSettings
    from lad_reasoner.service.inspection import OpenStation
    from lad_reasoner.service.station import FILE, Station, station_folder

    folder = station_folder(station)
    opened = Station.load(folder)
    settings = BulkSettings(
        model=f"station {opened.name}",
        station=opened.name,
        options=_digest(
            (folder / FILE).read_bytes() + (json.dumps(options, sort_keys=True).encode() if options else b"")
        ),
        references=tuple(_digest((folder / name).read_bytes()) for name in opened.references),
    )
    return partial(OpenStation, folder.resolve(), options=options), settings


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
