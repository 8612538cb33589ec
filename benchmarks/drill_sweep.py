"""The drill `sweep`: a folder of 20 good pictures and so many damaged, odd and hostile files, for `inspect` and `eval`.

Lost is a good picture without its verdict, another file without a line of its own, a traceback, a wrong exit code.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

from drill_common import Tally, command
from drill_pictures import damaged_pictures, make_pictures, plain_picture
from PIL import Image

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
            (queries / f"good {index:02}.png").write_bytes(plain_picture(100, index))
        (queries.parent / "crack/0.png").write_bytes(plain_picture(250, 99))
        reference = Path(folder) / "set/train/good/0.png"
        reference.parent.mkdir(parents=True)
        reference.write_bytes(plain_picture(100, 100))
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
