"""Drills: how the product stands faults and attacks, counted: tried, survived, lost.

    python benchmarks/drills.py all                     the short form, about three minutes
    python benchmarks/drills.py all --long              about an hour
    python benchmarks/drills.py all --long --keep FILE  the same; started again, it goes on after the last whole drill
    python benchmarks/drills.py pictures --number 100000

- `parser`: random responses, against a scanner of its own.
- `pictures`: damaged pictures of every format that is opened (bytes changed, cut out, doubled, swapped between files,
  the end cut off; orientation and odd EXIF entries). Lost is what raises anything but `ImageError`, takes longer than
  10 seconds of the processor, or has a message of several lines; and the drill, if it took more than 1,500 MB.
- `sweep`: a folder of 20 good pictures and so many damaged, odd and hostile files, for `inspect` and `eval`. Lost is a
  good picture without its verdict, another file without a line of its own, a traceback, a wrong exit code.
- `files`: predictions, built sets, facts, stations, answers of services … with other values in them (drill_files.py).
- `kills`: SIGKILL at random moments of each verb that writes; the next start must end as a run that was not killed.
  `training kills` (only with --long): the same of the training, the demo, `inspect --ray` and `export`.
- `odd`: files cut off at any length, whole JPEGs with an odd EXIF entry, bombs. Lost is, too, a whole one that is
  refused or not upright.
- `models`: model folders of a stranger; `resume` (only with --long): damaged and poisoned checkpoints.
- `same` (only with --long): queries judged again in other orders, batches, threads and processes.
- `network` (only with --long): each verb that writes, under a hook that notes connections and look-ups of names.
- `disks` (only with --long): a disk that is full after random amounts; the verb must name it, and end with more room.
- `service`: a hosted judge whose service fails three times in ten.
- `texts`: hostile names and reasonings in every page, opened in Chromium.
- `soak`: many pictures in one process, by `evidence` and by micro.
- `server`: a station's server under many requests at once, slow clients, damaged requests, a full disk, a file of
  nonsense, references that are gone, a clock that is set back, and SIGKILL.
- `watch` kills (SIGKILL) a line that watches a folder so many times at random moments, while a camera goes on writing
  pictures, each in two halves. Lost is a picture that is not once in the JSON lines, once in the sorted folders and
  once in the station's history, with the right outcome, or not at least once at the webhook.

Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import math
import os
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import ImageError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.parts import PartResult
from lad_reasoner.service.setup import create_station

SLOW = 10.0  # seconds for one picture
MOST_MEMORY = 1500  # MB, while pictures are read
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
        return f"{counts}, lost {len(self.lost)}, slowest {self.slowest:.2f} s, peak memory {peak_mb():.0f} MB"


def peak_mb() -> float:
    """The most memory that this program ever had; Linux.

    Not `ru_maxrss`, which a started program takes over from the process that started it.
    """
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


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


def _try_picture(tally: PictureTally, name: str, data: bytes, size: tuple[int, int] | None = None) -> None:
    """Read it; with a `size` it is whole, and must be read upright: width and height."""
    tally.tried += 1
    start, problem = time.process_time(), ""
    try:
        picture = read_picture(data)
        tally.read += 1
        if size is not None and picture.image.size != size:
            problem = f"not upright: {picture.image.size}"
    except ImageError as error:
        tally.refused += 1
        if size is not None:
            problem = f"refused: {error}"
        elif "\n" in str(error):
            problem = "a message of several lines"
    except Exception as error:  # what the drill looks for
        problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    tally.slowest = max(tally.slowest, seconds)
    if problem or seconds > SLOW:
        tally.lost.append(f"{name}: {problem or f'{seconds:.1f} s'}")


def drill_pictures(number: int, seed: int = 0) -> PictureTally:
    """Read `number` damaged pictures; the whole ones first."""
    tally = PictureTally()
    whole = [(f"whole {name}", data) for name, data in make_pictures().items()]
    for name, data in chain(whole, damaged_pictures(number, seed)):
        _try_picture(tally, name, data)
    if peak_mb() > MOST_MEMORY:
        tally.lost.append(f"{peak_mb():.0f} MB of memory; at most {MOST_MEMORY} MB are taken")
    return tally


@dataclass
class Tally:
    """What a drill did; `lost` holds one line for each that was lost, `note` what else was measured."""

    tried: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        return f"tried {self.tried}, survived {self.tried - len(self.lost)}, lost {len(self.lost)}{self.note}"


GOOD_PICTURES = 20
# Name -> content of what is no picture although it is called one. Each is refused with what it really is.
IMPOSTORS = {
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "sign in.png": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "denied.jpg": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "answer.jpg": b'{"error": "not found"}',
    "phone.jpg": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(500),
    "film.png": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(500),
    "manual.tif": b"%PDF-1.7\n",
    "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "layers.png": b"8BPS\0\1" + bytes(90),
    "packed.jpg": b"PK\x03\x04" + bytes(90),
    "scan.png": bytes(128) + b"DICM" + bytes(90),
    "array.png": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}",
    "zeros.bmp": bytes(3000),
    "empty.webp": b"",
    "noise.gif": bytes(range(7, 250)) * 3,
    "text.ppm": "Ein Text, kein Bild.".encode("utf-16"),
}
HOSTILE_NAMES = (
    "=cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>",
    "a\nb",
    "\x1b[2J",
    "\u202etxt",
    "%s%n",
    "-rf",
    "ü" * 60,
)


def odd_files(folder: Path, number: int, seed: int) -> tuple[set[str], set[str]]:
    """Write `number` odd files; the names of those that no reader can take, and of those that one may."""
    never: set[str] = set()
    perhaps: set[str] = set()
    whole, chance = list(make_pictures().values()), random.Random(f"sweep/{seed}")
    damaged = (data for _, data in damaged_pictures(number, seed))
    for index in range(number):
        kind, name = index % 5, f"odd {index:04} {HOSTILE_NAMES[index % len(HOSTILE_NAMES)].replace('/', '')}.png"
        if kind in (0, 1):
            (folder / name).write_bytes(next(damaged))
            perhaps.add(name)
            continue
        if kind == 2:
            stem, content = list(IMPOSTORS.items())[index // 5 % len(IMPOSTORS)]
            name = f"odd {index:04} {stem}"
            (folder / name).write_bytes(content)
        elif kind == 3:
            data = chance.choice(whole)
            (folder / name).write_bytes(data[: chance.randint(1, 30)])
        else:
            _write_odd(folder / name, index // 5 % 5, chance)
        never.add(name)
    return never, perhaps


def _write_odd(path: Path, kind: int, chance: random.Random) -> None:
    """A link to nowhere or to itself, a bomb, a film, or a picture that is too small."""
    if kind == 0:
        path.symlink_to(path.parent / "nowhere")
    elif kind == 1:
        path.symlink_to(path)
    elif kind == 2:
        header = b"\x00\x01\x86\xa0" * 2 + b"\x08\x02\x00\x00\x00"  # 100,000 x 100,000
        chunk = b"IHDR" + header
        size, check = len(header).to_bytes(4), zlib.crc32(chunk).to_bytes(4)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + size + chunk + check + chance.randbytes(40))
    elif kind == 3:
        frames = [Image.new("L", (32, 32), shade) for shade in (10, 90, 200)]
        frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])
    else:
        Image.new("L", (9, 200), 90).save(path)


def drill_sweep(number: int, seed: int = 0) -> Tally:
    """Inspect and evaluate good pictures among odd files."""
    tally = Tally(number + GOOD_PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder) / "set/test/good"
        queries.mkdir(parents=True)
        (queries.parent / "crack").mkdir()
        for index in range(GOOD_PICTURES):
            (queries / f"good {index:02}.png").write_bytes(_plain_picture(100, index))
        (queries.parent / "crack/0.png").write_bytes(_plain_picture(250, 99))
        reference = Path(folder) / "set/train/good/0.png"
        reference.parent.mkdir(parents=True)
        reference.write_bytes(_plain_picture(100, 100))
        never, perhaps = odd_files(queries, number, seed)
        judge = ["--model", "pixel-difference"]
        inspect = command("inspect", *judge, "--reference", reference, queries, "--json", "--out", f"{folder}/out")
        inspected = subprocess.run(inspect, capture_output=True, text=True)
        results = {Path(line["query"]).name: line for line in map(json.loads, inspected.stdout.splitlines())}
        _check_sweep(tally, "inspect", results, never, perhaps)
        evaluate = ("eval", *judge, "--benchmark", "folder", "--root", f"{folder}/set", "--out", f"{folder}/run")
        evaluated = subprocess.run(command(*evaluate), capture_output=True, text=True)
        lines = (Path(folder) / "run/predictions.jsonl").read_text().splitlines()
        predictions = map(json.loads, lines)
        results = {Path(line["pair"]["query"]).name: line["verdict"] | {"error": line["error"]} for line in predictions}
        results.pop("0.png", None)
        links = {path.name for path in queries.iterdir() if path.is_symlink()}  # counted and named in a note
        if f"{len(links)} pictures left out: they cannot be read: links without a target" not in evaluated.stderr:
            tally.lost.append(f"eval: {len(links)} links are not told")
        _check_sweep(tally, "eval", results, never - links, perhaps)
        for verb, done, code in (("inspect", inspected, 1), ("eval", evaluated, 0)):
            if done.returncode != code:
                tally.lost.append(f"{verb}: exit code {done.returncode}")
            if "Traceback" in done.stderr + done.stdout:
                tally.lost.append(f"{verb}: {done.stderr.strip()[-300:]}")
        pages = [Path(folder) / "out/report.html", Path(folder) / "run/report.html"]
        tally.lost += [f"{page.name}: not written" for page in pages if not page.is_file()]
    judged = sum(1 for line in results.values() if not line["error"])
    tally.note = f" ({GOOD_PICTURES} good pictures, {len(never)} files that are none, {judged} pictures judged in all)"
    return tally


def _check_sweep(
    tally: Tally, verb: str, results: dict[str, dict[str, Any]], never: set[str], perhaps: set[str]
) -> None:
    """Every good picture has an answer, and every other file one line; those that are none say what they are."""
    from lad_reasoner.text import printable

    shown = {printable(name): name for name in never | perhaps}
    for index in range(GOOD_PICTURES):
        line = results.pop(f"good {index:02}.png", None)
        if line is None or line["answer"] not in ("yes", "no"):
            tally.lost.append(f"{verb}: good {index:02}.png: {line}")
    if results.keys() != shown.keys():
        differing = sorted(results.keys() ^ shown.keys())
        tally.lost.append(f"{verb}: {len(differing)} names have no line, or a line more: {differing[:3]}")
    for name, line in results.items():
        error = line.get("error") or ""
        if "\n" in error or (shown.get(name) in never and not error.partition(": ")[2]):
            tally.lost.append(f"{verb}: {name}: {line}")


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


TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PIECES = (
    *TAGS,
    *TAGS,
    "<THINK>",
    "</Answer>",
    "<think",
    "think>",
    "</",
    ">",
    "yes",
    "no",
    "YES",
    "No",
    "maybe",
    "yes no",
)
PIECES += (
    " ",
    "\n",
    "\t",
    "\u00a0",
    "\u2003",
    "\x1c",
    "\u200b",
    "\u2800",
    "\0",
    "\u0301",
    "a",
    "One screw.",
    "é",
    "缺",
    "\u212a",
)


def scan_response(text: str) -> str:
    """The answer of a structured response, or invalid: the grammar once more, read from left to right."""
    text = text.strip()
    lower = text.lower()
    starts = [place for place in range(len(lower)) for tag in TAGS if lower.startswith(tag, place)]
    if len(starts) != len(TAGS) or not text.startswith(TAGS[0]):
        return "invalid"
    end = text.find(TAGS[1])
    reasoning, rest = text[len(TAGS[0]) : end], text[end + len(TAGS[1]) :].lstrip()
    seen = [letter for letter in reasoning if unicodedata.category(letter) not in ("Cc", "Cf", "Cn", "Co", "Cs")]
    seen = [letter for letter in seen if unicodedata.category(letter)[0] not in "ZM" and letter not in BLANK_LETTERS]
    if end < 0 or not seen or not rest.startswith(TAGS[2]) or not rest.endswith(TAGS[3]):
        return "invalid"
    word = rest[len(TAGS[2]) : -len(TAGS[3])].strip()
    return word.lower() if word.isascii() and word.lower() in ("yes", "no") else "invalid"


BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"


def drill_parser(number: int, seed: int = 0) -> Tally:
    """Responses of random pieces, half of them one to three changes away from a structured one, against the scanner."""
    chance, tally, accepted = random.Random(seed), Tally(), 0
    for _ in range(number):
        if chance.random() < 0.5:
            parts = [
                "<think>",
                chance.choice(PIECES),
                "</think>",
                "<answer>",
                chance.choice(("yes", "no")),
                "</answer>",
            ]
            for _ in range(chance.randint(0, 3)):
                place = chance.randrange(len(parts) + 1)
                parts[place : place + chance.randrange(2)] = [chance.choice(PIECES)]
        else:
            parts = chance.choices(PIECES, k=chance.randint(0, 12))
        text = "".join(parts)
        tally.tried += 1
        expected = scan_response(text)
        try:
            response = parse_response(text)
        except Exception as error:  # what the drill looks for
            tally.lost.append(f"{text!r}: {type(error).__name__}: {error}")
            continue
        accepted += response.structured
        if response.answer != expected or response.structured != (expected != "invalid"):
            tally.lost.append(f"{text!r}: {response.answer} instead of {expected}")
    tally.note = f" ({accepted} accepted)"
    return tally


def command(*words: object) -> list[str]:
    """The words after `lad-reasoner`, to be started; it ends with this process."""
    from helpers.bound import bound

    return bound(_plain_command(*words))


def _plain_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lad_reasoner", *map(str, words)]


def files_of(folder: Path, written_as: Path | None = None) -> dict[str, object]:
    """What a folder holds, without its path, times and what a run learns only about itself; of pages only their names.

    `written_as` is the path that it had when it was written.
    """
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and path.suffix == ".part":
            content[name] = "what a kill left"
        if path.is_dir() or name.startswith(".") or "/." in name:
            continue
        if path.suffix in (".html", ".pt", ".pth", ".bin", ".md") or path.name in ABOUT_ITSELF:
            content[name] = ""
        elif path.suffix in (".json", ".jsonl", ".toml", ".yaml", ".sh"):
            text = TIMES.sub("", path.read_text(encoding="utf-8").replace(str(written_as or folder), ""))
            # The workers of `inspect --ray` hand in their units in any order.
            content[name] = sorted(text.splitlines()) if path.name.startswith("part-") else text
        else:
            content[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return content


ABOUT_ITSELF = ("metrics.json", "run.json", "trainer_state.json", "check.json", "hashes.json")
TIMES = re.compile(r'"seconds":[0-9.e-]+,?|^made = .*$', re.MULTILINE)

# Verb that changes a folder -> the folder of the stock that it begins with
CHANGED = {"report": "run", "station calibrate": "station", "station zones": "station", "station rules": "station"}
# Verb that writes and is not killed here -> why
NOT_KILLED = {
    "data review": "tests/data/review/test_page.py kills it",
    "key": "writes one file, whole, with another key each time",
    "serve": "the drill `server`",
    "station test": "appends a line of its own each time",
    "watch": "the drill `watch`",
}

Verb = Callable[[Path], Sequence[object]]  # folder that it writes -> words of the command


def writing_verbs(stock: Path, seed: int = 0) -> dict[str, Verb]:
    """Every verb that writes a folder and ends, with what it needs in `stock`."""
    from helpers.planted import lamps
    from helpers.stations import grey_pictures

    lamps(stock / "lamps", good=20, bad=20)
    grey_pictures(stock / "good", [100])
    grey_pictures(stock / "normal", range(101, 121))
    judged = ["eval", "--benchmark", "folder", "--root", stock / "lamps", "--model"]
    miniloco = ["data", "miniloco", "--products", "bolt_plate,screw_bag", "--per-class", 3, "--size", 64]
    for words in (
        [*miniloco, stock / "m"],
        ["data", "pairs", stock / "lamps", "--out", stock / "pairs"],
        [*judged, "pixel-difference", "--out", stock / "run"],
        [*judged, "always-no", "--out", stock / "other"],
    ):
        subprocess.run(command(*words), check=True, capture_output=True)
    create = ["station", "create", "--references", stock / "good", "--normal", stock / "normal"]
    create += ["--max-false-alarms", 0.1, "--model", "pixel-difference", "-o"]
    subprocess.run(command(*create, stock / "station"), check=True, capture_output=True)
    (stock / "zones.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect class="ignore" width="8" height="8"/></svg>'
    )

    def changing(verb: str, *words: object) -> Verb:
        """A verb that changes a folder, which is a copy of one in the stock."""

        def words_of(out: Path) -> Sequence[object]:
            if not out.exists():
                shutil.copytree(stock / CHANGED[verb], out)
            return [*verb.split(), out, *words]

        return words_of

    return {
        "inspect": lambda out: [
            "inspect",
            "-r",
            stock / "lamps/lamp/train/good",
            stock / "lamps/lamp/test",
            "--out",
            out,
        ],
        "eval": lambda out: [*judged, "pixel-difference", "--out", out],
        "report": changing("report"),
        "compare": lambda out: ["compare", stock / "run", stock / "other", "--out", out],
        "data miniloco": lambda out: [*miniloco, out],
        "data sft": lambda out: ["data", "sft", stock / "m", "--teacher", "offline", "--out", out],
        "data pairs": lambda out: ["data", "pairs", stock / "lamps", "--out", out],
        "data export": lambda out: ["data", "export", stock / "pairs", "--to", "easyr1", "--model", "m", "--out", out],
        "station create": lambda out: [*create, out],
        "station calibrate": changing("station calibrate", "--max-false-alarms", 0.2),
        "station zones": changing("station zones", "--svg", stock / "zones.svg", "--clear"),
        "station rules": changing("station rules"),
    }


def slow_verbs(stock: Path, seed: int = 0) -> dict[str, Verb]:
    """Both stages with a tiny model, and the pretraining of one; and what is slow, too."""
    from helpers import tiny
    from helpers.stations import grey_pictures, grey_station
    from helpers.tutored import build, write_recipe

    verbs: dict[str, Verb] = {}
    for stage, task in (("sft", "sft"), ("grpo", "pair")):
        folder = stock / stage
        tiny.save_qwen(folder / "model")
        build(folder / "data", task=task, records=6)
        more = {"num_generations": 4, "max_completion_length": 48, "beta": 0.01} if stage == "grpo" else {}
        batch = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 1, "use_cpu": "true"}
        recipe = write_recipe(folder, **{**batch, **more})
        words = ("train", stage, recipe, "--output_dir")
        verbs[f"train {stage}"] = lambda out, words=words: [*words, out, *["--resume"] * out.exists()]

    def micro(out: Path) -> Sequence[object]:
        out.parent.mkdir(parents=True, exist_ok=True)
        config = out.with_name(f"{out.name}.yaml")
        config.write_text(f"out: {out}\n{SMALL_MICRO}", encoding="utf-8")
        return ["train", "micro", config]

    grey_station(stock, normals=0, judge="evidence", max_false_alarms=None)
    grey_pictures(stock / "many", [100, 250] * 100)
    bulk = ["inspect", "--ray", "local", "--workers", 1, "-r", stock / "good", "--model", "pixel-difference"]
    return verbs | {
        "train micro": micro,
        "demo": lambda out: ["demo", "--out", out],
        "inspect --ray": lambda out: [*bulk, "--out", out, stock / "many"],
        "export": lambda out: ["export", "--station", stock / "station", "--edge", out],
    }


SMALL_MICRO = """
seed: 0
size: 112
chunk: 6
product_chunks: 1
family_chunks: 1
fresh_chunks: 1
responses: 4
workers: 2
compile: false
singles: 0.3
vision_width: 64
vision_depth: 2
text_width: 128
text_depth: 2
vision: {steps: 4, batch: 2, lr: 1.0e-3}
language: {steps: 4, batch: 2, lr: 1.0e-3}
trust: {steps: 4, batch: 2, lr: 1.0e-3}
"""


def drill_kills(number: int, seed: int = 0, verbs_of: Callable[[Path, int], dict[str, Verb]] = writing_verbs) -> Tally:
    """SIGKILL at `number` random moments of each verb that writes; started again, it ends as if nothing had been.

    A moment is a share of what the verb writes or computes in all, so that a busy machine changes nothing. Each run is
    forked from a process that has imported all modules: a kill while Python imports shows nothing, and imports are
    most of the time of a short training.
    """
    chance, tally, landed = random.Random(seed), Tally(), 0
    with tempfile.TemporaryDirectory() as temporary:
        stock = Path(temporary)
        for verb, words in verbs_of(stock, seed).items():
            expected, whole = _undisturbed(tally, verb, words, stock)
            for attempt in range(number if expected else 0):
                out = stock / "killed" / f"{_folder_of(verb)}-{attempt}" / "out"
                out.parent.mkdir(parents=True)
                given = words(out)
                ended = run_verb(given, out.parent, _moment(out.parent, whole, chance))
                landed += ended.killed
                tally.tried += 1
                # Otherwise it had done its work before the kill, and most verbs refuse to do it twice.
                if ended.code and files_of(out.parent) != expected:
                    ended = run_verb(words(out), out.parent)
                elif ended.killed:
                    ended = Ended(0, "")
                _compare_folders(tally, verb, ended.code, ended.said, files_of(out.parent), expected)
                shutil.rmtree(out.parent)
    tally.note = f" ({landed} kills landed)"
    return tally


@dataclass(frozen=True)
class Work:
    """Bytes and number of the files that a verb has written, and the seconds of the processor that it took."""

    written: float = math.inf
    files: float = math.inf
    computed: float = math.inf

    def has_reached(self, moment: Work) -> bool:
        """Whether it has done as much of anything as `moment` says."""
        return self.written >= moment.written or self.files >= moment.files or self.computed >= moment.computed


@dataclass(frozen=True)
class Ended:
    """How a process ended, what it wrote to stderr, and what it did."""

    code: int
    said: str
    killed: bool = False
    work: Work = Work()


POLL = 0.005  # seconds between two looks at what a verb has done
HUNG = 900  # seconds in which a verb neither writes nor computes: it hangs


PRELOADED = ("lad_reasoner.cli.app", "trl", "lad_reasoner.train.trainer", "lad_reasoner.judges.evidence.judge")


def start_verb(words: Sequence[object], said: Path) -> Any:
    """A run of `lad-reasoner WORDS` whose stderr goes to the file."""
    from helpers.bound import Forked

    return Forked([str(word) for word in words], said=said, preloaded=PRELOADED)


def run_verb(words: Sequence[object], folder: Path, moment: Work = Work()) -> Ended:
    """Run a verb that writes into `folder`; killed when it has done so much. One that hangs is killed, too."""
    with tempfile.TemporaryDirectory() as temporary:
        said = Path(temporary) / "said"
        process = start_verb(words, said)
        most = now = Work(0, 0, 0)
        killed, problem, since = False, "", time.monotonic()
        while process.poll() is None and not killed:
            before, now = now, Work(*_written(folder), _computed(process.pid))
            if now != before:
                most, since = Work(*map(max, astuple(most), astuple(now))), time.monotonic()
            if time.monotonic() - since > HUNG:
                process.kill()
                problem = f"hung for {HUNG} s"
                break
            if now.has_reached(moment):
                process.kill()
                killed = True
            time.sleep(POLL)
        code = process.wait()
        spoken = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
        return Ended(code, spoken + problem, killed and code < 0, most)


def _moment(folder: Path, whole: Work, chance: random.Random) -> Work:
    """A share of the bytes, of the files or of the computing."""
    written, files = _written(folder)
    match chance.randrange(3):
        case 0:
            return Work(written=written + 1 + int(chance.random() * max(0, whole.written - written)))
        case 1:
            return Work(files=files + 1 + int(chance.random() * max(0, whole.files - files)))
        case _:
            return Work(computed=chance.uniform(0.3, 1.0) * whole.computed)


def _written(folder: Path) -> tuple[int, int]:
    """Bytes of all files below a folder that is being written; number of files and folders."""
    size = number = 0
    for parent, folders, files in os.walk(folder):
        number += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):  # renamed meanwhile
                size += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
    return size, number


def _computed(pid: int) -> float:
    """Seconds of the processor that a process took, with its threads and the children that have ended; Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def drill_disks(number: int, seed: int = 0) -> Tally:
    """A disk that is full after `number` different amounts, for each verb that writes.

    The verb ends with one line that names a place; once there is room, it ends as on a large disk. Linux.
    """
    tally, chance = Tally(), random.Random(seed)
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        return Tally(note=" (skipped: no `unshare -rm`, which mounts a small disk)")
    with tempfile.TemporaryDirectory() as temporary:
        stock = Path(temporary)
        for verb, words in writing_verbs(stock, seed).items():
            expected, _ = _undisturbed(tally, verb, words, stock)
            room = sum(path.stat().st_size + 4096 for path in (stock / "whole" / _folder_of(verb)).rglob("*"))
            for attempt in range(number if expected else 0):
                place = stock / "full" / f"{_folder_of(verb)}-{attempt}"
                disk, copy = place / "disk", place / "copy"
                disk.mkdir(parents=True)
                copy.mkdir()
                size = 4096 * max(1, int(chance.uniform(0.1, 0.9) * room / 4096))
                kept = shutil.copytree(stock / CHANGED[verb], place / "kept") if verb in CHANGED else None
                run = [
                    "unshare",
                    "-rm",
                    "sh",
                    "-c",
                    ON_A_DISK,
                    "sh",
                    disk,
                    size,
                    copy,
                    kept or "",
                    *_plain_command(*words(disk / "out")),  # the shell starts it, not this process
                ]
                done = subprocess.run([str(word) for word in run], capture_output=True, text=True)
                first, _, second = done.stdout.rpartition(f"{MARK}\n")
                tally.tried += 1
                if "Traceback" in first or (MARK in done.stdout and not _names_the_disk(first, disk)):
                    tally.lost.append(f"{verb}, {size} bytes: {first.strip().splitlines()[-1:]}")
                else:
                    _compare_folders(tally, verb, done.returncode, second, files_of(copy, disk), expected)
    return tally


