"""The edge form of a station: a folder that brings its network and judges where there is no torch.

    export_edge("bottle", "bottle-edge")             # refused unless it scores as the station does
    station = open_edge("bottle-edge")               # an OpenStation

    bottle-edge/station.toml, references/ …          the station, without the pictures that only made its limit
    bottle-edge/efficientnet-lite0.onnx              the network; its weights stand in the .safetensors beside it
    bottle-edge/studied.safetensors                  what was computed of the references, as arrays
    bottle-edge/edge.json                            version, the hash of each file, and the scores of the check

The hashes show damage; whoever can write into the folder can change both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from PIL import ImageOps
from pydantic import BaseModel, ConfigDict, ValidationError

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import describe_write_error, hash_file, write_whole
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.evidence.efficientnet import GRAPH, WEIGHTS, EfficientNetLite0
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.service.inspection import OpenStation, load_station_judge
from lad_reasoner.service.station import FILE, STUDIED, PathInside, Station, path_inside, station_folder
from lad_reasoner.text import first_problem, printable
from lad_reasoner.version import __version__

EDGE = "edge.json"
AGREE = 1e-3  # of a score: what another way to compute it may change
CHECKED = 8  # references that are judged to see that the scores agree


class EdgeRecord(BaseModel):
    """The content of edge.json."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    files: dict[PathInside, str]  # name -> SHA-256
    scores: list[float]  # of references and of their mirror images


def export_edge(folder: str | Path, out: str | Path) -> EdgeRecord:
    """Write the edge form of a station into the new folder `out`, which appears when it is whole.

    InputError if the judge is not `evidence` with its own network, `out` holds anything, or the scores do not agree.
    """
    folder, out = station_folder(folder), Path(out)
    station = Station.load(folder)
    if station.judge != "evidence" or "backbone" in station.options:
        raise InputError(f"{printable(folder / FILE)}: judge: only evidence with its own network has an edge form")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--edge {printable(out)}: exists already; give a new folder")
    opened = OpenStation(folder)
    opened.save_studied()
    names = [*station.compared, *(zone.mask for zone in station.zones if zone.mask)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            made = Path(temporary) / out.name
            for name in (FILE, STUDIED, *names):
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(made / name, path_inside(folder, name).read_bytes())
            for path in (GRAPH, WEIGHTS):
                write_whole(made / path.name, path.read_bytes())
            record = EdgeRecord(
                version=__version__,
                files={name: hash_file(made / name) for name in (FILE, GRAPH.name, WEIGHTS.name, *names)},
                scores=_check(opened, _open(made)),
            )
            write_whole(made / EDGE, record.model_dump_json(indent=2) + "\n")
            if out.exists():
                out.rmdir()  # not all systems rename onto an empty folder
            made.replace(out)
    except OSError as error:
        raise InputError(f"--edge {describe_write_error(error, out)}") from None
    return record


def open_edge(folder: str | Path) -> OpenStation:
    """The station of an edge folder, with the network of the folder. InputError if a file is missing or changed."""
    folder = Path(folder)
    try:
        record = EdgeRecord.model_validate_json((folder / EDGE).read_bytes())
    except OSError as error:
        raise InputError(
            f"{printable(folder / EDGE)}: {error.strerror}; make the folder with `lad-reasoner export --edge`"
        ) from None
    except ValidationError as error:
        raise InputError(f"{printable(folder / EDGE)}: {first_problem(error)}") from None
    # What was computed of the references has a hash of its own, and is made anew where it does not fit.
    for name in sorted({FILE, GRAPH.name, WEIGHTS.name, *record.files}):
        path = path_inside(folder, name)
        try:
            unchanged = hash_file(path) == record.files.get(name)
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}; export the folder again") from None
        if not unchanged:
            raise InputError(f"{printable(path)}: not as it was exported; export the folder again")
    return _open(folder)


def _open(folder: Path) -> OpenStation:
    judge = load_station_judge(Station.load(folder))
    if not isinstance(judge, Evidence):
        raise InputError(f"{printable(folder / FILE)}: judge: only evidence has an edge form")
    judge.backbone = EfficientNetLite0(folder / GRAPH.name)
    return OpenStation(folder, judge)


def _check(station: OpenStation, edge: OpenStation) -> list[float]:
    """The scores, if both give the same."""
    shown = station.painted_references[:CHECKED]
    # A reference differs in nothing from itself, so its mirror image is judged as well.
    mirrored = [Picture(each.name, ImageOps.mirror(each.image), each.width, each.height) for each in shown]
    scores, others = (_scores(each, [*shown, *mirrored]) for each in (station, edge))
    off = max(abs(one - other) for one, other in zip(scores, others, strict=True))
    if off > AGREE:
        raise InputError(
            f"--edge: not written, since its scores of the references are {off:.3f} off the station's, "
            f"more than {AGREE:g}; please report this with the output of `lad-reasoner env`"
        )
    return others


def _scores(station: OpenStation, queries: list[Picture]) -> list[float]:
    pairs = [PicturePair(station.painted_references, query) for query in queries]
    return [judgement.score or 0.0 for judgement in station.judge.judge(pairs)]
