"""What reading changes in pictures is known, and counted, before the first is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.files import changes
from lad_reasoner.files.changes import count_changes, describe_changes
from lad_reasoner.files.pictures import read_picture

ALPHA, WHITE = "an alpha channel of one value was ignored", "transparent parts are shown as white"
SHRUNK, PRINTED = "more than 1536 pixels wide or high: scaled down", "CMYK colours were converted to RGB"
CLIPPED = "values above the 10 bits of the references were clipped"


def scene(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x ^ y) % 256], -1).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scene().save(tmp_path / "plain.png")
    empty, cut_out = scene().convert("RGBA"), scene().convert("RGBA")
    empty.putalpha(0)
    empty.save(tmp_path / "empty_alpha.png")
    empty.save(tmp_path / "empty_alpha.tif")
    cut_out.paste((0, 0, 0, 0), (0, 0, 20, 48))
    cut_out.save(tmp_path / "cut_out.png")
    scene().quantize(32).save(tmp_path / "palette.png", transparency=3)
    scene(2000, 1200).save(tmp_path / "large.jpg")
    scene().convert("CMYK").save(tmp_path / "printed.tif")
    deep = np.asarray(scene().convert("L")).astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    scene().save(tmp_path / "phone.mpo", "MPO", save_all=True, append_images=[scene().rotate(180)])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    return tmp_path


def test_each_sort_of_change_is_counted_as_reading_says_it(folder: Path) -> None:
    queries = [(path, 10) for path in sorted(folder.iterdir())]
    found = count_changes(queries)
    assert (found[ALPHA], found[WHITE], found[SHRUNK], found[PRINTED], found[CLIPPED]) == (2, 2, 1, 1, 1)
    assert found["a file of several pictures (MPO): the first one was read"] == 1
    said = [note for path, depth in queries if path.name != "broken.png" for note in read_picture(path, depth).notes]
    assert sorted(said) == sorted(found.elements())
    assert describe_changes({ALPHA: 2}, 10) == [f"in 2 of 10 queries: {ALPHA}"]


def test_files_that_say_it_in_their_head_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def read(source: Path, depth: int) -> object:
        decoded.append(source.name)
        return read_picture(source, depth)

    monkeypatch.setattr(changes, "read_picture", read)
    count_changes([(path, 16) for path in sorted(folder.iterdir())])
    assert sorted(decoded) == ["cut_out.png", "deep.tif", "empty_alpha.png", "empty_alpha.tif", "palette.png"]
