"""Files of strangers are opened within limits, few at a time; what cannot be opened is named, with a remedy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files import opening
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.files.walk import find_pictures


def test_a_jpeg_that_cannot_be_decoded_in_part_has_the_limit_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_PIXELS", 1_000_000)
    picture = Image.linear_gradient("L").resize((1200, 1200))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    assert read_picture(tmp_path / "plain.jpg").width == 1200
    with pytest.raises(ImageError, match=r"progressive.jpg: 1200x1200 pixels; at most"):
        read_picture(tmp_path / "progressive.jpg")
    # What the caller has opened stays as it is, so that it is not decoded at another size.
    with Image.open(tmp_path / "plain.jpg") as image, pytest.raises(ImageError, match="1200x1200 pixels"):
        read_picture(image)


FORK = """
import os, sys
from lad_reasoner.files import opening
from lad_reasoner.files.pictures import read_picture
opening._slots.large.acquire()
for _ in range(opening.DECODERS):
    opening._slots.any.acquire()
child = os.fork()
if child == 0:
    print(read_picture(sys.argv[1]).width, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.posix
def test_a_forked_process_does_not_wait_for_decoders_that_it_does_not_have(tmp_path: Path) -> None:
    Image.new("RGB", (32, 20), "red").save(tmp_path / "a.png")
    done = subprocess.run([sys.executable, "-c", FORK, tmp_path / "a.png"], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["32"]


def test_an_upload_of_zero_bytes_is_called_empty() -> None:
    with pytest.raises(ImageError, match="picture: the file is empty, no picture; copy it again"):
        read_picture(b"")


def test_a_name_in_another_case_or_mistyped_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Gute Teile").mkdir()
    for name in ("Gute Teile/001.png", "Gute Teile/002.png", "Gute Teile/nut.jpg"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for name, near in {
        "gute teile": "; did you mean 'Gute Teile'?",
        "Gute Tiele": "; did you mean 'Gute Teile'?",
        "gute teile/NUT.png": "; did you mean 'Gute Teile/nut.jpg'?",
        "Gute Teile/001.jpg": "; did you mean 'Gute Teile/001.png'?",
        "Gute Teile/003.png": "",  # neither 001 nor 002 was meant
        "Nirgends/001.png": "",
    }.items():
        with pytest.raises(ImageError, match=f"^{re.escape(f'{name}: no such file{near}')}$"):
            read_picture(name)
    with pytest.raises(ImageError, match=rf"no such file; did you mean '{re.escape(str(tmp_path))}/Gute Teile'\?$"):
        read_picture(tmp_path / "gute teile")
    with pytest.raises(
        InputError, match=r"^gute teile/\*\.png: no file matches this pattern; did you mean 'Gute Teile'\?$"
    ):
        find_pictures(["gute teile/*.png"])


def test_a_name_with_blanks_that_lost_its_quotes_is_found(tmp_path: Path) -> None:
    (tmp_path / "Good parts").mkdir()
    with pytest.raises(ImageError, match=r"Good: no such file; put 'Good parts' in quotes$"):
        read_picture(tmp_path / "Good")
    with pytest.raises(ImageError, match=r"Goo: no such file$"):
        read_picture(tmp_path / "Goo")
