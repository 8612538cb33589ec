"""What the drills share: the tally, how many lost lines are printed, and the command that is drilled."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

SHOWN = 10  # lines of what was lost that are printed


@dataclass
class Tally:
    """What a drill did; `lost` holds one line for each that was lost, `note` what else was measured."""

    tried: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        return f"tried {self.tried}, survived {self.tried - len(self.lost)}, lost {len(self.lost)}{self.note}"


def command(*words: object) -> list[str]:
    """The words after `lad-reasoner`, to be started; it ends with this process."""
    from helpers.bound import bound

    return bound(plain_command(*words))


def plain_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lad_reasoner", *map(str, words)]