def _names_the_disk(said: str, disk: Path) -> bool:
    return any(str(disk) in line and "No space left" in line for line in said.splitlines())


MARK = "===== more room ====="
# A disk of so many bytes more than what is given; the command; if it failed, again with room; a copy of what it left
ON_A_DISK = f"""
disk=$1 size=$2 copy=$3 kept=$4; shift 4
mount -t tmpfs -o size=1g none "$disk" && if [ -n "$kept" ]; then cp -r "$kept" "$disk/out"; fi
used=$(du -sk "$disk" | cut -f1); mount -o remount,size=$((used * 1024 + size)) "$disk"
if ! "$@" 2>&1 >/dev/null; then echo "{MARK}"; mount -o remount,size=1g "$disk"; "$@" 2>&1 >/dev/null; fi
code=$?; cp -a "$disk"/. "$copy"; exit $code
"""


def _folder_of(verb: str) -> str:
    """Without spaces: a file that holds a command would quote a path with some."""
    return verb.replace(" ", "-")


def _undisturbed(tally: Tally, verb: str, words: Verb, stock: Path) -> tuple[dict[str, object], Work]:
    """What the verb leaves where nothing happens to it, and its work; nothing if it fails."""
    folder = stock / "whole" / _folder_of(verb)
    folder.mkdir(parents=True)
    whole = run_verb(words(folder / "out"), folder)
    if whole.code:
        tally.tried += 1
        tally.lost.append(f"{verb}, undisturbed: rc {whole.code}: {whole.said.strip().splitlines()[-1:]}")
        return {}, Work()
    return files_of(folder), whole.work


