"""From pairs to verdicts: the one loop around a judge.

    for pair, result in run(judge, pairs, read):
        ...                        # Judged: verdict, pictures, judgement; Failure: why there is no verdict

It decodes pictures ahead in a thread and looks there whether they can be judged (quality.py), judges in batches,
isolates the faulty pair of a failed batch, divides the time of a batch among its pairs, and makes the `Verdict`. A
judge that works in processes gets the next batch before it has ended this one, so that none of the processes waits.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, TypeVar

from lad_reasoner.answers import Answer
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.opening import name_source
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.quality import why_unfit
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.text import printable

READ_AHEAD = 4  # pairs that are decoded while the judge works on others
PATIENCE = 0.02  # seconds that a batch waits for one more item of a source that makes its items as it goes
ANSWER_SCORES: dict[Answer, float] = {"yes": 1.0, "no": 0.0, "invalid": 0.5}  # for a judge without scores

Item = TypeVar("Item")
Ready = tuple[PicturePair, str]  # a pair that is read, and why its query cannot be judged; empty if it can be


def _use_one_thread() -> None:
    """In a forked process: the threads of OpenMP exist in its parent only, and torch would wait for them for ever."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


@dataclass(frozen=True, eq=False)
class Judged:
    """A verdict, and the pictures and the judgement behind it."""

    verdict: Verdict
    pair: PicturePair
    judgement: Judgement


def run(
    judge: Judge, items: Iterable[Item], read: Callable[[Item], PicturePair]
) -> Iterator[tuple[Item, Judged | Failure]]:
    """Each item with its verdict or its failure, in order.

    `read` decodes an item's pictures in a thread. A collection is judged in full batches, and the pictures of the next
    one are read meanwhile. Any other source may be live, such as a camera: a batch is then what has arrived, so that no
    verdict waits for the next part, and no more than a batch (or `READ_AHEAD`) is asked for. An InputError of `read`
    or of the judge becomes a `Failure` of that item alone. A MachineError is raised if the judge raises it for a single
    pair.
    """
    many = getattr(judge, "many", None)
    with (
        # The first to begin ends last: a call of the judge ends with the processes that it waits for.
        ThreadPoolExecutor(thread_name_prefix="call") as judges,
        many(len(items)) if many and isinstance(items, Collection) else nullcontext(judge) as judge,
        ThreadPoolExecutor(1, thread_name_prefix="read") as pool,
    ):
        batch_size, at_once = max(1, judge.batch_size), getattr(judge, "calls_at_once", 1)
        ahead = max(batch_size, READ_AHEAD)

        def make_ready(item: Item) -> Ready:
            pair = read(item)
            return pair, _why_unfit(judge, pair)

        def start(item: Item) -> tuple[Item, Future[Ready]]:
            return item, pool.submit(make_ready, item)

        source = (
            _Stock(items, start, batch_size + ahead) if isinstance(items, Collection) else _Live(items, start, ahead)
        )
        try:
            clock, judging = _Clock(), deque[Iterator[tuple[Item, Judged | Failure]]]()
            while judging or source.more():
                while len(judging) < at_once and source.more():
                    # No batch has a name, which would keep its pictures in memory while the next one is read.
                    judging.append(_begin_batch(judge, source.take(batch_size), clock, judges if at_once > 1 else None))
                yield from judging.popleft()
        finally:
            source.close()
            pool.shutdown(wait=False, cancel_futures=True)


class _Stock(Generic[Item]):
    """A collection: all items are there, so that each batch is full."""

    def __init__(self, items: Iterable[Item], start: Callable[[Item], tuple[Item, Future[Ready]]], ahead: int) -> None:
        self.items, self.start, self.ahead = iter(items), start, ahead
        self.waiting: deque[tuple[Item, Future[Ready]]] = deque()

    def more(self) -> bool:
        """Whether an item is left."""
        self.waiting.extend(map(self.start, islice(self.items, self.ahead - len(self.waiting))))
        return bool(self.waiting)

    def take(self, count: int) -> list[tuple[Item, Future[Ready]]]:
        """The next items, at most `count`."""
        return [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]

    def close(self) -> None:
        """Nothing to stop."""


class _Live(Generic[Item]):
    """A source that may wait for its next item: a thread asks it, and a batch is what has arrived."""

    def __init__(self, items: Iterable[Item], start: Callable[[Item], tuple[Item, Future[Ready]]], ahead: int) -> None:
        self.items, self.start, self.ahead = iter(items), start, ahead
        self.arrived: SimpleQueue[tuple[Item, Future[Ready]] | None] = SimpleQueue()  # None is the end
        self.waiting: deque[tuple[Item, Future[Ready]]] = deque()
        self.wanted = Semaphore(0)
        self.ordered = 0  # items that are wanted and have not arrived
        self.error: BaseException | None = None
        self.ended = self.closed = False
        # A daemon, since nothing can wake a source that waits for a part that never comes.
        Thread(target=self._feed, name="source", daemon=True).start()

    def _feed(self) -> None:
        try:
            while self.wanted.acquire() and not self.closed:
                self.arrived.put(self.start(next(self.items)))
        except StopIteration:
            pass
        except BaseException as error:  # raised again where the verdicts are taken
            self.error = error
        self.arrived.put(None)

    def more(self) -> bool:
        """Wait for an item; False at the end. Raises what the source raised."""
        missing = self.ahead - len(self.waiting) - self.ordered
        if missing > 0:
            self.ordered += missing
            self.wanted.release(missing)
        if not self.waiting and not self.ended:
            self._receive(self.arrived.get())
        if not self.waiting and self.error is not None:
            raise self.error
        return bool(self.waiting)

    def take(self, count: int) -> list[tuple[Item, Future[Ready]]]:
        """What has arrived, at most `count` items; waits no longer than `PATIENCE` for each."""
        try:
            while len(self.waiting) < count and self.ordered and not self.ended:
                self._receive(self.arrived.get(timeout=PATIENCE))
        except Empty:
            pass
        return [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]

    def _receive(self, entry: tuple[Item, Future[Ready]] | None) -> None:
        if entry is None:
            self.ended = True
        else:
            self.ordered -= 1
            self.waiting.append(entry)

    def close(self) -> None:
        """The thread stops at its next item."""
        self.closed = True
        self.wanted.release()


