"""The verbs of `station`. Heavy imports stay inside the verbs, see app.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli.options import with_judge_options
from lad_reasoner.errors import require

if TYPE_CHECKING:
    from lad_reasoner.service.station import Station

station = typer.Typer(help="Inspection points that are set up once.", no_args_is_help=True, rich_markup_mode=None)

FOLDER = typer.Argument(metavar="STATION", help="Folder of the station.")
PICTURES = "picture, folder or quoted glob; repeatable."


@station.command(
    "create",
    epilog="Example: lad-reasoner station create --references good/ --normal normal/ --max-false-alarms 0.05 -o lamp/",
)
@with_judge_options
def create_verb(
    model: str,
    options: dict[str, Any],
    references: Annotated[list[str], typer.Option(metavar="REF", help=f"Known-good {PICTURES}")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STATION", help="New folder of the station.")],
    normal: Annotated[
        list[str] | None, typer.Option(metavar="GOOD", help=f"Further good pictures, which make the limit: {PICTURES}")
    ] = None,
    bad: Annotated[
        list[str] | None, typer.Option(metavar="BAD", help=f"Bad pictures, which show what will be missed: {PICTURES}")
    ] = None,
    max_false_alarms: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9999, help="Largest share of good parts called anomalous.  [default: 0.05]"),
    ] = None,
    max_unsure: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9999, help="Largest share of good parts called unsure, for a person to look."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the station; by default that of its folder.")] = "",
    evidence: Annotated[bool, typer.Option("--evidence", help="Add the map and boxes of `evidence`.")] = False,
) -> None:
    """Set an inspection point up: references, and a limit with a promised rate of false alarms."""
    require("tomli_w", "serve", "tomli-w")
    from lad_reasoner.files.pictures import find_pictures
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.setup import create_station

    if not normal and (max_false_alarms or max_unsure):
        raise typer.BadParameter("a promised rate needs good pictures: give --normal")
    made = create_station(
        out,
        find_pictures(references),
        find_pictures(normal or []),
        find_pictures(bad or []),
        name=name,
        judge=model,
        evidence=evidence,
        options=options,
        max_false_alarms=max_false_alarms or (0.05 if normal else None),
        max_unsure=max_unsure,
        track=track,
    )
    _print_station(made)
    print(f"station: {out}", file=sys.stderr)


@station.command("show", epilog="Example: lad-reasoner station show lamp/")
def show_verb(folder: Annotated[Path, FOLDER]) -> None:
    """Show what a station is made of, and what its limit promises."""
    from lad_reasoner.service.station import Station

    _print_station(Station.load(folder))


def _print_station(shown: Station) -> None:
    from lad_reasoner.service.summary import describe_station

    for line in describe_station(shown):
        print(line)
