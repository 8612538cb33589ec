"""Several runs on the same pairs in one table, in the layout of the paper's Table 1, and whether they really differ.

    comparison = compare_runs(["runs/micro", "runs/evidence"])
    write_comparison(Path("runs/comparison"), comparison)

    table1.md  table1.csv  table1.tex     accuracy and F1, overall and by class, then what the paper leaves out
    mcnemar.csv                           exact McNemar of each two systems, how often they agree, and their difference

report/gallery.py and report/plots.py make the page and the plots that go with them.

The constant answers always stand below the runs. p-values are not corrected for how many there are.

Deviations from the paper: its "overall" is pooled over images in five rows and a mean over classes in two; here both
have columns. Rows printed elsewhere (`published`) are marked. Their overall stands in the column of the mean if it is
the mean of their classes, else in the pooled column.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.contamination import note_on
from lad_reasoner.evaluation.explanations import ALL, Explanations
from lad_reasoner.evaluation.localisation import Localisation
from lad_reasoner.evaluation.metrics import (
    RESAMPLES,
    Estimates,
    Metrics,
    PairedTest,
    compare_each_two,
    compare_predictions,
    compute_metrics,
)
from lad_reasoner.evaluation.run import Recorded, RunMetrics, Settings, measure_run, read_run, trivial_runs
from lad_reasoner.files.tables import format_table_row, read_table_rows
from lad_reasoner.files.whole import describe_write_error, write_whole
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Estimate
from lad_reasoner.text import counted, printable

_TABLE = read_packaged(__file__, "comparison.toml")
SHORT: dict[str, str] = _TABLE["classes"]
POOLED, MEAN, OURS, SCORE = "Overall (pooled)", "Overall (mean)", "Pooled", "From the score"
PUBLISHED = " (published)"
PAPER = Path(__file__).with_name("paper_table1.csv")
EXPLANATION, MAPS = "Explanation", "Maps"
BASICS = ("Acc", "F1")  # all that the paper prints
PUBLISHED_COLUMNS = ("model", "class", "accuracy", "f1")

Column = tuple[str, str]  # group, name


@dataclass(frozen=True)
class Table:
    """Printed cells: `cells[i]` is the row of `names[i]`, without the columns that it has nothing for."""

    columns: list[Column]
    names: list[str]
    cells: list[dict[Column, str]]

    def rows(self) -> list[list[str]]:
        """Each name and its cells in the order of the columns; `–` for a missing one."""
        named = zip(self.names, self.cells, strict=True)
        return [[name, *(row.get(column, "–") for column in self.columns)] for name, row in named]

    def printed(self, name: str, column: str) -> float | None:
        """The published overall accuracy (`Acc`) or `F1` of a system in percent, pooled or else the mean."""
        row = self.cells[self.names.index(name)]
        cell = row.get((POOLED, column)) or row.get((MEAN, column))
        return None if cell is None else float(cell)


@dataclass(frozen=True)
class RunComparison:
    """Runs on the same `pairs` (their number), side by side.

    `runs` are the systems that were run, with their folders; `measured` and `duels` (of each two) also have the
    constant answers. `sizes` are the numbers of parameters of published systems, None where unknown.
    """

    pairs: int
    table: Table
    runs: dict[str, tuple[Path, Recorded]]
    measured: dict[str, Metrics]
    duels: dict[tuple[str, str], PairedTest]
    notes: list[str]
    sizes: dict[str, int | None] = field(default_factory=dict)

    def duel(self, one: str, other: str) -> PairedTest | None:
        """The paired test of two systems, in either order; None for one against itself."""
        return self.duels.get((one, other)) or self.duels.get((other, one))


def compare_runs(
    folders: Sequence[str | Path], *, published: str | Path | None = None, resamples: int = RESAMPLES
) -> RunComparison:
    """Read the runs and set them side by side; `published` is a CSV file of rows printed elsewhere.

    `published="paper"` stands for the paper's Table 1. InputError for fewer than two runs (one, beside published rows),
    for runs on different benchmarks, pairs or pictures, and for rows on another benchmark: it says which differ.
    """
    if len(folders) < (1 if published else 2):
        raise InputError(
            f"{counted(len(folders), 'run')} to compare; give at least two, or one beside published rows (--published)"
        )
    runs = [read_run(folder) for folder in folders]
    benchmarks = sorted({run.settings.benchmark for run in runs})
    if len(benchmarks) > 1:
        raise InputError(f"runs on {' and '.join(benchmarks)}; compare runs on the same benchmark")
    names = name_systems(folders, [run.settings.model for run in runs])
    systems = dict(zip(names, runs, strict=True))
    _refuse_different_pairs(folders, systems)
    trivial = trivial_runs(runs[0].predictions)
    run_metrics = {}
    for folder, (name, run) in zip(folders, systems.items(), strict=True):
        run_metrics[name] = measure_run(run.predictions, folder=folder, resamples=resamples)
    measured: dict[str, Metrics] = {**run_metrics}
    for name, lines in trivial.items():
        measured[name] = compute_metrics(lines, resamples=resamples)
    printed: dict[str, dict[Column, str]] = {}
    sizes: dict[str, int | None] = {}
    if published:
        printed, sizes = read_published(published, measured[names[0]].by_class, benchmarks[0])
    # A system that does not beat a constant answer should not be mistaken for one that works.
    predictions = {name: run.predictions for name, run in systems.items()} | trivial
    return RunComparison(
        pairs=len(runs[0].predictions),
        table=_make_table(printed, measured, run_metrics),
        runs={name: (Path(folder), run) for folder, (name, run) in zip(folders, systems.items(), strict=True)},
        measured=measured,
        duels=compare_each_two(predictions, resamples=resamples),
        notes=_make_notes(systems, run_metrics, printed),
        sizes=sizes,
    )


def _refuse_different_pairs(folders: Sequence[str | Path], systems: Mapping[str, Recorded]) -> None:
    (first_name, first), *others = systems.items()
    for folder, (name, run) in zip(folders[1:], others, strict=True):
        try:
            compare_predictions(first.predictions, run.predictions, resamples=0)
        except InputError as error:
            other = _describe_settings(first.settings, run.settings)
            raise InputError(f"{folders[0]} and {folder} ({first_name}, {name}): {error}{other}") from None
        # Copies of a benchmark, such as MiniLOCO drawn with two seeds, have the same names of pictures.
        if run.settings.fingerprint != first.settings.fingerprint:
            raise InputError(
                f"{folders[0]} and {folder} ({first_name}, {name}): the same names, but other pictures; "
                "compare runs on one copy of the benchmark"
            )


def _describe_settings(first: Settings, second: Settings) -> str:
    """`; made with seed 0 and 1`: why two runs are on other pairs; empty if their settings do not say."""
    differing = []
    for name in ("references", "seed", "kinds"):
        values = [getattr(settings, name) for settings in (first, second)]
        if values[0] != values[1]:
            said = (",".join(value) if isinstance(value, tuple) else str(value) for value in values)
            differing.append(f"{name} {' and '.join(said)}")
    if not differing:
        return ""
    only_seeds = first.seed != second.seed and len(differing) == 1 and first.fingerprint == second.fingerprint
    hint = "; give the folder that holds both for their mean" if only_seeds else ""
    return f"; made with {', '.join(differing)}{hint}"


def _make_table(
    printed: Mapping[str, dict[Column, str]], measured: Mapping[str, Metrics], runs: Mapping[str, RunMetrics]
) -> Table:
    """Published rows, the runs, the constant answers; columns on maps and explanations only if some run has them."""
    names, rows = [*printed], [*printed.values()]
    for name, metrics in measured.items():
        names.append(name)
        rows.append(_cells(metrics))
        if name not in runs:
            continue
        estimates = map_estimates(runs[name].localisation)
        for (group, column), estimate in estimates.items():
            rows[-1][group, column] = estimate.percent()
            rows[-1][group, f"{column} 95 %"] = estimate.percent_interval()
        if explanations := runs[name].explanations:
            rows[-1] |= _explanation_cells(explanations)
    columns = [*_cells(next(iter(measured.values())))]
    mapped = [(group, name + end) for group, name in MAPPED for end in ("", " 95 %")]
    columns += [column for column in (*mapped, *_EXPLAINED) if any(column in row for row in rows)]
    return Table(columns, names, rows)


def _make_notes(
    systems: Mapping[str, Recorded], metrics: Mapping[str, RunMetrics], printed: Collection[str]
) -> list[str]:
    """Notes on the runs, on the pairs, on published rows, and on what the systems saw in training; each once."""
    notes = [f"{name}: {note}" for name, run in systems.items() for note in run.settings.notes]
    for name, run in metrics.items():
        if run.failed:
            notes.append(f"{name}: {len(run.failed)} queries could not be judged and count as wrong")
    first = next(iter(systems.values()))  # benchmark and pairs are the same for all
    notes += note_benchmark(first, {name: run.settings.model for name, run in systems.items()}, printed)
    return list(dict.fromkeys(notes))


def note_benchmark(run: Recorded, models: Mapping[str, str], printed: Collection[str]) -> list[str]:
    """What part of the benchmark a run has judged, where published rows are from, and who saw it in training.

    `models` are the models of the rows, `printed` the names of the published ones.
    """
    judged, settings, notes = len(run.predictions), run.settings, []
    if judged < settings.pairs:
        notes.append(f"{judged} of the {settings.pairs} pairs of {settings.benchmark}: not the whole benchmark")
    if printed:
        notes.append("published: as printed, not measured on these pairs")
    if settings.benchmark == "mvtec-loco":
        everyone = {**models, **{name: name.removesuffix(PUBLISHED) for name in printed}}
        notes += [f"{name}: {note}" for name, model in everyone.items() if (note := note_on(model))]
    return notes


def name_systems(folders: Sequence[str | Path], models: Sequence[str]) -> list[str]:
    """A run is named after its model, or after the last two parts of a checkpoint's path (`sft/model`).

    The run's folder is added to a name that another run, or a constant answer, has as well.
    """
    # With a colon it is no path but a name such as evidence:CHECKPOINT.
    models = [model if ":" in model else "/".join(Path(model).parts[-2:]) for model in models]
    taken = [*models, "always-yes", "always-no"]
    names = [
        model if taken.count(model) == 1 else f"{model} ({Path(folder)})"
        for model, folder in zip(models, folders, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: given twice; give each run once")
    return names


_EXPLAINED: list[Column] = [(EXPLANATION, name) for name in _TABLE["explanation"]]


def _explanation_cells(explanations: Explanations) -> dict[Column, str]:
    """As in the report. A benchmark without facts has no claims to check, one without known defects none to name."""
    cells = {
        "Contradicts": explanations.contradicting.percent(),
        "Empty": explanations.empty.percent(),
        "Repeated": explanations.repeated.percent(),
        "Words": str(explanations.mean_words),
    }
    if explanations.faithfulness and explanations.claiming:
        cells["True claims"] = explanations.faithfulness[ALL].precision.percent()
        cells["Facts claimed"] = explanations.faithfulness[ALL].recall.percent()
    if explanations.naming:
        cells["Names the defect"] = explanations.naming.defect.percent()
        cells["Names others"] = explanations.naming.others_named.percent()
    return {(EXPLANATION, name): cell for name, cell in cells.items()}


MAPPED: list[Column] = [(MAPS, name) for name in ("Pixel AUROC", "AUPRO", "AU-sPRO", "Pointing")]


def map_estimates(localisation: Localisation | None) -> dict[Column, Estimate]:
    """Means over classes, of AU-sPRO over kinds too, as it is printed for MVTec LOCO AD; without what no map has."""
    if localisation is None:
        return {}
    mean = localisation.mean_over_classes
    estimates = (mean.pixel_auroc, mean.aupro, localisation.mean_over_kinds.au_spro, mean.pointing)
    named = zip(MAPPED, estimates, strict=True)
    return {column: estimate for column, estimate in named if estimate.value is not None}


def group_estimates(metrics: Metrics) -> dict[str, Estimates]:
    """Overall and by class in the order of the columns, the paper's classes first."""
    classes = metrics.by_class
    papers = [name for name in SHORT if name in classes]
    groups: dict[str, Estimates] = {POOLED: metrics.pooled}
    for name in (*papers, *sorted(classes.keys() - SHORT)):
        groups[SHORT.get(name, name)] = classes[name]
    groups[MEAN] = metrics.mean_over_classes
    return groups


