"""Files of cameras, phones, downloads and attackers: each is read as it should be, or refused in one line."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from lad_reasoner.data.masks import read_mask_of
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError
from lad_reasoner.files.opening import DECODERS, open_picture
from lad_reasoner.files.pictures import find_depth, map_pictures, read_picture
from lad_reasoner.files.walk import describe_passed_over, find_pictures


def scene(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x ^ y) * 2], -1).astype(np.uint8))


def encoded(image: Image.Image, encoding: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def error_of(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_every_cut_of_pages_and_films_is_an_image_error() -> None:
    turned = [scene().rotate(90, expand=True), scene().rotate(180)]
    for encoding, options in (("TIFF", {}), ("GIF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PNG", {})):
        data = encoded(scene(), encoding, save_all=True, append_images=turned, **options)
        for length in range(1, len(data), 37):
            try:
                read_picture(data[:length])
            except ImageError as error:
                assert "\n" not in str(error)


def test_one_large_picture_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lad_reasoner.files.opening.LARGE", 1000)
    large, small = (encoded(Image.new("L", (side, side)), "PNG") for side in (40, 20))
    entered = threading.Event()

    def decode() -> None:
        with open_picture(large):
            entered.set()

    thread = threading.Thread(target=decode)
    with open_picture(large):
        thread.start()
        with open_picture(small):
            pass
        assert not entered.wait(0.2)
    thread.join(60)
    assert entered.is_set()


def test_the_pages_of_a_file_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes the square of their number: 40 seconds for 40,000 pages in 5 MB."""
    pages = [Image.new("L", (16, 16), shade) for shade in (10, 90)]
    content = io.BytesIO()
    pages[0].save(content, "TIFF", save_all=True, append_images=pages[1:])

    def count(_: object) -> int:
        raise AssertionError("they were counted")

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", property(count))
    with pytest.raises(ImageError, match="holds more than one frame"):
        read_picture(content.getvalue())


@pytest.mark.parametrize("tag", [0x0100, 0x0106, 0x010E, 0x011A, 0x011B, 0x013B, 0x0140, 0x014D, 0x0155, 0x02BC])
@pytest.mark.parametrize("kind", [1, 2, 3, 5, 8, 9, 11, 12, 13])
def test_whole_jpegs_with_one_odd_exif_entry_are_read_upright(tag: int, kind: int) -> None:
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", tag, kind, 1, 26)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(64)
    picture = read_picture(encoded(scene(), "JPEG", exif=exif))
    assert (picture.width, picture.height) == picture.image.size == (48, 64)


def test_junk_exif_means_upright() -> None:
    for encoding in ("PNG", "JPEG", "WEBP"):
        data = encoded(scene(), encoding, exif=b"Exif\0\0" + bytes(range(7, 60)))
        assert read_picture(data).image.size == (64, 48), encoding


