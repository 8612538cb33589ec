"""Where the parts are that are missing or too many; `parts.py` counts them.

    find_places(count, parts, query, nearest, others, measurement)   # (Place(0.08, 0.71, 0.06, 0.06),)

The parts of the nearest reference are moved to where the query should show them, and assigned one to one to those that
it shows, at the least total distance. What is left over is missing, or too many. Only where the parts keep their
places, in this reference, in the others and in the query: where they lie about, any of them may be the one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lad_reasoner.judges.evidence.matching import Measurement
from lad_reasoner.judges.evidence.parts import Miscount, Parts, Place
from lad_reasoner.judges.evidence.registration import Floats, Similarity, half_extent

MOST = 3  # parts that are missing or too many: of more it is the product that is another
AT_PLACE = 0.75  # of the distance to the next part: as far the parts lie from their places at most, in the mean
FARTHEST = 0.2  # of half the long side: the same, where the next part is far
NEAREST = 0.85  # of the parts have no nearer counterpart than the one that they are assigned to


def find_places(
    count: Miscount,
    parts: Parts,
    query: Image.Image,
    nearest: Image.Image,
    others: Sequence[Image.Image],
    measurement: Measurement,
) -> tuple[Place, ...]:
    """Places in the query; none where the parts do not keep theirs, or the nearest reference shows another number.

    All pictures are RGB and at working size; `nearest` is the measurement's reference as it was taken, `others` are
    further references.
    """
    if abs(count.found - count.expected) > MOST or count.expected < 2:
        return ()
    here, expected = (parts.find(picture, count.rule, count.kind) for picture in (query, nearest))
    if len(here) != count.found or len(expected) != count.expected:
        return ()
    extent = half_extent(query.height, query.width)  # of all pictures
    of_query, of_nearest = _centres(here, extent), _centres(expected, extent)
    moved = _turned(measurement).apply(of_nearest)
    distances = cdist(moved, of_query)  # (parts of the reference, parts of the query)
    rows, columns = linear_sum_assignment(distances)
    astray = [_astray(moved, of_query)]
    for other in others:
        shown = parts.find(other, count.rule, count.kind)
        if len(shown) == count.expected:
            astray.append(_astray(of_nearest, _centres(shown, extent)))
    if np.mean(astray) > 1 or (distances[rows].argmin(1) == columns).mean() < NEAREST:
        return ()
    if count.found > count.expected:
        return tuple(here[index] for index in range(len(here)) if index not in columns)
    missing = [index for index in range(len(expected)) if index not in rows]
    return tuple(_centred(expected[index], moved[index], extent) for index in missing)


def _astray(centres: Floats, others: Floats) -> float:
    """The mean distance of parts (parts, 2) to those that they are assigned to, in units of what is allowed."""
    distances, apart = cdist(centres, others), cdist(centres, centres)
    np.fill_diagonal(apart, np.inf)
    allowed = min(FARTHEST, AT_PLACE * float(np.median(apart.min(1))))
    return float(distances[linear_sum_assignment(distances)].mean()) / allowed


def _turned(measurement: Measurement) -> Similarity:
    """From the nearest reference as it was taken to the query, and not from the turned view of it."""
    move, angle = measurement.similarity, math.radians(measurement.degrees)
    factor = complex(move.a, move.b) * complex(math.cos(angle), math.sin(angle))
    return Similarity(factor.real, factor.imag, move.dx, move.dy)


def _centres(places: Sequence[Place], extent: Floats) -> Floats:
    """In isotropic coordinates (places, 2)."""
    centres = [(place.left + place.width / 2, place.top + place.height / 2) for place in places]
    return (2 * np.array(centres).reshape(-1, 2) - 1) * extent


def _centred(place: Place, centre: Floats, extent: Floats) -> Place:
    """A place of the same size about a centre (2,) in isotropic coordinates."""
    x, y = ((centre / extent + 1) / 2).tolist()
    return Place(x - place.width / 2, y - place.height / 2, place.width, place.height)
