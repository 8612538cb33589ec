"""What a person sees in the terminal: verdicts line by line as they are made, and a bar for each score."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
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
