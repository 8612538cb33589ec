"""Pictures of every kind are read, or refused with a reason."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.pictures import KEPT_SIDE, read_picture
from lad_reasoner.files.walk import find_pictures, list_files


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, 0 * x + 128], -1).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    gradient().convert(mode).save(path)
    picture = read_picture(path)
    assert (picture.image.mode, picture.width, picture.height) == ("RGB", 64, 48)
    grey = np.asarray(picture.image.convert("L"), int)
    expected = np.asarray(gradient().convert(mode).convert("RGB").convert("L"), int)
    assert np.abs(grey - expected).max() <= 2


def test_sixteen_bit_keeps_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)).save(path)
    values = np.asarray(read_picture(path).image)[..., 0]
    assert values[0, 0] == 0
    assert values[-1, -1] == (64 * 64 - 1) * 16 // 256


def test_transparent_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    picture = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    picture.putpixel((9, 9), (0, 0, 0, 255))  # an alpha channel of one value says nothing
    picture.save(path)
    assert read_picture(path).image.getpixel((5, 5)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    gradient(64, 48).save(path, exif=exif)
    picture = read_picture(path)
    assert (picture.width, picture.height) == picture.image.size == (48, 64)


def test_large_pictures_are_kept_small(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (8192, 6144), (10, 200, 30)).save(path)  # 50 megapixels
    picture = read_picture(path)
    assert (picture.width, picture.height) == (8192, 6144)
    assert max(picture.image.size) == KEPT_SIDE
    small = tmp_path / "small.png"
    gradient().save(small)
    assert read_picture(small).image.size == (64, 48)


def _truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:4000])


REFUSED = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a picture"),
    "zero bytes": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text": (lambda path: path.write_text("hello"), "not a picture that can be read"),
    "truncated": (_truncated, "the picture is damaged"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path, "PNG"), "1x1 pixels is too small"),
    "one line": (lambda path: Image.new("RGB", (500, 1)).save(path, "PNG"), "500x1 pixels is too small"),
    "bomb": (lambda path: Image.new("1", (20_000, 10_000)).save(path, "PNG"), "at most 80 megapixels"),
    "large": (lambda path: Image.new("1", (10_000, 9_000)).save(path, "PNG"), "10000x9000 pixels; at most 80"),
    "animation": (
        lambda path: gradient().save(path, "GIF", save_all=True, append_images=[gradient().rotate(90)]),
        "holds more than one frame",
    ),
    "floats": (lambda path: Image.new("F", (32, 32)).save(path, "TIFF"), "floating-point pixels"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_name_and_the_reason(make, reason: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "deep/c.bmp", ".git/d.png", "[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    inside = ["[1].png", "a.JPG", "b.png", "deep/c.bmp"]
    assert [str(path) for path in find_pictures(["."])] == inside
    assert [str(path) for path in find_pictures(["b.png", "*.JPG", "gone.png"])] == ["b.png", "a.JPG", "gone.png"]
    assert [str(path) for path in find_pictures(["[1].png"])] == ["[1].png"]
    assert [path.name for path in find_pictures([f"{tmp_path}/**/*.bmp"])] == ["c.bmp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no pictures in this folder"):
        find_pictures(["empty"])
    with pytest.raises(InputError, match=r"\*\.webp: no file matches"):
        find_pictures(["*.webp"])


def test_pillow_images_are_taken_as_they_are() -> None:
    picture = read_picture(gradient())
    assert (picture.name, picture.width, picture.height) == ("picture", 64, 48)


def test_a_folder_is_walked_in_one_order_by_all(tmp_path: Path) -> None:
    """Natural order, links followed once: the order in which `eval` meets the same pictures."""
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for name in ("10.png", "9.png", "b/1.png", "._9.png"):
        Image.new("RGB", (20, 20)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (20, 20)).save(elsewhere / "2.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder)
    names = [path.relative_to(folder).as_posix() for path in find_pictures([folder])]
    assert names == ["9.png", "10.png", "b/1.png", "linked/2.png"]
    assert names == ["/".join(parts) for parts in list_files(folder) if parts[-1].endswith(".png")]
    assert find_pictures([str(folder / "*.png")]) == [folder / "9.png", folder / "10.png"]


# Not getrusage's ru_maxrss: a started program takes that over from the process that started it.
PEAK = """
import sys
from pathlib import Path
from lad_reasoner.files.pictures import read_picture
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
read_picture(sys.argv[1])
before = peak()
picture = read_picture(sys.argv[2])
grown = peak() - before
print(picture.width, picture.height, max(picture.image.size), grown)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_a_hundred_megapixels_are_decoded_at_a_fraction_of_their_size(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "small.jpg")
    Image.linear_gradient("L").resize((12_000, 8_400)).save(tmp_path / "large.jpg")
    command = [sys.executable, "-c", PEAK, tmp_path / "small.jpg", tmp_path / "large.jpg"]
    width, height, side, kilobytes = map(int, subprocess.run(command, capture_output=True, text=True).stdout.split())
    assert (width, height, side) == (12_000, 8_400, KEPT_SIDE)
    assert 0 < kilobytes < 60_000  # in full it has 100 megabytes, and 300 in colour