def _cells(metrics: Metrics) -> dict[Column, str]:
    """In the order of the columns: overall and by class, then what the paper leaves out."""
    pooled = metrics.pooled
    cells = {}
    for group, estimates in group_estimates(metrics).items():
        cells[group, "Acc"], cells[group, "F1"] = estimates.accuracy.percent(), estimates.f1.percent()
    return cells | {
        (OURS, "Acc 95 %"): pooled.accuracy.percent_interval(),
        (OURS, "F1 95 %"): pooled.f1.percent_interval(),
        (OURS, "TPR"): pooled.tpr.percent(),
        (OURS, "TNR"): pooled.tnr.percent(),
        (OURS, "Bal. acc."): pooled.balanced_accuracy.percent(),
        (OURS, "Bal. acc. 95 %"): pooled.balanced_accuracy.percent_interval(),
        (OURS, "MCC"): pooled.mcc.percent(),
        (SCORE, "AUROC"): pooled.auroc.percent(),
        (SCORE, "AUROC 95 %"): pooled.auroc.percent_interval(),
    }


def read_published(
    published: str | Path, measured: Collection[str], benchmark: str
) -> tuple[dict[str, dict[Column, str]], dict[str, int | None]]:
    """Rows that a paper printed: a line for each model and class, and one for its `Overall`; in percent.

    Of classes that no run has, only the paper's are allowed. A column `benchmark` says what the rows were measured on;
    without it MiniLOCO is refused, whose classes are named like those of MVTec LOCO AD. A column `parameters` holds the
    size of the model, for Figure 6.
    """
    path = PAPER if str(published) == "paper" else Path(published)
    if not path.is_file():
        raise InputError(f"--published {printable(path)}: No such file; `paper` stands for the paper's Table 1")
    known = ["Overall", *dict.fromkeys((*measured, *SHORT.values(), *SHORT))]
    models: dict[str, dict[str, tuple[float, float]]] = {}  # model -> class -> accuracy, F1
    sizes: dict[str, int | None] = {}
    header, rows = read_table_rows(path)
    for where, cells in rows:
        line = dict(zip(header, cells, strict=False))
        try:
            model, name, values = line["model"], line["class"], (float(line["accuracy"]), float(line["f1"]))
        except (KeyError, ValueError):
            values = math.nan, math.nan
        if not all(0 <= value <= 100 for value in values):
            raise InputError(f"{where}: needs the columns {', '.join(PUBLISHED_COLUMNS)}, in percent")
        rows_on = line.get("benchmark") or ("mvtec-loco" if benchmark == "miniloco" else benchmark)
        if rows_on != benchmark:
            raise InputError(f"{where}: a row on {rows_on}, but the runs are on {benchmark}; leave --published out")
        if name not in known:
            raise InputError(f"{where}: no class {name!r} in these runs; give one of {', '.join(known)}")
        if name in models.setdefault(model, {}):
            raise InputError(f"{where}: {model} has a line on {name} already; remove one")
        models[model][name] = values
        size = (line.get("parameters") or "").strip()
        if size and not size.isdigit():
            raise InputError(f"{where}: parameters {size}: give the number of weights, or nothing")
        sizes[f"{model}{PUBLISHED}"] = int(size) if size else None
    printed = [value for classes in models.values() for values in classes.values() for value in values]
    if any(printed) and max(printed) <= 1:
        raise InputError(f"{path}: no value is above 1; write percent, such as 58.4, not shares")
    if not models:
        raise InputError(f"{path}: no rows in it; give a header {','.join(PUBLISHED_COLUMNS)} and lines below it")
    return {f"{model}{PUBLISHED}": _published_cells(classes) for model, classes in models.items()}, sizes


