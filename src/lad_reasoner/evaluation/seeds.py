"""Runs with several seeds as one row: mean and sample standard deviation over runs, as papers report them.

    runs/micro/0  runs/micro/1  …         run folders of `eval --seed N`, or of checkpoints trained with several seeds
    comparison = compare_seeds(["runs/micro", "runs/evidence"])
    write_seeds(Path("runs/comparison"), comparison)

    seeds.md  seeds.csv  seeds.tex        a row for each folder, in the columns of Table 1
    seeds_by_run.csv                      a line for each run, with its seed: for plots and tests of one's own

Runs of several seeds show other references to the same queries, so that they have no pairs in common: there is no
McNemar test here. The deviation says how much depends on the seed, not how much on the pictures; the intervals in each
run's report say the latter.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.comparison import (
    MAPPED,
    MEAN,
    OURS,
    POOLED,
    PUBLISHED,
    SCORE,
    Column,
    Table,
    group_estimates,
    map_estimates,
    markdown_table,
    name_systems,
    note_benchmark,
    read_published,
    shorten_name,
    to_csv,
    to_latex,
    wrap_notes,
    write_texts,
)
from lad_reasoner.evaluation.localisation import LOCALISATION, measure_localisation
from lad_reasoner.evaluation.metrics import Metrics, compute_metrics
from lad_reasoner.evaluation.run import COMPARED, PREDICTIONS, SETTINGS, Recorded, read_run, trivial_runs
from lad_reasoner.files.tables import format_table_row
from lad_reasoner.text import counted, listed, printable

RUNS: Column = ("Runs", "n")
_LEGEND = (
    "±: sample standard deviation over the runs of a row; how much depends on the pictures, the intervals in each "
    "run's report say"
)


@dataclass(frozen=True)
class SeedComparison:
    """`runs` are the folders of each row with what they hold; `pairs` is the number of queries, the same in all.

    `values` are the point estimates of each run, `constant` those of the constant answers. `sizes` as in
    `RunComparison`.
    """

    pairs: int
    table: Table
    runs: dict[str, dict[Path, Recorded]]
    values: dict[Path, dict[Column, float | None]]
    constant: dict[str, dict[Column, float | None]]
    notes: list[str]
    sizes: dict[str, int | None]


def holds_runs(folder: str | Path) -> bool:
    """Is this a folder of run folders, and no run itself?"""
    return not (Path(folder) / SETTINGS).exists() and bool(_run_folders(folder))


def _run_folders(folder: str | Path) -> list[Path]:
    return sorted(path.parent for path in Path(folder).glob(f"*/{SETTINGS}"))


def compare_seeds(folders: Sequence[str | Path], *, published: str | Path | None = None) -> SeedComparison:
    """A row for each folder of runs, or run; `published` as in `compare_runs`.

    InputError for runs on other queries or pictures, for a row whose runs differ in more than seed and checkpoint, and
    as `read_run` raises.
    """
    rows = [_read_row(folder) for folder in folders]
    names = name_systems(folders, [_name_row(folder, row) for folder, row in zip(folders, rows, strict=True)])
    runs = dict(zip(names, rows, strict=True))
    everything = [(path, run) for row in rows for path, run in row.items()]
    for path, count in Counter(path.resolve() for path, _ in everything).items():
        if count > 1:
            raise InputError(f"{printable(path)}: given twice; give each run once")
    _refuse_different_queries(everything)
    first = everything[0][1]
    metrics = {path: compute_metrics(run.predictions, resamples=0) for path, run in everything}
    values = {path: _values(metrics[path]) | _map_values(path, run) for path, run in everything}
    printed: dict[str, dict[Column, str]] = {}
    sizes: dict[str, int | None] = {}
    if published:
        printed, sizes = read_published(published, metrics[everything[0][0]].by_class, first.settings.benchmark)
    cells = [*printed.values()] + [_cells([values[path] for path in row]) for row in rows]
    constant = {}
    for name, lines in trivial_runs(first.predictions).items():
        # Constant answers are the same for every seed.
        constant[name] = _values(compute_metrics(lines, resamples=0))
        row = _cells([constant[name]])
        cells.append({column: cell for column, cell in row.items() if column != RUNS})
    columns = [RUNS, *_values(metrics[everything[0][0]])]
    columns += [column for column in MAPPED if any(column in row for row in cells)]
    return SeedComparison(
        pairs=len(first.predictions),
        table=Table(columns, [*printed, *names, *constant], cells),
        runs=runs,
        values=values,
        constant=constant,
        sizes=sizes,
        notes=[
            _LEGEND,
            *_note_incomplete(names, folders),
            *_note_rows(runs),
            *note_benchmark(first, _models(runs), printed),
        ],
    )


def _read_row(folder: str | Path) -> dict[Path, Recorded]:
    paths = _run_folders(folder) if holds_runs(folder) else [Path(folder)]
    row = {path: read_run(path) for path in paths}
    (first_path, first), *others = row.items()
    for path, run in others:
        for field in COMPARED:
            one, other = getattr(first.settings, field), getattr(run.settings, field)
            if field == "prompt_version":
                one, other = _without_weights(one), _without_weights(other)
            # Checkpoints of several trainings have several names; micro and evidence are no two runs of one system.
            checkpoints = field == "model" and "/" in one and "/" in other
            if one != other and field != "seed" and not checkpoints:
                raise InputError(
                    f"{first_path} and {path}: made with {field} {one} and {other}; "
                    "the runs of one row may differ in seed and checkpoint only"
                )
    return row


def _without_weights(prompt_version: str) -> str:
    """Without the weights of a checkpoint, which are others after each training."""
    return re.sub(r", weights \w+", "", prompt_version)


def _name_row(folder: str | Path, row: Mapping[Path, Recorded]) -> str:
    """The model's name where all runs have the same, else the folder."""
    models = {run.settings.model for run in row.values()}
    return models.pop() if len(models) == 1 else str(folder)