@pytest.mark.posix
def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the suffix: Pillow would call Ghostscript."""
    ran = tmp_path / "ran"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    path = tmp_path / "x.png"
    path.write_bytes(encoded(scene(), "EPS"))
    assert error_of(path) == "a PostScript document, which is never run; export it as PNG or JPEG"
    assert not ran.exists()


def test_libtiff_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """It would write `tempfile.tif: …`, without the name of the file."""
    data = bytearray(encoded(scene(), "TIFF", compression="tiff_lzw"))
    data[8:200] = bytes(range(192))
    with pytest.raises(ImageError):
        read_picture(bytes(data))
    assert capfd.readouterr().err == ""


def test_large_pictures_leave_memory_to_others(tmp_path: Path) -> None:
    """JPEG 2000 takes 20 bytes a pixel, so that its limit is lower; values of 32 bits are converted in strips."""
    Image.new("L", (8000, 8000)).save(tmp_path / "large.jp2")
    assert error_of(tmp_path / "large.jp2") == (
        "8000x8000 pixels; at most 50 megapixels are read, scale the picture down"
    )
    values = np.arange(8000 * 500, dtype=np.int32).reshape(500, 8000) % 65536
    tracemalloc.start()
    picture = read_picture(encoded(Image.fromarray(values), "TIFF"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert picture.image.size == (6144, 384)  # a long picture keeps what its tiles need
    assert peak < 60_000_000  # two copies of 16 MB, the file and the array, and strips


def test_a_few_threads_decode_however_many_pictures_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    decoding, most, guard = 0, 0, threading.Lock()

    def decode(number: int) -> int:
        nonlocal decoding, most
        with guard:
            decoding += 1
            most = max(most, decoding)
        time.sleep(0.002)
        with guard:
            decoding -= 1
        return number

    assert list(map_pictures(decode, range(64))) == [*range(64)]
    assert 1 < most <= DECODERS


KINDS = {
    "lfs.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
    "login.png": (b"\xef\xbb\xbf\n<!DOCTYPE html><html></html>", "a web page, not a picture"),
    "denied.jpg": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text, not a picture"),
    "drawing.png": (b'<?xml version="1.0"?>\n<svg width="9"/>', "an SVG drawing; export it as PNG"),
    "error.png": (b'{"error": "not found"}', "a JSON text, not a picture"),
    "manual.png": (b"%PDF-1.7\n", "a PDF document; export the page as PNG"),
    "packed.jpg": (b"PK\x03\x04" + bytes(90), "an archive; unpack it first"),
    "sky.png": (b"SIMPLE  =                    T", "a FITS file"),
    "zeros.png": (bytes(5000), "a file of zeros, as a broken copy leaves it; copy it again"),
    "targa.png": (encoded(scene(), "TGA"), "a Targa picture, which is not supported"),
    "packed_targa.png": (encoded(scene(), "TGA", compression="tga_rle"), "a Targa picture, which is not supported"),
    "icon.png": (encoded(scene(), "ICO"), "an icon file, which is not supported"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_file_really_is_and_the_remedy(name: str, tmp_path: Path) -> None:
    content, words = KINDS[name]
    (tmp_path / name).write_bytes(content)
    assert error_of(tmp_path / name).startswith(words)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", encoded(scene(9, 40), "PNG"), encoded(scene(), "PNG")[:60]])
def test_a_name_of_two_lines_is_one_in_messages(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a\nb \x1b[2J\u202e.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{tmp_path}/a\\u000ab \\u001b[2J\\u202e.png: ")
    assert "\n" not in str(caught.value)
    scene().save(path)
    assert read_picture(path).name == str(path)


def bmp32(rgb: NDArray[np.uint8], alpha: int) -> bytes:
    """A BMP of 32 bits with an alpha mask, as frame grabbers write it."""
    height, width, _ = rgb.shape
    data = np.dstack([rgb[..., ::-1], np.full((height, width), alpha, np.uint8)])[::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(data), 2835, 2835, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs"
    head += bytes(124 - len(head))
    return b"BM" + struct.pack("<IHHI", 138 + len(data), 0, 0, 138) + head + data


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_an_alpha_channel_of_one_value_says_nothing(alpha: int) -> None:
    rgb = np.asarray(scene())
    rgba = Image.fromarray(np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)]))
    for data in (bmp32(rgb, alpha), encoded(rgba, "PNG"), encoded(rgba, "TIFF"), np.asarray(rgba)):
        picture = read_picture(data)
        assert np.array_equal(np.asarray(picture.image), rgb)
        assert picture.notes == (() if alpha == 255 else ("an alpha channel of one value was ignored",))
    half = np.asarray(rgba).copy()
    half[:10, :, 3], half[10:, :, 3] = 0, 255
    values = np.asarray(read_picture(half).image)
    assert (values[:10] == 255).all()
    assert np.array_equal(values[10:], rgb[10:])


def png16(values: NDArray[np.uint16]) -> bytes:
    """RGB of 16 bits, which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_depth_of_grey_and_of_colours(bits: int) -> None:
    rgb = np.asarray(scene()).astype(np.uint32)
    rgb[0, 0] = 255
    deep = (rgb * ((1 << bits) - 1) // 255).astype(np.uint16)
    grey = Image.fromarray(deep[..., 0])
    wide = Image.fromarray(deep[..., 0].astype(np.int32))
    for data in (png16(deep), encoded(grey, "PNG"), encoded(grey, "TIFF"), encoded(wide, "TIFF")):
        assert find_depth([data]) == bits
        values = np.asarray(read_picture(data, bits).image).astype(int)
        expected = rgb if data == png16(deep) else rgb[..., :1]
        assert np.abs(values - expected).max() <= 1


def test_depth_by_the_files_own_field_and_of_several() -> None:
    dark = Image.fromarray(np.asarray(scene())[..., 0].astype(np.uint16) * 2)
    field = TiffImagePlugin.ImageFileDirectory_v2()
    field[281] = 4095
    told = encoded(dark, "TIFF", tiffinfo=field)
    assert find_depth([encoded(dark, "TIFF")]) == 10
    assert find_depth([told]) == 12
    assert np.asarray(read_picture(told).image).max() == np.asarray(dark).max() >> 4
    bright = Image.fromarray(np.asarray(dark) * 7)
    assert find_depth([encoded(dark, "PNG"), encoded(scene(), "PNG"), encoded(bright, "PNG")]) == 12
    assert (
        read_picture(encoded(bright, "PNG"), 10).notes[1] == "values above the 10 bits of the references were clipped"
    )
    assert find_depth([encoded(scene(), "PNG")]) is None
    assert find_depth([b"", encoded(dark, "PNG")]) == 10  # whoever reads the first says what is wrong with it


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag that it has."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    for at in range(struct.unpack_from("<H", data, start)[0]):
        if struct.unpack_from("<H", data, start + 2 + 12 * at)[0] == tag:
            struct.pack_into("<H", changed, start + 10 + 12 * at, value)
    return bytes(changed)


def test_transparent_parts_are_told(tmp_path: Path) -> None:
    told = ("transparent parts are shown as white",)
    cut_out = scene().convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 20, 48))
    cut_out.save(tmp_path / "cut_out.png")
    picture = read_picture(tmp_path / "cut_out.png")
    assert (picture.notes, picture.image.getpixel((3, 3))) == (told, (255, 255, 255))
    for name, image in (
        ("palette.png", scene().quantize(32)),
        ("grey.png", scene().convert("L")),
        ("rgb.png", scene()),
    ):
        image.save(tmp_path / name, transparency=image.getpixel((0, 0)))
        assert read_picture(tmp_path / name).notes == told, name
    assert read_picture(encoded(scene(), "PNG")).notes == ()
    hidden = Image.new("L", (64, 48))
    hidden.putpixel((0, 0), 1)
    cut_out.putalpha(hidden)
    why = read_picture(encoded(cut_out, "PNG")).blank
    assert why == "the picture has one colour only, and transparent parts are shown as white"