def _published_cells(classes: Mapping[str, tuple[float, float]]) -> dict[Column, str]:
    cells: dict[Column, str] = {}
    accuracies = [accuracy for name, (accuracy, _) in classes.items() if name != "Overall"]
    for name, values in classes.items():
        group = SHORT.get(name, name)
        if name == "Overall":
            # The paper does not say which overall it is; rounding moves a mean of rounded values by at most 0.1.
            is_mean = bool(accuracies) and abs(sum(accuracies) / len(accuracies) - values[0]) <= 0.1
            group = MEAN if is_mean else POOLED
        for column, value in zip(BASICS, values, strict=True):
            cells[group, column] = f"{value:.1f}"
    return cells


def to_markdown(comparison: RunComparison) -> str:
    """The table, the McNemar matrix, and the notes."""
    table = comparison.table
    heads = ["Model", *(f"{group} {name}" for group, name in table.columns)]
    parts = [
        f"{comparison.pairs} pairs. In percent; intervals are 95 % bootstraps over images, stratified by class.",
        markdown_table(heads, table.rows()),
        "p-values of exact McNemar tests between each two (two-sided, not corrected for their number):",
        _markdown_matrix(comparison, lambda duel: f"{duel.p_value:.2g}"),
        "agreement: pairs on which each two give the same answer, in percent:",
        _markdown_matrix(comparison, lambda duel: f"{100 * duel.agreement:.1f}"),
        *(f"- {note}" for note in comparison.notes),
    ]
    return "\n\n".join(parts) + "\n"


