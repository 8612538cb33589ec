"""How long work shows its progress: `Track` for one loop, `ProgressDisplay` for a training run with several stages.

Domain code takes `track: Track = silent`; the command line passes the terminal's bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Track(Protocol):
    """Yields `items` unchanged; `total` is their number, `description` names the work on them."""

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]: ...


def silent(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """No bar."""
    yield from items


class ProgressDisplay(Protocol):
    """Shows a training run while it is entered: a bar for the current stage, and notes that stay."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...
    def stage(self, name: str, done: int, total: int) -> None: ...
    def advance(self, count: int, text: str = "") -> None: ...
    def note(self, text: str) -> None: ...
