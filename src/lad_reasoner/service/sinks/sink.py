"""What every sink is, and how its address is read."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.text import listed

LineState = Literal["ready", "busy", "fault"]  # waits for a picture, inspects one, cannot inspect


class UndeliveredError(MachineError):
    """The receiver cannot be reached or is not ready: the same result is tried again."""


class RejectedResultError(MachineError):
    """The receiver does not take this result, whatever is tried; it may take others."""


class Sink(ABC):
    """A receiver of results. All methods but `announce` are called from one thread, in the order of the results.

    `name` is what the user gave; results are kept under it until they are delivered. Building a sink raises InputError
    for an address that cannot be used, and connects to nothing: the line starts without its receivers.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self) -> None:
        """Connect; called before the first delivery and after each failed one, with or without a connection left."""
        return  # a sink may have nothing to do

    def check(self) -> None:
        """Raise UndeliveredError if the connection is lost; called every few seconds while nothing is delivered."""
        return  # a sink may have nothing to do

    @abstractmethod
    def deliver(self, result: PartResult, file: PictureFile) -> None:
        """Hand over one result, which may have been handed over before a crash.

        Raises UndeliveredError or OSError if it has to be tried again, RejectedResultError if that is useless.
        """

    def announce(self, state: LineState) -> None:
        """Take note of what the line does; returns at once."""
        return  # a sink may have nothing to do

    def close(self) -> None:
        """Disconnect."""
        return  # a sink may have nothing to do


@dataclass(frozen=True)
class SinkAddress:
    """`scheme://user@host:port/path?key=value`, read and checked."""

    scheme: str
    host: str
    port: int
    user: str
    path: str
    options: Mapping[str, str]


def parse_sink_address(text: str, *, port: int, options: tuple[str, ...] = ()) -> SinkAddress:
    """Read an address; `port` is the scheme's own, `options` the keys that it takes.

    InputError without a host, with a password in it, and for an option that does not exist.
    """
    try:
        parts = urlsplit(text)
        number = parts.port
    except ValueError:
        raise InputError(f"--to {_without_secret(text)}: not an address; write scheme://host:port") from None
    if not parts.hostname:
        raise InputError(f"--to {_without_secret(text)}: the address has no host; write {parts.scheme}://host:port")
    if parts.password is not None:
        raise InputError(
            f"--to {_without_secret(text)}: an address must not hold a password; set it in the environment"
        )
    if "#" in text:
        raise InputError(f"--to {text}: an address ends before a #; write %23 if a name holds one")
    given = {}
    for pair in parts.query.split("&") if parts.query else ():
        key, _, value = pair.partition("=")
        given[key] = unquote(value)
        if key not in options:
            known = f"; there is {listed(options, 9)}" if options else ""
            raise InputError(f"--to {text}: {parts.scheme}:// takes no option {key}{known}")
    path = unquote(parts.path).strip("/")
    return SinkAddress(
        parts.scheme, parts.hostname, port if number is None else number, unquote(parts.username or ""), path, given
    )


def parse_number(address: str, options: Mapping[str, str], key: str, default: int, highest: int) -> int:
    """A whole number of an address's options, from 0 to `highest`; InputError for anything else."""
    text = options.get(key, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) > highest:
        raise InputError(f"--to {address}: {key}={text}: give a whole number from 0 to {highest}")
    return int(text)


def read_secret(variable: str) -> str:
    """A password or key of the environment; empty if it is not set. InputError for one that cannot be sent."""
    secret = os.environ.get(variable, "").strip()
    if not secret.isprintable():
        raise InputError(f"{variable}: holds characters that no password has; copy it again")
    return secret


def _without_secret(text: str) -> str:
    """The address without user and password."""
    scheme, separator, rest = text.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
