"""How long, and how much, many pictures take on a cluster: a simulation of the queue of `inspect --ray`.

    lad-reasoner inspect --ray local --workers 1 --reference good/ --out lines/ pictures/
    python benchmarks/scale.py lines/ [--pictures 1000000] [--workers 1,8,64] [--deaths 0.01] [--price 0.05]

What is measured: the seconds of each picture, from the lines of that run; the seconds until a worker has its first
verdict, in a new process, with the references and a query of the lines (or give `--start`); and the seconds that the
process which writes needs for a line. What is assumed: how often a worker dies, and what an hour of one costs. What is
simulated: units as bulk.py cuts them, taken by the next free worker; a worker that dies is replaced and its unit judged
again; answers wait for the one process that writes. Reading is part of a picture's seconds where it is slower than
judging, so that a slower store of pictures has to be measured anew.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.bulk import unit_size
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_lines
from lad_reasoner.records import ResultLine

HOUR = 3600.0
WRITTEN = 2048  # lines that the measured writing writes at least
FIRST_VERDICT = (
    "import json, sys; from lad_reasoner import Inspector; given = json.loads(sys.argv[1]); "
    "Inspector(given['model'], given['references']).inspect(given['query'])"
)


@dataclass(frozen=True, eq=False)
class Rates:
    """Seconds: of each measured picture, until a worker's first verdict, and of a line in the process that writes."""

    pictures: NDArray[np.float64]
    start: float
    line: float


@dataclass(frozen=True)
class Simulated:
    """A simulated run: seconds until the last line, seconds in which workers judged what was kept, and deaths."""

    seconds: float
    judging: float
    deaths: int
    workers: int

    @property
    def worker_hours(self) -> float:
        """All workers are paid for until the last line."""
        return self.seconds * self.workers / HOUR

    @property
    def busy(self) -> float:
        """Share of the paid time in which pictures were judged that did not have to be judged again."""
        return self.judging / (self.seconds * self.workers)


def simulate(rates: Rates, pictures: int, workers: int, *, deaths: float = 0, seed: int = 0) -> Simulated:
    """`deaths` is how often an hour a worker dies."""
    draw = np.random.default_rng(seed)
    size = unit_size(pictures, workers)
    durations = [
        float(draw.choice(rates.pictures, min(size, pictures - first)).sum()) for first in range(0, pictures, size)
    ]
    free = [rates.start] * workers  # when each worker is free, the earliest first
    dies = [(draw.exponential(HOUR / deaths) if deaths else np.inf) for _ in range(workers)]
    queue = [(when, worker) for worker, when in enumerate(free)]
    heapq.heapify(queue)
    written, count = 0.0, 0
    arrivals = []
    for duration in durations:
        begin, worker = heapq.heappop(queue)
        while begin + duration > dies[worker]:
            count += 1
            begin = max(begin, dies[worker]) + rates.start
            dies[worker] = begin + draw.exponential(HOUR / deaths)
        arrivals.append(begin + duration)
        heapq.heappush(queue, (begin + duration, worker))
    each = rates.line * pictures / len(durations)
    for arrival in sorted(arrivals):
        written = max(written, arrival) + each
    return Simulated(written, sum(durations), count, workers)


def read_rates(folder: Path, start: float | None = None) -> Rates:
    """The rates behind the lines of a run. InputError if it has too few."""
    lines = []
    for path in sorted(folder.glob("part-*.jsonl")):
        lines += [ResultLine.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    judged = [line for line in lines if line.seconds and line.references]
    if len(judged) < 20:
        raise InputError(f"{folder}: {len(judged)} judged pictures; give the --out of `inspect --ray` over 20 or more")
    seconds = np.array([line.seconds for line in judged])
    return Rates(seconds, _measure_start(judged[0]) if start is None else start, _measure_writing(judged))


def _measure_start(line: ResultLine) -> float:
    """Seconds until a new process has judged this query; the median of three."""
    given = json.dumps({"model": line.model, "references": line.references, "query": line.query})
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST_VERDICT, given], check=True)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def _measure_writing(lines: list[ResultLine]) -> float:
    """Seconds of a line in the process that writes: it reads a unit's lines, appends and flushes them."""
    unit = [lines[i % len(lines)].model_dump_json() for i in range(64)]
    rounds = WRITTEN // len(unit)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for _ in range(rounds):
            answer = json.dumps({"lines": unit})
            read = [ResultLine.model_validate_json(line) for line in json.loads(answer)["lines"]]
            append_lines(Path(folder) / "part.jsonl", [line.model_dump_json() for line in read])
        return (time.perf_counter() - begin) / (rounds * len(unit))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("lines", type=Path, metavar="LINES", help="--out of `inspect --ray --workers 1`")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--workers", default="1,8,64")
    parser.add_argument("--deaths", type=float, default=0.01, help="deaths of a worker an hour")
    parser.add_argument("--price", type=float, help="of an hour of one worker, in your money")
    parser.add_argument("--start", type=float, help="seconds until a worker's first verdict; measured unless given")
    args = parser.parse_args()
    rates = read_rates(args.lines, args.start)
    mean = rates.pictures.mean()
    print(
        f"measured: {mean:.4f} s a picture ({1 / mean:.1f} a second, {len(rates.pictures)} pictures), "
        f"{rates.start:.1f} s until a worker's first verdict, {1e6 * rates.line:.0f} µs to write a line"
    )
    print(f"simulated: {args.pictures:,} pictures, a worker dies {args.deaths:g} times an hour\n")
    priced = args.price is not None
    print("| workers | hours | pictures a second | worker hours | busy | deaths |" + (" cost |" if priced else ""))
    print("|---|---|---|---|---|---|" + ("---|" if priced else ""))
    for workers in map(int, args.workers.split(",")):
        run = simulate(rates, args.pictures, workers, deaths=args.deaths)
        cost = f" {run.worker_hours * args.price:.2f} |" if priced else ""
        rate = args.pictures / run.seconds
        print(
            f"| {workers} | {run.seconds / HOUR:.2f} | {rate:.1f} | {run.worker_hours:.1f} | {100 * run.busy:.1f} % "
            f"| {run.deaths} |{cost}"
        )


if __name__ == "__main__":
    main()