def _refuse_different_queries(runs: Sequence[tuple[Path, Recorded]]) -> None:
    (first_path, first), *others = runs
    queries = {(line.pair.query, line.pair.label) for line in first.predictions}
    for path, run in others:
        where = f"{first_path} and {path}"
        benchmarks = [first.settings.benchmark, run.settings.benchmark]
        if benchmarks[0] != benchmarks[1]:
            raise InputError(f"{where}: runs on {' and '.join(benchmarks)}; compare runs on the same benchmark")
        theirs = {(line.pair.query, line.pair.label) for line in run.predictions}
        if theirs != queries:
            names = sorted({query for query, _ in theirs ^ queries})
            raise InputError(
                f"{where}: not the same queries: {listed(list(map(printable, names)))}; "
                "resume the unfinished run, or give all the same --kinds and --limit"
            )
        if run.settings.fingerprint != first.settings.fingerprint:
            raise InputError(f"{where}: the same names, but other pictures; compare runs on one copy of the benchmark")


def _values(metrics: Metrics) -> dict[Column, float | None]:
    """Point estimates in the order of Table 1."""
    values = {}
    for group, estimates in group_estimates(metrics).items():
        values[group, "Acc"], values[group, "F1"] = estimates.accuracy.value, estimates.f1.value
    pooled = metrics.pooled
    return values | {
        (OURS, "TPR"): pooled.tpr.value,
        (OURS, "TNR"): pooled.tnr.value,
        (OURS, "Bal. acc."): pooled.balanced_accuracy.value,
        (OURS, "MCC"): pooled.mcc.value,
        (SCORE, "AUROC"): pooled.auroc.value,
    }


def _map_values(folder: Path, run: Recorded) -> dict[Column, float | None]:
    """Of the maps that the run kept; nothing without any."""
    localisation = measure_localisation(folder / LOCALISATION, run.predictions, resamples=0)
    return {column: estimate.value for column, estimate in map_estimates(localisation).items()}


def _cells(runs: Sequence[Mapping[Column, float | None]]) -> dict[Column, str]:
    """`91.8 ± 0.6`; of a single run `91.8`. A column that some run does not define is left out."""
    cells = {RUNS: str(len(runs))}
    for column in runs[0]:
        numbers = [100 * value for run in runs if (value := run.get(column)) is not None]
        if len(numbers) < len(runs):
            continue
        cells[column] = f"{statistics.fmean(numbers):.1f}"
        if len(numbers) > 1:
            cells[column] += f" ± {statistics.stdev(numbers):.1f}"
    return cells


def _models(runs: Mapping[str, Mapping[Path, Recorded]]) -> dict[str, str]:
    return {name: next(iter(row.values())).settings.model for name, row in runs.items()}


def _note_incomplete(names: Sequence[str], folders: Sequence[str | Path]) -> list[str]:
    """The folders of each row that have predictions, but have lost the settings that would make them runs."""
    notes = []
    for name, folder in zip(names, folders, strict=True):
        beside = [path.parent for path in Path(folder).glob(f"*/{PREDICTIONS}")]
        lost = [path.name for path in sorted(beside) if not (path / SETTINGS).exists()]
        if lost and holds_runs(folder):
            named = listed(list(map(printable, lost)))
            notes.append(f"{name}: {counted(len(lost), 'folder')} without {SETTINGS} left out: {named}")
    return notes


