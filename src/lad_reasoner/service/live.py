"""What comes from the line, for the pages that are open: events, and what of a verdict is only in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from lad_reasoner.runner import Judged
from lad_reasoner.service.archived import Inspection
from lad_reasoner.service.runtime import LiveStation

VIEWS = 500  # maps that stay in memory, of the newest inspections
BEAT = 15.0  # seconds between two signs of life of a stream of events
WAITING = 100  # events that may wait for a slow client


@dataclass(frozen=True, eq=False)
class View:
    """What of a verdict is only in memory: the map, and the index of the nearest reference, if the judge gave them."""

    heat: NDArray[np.float32] | None  # (rows, columns)
    nearest: int | None


class Watch:
    """What comes from the line: the views of the newest inspections, and the events for the pages that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[str, int], View] = OrderedDict()
        self._pages: dict[asyncio.Queue[Inspection], tuple[str, asyncio.AbstractEventLoop]] = {}

    def note(self, inspection: Inspection, judged: Judged | None) -> None:
        """A listener of the runtime; called in the thread that made the inspection."""
        if not inspection.id:
            return
        with self._lock:
            if judged is not None:
                view = View(judged.judgement.heat, judged.judgement.nearest)
                self._views[inspection.station, inspection.id] = view
                while len(self._views) > VIEWS:
                    self._views.popitem(last=False)
            for queue, (station, loop) in self._pages.items():
                if station == inspection.station:
                    loop.call_soon_threadsafe(_put, queue, inspection)

    def view(self, inspection: Inspection) -> View:
        """Of an inspection; empty if it is too long ago, or from before the start of the server."""
        with self._lock:
            return self._views.get((inspection.station, inspection.id), View(None, None))

    async def events(self, live: LiveStation, request: Request) -> AsyncIterator[str]:
        """Server-sent events, one for each inspection of a station, until the server stops.

        The first is for the newest one there is: a page may have been drawn, or its connection lost, before it came.
        """
        queue: asyncio.Queue[Inspection] = asyncio.Queue(WAITING)
        ended = asyncio.Event()
        request.state.end = ended.set
        with self._lock:
            self._pages[queue] = live.name, asyncio.get_running_loop()
        ending = asyncio.create_task(ended.wait())
        getting: asyncio.Task[Inspection] | None = None
        try:
            yield "retry: 2000\n\n"
            # Read after this page is among those that are told, so that none is missed in between.
            for newest in await run_in_threadpool(live.archive.history, limit=1):
                yield _event(newest)
            while not ended.is_set():
                getting = asyncio.create_task(queue.get())
                done, _ = await asyncio.wait({getting, ending}, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                if getting in done:
                    yield _event(getting.result())
                else:
                    getting.cancel()
                    yield ": beat\n\n"
        finally:
            ending.cancel()
            if getting is not None:
                getting.cancel()
            with self._lock:
                del self._pages[queue]


def _event(inspection: Inspection) -> str:
    event = {"id": inspection.id, "outcome": inspection.outcome}
    return f"data: {json.dumps(event)}\n\n"


def _put(queue: asyncio.Queue[Inspection], inspection: Inspection) -> None:
    if queue.full():  # a page that is behind needs the newest only
        queue.get_nowait()
    queue.put_nowait(inspection)