def _compare_folders(
    tally: Tally, verb: str, code: int, said: str, left: dict[str, object], expected: dict[str, object]
) -> None:
    if "Traceback" in said or code != 0:
        tally.lost.append(f"{verb}: rc {code}: {said.strip().splitlines()[-1:]}")
    elif left != expected:
        other = {name for name, value in left.items() if expected.get(name) != value}
        tally.lost.append(f"{verb}: other content in {sorted(other | expected.keys() ^ left.keys())[:3]}")


def drill_service(number: int, seed: int = 0) -> Tally:
    """`number` pairs asked of a service of which three requests in ten fail; runs are started until all is judged."""
    from helpers.chat_server import Act, ChatServer, faulty
    from helpers.planted import lamps
    from lad_reasoner.errors import MachineError
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run, read_run
    from lad_reasoner.judges.hosted import HostedJudge

    def behave(body: dict[str, Any], before: int) -> Act:
        chance = random.Random(f"{seed}/{json.dumps(body)[-200:]}/{before}").random()
        if chance < 0.1:
            return Act("answer", "")
        return Act("drop" if chance < 0.15 else "half") if chance < 0.2 else Act("answer", ANSWER)

    with tempfile.TemporaryDirectory() as temporary, ChatServer(faulty(behave, share=0.2, silence=2)) as server:
        root = lamps(Path(temporary) / "lamps", good=(number + 1) // 2, bad=number // 2)
        starts, out = 0, Path(temporary) / "run"
        while starts < 10:
            starts += 1
            judge = HostedJudge(server.url, "m", cache=out / "answers.jsonl", timeout=1.0, patience=6.0, backoff=0.02)
            try:
                for _ in Run(out, judge, open_benchmark("folder", root)).predict():
                    pass
                break
            except MachineError:
                continue
        lines = read_run(out).predictions
        tally = Tally(
            number,
            [
                f"{line.pair.query}: {line.error or line.verdict.answer}"
                for line in lines
                if line.verdict.answer != "no"
            ],
        )
        tally.lost += [f"{number - len(lines)} pairs without a line"] * (number > len(lines))
        pairs = {json.dumps(body["messages"]) for body in server.bodies}
        requests, paid = server.came.total(), server.acts["answer"]
        tally.note = f" ({requests} requests for {len(pairs)} different pairs, {paid} answers, {starts} starts)"
    return tally


ANSWER = "<think>Nothing is missing.</think><answer>no</answer>"

HOSTILE = (
    "<script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "</textarea></style></script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% for x in y %}",
    "<link rel=stylesheet href=http://127.0.0.1:9/x><iframe src=http://127.0.0.1:9/>",
    "\x1b]0;x\x07\u202e\u2066<b onmouseover=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;\u2028<base href=http://127.0.0.1:9/>",
)


