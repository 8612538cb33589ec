"""Pictures from the outside world: checked, and brought to 8-bit RGB.

EXIF rotation is applied. Greyscale, 16-bit, CMYK, palette and transparent pictures are converted. Truncated files,
animations, and pictures that are too small or too large are refused with a reason. All files of strangers are decoded
in `open_picture`, see `opening.py`.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lad_reasoner.errors import ImageError
from lad_reasoner.files.bit_depth import (
    CLIPPED,
    DEEP,
    STRIP,
    has_deep_colours,
    known_depth,
    merge_bytes,
    swap_bytes,
    to_eight_bit,
)
from lad_reasoner.files.heic import FORMAT as HEIF
from lad_reasoner.files.heic import scaled_from
from lad_reasoner.files.opening import DECODERS, PictureSource, name_source, open_picture, open_unchecked
from lad_reasoner.files.whole import named_errors
from lad_reasoner.text import shown

MIN_SIDE = 16  # pixels: below this there is nothing to compare
KEPT_SIDE = 1536  # pixels: no judge needs more, and several pictures must fit into memory
KEPT_SHORT_SIDE = 384  # pixels of pictures longer than 4:1, which are judged in tiles
LONGEST_KEPT = 8 * KEPT_SIDE
BLANK_RANGE = 3  # grey levels: a channel that spans no more holds no picture
ON_WHITE = "transparent parts are shown as white"
SHRUNK = f"more than {KEPT_SIDE} pixels wide or high: scaled down"
MIXED = (
    f"more than 8 bits a value, where the references have 8: the upper 8 of {DEEP} were taken; give references of the "
    "same depth"
)
OF_SEVERAL = {  # a format of `SEVERAL` -> its note
    "MPO": "a file of several pictures (MPO): the first one was read",
    HEIF: "a file of several pictures (HEIC): the main one was read",
}
PRINTED = frozenset({"CMYK", "LAB", "YCbCr", "HSV"})  # modes whose colours are converted
BLACK, WHITE = 12, 252  # grey levels: a picture that is below or above everywhere shows nothing

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC = 262  # a tag of a TIFF
_WHITE_IS_ZERO = 0  # a value of `_PHOTOMETRIC`, usual with X-rays

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    `image` is RGB and at most `KEPT_SIDE` pixels on its long side (more of one longer than 4:1). `width` and `height`
    are those of the file, upright. `notes` say what was changed beyond that.
    """

    name: str
    image: Image.Image
    width: int
    height: int
    notes: tuple[str, ...] = ()

    @cached_property
    def blank(self) -> str:
        """Why it shows nothing, such as a lens cap or a dead exposure; empty if it shows something."""
        reason = _why_blank(self.image)
        return f"{reason}, and {ON_WHITE}" if reason and ON_WHITE in self.notes else reason


def read_picture(source: PictureSource, depth: int | None = DEEP) -> Picture:
    """Read one picture, upright and in RGB.

    `source` is a path, the bytes of a file, an open file, a Pillow image, or an array (height, width) or (height,
    width, 1, 3 or 4) of uint8, uint16 or bool, in the order red, green, blue. The caller's object stays as it is.
    `depth` is the number of bits of a value where the file has more than 8 and does not say how many, None if the
    references have 8: see `find_depth`.
    Raises `ImageError` with the file's name and a remedy if it cannot be used.
    """
    with open_picture(source) as image:
        return _to_picture(image, source, name_source(source), depth)


def map_pictures(function: Callable[[Any], Result], sources: Iterable[Any]) -> Iterator[Result]:
    """The function's results in the order of the sources, from as many threads as pictures are decoded at a time."""
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as threads:
        yield from threads.map(function, sources)


def named(content: bytes, name: str) -> io.BytesIO:
    """The content of a file, under the name by which messages call it."""
    stream = io.BytesIO(content)
    stream.name = name
    return stream


