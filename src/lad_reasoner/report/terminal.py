"""The output in the terminal: verdicts line by line, a bar for each score, metrics, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lad_reasoner.records import Failure, Verdict
from lad_reasoner.text import print_shown as print
from lad_reasoner.text import shown

if TYPE_CHECKING:
    from lad_reasoner.evaluation.run import Recorded, RunMetrics
    from lad_reasoner.report.rows import MetricsRow

BAR = 10  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"
COLOURS = {"yes": "red", "no": "green", "invalid": "yellow"}
WORDS = {"yes": "ANOMALOUS", "no": "good", "invalid": "not judged"}
UNSURE_COLOUR, UNSURE_WORD = "yellow", "UNSURE"  # of a station

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, description: str, *, beside_results: bool = True) -> Iterator[Item]:
    """A progress bar with rate and time left on stderr, if stderr is a terminal.

    With `beside_results` there is no bar if stdout is a terminal, too: results are printed there line by line.
    """
    silent = not sys.stderr.isatty() or (beside_results and sys.stdout.isatty())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=silent) as progress:
        yield from progress.track(items, total=total, description=description)


def plain(text: object, style: str = "") -> Text:
    """Text of strangers for Rich: `shown`, and its markup is not interpreted."""
    return Text(shown(text, lines=True), style=style)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.2g}/s")


class TrainingProgress:
    """A bar for the current stage with its time left, and a line for each note; all on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=self.console)
        self.task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def stage(self, name: str, done: int, total: int) -> None:
        """A new bar, `done` of `total` steps long."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(name, total=total, completed=done, text="")
        self.note(f"{name}: {done} of {total} done")

    def advance(self, count: int, text: str = "") -> None:
        """Move the bar by `count` steps."""
        assert self.task is not None, "advance comes after stage"
        self.bar.update(self.task, advance=count, text=text)

    def note(self, text: str) -> None:
        """Print a line with the time, above the bar."""
        self.console.print(plain(f"{datetime.now():%H:%M:%S} {text}"))


def score_bar(score: float) -> str:
    """`BAR` characters, filled from the left in steps of an eighth."""
    eighths = round(score * BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(BAR, "·")


class VerdictTable:
    """Prints each result at once, in columns of fixed width.

    With `verbose` the reasoning stands in place of its headline, and below it how that was measured. Why queries were
    not judged is printed once where they have the same reason; `said` are reasons that the user knows already.
    """

    def __init__(self, console: Console | None = None, *, verbose: bool = False, said: Iterable[str] = ()) -> None:
        self.console, self.verbose, self.said = console or Console(), verbose, set(said)
        self.console.print(self._grid(Text("VERDICT"), Text("SCORE"), Text("QUERY and reasoning")), style="bold")

    def add(self, result: Verdict | Failure, truth: str | None = None) -> None:
        """`truth`, where known, follows the name of the query."""
        name = Text(shown(result.query), style="bold")
        if truth:
            name.append(f"  (truth: {shown(truth)})", style="not bold cyan")
        if isinstance(result, Failure):
            self.console.print(self._grid(Text("not judged", style="yellow"), Text(""), name))
            if result.error not in self.said:
                self.console.print(self._grid(Text(""), Text(""), plain(result.reason)))
            self.said.add(result.error)
            return
        unsure = result.outcome == "unsure"
        style = UNSURE_COLOUR if unsure else COLOURS[result.answer]
        verdict = Text(UNSURE_WORD if unsure else WORDS[result.answer], style=f"bold {style}")
        if result.p_value is not None:
            name.append(f"  (p = {result.p_value:.2g})", style="not bold dim")
        score = Text(score_bar(result.score), style=style).append(f" {result.score:.2f}")
        if result.answer == "invalid":
            score = Text("")
        self.console.print(self._grid(verdict, score, name))
        reasoning = result.reasoning or result.response
        if self.verbose:
            texts = [reasoning, *filter(None, [result.details])]
        else:
            texts = [result.headline or reasoning] if unsure or result.answer != "no" else []
        if result.reason:
            texts = [": ".join(filter(None, [result.reason, texts[0] if texts else ""])), *texts[1:]]
        for text in texts:
            self.console.print(self._grid(Text(""), Text(""), plain(text, "dim")))

    def _grid(self, *cells: Text) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=10)
        grid.add_column(width=BAR + 5)
        grid.add_column(overflow="fold")
        grid.add_row(*cells)
        return grid


WIDE, NARROW = 140, 80  # columns, where the output goes to a file


# Field of `Estimates` -> a heading that is as narrow as its values; the first has its interval beside it.
NARROW_VERDICTS = {
    "balanced_accuracy": "bal.acc",
    "tpr": "TPR",
    "tnr": "TNR",
    "mcc": "MCC",
    "f1": "F1",
    "accuracy": "acc",
}
NARROW_LOCALISATION = {
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO 0.3",
    "au_spro": "AU-sPRO 0.05",
    "pointing": "pointing",
}
NARROW_SCORES = {"auroc": "AUROC", "average_precision": "AP", "f1_max_on_test_labels": "F1-max"}


def _wide_table(title: str, headings: Mapping[str, str], rows: Sequence[MetricsRow]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", show_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("n", *headings.values()):
        table.add_column(heading, justify="right")
    for line in rows:
        cells = [value if interval == "–" else f"{value}\n{interval}" for value, interval in line.cells(headings)]
        table.add_row(plain(line.name), line.count, *cells, style="italic" if line.trivial else None)
    return table


def _narrow_table(title: str, headings: Mapping[str, str], rows: Sequence[MetricsRow]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    first, *others = headings.values()
    for heading in ("n", first, "95 %", *others):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in rows:
        (value, interval), *rest = line.cells(headings)
        cells = [value, "" if interval == "–" else interval, *(value for value, _ in rest)]
        table.add_row(plain(line.name), line.count, *cells, style="italic" if line.trivial else None)
    return table


def show_metrics(recorded: Recorded, metrics: RunMetrics, *, wide: bool = False, printed: Sequence[str] = ()) -> None:
    """Print the metrics of a run: tables for the verdicts, the scores, the maps and the explanations if there are any.

    Every value has its interval below it if `wide`; otherwise the first one only, so that 80 columns are enough. Notes
    that were `printed` before are left out.
    """
    from lad_reasoner.report import rows as metric_rows

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE if wide else NARROW)
    settings, rows = recorded.settings, metric_rows.metrics_rows(metrics)
    described = metric_rows.describe_settings(settings)
    console.print(plain(settings.model, "bold").append_text(plain(f" on {described}", "not bold")))
    with_constants = [*rows, *metric_rows.trivial_rows(metrics)]
    for title, headings, narrow, lines in (
        ("Verdicts (%)", metric_rows.VERDICT_HEADINGS, NARROW_VERDICTS, with_constants),
        ("Scores, at every threshold (%)", metric_rows.SCORE_HEADINGS, NARROW_SCORES, rows),
    ):
        console.print(_wide_table(title, headings, lines) if wide else _narrow_table(title, narrow, lines))
    localisation = metric_rows.localisation_rows(metrics)
    if localisation:
        title, headings = "Localisation (%)", metric_rows.LOCALISATION_HEADINGS
        table = _wide_table(title, headings, localisation)
        console.print(table if wide else _narrow_table(title, NARROW_LOCALISATION, localisation))
    reasons = metric_rows.explanation_rows(metrics)
    if reasons:
        table = Table(title="\nExplanations", title_justify="left", show_edge=False, show_header=False)
        for reason in reasons:
            table.add_row(*map(plain, reason))
        console.print(table)
    for remark in metric_rows.remarks(recorded, metrics):
        if remark not in printed:
            print(f"note: {remark}", file=sys.stderr)
