"""Recognises files that cannot be opened as pictures by their first bytes, and says what to do about them.

describe_kind(b"%PDF-1.7 ...")   # "a PDF document; export the page as PNG"
"""

from __future__ import annotations

HEAD = 1024  # bytes that `describe_kind` looks at

_UNPACK = "an archive; unpack it first"
_EXPORT = "export it as PNG or JPEG"

# (offset, bytes there, what it is and the mend)
_SIGNATURES = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the picture itself; run `git lfs pull` in its repository"),
    (0, b"%PDF", "a PDF document; export the page as PNG"),
    (0, b"%!PS", f"a PostScript document, which is never run; {_EXPORT}"),
    (0, b"\xc5\xd0\xd3\xc6", f"a PostScript document, which is never run; {_EXPORT}"),
    (0, b"8BPS", f"a Photoshop document; {_EXPORT}"),
    (0, b"\xff\x0a", f"a JPEG XL picture, which is not supported; {_EXPORT}"),
    (0, b"\x00\x00\x00\x0cJXL ", f"a JPEG XL picture, which is not supported; {_EXPORT}"),
    (0, b"SIMPLE  =", f"a FITS file, which is not supported; {_EXPORT}"),
    (0, b"DDS ", f"a DDS texture, which is not supported; {_EXPORT}"),
    (0, b"qoif", f"a QOI picture, which is not supported; {_EXPORT}"),
    (0, b"\x00\x00\x01\x00", f"an icon file, which is not supported; {_EXPORT}"),
    # A Targa file has no signature; a cursor's has a number of pictures where its colour map would be.
    (0, b"\x00\x00\x02\x00\x00\x00\x00\x00", f"a Targa picture, which is not supported; {_EXPORT}"),
    (0, b"\x00\x00\x0a\x00\x00\x00\x00\x00", f"a Targa picture, which is not supported; {_EXPORT}"),
    (0, b"\x00\x00\x02\x00", f"a cursor file, which is not supported; {_EXPORT}"),
    (0, b"FUJIFILMCCD-RAW", f"a camera's raw file; {_EXPORT}"),
    (128, b"DICM", f"a DICOM file, which is not supported; {_EXPORT}"),
    (0, b"\x93NUMPY", "a NumPy array; load it and give the array, or save it as PNG"),
    (0, b"\x89HDF", f"an HDF5 file, which is not supported; {_EXPORT}"),
    (0, b"PK\x03\x04", _UNPACK),
    (0, b"\x1f\x8b", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", _UNPACK),
    (0, b"Rar!", _UNPACK),
    (8, b"AVI ", "a video; save the frame to inspect as PNG"),
    (0, b"\x1aE\xdf\xa3", "a video; save the frame to inspect as PNG"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif")
_TEXTS = (
    (b"<!doctype html", "a web page, not a picture; download the picture again, signed in if the site asks for it"),
    (b"<html", "a web page, not a picture; download the picture again, signed in if the site asks for it"),
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"<?xml", "an XML text, not a picture; export a drawing as PNG, download a picture again"),
    (b"{", "a JSON text, not a picture; download the picture again"),
)


def is_heic(head: bytes) -> bool:
    """Whether a file is a HEIC picture, by its first bytes."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head[8:40]


def describe_kind(head: bytes) -> str:
    """`a PDF document; export the page as PNG`, by the first `HEAD` bytes; empty if unknown."""
    for offset, magic, kind in _SIGNATURES:
        if head.startswith(magic, offset):
            return kind
    if head[4:8] == b"ftyp" and b"avif" not in head[8:40]:
        return f"a video or a camera's raw file; {_EXPORT}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, kind in _TEXTS:
        if text.startswith(start):
            return "an SVG drawing; export it as PNG" if start == b"<?xml" and b"<svg" in text else kind
    if head and not head.strip(b"\0"):
        return "a file of zeros, as a broken copy leaves it; copy it again"
    return ""
