"""Small copies of the pictures that a run has shown, and its maps, so that its report needs no data set."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture, encode_picture
from lad_reasoner.files.whole import write_whole
from lad_reasoner.text import printable

logger = logging.getLogger(__name__)

THUMBNAILS = "thumbnails"  # folder of a run
SIDE = 176  # pixels
MAP_SIDE = 96  # cells of a map that is kept: its detail is no finer
HEAT_FROM, HEAT_TO = 0.6, 2.0  # in limits of normal variation: the map begins to show, the map is full


def save_thumbnail(folder: Path, picture: Picture) -> None:
    """Keep a small copy, unless there already is one for this name."""
    path = hashed_path(folder, picture.name, "jpg")
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    small = picture.image.copy()
    small.thumbnail((SIDE, SIDE))
    write_whole(path, encode_picture(small, "JPEG", quality=80))


def read_thumbnail(folder: Path, name: str) -> str:
    """The small copy as a data URI; empty where there is none, or a damaged one, which is logged."""
    return _read(hashed_path(folder, name, "jpg"), "image/jpeg")


def save_map(folder: Path, name: str, heat: NDArray[np.float32]) -> None:
    """Keep the map of a query, in place of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    small = heat_image(heat)
    small.thumbnail((MAP_SIDE, MAP_SIDE))
    write_whole(hashed_path(folder, name, "png"), encode_picture(small, "PNG", optimize=True))


def read_map(folder: Path, name: str) -> str:
    """The map of a query as a data URI; empty where there is none, or a damaged one, which is logged."""
    return _read(hashed_path(folder, name, "png"), "image/png")


def heat_image(heat: NDArray[np.float32]) -> Image.Image:
    """Map (rows, columns) -> picture with alpha: yellow to red, clear where the difference is well within the limit."""
    level = np.clip((heat - HEAT_FROM) / (HEAT_TO - HEAT_FROM), 0, 1)
    red, blue = np.ones_like(level), np.zeros_like(level)
    green, alpha = 0.85 * (1 - level), 0.75 * np.sqrt(level)
    rgba = np.stack([red, green, blue, alpha], -1)
    return Image.fromarray((255 * rgba).astype(np.uint8), "RGBA")


def _read(path: Path, kind: str) -> str:
    if not path.is_file():
        return ""
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.load()
    except Exception:  # as in files/pictures: Pillow's decoders raise anything on damaged files
        _name_damaged(path)
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _name_damaged(path: Path) -> None:
    """Once: several pages and plots show the same picture, a reference in many places."""
    logger.warning("%s: the picture is damaged, and pages show none there; remove it", printable(path))


def hashed_path(folder: Path, name: str, ending: str) -> Path:
    """The file in a folder of a run that belongs to the picture of this name."""
    # A picture's name may hold anything, such as `../`, a hash may not.
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.{ending}"