def _note_rows(runs: Mapping[str, Mapping[Path, Recorded]]) -> list[str]:
    """What each row is made of, where its name does not say it, and the notes of its runs; each once."""
    notes = []
    for name, row in runs.items():
        settings = [run.settings for run in row.values()]
        models = list(dict.fromkeys(one.model for one in settings))
        if len(models) > 1:
            notes.append(f"{name}: runs of {listed(list(map(printable, models)))}")
        versions = list(dict.fromkeys(one.prompt_version for one in settings))
        if len(versions) > len(models):  # a folder that was trained into again
            notes.append(f"{name}: runs of {len(versions)} trainings: {listed(list(map(printable, versions)))}")
        for (model, seed), count in Counter((one.model, one.seed) for one in settings).items():
            if count > 1:
                notes.append(f"{name}: {count} runs of {printable(model)} have the same --seed {seed}")
        failed = sum(bool(line.error) for run in row.values() for line in run.predictions)
        if failed:
            notes.append(f"{name}: {counted(failed, 'pair')} could not be judged, counted as wrong")
        notes += [f"{name}: {note}" for one in settings for note in one.notes]
    return list(dict.fromkeys(notes))


NAME, CELL = 16, 9  # characters of a name and of a cell in the narrow table
_NARROW: tuple[tuple[str, Column], ...] = (
    ("bal.acc", (OURS, "Bal. acc.")),
    ("acc", (POOLED, "Acc")),
    ("F1", (POOLED, "F1")),
    ("TPR", (OURS, "TPR")),
    ("TNR", (OURS, "TNR")),
    ("AUROC", (SCORE, "AUROC")),
)


def seeds_to_narrow(comparison: SeedComparison) -> str:
    """A line for each row, 80 characters wide; classes are in seeds.md. `~` marks a mean over classes, as published."""
    heads = " ".join(f"{head:>{CELL}}" for head, _ in _NARROW)
    lines = [f"{comparison.pairs} queries, in percent, mean±deviation over runs", "", f"{'':{NAME}} {'n':>2} {heads}"]
    for name, row in zip(comparison.table.names, comparison.table.cells, strict=True):
        cells = " ".join(f"{_narrow_cell(row, column):>{CELL}}" for _, column in _NARROW)
        short = shorten_name(name.replace(PUBLISHED, "*"), NAME, front=True)
        lines.append(f"{short:{NAME}} {row.get(RUNS, ''):>2} {cells}".rstrip())
    if any(name.endswith(PUBLISHED) for name in comparison.table.names):
        lines += ["", "*: published"]
    return "\n".join([*lines, "", *wrap_notes(comparison.notes)]) + "\n"


def _narrow_cell(row: Mapping[Column, str], column: Column) -> str:
    mean = row.get((MEAN, column[1]))
    if column[0] == POOLED and column not in row and mean is not None:
        return f"~{mean}"
    return row.get(column, "–").replace(" ", "")


def seeds_to_markdown(comparison: SeedComparison) -> str:
    """The table and the notes."""
    table = comparison.table
    heads = ["Model", *(f"{group} {name}" for group, name in table.columns)]
    notes = [f"- {note}" for note in comparison.notes]
    return "\n\n".join([f"{comparison.pairs} queries. In percent.", markdown_table(heads, table.rows()), *notes]) + "\n"


def write_seeds(out: Path, comparison: SeedComparison) -> list[Path]:
    """Write the tables into the folder `out`; InputError if it cannot be written."""
    texts = {
        "seeds.md": seeds_to_markdown(comparison),
        "seeds.csv": to_csv(comparison.table),
        "seeds.tex": to_latex(comparison.table),
        "seeds_by_run.csv": _by_run(comparison),
    }
    return write_texts(out, texts)


def _by_run(comparison: SeedComparison) -> str:
    """A line for each run, in percent, not rounded to one decimal."""
    columns = [column for column in comparison.table.columns if column != RUNS]
    rows = [["model", "run", "seed", *(f"{group} {name}" for group, name in columns)]]
    for name, row in comparison.runs.items():
        for path, run in row.items():
            values = [comparison.values[path].get(column) for column in columns]
            cells = ["" if value is None else f"{100 * value:.4f}" for value in values]
            rows.append([name, str(path), str(run.settings.seed), *cells])
    return "".join(map(format_table_row, rows))
