"""What a station learns from its first mistakes, on real photographs.

    python benchmarks/feedback.py FOLDER [--sets screw_block hazelnut] [--most 30] [--seeds 1]

A station of one reference, judged by `evidence`, sees a set's pictures in a random order, at most `--most` good and as
many bad ones. Of the first 20 only its mistakes are said to it: false alarms are accepted as references, and the limit
is fitted to what was said. A line shows the mistakes of the first 20, and the balanced accuracy on all other pictures
before and after. Everything goes the way of an operator: inspections, feedback, preview, apply. Sets whose classes have
a single good picture are left out.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from photographs import Category, draw, limited, load_sets

from lad_reasoner.service.archived import Change, Inspection, Opinion
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.setup import create_station
from lad_reasoner.service.teaching import apply_change, propose_change

TAUGHT, MOST, LEAST_GOOD = 20, 30, 10

Query = tuple[Path, bool]  # and whether it is anomalous


def queries_of(category: Category, reference: Path, most: int, seed: int) -> list[Query]:
    good = limited([path for path in category.good if path != reference], most)
    queries = [(path, False) for path in good] + [(path, True) for path in limited(category.bad, most)]
    random.Random(seed).shuffle(queries)
    return queries


def inspect(runtime: Runtime, queries: Sequence[Query]) -> list[Inspection]:
    inspections = []
    for path, _ in queries:
        order = runtime.order("taught", path.read_bytes(), part=path.name, who="line", seconds=600)
        inspections.append(order.finish(order.future.result()))
    return inspections


def teach(runtime: Runtime, live: LiveStation, target: str, numbers: Sequence[int]) -> Change:
    change = propose_change(runtime, live, target, numbers, who="operator")  # type: ignore[arg-type]
    while change.state == "preparing":
        time.sleep(0.1)
        change = live.archive.change(change.id)
    if change.state != "preview":
        raise SystemExit(f"the preview failed: {change.preview}")
    return apply_change(live, change.id, who="operator")


def balanced_accuracy(inspections: Sequence[Inspection], queries: Sequence[Query]) -> float:
    called = np.array([inspection.outcome == "anomalous" for inspection in inspections])
    truth = np.array([anomalous for _, anomalous in queries])
    return float(called[truth].mean() + (~called)[~truth].mean()) / 2


def run(category: Category, most: int, seed: int) -> tuple[int, int, float, float]:
    """False alarms and misses among the first pictures; balanced accuracy of the others before and after."""
    reference = draw(category, 1, seed)[0]
    queries = queries_of(category, reference, most, seed)
    first, rest = queries[:TAUGHT], queries[TAUGHT:]
    with tempfile.TemporaryDirectory() as folder:
        create_station(Path(folder) / "taught", [reference])
        runtime = Runtime([Path(folder) / "taught"])
        try:
            live = runtime.station("taught")
            false_alarms, misses = [], []
            for inspection, (_, anomalous) in zip(inspect(runtime, first), first, strict=True):
                if (inspection.outcome == "anomalous") == anomalous:
                    continue
                opinion = Opinion.MISSED if anomalous else Opinion.GOOD
                live.archive.review(inspection.id, opinion, who="operator")
                (misses if anomalous else false_alarms).append(inspection.id)
            # The rest is seen by an equal station, so that the taught one has only its first pictures to learn from.
            before = balanced_accuracy(_inspect_apart(live, rest), rest)
            if false_alarms:
                teach(runtime, live, "references", false_alarms)
            elif misses:
                teach(runtime, live, "limit", [])
            after = balanced_accuracy(inspect(runtime, rest), rest)
        finally:
            runtime.close()
    return len(false_alarms), len(misses), before, after


def _inspect_apart(live: LiveStation, queries: Sequence[Query]) -> list[Inspection]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "taught"
        shutil.copytree(live.folder, copy, ignore=shutil.ignore_patterns("archive*", "pictures"))
        runtime = Runtime([copy])
        try:
            return inspect(runtime, queries)
        finally:
            runtime.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--most", type=int, default=MOST)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    gains = []
    for name, categories in load_sets(options.root).items():
        if (options.sets and name not in options.sets) or len(categories[0].good) < LEAST_GOOD:
            continue
        for seed in range(options.seeds):
            false_alarms, misses, before, after = run(categories[0], options.most, seed)
            gains.append(after - before)
            mistakes = f"{false_alarms:2d} false alarms, {misses:2d} misses"
            print(f"{name:12s} seed {seed}: {mistakes}; {100 * before:.1f} -> {100 * after:.1f} %", flush=True)
    print(f"mean gain {100 * float(np.mean(gains)):+.1f} points over {len(gains)} runs")


if __name__ == "__main__":
    main()
