"""Sections of `bench.py` about `evidence`: queries, references, processes, parts and start."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from bench_common import PACKAGE, ROUNDS, draw_pictures, limits, spread, table, time_in_turns, words
from safetensors.numpy import load_file

from lad_reasoner import Inspector
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.evidence import threads
from lad_reasoner.judges.evidence.efficientnet import GRAPH, WEIGHTS
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.runner import run

DISTINCT = 50  # queries that are drawn; more are the same ones again
INTERVAL = 0.004  # seconds between two looks at what the judge is doing


def _inspector(references: int) -> Inspector:
    """A new judge that knows none of its references."""
    return Inspector("evidence", draw_pictures("train", references))


def _judge(inspector: Inspector, number: int) -> None:
    drawn = draw_pictures("test", min(number, DISTINCT))
    for _ in inspector.run([drawn[i % len(drawn)] for i in range(number)]):
        pass


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """evidence judges one query after the other, in the calling thread, which alone is looked at."""

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    with mock.patch.object(threads, "_pool", lambda: SimpleNamespace(map=map, submit=submit)):
        yield


def count_evidence(inspector: Inspector) -> float:
    """GFLOP of a query of `evidence`: the network, and the product of its patches with all views of the references."""
    import onnx

    judge = inspector.judge
    assert isinstance(judge, Evidence)
    matcher = judge._studied(inspector.references).matcher
    width, height = matcher.size
    shapes = {"pixels": (height, width)}
    work = 0.0
    for node in onnx.load(GRAPH, load_external_data=False).graph.node:
        rows, columns = next(shapes[name] for name in node.input if name in shapes)
        strides = {attribute.name: attribute.ints for attribute in node.attribute}.get("strides", (1, 1))
        rows, columns = rows // strides[0], columns // strides[1]
        shapes[node.output[0]] = rows, columns
        if node.op_type == "Conv":
            work += 2 * rows * columns * _weights()[node.input[1]]
    patches, channels = matcher.bank.features[0].shape[1:]
    # A query that is not turned needs no more, where the references are upright.
    views = len(matcher.bank.features) if matcher.upright else sum(map(len, matcher.bank.features))
    return (work + 2 * patches**2 * channels * views) / 1e9


@cache
def _weights() -> dict[str, int]:
    return {name: array.size for name, array in load_file(WEIGHTS).items()}


def queries(quick: bool) -> str:
    """evidence, four references: 1 to 1,000 queries, the studying of the references included."""
    numbers = (1, 3) if quick else (1, 10, 100, 1000)
    draw_pictures("test", max(min(number, DISTINCT) for number in numbers))
    calls = {str(number): lambda number=number: _judge(_inspector(4), number) for number in numbers}
    seconds = time_in_turns(calls, 1 if quick else 3)
    rows = []
    for name, times in seconds.items():
        each = [1000 * value / int(name) for value in times]
        gains = [first / value * int(name) for first, value in zip(seconds["1"], times, strict=True)]
        rows.append((f"{int(name):,}", words(spread(times)), words(spread(each)), words(spread(gains))))
    studied = _inspector(4)
    _judge(studied, 1)
    work = count_evidence(studied)
    rate = work / min(times[-1] / int(name) for name, times in seconds.items())
    limit = limits()["float32, GFLOP/s"][0]
    return (
        f"{table(('queries', 's', 'ms a query', 'times as fast a query as one alone'), rows)}\n\n"
        f"Network and product are {work:.1f} GFLOP a query: {rate:.0f} GFLOP/s, {100 * rate / limit:.0f} % of this "
        "machine's rate in float32. The rest is work that is not counted: registration, searching, regions, words."
    )


def references(quick: bool) -> str:
    """evidence: 1 to 200 references, studied and then used."""
    numbers = (1, 2) if quick else (1, 4, 10, 40, 200)
    count = 2 if quick else 8
    study: dict[str, list[float]] = {str(number): [] for number in numbers}
    use: dict[str, list[float]] = {str(number): [] for number in numbers}
    for _ in range(1 if quick else 3):
        for name in study:
            inspector = _inspector(int(name))
            start = time.perf_counter()
            _judge(inspector, 1)
            middle = time.perf_counter()
            _judge(inspector, count)
            each = (time.perf_counter() - middle) / count
            use[name].append(each)
            study[name].append(max(0.0, middle - start - each))
    rows = []
    for name in study:
        slower = [value / one for value, one in zip(use[name], use["1"], strict=True)]
        milliseconds = [1000 * value for value in use[name]]
        rows.append((name, words(spread(study[name])), words(spread(milliseconds), 0), words(spread(slower))))
    return table(("references", "s to study them", "ms a query", "times the time of one reference"), rows)


def processes(quick: bool) -> str:
    """evidence, four references: the threads of one process, and a process on each core, as `--ray` has them."""
    number, rounds = (4, 1) if quick else (100, 3)
    cores = threads.count_cores()
    inspector = _inspector(4)

    def in_threads() -> None:
        with mock.patch.object(inspector.judge, "many", None):  # which starts processes itself
            _judge(inspector, number * cores)

    with ProcessPoolExecutor(cores, get_context("spawn"), _prepare, (get_context("spawn").Barrier(cores),)) as pool:
        calls = {
            f"one, of {cores} threads": in_threads,
            f"{cores}, of one thread": lambda: list(pool.map(_judge_apart, [number] * cores)),
        }
        time_in_turns(calls, 1)  # draws the pictures and studies the references
        seconds = time_in_turns(calls, rounds)
    first, *_ = seconds.values()
    rows = []
    for name, times in seconds.items():
        each = [1000 * value / (number * cores) for value in times]
        gains = [one / value for one, value in zip(first, times, strict=True)]
        rows.append((name, words(spread(each)), words(spread(gains), 2)))
    return table(("processes", "ms a query", "times as fast as threads"), rows)


def _prepare(barrier: Any) -> None:
    """In a process that judges on one core; all take a part of the work, since each waits for the others."""
    global _together
    os.environ["OMP_NUM_THREADS"] = "1"
    _together = barrier


_together: Any = None


@cache
def _own_inspector() -> Inspector:
    return _inspector(4)


def _judge_apart(number: int) -> None:
    _together.wait()
    _judge(_own_inspector(), number)


STARTS = {
    "`lad-reasoner --help`": ("-m", "lad_reasoner", "--help"),
    "`import torch`": ("-c", "import torch"),
    "first verdict of evidence": ("-m", "lad_reasoner", "inspect", "-r", "r.png", "q.png"),
    "first verdict of micro": ("-m", "lad_reasoner", "inspect", "--model", "micro", "-r", "r.png", "q.png"),
    "the same in Python": ("-c", "from lad_reasoner import Inspector; Inspector('micro', 'r.png').inspect('q.png')"),
}


def start(quick: bool) -> str:
    """From a new process to its first result, with files that the system has read before."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures("train", 1)[0].save(Path(folder) / "r.png")
        draw_pictures("test", 1)[0].save(Path(folder) / "q.png")
        times: dict[str, list[float]] = {name: [] for name in STARTS}
        processor: dict[str, list[float]] = {name: [] for name in STARTS}
        for _ in range(1 if quick else ROUNDS + 1):
            for name, words_of in STARTS.items():
                before, begin = os.times(), time.perf_counter()
                subprocess.run([sys.executable, *words_of], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.perf_counter() - begin)
                after = os.times()
                processor[name].append(sum(after[2:4]) - sum(before[2:4]))
    for name in STARTS:
        kept = slice(0 if quick else 1, None)  # the first one reads the files
        rows.append((name, words(spread(times[name][kept]), 2), words(spread(processor[name][kept]), 2)))
    return table(("what", "s", "s of processor time"), rows)


