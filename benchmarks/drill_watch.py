"""The drill `watch`: a line that watches a folder is killed while a camera goes on writing pictures.

It is killed (SIGKILL) so many times at random moments; each picture is written in two halves. Its webhook is away for a
while after each kill, and fails with a quarter of the requests. Lost is a picture that is not once in the JSON lines,
once in the sorted folders and once in the station's history, with the right outcome; or not at least once at the
webhook, in order, with the same ID and content each time.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from drill_common import command
from drill_pictures import plain_picture

from lad_reasoner.files.jsonl import read_records
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.parts import PartResult
from lad_reasoner.service.setup import create_station


@dataclass
class WatchTally:
    """What became of the pictures of a line that was killed; `repeated` counts requests that came twice."""

    kills: int = 0
    pictures: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"killed {self.kills} times, pictures {self.pictures}, lost {len(self.lost)}"
        return f"{counts}, webhook requests repeated {self.repeated}"


FAULTS = {"500": 0.1, "drop": 0.05, "unanswered": 0.05, "half": 0.05, "slow": 0.01}  # act -> its share of the requests
SLOW = 11.0  # seconds, longer than a webhook is waited for
BUFFER = 100  # pictures that wait, above which the camera pauses
SHADES = {"good": 100, "anomalous": 250}  # of the pictures; the station's reference has the first


class _Camera(threading.Thread):
    """Writes pictures to a folder until it is stopped; `written` has the outcome that each should get."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.chance, self.stop = folder, random.Random(seed), threading.Event()
        self.written: dict[str, str] = {}

    def run(self) -> None:
        while not self.stop.is_set():
            if sum(1 for _ in self.folder.iterdir()) > BUFFER:
                time.sleep(0.1)
                continue
            name = f"{len(self.written):05}.png"
            outcome = self.chance.choice(list(SHADES))
            content = plain_picture(SHADES[outcome], len(self.written))
            with (self.folder / name).open("wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                time.sleep(self.chance.uniform(0, 0.1))
                file.write(content[len(content) // 2 :])
            self.written[name] = outcome
            time.sleep(self.chance.uniform(0, 0.1))


class _Receiver:
    """Takes the results that are sent to its webhook, and fails with some; `came` has what it took: (id, body)."""

    def __init__(self, seed: int) -> None:
        self.chance, self.faulty = random.Random(seed), True
        self.came: list[tuple[str, dict[str, Any]]] = []
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """At the same port as before."""
        self._http = _Listener(("127.0.0.1", self.port), _ReceiverHandler, self)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def leave(self) -> None:
        """Nobody listens from here on."""
        self._http.shutdown()
        self._http.server_close()

    def act(self) -> str:
        """What to do with the next request."""
        names = [*FAULTS, "take"]
        shares = [*FAULTS.values(), 1 - sum(FAULTS.values())]
        return self.chance.choices(names, shares)[0] if self.faulty else "take"


class _Listener(ThreadingHTTPServer):
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: Any, receiver: _Receiver) -> None:
        self.receiver = receiver
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is part of the drill."""


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: _Listener

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        act = self.server.receiver.act()
        if act not in ("500", "drop"):
            self.server.receiver.came.append((self.headers["webhook-id"], body))
        if act in ("drop", "unanswered"):
            return
        if act == "slow":
            time.sleep(SLOW)
        self.send_response({"500": 500, "half": 200}.get(act, 204))
        if act == "half":
            self.send_header("Content-Length", "100")  # and not one byte of it comes
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


def drill_watch(number: int, seed: int = 0) -> WatchTally:
    """Kill a line `number` times while its camera works, then let it finish."""
    tally, chance = WatchTally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        incoming, sorted_to, lines = folder / "incoming", folder / "sorted", folder / "results.jsonl"
        incoming.mkdir()
        (folder / "good.png").write_bytes(plain_picture(SHADES["good"], -1 % 2**32))
        create_station(folder / "station", [folder / "good.png"], judge="pixel-difference")
        receiver, camera = _Receiver(seed), _Camera(incoming, seed)
        hook = f"http://127.0.0.1:{receiver.port}/"
        sinks = ["--to", str(sorted_to), "--move", "--to", str(lines), "--to", hook]
        watch = ("watch", "--station", folder / "station", *sinks)
        camera.start()
        for _ in range(number):
            before = _size(lines)
            with subprocess.Popen(command(*watch, incoming), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as line:
                while _size(lines) == before and line.poll() is None:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.5))
                if tally.kills:
                    receiver.listen()
                time.sleep(chance.uniform(0, 2))
                line.kill()
            receiver.leave()
            tally.kills += 1
        camera.stop.set()
        camera.join()
        receiver.faulty = False
        receiver.listen()
        done = subprocess.run(command(*watch, "--once", incoming), capture_output=True, text=True)
        receiver.leave()
        if done.returncode:
            tally.lost.append(f"the last run ended with {done.returncode}: {done.stderr.strip()}")
        tally.pictures = len(camera.written)
        tally.repeated = len(receiver.came) - len({name for name, _ in receiver.came})
        _compare(tally, camera.written, folder)
        tally.lost += _compare_requests(camera.written, receiver.came)
    return tally


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _compare(tally: WatchTally, written: dict[str, str], folder: Path) -> None:
    """Every picture against what each receiver has of it."""
    records = read_records(folder / "results.jsonl", PartResult)
    results = Counter((result.picture, str(result.outcome)) for result in records)
    names = {"good": "good", "bad": "anomalous", "unsure": "unsure", "invalid": "invalid"}
    files = Counter((path.name, names[path.parent.name]) for path in (folder / "sorted").rglob("*.png"))
    archive = Archive(folder / "station", "station")
    history: Counter[tuple[str, str]] = Counter()
    for inspection in archive.history(limit=10**9):
        history[f"{inspection.part}.png", inspection.outcome] += inspection.picture
    archive.close()
    expected = Counter(written.items())
    for receiver, counts in {"JSON lines": results, "sorted folders": files, "history": history}.items():
        for picture in sorted((expected - counts) + (counts - expected)):
            tally.lost.append(f"{receiver}: {picture} is there {counts[picture]} times, not {expected[picture]}")
    tally.lost += [f"still in the folder: {path.name}" for path in (folder / "incoming").iterdir()]


def _compare_requests(written: dict[str, str], came: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What is wrong with the requests, (ID, body) of each: every picture came, repeated as it was, in order."""
    first: dict[str, dict[str, Any]] = {}
    lost = []
    for name, body in came:
        if first.setdefault(name, body) != body:
            lost.append(f"webhook: {name} came again with another content")
    pictures = Counter((body["picture"], body["outcome"]) for body in first.values())
    expected = Counter(written.items())
    lost += [
        f"webhook: {picture} came with {pictures[picture]} IDs, not {expected[picture]}"
        for picture in sorted((expected - pictures) + (pictures - expected))
    ]
    numbers = [body["number"] for body in first.values()]
    if numbers != sorted(numbers):
        lost.append(f"webhook: out of order: {numbers}")
    return lost
