"""Several runs on the same pairs in one table, in the layout of the paper's Table 1, and whether they really differ.

    comparison = compare_runs(["runs/micro", "runs/evidence"])
    write_comparison(Path("runs/comparison"), comparison)

    table1.md  table1.csv  table1.tex     accuracy and F1, overall and by class, then what the paper leaves out
    mcnemar.csv                           exact McNemar of each two systems, how often they agree, and their difference
    gallery.html                          reference, query, and what each system says (see gallery.py)

`plots.draw_plots` draws the pictures that belong to it.

The constant answers always stand below the runs. p-values are not corrected for how many there are.

Deviations from the paper: its "overall" is pooled over images in five rows and a mean over classes in two; here both
have columns. Rows that are only printed somewhere (`published`) are marked, and their overall stands in the column that
it is the figure of: that of the mean, where the mean of their classes gives it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.contamination import note_on
from lad_reasoner.evaluation.explanations import ALL, Explanations
from lad_reasoner.evaluation.metrics import (
    RESAMPLES,
    Estimates,
    Metrics,
    PairedTest,
    compare_predictions,
    compute_metrics,
)
from lad_reasoner.evaluation.run import Recorded, measure_run, read_run, trivial_runs

# As in the paper's Table 1, and in its order.
SHORT = {
    "juice_bottle": "JB",
    "breakfast_box": "BB",
    "screw_bag": "SB",
    "splicing_connectors": "SC",
    "pushpins": "PP",
}
POOLED, MEAN, OURS, SCORE = "Overall (pooled)", "Overall (mean)", "Pooled", "From the score"
PUBLISHED = " (published)"
EXPLANATION = "Explanation"
PUBLISHED_COLUMNS = ("model", "class", "accuracy", "f1")

Column = tuple[str, str]  # group, name


@dataclass(frozen=True)
class Table:
    """Rows of printed cells; `names` go with `cells`."""

    columns: list[Column]
    names: list[str]
    cells: list[dict[Column, str]]

    def rows(self) -> list[list[str]]:
        """Each row's cells in the order of the columns; `–` where there is none."""
        return [[row.get(column, "–") for column in self.columns] for row in self.cells]


@dataclass(frozen=True)
class RunComparison:
    """The table, how many pairs it is about, and each two systems against each other.

    `runs` are the systems that were run, with their folders; `measured` also the constant answers; `duels` both.
    """

    pairs: int
    table: Table
    runs: dict[str, tuple[Path, Recorded]]
    measured: dict[str, Metrics]
    duels: dict[tuple[str, str], PairedTest]
    notes: list[str]

    def duel(self, one: str, other: str) -> PairedTest | None:
        """Two systems against each other, in whatever order; None for one against itself."""
        return self.duels.get((one, other)) or self.duels.get((other, one))


def compare_runs(
    folders: Sequence[str | Path], *, published: str | Path | None = None, resamples: int = RESAMPLES
) -> RunComparison:
    """Read the runs and set them side by side; `published` is a CSV file of rows printed elsewhere.

    InputError for fewer than two runs, and for runs on different benchmarks or pairs: it says which differ.
    """
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run to compare; give at least two")
    runs = [read_run(folder) for folder in folders]
    benchmarks = sorted({run.settings.benchmark for run in runs})
    if len(benchmarks) > 1:
        raise InputError(f"runs on {' and '.join(benchmarks)}; compare runs on the same benchmark")
    models = [run.settings.model for run in runs]
    names = _names(folders, models)
    systems = dict(zip(names, (run.predictions for run in runs), strict=True))
    first, *others = systems.values()
    for name, folder, other in zip(names[1:], folders[1:], others, strict=True):
        try:
            compare_predictions(first, other, resamples=0)
        except InputError as error:
            raise InputError(f"{folders[0]} and {folder} ({names[0]}, {name}): {error}") from None
    notes = [f"{name}: {note}" for name, run in zip(names, runs, strict=True) for note in run.settings.notes]
    measured: dict[str, Metrics] = {}
    explained: dict[str, dict[Column, str]] = {}
    for name, lines in systems.items():
        metrics = measured[name] = measure_run(lines, resamples=resamples)
        if metrics.explanations:
            explained[name] = _explanation_cells(metrics.explanations)
        if metrics.failed:
            notes.append(f"{name}: {len(metrics.failed)} queries could not be judged and count as wrong")
    if len(first) < runs[0].settings.pairs:
        notes.append(f"{len(first)} of the {runs[0].settings.pairs} pairs of {benchmarks[0]}: not the whole benchmark")
    trivial = trivial_runs(first)
    measured |= {name: compute_metrics(lines, resamples=resamples) for name, lines in trivial.items()}
    columns = _columns(list(measured[names[0]].by_class))
    columns += [column for column in _EXPLAINED if any(column in cells for cells in explained.values())]
    cells = [_cells(metrics) | explained.get(name, {}) for name, metrics in measured.items()]
    rows = _read_published(Path(published), measured[names[0]].by_class) if published else {}
    if rows:
        notes.append("published: as printed, not measured on these pairs")
    if benchmarks == ["mvtec-loco"]:
        printed = [(name, name.removesuffix(PUBLISHED)) for name in rows]
        told = [(name, note_on(system)) for name, system in [*zip(names, models, strict=True), *printed]]
        notes += [f"{name}: {note}" for name, note in told if note]
    return RunComparison(
        pairs=len(first),
        table=Table(columns, [*rows, *measured], [*rows.values(), *cells]),
        runs={name: (Path(folder), run) for name, folder, run in zip(names, folders, runs, strict=True)},
        measured=measured,
        duels={
            (one, other): compare_predictions(lines, theirs, resamples=resamples)
            for (one, lines), (other, theirs) in combinations((systems | trivial).items(), 2)
        },
        notes=list(dict.fromkeys(notes)),
    )


