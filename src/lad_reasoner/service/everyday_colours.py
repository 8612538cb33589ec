"""A picture by its everyday colours: how much of one, in how many areas, where.

    cells = ColourCells.of(image)
    cells.amount("red"), cells.areas("red")          # 0.031, shares of the picture of its separate areas
    cells.moved(move, shape)                         # as the first reference lies

The names are coarser than the words of `evidence`, and apart from them: what a station counts as red must not change
with those.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.judges.evidence.registration import Similarity, half_extent, isotropic_grid
from lad_reasoner.service.rule_sheet import COLOURS

SIDE = 192  # pixels of the long side on which colours are looked at
STEPS = 32  # levels of a channel: the names of colours are looked up
# Name -> hue in degrees at which the next one begins; after pink comes red again.
HUES = {"red": 16, "orange": 42, "yellow": 68, "green": 165, "turquoise": 195, "blue": 255, "purple": 300, "pink": 340}


@dataclass(frozen=True, eq=False)
class ColourCells:
    """One picture by its colours: which colour each cell has, an index of `COLOURS`, (rows, columns)."""

    colours: NDArray[np.uint8]

    @classmethod
    def of(cls, image: Image.Image) -> ColourCells:
        factor = SIDE / max(image.size)
        size = max(8, round(image.width * factor)), max(8, round(image.height * factor))
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        return cls(_palette()[tuple((pixels // (256 // STEPS)).transpose(2, 0, 1))])

    def amount(self, colour: str) -> float:
        return float((self.colours == COLOURS.index(colour)).mean())

    def areas(self, colour: str) -> NDArray[np.float64]:
        """Shares of the picture of the separate areas of a colour, largest first."""
        labels, count = ndimage.label(self.colours == COLOURS.index(colour), structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] / labels.size
        return np.sort(areas)[::-1]

    def moved(self, move: Similarity, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The colours where the first reference, of this shape, has its cells; (rows, columns)."""
        points = move.apply(isotropic_grid(*shape))
        fractions = (points / half_extent(*shape) + 1) / 2  # the two grids may differ by a cell in their aspects
        height, width = self.colours.shape
        rows = (fractions[..., 1] * height).astype(int).clip(0, height - 1)
        columns = (fractions[..., 0] * width).astype(int).clip(0, width - 1)
        found: NDArray[np.uint8] = self.colours[rows, columns]
        return found


@lru_cache(1)
def _palette() -> NDArray[np.uint8]:
    """The colour of each cell of RGB, (STEPS, STEPS, STEPS)."""
    step = 256 // STEPS
    table = np.empty((STEPS, STEPS, STEPS), np.uint8)
    for red, green, blue in np.ndindex(table.shape):
        middle = ((level * step + step // 2) / 255 for level in (red, green, blue))
        table[red, green, blue] = COLOURS.index(_name_colour(*middle))
    return table


def _name_colour(red: float, green: float, blue: float) -> str:
    """The colour of `COLOURS`, from channels in [0, 1]."""
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.16:
        return "black"
    if saturation < 0.14 or saturation * value < 0.09:
        return "white" if value > 0.9 else "grey"
    name = next((name for name, end in HUES.items() if hue * 360 < end), "red")
    if (name == "orange" and value < 0.72) or (name == "red" and value < 0.5 and saturation < 0.75):
        return "brown"
    return name
