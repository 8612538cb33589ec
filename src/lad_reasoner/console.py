"""What a person sees in the terminal: verdicts line by line, a bar for each score, the progress of long work."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import track as rich_track
from rich.table import Table
from rich.text import Text

from lad_reasoner.records import Failure, Verdict

BAR = 10  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"
COLOURS = {"yes": "red", "no": "green", "invalid": "yellow"}
WORDS = {"yes": "ANOMALOUS", "no": "good", "invalid": "invalid"}

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """A progress bar on stderr; none where stderr is no terminal, or where stdout is one and shows the results."""
    silent = not sys.stderr.isatty() or sys.stdout.isatty()
    console = Console(stderr=True)
    yield from rich_track(items, description, total=total, console=console, transient=True, disable=silent)


class TrainingProgress:
    """A bar for the stage that runs, with rate and time left, and a line for each measurement; all on stderr."""

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
        """So many steps more."""
        assert self.task is not None, "advance comes after stage"
        self.bar.update(self.task, advance=count, text=text)

    def note(self, text: str) -> None:
        """A line that stays, with the time."""
        self.console.print(f"{datetime.now():%H:%M:%S} {text}")


def score_bar(score: float) -> str:
    """`BAR` characters, filled from the left in steps of an eighth."""
    eighths = round(score * BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(BAR, "·")


class VerdictTable:
    """Prints a line for each result as soon as it is there; columns keep their places."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.console.print(self._grid(Text("VERDICT"), Text("SCORE"), Text("QUERY and reasoning")), style="bold")

    def add(self, result: Verdict | Failure, truth: str | None = None) -> None:
        """`truth`, where known, follows the name of the query."""
        name = Text(result.query, style="bold")
        if truth:
            name.append(f"  (truth: {truth})", style="not bold cyan")
        if isinstance(result, Failure):
            self.console.print(self._grid(Text("not judged", style="yellow"), Text(""), name))
            self.console.print(self._grid(Text(""), Text(""), Text(result.error)))
            return
        style = COLOURS[result.answer]
        verdict = Text(WORDS[result.answer], style=f"bold {style}")
        score = Text(score_bar(result.score), style=style).append(f" {result.score:.2f}")
        self.console.print(self._grid(verdict, score, name))
        if result.answer != "no":
            self.console.print(self._grid(Text(""), Text(""), Text(result.reasoning or result.response, style="dim")))

    def _grid(self, *cells: Text) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=10)
        grid.add_column(width=BAR + 5)
        grid.add_column(overflow="fold")
        grid.add_row(*cells)
        return grid
