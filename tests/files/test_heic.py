"""Pictures of phones: read like those of every other format, or refused in one line."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError
from lad_reasoner.files.changes import count_changes
from lad_reasoner.files.pictures import find_depth, read_picture, read_turn
from lad_reasoner.files.walk import find_pictures

HEAD = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def scene(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """Flat enough for a codec with loss: a ground, and a disc away from its middle."""
    y, x = np.mgrid[:height, :width]
    values = np.full((height, width, 3), (40, 90, 160), np.uint8)
    values[(x - 30) ** 2 + (y - 20) ** 2 < 150] = (220, 200, 30)
    return values


def heic(values: NDArray[np.uint8] | None = None, **options: object) -> bytes:
    """The content of a file; without the package there is nothing to write one with."""
    library = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    values = scene() if values is None else values
    mode = {2: "L", 3: "RGB"}[values.ndim] if values.dtype == np.uint8 else {2: "I;16", 3: "RGB;16"}[values.ndim]
    buffer = io.BytesIO()
    picture = library.from_bytes(mode, values.shape[1::-1], values.tobytes())
    picture.save(buffer, **{"quality": -1, "chroma": 444} | options)
    return buffer.getvalue()


def difference(data: bytes, values: NDArray[np.uint8]) -> int:
    return int(np.abs(np.asarray(read_picture(data).image).astype(int) - values).max())


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "b.heif", "c.hif", "renamed.jpg"])
def test_a_picture_of_a_phone_is_found_and_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(heic())
    assert find_pictures([tmp_path]) == [tmp_path / name]
    picture = read_picture(tmp_path / name)
    assert (picture.width, picture.height, picture.notes) == (96, 64, ())
    with (tmp_path / name).open("rb") as file:
        assert difference(file.read(), scene()) <= 6


@pytest.mark.parametrize("turn", range(1, 9))
def test_it_is_turned_once(turn: int) -> None:
    """The file has a rotation of its own beside the EXIF tag, which would turn it again."""
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(scene())
    stored.info["exif"] = exif.tobytes()
    data = heic(exif=exif.tobytes())
    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert difference(data, upright) <= 6
    assert read_turn(data) == (1, upright.shape[1], upright.shape[0])


def test_more_than_eight_bits() -> None:
    deep = scene().astype(np.uint16) * 257
    assert difference(heic(deep), scene()) <= 6
    assert read_picture(heic(deep)).notes == ("values of 10 bits were scaled to 8 bits",)
    assert count_changes([(heic(deep), 16)]) == {"values of 10 bits were scaled to 8 bits": 1}
    assert find_depth([heic(deep)]) is None  # the file says its depth: it fits references of 8 bits as well
    grey = heic(deep[..., 0])
    assert find_depth([grey]) == 16
    assert difference(grey, scene()[..., :1]) <= 6
    assert difference(heic(scene()[..., 0]), scene()[..., :1]) <= 6


def test_of_several_pictures_the_main_one() -> None:
    library = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    several, buffer = library.HeifFile(), io.BytesIO()
    for size in ((80, 40), (40, 80)):
        several.add_from_pillow(Image.new("RGB", size, "red"))
    several.save(buffer, primary_index=1)
    picture = read_picture(buffer.getvalue())
    assert picture.image.size == (40, 80)
    assert picture.notes == ("a file of several pictures (HEIC): the main one was read",)


def test_a_mask_and_a_set_may_be_heic(tmp_path: Path) -> None:
    for name in ("good/1.heic", "bad/2.HEIC"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(heic())
    assert {sample.kind for sample in find_samples(tmp_path).samples} == {"good", None}


def test_every_cut_is_an_image_error() -> None:
    data = heic(quality=60)
    for length in range(1, len(data) - 1, 13):
        with pytest.raises(ImageError) as caught:
            read_picture(data[:length])
        assert "\n" not in str(caught.value)


def test_every_damage_is_read_or_an_image_error() -> None:
    data = heic(quality=60)
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 4):
            damaged[place] = random.integers(0, 256)
        try:
            assert read_picture(bytes(damaged)).image.mode == "RGB"
        except ImageError as error:
            assert "\n" not in str(error)


def test_a_picture_that_is_larger_than_it_says_is_not_decoded() -> None:
    data = heic(np.zeros((1200, 1600, 3), np.uint8), quality=30)
    place = data.index(b"ispe") + 8
    assert data[place : place + 8] == struct.pack(">II", 1600, 1200)
    with pytest.raises(ImageError, match=r"damaged .*exceeds the maximum image size"):
        read_picture(data[:place] + struct.pack(">II", 64, 64) + data[place + 8 :])


def test_the_limit_of_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lad_reasoner.files.opening.MAX_PIXELS", 3_000_000)
    with pytest.raises(ImageError, match="2000x1600 pixels; at most 3 megapixels are read"):
        read_picture(heic(np.zeros((1600, 2000, 3), np.uint8), quality=30))


def test_without_the_package_the_line_of_pip_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEAD + bytes(2000))
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    start = f"{path}: a HEIC picture, as phones save it; export it as JPEG or PNG, or run: pip install "
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith('[heic]"')


def test_the_package_is_imported_for_its_files_only(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.avif")
    code = "import sys; from lad_reasoner.files.pictures import read_picture; read_picture(sys.argv[1]); "
    code += "sys.exit('pillow_heif' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a.avif"], check=False).returncode == 0
