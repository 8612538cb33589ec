"""The verb `watch`: pictures of a folder, inspected as they come. Heavy imports stay inside the verb, see app.py."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lad_reasoner.cli.options import (
    EXIT_INPUT,
    KEEP_GOOD,
    KEEP_REJECTED,
    KEEP_REVIEWED,
    Device,
    FlagsError,
    MaxPixels,
    ReasoningTokens,
    given_options,
)
from lad_reasoner.text import counted
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.service.parts import PartResult


def watch_verb(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that the camera writes to.")],
    station: Annotated[Path, typer.Option(metavar="STATION", help="Folder of the station.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SINK",
            help="Where results go; repeatable: a folder (good/, bad/, unsure/, invalid/), FILE.jsonl, https://, "
            "mqtt://, modbus:// or opc.tcp://.",
        ),
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Move pictures to the folder of --to, not copies.")] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SINK", help="Drop the results that wait for a sink that is no longer given with --to; repeatable."
        ),
    ] = None,
    poll: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Look through DIR every so many seconds: for network shares, which send no events.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Inspect what is there now, deliver it, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One result a line, as JSON.")] = False,
    keep_good: Annotated[float | None, KEEP_GOOD] = None,
    keep_rejected: Annotated[float | None, KEEP_REJECTED] = None,
    keep_reviewed: Annotated[float | None, KEEP_REVIEWED] = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Inspect each new picture of a folder; hand the results on.

    Runs until it is stopped. Results that could not be delivered are kept and sent at the next start. The station's
    history has every part and its picture.
    """
    from lad_reasoner.files.whole import lock
    from lad_reasoner.service.archived import Retention
    from lad_reasoner.service.current import CurrentStation
    from lad_reasoner.service.journal import Journal, journal_errors
    from lad_reasoner.service.sinks import open_sink
    from lad_reasoner.service.sinks.files import SortedFolders
    from lad_reasoner.service.sinks.history import HISTORY, StationHistory
    from lad_reasoner.service.station import path_inside, station_folder
    from lad_reasoner.service.watcher import LAST_DELIVERIES, FolderWatcher, check_folders, journal_path

    addresses = list(dict.fromkeys(to or []))
    sinks = [open_sink(address, move=move) for address in addresses]
    if move and not any(isinstance(sink, SortedFolders) for sink in sinks):
        raise FlagsError("--move needs a folder: give it with --to")
    for address in forget or []:
        if address in (HISTORY, *addresses):
            raise FlagsError(f"--forget {address}: its results are still wanted; leave out its --to first")
    station = station_folder(station)
    check_folders(folder, station, sinks)
    options = given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens)
    current = CurrentStation(station, options=options)
    for note in current.opened.notes():
        print(f"note: {note}", file=sys.stderr)
    path = journal_path(station, folder)
    for place in (path.parent, path):
        path_inside(station, place.relative_to(station).as_posix())
    path.parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(journal_errors(path))
        stack.enter_context(lock(path, "DIR"))
        journal = stack.enter_context(Journal(path, folder.resolve()))
        journal.prune()
        history = StationHistory(station, current.name, Retention(keep_good, keep_rejected, keep_reviewed))
        current.changed = partial(history.note_version, "file changed")
        watcher = stack.enter_context(
            FolderWatcher(
                folder, current.inspect, current.name, journal, [history, *sinks], version=lambda: history.version
            )
        )
        for address in forget or []:
            print(f"note: dropped {counted(journal.forget(address), 'result')} for {address}", file=sys.stderr)
        for address, number in journal.waiting().items():
            unused = f"; --to {address} sends them, --forget {address} drops them"
            note = "" if address in (HISTORY, *addresses) else unused
            print(
                f"note: {counted(number, 'result')} wait{'s' if number == 1 else ''} for {address}{note}",
                file=sys.stderr,
            )
        if once:
            results = watcher.inspect_all()
        else:
            results = watcher.watch(_stop_on_signals(), poll)
            print(f"watching {folder}", file=sys.stderr)
        counts = _print_results(results, as_json, watcher.folder)
        watcher.finish(None if once else LAST_DELIVERIES)
        waiting = {address: number for address, number in journal.waiting().items() if address in (HISTORY, *addresses)}
    print(", ".join(f"{number} {outcome}" for outcome, number in counts.items()) or "no new pictures", file=sys.stderr)
    for address, number in waiting.items():
        are, them = ("is", "it") if number == 1 else ("are", "them")
        print(f"{counted(number, 'result')} for {address} {are} kept: the next start sends {them}", file=sys.stderr)
    if once and (waiting or counts["invalid"]):
        raise typer.Exit(EXIT_INPUT)


def _stop_on_signals() -> threading.Event:
    """Set by SIGTERM, as service managers send it, and by Ctrl-C: the current picture is finished."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _print_results(results: Iterable[PartResult], as_json: bool, folder: Path) -> Counter[str]:
    """Print each result at once; returns how many there were of each outcome."""
    from lad_reasoner.text import shown

    counts: Counter[str] = Counter()
    printing, problem = True, ""
    for result in results:
        counts[result.outcome] += 1
        try:
            if printing:
                print(result.model_dump_json() if as_json else shown(_line(result, problem, folder)), flush=True)
        except OSError as error:  # the line goes on without its terminal
            printing = False
            print(f"stdout: {error.strerror}; results are no longer printed", file=sys.stderr)
        problem = result.error
    return counts


def _line(result: PartResult, problem: str, folder: Path) -> str:
    """`12:30:01  anomalous  p 0.010  0001.png  a hole in the middle`; `problem` is the error of the line before.

    An error loses the name of the picture in the watched folder, which stands before it.
    """
    from lad_reasoner.records import Failure

    verdict = result.verdict
    p_value = "       " if result.p_value is None else f"p {result.p_value:.3f}"
    reason = Failure(query=str(folder / result.picture), error=result.error).reason
    error = "as before" if result.error and result.error == problem else reason
    text = error or (verdict.headline if verdict and result.outcome != "good" else "")
    return f"{result.time.astimezone():%H:%M:%S}  {result.outcome:<9}  {p_value}  {result.picture}  {text}".rstrip()
