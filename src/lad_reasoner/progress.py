"""How long work is followed: a function that passes items on and may draw a bar beside them.

Domain code takes `track: Track = silent`; the command line hands in the terminal's bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Track(Protocol):
    """Passes `items` on unchanged; `total` is their number, `description` what is done with them."""

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]: ...


def silent(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """No bar."""
    yield from items