def _names(folders: Sequence[str | Path], models: Sequence[str]) -> list[str]:
    """A system is called as its model, a checkpoint by the last two parts of its path (`sft/model`).

    Where two runs, or a run and a constant answer, would share a name, the folder of the run is added.
    """
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


def _columns(classes: Sequence[str]) -> list[Column]:
    order = list(SHORT)
    classes = sorted(classes, key=lambda name: (order.index(name) if name in SHORT else len(order), name))
    groups = [POOLED, *(SHORT.get(name, name) for name in classes), MEAN]
    ours = ("Acc 95 %", "F1 95 %", "TPR", "TNR", "Bal. acc.", "Bal. acc. 95 %", "MCC")
    columns = [(group, name) for group in groups for name in ("Acc", "F1")]
    columns += [(OURS, name) for name in ours]
    return columns + [(SCORE, name) for name in ("AUROC", "AUROC 95 %")]


_EXPLAINED: list[Column] = [
    (EXPLANATION, name)
    for name in (
        *("True claims", "Facts claimed", "Names the defect", "Names others", "Contradicts"),
        *("Empty", "Repeated", "Words"),
    )
]


def _explanation_cells(found: Explanations) -> dict[Column, str]:
    """As in the report; only those that this benchmark allows."""
    cells = {
        "Contradicts": found.contradicting.percent(),
        "Empty": found.empty.percent(),
        "Repeated": found.repeated.percent(),
        "Words": str(found.mean_words),
    }
    if found.faithfulness and found.claiming:
        cells["True claims"] = found.faithfulness[ALL].precision.percent()
        cells["Facts claimed"] = found.faithfulness[ALL].recall.percent()
    if found.naming:
        cells["Names the defect"] = found.naming.defect.percent()
        cells["Names others"] = found.naming.others_named.percent()
    return {(EXPLANATION, name): cell for name, cell in cells.items()}


def _cells(metrics: Metrics) -> dict[Column, str]:
    pooled = metrics.pooled
    groups: dict[str, Estimates] = {POOLED: pooled, MEAN: metrics.mean_over_classes}
    groups |= {SHORT.get(name, name): figures for name, figures in metrics.by_class.items()}
    cells = {}
    for group, figures in groups.items():
        cells[group, "Acc"], cells[group, "F1"] = figures.accuracy.percent(), figures.f1.percent()
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


