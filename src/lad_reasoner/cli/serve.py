"""The verbs `serve` and `key`. Heavy imports stay inside the verbs, see app.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lad_reasoner.cli.options import (
    KEEP_GOOD,
    KEEP_REJECTED,
    KEEP_REVIEWED,
    OVER_A_STATION,
    FlagsError,
    with_judge_options,
)
from lad_reasoner.errors import require
from lad_reasoner.text import print_shown as print

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
NEEDED = {
    "fastapi": "",
    "uvicorn": "",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


@with_judge_options
def serve_verb(
    model: str,
    options: dict[str, Any],
    stations: Annotated[
        list[Path] | None, typer.Argument(metavar="STATION", help="Folders of stations to serve.")
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; other than this machine needs --key-file.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen at; 0 for any free one.")
    ] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys of those who may ask; `lad-reasoner key` makes it.")
    ] = None,
    keep_good: Annotated[float | None, KEEP_GOOD] = None,
    keep_rejected: Annotated[float | None, KEEP_REJECTED] = None,
    keep_reviewed: Annotated[float | None, KEEP_REVIEWED] = None,
) -> None:
    """Serve stations over HTTP, with a page, until interrupted.

    --model judges requests that bring their references.
    --device, --max-pixels and --reasoning-tokens are also for the judges of the stations that take them.
    Requests, verdicts and problems are logged to stderr, one line of JSON each.
    """
    for module, package in NEEDED.items():
        require(module, "serve", package)
    if key_file is None and host not in LOOPBACK_HOSTS:
        raise FlagsError(f"--host {host}: others can reach it, so give --key-file; make one with `lad-reasoner key`")
    from lad_reasoner.service.archived import Retention
    from lad_reasoner.service.keys import Keys
    from lad_reasoner.service.page import create_page_app
    from lad_reasoner.service.runtime import Runtime
    from lad_reasoner.service.server import serve
    from lad_reasoner.service.telemetry import Telemetry

    # Without stations they are options of --model like all others.
    for_all = {name: options.pop(name) for name in OVER_A_STATION if stations and name in options}
    keys = None if key_file is None else Keys.read(key_file)
    with _served_alone(stations or []):
        telemetry = Telemetry()
        runtime = Runtime(
            stations or [],
            model=model,
            options=options,
            for_all=for_all,
            retention=Retention(keep_good, keep_rejected, keep_reviewed),
            observe=telemetry.observe_batch,
        )
        if not stations:
            runtime.inline_judge()  # a wrong --model is refused now, and the first request need not wait
        for note in runtime.notes():
            print(f"note: {note}", file=sys.stderr, flush=True)
        if not stations:
            text = (
                "no station is served; pictures must come with their references: lad-reasoner serve STATION serves one"
            )
            print(f"note: {text}", file=sys.stderr, flush=True)
        serve(create_page_app(runtime, keys=keys, telemetry=telemetry), host=host, port=port, ready=_say_ready)


@contextmanager
def _served_alone(stations: Iterable[Path]) -> Iterator[None]:
    """Two servers of one station would not know of each other's changes. InputError if another one runs."""
    from lad_reasoner.files.whole import lock
    from lad_reasoner.service.station import FILE, station_folder

    with ExitStack() as stack:
        for folder in dict.fromkeys(os.path.realpath(station_folder(station)) for station in stations):
            if Path(folder, FILE).is_file():  # else the runtime says what is missing
                stack.enter_context(lock(Path(folder, "server"), "STATION"))
        yield


def _say_ready(url: str) -> None:
    print(f"serving at {url}", file=sys.stderr, flush=True)


def key_verb(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets the key: a person, a line, a program.")],
    role: Annotated[
        Literal["operator", "engineer"],
        typer.Option(
            metavar="ROLE", help="An operator inspects and says what was wrong; an engineer also changes stations."
        ),
    ] = "operator",
    key_file: Annotated[Path, typer.Option(metavar="FILE", help="File that the key's hash is added to.")] = Path(
        "keys.toml"
    ),
) -> None:
    """Make a key for `serve`, and print it once. The file holds its hash only."""
    from lad_reasoner.service.keys import add_key

    print(add_key(key_file, name, role))
