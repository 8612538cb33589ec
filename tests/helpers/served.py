"""`lad-reasoner serve` in a process of its own, asked over a real socket."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from helpers.bound import bound
from lad_reasoner.service.server import configure, listen

TESTS = Path(__file__).parents[1]
BOUNDARY = "----the-boundary-of-a-test"


def grey_png(shade: int, seed: int = 0, side: int = 32) -> bytes:
    """A picture of this grey value with a little noise: a file of its own for each seed."""
    pixels = shade + np.random.default_rng(seed).integers(-3, 4, (side, side, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(pixels, (side, side, 3)).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def multipart(*fields: tuple[str, bytes | str, str]) -> tuple[bytes, str]:
    """(name, value, file name or "") -> body and content type."""
    body = bytearray()
    for name, value, file in fields:
        about = f'; filename="{file}"\r\nContent-Type: application/octet-stream' if file else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{about}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return bytes(body + f"--{BOUNDARY}--\r\n".encode()), f"multipart/form-data; boundary={BOUNDARY}"


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        text = self.json["error"]
        assert isinstance(text, str) and "\n" not in text and "Traceback" not in text
        return text


class Served:
    """A server at work; `key` is sent with each request."""

    def __init__(self, process: subprocess.Popen[bytes] | None, port: int, log: Path, key: str = "") -> None:
        self.process, self.port, self.log, self.key = process, port, log, key

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Any = None,
        kind: str = "application/json",
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        given = {"Content-Type": kind} if body is not None else {}
        key = self.key if key is None else key
        if key:
            given["Authorization"] = f"Bearer {key}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, given | (headers or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def inspect(self, picture: bytes, *, part: str = "", station: str = "station", **fields: str) -> Answer:
        """POST /v1/inspect, as a form."""
        texts = [(name, value, "") for name, value in {"station": station, "part": part, **fields}.items() if value]
        body, kind = multipart(*texts, ("picture", picture, "camera.png"))
        return self.ask("POST", "/v1/inspect", body, kind)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(40)

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        text = self.log.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def serving_here(app: Any, log: Path) -> Iterator[Served]:
    """Serve an app in a thread of this process, so that a test may reach into it."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(configure(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Served(None, listener.getsockname()[1], log)
        finally:
            server.should_exit = True
            thread.join(40)


@contextmanager
def serving(*arguments: str | Path, log: Path, key: str = "", clock: Path | None = None) -> Iterator[Served]:
    """Serve on a free port until the end of the block. `clock` is a file with the days by which it is earlier there."""
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if clock is not None:
        environment["LAD_CLOCK"] = str(clock)
    module = "lad_reasoner" if clock is None else "helpers.old_clock"
    command = bound([sys.executable, "-m", module, "serve", "--port", "0", *map(str, arguments)])
    with log.open("ab") as stream:
        start = stream.tell()
        process = subprocess.Popen(command, stderr=stream, env=environment)
    try:
        served = Served(process, _wait_for_port(process, log, start), log, key)
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path, start: int) -> int:
    end = time.monotonic() + 300  # a machine may be busy
    while time.monotonic() < end:
        text = log.read_bytes()[start:].decode()
        if found := re.search(r"serving at http://\S+:(\d+)\s", text):
            return int(found[1])
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(f"no server after 300 s: {log.read_text()}")
