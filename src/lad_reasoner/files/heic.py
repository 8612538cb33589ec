"""HEIC, as phones save pictures: read by an optional package, which is imported when the first such file comes.

image = open_heic("IMG_0001.HEIC", "IMG_0001.HEIC")      # a Pillow image, upright, not yet decoded

By the standard, the file's own rotation turns the picture, and the orientation tag of its EXIF says nothing more. A
file of several pictures, such as a burst, has a main one, which is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from lad_reasoner.errors import ImageError, MissingExtraError, pip_line, require

FORMAT = "HEIF"  # Pillow's name for it


def open_heic(source: str | Path | IO[bytes], name: str) -> Image.Image:
    """An image that is decoded when it is loaded, with colours of 8 bits and grey values of 8 or 16.

    `name` is that of the file in messages. ImageError without the package; whatever it raises for a damaged file.
    """
    try:
        library = require("pillow_heif", "heic", "pillow-heif")
    except MissingExtraError:
        # Not that of the machine: the other pictures of a folder can be read.
        line = pip_line("heic")
        raise ImageError(
            f"{name}: a HEIC picture, as phones save it; export it as JPEG or PNG, or run: {line}"
        ) from None
    # Not registered with Pillow: what a program around this package opens stays as it was.
    image: Image.Image = library.HeifImageFile(source)
    return image


def scaled_from(image: Image.Image) -> int:
    """Bits of a colour in a HEIC file that have become 8; 0 if it has 8, and for every other image."""
    bits = image.info.get("bit_depth", 8) if image.format == FORMAT else 8
    return int(bits) if bits > 8 and not image.mode.startswith("I") else 0