NAME, CELL = 18, 4  # characters of a system's name and of a number in the narrow table
CLASSES_ACROSS = 5


def to_narrow(comparison: RunComparison) -> str:
    """Table 1 in twelve columns, as the paper prints it, and a line of tests for each system; 80 characters wide.

    Of more than five classes the others follow below. `~` marks an overall that is a mean over classes.
    """
    table = comparison.table
    overall = [POOLED, MEAN]
    classes = list(
        dict.fromkeys(group for group, _ in table.columns if group not in (*overall, OURS, SCORE, MAPS, EXPLANATION))
    )
    lines = [f"{comparison.pairs} pairs, in percent"]
    for start in range(0, max(1, len(classes)), CLASSES_ACROSS):
        some = classes[start : start + CLASSES_ACROSS]
        heads = [f"{shorten_name(group, 2 * CELL + 1):^{2 * CELL + 1}}" for group in some]
        basics = " ".join(f"{name:>{CELL}}" for _ in some for name in BASICS)
        lines += ["", f"{'':{NAME}} {'Overall':^{2 * CELL + 3}} {' '.join(heads)}".rstrip()]
        lines.append(f"{'':{NAME}} {'Acc':>{CELL + 1}} {'F1':>{CELL + 1}} {basics}")
        for name, row in zip(table.names, table.cells, strict=True):
            mean = (POOLED, "Acc") not in row and (MEAN, "Acc") in row
            cells = []
            for column in BASICS:
                value = _narrow_cell(row.get((MEAN if mean else POOLED, column)))
                cells.append(f"{'~' * mean + value:>{CELL + 1}}")
            cells += [f"{_narrow_cell(row.get((group, column))):>{CELL}}" for group in some for column in BASICS]
            short = name.replace(PUBLISHED, "*")
            lines.append(f"{shorten_name(short, NAME, front=True):{NAME}} {' '.join(cells)}")
    first = next(iter(comparison.measured))
    tests = f"{'bal.acc':>7} {'95 %':>14} {'TPR':>5} {'TNR':>5} {'MCC':>5} {'AUROC':>5} {'p':>8}"
    lines += ["", f"{'':{NAME}} {tests}"]
    for name, row in zip(table.names, table.cells, strict=True):
        if name not in comparison.measured:  # published rows have none of these
            continue
        duel = comparison.duel(first, name)
        numbers = [f"{row.get((OURS, column), '–'):>{width}}" for column, width in _NARROW_TESTS]
        p = f"{duel.p_value:.2g}" if duel else ""
        auroc = row.get((SCORE, "AUROC"), "–")
        lines.append(f"{shorten_name(name, NAME, front=True):{NAME}} {' '.join(numbers)} {auroc:>5} {p:>8}".rstrip())
    lines += ["", f"p: exact McNemar against {shorten_name(first, 54, front=True)}"]
    if comparison.sizes:
        lines.append("*: published")
    return "\n".join([*lines, *wrap_notes(comparison.notes)]) + "\n"


