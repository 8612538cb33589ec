"""The HTTP server: uvicorn with limits on slow clients, logs as JSON, and an end that finishes what it began.

    serve(app, host="127.0.0.1", port=8000, ready=print)     # until SIGTERM or SIGINT

A power cut at any moment loses no inspection that was answered: the archive is on the disk before the answer is sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lad_reasoner.errors import InputError

HEAD_SECONDS = 10.0  # in which the head of the first request of a connection must have come
IDLE = 30  # seconds until a connection on which nothing comes is closed
GRACE = 30  # seconds in which running requests may end
BACKLOG = 4096  # connections that may wait to be accepted
FILES = 65536  # open files that are asked for: one a connection


class _Protocol(H11Protocol):
    """Closes a connection on which no request begins: it would hold an open file for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_SECONDS, self._close_silent)

    def shutdown(self) -> None:
        super().shutdown()
        # A stream of events has no end of its own, and would hold the shutdown up.
        if self.cycle is not None and (end := self.cycle.scope.get("state", {}).get("end")):
            end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.cancel()
        super().connection_lost(exc)

    def _close_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _JsonFormatter(logging.Formatter):
    """One line of JSON; what is JSON already is put into it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        message = record.getMessage()
        if record.name == "lad_reasoner.service.requests":
            line |= json.loads(message)
        else:
            line |= {"logger": record.name, "message": message}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def serve(app: ASGIApp, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until a signal; `ready` gets the address. InputError if the address cannot be used."""
    raise_file_limit()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{listener.getsockname()[1]}")
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn ends what runs and then raises the signal again, which would look like a failure.
        signal.signal(number, lambda *_: None)
    with listener:
        uvicorn.Server(configure(app)).run(sockets=[listener])


def configure(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=IDLE,
        proxy_headers=False,  # whoever sends them could choose the address in the log
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. InputError if the address cannot be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: {problem}; give another address") from None
    return listener


def raise_file_limit() -> None:
    """Each connection is an open file; the usual limit of 1024 is too low for a rush."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
