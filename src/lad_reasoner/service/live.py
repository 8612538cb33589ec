"""What comes from the line, for the pages that are open: events, and what of a verdict is only in memory."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
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
LOOK = 1.0  # seconds between two looks at the archive


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
        self._pages: set[_Page] = set()

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
            for page in self._pages:
                if page.station == inspection.station:
                    page.loop.call_soon_threadsafe(page.woken.set)

    def view(self, inspection: Inspection) -> View:
        """Of an inspection; empty if it is too long ago, or from before the start of the server."""
        with self._lock:
            return self._views.get((inspection.station, inspection.id), View(None, None))

    async def events(self, live: LiveStation, request: Request) -> AsyncIterator[str]:
        """Server-sent events, each for the newest inspection of a station, until the server stops or the key ends.

        The first is for the one there is: a page may have been drawn, or its connection lost, before it came. The
        archive is looked at again every `LOOK` seconds, since another process, such as `watch`, writes to it as well.
        """
        page = _Page(live.name)
        request.state.end = page.end
        with self._lock:
            self._pages.add(page)
        told, beat = 0, time.monotonic()
        try:
            yield "retry: 2000\n\n"
            while not page.ended and request.state.still_valid():
                page.woken.clear()  # first: what comes from here on is not missed
                for newest in await run_in_threadpool(live.archive.history, limit=1):
                    if newest.id > told:
                        told = newest.id
                        yield _event(newest)
                if time.monotonic() - beat >= BEAT:
                    beat = time.monotonic()
                    yield ": beat\n\n"
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await page.woken.wait()
        finally:
            with self._lock:
                self._pages.remove(page)


class _Page:
    """An open page: woken when its station has a new inspection, and at the end of the server."""

    def __init__(self, station: str) -> None:
        self.station, self.loop = station, asyncio.get_running_loop()
        self.woken, self.ended = asyncio.Event(), False

    def end(self) -> None:
        self.ended = True
        self.woken.set()


def _event(inspection: Inspection) -> str:
    event = {"id": inspection.id, "outcome": inspection.outcome}
    return f"data: {json.dumps(event)}\n\n"