def drill_texts(number: int = len(HOSTILE), seed: int = 0) -> Tally:
    """Hostile names and reasonings in the pages of `inspect`, `eval` and `compare`, opened in Chromium.

    Lost is a page that runs, asks for or shows what it should not.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        return Tally(note=" (skipped: no Chromium, or no playwright)")
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for page in _hostile_pages(Path(temporary), HOSTILE[:number]):
            complaints: list[str] = []
            window = browser.new_page()
            window.on("dialog", lambda dialog, found=complaints: (found.append("a dialog"), dialog.dismiss()))
            window.on("pageerror", lambda error, found=complaints: found.append(str(error)))
            window.on("request", lambda request, found=complaints: _count_request(request.url, found))
            window.goto(page.as_uri())
            tally.tried += 1
            if window.title() == "hacked":
                complaints.append("a script ran")
            if window.locator("svg[onload], img[onerror], iframe, base, b[onmouseover]").count():
                complaints.append("an element of the text")
            window.close()
            tally.lost += [f"{page.name}: {complaint}" for complaint in complaints]
        browser.close()
    return tally


def _count_request(url: str, found: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        found.append(f"a request for {url}")


def _hostile_pages(folder: Path, texts: Sequence[str]) -> Iterator[Path]:
    from helpers.planted import lamps
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.comparison import compare_runs
    from lad_reasoner.evaluation.run import Run
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judge import Judgement
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.gallery import write_gallery_page
    from lad_reasoner.report.inspection import inspection_row, write_inspection_page

    class Hostile:
        """Says what it is given to say, of which it is named after, too."""

        prompt_version, batch_size, parameters = "1", 1, None

        def __init__(self, text: str) -> None:
            self.name, self.notes, self.text = text, (text,), text

        def judge(self, pairs: Sequence[Any]) -> list[Judgement]:
            return [Judgement("yes", 0.9, self.text, self.text, headline=self.text) for _ in pairs]

    root = lamps(folder / "lamps")
    for number, text in enumerate(texts):
        inspector = Inspector(Hostile(text), [root / "lamp/train/good/000.png"])
        name = folder / f"{text.replace('/', ':')[:80]}.png"
        name.write_bytes((root / "lamp/test/good/000.png").read_bytes())
        rows = [inspection_row(result, truth=text) for result in inspector.run([name, root / "missing.png"])]
        page = write_inspection_page(folder / f"i{number}", rows, inspector.references, title=text, notes=[text])
        yield page
        runs = []
        for kind in ("first", "second"):
            run = folder / f"{kind}{number}"
            for _ in Run(run, Hostile(f"{text}{kind}"), open_benchmark("folder", root)).predict():
                pass
            yield write_evaluation(run)[2]
            runs.append(run)
        gallery = folder / f"g{number}"
        gallery.mkdir()
        yield write_gallery_page(gallery, compare_runs(runs, resamples=0))


def drill_soak(number: int, seed: int = 0) -> Tally:
    """`number` pictures of 256 pixels in one process, by each judge: all have a verdict, memory and open files stay."""
    tally = Tally()
    for name in ("evidence", "micro"):
        _soak(tally, name, number, seed)
    return tally


def _soak(tally: Tally, judge: str, number: int, seed: int) -> None:
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.records import Failure

    noise = np.random.default_rng(seed).integers(0, 255, (8, 256, 256, 3), np.uint8)
    scenes = [Image.fromarray((scene // 4 + 90).astype(np.uint8)) for scene in noise]
    inspector, first = Inspector(judge, scenes[:1]), min(20, number // 2)
    tally.tried += number
    began = start = 0.0
    for index, result in enumerate(inspector.inspect_many(scenes[at % 8] for at in range(number))):
        if isinstance(result, Failure):
            tally.lost.append(f"{judge}, picture {index}: {result.error}")
        if index == first:
            began, start, handles = resident_mb(), time.perf_counter(), open_files()
    each = (time.perf_counter() - start) / max(1, number - first)
    grown, opened = resident_mb() - began, open_files() - handles
    tally.note += f" ({judge}: memory {began:.0f} MB and {grown:+.0f} MB, files {opened:+d}, {each:.3f} s each)"
    if grown > GROWN:
        tally.lost.append(f"{judge}: memory grew by {grown:.0f} MB")
    if opened > 0:
        tally.lost.append(f"{judge}: {opened} files stay open")


def drill_files(number: int, seed: int = 0) -> Tally:
    """`number` JSON and TOML files of strangers with other values in them; see drill_files.py."""
    from drill_files import try_files, victims

    with tempfile.TemporaryDirectory() as temporary:
        kinds = victims(Path(temporary) / "stock")
        taken, refused, lost = try_files(kinds, number, seed)
    return Tally(number, lost, f" ({len(kinds)} kinds, {taken} read, {refused} refused)")


def drill_odd(number: int, seed: int = 0) -> PictureTally:
    """`number` files that were cut off, `number` whole JPEGs with an odd EXIF entry, and bombs.

    Whole ones must be read, and upright; a bomb takes at most 10 seconds of the processor and 1,500 MB.
    """
    tally, chance, files = PictureTally(), random.Random(f"odd/{seed}"), make_pictures()
    cuts = [(name, end) for name, data in files.items() for end in range(len(data))]
    for name, end in chance.sample(cuts, min(number, len(cuts))):
        _try_picture(tally, f"{name}, the first {end} bytes", files[name][:end], None)
    image = Image.open(io.BytesIO(files["jpeg"])).convert("RGB")
    for _ in range(number):
        turn, tag, kind = chance.randint(1, 8), chance.randrange(0x0100, 0x9300), chance.randint(1, 13)
        entries = struct.pack("<HHII", 0x0112, 3, 1, turn) + struct.pack("<HHII", tag, kind, 1, chance.randrange(64))
        exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + chance.randbytes(64)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", exif=exif)
        size = image.size if turn < 5 or tag == 0x0112 else image.size[::-1]
        _try_picture(tally, f"turn {turn}, entry {tag:#x} of type {kind}", buffer.getvalue(), size)
    for name, data in _bombs():
        _try_picture(tally, name, data)
    if peak_mb() > MOST_MEMORY:
        tally.lost.append(f"{peak_mb():.0f} MB of memory; at most {MOST_MEMORY} MB are taken")
    return tally


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much: pixels, pages, frames, decompressed bytes."""
    side = 8900
    for mode in ("I;16", "RGBA"):
        buffer = io.BytesIO()
        Image.new(mode, (side, side)).save(buffer, "PNG", compress_level=9)
        yield f"PNG {side} x {side}, {mode}", buffer.getvalue()
    frames = [Image.new("L", (16, 16), shade) for shade in range(200)]
    for encoding in ("GIF", "TIFF", "PNG"):
        buffer = io.BytesIO()
        more = frames[1:] if encoding == "TIFF" else frames[1:] * 20  # Pillow writes many pages slowly
        frames[0].save(buffer, encoding, save_all=True, append_images=more)
        yield f"{encoding} of {1 + len(more)} frames", buffer.getvalue()
    chunk = b"zTXt" + b"a\0\0" + zlib.compress(bytes(10**8))
    plain = make_pictures()["png"]
    text = (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    yield "PNG with a text of 100 MB", plain[:33] + text + plain[33:]
    buffer = io.BytesIO()
    Image.new("L", (13300, 13300)).save(buffer, "PNG")
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(buffer.getvalue()), 22)
    yield "ICO around a PNG of 13300 x 13300", icon + buffer.getvalue()
    yield "FITS packed in gzip", gzip.compress(b"SIMPLE  =                    T".ljust(2880) + bytes(10**8))
    yield "PNG of 100,000 x 100,000", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 10**5, 10**5) + bytes(90)


