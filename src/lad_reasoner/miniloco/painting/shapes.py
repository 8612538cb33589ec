"""Shapes as signed distances: negative inside, zero on the edge, positive outside.

A shape answers two arrays x and y (any that broadcast, in the scene's unit) with the distances. Edges drawn
from distances are smooth at any resolution, and the same numbers give bevels and shadows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """A signed distance, and the half width and half height of a box about (0, 0) that holds the shape."""

    distance: Callable[[Array, Array], Array]
    reach_x: float
    reach_y: float

    def __call__(self, x: Array, y: Array) -> Array:
        return self.distance(x, y)


def disc(radius: float) -> Shape:
    """A full circle."""
    return Shape(lambda x, y: np.hypot(x, y) - radius, radius, radius)


def ring(outer: float, inner: float) -> Shape:
    """A circle with a round hole."""
    middle, half = (outer + inner) / 2, (outer - inner) / 2
    return Shape(lambda x, y: np.abs(np.hypot(x, y) - middle) - half, outer, outer)


def ellipse(a: float, b: float) -> Shape:
    """An ellipse with half axes a (along x) and b; exact on the edge, close to it elsewhere."""

    def distance(x: Array, y: Array) -> Array:
        k = np.hypot(x / a, y / b)
        slope = np.hypot(x / (a * a), y / (b * b))
        result: Array = np.maximum(k * (k - 1) / np.maximum(slope, 1e-6), -min(a, b))
        return result

    return Shape(distance, a, b)


def box(width: float, height: float, radius: float = 0.0) -> Shape:
    """A rectangle of full width and height with rounded corners."""
    half_w, half_h = width / 2 - radius, height / 2 - radius

    def distance(x: Array, y: Array) -> Array:
        qx, qy = np.abs(x) - half_w, np.abs(y) - half_h
        result: Array = np.maximum(qx, qy)
        # Beyond a corner both count. Nowhere else, since `hypot` takes twenty times as long as other functions.
        np.hypot(qx, qy, out=result, where=(qx > 0) & (qy > 0))
        result -= radius
        return result

    return Shape(distance, width / 2, height / 2)


def hexagon(across: float) -> Shape:
    """A regular hexagon, `across` from flat to flat, two flats parallel to x."""
    c, s = float(np.cos(np.pi / 6)), float(np.sin(np.pi / 6))

    def distance(x: Array, y: Array) -> Array:
        ax, ay = np.abs(x), np.abs(y)
        result: Array = np.maximum(ay, c * ax + s * ay) - across / 2
        return result

    return Shape(distance, across / 2 / c, across / 2)


def capsule(length: float, radius: float) -> Shape:
    """A stadium along x, `length` from end to end."""
    half = max(length / 2 - radius, 0.0)
    return Shape(lambda x, y: np.hypot(np.maximum(np.abs(x) - half, 0), y) - radius, half + radius, radius)


def polyline(points: Points, radius: float) -> Shape:
    """A line of round cross-section through the points."""

    def distance(x: Array, y: Array) -> Array:
        best: Array | None = None
        for (ax, ay), (bx, by) in pairwise(points):
            dx, dy = bx - ax, by - ay
            px, py = x - ax, y - ay
            t = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
            d = (px - t * dx) ** 2 + (py - t * dy) ** 2
            best = d if best is None else np.minimum(best, d)
        if best is None:
            raise ValueError("a polyline needs two points")
        result: Array = np.sqrt(best) - radius
        return result

    wide, tall = max(abs(x) for x, _ in points), max(abs(y) for _, y in points)
    return Shape(distance, wide + radius, tall + radius)


def polygon(points: Points) -> Shape:
    """A simple polygon, convex or not."""
    edge = polyline([*points, points[0]], 0.0)

    def distance(x: Array, y: Array) -> Array:
        away = edge(x, y)
        inside = np.zeros(away.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            if ay != by:
                crosses = (y < ay) != (y < by)
                inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        result: Array = np.where(inside, -away, away)
        return result

    return Shape(distance, edge.reach_x, edge.reach_y)


def moved(shape: Shape, dx: float, dy: float, angle: float = 0.0) -> Shape:
    """The shape turned by an angle (degrees, clockwise) and then moved."""
    c, s = float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))
    return Shape(
        lambda x, y: shape(c * (x - dx) + s * (y - dy), c * (y - dy) - s * (x - dx)),
        abs(dx) + abs(c) * shape.reach_x + abs(s) * shape.reach_y,
        abs(dy) + abs(s) * shape.reach_x + abs(c) * shape.reach_y,
    )


def union(*shapes: Shape) -> Shape:
    """All that lies in any of the shapes."""

    def distance(x: Array, y: Array) -> Array:
        result = shapes[0](x, y)
        for shape in shapes[1:]:
            result = np.minimum(result, shape(x, y))
        return result

    return Shape(distance, max(s.reach_x for s in shapes), max(s.reach_y for s in shapes))


def minus(shape: Shape, *holes: Shape) -> Shape:
    """The shape less the holes."""

    def distance(x: Array, y: Array) -> Array:
        result = shape(x, y)
        for hole in holes:
            result = np.maximum(result, -hole(x, y))
        return result

    return Shape(distance, shape.reach_x, shape.reach_y)


def outline(shape: Shape, width: float) -> Shape:
    """A line of this width along the shape's edge."""
    half = width / 2
    return Shape(lambda x, y: np.abs(shape(x, y)) - half, shape.reach_x + half, shape.reach_y + half)


def spline(points: Points, steps: int = 6) -> list[tuple[float, float]]:
    """A smooth line through the points (Catmull-Rom), `steps` pieces between neighbours."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in np.vstack([*pieces, p[-2:-1]])]


def offset(x: float, y: float, angle: float, dx: float, dy: float) -> tuple[float, float]:
    """Where (dx, dy) of a part at (x, y), turned by `angle` degrees clockwise, lies in the scene."""
    c, s = float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))
    return x + c * dx - s * dy, y + s * dx + c * dy
