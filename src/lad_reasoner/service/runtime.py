"""All stations of one process: one queue, one judge for stations that use the same, an archive for each.

    runtime = Runtime(["bottle", "cap"])
    order = runtime.order("bottle", content, part="4711", who="line 3", seconds=5.0)
    inspection = order.finish(order.future.result())         # on the disk when this returns
    runtime.station("bottle").archive.history()

The API, the page and every other source go through here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.files.pictures import named
from lad_reasoner.inspector import Inspector
from lad_reasoner.judge import Judge
from lad_reasoner.judges import load_judge, taken_options
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.runner import Judged
from lad_reasoner.service.archive import Archive, utc_now
from lad_reasoner.service.archived import AbsentError, Inspection, Outcome, Retention, Seen, StateError
from lad_reasoner.service.inspection import (
    Decision,
    OpenStation,
    StaleLimitError,
    load_station_judge,
    why_locked,
)
from lad_reasoner.service.queue import BatchQueue
from lad_reasoner.service.station import FILE, Station, station_folder
from lad_reasoner.text import listed, printable

logger = logging.getLogger(__name__)

Listener = Callable[[Inspection, Judged | None], None]  # what was judged has the map; None without a verdict

WORKERS = min(2, os.cpu_count() or 1)  # batches that are judged at the same time
INLINE = 8  # sets of references sent with a request that stay in memory; the least recently used is dropped first
LATE = "late: the deadline passed before there was a verdict"


class LiveStation:
    """A station that is served: the opened station, the number of its version, and its archive."""

    def __init__(self, folder: str | Path, share: Callable[[Station], Judge]) -> None:
        self.folder = station_folder(folder)
        self._share = share
        self.open = self._open()
        self.archive = Archive(self.folder, self.name)
        self.version = self.archive.version(self.file(), who="server", why="start")
        self.teaching = threading.Lock()  # held while the station's file is changed

    @property
    def name(self) -> str:
        return self.open.station.name

    def file(self) -> str:
        """The station file as it is on the disk."""
        return (self.folder / FILE).read_text(encoding="utf-8")

    def reload(self, *, who: str, why: str) -> int:
        """Open the station's file anew; returns its version. InputError, and no change, if it cannot be used."""
        opened = self._open()
        if opened.station.name != self.name:
            raise InputError(f"{printable(self.folder / FILE)}: name: it was {self.name}; a new name needs a restart")
        version = self.archive.version(self.file(), who=who, why=why)
        self.open, self.version = opened, version
        return version

    def edited(self) -> bool:
        """Whether the station's file on the disk is another than the one in use, or cannot be read."""
        try:
            return self.file() != self.archive.version_file(self.version)
        except (OSError, UnicodeDecodeError):
            return True

    def problem(self) -> str:
        """Why the station is locked, or what is wrong with its file on the disk; empty if all is well."""
        if reason := why_locked(self.folder):
            return reason
        if not self.edited():
            return ""
        if not self.folder.is_dir():
            return f"its folder {printable(self.folder)} is gone; put it back, or start the server with another"
        try:
            Station.load(self.folder)
        except (InputError, OSError, UnicodeDecodeError) as error:
            return f"the station file cannot be used, the last good one is in use: {error}"
        return "the station file was edited; reload the station to use it"

    def _open(self) -> OpenStation:
        return OpenStation(self.folder, self._share(Station.load(self.folder)))