def wrap_notes(notes: Sequence[str]) -> list[str]:
    """Lines of at most 80 characters."""
    return [line for note in notes for line in textwrap.wrap(f"- {note}", 80, subsequent_indent="  ")]


_NARROW_TESTS = (("Bal. acc.", 7), ("Bal. acc. 95 %", 14), ("TPR", 5), ("TNR", 5), ("MCC", 5))


def _narrow_cell(cell: str | None) -> str:
    return "–" if cell is None else "100" if cell == "100.0" else cell


def shorten_name(text: str, longest: int, *, front: bool = False) -> str:
    """At the front the end of a path stays, which tells checkpoints apart better than the beginning."""
    if len(text) <= longest:
        return text
    return f"…{text[1 - longest :]}" if front else f"{text[: longest - 1]}…"


def _markdown_matrix(comparison: RunComparison, cell: Callable[[PairedTest], str]) -> str:
    """Each system against each other; nothing on the diagonal."""
    names = list(comparison.measured)
    rows = []
    for one in names:
        duels = [comparison.duel(one, other) for other in names]
        rows.append([one, *(cell(duel) if duel else "" for duel in duels)])
    return markdown_table(["", *names], rows)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for cells in (heads, ["---"] * len(heads), *rows):
        escaped = [cell.replace("|", "\\|") for cell in cells]
        lines.append(f"| {' | '.join(escaped)} |")
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """One header line, and a line for each row."""
    heads = ["model", *(f"{group} {name}" for group, name in table.columns)]
    return "".join(map(format_table_row, [heads, *table.rows()]))


