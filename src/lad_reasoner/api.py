"""The verbs `eval` and `compare` as Python functions.

metrics = evaluate("micro", "miniloco", out="runs/micro")
comparison = compare(["runs/random", "runs/micro"])
over_seeds = compare_over_seeds(["runs/random-seeds", "runs/micro-seeds"])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import open_benchmark
from lad_reasoner.evaluation.comparison import RunComparison, compare_runs, write_comparison
from lad_reasoner.evaluation.run import Run, RunMetrics
from lad_reasoner.evaluation.seeds import SeedComparison, compare_seeds, holds_runs, write_seeds
from lad_reasoner.judge import Judge
from lad_reasoner.judges import check_judge, load_judge
from lad_reasoner.report.evaluation import write_evaluation
from lad_reasoner.report.terminal import track


def evaluate(
    model: str | Path | Judge,
    benchmark: str = "miniloco",
    *,
    out: str | Path,
    root: str | Path | None = None,
    references: int | None = None,
    references_file: str | Path | None = None,
    seed: int = 0,
    kinds: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> RunMetrics:
    """Judge a benchmark into the run folder `out`, resuming an unfinished run; returns the metrics of all predictions.

    `model` is a name for `load_judge`, the folder of a checkpoint, or a judge; the other arguments are those of
    `open_benchmark`, `draw_pairs` and `Run`. A terminal shows a progress bar.
    """
    if not isinstance(model, str | Path):
        check_judge(model)
    opened = open_benchmark(benchmark, root, references_file=references_file)
    defaults = {"seed": seed, "benchmark": opened, "cache": Path(out) / "answers.jsonl"}
    judge = load_judge(str(model), defaults=defaults) if isinstance(model, str | Path) else model
    of_kinds = [kinds] if isinstance(kinds, str) else kinds
    run = Run(out, judge, opened, references=references, seed=seed, kinds=of_kinds, limit=limit)
    for _ in track(run.predict(), len(run.todo), "Judging", beside_results=False):
        pass
    return write_evaluation(out)[1]


def compare(
    runs: str | Path | Iterable[str | Path], *, out: str | Path | None = None, published: str | Path | None = None
) -> RunComparison:
    """Compare run folders of `evaluate` on the same pairs; with `out` the tables are written there, too.

    `published` is a CSV file of results to add, or `paper`. InputError for runs on other pairs, and for a folder of
    runs, which `compare_over_seeds` takes.
    """
    runs = _each(runs)
    for folder in runs:
        if holds_runs(folder):
            raise InputError(f"{folder}: a folder of runs; give it to compare_over_seeds")
    comparison = compare_runs(runs, published=published)
    if out is not None:
        write_comparison(Path(out), comparison)
    return comparison


def compare_over_seeds(
    folders: str | Path | Iterable[str | Path], *, out: str | Path | None = None, published: str | Path | None = None
) -> SeedComparison:
    """Compare systems over several seeds or trainings: mean and sample deviation of the runs in each folder.

    A single run is a row without a deviation. With `out` the tables are written there, too; `published` as in
    `compare`. InputError for runs on other queries, and for a folder whose runs differ in more than seed and
    checkpoint.
    """
    comparison = compare_seeds(_each(folders), published=published)
    if out is not None:
        write_seeds(Path(out), comparison)
    return comparison


def _each(folders: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Several folders, or one in their place, whose name is not taken apart."""
    return [folders] if isinstance(folders, str | Path) else list(folders)
