"""Watches a folder: each new picture is inspected once, recorded, and handed to the sinks.

    with FolderWatcher("incoming", station.inspect, "bottle", journal, sinks) as watcher:
        for result in watcher.watch(stop): ...

A picture is whole when its file has not changed for `SETTLE` seconds and can be read; what cannot be read counts as
half written until it has not changed for `PATIENCE` seconds. Events of the file system are hints: the folder is also
listed every `LISTED` seconds, so that no picture is missed where events are lost, as on network shares.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lad_reasoner.errors import ImageError, InputError, MachineError, require
from lad_reasoner.files.opening import MAX_BYTES, PictureSource
from lad_reasoner.files.pictures import named, read_picture
from lad_reasoner.files.walk import SUFFIXES, is_folder, is_hidden, list_files, natural_path
from lad_reasoner.records import Failure
from lad_reasoner.service.delivery import Delivery
from lad_reasoner.service.inspection import Decision
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks import Sink
from lad_reasoner.service.sinks.files import SortedFolders
from lad_reasoner.service.sinks.history import HISTORY
from lad_reasoner.service.sinks.sink import LineState
from lad_reasoner.text import printable

logger = logging.getLogger(__name__)

SETTLE = 0.25  # seconds without a change, after which a picture is read
PATIENCE = 5.0  # seconds without a change, after which an unreadable picture is invalid
LISTED = 10.0  # seconds between two listings of the folder
TICK_MS = 50  # how often waiting files are looked at
PAUSE = 2.0  # seconds before the judge, the journal or a folder that failed is tried again
PRUNED = 86400.0  # seconds between two prunings of the journal
LAST_DELIVERIES = 5.0  # seconds for the sinks after a signal

Inspect = Callable[[Iterable[PictureSource]], Iterator[Decision | Failure]]


@dataclass
class _Waiting:
    """A file that is not inspected yet, and since when it has not changed (monotonic seconds)."""

    file: PictureFile
    since: float
    unreadable: bool = False


class FolderWatcher:
    """Inspects the pictures of one folder, with the folders in it, as they come; a context manager.

    `inspect` is a station's, `station` its name, `version` gives the number of its settings. A failure of the judge, of
    the journal or of the folder is logged once and tried again; the pictures wait.
    """

    def __init__(
        self,
        folder: str | Path,
        inspect: Inspect,
        station: str,
        journal: Journal,
        sinks: Sequence[Sink],
        version: Callable[[], int] = lambda: 0,
    ) -> None:
        self.folder, self.inspect, self.station, self.journal = Path(folder).resolve(), inspect, station, journal
        self.sinks, self.version = sinks, version
        self.deliveries = _connect(sinks, journal)
        self._waiting: dict[Path, _Waiting] = {}
        self._done: dict[Path, PictureFile] = {}  # of the files that are there
        self._said: set[str] = set()  # notes
        self._faults: set[str] = set()  # what is not done until something is mended
        self._state: LineState | None = None  # that the sinks know
        self._pruned = time.monotonic()  # the verb has pruned it at the start
        self._again = 0.0  # monotonic time before which nothing is inspected, after a failure

    def __enter__(self) -> FolderWatcher:
        for delivery in self.deliveries:
            delivery.start()
        self._announce("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self, patience: float | None = LAST_DELIVERIES) -> None:
        """Deliver what waits and close the sinks, in at most so many seconds; None waits for all that still deliver."""
        end = None if patience is None else time.monotonic() + patience
        for delivery in self.deliveries:
            delivery.request_stop()
        for delivery in self.deliveries:
            delivery.join(None if end is None else end - time.monotonic())

    def inspect_all(self) -> Iterator[PartResult]:
        """The pictures that are there now; waits for half-written ones. Raises what the judge and the journal raise."""
        self._note(self._list())
        while self._waiting:
            yield from self._inspect(self._whole())
            time.sleep(TICK_MS / 1000)
            self._note(())

    def watch(self, stop: threading.Event, poll: float | None = None) -> Iterator[PartResult]:
        """Results until `stop` is set.

        With `poll` the folder is looked through every so many seconds, since network shares send no events.
        """
        for changed in self._changes(stop, poll):
            try:
                self._note(changed)
                self._prune()
                whole = self._whole() if time.monotonic() >= self._again else []
                if not whole:
                    continue
                self._announce("busy")
                for result in self._inspect(whole):
                    yield result
                    if stop.is_set():
                        return
            except (MachineError, sqlite3.Error) as error:
                self._again = time.monotonic() + PAUSE
                where = f"{printable(self.journal.path)}: " if isinstance(error, sqlite3.Error) else ""
                self._fail("the pictures wait", f"{where}{error}")
            else:
                self._recover("the pictures wait")

    def _changes(self, stop: threading.Event, poll: float | None) -> Iterator[Iterable[Path]]:
        """The files that may have changed: every `TICK_MS` what was reported, every `LISTED` seconds all."""
        watchfiles = require("watchfiles", "serve")
        while not stop.is_set():
            # The events come first, then the listing: nothing falls between them.
            listed = -LISTED
            try:
                for changes in watchfiles.watch(
                    self.folder,
                    watch_filter=None,
                    debounce=TICK_MS,
                    step=10,
                    stop_event=stop,
                    rust_timeout=TICK_MS,
                    yield_on_timeout=True,
                    raise_interrupt=False,
                    force_polling=poll is not None,
                    poll_delay_ms=round(1000 * (poll or 1)),
                    ignore_permission_denied=True,
                ):
                    paths = [Path(name) for _, name in changes]
                    # What is written to a new folder before its events are on is in no event.
                    if time.monotonic() - listed >= LISTED or any(map(is_folder, paths)):
                        files = self._list()
                        listed = time.monotonic()
                        self.journal.beat()
                        self._recover("the folder is looked for")
                        yield files
                    else:
                        yield filter(self._is_wanted, paths)
            except (OSError, InputError) as error:  # the share is gone
                self._fail("the folder is looked for", str(error))
                stop.wait(PAUSE)

    def _list(self) -> list[Path]:
        """All pictures of the folder. InputError if it cannot be read."""
        unreadable: list[tuple[str, ...]] = []
        paths = [self.folder.joinpath(*parts) for parts in list_files(self.folder, unreadable)]
        self._done = {path: self._done[path] for path in paths if path in self._done}
        for parts in unreadable:
            name = printable(self.folder.joinpath(*parts))
            self._say(f"{name}: a link without a target, a pipe or a locked folder; it is passed over")
        other = Counter(path.suffix.lower() or "no suffix" for path in paths if path.suffix.lower() not in SUFFIXES)
        for suffix in other:
            self._say(f"{printable(self.folder)}: files with {suffix} are passed over, since they are not pictures")
        return [path for path in paths if path.suffix.lower() in SUFFIXES]

    def _is_wanted(self, path: Path) -> bool:
        below = path.relative_to(self.folder).parts if path.is_relative_to(self.folder) else ()
        return path.suffix.lower() in SUFFIXES and bool(below) and not any(map(is_hidden, below))

    def _note(self, changed: Iterable[Path]) -> None:
        """Look at the changed and the waiting files: who is new, who has changed, who is gone."""
        now = time.monotonic()
        for path in {*changed, *self._waiting}:
            file = PictureFile.at(path)
            if file is None:
                self._waiting.pop(path, None)
                self._done.pop(path, None)
            elif self._done.get(path) != file:
                waiting = self._waiting.get(path)
                if waiting is None or waiting.file != file:
                    if self.journal.knows(file):
                        self._done[path] = file
                        self._waiting.pop(path, None)
                    else:
                        self._waiting[path] = _Waiting(file, now)

    def _prune(self) -> None:
        """Once a day drop old results from the journal; not while no picture is there, as on a share that is away."""
        if self._done and time.monotonic() - self._pruned >= PRUNED:
            self._pruned = time.monotonic()
            self.journal.prune(self._done)

    def _whole(self) -> list[_Waiting]:
        """The files that have not changed for long enough, in the order in which they were written."""
        now = time.monotonic()
        whole = [
            waiting
            for waiting in self._waiting.values()
            if now - waiting.since >= (PATIENCE if waiting.unreadable else SETTLE)
        ]
        return sorted(whole, key=lambda waiting: (waiting.file.modified_ns, natural_path(waiting.file.path.parts)))

    def _inspect(self, whole: list[_Waiting]) -> Iterator[PartResult]:
        judged: deque[_Waiting] = deque()

        def read() -> Iterator[PictureSource]:
            for waiting in whole:
                snapshot = _read_whole(waiting.file)
                if snapshot is not None:  # otherwise it is looked at again
                    judged.append(waiting)
                    yield snapshot

        for decision in self.inspect(read()):
            waiting = judged.popleft()
            if isinstance(decision, Failure) and not waiting.unreadable and _is_unreadable(waiting.file):
                waiting.unreadable = True  # perhaps half written
                continue
            result = self.journal.record(waiting.file, self._result(waiting.file, decision), self._sink_names())
            self._done[waiting.file.path] = waiting.file
            self._waiting.pop(waiting.file.path, None)
            self.journal.beat()
            for delivery in self.deliveries:
                delivery.wake()
            yield result

    def _result(self, file: PictureFile, decision: Decision | Failure) -> PartResult:
        result = PartResult(
            time=datetime.now(UTC),
            station=self.station,
            part=printable(file.path.stem),
            picture=printable(file.path.relative_to(self.folder)),
            outcome="invalid",
            version=self.version(),
        )
        if isinstance(decision, Failure):
            return result.model_copy(update={"error": decision.error})
        values: dict[str, object] = {
            "outcome": decision.outcome,
            "p_value": decision.p_value,
            "verdict": decision.verdict,
        }
        if decision.outcome == "invalid":
            values["error"] = decision.verdict.reason or "the judge gave no valid answer"
        return result.model_copy(update=values)

    def _sink_names(self) -> list[str]:
        return [sink.name for sink in self.sinks]

    def _announce(self, state: LineState) -> None:
        """Tell the sinks, if they do not know."""
        if state != self._state:
            self._state = state
            for sink in self.sinks:
                sink.announce(state)

    def _fail(self, consequence: str, problem: str) -> None:
        """Say once what is wrong; the line is at fault until `_recover`."""
        if consequence not in self._faults:
            self._faults.add(consequence)
            logger.warning("%s; %s until this is mended", " ".join(problem.split()), consequence)
        self._announce("fault")

    def _recover(self, consequence: str) -> None:
        """This works; the line is ready again if all does."""
        if consequence in self._faults:
            self._faults.remove(consequence)
            logger.warning("%s: goes on", printable(self.folder))
        self._announce("fault" if self._faults else "ready")

    def _say(self, note: str) -> None:
        """A note, once."""
        if note not in self._said:
            self._said.add(note)
            logger.warning("%s", note)


def _connect(sinks: Sequence[Sink], journal: Journal) -> list[Delivery]:
    """A delivery for each sink. A picture is moved away when the history, which keeps a copy, has had it."""
    history = [Delivery(sink, journal) for sink in sinks if sink.name == HISTORY]
    others = []
    for sink in sinks:
        if sink.name != HISTORY:
            moves = isinstance(sink, SortedFolders) and sink.move
            others.append(Delivery(sink, journal, after=history[0] if moves and history else None))
    return [*history, *others]


def journal_path(station: Path, folder: Path) -> Path:
    """Where the station keeps the journal of a watched folder: one for each folder, by its whole path."""
    path = folder.resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return station / "watch" / f"{printable(path.name)}-{digest}.sqlite"


def check_folders(folder: Path, station: Path, sinks: Sequence[Sink]) -> None:
    """InputError if the watched folder is none, or holds pictures that no camera put there."""
    watched = folder.resolve()
    if not watched.is_dir():
        raise InputError(f"{printable(folder)}: not a folder; give the folder that the camera writes to")
    if station.resolve().is_relative_to(watched):
        raise InputError(f"{printable(station)}: the station lies in the watched folder; move it elsewhere")
    for sink in sinks:
        if isinstance(sink, SortedFolders):
            for target in sink.folders():
                target = target.resolve()
                if target.is_relative_to(station.resolve()):
                    raise InputError(
                        f"--to {printable(sink.name)}: the station keeps pictures of its own there; give a folder "
                        "outside it"
                    )
                if target.is_relative_to(watched) or watched.is_relative_to(target):
                    raise InputError(
                        f"--to {printable(sink.name)}: its pictures would be watched again; give a folder that lies "
                        f"outside {printable(folder)}"
                    )
    if sum(isinstance(sink, SortedFolders) and sink.move for sink in sinks) > 1:
        raise InputError("--move: a picture can be moved to one folder only; give one folder with --to")


def _read_whole(file: PictureFile) -> PictureSource | None:
    """The content of a file, which a camera may overwrite while it is judged; None if it is gone or has changed."""
    if file.size > MAX_BYTES:
        return file.path  # whatever reads it refuses it
    try:
        content = file.path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        content = b""  # whatever reads it says why
    return named(content, str(file.path)) if PictureFile.at(file.path) == file else None


def _is_unreadable(file: PictureFile) -> bool:
    try:
        read_picture(file.path)
    except ImageError:
        return True
    return False
