"""The drills `pictures` and `odd`: damaged pictures of every format that is opened.

`pictures`: bytes changed, cut out, doubled, swapped between files, the end cut off; orientation and odd EXIF entries.
Lost is what raises anything but `ImageError`, takes longer than 10 seconds of the processor, or has a message of
several lines; and the drill, if it took more than 1,500 MB.

`odd`: files cut off at any length, whole JPEGs with an odd EXIF entry, bombs. Lost is, too, a whole one that is
refused or not upright.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.errors import ImageError
from lad_reasoner.files.pictures import read_picture

SLOW = 10.0  # seconds for one picture
MOST_MEMORY = 1500  # MB, while pictures are read

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


def plain_picture(shade: int, seed: int) -> bytes:
    """A grey picture with noise, each another one."""
    noise = np.random.default_rng(seed).integers(-3, 4, (64, 64, 3))
    buffer = io.BytesIO()
    Image.fromarray((shade + noise).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


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
