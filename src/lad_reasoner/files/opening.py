"""Opens pictures of strangers: recognised, checked against limits, not yet decoded.

    with open_picture("part.png") as image:              # a Pillow image; ImageError with name and remedy otherwise
        image.size

All files of strangers are opened and decoded within `open_picture`, few at the same time.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lad_reasoner.errors import ImageError, InputError, LadError
from lad_reasoner.files.file_kinds import HEAD, describe_kind, is_heic
from lad_reasoner.files.heic import FORMAT as HEIF
from lad_reasoner.files.heic import open_heic
from lad_reasoner.files.walk import suggest_path
from lad_reasoner.text import printable, shown

# Opened by content; MPO comes with JPEG, HEIC is heic.py's. Others are not opened: Pillow would hand PostScript to
# Ghostscript, and rare decoders are little tested.
FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "DIB", "PPM", "WEBP", "JPEG2000", "AVIF")
MAX_BYTES = 1024**3  # of a file: 80 megapixels with four values of 16 bits have fewer
MAX_PIXELS = 80_000_000  # keeps out decompression bombs; a 50-megapixel camera has fewer
DECODERS = 4  # pictures that are decoded at the same time
LARGE = 16_000_000  # pixels: pictures above this are decoded one at a time
MAX_JPEG = 170_000_000  # pixels: a JPEG is decoded at a fraction of its size, unless it is progressive
MAX_JPEG2000 = 50_000_000  # pixels: its decoder takes 20 bytes for each
SEVERAL = frozenset({"MPO", HEIF})  # formats whose files may hold other pictures beside the one that is meant
BLOCK = 64 * 1024**2  # bytes: glibc gives blocks above 32 MB back as soon as they are freed

_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # bit 0 of the first: a preview of another picture in the file

PictureSource = str | Path | Image.Image | NDArray[Any] | bytes | IO[bytes]


class _Slots:
    """Limits the decoders at work: their memory is what a folder of hostile pictures exhausts."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):  # a forked worker must not wait for threads that it does not have
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.any, self.large = threading.BoundedSemaphore(DECODERS), threading.Lock()


_slots = _Slots()


def name_source(source: object) -> str:
    """A path is its own name; a picture in memory is `picture`, or has the name of its file."""
    if isinstance(source, bytes | bytearray | memoryview | np.ndarray):
        return "picture"
    if isinstance(source, Image.Image) or hasattr(source, "read"):
        name = getattr(source, "filename", "") or getattr(source, "name", "")
        return printable(name) if isinstance(name, str | Path) and name else "picture"
    return printable(source)


@contextmanager
def open_picture(source: PictureSource) -> Iterator[Image.Image]:
    """An image, not yet decoded; whatever fails here or in the body is an `ImageError` with the file's name.

    Formats are those of `FORMATS`, at most `MAX_PIXELS` pixels and a single frame.
    """
    name = shown(name_source(source))  # a line of its own, whatever the file is called
    large = False
    with _slots.any:
        try:
            with warnings.catch_warnings():
                # Pillow only warns of bombs and of odd metadata; ours are the limits in _check.
                warnings.simplefilter("ignore")
                with open_unchecked(source, name) as image:
                    _check(image, name, drafted=image is not source)
                    large = image.width * image.height > LARGE and _slots.large.acquire()
                    yield image
        except LadError:
            raise
        except UnidentifiedImageError:
            head = _head(source)
            unknown = "not a picture that can be read; save it as PNG or JPEG"
            problem = describe_kind(head) or (unknown if head else "the file is empty, no picture; copy it again")
            raise ImageError(f"{name}: {problem}") from None
        except Image.DecompressionBombError:
            raise ImageError(_too_large(name, "more than 170 million")) from None
        except PermissionError:
            raise ImageError(f"{name}: no permission to read it") from None
        except MemoryError:
            raise ImageError(f"{name}: not enough memory to decode it; scale the picture down") from None
        except Exception as error:  # Pillow's decoders raise anything on damaged files: KeyError, struct.error, ...
            problem = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{name}: the picture is damaged ({problem}); copy or save it again") from None
        finally:
            if large:
                _slots.large.release()


@contextmanager
def open_unchecked(source: PictureSource, name: str) -> Iterator[Image.Image]:
    """Once more within `open_picture`, which has checked the same source; `name` is for messages."""
    stream: Any = io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
    if isinstance(source, Image.Image):
        # Decoding turns, closes and shrinks a lazily opened image: the caller's is only looked at.
        yield source
    elif isinstance(source, np.ndarray):
        yield _from_array(source, name)
    elif isinstance(source, str | Path):
        check_file(Path(source), name)
        # Closing, unlike the end of Pillow's own `with`, frees the pixels before the next decoder starts.
        with closing(_identify(source, name)) as image:
            yield image
    elif hasattr(stream, "read"):
        stream.seek(0)
        with _identify(stream, name) as image:
            yield image
    else:
        kinds = "a path, bytes, a Pillow image or an array of uint8"
        raise InputError(f"{type(source).__name__} is not a picture; give {kinds}")