class _Clock:
    """When the judge has ended its last call: the time of a call that began before counts from there."""

    def __init__(self) -> None:
        self.ended = 0.0

    def stop(self, started: float) -> float:
        """The seconds of a call that ends now."""
        now = time.perf_counter()
        seconds, self.ended = now - max(started, self.ended), now
        return seconds


def _begin_batch(
    judge: Judge, batch: Sequence[tuple[Item, Future[Ready]]], clock: _Clock, judges: ThreadPoolExecutor | None
) -> Iterator[tuple[Item, Judged | Failure]]:
    """Wait until the batch is read, and have it judged in one of the threads, or when its first result is asked for."""
    ready: list[Ready] = []
    failures: dict[int, Failure] = {}
    for position, (item, future) in enumerate(batch):
        try:
            ready.append(future.result())
        except InputError as error:
            # A pair on disk and a failed query have their name in `query`.
            name = item.query if hasattr(item, "query") else name_source(item)
            failures[position] = Failure(query=printable(name), error=str(error))
    attempt = partial(_judge_ready, judge, ready, clock)
    results = _judge(judge, ready, clock, judges.submit(attempt).result if judges else attempt)
    return (
        (item, failures[position] if position in failures else next(results))
        for position, (item, _) in enumerate(batch)
    )


def _judge(
    judge: Judge, ready: Sequence[Ready], clock: _Clock, attempt: Callable[[], list[Judged]]
) -> Iterator[Judged | Failure]:
    """The whole batch at once; if that fails, pair by pair: only the faulty pair fails, and each needs less memory."""
    if not ready:
        return
    try:
        judged = attempt()
    except (InputError, MachineError) as error:
        if len(ready) > 1:
            for each in ready:
                yield from _judge(judge, [each], clock, partial(_judge_ready, judge, [each], clock))
        elif isinstance(error, MachineError):
            raise
        else:
            yield Failure(query=ready[0][0].query.name, error=str(error))
    else:
        yield from judged


def judge_batch(judge: Judge, pairs: Sequence[PicturePair]) -> list[Judged]:
    """One call of the judge, its time divided among the pairs; a query that cannot be judged never reaches it.

    Raises what the judge raises, and ValueError if it does not return one judgement for each pair.
    """
    return _judge_ready(judge, [(pair, _why_unfit(judge, pair)) for pair in pairs], _Clock())


def _why_unfit(judge: Judge, pair: PicturePair) -> str:
    return why_unfit(pair) if getattr(judge, "looks_at_pictures", True) else ""


def _judge_ready(judge: Judge, ready: Sequence[Ready], clock: _Clock) -> list[Judged]:
    start = time.perf_counter()
    fit = [pair for pair, reason in ready if not reason]
    made = judge.judge(fit) if fit else []
    if len(made) != len(fit):
        raise ValueError(f"{judge.name}: returned {len(made)} judgements for {len(fit)} pairs")
    following = iter(made)
    judgements = [Judgement("invalid", reason=reason) if reason else next(following) for _, reason in ready]
    seconds = clock.stop(start) / max(1, len(ready))
    judged = []
    for (pair, _), judgement in zip(ready, judgements, strict=True):
        references = tuple(reference.name for reference in pair.references)
        verdict = make_verdict(judge, pair.query.name, references, judgement, seconds, pair.query.notes)
        judged.append(Judged(verdict, pair, judgement))
    return judged


def make_verdict(
    judge: Judge,
    query: str,
    references: tuple[str, ...],
    judgement: Judgement,
    seconds: float,
    notes: tuple[str, ...] = (),
) -> Verdict:
    """The record of one judgement; `seconds` is its share of the batch, `notes` are those of the query's picture."""
    return Verdict(
        query=query,
        references=references,
        answer=judgement.answer,
        reason=judgement.reason,
        anomalous=judgement.answer == "yes",
        score=ANSWER_SCORES[judgement.answer] if judgement.score is None else judgement.score,
        headline=judgement.headline,
        reasoning=judgement.reasoning,
        details=judgement.details,
        response=judgement.response,
        boxes=judgement.boxes,
        boxes_from=judgement.boxes_from,
        model=judge.name,
        prompt_version=judge.prompt_version,
        tokens=judgement.tokens,
        seconds=round(seconds, 4),
        notes=notes,
    )
