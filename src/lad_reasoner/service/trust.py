"""What the file of a station may start: the file may come from a stranger, what you name in LAD_TRUSTED does not.

    LAD_TRUSTED="my_judges:Mine https://models.example/v1" lad-reasoner serve bottle

Python code (a judge `package.module:Class`), a service on another machine, which gets the pictures and your key, and a
file for its answers are used only if the variable names them, separated by spaces. All else that a station names is
built in, a checkpoint (weights, no code) or a file in its folder.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lad_reasoner.dotted import is_dotted
from lad_reasoner.errors import InputError
from lad_reasoner.text import printable

if TYPE_CHECKING:
    from lad_reasoner.service.station import Station

TRUSTED = "LAD_TRUSTED"


def refuse_untrusted(station: Station, where: str) -> None:
    """InputError, beginning with `where`, if a station that was read from a file names what nobody trusts."""
    trusted = os.environ.get(TRUSTED, "").split()
    for field, name, harm in _named(station):
        if name not in trusted:
            shown = printable(name)
            raise InputError(f"{where}: {field}: {shown} {harm}; if it is yours, name it in {TRUSTED}, as {shown}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(station: Station) -> Iterator[tuple[str, str, str]]:
    """Field, name, and what is to be feared of it."""
    yield from _named_by_judge("", station.judge, station.options)
    if station.second_look is not None:
        yield from _named_by_judge("second_look.", station.second_look.model, station.second_look.options)
    if station.rules is not None and station.rules.server:
        yield from _named_by_judge("rules.", "", {"server": station.rules.server})


def _named_by_judge(field: str, name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    # `file:scores` and `evidence:dinov2` look like code, and are the kinds that judges/__init__.py knows.
    if is_dotted(name) and name.partition(":")[0] not in ("file", "evidence"):
        yield f"{field}{'model' if field else 'judge'}", name, "is Python code, which would run"
    where = f"{field}options." if field != "rules." else field
    if "server" in options:
        server = str(options["server"])
        try:
            here = is_loopback(urlsplit(server).hostname or "")
        except ValueError:  # no address; whoever connects would say so
            here = False
        if not here:
            yield f"{where}server", server, "would get the pictures and your key"
    if "cache" in options:
        yield f"{where}cache", str(options["cache"]), "would be written"
