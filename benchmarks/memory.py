"""Whether memory stays flat while many queries are judged: the resident size over the run, and its growth.

    python benchmarks/memory.py                                     evidence, four references, 10,000 queries
    python benchmarks/memory.py --model micro --queries 2000
    python benchmarks/memory.py --model pixel-difference --queries 1000 --size 128

Queries are read from files, as `inspect` reads them: fifty drawn pictures again and again, under as many names as there
are queries, since a cache that is keyed by a name would grow. Ends with exit code 1 if the median of the last tenth is
more than `MOST` above that of the second tenth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="evidence")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    options = parser.parse_args()
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
