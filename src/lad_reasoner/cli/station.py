"""The verbs of `station`. Heavy imports stay inside the verbs, see app.py."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli.options import (
    EXIT_INPUT,
    REFERENCE,
    Device,
    FlagsError,
    MaxPixels,
    ReasoningTokens,
    given_options,
    with_judge_options,
)
from lad_reasoner.errors import InputError, require
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.service.station import Station

station = typer.Typer(help="Inspection points that are set up once.", no_args_is_help=True, rich_markup_mode=None)

FOLDER = typer.Argument(metavar="STATION", help="Folder of the station.")
PICTURES = "picture, folder or quoted glob; repeatable."


@station.command(
    "create",
    epilog="Example: lad-reasoner station create --reference good/ --normal normal/ --max-false-alarms 0.05 -o lamp/",
)
@with_judge_options
def create_verb(
    model: str,
    options: dict[str, Any],
    reference: Annotated[list[str], REFERENCE],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STATION", help="New folder of the station.")],
    normal: Annotated[
        list[str] | None, typer.Option(metavar="GOOD", help=f"Further good pictures, which make the limit: {PICTURES}")
    ] = None,
    bad: Annotated[
        list[str] | None, typer.Option(metavar="BAD", help=f"Bad pictures, which show what will be missed: {PICTURES}")
    ] = None,
    max_false_alarms: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.0001,
            max=0.9999,
            help="Largest share of good parts called anomalous.  [default: 0.05]",
        ),
    ] = None,
    max_unsure: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.0001,
            max=0.9999,
            help="Largest share of good parts called unsure, for a person to look.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Compare with the normal pictures as well; each makes the limit without its fold, one of N.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the station; by default that of its folder.")] = "",
    evidence: Annotated[bool, typer.Option("--evidence", help="Add the map and boxes of `evidence`.")] = False,
) -> None:
    """Set a station up: references, and a limit that keeps a promise.

    The limit promises a rate of false alarms.
    """
    require("tomli_w", "serve", "tomli-w")
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.setup import create_station

    if not normal and (max_false_alarms or max_unsure):
        raise FlagsError("--max-false-alarms and --max-unsure are promised of good pictures: give --normal, too")
    if folds and not normal:
        raise FlagsError("--folds divides the pictures of --normal: give these")
    made = create_station(
        out,
        find_pictures(reference),
        find_pictures(normal or []),
        find_pictures(bad or []),
        name=name,
        judge=model,
        evidence=evidence,
        options=options,
        max_false_alarms=max_false_alarms or (0.05 if normal else None),
        max_unsure=max_unsure,
        folds=folds,
        track=track,
    )
    _print_station(made)
    print(f"station: {out}", file=sys.stderr)


@station.command("show", epilog="Example: lad-reasoner station show lamp/")
def show_verb(folder: Annotated[Path, FOLDER]) -> None:
    """Show what a station is made of, and what its limit promises."""
    from lad_reasoner.service.station import Station

    _print_station(Station.load(folder))


@station.command("calibrate", epilog="Example: lad-reasoner station calibrate lamp/ --max-false-alarms 0.1")
def calibrate_verb(
    folder: Annotated[Path, FOLDER],
    max_false_alarms: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0.0001, max=0.9999, help="Another share of good parts called anomalous."),
    ] = None,
    max_unsure: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0.0001, max=0.9999, help="Another share of good parts called unsure."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Compare with the normal pictures as well, in N folds; 0: no longer."),
    ] = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Score a station's pictures again, and set its limits anew.

    They are scored with the judge as it is now.

    The station keeps the options of its judge that are given.
    """
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.setup import calibrate

    options = given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens)
    made = calibrate(
        folder,
        max_false_alarms=max_false_alarms,
        max_unsure=max_unsure,
        folds=folds,
        options=options,
        track=track,
    )
    _print_station(made)


