"""A station in use whose file may be edited, taught or calibrated meanwhile.

    station = CurrentStation("bottle")
    for decision in station.inspect(pictures): ...       # by the station's file as it is now

A file that cannot be used is reported once, and the station stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lad_reasoner.errors import LadError
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.records import Failure
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.parts import PictureFile
from lad_reasoner.service.station import FILE, station_folder
from lad_reasoner.text import printable

logger = logging.getLogger(__name__)


class CurrentStation:
    """Opens the station again when its file has changed, and calls `changed` before it uses it.

    Raises what `OpenStation` raises.

    `options` of the judge go before those of the station's file.
    """

    def __init__(
        self,
        folder: str | Path,
        changed: Callable[[], None] = lambda: None,
        *,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.changed, self._options = station_folder(folder), changed, options
        self._file = PictureFile.at(self.folder / FILE)
        self.opened = OpenStation(self.folder, options=options)

    @property
    def name(self) -> str:
        """The name of the station."""
        return self.opened.station.name

    def inspect(self, pictures: Iterable[PictureSource | Failure]) -> Iterator[Decision | Failure]:
        """As `OpenStation.inspect`; the file is looked at when the first decision is asked for."""
        self._refresh()
        yield from self.opened.inspect(pictures)

    def _refresh(self) -> None:
        path = self.folder / FILE
        file = PictureFile.at(path)
        if file == self._file:
            return
        try:
            opened = OpenStation(self.folder, options=self._options)
        except LadError as error:
            self._file = file
            logger.warning("%s; the station stays as it was", error)
            return
        if opened.station.name != self.name:
            self._file = file
            logger.warning(
                "%s: name: it was %s; a new name needs a restart, the station stays as it was",
                printable(path),
                self.name,
            )
            return
        self.changed()  # what it raises, on a full disk say, is raised again by the next picture
        self.opened, self._file = opened, file
        logger.warning("%s: changed, and in use from now on", printable(path))
