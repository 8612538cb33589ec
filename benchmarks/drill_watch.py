"""The drill `watch`: a line that watches a folder is killed while a camera goes on writing pictures.

It is killed (SIGKILL) so many times at random moments; each picture is written in two halves. Lost is a picture that
is not once in the JSON lines, once in the sorted folders and once in the station's history, with the right outcome, or
not at least once at the webhook.
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


class _Receiver(ThreadingHTTPServer):
    """Takes the results that are sent to its webhook: picture -> how often."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.came: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is part of the drill."""


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.came[body["picture"]] += 1
        self.send_response(204)
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
        receiver, camera = _Receiver(), _Camera(incoming, seed)
        hook = f"http://127.0.0.1:{receiver.server_address[1]}/"
        sinks = ["--to", str(sorted_to), "--move", "--to", str(lines), "--to", hook]
        watch = ("watch", "--station", folder / "station", *sinks)
        camera.start()
        for _ in range(number):
            before = _size(lines)
            with subprocess.Popen(command(*watch, incoming), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as line:
                while _size(lines) == before and line.poll() is None:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.5))
                line.kill()
            tally.kills += 1
        camera.stop.set()
        camera.join()
        done = subprocess.run(command(*watch, "--once", incoming), capture_output=True, text=True)
        receiver.shutdown()
        receiver.server_close()
        if done.returncode:
            tally.lost.append(f"the last run ended with {done.returncode}: {done.stderr.strip()}")
        tally.pictures = len(camera.written)
        tally.repeated = sum(count - 1 for count in receiver.came.values())
        _compare(tally, camera.written, folder, receiver.came)
    return tally


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _compare(tally: WatchTally, written: dict[str, str], folder: Path, came: Counter[str]) -> None:
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
    tally.lost += [f"webhook: {name} never came" for name in written if not came[name]]
    tally.lost += [f"still in the folder: {path.name}" for path in (folder / "incoming").iterdir()]
