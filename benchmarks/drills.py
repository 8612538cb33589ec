"""Drills: how the product stands faults and attacks, counted.

    python benchmarks/drills.py pictures --number 100000

`pictures` damages small pictures of every format that is opened (bytes changed, cut out, doubled, swapped between
files, the end cut off; orientation and odd EXIF entries) and reads each. Lost is what raises anything but `ImageError`,
takes longer than 10 seconds of the processor, or has a message of several lines. Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.errors import ImageError
from lad_reasoner.files.pictures import read_picture

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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("drill", choices=["pictures"])
    parser.add_argument("--number", type=int, default=20_000, help="damaged inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default: %(default)s)")
    arguments = parser.parse_args()
    tally = drill_pictures(arguments.number, arguments.seed)
    print(tally)
    for line in tally.lost[:SHOWN]:
        print(line)
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