def _to_picture(image: Image.Image, source: PictureSource, name: str, depth: int | None) -> Picture:
    width, height = image.size
    title = shown(name)  # for messages
    told = notes_by_head(image) + notes_on_depth(image, depth)
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{title}: {width}x{height} pixels is too small; both sides must have at least {MIN_SIDE}")
    if image.format == "JPEG" and image is not source:
        image.draft("RGB", (_kept_side(image.size),) * 2)  # decodes a large JPEG at a fraction of its size
    deep_colours = has_deep_colours(image)
    depth = depth or DEEP
    low = _low_bytes(source, title) if deep_colours and depth < DEEP else None
    image.load()
    turn = orientation(image)
    rgb, notes = _to_rgb(image, title, depth) if low is None else merge_bytes(image, low, depth)
    if turn in _TURNS:
        rgb = rgb.transpose(_TURNS[turn])
    side = _kept_side(rgb.size)
    if max(rgb.size) > side:
        rgb.thumbnail((side, side), Image.Resampling.BOX)
    if turn >= 5:  # by a quarter
        width, height = height, width
    return Picture(name, rgb.convert("RGB"), width, height, told + notes)


def notes_by_head(image: Image.Image) -> tuple[str, ...]:
    """What will be changed in an image, as far as that is known before it is decoded; see `Picture.notes`."""
    notes = []
    if max(image.size) > _kept_side(image.size):
        notes.append(SHRUNK)
    if image.mode in PRINTED:
        notes.append(f"{image.mode} colours were converted to RGB")
    if image.format == "MPO" or (image.format == HEIF and getattr(image, "is_animated", False)):
        notes.append(OF_SEVERAL[image.format])
    if bits := scaled_from(image):
        notes.append(f"values of {bits} bits were scaled to 8 bits")
    return tuple(notes)


def notes_on_depth(image: Image.Image, depth: int | None) -> tuple[str, ...]:
    """Whether an image has values of more or of fewer bits than the references; `depth` as in `read_picture`."""
    deep_colours, deep_grey = has_deep_colours(image), image.mode.startswith("I")
    if depth is None and (deep_colours or (deep_grey and known_depth(image) in (None, DEEP))):
        return (MIXED,)
    # Of 16 bits the upper 8 are taken, so that a picture of 8 is as bright; of fewer that was found out, and may err.
    if depth is not None and depth < DEEP and not (deep_colours or deep_grey):
        return (f"at most 8 bits a value, beside references of {depth}: read as it is; give pictures of one depth",)
    return ()


def has_more_notes(image: Image.Image) -> bool:
    """Whether notes of an image depend on its pixels: on its alpha channel, or on values of more than 8 bits."""
    return image.has_transparency_data or image.mode.startswith("I") or has_deep_colours(image)


def orientation(image: Image.Image) -> int:
    """The value of EXIF's orientation tag of a loaded image; 1 (upright) where it is absent or the EXIF is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in open_picture
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def read_turn(source: PictureSource) -> tuple[int, int, int]:
    """Orientation, and upright width and height, without decoding. Raises ImageError."""
    with open_picture(source) as image:
        turn = orientation(image)
        # Pillow gives the upright size of a TIFF, and the stored one of all other formats.
        lies = turn >= 5 and image.format != "TIFF"
        return turn, *(image.size[::-1] if lies else image.size)


def turn_upright(values: NDArray[Any], turn: int) -> NDArray[Any]:
    """(height, width) as stored -> upright, by the orientation of its picture."""
    if turn not in _TURNS:
        return values
    # (rows, columns) of pixel numbers, turned by Pillow and looked up: any type of value, no second table of turns
    numbers = Image.fromarray(np.arange(values.size, dtype=np.int32).reshape(values.shape))
    upright: NDArray[Any] = values.ravel()[np.asarray(numbers.transpose(_TURNS[turn]))]
    return upright


def _to_rgb(image: Image.Image, name: str, depth: int) -> tuple[Image.Image, tuple[str, ...]]:
    """8-bit RGB, or L for grey values of more bits, and what was changed."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if (values < 0).mean() > CLIPPED:
            raise ImageError(f"{name}: values below 0 have no fixed range; save it as 8- or 16-bit without a sign")
        grey, notes = to_eight_bit(values, known_depth(image) or depth)
        # Pillow turns such pictures of 8 bits only.
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = ImageChops.invert(grey)
        return grey, notes
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no fixed range; save it as 8- or 16-bit")
    if not image.has_transparency_data:
        return image.convert("RGB"), ()
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    low, high = rgba.getchannel("A").getextrema()
    if low == high:
        notes = () if high == 255 else ("an alpha channel of one value was ignored",)
        return rgba.convert("RGB"), notes
    rgb = Image.new("RGB", rgba.size)
    for top in range(0, rgba.height, STRIP):
        strip = rgba.crop((0, top, rgba.width, min(top + STRIP, rgba.height)))
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        rgb.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return rgb, (ON_WHITE,)


