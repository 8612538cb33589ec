"""Pictures of more than 8 bits a value, brought to 8 bits; they are read in pictures.py.

Grey values of 16 bits come from Pillow as they are. Of colours it keeps the high byte only; the low bytes are those
that it keeps when it is told the other byte order.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP = 256  # rows that are converted at a time: whole copies of a large picture take gigabytes
DEEP = 16  # bits of a value in a file of more than 8 bits, where nothing says less
CLIPPED = 0.01  # share of values: fewer above the depth of the references are not worth a note

_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE = 281, 258  # tags of a TIFF


def known_depth(image: Image.Image) -> int | None:
    """Bits of a grey value, where the file or its format says so."""
    if image.format in ("PPM", "JPEG2000", "HEIF"):  # Pillow has scaled them to 16 bits
        return DEEP
    tags = getattr(image, "tag_v2", {})
    bits, most = tags.get(_BITS_PER_SAMPLE, (DEEP,)), tags.get(_MAX_SAMPLE_VALUE, 0)
    if isinstance(bits, tuple) and bits and 8 < bits[0] < DEEP:
        return int(bits[0])
    most = most[0] if isinstance(most, tuple) and most else most
    return int(most).bit_length() if isinstance(most, int) and 255 < most < 65535 else None


def has_deep_colours(image: Image.Image) -> bool:
    """Whether Pillow will keep the high byte only of each of its colours."""
    tiles = getattr(image, "tile", ())
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in _raw_mode(tile) for tile in tiles)


def _raw_mode(tile: Any) -> str:
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) and args else args)


def swap_bytes(image: Image.Image) -> None:
    """Have an image of 16-bit colours, not yet decoded, decoded in the other byte order: to its low bytes."""
    opened: Any = image  # Pillow's type for images does not have tiles
    swapped = []
    for tile in opened.tile:
        raw = _raw_mode(tile)
        # Big, little or native order ends the name of a raw mode.
        order = raw[-1] if raw[-1] != "N" else sys.byteorder[0].upper()
        other = raw[:-1] + {"B": "L", "L": "B"}[order]
        args = (other, *tile[3][1:]) if isinstance(tile[3], tuple) else other
        swapped.append(tile._replace(args=args))
    opened.tile = swapped


def merge_bytes(high: Image.Image, low: Image.Image, depth: int) -> tuple[Image.Image, tuple[str, ...]]:
    """RGB from both bytes of each colour. Alpha is left out: cameras of more than 8 bits have none."""
    planes = []
    notes: tuple[str, ...] = ()
    for name in high.getbands():
        if name != "A":
            upper = np.asarray(high.getchannel(name)).astype(np.uint16)
            values = upper << 8 | np.asarray(low.getchannel(name))
            plane, plane_notes = to_eight_bit(values, depth)
            planes.append(plane)
            notes = tuple(dict.fromkeys(notes + plane_notes))
    return (planes[0] if len(planes) == 1 else Image.merge("RGB", planes)), notes


def to_eight_bit(values: NDArray[Any], depth: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Of each value the upper 8 of `depth` bits; the same for all pictures, so that they keep their brightness."""
    highest = min((1 << depth) - 1, int(np.iinfo(values.dtype).max))
    grey = np.empty(values.shape, np.uint8)
    beyond = 0
    for top in range(0, len(values), STRIP):
        strip = values[top : top + STRIP]
        grey[top : top + STRIP] = np.clip(strip, 0, highest) >> (depth - 8)
        beyond += int((strip > highest).sum())
    notes = []
    if depth != DEEP:
        notes.append(f"values of {depth} bits were scaled to 8 bits")
        if beyond > CLIPPED * values.size:
            notes.append(f"values above the {depth} bits of the references were clipped")
    return Image.fromarray(grey), tuple(notes)