def _read_published(path: Path, measured: Collection[str]) -> dict[str, dict[Column, str]]:
    """Rows that a paper printed: a line for each model and class, and one for its `Overall`; in percent.

    The paper's classes are let pass where the runs have none of them.
    """
    known = ["Overall", *dict.fromkeys((*measured, *SHORT.values(), *SHORT))]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for number, line in enumerate(lines, 2):
        try:
            model, name, values = line["model"], line["class"], (float(line["accuracy"]), float(line["f1"]))
        except (KeyError, TypeError, ValueError):
            values = math.nan, math.nan
        if not all(0 <= value <= 100 for value in values):
            raise InputError(f"{path}:{number}: needs the columns {', '.join(PUBLISHED_COLUMNS)}, in percent")
        if name not in known:
            raise InputError(f"{path}:{number}: no class {name!r} in these runs; give one of {', '.join(known)}")
        if name in found.setdefault(model, {}):
            raise InputError(f"{path}:{number}: {model} has a line on {name} already; remove one")
        found[model][name] = values
    if not found:
        raise InputError(f"{path}: no rows in it; give a header {','.join(PUBLISHED_COLUMNS)} and lines below it")
    rows = {}
    for model, classes in found.items():
        cells: dict[Column, str] = {}
        of_classes = [values[0] for name, values in classes.items() if name != "Overall"]
        for name, values in classes.items():
            is_mean = bool(of_classes) and abs(sum(of_classes) / len(of_classes) - values[0]) <= 0.1
            group = (MEAN if is_mean else POOLED) if name == "Overall" else SHORT.get(name, name)
            cells[group, "Acc"], cells[group, "F1"] = (f"{value:.1f}" for value in values)
        rows[f"{model}{PUBLISHED}"] = cells
    return rows


def to_markdown(comparison: RunComparison) -> str:
    """The table, the McNemar matrix, and the notes."""
    table = comparison.table
    heads = ["Model", *(f"{group} {name}" for group, name in table.columns)]
    rows = [[name, *cells] for name, cells in zip(table.names, table.rows(), strict=True)]
    names = list(comparison.measured)
    matrix = [[one, *(_p_value(comparison.duel(one, other)) for other in names)] for one in names]
    agreement = [[one, *(_agreement(comparison.duel(one, other)) for other in names)] for one in names]
    parts = [
        f"{comparison.pairs} pairs. In percent; intervals are 95 % bootstraps over images, stratified by class.",
        _markdown(heads, rows),
        "p-values of exact McNemar tests between each two (two-sided, not corrected for their number):",
        _markdown(["", *names], matrix),
        "agreement: pairs on which each two give the same answer, in percent:",
        _markdown(["", *names], agreement),
        *(f"- {note}" for note in comparison.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _p_value(duel: PairedTest | None) -> str:
    return "" if duel is None else f"{duel.p_value:.2g}"


def _agreement(duel: PairedTest | None) -> str:
    return "" if duel is None else f"{100 * duel.agreement:.1f}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def to_csv(table: Table) -> str:
    """One header line, one line a row."""
    heads = ["model", *(f"{group} {name}" for group, name in table.columns)]
    return _csv([heads, *([name, *cells] for name, cells in zip(table.names, table.rows(), strict=True))])


def _csv(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def to_latex(table: Table) -> str:
    """A `tabular` for the package booktabs, with the groups above their columns."""
    groups = [(group, len(list(members))) for group, members in groupby(table.columns, key=lambda column: column[0])]
    above = " & ".join(["", *(f"\\multicolumn{{{width}}}{{c}}{{{_tex(group)}}}" for group, width in groups)])
    below = " & ".join(["Model", *(_tex(name) for _, name in table.columns)])
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        "\\toprule",
        f"{above} \\\\",
        f"{below} \\\\",
        "\\midrule",
        *(
            f"{' & '.join(map(_tex, [name, *cells]))} \\\\"
            for name, cells in zip(table.names, table.rows(), strict=True)
        ),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


_TEX: Mapping[int, str] = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}", "–": "--"}
    | {"[": "{[}", "]": "{]}"}  # a row that begins with one would be an option of the line break before it
)


def _tex(text: str) -> str:
    return text.translate(_TEX)


def write_comparison(out: Path, comparison: RunComparison) -> None:
    """Tables and gallery.html in a folder; InputError where it cannot be written."""
    from lad_reasoner.report.gallery import render_gallery

    heads = ["first", "second", "both right", "only first right", "only second right", "both wrong", "p", "agreement"]
    duels = [[*heads, "accuracy difference", "95 %"]]
    for (one, other), duel in comparison.duels.items():
        counts = (duel.both_right, duel.only_first_right, duel.only_second_right, duel.both_wrong)
        accuracy = duel.pooled.accuracy
        shares = (f"{duel.p_value:.3g}", f"{duel.agreement:.3f}", accuracy.percent(), accuracy.percent_interval())
        duels.append([one, other, *map(str, counts), *shares])
    texts = {
        "table1.md": to_markdown(comparison),
        "table1.csv": to_csv(comparison.table),
        "table1.tex": to_latex(comparison.table),
        "mcnemar.csv": _csv(duels),
        "gallery.html": render_gallery(comparison),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; choose a folder that can be written") from None
