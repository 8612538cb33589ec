"""Where the parts are that are missing or too many; `parts.py` counts them.

    find_places(count, parts, query, nearest, others, measurement)   # (Place(0.08, 0.71, 0.06, 0.06),)

The parts of a reference are moved to where the query should show them, and assigned one to one to those that it shows,
at the least total distance. What is left over is missing, or too many; half of the references must agree. Only where
the parts keep their places: where they lie about, any of them may be the one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.parts import Miscount, Parts, Place
from lad_reasoner.judges.evidence.registration import Floats, Similarity, half_extent

MOST = 3  # parts that are missing or too many: of more it is the product that is another
AT_PLACE = 0.75  # of the distance to the next part: as far the parts lie from their places at most, in the mean
SINGLE_AT_PLACE = 0.2  # a single part, whose distance is no mean: of the distance to the surplus one
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
    """Places in the query; none where the parts do not keep theirs, or the references say different ones.

    All pictures are RGB and at working size; `nearest` is the measurement's reference as it was taken, `others` are
    further references.
    """
    if abs(count.found - count.expected) > MOST:
        return ()
    here, *shown = (parts.find(picture, count.rule, count.kind) for picture in (query, nearest, *others))
    if len(here) != count.found or len(shown[0]) != count.expected:
        return ()
    extent = half_extent(query.height, query.width)  # of all pictures
    of_query, move = _centres(here, extent), _turned(measurement)
    near, astray, left_over = [], [], []
    for places in shown:
        if len(places) != count.expected:
            continue
        # References are taken alike, so what leads from the nearest one to the query nearly does from the others.
        centres = move.apply(_centres(places, extent))
        distances = cdist(centres, of_query)
        several = len(centres) > 1
        apart = _nearest_apart(centres if several else of_query)
        rows, columns = linear_sum_assignment(distances)
        # Above zero: the parts of a ring within a ring share their middle.
        allowed = max(1e-6, min(FARTHEST, (AT_PLACE if several else SINGLE_AT_PLACE) * apart))
        astray.append(float(distances[rows, columns].mean()) / allowed)
        near.append(float((distances[rows].argmin(1) == columns).mean()))
        if count.found > count.expected:
            left_over.append([here[index] for index in range(len(here)) if index not in columns])
        else:
            missing = [index for index in range(len(places)) if index not in rows]
            left_over.append([_centred(places[index], centres[index], extent) for index in missing])
    if np.mean(astray) > 1 or np.mean(near) < NEAREST:
        return ()
    return _agreed(left_over, abs(count.found - count.expected), allowed, extent)


def _agreed(left_over: Sequence[Sequence[Place]], number: int, reach: float, extent: Floats) -> tuple[Place, ...]:
    """So many places that half of the references or more name, within reach of each other; none if there are fewer."""
    owners = np.repeat(np.arange(len(left_over)), number)
    places = [place for of_reference in left_over for place in of_reference]
    centres = _centres(places, extent)
    alike = cdist(centres, centres) <= reach
    free, agreed = np.ones(len(places), bool), []
    for _ in range(number):
        # Of each place the references that name one within reach; a place that was agreed on before has none.
        votes = [len(set(owners[near & free])) if is_free else 0 for near, is_free in zip(alike, free, strict=True)]
        most = int(np.argmax(votes))
        if 2 * votes[most] < len(left_over):
            return ()
        agreed.append(places[most])
        # One of each reference: a second one that is as near is another part.
        for owner in range(len(left_over)):
            named = np.flatnonzero(alike[most] & free & (owners == owner))[:1]
            free[most if owner == owners[most] else named] = False
    return tuple(agreed)


def _turned(measurement: Measurement) -> Similarity:
    """From the nearest reference as it was taken to the query, and not from the turned view of it."""
    move, angle = measurement.similarity, math.radians(measurement.degrees)
    factor = complex(move.a, move.b) * complex(math.cos(angle), math.sin(angle))
    return Similarity(factor.real, factor.imag, move.dx, move.dy)


def _nearest_apart(centres: Floats) -> float:
    """From one of these (parts, 2) to the next one, typically."""
    apart = cdist(centres, centres)
    np.fill_diagonal(apart, np.inf)
    return float(np.median(apart.min(1)))


def _centres(places: Sequence[Place], extent: Floats) -> Floats:
    """In isotropic coordinates (places, 2)."""
    centres = [(place.left + place.width / 2, place.top + place.height / 2) for place in places]
    fractions = np.array(centres).reshape(-1, 2)
    return (2 * fractions - 1) * extent


def _centred(place: Place, centre: Floats, extent: Floats) -> Place:
    """A place of the same size about a centre (2,) in isotropic coordinates, as far as it lies in the picture."""
    middle = ((centre / extent + 1) / 2).clip(0, 1)
    half = np.array([place.width, place.height]) / 2
    left, top = (middle - half).clip(0, 1).tolist()
    right, bottom = (middle + half).clip(0, 1).tolist()
    return Place(left, top, right - left, bottom - top)
