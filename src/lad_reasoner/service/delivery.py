"""Hands recorded results to one sink, in a thread of its own: a sink's fault never stops the line.

Results wait in the journal until the sink has them. A failed delivery is reported once, tried again with growing waits,
and reported once more when it succeeds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

from lad_reasoner.errors import LadError
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.sinks.sink import RejectedResultError, Sink
from lad_reasoner.text import printable

logger = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between two tries; each wait is twice the one before
CHECKED = 5.0  # seconds after which a sink that has nothing to deliver is asked whether it is still connected


class Delivery:
    """The thread of one sink. `start`, then `wake` after each recorded result, `request_stop` and `join`.

    With `after` a result waits until that other delivery has had it.
    """

    def __init__(self, sink: Sink, journal: Journal, after: Delivery | None = None) -> None:
        self.sink, self.journal, self.after = sink, journal, after
        self._followers: list[Delivery] = []
        if after is not None:
            after._followers.append(self)
        self._open = False
        self._failing = False
        self._sent = 0  # number of the last delivered result; the journal may not have taken note of it
        self._woken, self._stopped, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"to {sink.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There are new results."""
        self._woken.set()

    def request_stop(self) -> None:
        """Deliver what waits, then end; a sink that fails is not tried again."""
        self._stopped.set()
        self._woken.set()

    def join(self, patience: float | None) -> None:
        """Wait for the end, for at most so many seconds; what is not delivered by then stays in the journal."""
        self._thread.join(None if patience is None else max(0.0, patience))

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            self._woken.clear()  # first: what is set from here on is not missed
            last = self._stopped.is_set() and (self.after is None or self.after._ended.is_set())
            try:
                self._deliver_all()
                wait = FIRST_WAIT
            except Exception as error:  # whatever it is: other sinks and the line go on
                if self.journal.closed:  # the process ends, and did not wait for this sink
                    return
                self._open = False
                self._report(error)
                if not last:
                    ending = self.after._ended if self.after and self._stopped.is_set() else self._stopped
                    ending.wait(wait)
                    wait = min(2 * wait, LONGEST_WAIT)
                    self._woken.set()
            if last:
                break
            self._woken.wait(CHECKED)
        self._close()
        self._ended.set()
        for follower in self._followers:
            follower.wake()

    def _deliver_all(self) -> None:
        if not self._open:
            self.sink.open()
            self._open = True
        self.sink.check()
        after = self.after.sink.name if self.after else ""
        while results := self.journal.pending(self.sink.name, after):
            for result, file in results:
                if result.number != self._sent:
                    try:
                        self.sink.deliver(result, file)
                    except RejectedResultError as error:
                        logger.warning("%s: %s; it is kept, and offered again at the next start", self._name, error)
                        self.journal.refuse(result.number, self.sink.name)
                        continue
                    self._sent = result.number
                self.journal.deliver(result.number, self.sink.name)
                self._report_success()
                for follower in self._followers:
                    follower.wake()
        self._report_success()

    @property
    def _name(self) -> str:
        return printable(self.sink.name)

    def _report(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("%s: %s; results are kept and sent when it is back", self._name, _reason(error))

    def _report_success(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("%s: delivers again", self._name)

    def _close(self) -> None:
        try:
            self.sink.close()
        except Exception as error:  # as above
            logger.warning("%s: %s", self._name, error)


def _reason(error: Exception) -> str:
    """In one line; a full disk of the journal is not one of the sink."""
    if isinstance(error, OSError) and error.strerror:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, sqlite3.Error):
        reason = f"the station's journal: {error}"
    else:
        reason = str(error) if isinstance(error, LadError | OSError) else f"{type(error).__name__}: {error}"
    return " ".join(reason.split())
