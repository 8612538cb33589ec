import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.judges.evidence.colours import colour_vectors, lab_colours


@pytest.mark.parametrize(
    ("rgb", "lab"),  # published values for sRGB and D65
    [
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (100, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_known_colours(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    colours = lab_colours(np.full((2, 3, 3), rgb, np.uint8))
    assert colours.shape == (2, 3, 3)
    assert colours.dtype == np.float32
    np.testing.assert_allclose(colours[1, 2], lab, atol=0.1)


def test_colours_are_as_far_apart_as_they_look() -> None:
    def vector(*rgb: int) -> NDArray[np.float32]:
        return colour_vectors(Image.new("RGB", (8, 8), rgb), (1, 1))[0, 0]  # type: ignore[arg-type]

    red, blue, black, white = vector(200, 30, 30), vector(30, 30, 200), vector(0, 0, 0), vector(255, 255, 255)
    assert red @ blue < 0.3
    assert 0.5 < black @ white < 0.8
    assert vector(120, 120, 120) @ vector(130, 128, 122) > 0.99  # as light and white balance change