def test_a_tiff_in_which_white_is_zero() -> None:
    """As radiographs have it; of 16 bits Pillow does not turn it."""
    grey = np.asarray(scene())[..., 0]
    for values in (255 - grey, (255 - grey).astype(np.uint16) * 257):
        data = with_tag(encoded(Image.fromarray(values), "TIFF"), 262, 0)
        assert np.array_equal(np.asarray(read_picture(data).image)[..., 0], grey)


def tiff(values: NDArray[np.uint8], *, planar: bool = False, extra: dict[int, int] | None = None) -> bytes:
    """RGB of 8 bits, in one strip or in one for each colour, with further tags."""
    height, width, _ = values.shape
    strips = [values[..., at].tobytes() for at in range(3)] if planar else [values.tobytes()]
    count = len(strips)
    tags: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [8] * 3,
        259: [1],
        262: [2],
        277: [3],
        278: [height],
    }
    tags |= {273: [0] * count, 279: [len(strip) for strip in strips], 284: [2 if planar else 1]}
    tags |= {tag: [value] for tag, value in (extra or {}).items()}
    at = 8 + 2 + 12 * len(tags) + 4
    long_values = b""
    places = {}
    for tag, numbers in tags.items():
        if len(numbers) > 1:
            places[tag] = at + len(long_values)
            long_values += struct.pack(f"<{len(numbers)}I", *numbers)
    start = at + len(long_values)
    starts = [start + sum(map(len, strips[:number])) for number in range(count)]
    if count > 1:
        offset = places[273] - at
        long_values = long_values[:offset] + struct.pack(f"<{count}I", *starts) + long_values[offset + 4 * count :]
    else:
        tags[273] = starts
    entries = b"".join(
        struct.pack("<HHII", tag, 4, len(numbers), places.get(tag, numbers[0])) for tag, numbers in sorted(tags.items())
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + long_values + b"".join(strips)


def test_planar_and_big_tiffs_are_read_as_they_are() -> None:
    rgb = np.asarray(scene())
    for data in (tiff(rgb), tiff(rgb, planar=True), encoded(scene(), "TIFF", big_tiff=True)):
        assert np.array_equal(np.asarray(read_picture(data).image), rgb)


@pytest.mark.parametrize("extra", [{50706: 0x00000401}, {254: 1}], ids=["DNG", "NEF"])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_picture(extra: dict[int, int], tmp_path: Path) -> None:
    path = tmp_path / "shot.tif"
    path.write_bytes(tiff(np.asarray(scene()), extra=extra))
    assert error_of(path) == "a camera's raw file, of which only a preview could be read; export it as PNG or JPEG"


def test_values_below_zero_are_refused(tmp_path: Path) -> None:
    values = np.asarray(scene())[..., 0].astype(np.int32) * 100
    few = values.copy()
    few[0, 0] = -1
    assert np.array_equal(
        np.asarray(read_picture(encoded(Image.fromarray(few), "TIFF")).image)[1:, :, 0], values[1:] >> 8
    )
    Image.fromarray(values - 9000).save(tmp_path / "signed.tif")
    assert error_of(tmp_path / "signed.tif") == (
        "values below 0 have no fixed range; save it as 8- or 16-bit without a sign"
    )


def test_all_forms_that_are_opened_are_found_by_their_names(tmp_path: Path) -> None:
    forms = {"a.jfif": "JPEG", "b.jpe": "JPEG", "c.avif": "AVIF", "d.mpo": "MPO", "e.dib": "DIB", "f.pbm": "PPM"}
    forms |= {"g.j2k": "JPEG2000", "H.JPG": "JPEG", "i.webp": "WEBP", "j.pnm": "PPM"}
    for name, encoding in forms.items():
        scene().save(tmp_path / name, encoding)
    for name in ("film.MOV", "notes.txt", "Thumbs.db", ".DS_Store", "more.txt", "README"):
        (tmp_path / name).write_bytes(b"x")
    passed_over: list[Path] = []
    assert [path.name for path in find_pictures([tmp_path], passed_over)] == [*forms]
    for name in forms:
        assert read_picture(tmp_path / name).image.size == (64, 48)
    said = describe_passed_over(passed_over)
    assert said.startswith("4 files in folders were passed over (2 x .txt, 1 x .mov, 1 x without suffix): film.MOV, ")
    assert describe_passed_over([]) == ""


@pytest.mark.posix
def test_what_cannot_be_read_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    scene().save(folder / "a.png")
    scene().save(folder / "deep/z.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "lot_b").symlink_to(tmp_path / "not mounted")
    (folder / "round.png").symlink_to(folder / "round.png")
    os.mkfifo(folder / "pipe.png")
    found = find_pictures([folder])
    assert [path.name for path in found] == ["a.png", "z.png", "gone.png", "lot_b", "pipe.png", "round.png"]
    assert error_of(folder / "gone.png") == f"a link whose target {tmp_path / 'nowhere.png'} does not exist"
    assert error_of(folder / "lot_b").startswith("a link whose target")
    assert error_of(folder / "round.png") == "a link that leads to itself"
    assert error_of(folder / "pipe.png") == "not a file"
    for name in ("x" * 300 + ".png", "/".join(["deep" * 20] * 80) + "/a.png"):
        assert find_pictures([folder / name]) == [folder / name]
        assert error_of(folder / name) == "no such file: the name is too long"


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_a_mask_is_turned_as_its_picture(turn: int, tmp_path: Path) -> None:
    stored = np.zeros((48, 64), np.uint8)
    stored[5:15, 40:60] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    marked = np.asarray(scene()) // 2
    marked[stored > 0] = 255
    for suffix in ("png", "tif"):
        Image.fromarray(marked).save(tmp_path / f"picture.{suffix}", exif=exif)
        picture = read_picture(tmp_path / f"picture.{suffix}")
        white = (np.asarray(picture.image) == 255).all(2)
        Image.fromarray(stored).save(tmp_path / "stored.png")
        Image.fromarray(stored).save(tmp_path / "tagged.png", exif=exif)
        Image.fromarray((white * 255).astype(np.uint8)).save(tmp_path / "upright.png")
        for name in ("stored.png", "tagged.png", "upright.png"):
            mask = read_mask_of(tmp_path / f"picture.{suffix}", [tmp_path / name])
            assert mask is not None, name
            assert np.array_equal(mask, white), name


def test_a_mask_of_another_shape_says_no_place(tmp_path: Path) -> None:
    scene().save(tmp_path / "picture.png")
    for size, fits in (((64, 48), True), ((32, 24), True), ((48, 64), False), ((64, 64), False)):
        Image.new("L", size, 255).save(tmp_path / "mask.png")
        assert (read_mask_of(tmp_path / "picture.png", [tmp_path / "mask.png"]) is not None) is fits
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn: the shape does not say whether the mask is turned too
    scene().save(tmp_path / "picture.png", exif=exif)
    Image.new("L", (64, 48), 255).save(tmp_path / "mask.png")
    assert read_mask_of(tmp_path / "picture.png", [tmp_path / "mask.png"]) is None


def test_a_mask_with_black_and_white_swapped_says_no_place(tmp_path: Path) -> None:
    scene().save(tmp_path / "picture.png")
    values = np.full((48, 64), 255, np.uint8)
    values[10:20, 10:20] = 0
    for marked, fits in ((values, False), (255 - values, True), (np.maximum(values, 255), True)):
        Image.fromarray(marked).save(tmp_path / "mask.png")
        assert (read_mask_of(tmp_path / "picture.png", [tmp_path / "mask.png"]) is not None) is fits


def test_two_pictures_of_one_stem_are_two_records(tmp_path: Path) -> None:
    for kind in ("good", "crack"):
        (tmp_path / "test" / kind).mkdir(parents=True)
        for number, suffix in enumerate(("jpg", "png")):
            scene().rotate(number * 180).save(tmp_path / "test" / kind / f"a.{suffix}")
    items = gather([find_samples(tmp_path)]).items
    assert len({item.stem for item in items}) == len(items) == 4
