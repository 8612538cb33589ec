"""Drills: how the product stands faults and attacks, counted.

    python benchmarks/drills.py pictures --number 100000
    python benchmarks/drills.py watch --number 20

`pictures` damages small pictures of every format that is opened (bytes changed, cut out, doubled, swapped between
files, the end cut off; orientation and odd EXIF entries) and reads each. Lost is what raises anything but `ImageError`,
takes longer than 10 seconds of the processor, or has a message of several lines.

`watch` kills (SIGKILL) a line that watches a folder so many times at random moments, while a camera goes on writing
pictures, each in two halves. Lost is a picture that is not once in the JSON lines, once in the sorted folders and once
in the station's history, with the right outcome, or not at least once at the webhook.

Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.errors import ImageError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.parts import PartResult
from lad_reasoner.service.setup import create_station

SLOW = 10.0  # seconds for one picture
SHOWN = 10  # lost pictures that are printed
ODD = (0, 1, 0x7F, 0x80, 0xFF)  # bytes at the edges of their range


@dataclass
class PictureTally:
    """What became of the pictures; `lost` holds one line for each that was lost."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        survived = self.read + self.refused
        counts = f"tried {self.tried}, survived {survived} ({self.read} read, {self.refused} refused)"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return f"{counts}, lost {len(self.lost)}, slowest {self.slowest:.2f} s, peak memory {memory:.0f} MB"


def make_pictures() -> dict[str, bytes]:
    """Whole files of every format: name -> bytes."""
    y, x = np.mgrid[:40, :56]
    colours = Image.fromarray(np.stack([x * 4, y * 6, (x * y) % 256], -1).astype(np.uint8))
    grey = Image.fromarray((x * y * 20).astype(np.uint16))
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0, 0x013B: "artist"})
    pages = {"save_all": True}
    forms: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png": (colours, "PNG", {"exif": exif}),
        "png of 16 bits": (grey, "PNG", {}),
        "png with palette": (colours.quantize(), "PNG", {"transparency": 3}),
        "png with alpha": (colours.convert("RGBA"), "PNG", {}),
        "png film": (colours, "PNG", pages),
        "jpeg": (colours, "JPEG", {"exif": exif}),
        "progressive jpeg": (colours, "JPEG", {"progressive": True}),
        "cmyk jpeg": (colours.convert("CMYK"), "JPEG", {}),
        "mpo": (colours, "MPO", pages),
        "tiff": (colours, "TIFF", {"exif": exif}),
        "tiff with lzw": (colours, "TIFF", {"compression": "tiff_lzw"}),
        "tiff with jpeg": (colours, "TIFF", {"compression": "jpeg"}),
        "tiff of 16 bits": (grey, "TIFF", {}),
        "tiff of pages": (colours, "TIFF", pages),
        "gif": (colours, "GIF", {}),
        "gif film": (colours, "GIF", pages),
        "bmp": (colours, "BMP", {}),
        "dib": (colours, "DIB", {}),
        "ppm": (colours, "PPM", {}),
        "pgm": (colours.convert("L"), "PPM", {}),
        "webp": (colours, "WEBP", {"exif": exif}),
        "webp film": (colours, "WEBP", pages),
        "jpeg 2000": (colours, "JPEG2000", {}),
        "avif": (colours, "AVIF", {"speed": 10}),
    }
    files = {}
    for name, (image, encoding, options) in forms.items():
        buffer = io.BytesIO()
        # Copies and new pages each time: saving leaves the settings of an encoder behind.
        more = {"append_images": [colours.rotate(90), colours.rotate(180)]} if "save_all" in options else {}
        image.copy().save(buffer, encoding, **options, **more)
        files[name] = buffer.getvalue()
    return files


def damage(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to four faults, half of them near the start, where the headers are."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not broken:
            break
        end = min(len(broken), 200) if chance.random() < 0.5 else len(broken)
        at, length = chance.randrange(end), chance.randint(1, 16)
        match chance.randrange(7):
            case 0:
                broken[at] ^= 1 << chance.randrange(8)
            case 1:
                broken[at] = chance.choice(ODD)
            case 2:
                broken[at : at + length] = chance.randbytes(length)
            case 3:
                del broken[at : at + length]
            case 4:
                broken[at:at] = broken[at : at + length] * chance.randint(1, 4)
            case 5:
                broken[at : at + length] = other[at : at + length]
            case _:
                del broken[chance.randrange(len(broken)) :]
    return bytes(broken)


def damaged_pictures(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`number` damaged files of all formats in turn, each with a name by which it is made again."""
    files = make_pictures()
    names = list(files)
    for index in range(number):
        chance = random.Random(f"{seed}/{index}")
        name = names[index % len(names)]
        yield f"{name}, seed {seed}, number {index}", damage(files[name], files[chance.choice(names)], chance)


def drill_pictures(number: int, seed: int = 0) -> PictureTally:
    """Read `number` damaged pictures; the whole ones first."""
    tally = PictureTally()
    whole = [(f"whole {name}", data) for name, data in make_pictures().items()]
    for name, data in chain(whole, damaged_pictures(number, seed)):
        tally.tried += 1
        start = time.process_time()
        problem = ""
        try:
            read_picture(data)
            tally.read += 1
        except ImageError as error:
            tally.refused += 1
            problem = "a message of several lines" if "\n" in str(error) else ""
        except Exception as error:  # what the drill looks for
            problem = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - start
        tally.slowest = max(tally.slowest, seconds)
        if problem or seconds > SLOW:
            tally.lost.append(f"{name}: {problem or f'{seconds:.1f} s'}")
    return tally


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
            content = _plain_picture(SHADES[outcome], len(self.written))
            with (self.folder / name).open("wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                time.sleep(self.chance.uniform(0, 0.1))
                file.write(content[len(content) // 2 :])
            self.written[name] = outcome
            time.sleep(self.chance.uniform(0, 0.1))


def _plain_picture(shade: int, seed: int) -> bytes:
    """A grey picture with noise, each another one."""
    noise = np.random.default_rng(seed).integers(-3, 4, (64, 64, 3))
    buffer = io.BytesIO()
    Image.fromarray((shade + noise).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


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
        (folder / "good.png").write_bytes(_plain_picture(SHADES["good"], -1 % 2**32))
        create_station(folder / "station", [folder / "good.png"], judge="pixel-difference")
        receiver, camera = _Receiver(), _Camera(incoming, seed)
        hook = f"http://127.0.0.1:{receiver.server_address[1]}/"
        sinks = ["--to", str(sorted_to), "--move", "--to", str(lines), "--to", hook]
        command = [sys.executable, "-m", "lad_reasoner", "watch", "--station", str(folder / "station"), *sinks]
        camera.start()
        for _ in range(number):
            before = _size(lines)
            with subprocess.Popen([*command, str(incoming)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as line:
                while _size(lines) == before and line.poll() is None:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.5))
                line.kill()
            tally.kills += 1
        camera.stop.set()
        camera.join()
        done = subprocess.run([*command, "--once", str(incoming)], capture_output=True, text=True)
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


DRILLS = {"pictures": (drill_pictures, 20_000), "watch": (drill_watch, 20)}  # with the usual number


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("drill", choices=DRILLS)
    parser.add_argument("--number", type=int, help="damaged inputs (20,000), or kills (20)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: %(default)s)")
    arguments = parser.parse_args()
    drill, usual = DRILLS[arguments.drill]
    tally = drill(usual if arguments.number is None else arguments.number, arguments.seed)
    print(tally)
    for line in tally.lost[:SHOWN]:
        print(line)
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
