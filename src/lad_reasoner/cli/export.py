"""The verb `export`: a folder that judges by itself. Heavy imports stay inside the verb, see app.py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from lad_reasoner.cli.options import REFERENCE, STATION, FlagsError
from lad_reasoner.text import print_shown as print


def export_verb(
    edge: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="New folder, with network, references and limit; `inspect --edge FOLDER` judges."
        ),
    ],
    reference: Annotated[list[str] | None, REFERENCE] = None,
    station: Annotated[Path | None, STATION] = None,
) -> None:
    """Write a folder that judges by itself on a small computer.

    It holds references, limit and the network of `evidence`, for `inspect --edge`.
    """
    if bool(station) == bool(reference):
        raise FlagsError("give --reference or --station, one of the two")
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.service.edge import export_edge
    from lad_reasoner.service.setup import create_station
    from lad_reasoner.service.station import station_name

    with tempfile.TemporaryDirectory() as temporary:
        if station is None:
            station = Path(temporary) / "station"
            create_station(station, find_pictures(reference or []), name=station_name(edge))
        record = export_edge(station, edge)
    size = sum(path.stat().st_size for path in edge.rglob("*") if path.is_file()) / 1e6
    print(f"edge: {edge} ({size:.1f} MB); {len(record.scores)} scores agree with those of the references here")
    print(f"judge with: lad-reasoner inspect --edge {edge} QUERY", file=sys.stderr)