@dataclass(eq=False)
class Order:
    """One picture on its way through the queue."""

    future: Future[Judged | Failure]
    deadline: float  # time.monotonic()
    part: str
    who: str
    content: bytes
    station: LiveStation | None
    opened: OpenStation | None
    version: int
    published: Listener

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def finish(self, result: Judged | Failure) -> Inspection:
        """Decide, and keep the inspection. MachineError if it cannot be kept: then there is no verdict either."""
        decision = self.decide(result)
        return self.give_up(LATE) if self.left < 0 else self.keep(decision)

    def decide(self, result: Judged | Failure) -> Decision | Judged | Failure:
        """The station's decision; nothing is kept yet. Rules and zones to check take their time."""
        return self.opened.decide(result) if self.opened is not None and self.left >= 0 else result

    def keep(self, decision: Decision | Judged | Failure) -> Inspection:
        """Keep the inspection. MachineError if it cannot be kept."""
        if isinstance(decision, Failure):
            return self.give_up(decision.error)
        if isinstance(decision, Decision):
            outcome: Outcome = "not judged" if decision.outcome == "invalid" else decision.outcome
            return self._keep(outcome, decision.verdict, decision.p_value, judged=decision.judged)
        answer = decision.verdict.answer
        outcome = "not judged" if answer == "invalid" else "anomalous" if answer == "yes" else "good"
        return self._keep(outcome, decision.verdict, None, judged=decision)

    def give_up(self, why: str) -> Inspection:
        """Not judged: the future is cancelled, and the part is kept without a verdict."""
        self.future.cancel()
        return self._keep("not judged", None, None, why)

    def _keep(
        self,
        outcome: Outcome,
        verdict: Verdict | None,
        p_value: float | None,
        why: str = "",
        judged: Judged | None = None,
    ) -> Inspection:
        if outcome == "not judged" and not why:
            why = (verdict.reason if verdict else "") or "the judge gave no valid answer"
        if self.station is None:
            inspection = Inspection(
                at=utc_now(), part=self.part, who=self.who, outcome=outcome, why=why, verdict=verdict
            )
        else:
            seen = Seen(self.part, self.who, outcome, self.version, why, p_value, verdict, self.content)
            (inspection,) = self.station.archive.keep([seen])
        self.published(inspection, judged)
        return inspection