@station.command("zones", epilog="Example: lad-reasoner station zones lamp/ --svg zones.svg")
def zones_verb(
    folder: Annotated[Path, FOLDER],
    svg: Annotated[
        Path | None,
        typer.Option(
            metavar="SVG",
            help="Polygons and rects drawn over the first reference; the class or id says ignore, include or check.",
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Picture of the first reference's shape, white in the zone.")
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Kind of the mask's zone: ignore, include or check.")
    ] = "ignore",
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the mask's zone.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Remove the zones that there are, first.")] = False,
    mm_per_pixel: Annotated[
        float | None, typer.Option(metavar="MM", min=0, help="Scale of the first reference.")
    ] = None,
    fixed_camera: Annotated[
        bool | None, typer.Option("--fixed-camera/--moving", help="Whether zones stay in place or move with the part.")
    ] = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Show a station's zones, or change them. The limits are then made anew."""
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.setup import set_zones
    from lad_reasoner.service.station import Station
    from lad_reasoner.service.summary import describe_zones

    if svg is None and mask is None and not clear and mm_per_pixel is None and fixed_camera is None:
        shown = Station.load(folder)
    else:
        shown = set_zones(
            folder,
            svg=svg,
            mask=mask,
            kind=kind,
            name=name,
            clear=clear,
            mm_per_pixel=mm_per_pixel,
            fixed_camera=fixed_camera,
            options=given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens),
            track=track,
        )
    for line in describe_zones(shown):
        print(line)


@station.command("rules", epilog="Example: lad-reasoner station rules lamp/")
def rules_verb(
    folder: Annotated[Path, FOLDER],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Vision-language model that writes and answers questions, too.")
    ] = "",
    server: Annotated[
        str, typer.Option(metavar="URL", help="Address of the OpenAI-compatible service that runs --model.")
    ] = "",
    broken: Annotated[
        str | None,
        typer.Option(metavar="MEANS", help="What a broken rule makes of a part: note, unsure or anomalous."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the rules there are, and change nothing.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all rules.")] = False,
) -> None:
    """Write a station's rules from its good pictures.

    Each query is then checked rule by rule.

    They stand in station.toml, where you may change, add and delete them. With rules there already, --broken alone
    changes what a broken one means.
    """
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.setup import make_rules
    from lad_reasoner.service.station import Station
    from lad_reasoner.service.summary import describe_rules

    if bool(model) != bool(server):
        raise FlagsError("give --model and --server together: questions are put to a model behind a service")
    if broken not in (None, "note", "unsure", "anomalous"):
        raise FlagsError("--broken is note, unsure or anomalous")
    held: tuple[tuple[int, int], ...] = ()
    if show:
        shown = Station.load(folder)
    else:
        means: Any = broken
        shown, held = make_rules(folder, model=model, server=server, broken=means, clear=clear, track=track)
    for line in describe_rules(shown, folder, held):
        print(line)


@station.command("check", epilog="Example: lad-reasoner station check lamp/")
def check_station_verb(
    folder: Annotated[Path, FOLDER],
    recent: Annotated[
        list[str] | None, typer.Option(metavar="GOOD", help=f"Recent good pictures, to look for drift: {PICTURES}")
    ] = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pictures that are changed for the robustness report.")
    ] = 5,
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Look for drift, and for a change of the judge.

    Scores the station's pictures again, and tries out light, focus, shift, compression and noise. Follows the chain of
    the audit log, if the station has been served or watched.

    Exits with 1 if a score has changed, a drift was found, or the audit log was changed.
    """
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.report.terminal import track
    from lad_reasoner.service.archive import Archive
    from lad_reasoner.service.database import DATABASE
    from lad_reasoner.service.inspection import OpenStation
    from lad_reasoner.service.summary import describe_audit, describe_drift, describe_rescored, describe_robustness
    from lad_reasoner.service.upkeep import measure_drift, measure_robustness, rescore

    options = given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens)
    opened = OpenStation(folder, obey_lock=False, options=options)
    rescored = rescore(opened, track)
    print(describe_rescored(rescored))
    faults = bool(rescored.changed)
    if recent:
        drift = measure_drift(opened, find_pictures(recent), track)
        print(describe_drift(drift, opened.station))
        faults = faults or drift.found
    for line in describe_robustness(measure_robustness(opened, pictures, track)):
        print(line)
    if (opened.folder / DATABASE).exists():
        with closing(Archive(opened.folder, opened.station.name)) as archive:
            broken, newest = archive.broken_audit(), archive.audit(limit=1)
        print(describe_audit(broken, newest[0].id if newest else 0))
        faults = faults or broken is not None
    if faults:
        raise typer.Exit(EXIT_INPUT)


@station.command("test", epilog="Example: lad-reasoner station test lamp/ --good master_good.png --bad master_bad.png")
def test_station_verb(
    folder: Annotated[Path, FOLDER],
    good: Annotated[list[str], typer.Option(metavar="GOOD", help=f"Known-good master part: {PICTURES}")],
    bad: Annotated[list[str], typer.Option(metavar="BAD", help=f"Known-bad master part: {PICTURES}")],
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Challenge a station at the start of a shift.

    After a failure it is locked until a challenge is passed.

    Exits with 1 if a good master part is not called good, or a bad one not anomalous. Each challenge is logged.
    """
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.service.challenge import challenge

    options = given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens)
    record = challenge(folder, good=find_pictures(good), bad=find_pictures(bad), options=options)
    for part in record.parts:
        score = "" if part.score is None else f"  score {part.score:.4f}"
        mark, kind = "ok" if part.right else "FAILED", "bad" if part.bad else "good"
        print(f"{mark:<7}{kind:<5}{part.picture}: {part.outcome or part.error}{score}")
    if not record.passed:
        raise InputError(f"{folder}: challenge failed, the station is locked: {record.reason}")
    print("passed: the station may judge")


def _print_station(shown: Station) -> None:
    from lad_reasoner.service.summary import describe_station

    for line in describe_station(shown):
        print(line)