def _kept_side(size: tuple[int, int]) -> int:
    """Pixels of the long side that are kept: more of a long picture, whose short side would shrink to a line."""
    aspect = max(size) / max(1, min(size))
    return max(KEPT_SIDE, min(LONGEST_KEPT, round(KEPT_SHORT_SIDE * aspect)))


def find_depth(sources: Iterable[PictureSource]) -> int | None:
    """Bits of a value in the pictures of more than 8 bits: 10, 12 and 14 bits are stored in files of 16.

    The smallest even number of bits that holds all values; None where none of the pictures has more than 8 bits. One
    that cannot be read counts for nothing: whoever reads it will say why.
    """
    depths = []
    for source in sources:
        with suppress(ImageError), open_picture(source) as image:
            if image.mode.startswith("I"):
                bits = known_depth(image) or int(np.asarray(image).max()).bit_length()
            elif has_deep_colours(image):
                # Pillow keeps the high byte of each value.
                colours = image.getextrema()[: 1 if image.mode == "LA" else 3]
                highest = max(int(high) for _, high in colours)  # type: ignore[misc]
                bits = 8 + highest.bit_length()
            else:
                continue
            depths.append(max(8, bits + bits % 2))
    return max(depths, default=None)


def _low_bytes(source: PictureSource, name: str) -> Image.Image | None:
    """The low bytes of 16-bit colours; None of an image in memory, which decoding them would change."""
    with open_unchecked(source, name) as image:
        if image is source:
            return None
        swap_bytes(image)
        return image.copy()


def _why_blank(image: Image.Image) -> str:
    extrema = image.getextrema()
    if all(high - low <= BLANK_RANGE for low, high in extrema):  # type: ignore[misc]
        return "the picture has one colour only"
    pixels = np.cumsum(image.convert("L").histogram())  # at each grey level or below
    if pixels[BLACK] >= 0.999 * pixels[-1]:
        return "the picture is black"
    return "the picture is white" if pixels[WHITE - 1] <= 0.001 * pixels[-1] else ""


def within_budget(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """The picture, scaled down to at most `max_pixels` pixels; None is no limit."""
    pixels = image.width * image.height
    if max_pixels is None or pixels <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / pixels)
    width, height = (max(1, math.floor(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def encode_picture(image: Image.Image, encoding: str = "PNG", **options: Any) -> bytes:
    """The content of a file; `encoding` is one of Pillow's formats, `options` are its."""
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def save_picture(path: Path, image: Image.Image, **options: Any) -> None:
    """Write a picture in the format of its suffix; an OSError has its name.

    Not whole at once, unlike `write_whole`: for folders that are made anew if they are not finished.
    """
    with named_errors(path):
        image.save(path, **options)


def picture_uri(image: Image.Image, encoding: str, **options: Any) -> str:
    """`data:image/jpeg;base64,…`; arguments as of `encode_picture`."""
    return (
        f"data:image/{encoding.lower()};base64,{base64.b64encode(encode_picture(image, encoding, **options)).decode()}"
    )