class Runtime:
    """Serves stations until `close`.

    `model` and `options` choose the judge of requests that bring their references. `for_all` are options for each judge
    that has them, over those of its station. `listeners` are called with each inspection, in the thread that made it.
    `stale` are the stations, with the reason, that judge nothing before they are calibrated, if there are others.
    InputError if a station cannot be opened, and for an option that no judge has.
    """

    def __init__(
        self,
        stations: Sequence[str | Path] = (),
        *,
        model: str = "evidence",
        options: Mapping[str, Any] | None = None,
        for_all: Mapping[str, Any] | None = None,
        retention: Retention = Retention(),  # noqa: B008 - frozen
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.model, self.options = model, dict(options or {})
        self._for_all, self._unused = dict(for_all or {}), set(for_all or {})
        self._take(model, self.options)
        self._judges: dict[str, Judge] = {}
        self._loading = threading.Lock()
        self._inline: OrderedDict[str, Inspector] = OrderedDict()
        self.retention = retention
        self.listeners: list[Listener] = []
        self.stations: dict[str, LiveStation] = {}
        self.stale: dict[str, tuple[Station, str]] = {}
        for folder in stations:
            self._open(folder)
        if self.stale and not self.stations:
            raise InputError("; ".join(reason for _, reason in self.stale.values()))
        for name in self._unused:
            raise InputError(f"--{name.replace('_', '-')}: no judge that is served has this option")
        self.queue = BatchQueue(observe=observe, workers=WORKERS)

    def _open(self, folder: str | Path) -> None:
        station = Station.load(folder)
        name = station.name
        if name in self.stations or name in self.stale:
            raise InputError(
                f"{printable(folder)}: another station has the name {name} too; "
                f"change `name` in {printable(station_folder(folder) / FILE)}"
            )
        try:
            self.stations[name] = LiveStation(folder, self.share_judge)
        except StaleLimitError as error:  # after an update, say: the other lines need not stand still for it
            self.stale[name] = station, f"{error}, then start the server again"

    def close(self) -> None:
        """Finish what waits, then close the archives."""
        self.queue.close()
        for live in self.stations.values():
            live.archive.close()

    def station(self, name: str) -> LiveStation:
        """AbsentError if there is none of this name, MachineError if it must be calibrated first."""
        if name in self.stale:
            raise MachineError(self.stale[name][1])
        if name not in self.stations:
            offer = f"served: {listed(list(self.stations))}" if self.stations else "none is served"
            raise AbsentError(f"no station {printable(name)[:100]}; {offer}")
        return self.stations[name]

    def order(
        self,
        station: str,
        content: bytes,
        *,
        part: str,
        who: str,
        seconds: float,
        references: Sequence[bytes] = (),
        name: str = "",
    ) -> Order:
        """Read a picture and put it into the queue, for at most `seconds`; without a station with its references.

        `name` is what an error calls the picture. Raises ImageError for a picture that cannot be used, AbsentError for
        an unknown station, StateError for a locked one, QueueFullError if too many wait.
        """
        deadline = time.monotonic() + seconds
        source = named(content, name or part or "picture")
        live = self.station(station) if station else None
        if live is not None:
            if reason := why_locked(live.folder):
                raise StateError(f"{live.name}: {reason}")
            opened, version = live.open, live.version
            judge, pair = opened.judge, opened.read(source)
        else:
            opened, version = None, 0
            inspector = self._inspector(references)
            judge, pair = inspector.judge, inspector.read_pair(source)
        future = self.queue.submit(judge, pair, seconds=deadline - time.monotonic())
        return Order(future, deadline, part, who, content, live, opened, version, self._publish)

    def notes(self) -> list[str]:
        """Sentences that a reader of the verdicts should know. A judge behind a service asks it how it decodes.

        What the service cannot say now is found with the first picture.
        """
        notes = [f"{name} is not served: {reason}" for name, (_, reason) in self.stale.items()]
        for name, live in self.stations.items():
            try:
                notes += [f"{name}: {note}" for note in live.open.notes()]
            except LadError as error:
                notes.append(f"{name}: {error}")
        if not self.stations:
            judge = self.inline_judge()
            prepare = getattr(judge, "prepare", None)
            try:
                if prepare:
                    prepare()
            except LadError as error:
                notes.append(str(error))
            notes += judge.notes
        return notes

    def retain(self) -> int:
        """Delete pictures by the rules of retention; returns their number."""
        return sum(live.archive.retain(self.retention) for live in self.stations.values())

    def share_judge(self, station: Station) -> Judge:
        """One judge in memory for all stations that use the same with the same options."""
        pixels = {} if station.max_pixels is None else {"max_pixels": station.max_pixels}
        given = self._take(station.judge, station.options)
        return self._share(
            (station.judge, station.evidence, dict(station.options) | pixels | given),
            partial(load_station_judge, station, given),
        )

    def inline_judge(self) -> Judge:
        """The judge of requests that bring their references; loaded by the first of them."""
        options = self._take(self.model, self.options) | self.options
        return self._share((self.model, False, options), lambda: load_judge(self.model, **options))

    def _take(self, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options for all that this judge has."""
        taken = taken_options(model, self._for_all, served="server" in options)
        self._unused -= taken.keys()
        return taken

    def _share(self, key: tuple[str, bool, dict[str, Any]], load: Callable[[], Judge]) -> Judge:
        name, evidence, options = key
        text = repr((name, evidence, sorted(options.items())))
        with self._loading:
            if text not in self._judges:
                self._judges[text] = load()
            return self._judges[text]

    def _inspector(self, references: Sequence[bytes]) -> Inspector:
        """References that were sent before keep their objects, which are the keys of the judge's cache."""
        digest = hashlib.sha256(b"".join(hashlib.sha256(reference).digest() for reference in references)).hexdigest()
        with self._loading:
            if digest in self._inline:
                self._inline.move_to_end(digest)
                return self._inline[digest]
        try:
            judge = self.inline_judge()
        except InputError as error:  # of the one who started the server, not of this client
            raise MachineError(f"the judge of pictures with references cannot be loaded: {error}") from None
        sources = [named(reference, f"reference {number}") for number, reference in enumerate(references, 1)]
        inspector = Inspector(judge, sources)
        with self._loading:
            self._inline[digest] = inspector
            while len(self._inline) > INLINE:
                self._inline.popitem(last=False)
        return inspector

    def _publish(self, inspection: Inspection, judged: Judged | None) -> None:
        for listener in list(self.listeners):
            listener(inspection, judged)
