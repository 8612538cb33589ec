"""The drills `soak` and `same`: many pictures in one process, and queries judged again, by `evidence` and by micro.

`same` judges again in other orders, batches, threads and processes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from drill_common import Tally
from memory import MEGABYTE, resident
from PIL import Image


def drill_soak(number: int, seed: int = 0) -> Tally:
    """`number` pictures of 256 pixels in one process, by each judge: all have a verdict, memory and open files stay."""
    tally = Tally()
    for name in ("evidence", "micro"):
        _soak(tally, name, number, seed)
    return tally


def _soak(tally: Tally, judge: str, number: int, seed: int) -> None:
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.records import Failure

    noise = np.random.default_rng(seed).integers(0, 255, (8, 256, 256, 3), np.uint8)
    scenes = [Image.fromarray((scene // 4 + 90).astype(np.uint8)) for scene in noise]
    inspector, first = Inspector(judge, scenes[:1]), min(20, number // 2)
    tally.tried += number
    began = start = 0.0
    for index, result in enumerate(inspector.inspect_many(scenes[at % 8] for at in range(number))):
        if isinstance(result, Failure):
            tally.lost.append(f"{judge}, picture {index}: {result.error}")
        if index == first:
            began, start, handles = resident() / MEGABYTE, time.perf_counter(), open_files()
    each = (time.perf_counter() - start) / max(1, number - first)
    grown, opened = resident() / MEGABYTE - began, open_files() - handles
    tally.note += f" ({judge}: memory {began:.0f} MB and {grown:+.0f} MB, files {opened:+d}, {each:.3f} s each)"
    if grown > GROWN:
        tally.lost.append(f"{judge}: memory grew by {grown:.0f} MB")
    if opened > 0:
        tally.lost.append(f"{judge}: {opened} files stay open")


def drill_same(number: int, seed: int = 0) -> Tally:
    """`number` queries judged again: a second time, backwards, one by one, on one core, in threads, beside another
    Inspector of the same judge, after a fork. Lost is another answer, reasoning or box, or a score that differs by
    more than 1e-5.
    """
    from multiprocessing import get_context

    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judges import load_judge

    noise = np.random.default_rng(seed).integers(0, 255, (number + 2, 128, 128, 3), np.uint8)
    scenes = [Image.fromarray((scene // 4 + 90).astype(np.uint8)) for scene in noise]
    tally = Tally()
    for name in ("evidence", "micro"):
        judge = load_judge(name)
        inspector = Inspector(judge, scenes[:1])
        expected = _said(inspector, scenes[2:])

        def compare(how: str, said: Sequence[tuple[Any, ...]], expected: Any = expected, name: str = name) -> None:
            tally.tried += 1
            words = [line[:-1] for line in said] == [line[:-1] for line in expected]
            apart = max(abs(ours[-1] - theirs[-1]) for ours, theirs in zip(said, expected, strict=True))
            if not words or apart > 1e-5:
                tally.lost.append(f"{name}, {how}: {'scores' if words else 'answers'} differ, by {apart:.1e}")

        compare("again", _said(inspector, scenes[2:]))
        compare("backwards", _said(inspector, scenes[:1:-1])[::-1])
        compare("one by one", [_said(inspector, [scene])[0] for scene in scenes[2:]])
        compare("a new judge", _said(Inspector(load_judge(name), scenes[:1]), scenes[2:]))
        other = Inspector(judge, scenes[1:2])
        _said(other, scenes[2:])
        compare("beside another inspector of the judge", _said(inspector, scenes[2:]))
        with ThreadPoolExecutor(4) as pool:
            beside = pool.submit(_said, other, scenes[2:])
            for said in [pool.submit(_said, inspector, scenes[2:]) for _ in range(3)]:
                compare("in a thread", said.result())
            beside.result()
        process = get_context("fork").Process(
            target=_said_to, args=(inspector, scenes[2:], queue := get_context("fork").Queue())
        )
        process.start()
        compare("after a fork", queue.get(timeout=300))
        process.join()
    return tally


def _said(inspector: Any, scenes: Sequence[Image.Image]) -> list[tuple[Any, ...]]:
    results = list(inspector.inspect_many(scenes))
    return [(each.answer, each.reasoning, each.boxes, each.score) for each in results]


def _said_to(inspector: Any, scenes: Sequence[Image.Image], queue: Any) -> None:
    queue.put(_said(inspector, scenes))


GROWN = 100  # MB: more is a leak


def open_files() -> int:
    """Files that this process has open; Linux."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