def drill_same(number: int, seed: int = 0) -> Tally:
    """`number` queries judged again: a second time, backwards, one by one, on one core, in threads, beside another
    Inspector of the same judge, after a fork. Lost is another answer, reasoning or box, or a score that differs by
    more than 1e-5.
    """
    from multiprocessing import get_context

    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judges import load_judge

    noise = np.random.default_rng(seed).integers(0, 255, (number + 2, 128, 128, 3), np.uint8)
    scenes = [Image.fromarray((scene // 4 + 90).astype(np.uint8)) for scene in noise]
    tally = Tally()
    for name in ("evidence", "micro"):
        judge = load_judge(name)
        inspector = Inspector(judge, scenes[:1])
        expected = _said(inspector, scenes[2:])

        def compare(how: str, said: Sequence[tuple[Any, ...]], expected: Any = expected, name: str = name) -> None:
            tally.tried += 1
            words = [line[:-1] for line in said] == [line[:-1] for line in expected]
            apart = max(abs(ours[-1] - theirs[-1]) for ours, theirs in zip(said, expected, strict=True))
            if not words or apart > 1e-5:
                tally.lost.append(f"{name}, {how}: {'scores' if words else 'answers'} differ, by {apart:.1e}")

        compare("again", _said(inspector, scenes[2:]))
        compare("backwards", _said(inspector, scenes[:1:-1])[::-1])
        compare("one by one", [_said(inspector, [scene])[0] for scene in scenes[2:]])
        compare("a new judge", _said(Inspector(load_judge(name), scenes[:1]), scenes[2:]))
        other = Inspector(judge, scenes[1:2])
        _said(other, scenes[2:])
        compare("beside another inspector of the judge", _said(inspector, scenes[2:]))
        with ThreadPoolExecutor(4) as pool:
            beside = pool.submit(_said, other, scenes[2:])
            for said in [pool.submit(_said, inspector, scenes[2:]) for _ in range(3)]:
                compare("in a thread", said.result())
            beside.result()
        process = get_context("fork").Process(
            target=_said_to, args=(inspector, scenes[2:], queue := get_context("fork").Queue())
        )
        process.start()
        compare("after a fork", queue.get(timeout=300))
        process.join()
    return tally


def _said(inspector: Any, scenes: Sequence[Image.Image]) -> list[tuple[Any, ...]]:
    results = list(inspector.inspect_many(scenes))
    return [(each.answer, each.reasoning, each.boxes, each.score) for each in results]


def _said_to(inspector: Any, scenes: Sequence[Image.Image], queue: Any) -> None:
    queue.put(_said(inspector, scenes))


def drill_network(number: int, seed: int = 0) -> Tally:
    """Every writing verb that ends, under a hook that notes each connection and each look-up of a name: none."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        hook, noted = Path(temporary) / "hook", Path(temporary) / "noted"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK.format(noted=str(noted)))
        paths = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
        for verb, words in list(writing_verbs(Path(temporary), seed).items())[:number]:
            noted.write_text("")
            given = command(*words(Path(temporary) / "out" / _folder_of(verb)))
            done = subprocess.run(given, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
            tally.tried += 1
            if done.returncode or not noted.read_text().startswith("hooked\n"):
                tally.lost.append(f"{verb}: rc {done.returncode}: {done.stderr.strip()[-200:]}")
            tally.lost += [f"{verb}: {line}" for line in noted.read_text().splitlines() if line != "hooked"][:1]
    return tally


HOOK = """
import sys
def note(event, arguments, file={noted!r}):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(file, "a") as stream: print(event, *map(str, arguments[-2:]), file=stream)
with open({noted!r}, "a") as stream: print("hooked", file=stream)
sys.addaudithook(note)
"""


def drill_models(number: int, seed: int = 0) -> Tally:
    """`inspect` with `number` model folders of a stranger; see drill_models.py. Linux."""
    from drill_models import HOSTILE_MODELS, try_models

    number = min(number, len(HOSTILE_MODELS))
    with tempfile.TemporaryDirectory() as temporary:
        judged, refused, lost = try_models(start_verb, number, Path(temporary).resolve())
    return Tally(number, lost, f" ({judged} judged, {refused} refused)")


def drill_resume(number: int, seed: int = 0) -> Tally:
    """`train sft --resume` in `number` runs with a damaged or poisoned checkpoint; see drill_models.py. Linux."""
    from drill_models import POISONED_RUNS, try_resumes

    number = min(number, len(POISONED_RUNS))
    with tempfile.TemporaryDirectory() as temporary:
        same, refused, lost = try_resumes(start_verb, files_of, number, Path(temporary).resolve())
    return Tally(number, lost, f" ({same} ended as if nothing had been, {refused} refused)")


def drill_server(number: int, seed: int = 0) -> Tally:
    """A station's server over a real socket: `number` requests at once, and a tenth of that of each other attack.

    Slow clients, damaged requests and pictures, a full disk, a station file of nonsense, references that are gone, a
    clock that is set back, SIGKILL while it is asked.
    Lost is an answer of 5xx without a reason, a result that was answered and is not in the history, and a server that
    does not serve the next good request.
    """
    from helpers.served import Served, grey_png, serving
    from helpers.stations import grey_station

    tally, chance = Tally(), random.Random(seed)

    def is_served(served: Served, after: str) -> None:
        tally.tried += 1
        try:
            answer = served.inspect(grey_png(101))
        except (OSError, http.client.HTTPException) as error:
            tally.lost.append(f"after {after}: {type(error).__name__}: {error}")
            return
        if answer.status != 200 or answer.json["outcome"] != "good":
            tally.lost.append(f"after {after}: the next good request got {answer.status} {answer.body[:100]!r}")

    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary) / "station", Path(temporary) / "log"
        grey_station(Path(temporary), judge="helpers.stations:Grey")
        kept: set[str] = set()  # parts that were answered
        clock = Path(temporary) / "clock"
        clock.write_text("0")
        with serving(folder, log=log, clock=clock) as served:
            drills = (
                _rush,
                _slow_clients,
                _damaged_requests,
                _full_disk,
                _nonsense_files,
                _lost_references,
                _old_clock,
            )
            for drill in drills:
                drill(served, folder, number, chance, tally, kept)
                is_served(served, drill.__name__.strip("_").replace("_", " "))
        for _ in range(max(1, number // 400)):
            with serving(folder, log=log) as served:
                _kill_while_asked(served, chance, tally, kept)
        with serving(folder, log=log) as served:
            is_served(served, "the kills")
        archive = Archive(folder, "station")
        parts = {inspection.part for inspection in archive.history(limit=10**9)}
        if archive.broken_audit() is not None:
            tally.lost.append("the audit log is broken")
        archive.close()
        tally.lost += [f"{part}: was answered and is not in the history" for part in sorted(kept - parts)]
        tally.lost += [f"log: {line}" for line in log.read_text().splitlines() if "Traceback" in line][:SHOWN]
        tally.note += f"; {len(kept)} answers, in the history)"
    return tally


def _rush(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """All at once, each on its connection: served, or told to come again."""
    from helpers.served import grey_png, multipart

    picture, messages = grey_png(101), {}
    for turn in range(number):  # beforehand: a connection that says nothing for long is closed
        body, kind = multipart(("station", "station", ""), ("part", f"rush {turn}", ""), ("picture", picture, "q.png"))
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        messages[f"rush {turn}"] = head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def one(part: str, message: bytes) -> tuple[str, int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(message)
        answer = await reader.read()
        writer.close()
        if not answer:
            raise ConnectionError("no answer")
        return part, int(answer.split()[1]), answer

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(one(*each) for each in messages.items()), return_exceptions=True)

    tally.tried += number
    statuses: Counter[int] = Counter()
    for answer in asyncio.run(all_at_once()):
        if isinstance(answer, BaseException):
            tally.lost.append(f"rush: {type(answer).__name__}: {answer}")
            continue
        part, status, content = answer
        statuses[status] += 1
        if status == 200:
            kept.add(part)
        elif status not in (429, 503) or b"retry-after" not in content.lower():
            tally.lost.append(f"rush: {part} got {status}")
    tally.note += f" (at once: {', '.join(f'{count} of {status}' for status, count in statuses.items())}"


def _slow_clients(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """Connections that say nothing, or drip: good requests are served beside them, and they are closed in the end."""
    from helpers.served import grey_png

    clients = [served.connect() for _ in range(number // 10)]
    for client in clients[1::2]:
        client.sendall(b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    answer = served.inspect(grey_png(101), part="beside slow ones")
    kept.add("beside slow ones") if answer.status == 200 else tally.lost.append(f"slow clients: {answer.status}")
    for client in clients:
        tally.tried += 1
        try:
            client.settimeout(60)
            while client.recv(4096):
                pass
        except TimeoutError:
            tally.lost.append("slow clients: still open after a minute")
        except OSError:
            pass  # reset: closed, too
        client.close()


def _damaged_requests(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """Good requests and pictures with one to four faults: refused or served, never a failure of the server."""
    from helpers.served import grey_png, multipart

    pictures = list(make_pictures().values())
    for turn in range(number // 10):
        tally.tried += 1
        picture = chance.choice(pictures) if turn % 2 else grey_png(101)
        if turn % 4 < 2:
            picture = damage(picture, chance.choice(pictures), chance)
        body, kind = multipart(("station", "station", ""), ("picture", picture, "q.png"))
        message = (
            f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n".encode()
        )
        message += f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        if turn % 4 >= 2:
            message = damage(message, body, chance)
        try:
            with served.connect() as client:
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)
                reply = client.recv(4096)
        except TimeoutError:
            tally.lost.append(f"damaged request {turn}: no answer")
            continue
        except OSError:
            continue  # closed before all was sent: refused
        if reply.split(b"\r\n")[0].split(b" ")[1:2] and reply.split(b" ")[1].startswith(b"5"):
            tally.lost.append(f"damaged request {turn}: {reply[:100]!r}")


def _full_disk(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """No file can be written for a while: 503 with a reason, and nothing half is kept."""
    from helpers.served import grey_png

    before = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    for turn in range(max(3, number // 100)):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=f"full {turn}")
        if answer.status != 503 or "disk" not in answer.error:
            tally.lost.append(f"full disk: {answer.status} {answer.body[:100]!r}")
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, before)


def _nonsense_files(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """The station's file with faults: refused with a reason while the station of before serves on, or used if valid."""
    path = folder / "station.toml"
    good = path.read_bytes()
    for turn in range(number // 10):
        tally.tried += 1
        path.write_bytes(damage(good, b"[[" * 20000 if turn % 20 == 0 else good[::-1], chance))
        answer = served.ask("POST", "/v1/stations/station/reload")
        if answer.status not in (200, 422) or (answer.status == 422 and "station" not in answer.error):
            tally.lost.append(f"station file {turn}: {answer.status} {answer.body[:200]!r}")
    path.write_bytes(good)
    if served.ask("POST", "/v1/stations/station/reload").status != 200:
        tally.lost.append("station file: the good one is not used again")


def _lost_references(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """The folder of the references is gone: what is in memory serves on, and a reload is refused with the reason."""
    from helpers.served import grey_png

    (folder / "references").rename(folder / "away")
    for turn in range(max(3, number // 100)):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=f"lost references {turn}")
        if answer.status == 200:
            kept.add(f"lost references {turn}")
        else:
            tally.lost.append(f"lost references: {answer.status} {answer.body[:100]!r}")
    answer = served.ask("POST", "/v1/stations/station/reload")
    if answer.status != 422 or "references/" not in answer.error:
        tally.lost.append(f"lost references: the reload got {answer.status} {answer.body[:100]!r}")
    (folder / "away").rename(folder / "references")
    if served.ask("POST", "/v1/stations/station/reload").status != 200:
        tally.lost.append("lost references: they are back, and the reload failed")


def _old_clock(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """The clock is set back by 400 days: the history keeps its order, and the audit log says it."""
    from helpers.served import grey_png

    (folder.parent / "clock").write_text("400")
    parts = [f"old clock {turn}" for turn in range(max(3, number // 100))]
    for turn, part in enumerate(parts):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=part)
        if answer.status == 200:
            kept.add(part)
        else:
            tally.lost.append(f"old clock: {answer.status} {answer.body[:100]!r}")
    (folder.parent / "clock").write_text("0")
    newest = served.ask("GET", f"/v1/stations/station/inspections?limit={len(parts)}").json
    if [each["part"] for each in newest] != parts[::-1]:
        tally.lost.append("old clock: the history is in another order")
    if not any(line["action"] == "clock went back" for line in served.ask("GET", "/v1/stations/station/audit").json):
        tally.lost.append("old clock: the audit log does not say it")


def _kill_while_asked(served: Any, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """SIGKILL while four clients ask."""
    from helpers.served import grey_png

    def ask(client: int) -> None:
        for turn in range(100_000):
            part = f"kill {served.process.pid} {client} {turn}"
            try:
                answer = served.inspect(grey_png(101, turn % 50), part=part)
            except (OSError, http.client.HTTPException):  # the server is gone
                return
            if answer.status == 200:
                kept.add(part)

    tally.tried += 1
    before = len(kept)
    threads = [threading.Thread(target=ask, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while len(kept) < before + 20 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.3))
    served.process.kill()
    for thread in threads:
        thread.join()


GROWN = 100  # MB: more is a leak


def open_files() -> int:
    """Files that this process has open; Linux."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_mb() -> float:
    """Memory of this process now; Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


# Drill -> its function, and its number in the short form and at will
DRILLS: dict[str, tuple[Callable[[int, int], Any], int, int]] = {
    "parser": (drill_parser, 100_000, 1_000_000),
    "pictures": (drill_pictures, 20_000, 1_000_000),
    "sweep": (drill_sweep, 500, 5000),
    "files": (drill_files, 36, 2000),
    "kills": (drill_kills, 1, 10),
    "disks": (drill_disks, 0, 3),
    "service": (drill_service, 20, 200),
    "texts": (drill_texts, 3, len(HOSTILE)),
    "soak": (drill_soak, 200, 3000),
    "watch": (drill_watch, 3, 20),
    "server": (drill_server, 400, 2000),
    "odd": (drill_odd, 300, 40_000),
    "same": (drill_same, 0, 8),
    "network": (drill_network, 0, 100),
    "models": (drill_models, 6, 1000),
    "resume": (drill_resume, 0, 1000),
    "training kills": (lambda number, seed: drill_kills(number, seed, slow_verbs), 0, 3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("drill", choices=["all", *DRILLS])
    parser.add_argument("--number", type=int, help="of inputs, kills a verb or pairs; default: the short form's")
    parser.add_argument("--long", action="store_true", help="the numbers of the long form, about an hour in all")
    parser.add_argument(
        "--keep", type=Path, help="file of what each drill gave; one that stands in it is not run again"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # servers and pictures of the tests
    os.environ["LAD_TRUSTED"] = "helpers.stations:Grey"
    lost, kept = 0, _read_kept(arguments.keep)
    for name in DRILLS if arguments.drill == "all" else [arguments.drill]:
        drill, short, long = DRILLS[name]
        number = arguments.number or (long if arguments.long else short)
        if not number:
            continue
        result = kept.get((name, number, arguments.seed))
        if result is None:
            start = time.monotonic()
            tally = drill(number, arguments.seed)
            result = {"drill": name, "number": number, "seed": arguments.seed, "result": str(tally), "lost": tally.lost}
            result["seconds"] = round(time.monotonic() - start)
            if arguments.keep:
                with arguments.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
        print(f"{name}: {result['result']}, {result['seconds']} s", flush=True)
        for line in result["lost"][:SHOWN]:
            print(f"  {line}")
        lost += len(result["lost"])
    return 1 if lost else 0


def _read_kept(file: Path | None) -> dict[tuple[str, int, int], dict[str, Any]]:
    """(drill, number, seed) -> the line of a drill that was whole."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    return {(line["drill"], line["number"], line["seed"]): line for line in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main())