def to_latex(table: Table) -> str:
    """A `tabular` for the package booktabs, with the groups above their columns."""
    # A group spans its columns, which stand side by side.
    by_group = groupby(table.columns, key=lambda column: column[0])
    groups = [(group, len(list(members))) for group, members in by_group]
    above = " & ".join(["", *(f"\\multicolumn{{{width}}}{{c}}{{{_tex(group)}}}" for group, width in groups)])
    below = " & ".join(["Model", *(_tex(name) for _, name in table.columns)])
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        "\\toprule",
        f"{above} \\\\",
        f"{below} \\\\",
        "\\midrule",
        *(f"{' & '.join(map(_tex, row))} \\\\" for row in table.rows()),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


_TEX: Mapping[int, str] = str.maketrans(
    # Model names come from files and services: nothing in them may be read as a command.
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"±": "$\\pm$", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}", "–": "--"}
    | {"[": "{[}", "]": "{]}"}  # a row that begins with one would be an option of the line break before it
)


def _tex(text: str) -> str:
    return text.translate(_TEX)


def write_comparison(out: Path, comparison: RunComparison) -> None:
    """Write the tables into the folder `out`; InputError if it cannot be written."""
    texts = {
        "table1.md": to_markdown(comparison),
        "table1.csv": to_csv(comparison.table),
        "table1.tex": to_latex(comparison.table),
        "mcnemar.csv": _duels_to_csv(comparison.duels),
    }
    write_texts(out, texts)


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by file name into the folder `out`; InputError if it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(out / name, text)
        return [out / name for name in texts]
    except OSError as error:
        raise InputError(f"--out {describe_write_error(error, out)}") from None


def _duels_to_csv(duels: Mapping[tuple[str, str], PairedTest]) -> str:
    counts = ("both_right", "only_first_right", "only_second_right", "both_wrong")
    heads = ["first", "second", *(count.replace("_", " ") for count in counts), "p", "agreement"]
    rows = [[*heads, "accuracy difference", "95 %"]]
    for names, duel in duels.items():
        difference = duel.pooled.accuracy
        numbers = [str(getattr(duel, count)) for count in counts]
        row = [*names, *numbers, f"{duel.p_value:.3g}", f"{duel.agreement:.3f}"]
        rows.append([*row, difference.percent(), difference.percent_interval()])
    return "".join(map(format_table_row, rows))
