"""Whether memory stays flat while many queries are judged: the resident size over the run, and its growth.

    python benchmarks/memory.py                                     evidence, four references, 10,000 queries
    python benchmarks/memory.py --model micro --queries 2000
    python benchmarks/memory.py --model pixel-difference --queries 1000 --size 128
    python benchmarks/memory.py --ray                               the same by `inspect --ray`, killed half way

Queries are read from files, as `inspect` reads them: fifty drawn pictures again and again, under as many names as there
are queries, since a cache that is keyed by a name would grow. Ends with exit code 1 if the median of the last tenth is
more than `MOST` above that of the second tenth.

With `--ray` the queries are files of a folder and two workers judge them. All of it is killed (SIGKILL) when half of
the lines are there, and started again by the same command: at the end each query must have exactly one line, the lines
from before the kill as they were. It prints the seconds and the size of the processes at each tenth: linear if a tenth
takes as long as another, but for the start of a cluster in the first and the sixth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lad_reasoner import Inspector
from lad_reasoner.miniloco import EVALUATION, draw_picture
from lad_reasoner.records import Failure

MOST = 0.10
DISTINCT = 50
REFERENCES = 4
MEGABYTE = 1024**2


def resident() -> int:
    """Bytes that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(sizes: list[int]) -> float:
    """How much more the last tenth has than the second one, by their medians."""
    tenth = max(1, len(sizes) // 10)
    return statistics.median(sizes[-tenth:]) / statistics.median(sizes[tenth : 2 * tenth]) - 1


def measure(model: str, queries: int, size: int) -> list[int]:
    """The resident size after each query."""
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(DISTINCT):
            kind = "logical" if index % 2 else "good"
            draw_picture(EVALUATION[0], "test", kind, index, size=size).image.save(folder / f"{index}.png")  # type: ignore[arg-type]
        references = [
            draw_picture(EVALUATION[0], "train", "good", index, size=size).image for index in range(REFERENCES)
        ]
        inspector = Inspector(model, references)
        # `0/./17.png` is the same file under another name
        paths = [f"{folder}/{'./' * (number // DISTINCT % 100)}{number % DISTINCT}.png" for number in range(queries)]
        for result in inspector.run(paths):
            assert not isinstance(result, Failure), result
            sizes.append(resident())
    return sizes


def judge_on_cluster(model: str, queries: int, size: int) -> list[int]:
    """The resident size of all processes at each tenth of the lines; AssertionError if a query has not one line."""
    import psutil

    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name, "out")
        (folder / "query").mkdir()
        draw_picture(EVALUATION[0], "train", "good", 0, size=size).image.save(folder / "good.png")
        for index in range(min(DISTINCT, queries)):
            kind = "logical" if index % 2 else "good"
            draw_picture(EVALUATION[0], "test", kind, index, size=size).image.save(folder / f"query/{index}.png")  # type: ignore[arg-type]
        for number in range(DISTINCT, queries):
            os.link(folder / f"query/{number % DISTINCT}.png", folder / f"query/{number}.png")
        program = Path(sys.executable).with_name("lad-reasoner")
        command = [program, "inspect", "--ray", "local", "--workers", "2", "--model", model]
        command += ["-r", folder / "good.png", "--out", out, folder / "query"]
        before: list[str] = []
        start = time.perf_counter()
        for ends in (queries // 2, queries):
            verb = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
            try:
                while len(lines := _lines(out)) < ends and verb.poll() is None:
                    while len(before) < len(lines) and len(sizes) < 10 * len(lines) // queries:
                        sizes.append(sum(_resident(each) for each in psutil.Process(verb.pid).children(recursive=True)))
                        print(
                            f"{len(lines):>7} lines: {time.perf_counter() - start:.0f} s, {sizes[-1] / MEGABYTE:.0f} MB"
                        )
                    time.sleep(0.5)
                if ends == queries:
                    assert verb.wait() == 0
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(verb.pid, signal.SIGKILL)
                verb.wait()
            if ends < queries:
                before = _lines(out)
        after = _lines(out)
        names = Counter(json.loads(line)["query"] for line in after)
        assert len(names) == queries == len(after), f"{len(names)} queries have {len(after)} lines"
        assert set(before) <= set(after), "a line from before the kill is gone"
        print(f"killed once at {len(before)} lines: {len(names)} queries, each with one line")
    return sizes


def _lines(out: Path) -> list[str]:
    """The whole lines that are there."""
    parts = [file.read_text(encoding="utf-8") for file in sorted(out.glob("part-*.jsonl"))]
    return [line for part in parts for line in part.split("\n")[:-1]]


def _resident(process: Any) -> int:
    """The resident size of a process, 0 of one that has ended."""
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="evidence")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--ray", action="store_true", help="two workers of `inspect --ray`, killed half way")
    options = parser.parse_args()
    if options.ray:
        judge_on_cluster(options.model, options.queries, options.size)
        return
    start = time.perf_counter()
    sizes = measure(options.model, options.queries, options.size)
    seconds = time.perf_counter() - start
    for share in range(1, 11):
        at = len(sizes) * share // 10
        print(f"{at:>7} queries: {sizes[at - 1] / MEGABYTE:.0f} MB")
    grown = growth(sizes)
    print(f"{options.model}: {len(sizes) / seconds:.1f} queries a second, grown by {100 * grown:.1f} %")
    sys.exit(grown > MOST)


if __name__ == "__main__":
    main()
