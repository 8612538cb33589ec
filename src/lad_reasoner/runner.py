"""From pairs to verdicts: the one loop around a judge.

    for pair, result in run(judge, pairs, read):
        ...                        # Judged: verdict, pictures, judgement; Failure: why there is no verdict

It decodes pictures ahead in a thread, judges in the judge's batches, isolates the pair that a batch fails for, shares
out the time of a batch, and makes the `Verdict`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from lad_reasoner.answers import Answer
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.text import printable

READ_AHEAD = 4  # pairs that are decoded while the judge looks at others
ANSWER_SCORES: dict[Answer, float] = {"yes": 1.0, "no": 0.0, "invalid": 0.5}  # for a judge that only answers

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Judged:
    """A verdict, with the pictures and the judgement that it was made from."""

    verdict: Verdict
    pair: PicturePair
    judgement: Judgement


def run(
    judge: Judge, items: Iterable[Item], read: Callable[[Item], PicturePair]
) -> Iterator[tuple[Item, Judged | Failure]]:
    """Each item with its verdict, or with the reason why there is none; in order.

    `read` decodes an item's pictures in a thread, at most a batch (or `READ_AHEAD`) ahead. An InputError of `read` or
    of the judge becomes a `Failure` of that item alone; a MachineError that a single pair raises ends the run.
    """
    items = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        waiting: deque[tuple[Item, Future[PicturePair]]] = deque()
        try:
            while True:
                ahead = max(judge.batch_size, READ_AHEAD) - len(waiting)
                waiting.extend((item, pool.submit(read, item)) for item in islice(items, ahead))
                if not waiting:
                    return
                size = min(judge.batch_size, len(waiting))
                # No name for the batch: it would hold on to its pictures while the next one is read.
                yield from _run_batch(judge, [waiting.popleft() for _ in range(size)])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_batch(
    judge: Judge, batch: Sequence[tuple[Item, Future[PicturePair]]]
) -> Iterator[tuple[Item, Judged | Failure]]:
    pairs: list[PicturePair] = []
    failures: dict[int, Failure] = {}
    for position, (item, future) in enumerate(batch):
        try:
            pairs.append(future.result())
        except InputError as error:
            # A pair on disk and a failed query have their name in `query`; a path is its own name.
            failures[position] = Failure(query=printable(getattr(item, "query", item)), error=str(error))
    results = _judge(judge, pairs)
    for position, (item, _) in enumerate(batch):
        yield item, failures[position] if position in failures else next(results)


def _judge(judge: Judge, pairs: Sequence[PicturePair]) -> Iterator[Judged | Failure]:
    """All at once; where that fails one by one, so that only the faulty pair fails, or memory is enough."""
    if not pairs:
        return
    try:
        judged = judge_batch(judge, pairs)
    except (InputError, MachineError) as error:
        if len(pairs) > 1:
            for pair in pairs:
                yield from _judge(judge, [pair])
        elif isinstance(error, MachineError):
            raise
        else:
            yield Failure(query=pairs[0].query.name, error=str(error))
    else:
        yield from judged


def judge_batch(judge: Judge, pairs: Sequence[PicturePair]) -> list[Judged]:
    """One call of the judge, its time shared out among the pairs; raises what the judge raises."""
    start = time.perf_counter()
    judgements = judge.judge(pairs)
    seconds = (time.perf_counter() - start) / len(pairs)
    return [
        Judged(_make_verdict(judge, pair, judgement, seconds), pair, judgement)
        for pair, judgement in zip(pairs, judgements, strict=True)
    ]


def _make_verdict(judge: Judge, pair: PicturePair, judgement: Judgement, seconds: float) -> Verdict:
    """The record of one judgement that took so many seconds."""
    return Verdict(
        query=pair.query.name,
        references=tuple(reference.name for reference in pair.references),
        answer=judgement.answer,
        anomalous=judgement.answer == "yes",
        score=ANSWER_SCORES[judgement.answer] if judgement.score is None else judgement.score,
        reasoning=judgement.reasoning,
        response=judgement.response,
        boxes=judgement.boxes,
        boxes_from=judgement.boxes_from,
        model=judge.name,
        prompt_version=judge.prompt_version,
        tokens=judgement.tokens,
        seconds=round(seconds, 4),
    )
