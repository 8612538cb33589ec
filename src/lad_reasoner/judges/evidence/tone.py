"""Tone: is a place of the query darker, lighter or of another tint than its like in the references?

    change = change_of_tone(likeness, of_reference, of_query, grid)      # (2, rows, columns): lightness and tint
    tone = Tone(change, find_limits(changes_of_references, distinct=4))
    tone.ratio                                       # 1.4: that many times the limit

The network recognises a thing in any light and in most colours, so a solar cell that is dead, a burn, a stain or a coat
that is missing is the same to it. Here each patch of the query is compared in lightness and in tint with the patches of
the reference that are most alike, and so are its neighbours, in the mean, since edges fall into patches by chance; what
the whole picture has in common is left out. Three references or more show how large such changes are among good
pictures. Where the light is not steady, shadows and reflections change from picture to picture, and no few of them show
the next one: the limit rises steeply then. With fewer references nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from lad_reasoner.judges.evidence.bank import mean_of_largest
from lad_reasoner.judges.evidence.registration import Floats

AROUND = 3  # patches on a side of the square whose mean counts
ALIKE = 3  # patches of the reference: one of them has the lightness that is nearest, one the tint
DARKEST = 16.0  # CIELAB: where it is added, a lamp that is brighter multiplies every lightness by the same
DARKEST_TINT = 30.0  # where more is added, the noise of dark places counts less
TOP_SHARE = 0.02  # of the patches
FEWEST = 3  # references
# Of lightness (change of its logarithm) and tint (of a and b of CIELAB, in units of the lightness).
LIMITS = np.array([0.15, 0.09])
STEADY = np.array([0.075, 0.045])  # mean change among good pictures; beyond it the limit rises with the square


@dataclass(frozen=True, eq=False)
class Tone:
    """How far lightness and tint of a query's patches are from those of their like."""

    change: Floats  # (2, rows, columns), how large it is
    limits: NDArray[np.float64]  # (2,), of the mean of the largest changes; infinite with few references

    @cached_property
    def levels(self) -> Floats:
        """The larger change at each patch, (rows, columns), in units of its limit."""
        levels: Floats = (self.change / self.limits[:, None, None]).max(0).astype(np.float32)
        return levels

    @cached_property
    def ratio(self) -> float:
        """The mean of the largest changes in units of the limit, the larger one; the root of that above it.

        Changes of tone have a wider scale than distances, with which the ratio is compared.
        """
        ratio = float((_means_of_largest(self.change) / self.limits).max())
        return ratio if ratio < 1 else ratio**0.5


def change_of_tone(likeness: Floats, of_reference: Floats, of_query: Floats, grid: tuple[int, int]) -> Floats:
    """How far lightness and tint of the query's patches are from those of their like: (2, rows, columns).

    `likeness` is (reference's patches, query's patches); colours are those of CIELAB, (patches, 3) each.
    """
    alike = _most_alike(likeness.T.copy(), min(ALIKE, len(of_reference)))
    change = _tones(of_query) - _tones(of_reference)[alike]  # (alike, patches, 3)
    change -= np.median(change[0], axis=0)  # light, exposure and white balance of the whole picture
    lightness = _smooth(_nearest(change[..., :1]), grid)
    tint = _smooth(_nearest(change[..., 1:]), grid)
    return np.stack([lightness, tint])


def find_limits(changes: Sequence[Floats], distinct: int) -> NDArray[np.float64]:
    """From the changes (2, rows, columns) of references against the others, of which `distinct` are no copies."""
    if distinct < FEWEST:
        return np.full(len(LIMITS), math.inf)
    typical = np.mean([_means_of_largest(change) for change in changes], axis=0)
    limits: NDArray[np.float64] = LIMITS * np.maximum(1.0, typical / STEADY) ** 2
    return limits


def _tones(colours: Floats) -> Floats:
    """Logarithm of the lightness, and the tint in units of the lightness: (patches, 3) from CIELAB (patches, 3)."""
    lightness = colours[:, :1]
    tint = colours[:, 1:] / (lightness + np.float32(DARKEST_TINT))
    return np.concatenate([np.log(lightness + np.float32(DARKEST)), tint], -1)


def _nearest(change: Floats) -> Floats:
    """The smallest of the changes (alike, patches, values) of each patch: (patches, values)."""
    nearest = (change**2).sum(-1).argmin(0)
    least: Floats = np.take_along_axis(change, nearest[None, :, None], 0)[0]
    return least


def _smooth(change: Floats, grid: tuple[int, int]) -> Floats:
    """How large the mean change about each patch is: (rows, columns) from (patches, values)."""
    mean = uniform_filter(change.reshape(*grid, -1), (AROUND, AROUND, 1), mode="nearest")
    size: Floats = np.linalg.norm(mean, axis=-1)
    return size


def _most_alike(likeness: Floats, number: int) -> NDArray[np.intp]:
    """The columns of the largest values in each row (rows, columns) -> (number, rows), the largest first.

    `likeness` is overwritten. Looking for so few is faster than any sorting.
    """
    rows, alike = np.arange(len(likeness)), np.empty((number, len(likeness)), np.intp)
    for rank in range(number):
        alike[rank] = likeness.argmax(1)
        likeness[rows, alike[rank]] = -np.inf
    return alike


def _means_of_largest(change: Floats) -> NDArray[np.float64]:
    """Of lightness and tint, (2,) from (2, rows, columns)."""
    return np.array([mean_of_largest(each.ravel(), max(1, round(TOP_SHARE * each.size))) for each in change])
