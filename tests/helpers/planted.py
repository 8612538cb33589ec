"""Data sets of tiny pictures on disk."""

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def png(shade: int = 128, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (side, side), (shade, 90, 160))
    picture.putpixel((side - 1, side - 1), (0, 0, 0))  # a picture of one colour is refused
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def plant(folder: Path, names: Iterable[str]) -> Path:
    """A tiny picture for each name; no two that follow each other look the same."""
    shades = [png(shade) for shade in range(0, 256, 5)]
    made = set()
    for number, name in enumerate(names):
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(shades[number % len(shades)])
    return folder


def lamps(folder: Path, *, good: int = 4, bad: int = 3, train: int = 5) -> Path:
    """A class of one's own, in MVTec AD's layout."""
    names = [f"lamp/train/good/{i:03}.png" for i in range(train)]
    names += [f"lamp/test/good/{i:03}.png" for i in range(good)]
    names += [f"lamp/test/logical_anomalies/{i:03}.png" for i in range(bad)]
    return plant(folder, names)
