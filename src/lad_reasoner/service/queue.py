"""Merges the requests of many clients into the batches of a judge.

    queue = BatchQueue()
    future = queue.submit(judge, pair, seconds=2.0)   # QueueFullError when too many wait
    result = future.result()                          # Judged | Failure; LateError after the deadline

One or two threads work for all judges, since one machine has one set of processors; a second one uses the cores that
the small steps of the first leave idle. A batch holds jobs of one judge, oldest first. Jobs in the background, such as
a preview on the archive, are taken only when nobody else waits, and by one thread at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lad_reasoner.errors import LadError, MachineError
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.records import Failure
from lad_reasoner.runner import Judged, run

logger = logging.getLogger(__name__)

DEPTH = 256  # jobs that may wait; one more is refused
WINDOW = 0.005  # seconds that the first job of a batch waits for others
SMOOTHING = 0.2  # weight of the newest batch in the mean seconds of a job


class QueueFullError(LadError):
    """So many requests wait that another would be late; try again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests wait; try again in {retry_after} s")
        self.retry_after = retry_after


class LateError(LadError):
    """The deadline passed before there was a verdict: this part is not judged."""


@dataclass(eq=False)
class _Job:
    judge: Judge
    pair: PicturePair
    deadline: float  # time.monotonic(): a clock that is set back changes nothing
    future: Future[Judged | Failure] = field(default_factory=Future)

    def expire(self) -> None:
        # Whoever waits gives up at the same moment: a future that was cancelled meanwhile must not end the thread.
        with suppress(InvalidStateError):
            self.future.set_exception(LateError("the deadline passed before there was a verdict"))


class BatchQueue:
    """Bounded; safe to use from any thread. `observe` gets the size of each batch and its seconds."""

    def __init__(
        self,
        *,
        depth: int = DEPTH,
        workers: int = 1,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.depth, self.observe = depth, observe
        self._waiting: deque[_Job] = deque()
        self._background: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._places = 0  # of pictures that are being decoded
        self._closing = False
        self._seconds = 0.1  # mean time of one job, for Retry-After
        self._in_background = False
        self._threads = [threading.Thread(target=self._work, name="judge", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether jobs are still being done."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(
        self, judge: Judge, pair: PicturePair, *, seconds: float, background: bool = False
    ) -> Future[Judged | Failure]:
        """The future of one judgement, at most `seconds` from now.

        Cancelling the future takes a job that has not begun out of the queue. Raises QueueFullError.
        """
        job = _Job(judge, pair, time.monotonic() + seconds)
        with self._changed:
            if self._closing:
                raise QueueFullError(1)
            if background:
                self._background.append(job)
            else:
                if len(self._waiting) >= self.depth:
                    self._drop_dead()
                if len(self._waiting) >= self.depth:
                    raise QueueFullError(self.retry_after())
                self._waiting.append(job)
            self._changed.notify_all()  # one of them may wait for more jobs, not for the first
        return job.future

    def check_room(self) -> None:
        """Raises QueueFullError if one more would be refused: asked before a picture is read and decoded in vain."""
        with self._changed:
            if len(self._waiting) + self._places >= self.depth:
                self._drop_dead()
            if len(self._waiting) + self._places >= self.depth:
                raise QueueFullError(self.retry_after())

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a picture is decoded: not more are decoded than can wait. Raises QueueFullError."""
        with self._changed:
            self.check_room()
            self._places += 1
        try:
            yield
        finally:
            with self._changed:
                self._places -= 1

    def retry_after(self) -> int:
        """Whole seconds after which about half of the queue is done."""
        return min(60, max(1, round(len(self._waiting) * self._seconds / 2)))

    def close(self, seconds: float = 30.0) -> None:
        """Accept nothing more, finish what waits, at most for so long; what is left is late."""
        with self._changed:
            self._closing = True
            background, self._background = self._background, deque()
            self._changed.notify_all()
        for job in background:
            job.future.cancel()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._changed:
            while self._waiting:
                self._waiting.popleft().expire()

    def _drop_dead(self) -> None:
        """Jobs that nobody waits for any more make place. The caller holds the lock."""
        now = time.monotonic()
        alive = deque[_Job]()
        for job in self._waiting:
            if job.future.cancelled():
                continue
            if now >= job.deadline:
                job.expire()
            else:
                alive.append(job)
        self._waiting = alive

    def _work(self) -> None:
        while jobs := self._next_batch():
            start = time.monotonic()
            batch, background = jobs
            try:
                self._judge(batch)
            except Exception as error:  # whatever happens, the next batch is judged
                if not isinstance(error, LadError):
                    logger.exception("the judge failed")
                    error = MachineError(f"the judge failed: {type(error).__name__}; the log has the details")
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(error)
            seconds = time.monotonic() - start
            with self._changed:
                self._seconds += SMOOTHING * (seconds / len(batch) - self._seconds)
                if background:
                    self._in_background = False
                    self._changed.notify_all()
            self.observe(len(batch), seconds)
            del jobs, batch  # their pictures must not stay in memory while nothing happens

    def _judge(self, batch: Sequence[_Job]) -> None:
        """One call of the judge; the runner isolates a faulty pair."""
        for job, result in run(batch[0].judge, batch, _pair_of):
            if time.monotonic() > job.deadline:
                job.expire()  # never a verdict while the line already looks at the next part
            elif not job.future.done():
                job.future.set_result(result)

    def _next_batch(self) -> tuple[list[_Job], bool] | None:
        """Jobs of one judge, oldest first, and whether they are of the background; None when all is done and closed."""
        while True:
            with self._changed:
                while not self._waiting and (self._in_background or not self._background):
                    if self._closing:
                        return None
                    self._changed.wait()
                background = not self._waiting
                if background:
                    batch = self._take(self._background, max(1, self._background[0].judge.batch_size))
                    self._in_background = bool(batch)
                else:
                    self._gather()
                    batch = self._take(self._waiting, max(1, self._waiting[0].judge.batch_size if self._waiting else 1))
            if batch:
                return batch, background

    def _gather(self) -> None:
        """Wait a moment for the rest of a batch. The caller holds the lock, which others get while this waits."""
        size = max(1, self._waiting[0].judge.batch_size)
        end = time.monotonic() + WINDOW
        while 0 < len(self._waiting) < size and not self._closing and (left := end - time.monotonic()) > 0:
            self._changed.wait(left)

    def _take(self, lane: deque[_Job], size: int) -> list[_Job]:
        """At most `size` jobs of the first job's judge, without those that are late or cancelled."""
        batch: list[_Job] = []
        others: list[_Job] = []
        while lane and len(batch) < size:
            job = lane.popleft()
            if batch and job.judge is not batch[0].judge:
                others.append(job)
            elif time.monotonic() >= job.deadline:
                job.expire()
            elif job.future.set_running_or_notify_cancel():
                batch.append(job)
        lane.extendleft(reversed(others))
        return batch


def _pair_of(job: _Job) -> PicturePair:
    return job.pair
