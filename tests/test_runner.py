"""The one loop around a judge: consumers that stop early, errors in threads, judges that break the contract."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import Failure
from lad_reasoner.runner import Judged, run


class Counter:
    """Answers no; returns `returned` judgements of each batch."""

    name, prompt_version, notes = "counter", "test", ()
    parameters: int | None = None

    def __init__(self, batch_size: int, returned: int | None = None) -> None:
        self.batch_size, self.returned = batch_size, returned
        self.batches: list[int] = []

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.batches.append(len(pairs))
        return [Judgement("no", 0.0) for _ in pairs][: self.returned]


def read(number: int) -> PicturePair:
    picture = Picture(str(number), Image.new("RGB", (20, 20)), 20, 20)
    return PicturePair((picture,), picture)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_has_at_least_one_pair(batch_size: int) -> None:
    judge = Counter(batch_size)
    assert [number for number, _ in run(judge, range(3), read)] == [0, 1, 2]
    assert judge.batches == [1, 1, 1]


@pytest.mark.parametrize("returned", [0, 1])
def test_a_judge_that_returns_too_few_judgements_is_named(returned: int) -> None:
    results = run(Counter(2, returned), range(3), read)
    with pytest.raises(ValueError, match=f"counter: returned {returned} judgements for 2 pairs"):
        next(results)


class Overlapping(Counter):
    """Ends a call only when the next one has begun; a query named `wrong` cannot be judged."""

    calls_at_once = 2

    def __init__(self, batch_size: int, calls: int) -> None:
        super().__init__(batch_size)
        self.begun = [threading.Event() for _ in range(calls)]
        self.wrong = ""

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        call = len(self.batches)
        judgements = super().judge(pairs)
        if call < len(self.begun):
            self.begun[call].set()
        if call + 1 < len(self.begun):
            assert self.begun[call + 1].wait(20)
        if self.wrong in [pair.query.name for pair in pairs]:
            raise InputError("it is wrong")
        return judgements


def test_a_judge_may_get_its_next_call_before_it_has_ended_one() -> None:
    judge = Overlapping(2, calls=4)
    began = time.perf_counter()
    results = list(run(judge, range(7), read))
    assert [number for number, _ in results] == list(range(7))
    assert judge.batches == [2, 2, 2, 1]
    seconds = [result.verdict.seconds for _, result in results if isinstance(result, Judged)]
    assert sum(seconds) <= time.perf_counter() - began + 7e-4  # rounded to 1e-4 each; no time counts twice


def test_a_faulty_pair_fails_alone_where_calls_overlap() -> None:
    judge = Overlapping(2, calls=2)
    judge.wrong = "1"
    results = list(run(judge, range(5), read))
    assert [number for number, result in results if isinstance(result, Failure)] == [1]
    assert [result.query if isinstance(result, Failure) else result.verdict.query for _, result in results] == [
        *map(str, range(5))
    ]


def test_a_consumer_that_stops_early_waits_for_the_calls_that_have_begun() -> None:
    judge = Overlapping(1, calls=2)
    results = run(judge, range(10), read)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert judge.batches == [1, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("call")]


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read")]


def test_a_consumer_that_stops_early_leaves_no_thread_behind() -> None:
    started: list[int] = []

    def read_slowly(number: int) -> PicturePair:
        started.append(number)
        time.sleep(0.05)
        return read(number)

    for _ in run(Counter(1), range(100), read_slowly):
        break
    assert reader_threads() == []
    count = len(started)
    time.sleep(0.1)
    assert len(started) == count < 10


@pytest.mark.parametrize("error", [MachineError, OSError, MemoryError])
def test_an_error_of_the_reader_ends_the_run(error: type[Exception]) -> None:
    def fail_at_two(number: int) -> PicturePair:
        if number == 2:
            raise error("no")
        return read(number)

    results = run(Counter(1), range(9), fail_at_two)
    assert [next(results)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(error, match="no"):
        next(results)
    assert reader_threads() == []
    assert list(results) == []


def test_an_input_error_of_the_reader_is_one_items_failure() -> None:
    def fail_at_two(number: int) -> PicturePair:
        if number == 2:
            raise InputError("two cannot be read")
        return read(number)

    results = list(run(Counter(4), range(4), fail_at_two))
    assert [type(result) for _, result in results] == [Judged, Judged, Failure, Judged]
    assert results[2][1] == Failure(query="2", error="two cannot be read")


def test_an_error_of_the_source_ends_the_run() -> None:
    def numbers() -> Iterator[int]:
        yield 0
        raise InputError("the source broke")

    with pytest.raises(InputError, match="the source broke"):
        list(run(Counter(1), numbers(), read))
    assert reader_threads() == []


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_live_source_gets_its_verdict_before_its_next_part(batch_size: int) -> None:
    judged = threading.Event()

    def camera() -> Iterator[int]:
        for number in range(3):
            yield number
            assert judged.wait(5), "the verdict waits for the next part"
            judged.clear()

    numbers = []
    for number, _ in run(Counter(batch_size), camera(), read):
        numbers.append(number)
        judged.set()
    assert numbers == [0, 1, 2]


def test_what_has_piled_up_in_a_live_source_is_judged_in_batches() -> None:
    judge = Counter(4)
    assert [number for number, _ in run(judge, iter(range(40)), read)] == list(range(40))
    assert max(judge.batches) == 4
    assert len(judge.batches) < 20


def test_a_live_source_that_is_left_alone_stops_at_its_next_part() -> None:
    taken: list[int] = []

    def camera() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            time.sleep(0.01)
            yield number

    for _ in run(Counter(1), camera(), read):
        break
    time.sleep(0.2)
    assert len(taken) < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "source"]


@pytest.mark.posix
@pytest.mark.parametrize("judge", ["evidence", "micro", "station"])
def test_an_inspector_works_after_a_fork(tmp_path: Path, judge: str) -> None:
    """OpenMP's threads do not survive a fork: the child would wait for them for ever."""
    scene = tmp_path / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)).save(scene)
    code = """
import multiprocessing, sys
from pathlib import Path
import torch
from lad_reasoner import Inspector
from lad_reasoner.service.inspection import OpenStation
from lad_reasoner.service.setup import create_station

torch.set_num_threads(4)
scene, judge, folder = sys.argv[1:]
if judge == "station":
    create_station(folder, [Path(scene)])
    station = OpenStation(folder)
    def ask(name):
        return next(station.inspect([name])).outcome
else:
    inspector = Inspector(judge, [scene])
    def ask(name):
        return inspector.inspect(name).answer

here = ask(scene)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(ask, [scene] * 2).get(timeout=200) == [here] * 2
"""
    command = [sys.executable, "-c", code, str(scene), judge, str(tmp_path / "station")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
