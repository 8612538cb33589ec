"""Lightness: is a place of the query darker or lighter than its like in the references?

    change = change_of_lightness(likeness, of_reference, of_query, grid)      # (rows, columns)
    lightness = Lightness(change, find_limit(changes_of_references, distinct=4))
    lightness.ratio                                  # 1.4: that many times the limit

The network recognises a thing in any light, so a solar cell that is dead, a burn or a coat that is missing is the same
to it. Here each patch of the query is compared in lightness with the patches of the reference that are most alike, and
so are its neighbours, in the mean, since edges fall into patches by chance; what the whole picture has in common is
left out. Three references or more show how large such changes are among good pictures. Where the light is not steady,
shadows and reflections change from picture to picture, and no few of them show the next one: the limit rises steeply
then. With fewer references nothing is said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from lad_reasoner.judges.evidence.bank import mean_of_largest
from lad_reasoner.judges.evidence.registration import Floats

AROUND = 3  # patches on a side of the square whose mean counts
ALIKE = 3  # patches of the reference: one of them has the lightness that is nearest
DARKEST = 16.0  # CIELAB: where it is added, a lamp that is brighter multiplies every lightness by the same
TOP_SHARE = 0.02  # of the patches
FEWEST = 3  # references
LIMIT = 0.15  # change (logarithm of a ratio)
STEADY = 0.075  # mean change among good pictures; beyond it the limit rises with the square


@dataclass(frozen=True, eq=False)
class Lightness:
    """How far the lightness of a query's patches is from that of their like."""

    change: Floats  # (rows, columns), logarithm of a ratio: above zero where the query is lighter
    limit: float  # of the mean of the largest changes; infinite with few references

    @cached_property
    def ratio(self) -> float:
        """The mean of the largest changes in units of the limit; the root of that above it.

        Changes of light have a wider scale than distances, with which the ratio is compared.
        """
        ratio = _mean_of_largest(self.change) / self.limit
        return ratio if ratio < 1 else ratio**0.5


def change_of_lightness(likeness: Floats, of_reference: Floats, of_query: Floats, grid: tuple[int, int]) -> Floats:
    """By how much the patches of the query are lighter than their like, as the logarithm of a ratio: (rows, columns).

    `likeness` is (reference's patches, query's patches); lightness is that of CIELAB, (patches,) each.
    """
    alike = _most_alike(likeness.T.copy(), min(ALIKE, len(of_reference)))
    change = np.log(of_query + np.float32(DARKEST)) - np.log(of_reference + np.float32(DARKEST))[alike]
    change -= np.median(change[0])  # light and exposure of the whole picture
    nearest = np.abs(change).argmin(0)
    least = np.take_along_axis(change, nearest[None], 0).reshape(grid)
    mean: Floats = uniform_filter(least, AROUND, mode="nearest")
    return mean


def find_limit(changes: Sequence[Floats], distinct: int) -> float:
    """From the changes (rows, columns) of references against the others, of which `distinct` are no copies."""
    if distinct < FEWEST:
        return math.inf
    typical = statistics.fmean(map(_mean_of_largest, changes))
    return LIMIT * max(1.0, typical / STEADY) ** 2


def _most_alike(likeness: Floats, number: int) -> NDArray[np.intp]:
    """The columns of the largest values in each row (rows, columns) -> (number, rows), the largest first.

    `likeness` is overwritten. Looking for so few is faster than any sorting.
    """
    rows, alike = np.arange(len(likeness)), np.empty((number, len(likeness)), np.intp)
    for rank in range(number):
        alike[rank] = likeness.argmax(1)
        likeness[rows, alike[rank]] = -np.inf
    return alike


def _mean_of_largest(change: Floats) -> float:
    return float(mean_of_largest(np.abs(change).ravel(), max(1, round(TOP_SHARE * change.size))))
