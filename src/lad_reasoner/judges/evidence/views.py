"""Pictures as they are compared: at working size, in several orientations, dithered for the network.

    size = working_size(references[0], backbone.multiple)        # (384, 384)
    views = orientations(fit_to(references[0], size))            # turned by 0, 45, …, 315 degrees
    features = backbone.features(dither(views[0]), size)

The working size has the aspect of the first reference; all other pictures are stretched to it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.bank import ORIENTATIONS

WORKING_AREA = 384 * 384  # pixels: the picture that the network sees, in the first reference's aspect
DITHER = 6.0  # standard deviation, of 255


def working_size(picture: Picture, multiple: int) -> tuple[int, int]:
    """(width, height) near WORKING_AREA pixels in the picture's aspect; at most 4 to 1."""
    aspect = min(4.0, max(0.25, picture.width / picture.height))
    width, height = (WORKING_AREA * aspect) ** 0.5, (WORKING_AREA / aspect) ** 0.5
    return max(1, round(width / multiple)) * multiple, max(1, round(height / multiple)) * multiple


def fit_to(picture: Picture, size: tuple[int, int]) -> Image.Image:
    """The picture stretched to (width, height); one of another aspect is stretched too, as data sets do."""
    return picture.image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def dither(image: Image.Image) -> Image.Image:
    """The picture with noise of standard deviation DITHER, the same pattern in all pictures of a size.

    The network takes the grain of a sensor or of a JPEG on a plain ground for a texture. Where all pictures have a
    grain, that of one of them is no difference.
    """
    pixels = np.asarray(image, dtype=np.int16) + _grain(image.size)  # (height, width, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@lru_cache(4)
def _grain(size: tuple[int, int]) -> NDArray[np.int16]:
    """Noise (height, width, 3) for a picture of `size` = (width, height), in whole levels."""
    return np.random.default_rng(0).normal(0, DITHER, (size[1], size[0], 3)).round().astype(np.int16)


def orientations(image: Image.Image, number: int = ORIENTATIONS) -> list[Image.Image]:
    """The picture turned clockwise by 0, 45, …, 315 degrees, mirrored at its edges where nothing is known.

    Only the first `number` of these.
    """
    if number == 1:  # each of many references: nothing is to be turned
        return [image]
    side, margin = max(image.size), max(image.size) // 2
    # Mirrored and not black: a black corner would be a part that the query lacks.
    both_sides = (margin, margin)
    padded = Image.fromarray(np.pad(np.asarray(image), (both_sides, both_sides, (0, 0)), mode="symmetric"))
    # From a pixel of a square to its place in the padded picture: a turn by 45 degrees about the centre.
    slant = math.sqrt(0.5)
    across = (slant, slant, padded.width / 2 - slant * side)
    down = (-slant, slant, padded.height / 2)
    # Upright and slanted; multiples of 90 degrees on top of it are exact, and need no filter.
    squares = (
        padded.crop(_centred(padded.size, (side, side))),
        padded.transform((side, side), Image.Transform.AFFINE, across + down, Image.Resampling.BICUBIC),
    )
    turned = [squares[step % 2].rotate(-90 * (step // 2)) for step in range(number)]
    return [each.crop(_centred(each.size, image.size)) for each in turned]


def _centred(whole: tuple[int, int], part: tuple[int, int]) -> tuple[int, int, int, int]:
    """The corners (left, upper, right, lower) of a part (width, height) in the middle of the whole."""
    left = (whole[0] - part[0]) // 2
    upper = (whole[1] - part[1]) // 2
    return left, upper, left + part[0], upper + part[1]