class Sampler:
    """Which module of the package the calling thread is in, looked at every few milliseconds while this is entered.

    What a library does for a module counts for that module.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._thread, self._done = threading.get_ident(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sampler:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            frame = sys._current_frames().get(self._thread)
            while frame is not None and not frame.f_code.co_filename.startswith(str(PACKAGE)):
                frame = frame.f_back
            if frame is not None:
                self.counts[Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()] += 1


def parts(quick: bool) -> str:
    """evidence, four references: where the time of a query goes, by module."""
    inspector = _inspector(4)
    _judge(inspector, 1)
    pictures = draw_pictures("test", 4 if quick else DISTINCT)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, image in enumerate(pictures):
            paths.append(Path(folder) / f"{index}.png")
            image.save(paths[-1])
        pairs: list[PicturePair] = []
        read = _sampled(lambda: pairs.extend(map(inspector.read_pair, paths)), "reading the file")
        judged = _sampled(lambda: list(run(inspector.judge, pairs, lambda pair: pair)), "")
    counts = read + judged
    rows = []
    for name, count in counts.most_common(12):
        rows.append((f"`{name}`" if name.endswith(".py") else name, f"{100 * count / counts.total():.0f} %"))
    return table(("module", "share of the time"), rows)


def _sampled(call: Callable[[], Any], name: str) -> Counter[str]:
    """Looks while the call ran, by module, or all under one name."""
    with one_thread(), Sampler() as sampler:
        call()
    return Counter({name: sampler.counts.total()}) if name else sampler.counts