def _identify(source: str | Path | IO[bytes], name: str) -> Image.Image:
    try:
        return Image.open(source, formats=_formats())
    except UnidentifiedImageError:
        if not is_heic(_head(source)):
            raise
    return open_heic(source, name)


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has; when first asked, Pillow is told what a process with threads needs."""
    Image.init()
    core: Any = Image.core  # type: ignore[attr-defined]
    # Smaller blocks of pixels would stay with the thread that decoded them, instead of going back to the system.
    core.set_block_size(BLOCK)
    with suppress(AttributeError, OSError):  # Pillow without libtiff, or with one inside it
        # It writes errors to stderr, without the file's name; Pillow's exceptions say the same.
        ctypes.CDLL(core.__file__).TIFFSetErrorHandler(None)
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise such errors go to stderr, too
    return tuple(name for name in FORMATS if name in Image.OPEN)


def check_file(path: Path, name: str) -> None:
    """ImageError for what is not a file with content."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: {_why_absent(path, error)}") from None
    if path.is_dir():
        readable = os.access(path, os.R_OK | os.X_OK)
        raise ImageError(f"{name}: a folder" + (", not a picture" if readable else " without permission to read it"))
    if not path.is_file():
        raise ImageError(f"{name}: not a file")
    if status.st_size == 0:
        raise ImageError(f"{name}: the file is empty, no picture; copy it again")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{name}: {status.st_size / MAX_BYTES:.1f} GB; the file of a picture has at most 1 GB")


def _why_absent(path: Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "a link that leads to itself"
    if number == errno.EACCES:
        return "no permission to read it"
    if number == errno.ENAMETOOLONG:
        return "no such file: the name is too long"
    if number == errno.ENOENT and path.is_symlink():
        return f"a link whose target {shown(path.readlink())} does not exist"
    if number not in (None, errno.ENOENT, errno.ENOTDIR):
        return f"{os.strerror(number)}"
    # `--reference Good parts` without quotes arrives as two names.
    longer = next(path.parent.glob(f"{glob.escape(path.name)} *"), None)
    if longer is not None:
        return f"no such file; put {shown(longer.name)!r} in quotes"
    return f"no such file{suggest_path(path)}"


def _head(source: PictureSource) -> bytes:
    """The first bytes of a file; none if they cannot be had."""
    stream: Any = io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
    try:
        if isinstance(stream, str | Path):
            with Path(stream).open("rb") as file:
                return file.read(HEAD)
        stream.seek(0)
        return bytes(stream.read(HEAD))
    except (OSError, AttributeError):
        return b""


def _from_array(values: NDArray[Any], name: str) -> Image.Image:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4):
        shape = "x".join(map(str, values.shape))
        raise InputError(f"{name}: an array of shape {shape} is not a picture; give (height, width) or (..., 3)")
    if channels == 1:
        values = values.reshape(values.shape[:2])
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype == np.uint16 and channels > 1:
        raise InputError(f"{name}: an array of uint16 must be grey; scale the colours to uint8")
    if values.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: an array of {values.dtype} has no fixed range; scale it to 0..255 as uint8")
    if 0 in values.shape:
        raise InputError(f"{name}: the array is empty")
    return Image.fromarray(np.ascontiguousarray(values))


def _check(image: Image.Image, name: str, *, drafted: bool) -> None:
    """Limits that are checked before anything is decoded; `drafted` if a JPEG may be decoded at a smaller size."""
    width, height = image.size
    limit = MAX_JPEG2000 if image.format == "JPEG2000" else MAX_PIXELS
    if image.format == "JPEG" and drafted and not image.info.get("progressive"):
        limit = MAX_JPEG  # a progressive one is whole in memory before its first pixel is
    if width * height > limit:
        raise ImageError(_too_large(name, f"{width}x{height}", limit))
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or int(tags.get(_SUBFILE_TYPE, 0)) & 1:
        raise ImageError(
            f"{name}: a camera's raw file, of which only a preview could be read; export it as PNG or JPEG"
        )
    # An MPO file is a camera's JPEG with a preview behind it. Counting the frames would read the whole file.
    if image.format not in SEVERAL and getattr(image, "is_animated", False):
        raise ImageError(f"{name}: holds more than one frame; save the one to inspect as a picture of its own")


def _too_large(name: str, size: str, limit: int = MAX_PIXELS) -> str:
    return f"{name}: {size} pixels; at most {limit // 1_000_000} megapixels are read, scale the picture down"
