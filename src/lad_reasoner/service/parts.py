"""The result of one part, and the picture file that it was read from: what the watcher hands to its sinks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from lad_reasoner.records import Outcome, Record, Verdict

# What a PLC reads; 0 is left for "no result yet".
RESULT_CODES: dict[Outcome, int] = {"good": 1, "anomalous": 2, "unsure": 3, "invalid": 4}


class PartResult(Record):
    """What the station says of one part.

    `number` counts the results of one watched folder, also across restarts: with `station` and `time` it names a
    result, which a receiver may get twice after a power cut. `part` is the picture's name without its suffix, `picture`
    its path below the watched folder. The outcome is `invalid`, with an `error`, if there is no verdict. `version`
    numbers the settings of the station that decided, as in its history.
    """

    number: int = 0
    time: datetime
    station: str
    part: str
    picture: str
    outcome: Outcome
    p_value: float | None = None
    verdict: Verdict | None = None
    error: str = ""
    version: int = 0


@dataclass(frozen=True)
class PictureFile:
    """A picture file as it was at one moment: another size or time of change makes it another picture."""

    path: Path
    size: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> PictureFile | None:
        """The file as it is now; None if there is no such file, or no access to it."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        return cls(path, status.st_size, status.st_mtime_ns) if S_ISREG(status.st_mode) else None
