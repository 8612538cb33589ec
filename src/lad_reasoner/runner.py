"""From pairs to verdicts: the one loop around a judge.

    for pair, result in run(judge, pairs, read):
        ...                        # Judged: verdict, pictures, judgement; Failure: why there is no verdict

It decodes pictures ahead in a thread, judges in batches, isolates the faulty pair of a failed batch, divides the time
of a batch among its pairs, and makes the `Verdict`.
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
from lad_reasoner.files.pictures import name_source
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.text import printable

READ_AHEAD = 4  # pairs that are decoded while the judge works on others
ANSWER_SCORES: dict[Answer, float] = {"yes": 1.0, "no": 0.0, "invalid": 0.5}  # for a judge without scores

Item = TypeVar("Item")


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

    `read` decodes an item's pictures in a thread, at most a batch (or `READ_AHEAD`) ahead; the first verdict waits
    until so many items are there. An InputError of `read` or of the judge becomes a `Failure` of that item alone. A
    MachineError is raised if the judge raises it for a single pair.
    """
    items, batch_size = iter(items), max(1, judge.batch_size)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        waiting: deque[tuple[Item, Future[PicturePair]]] = deque()
        try:
            while True:
                ahead = max(batch_size, READ_AHEAD) - len(waiting)
                waiting.extend((item, pool.submit(read, item)) for item in islice(items, ahead))
                if not waiting:
                    return
                size = min(batch_size, len(waiting))
                # The batch has no name, which would keep its pictures in memory while the next batch is read.
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
            # A pair on disk and a failed query have their name in `query`.
            name = item.query if hasattr(item, "query") else name_source(item)
            failures[position] = Failure(query=printable(name), error=str(error))
    results = _judge(judge, pairs)
    for position, (item, _) in enumerate(batch):
        yield item, failures[position] if position in failures else next(results)


def _judge(judge: Judge, pairs: Sequence[PicturePair]) -> Iterator[Judged | Failure]:
    """The whole batch at once; if that fails, pair by pair: only the faulty pair fails, and each needs less memory."""
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
    """One call of the judge, its time divided among the pairs.

    Raises what the judge raises, and ValueError if it does not return one judgement for each pair.
    """
    start = time.perf_counter()
    judgements = judge.judge(pairs)
    seconds = (time.perf_counter() - start) / len(pairs)
    if len(judgements) != len(pairs):
        raise ValueError(f"{judge.name}: returned {len(judgements)} judgements for {len(pairs)} pairs")
    judged = []
    for pair, judgement in zip(pairs, judgements, strict=True):
        references = tuple(reference.name for reference in pair.references)
        judged.append(Judged(make_verdict(judge, pair.query.name, references, judgement, seconds), pair, judgement))
    return judged


def make_verdict(
    judge: Judge, query: str, references: tuple[str, ...], judgement: Judgement, seconds: float
) -> Verdict:
    """The record of one judgement; `seconds` is its share of the batch."""
    return Verdict(
        query=query,
        references=references,
        answer=judgement.answer,
        anomalous=judgement.answer == "yes",
        score=ANSWER_SCORES[judgement.answer] if judgement.score is None else judgement.score,
        headline=judgement.headline,
        reasoning=judgement.reasoning,
        response=judgement.response,
        boxes=judgement.boxes,
        boxes_from=judgement.boxes_from,
        model=judge.name,
        prompt_version=judge.prompt_version,
        tokens=judgement.tokens,
        seconds=round(seconds, 4),
    )
