"""Results in the station's own history, with their pictures: what the page shows, and what people teach from."""

from __future__ import annotations

import time
from pathlib import Path

from lad_reasoner.files.opening import MAX_BYTES
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Retention, Seen
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import Sink
from lad_reasoner.service.station import FILE

HISTORY = "history"  # the name under which results wait for it
HOUR = 3600.0  # seconds between two looks for pictures that are older than the rules allow


class StationHistory(Sink):
    """Keeps each result, once, in the archive of the station in `folder`; `retention` is applied every hour."""

    def __init__(self, folder: Path, station: str, retention: Retention) -> None:
        super().__init__(HISTORY)
        self.folder, self.archive, self.retention = folder, Archive(folder, station), retention
        self.note_version("start")
        self._retained = -HOUR

    def note_version(self, why: str) -> None:
        """The station's file as it is now is the one that decides."""
        self.version = self.archive.version((self.folder / FILE).read_text(encoding="utf-8"), who="watch", why=why)

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        if time.monotonic() - self._retained >= HOUR:
            self.archive.retain(self.retention)
            self._retained = time.monotonic()
        who = f"watch {file.path.parent.name} {result.number}"
        if self._has(result, who):
            return
        self.archive.keep(
            [
                Seen(
                    part=result.part,
                    who=who,
                    outcome="not judged" if result.outcome == "invalid" else result.outcome,
                    version=result.version or self.version,  # 0 of a result that an older watcher recorded
                    why=result.error,
                    p_value=result.p_value,
                    verdict=result.verdict,
                    content=_content(file),
                )
            ]
        )

    def _has(self, result: PartResult, who: str) -> bool:
        """Whether it was kept before a crash. Another folder, or a journal begun anew, has the same numbers."""
        return any(
            (kept.who, kept.verdict, kept.why) == (who, result.verdict, result.error)
            for kept in self.archive.history(part=result.part, limit=10)
        )

    def close(self) -> None:
        self.archive.close()


def _content(file: PictureFile) -> bytes | None:
    """The picture; None if it was overwritten since: the next part's must not stand beside this verdict."""
    if file.size > MAX_BYTES:  # no picture, see read_picture
        return None
    try:
        content = file.path.read_bytes()
    except OSError:
        return None
    return content if PictureFile.at(file.path) == file else None
