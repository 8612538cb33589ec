"""Pictures from the outside world: found, checked, and brought to 8-bit RGB.

EXIF rotation is applied. Greyscale, 16-bit, CMYK, palette and transparent pictures are converted. Truncated files,
animations, and pictures that are too small or too large are refused with a reason.
"""

from __future__ import annotations

import base64
import glob
import io
import os
import re
import warnings
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.text import printable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2"})
MIN_SIDE = 16  # pixels: below this there is nothing to compare
MAX_PIXELS = 80_000_000  # keeps out decompression bombs; a 50-megapixel camera has fewer
KEPT_SIDE = 1536  # pixels: no judge needs more, and several pictures must fit into memory

_DIGITS = re.compile(r"(\d+)")
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

Parts = tuple[str, ...]  # of a path: `("bottle", "test", "good", "000.png")`


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    `image` is RGB and at most `KEPT_SIDE` pixels on its long side; `width` and `height` are those of the file, upright.
    """

    name: str
    image: Image.Image
    width: int
    height: int


def read_picture(source: str | Path | Image.Image) -> Picture:
    """Read one picture, upright and in RGB.

    Raises `ImageError` with the file's name and a remedy if it cannot be used.
    """
    if isinstance(source, Image.Image):
        return _to_picture(source, getattr(source, "filename", "") or "picture")
    name, path = printable(source), Path(source)
    try:
        if path.is_dir():
            raise ImageError(f"{name}: a folder, not a picture")
        if not path.exists():
            raise ImageError(f"{name}: no such file")
        if not path.is_file():
            raise ImageError(f"{name}: not a file")
        if path.stat().st_size == 0:
            raise ImageError(f"{name}: the file is empty; copy it again")
        with warnings.catch_warnings():
            # Pillow only warns of bombs and of odd metadata; ours is the limit in _to_picture.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _to_picture(image, name)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture that can be read; save it as PNG or JPEG") from None
    except Image.DecompressionBombError:
        raise ImageError(_too_large(name, "more than 170 million")) from None
    except PermissionError:
        raise ImageError(f"{name}: no permission to read it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{name}: the picture is damaged ({error}); copy or save it again") from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it; scale the picture down") from None


def _to_picture(image: Image.Image, name: str) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width}x{height}"))
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width}x{height} pixels is too small; both sides must have at least {MIN_SIDE}")
    # An MPO file is a camera's JPEG with a preview behind it.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"{name}: holds {frames} frames; save the one to inspect as a picture of its own")
    if image.format == "JPEG":
        image.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # decodes a large JPEG at a fraction of its size
    upright = ImageOps.exif_transpose(image)
    if upright.size != image.size:
        width, height = height, width
    rgb = _to_rgb(upright, name)
    if max(rgb.size) > KEPT_SIDE:
        rgb.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BOX)
    return Picture(name=name, image=rgb, width=width, height=height)


def _too_large(name: str, size: str) -> str:
    return f"{name}: {size} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are read, scale the picture down"


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """8-bit RGB. 16-bit values are divided by 256, always, so that reference and query keep the same brightness."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        eight_bit = (np.clip(values, 0, 65535) // 256).astype(np.uint8)
        return Image.fromarray(eight_bit).convert("RGB")
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no fixed range; save it as 8- or 16-bit")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def find_pictures(sources: Iterable[str | Path]) -> list[Path]:
    """The files of paths, folders and globs, in the given order; those of a folder or a glob in natural order.

    A missing file stays in the list: reading it fails, and the others are still judged. Raises `InputError` for a
    folder without pictures and for a glob without matches.
    """
    files: list[Path] = []
    for source in sources:
        if not str(source):
            raise InputError("the name is empty; give a picture, a folder or a quoted glob")
        path = Path(source)
        if len(path.name) > 255:
            files.append(path)  # too long for a file system: `is_dir` would raise, reading says that it is missing
        elif path.is_dir():
            pictures = _pictures_below(path)
            if not pictures:
                raise InputError(f"{source}: no pictures in this folder (looked for {' '.join(sorted(SUFFIXES))})")
            files += pictures
        elif not path.exists() and glob.has_magic(str(source)):
            matches = _matches(str(source))
            if not matches:
                raise InputError(f"{source}: no file matches this pattern")
            for match in matches:
                files += _pictures_below(match) if match.is_dir() else [match]
        else:
            files.append(path)
    return files


def _matches(pattern: str) -> list[Path]:
    """The matches of a glob in natural order, each file once, also where links lead in circles."""
    # Path.glob does not accept absolute patterns.
    paths = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    shortest_last = sorted(paths, key=lambda path: -len(path.parts))
    unique = {path.resolve(): path for path in shortest_last}  # the shortest path of a file overwrites the others
    return sorted(unique.values(), key=lambda path: natural_path(path.parts))


def _pictures_below(folder: Path) -> list[Path]:
    """Pictures of a folder and of the folders in it, in the order of `list_files`."""
    return [folder.joinpath(*parts) for parts in list_files(folder) if Path(parts[-1]).suffix.lower() in SUFFIXES]


def list_files(folder: Path) -> list[Parts]:
    """All files below a folder, each as its parts relative to it: `("bottle", "test", "good", "000.png")`.

    Natural order: `9.png` before `10.png`. Hidden files and those of desktops (Thumbs.db …) are skipped. Links are
    followed, but each folder is entered once, by its own name rather than by a link's. InputError if a folder cannot be
    read.
    """
    files: list[Parts] = []
    entered: set[tuple[int, int]] = set()
    waiting: deque[Parts] = deque([()])
    linked: deque[Parts] = deque()
    while waiting or linked:
        below = waiting.popleft() if waiting else linked.popleft()
        path = folder.joinpath(*below)
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: natural(entry.name))
        except OSError as error:
            raise InputError(f"{printable(path)}: {error.strerror}; give a folder that can be read") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _JUNK:
                continue
            parts = (*below, entry.name)
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(parts)
                elif entry.is_file():
                    files.append(parts)
            except OSError:  # a link to itself
                continue
    return sorted(files, key=natural_path)


@lru_cache(maxsize=65536)
def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorting key of one name: numbers by value, letters without regard to case."""
    pieces = _DIGITS.split(name.casefold())
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def natural_path(parts: Parts) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorting key of a path."""
    return tuple(natural(part) for part in parts)


def picture_uri(image: Image.Image, encoding: str, **options: Any) -> str:
    """`data:image/jpeg;base64,…`; `encoding` is one of Pillow's formats, `options` are its."""
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return f"data:image/{encoding.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
