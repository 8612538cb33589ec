"""Pictures at working size and in all orientations."""

import pytest
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.views import orientations, working_size


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (384, 384, (384, 384)),
        (2000, 2000, (384, 384)),
        (512, 354, (448, 320)),
        (354, 512, (320, 448)),
        (5000, 20, (768, 192)),
    ],
)
def test_working_size(width: int, height: int, expected: tuple[int, int]) -> None:
    assert working_size(Picture("p", Image.new("RGB", (8, 8)), width, height), 32) == expected


def test_orientations_turn_clockwise() -> None:
    image = Image.new("RGB", (90, 90))
    image.paste((255, 0, 0), (40, 0, 50, 10))  # a mark at the top
    views = orientations(image)
    for i, (x, y) in ((0, (45, 5)), (2, (84, 45)), (4, (45, 84)), (6, (5, 45))):
        assert views[i].getpixel((x, y))[0] > 200, i  # type: ignore[index]
        assert views[i].size == image.size
