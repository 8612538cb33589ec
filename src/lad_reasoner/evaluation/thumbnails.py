"""Small copies of the pictures that a run has shown, so that its report needs no data set."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from lad_reasoner.files.pictures import Picture, encode_picture
from lad_reasoner.files.whole import write_whole

SIDE = 176  # pixels


def save_thumbnail(folder: Path, picture: Picture) -> None:
    """Keep a small copy, unless there already is one for this name."""
    path = _path(folder, picture.name)
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    small = picture.image.copy()
    small.thumbnail((SIDE, SIDE))
    write_whole(path, encode_picture(small, "JPEG", quality=80))


def read_thumbnail(folder: Path, name: str) -> str:
    """The small copy as a data URI; empty where there is none."""
    path = _path(folder, name)
    if not path.is_file():
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _path(folder: Path, name: str) -> Path:
    # A picture's name may hold anything, such as `../`, a hash may not.
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.jpg"
