"""Bring a query into register with a reference: the similarity (shift, rotation, scale) that lays one on the other.

    start = align(places, counterparts)    # from patches that look alike, (patches, 2) each
    move = register(reference, query, start)
    move.degrees, move.scale, move.dx      # 2.0, 0.99, -0.04: turned clockwise, a little smaller, moved to the left
    move.apply(isotropic_grid(24, 16))     # where the query shows the centres of a grid on the reference

Levenberg-Marquardt on small thumbnails of equal brightness and contrast, robust against parts that really differ
(Cauchy weights), from several starting points at once; some 7 ms on one core. Without a start, rotations of up to some
15 degrees are found.

Coordinates are isotropic: the picture's centre is (0, 0), its long side runs from -1 to 1, x to the right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

COARSE_SIDE, FINE_SIDE = 48, 96  # pixels of the thumbnails' long side
STEPS = 8  # iterations at each of the two sides, at most
STILL = 1e-3  # of half the long side: a smaller step is the last
START_SHIFT = 0.15  # the other starting points lie this far from the first, in units of half the long side
TRIES = 200  # pairs of pairs that each propose a similarity
TURNS = 12  # starting points of a search for any turn
TURNED = 45.0  # degrees: a larger turn must fit clearly better than a smaller one, since a round part fits in any
CLEARLY = 0.6  # times the cost: half a turn costs 0.1 to 0.6 for a transistor or an alien, 0.65 to 0.94 for a bottle
FEWEST_PAIRS = 8
FAR_APART = 0.3  # of half the long side: the places of two pairs, so that they give an angle
RESIZED = 0.42  # doublings: a similarity that resizes more is none of two shots of a product
AGREEMENT = 0.06  # of half the long side: a pair is this near to where the similarity lays it, which is one patch
MIN_OVERLAP = 0.6  # share of the picture that a transform must keep in view
CAUCHY = 2.0  # how fast a pixel's weight falls with its squared difference

Floats = NDArray[np.floating[Any]]  # float32, unless it is said


@dataclass(frozen=True)
class Similarity:
    """Reference coordinates -> query coordinates: x' = a·x - b·y + dx, y' = b·x + a·y + dy."""

    a: float = 1.0
    b: float = 0.0
    dx: float = 0.0
    dy: float = 0.0

    @property
    def degrees(self) -> float:
        """Rotation of the query against the reference, clockwise as seen on the picture."""
        return math.degrees(math.atan2(self.b, self.a))

    @property
    def scale(self) -> float:
        """Size of the query's content relative to the reference's."""
        return math.hypot(self.a, self.b)

    @property
    def inverse(self) -> Similarity:
        """Query coordinates -> reference coordinates."""
        square = self.a**2 + self.b**2
        a, b = self.a / square, -self.b / square
        dx = -(a * self.dx - b * self.dy)
        dy = -(b * self.dx + a * self.dy)
        return Similarity(a, b, dx, dy)

    def apply(self, points: Floats) -> Floats:
        """Points (…, 2) of the reference -> the same points of the query."""
        x, y = points[..., 0], points[..., 1]
        moved_x = self.a * x - self.b * y + self.dx
        moved_y = self.b * x + self.a * y + self.dy
        return np.stack([moved_x, moved_y], -1)


@lru_cache(32)
def isotropic_grid(rows: int, columns: int) -> Floats:
    """Centres of a grid's cells in isotropic coordinates, float32 (rows, columns, 2), which cannot be written to."""
    long = max(rows, columns)
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / rows * 2 - 1) * rows / long
    x = ((np.arange(columns, dtype=np.float32) + 0.5) / columns * 2 - 1) * columns / long
    grid = np.stack(np.meshgrid(x, y, indexing="xy"), -1)
    grid.flags.writeable = False
    return grid


def half_extent(rows: int, columns: int) -> Floats:
    """Isotropic coordinates (x, y) of the lower right corner of a picture of this aspect, float32 (2,)."""
    return np.array([columns, rows], np.float32) / max(rows, columns)


def in_view(points: Floats, rows: int, columns: int) -> NDArray[np.bool_]:
    """Which isotropic points (…, 2) lie on a picture of this aspect, bool (…)."""
    inside: NDArray[np.bool_] = np.abs(points) <= half_extent(rows, columns)  # (…, 2)
    return inside[..., 0] & inside[..., 1]


def sample(values: Floats, points: Floats) -> Floats:
    """Values (channels, rows, columns) at isotropic points (…, 2) -> (channels, …), by bilinear interpolation.

    Points outside take the value at the nearest edge.
    """
    channels, rows, columns = values.shape
    x, y = points[..., 0].ravel(), points[..., 1].ravel()
    sampled = _sample(values.reshape(channels, -1), x, y, rows, columns)
    return sampled.reshape(channels, *points.shape[:-1])


def _sample(values: Floats, x: Floats, y: Floats, rows: int, columns: int) -> Floats:
    """Values (channels, rows * columns) at isotropic places x and y (points,) each -> (channels, points)."""
    unit = np.float32(max(rows, columns) / 2)  # cells
    # From the centre of the first cell, in cells.
    x = (x * unit + np.float32((columns - 1) / 2)).clip(0, columns - 1)
    y = (y * unit + np.float32((rows - 1) / 2)).clip(0, rows - 1)
    # The last cells have none beyond them: points there lie a whole cell from the one before.
    left = np.minimum(x.astype(np.int32), max(0, columns - 2))
    top = np.minimum(y.astype(np.int32), max(0, rows - 2))
    x -= left.astype(np.float32)
    y -= top.astype(np.float32)
    # Of each point the four cells around it and what they count: the rows of a sparse matrix (points, cells).
    right, below = np.int32(columns > 1), np.int32(columns * (rows > 1))  # steps to the next cell
    cells = np.empty((len(x), 4), np.int32)
    weights = np.empty((len(x), 4), np.float32)
    first, both = top * np.int32(columns) + left, x * y
    cells[:, 0] = first
    np.add(first, right, out=cells[:, 1])
    np.add(first, below, out=cells[:, 2])
    np.add(first, right + below, out=cells[:, 3])
    np.subtract(x, both, out=weights[:, 1])
    np.subtract(1 - x, y - both, out=weights[:, 0])
    np.subtract(y, both, out=weights[:, 2])
    weights[:, 3] = both
    starts = np.arange(0, 4 * len(x) + 1, 4, dtype=np.int32)
    matrix = csr_array((weights.ravel(), cells.ravel(), starts), shape=(len(x), rows * columns))
    sampled = matrix @ np.ascontiguousarray(values.T, np.float32)  # (points, channels)
    return np.ascontiguousarray(sampled.T)


def align(places: Floats, counterparts: Floats) -> Similarity | None:
    """The similarity that lays most of the reference's places (pairs, 2) on their counterparts (pairs, 2) in the query.

    Many pairs may be wrong: each of TRIES random pairs of pairs proposes a similarity, and the one that most pairs
    agree with is fitted to these (RANSAC, Fischler & Bolles 1981). None if nothing agrees.
    """
    if len(places) < FEWEST_PAIRS:
        return None
    # As complex numbers, a similarity is z -> factor * z + shift.
    before, after = _as_complex(places), _as_complex(counterparts)  # (pairs,) each
    # RandomState, since no release of NumPy changes what it draws.
    drawn = np.random.RandomState(0).randint(0, 2**32, (2, TRIES), dtype=np.uint32)
    first, second = drawn % len(places)
    apart = before[second] - before[first]  # (tries,)
    factor = (after[second] - after[first]) / np.where(apart == 0, np.complex64(1), apart)
    shift = after[first] - factor * before[first]
    size = np.maximum(np.abs(factor), np.float32(1e-9))
    sound = (np.abs(apart) > FAR_APART) & (np.abs(np.log2(size)) < RESIZED)
    if not sound.any():
        return None
    error = np.abs(factor[:, None] * before + shift[:, None] - after)  # (tries, pairs)
    agreeing = ((error < AGREEMENT).sum(1) * sound).argmax()
    weight = (error[agreeing] < AGREEMENT).astype(np.float32)  # (pairs,)
    centre_before = (weight * before).sum() / weight.sum()
    centre_after = (weight * after).sum() / weight.sum()
    before, after = before - centre_before, after - centre_after
    # Least squares: the covariance of both over the variance of the first.
    covariance = (weight * after * before.conj()).sum()
    variance = float((weight * np.abs(before) ** 2).sum())
    fitted = covariance / max(variance, 1e-9)
    moved = centre_after - fitted * centre_before
    return Similarity(float(fitted.real), float(fitted.imag), float(moved.real), float(moved.imag))


def _as_complex(points: Floats) -> NDArray[np.complex64]:
    """Points (points, 2) as x + iy, (points,)."""
    return np.ascontiguousarray(points, np.float32).view(np.complex64)[:, 0]


def register(reference: Image.Image, query: Image.Image, start: Similarity | None = None) -> Similarity:
    """The similarity that lays the reference on the query; both are RGB and must have the same aspect.

    `start` is one more starting point; another one wins if it ends in a better fit.
    """
    # The identity and a shift to each side: from one start alone, like parts in a row may be laid on the wrong one.
    shifts = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    starts = [(1.0, 0.0, START_SHIFT * right, START_SHIFT * down) for right, down in shifts]
    if start is not None:
        starts.append((start.a, start.b, start.dx, start.dy))
    coarse = _minimise(_thumbnail(reference, COARSE_SIDE), _thumbnail(query, COARSE_SIDE), np.array(starts, np.float32))
    # The identity, where all fit equally well but for rounding: on a plain picture.
    best = coarse.parameters[coarse.cost <= coarse.cost.min() + 1e-6][:1]
    # Units are independent of the thumbnails' size, so what one size has found is a start at the other.
    fine = _minimise(_thumbnail(reference, FINE_SIDE), _thumbnail(query, FINE_SIDE), best)
    return Similarity(*fine.parameters[0].tolist())


def find_turn(reference: Image.Image, query: Image.Image) -> float:
    """Degrees by which the query is turned clockwise against the reference, of the same aspect; from -180 to 180."""
    angles = np.arange(TURNS) * 2 * np.pi / TURNS
    starts = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], -1).astype(np.float32)
    found = _minimise(_thumbnail(reference, COARSE_SIDE), _thumbnail(query, COARSE_SIDE), starts)
    moves = [Similarity(*parameters) for parameters in found.parameters.tolist()]
    large = np.array([abs(move.degrees) > TURNED for move in moves])
    small_cost = found.cost[~large].min(initial=np.inf)
    cost = np.where(large & (found.cost >= CLEARLY * small_cost), np.inf, found.cost)
    return register(reference, query, moves[int(cost.argmin())]).degrees


def _thumbnail(image: Image.Image, side: int) -> Floats:
    """The picture at this long side, float32 (3, rows, columns) from 0 to 1."""
    factor = side / max(image.size)
    size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
    # A box filter counts every pixel once: no aliasing that moves when the picture moves.
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / 255


@dataclass(eq=False)
class _Fit:
    """Where the search from several starts stands; one row a start."""

    parameters: Floats  # (starts, 4): a, b, dx, dy
    cost: Floats  # (starts,)
    hessian: Floats  # (starts, 4, 4), Gauss-Newton approximation of the Hessian
    gradient: Floats  # (starts, 4, 1), of the cost, up to a factor that it shares with the Hessian

    def keep_better(self, trial: _Fit, tried: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Take over what `trial` of the starts `tried` has improved; returns which of these are, bool (tried,)."""
        better = trial.cost < self.cost[tried]
        for name in ("parameters", "cost", "hessian", "gradient"):
            getattr(self, name)[tried[better]] = getattr(trial, name)[better]
        return better


def _minimise(reference: Floats, query: Floats, starts: Floats) -> _Fit:
    """Levenberg-Marquardt from every start (starts, 4) at once; both pictures are (channels, rows, columns)."""
    slope_y, slope_x = np.gradient(query, axis=(1, 2))
    unit = max(query.shape[1:]) / 2  # pixels for one unit, which turns slopes a pixel into slopes a unit
    layers = np.concatenate([query, slope_x * unit, slope_y * unit])  # (3 * channels, rows, columns)
    fit = _measure(reference, layers, starts)
    damping = np.full(len(starts), 1e-2, np.float32)
    for _ in range(STEPS):
        step = np.linalg.solve(_damp(fit.hessian, damping), fit.gradient)[..., 0]  # (starts, 4)
        moving = np.flatnonzero((np.abs(step) > STILL).any(1))
        if not len(moving):
            break
        better = fit.keep_better(_measure(reference, layers, fit.parameters[moving] - step[moving]), moving)
        damping[moving] *= np.where(better, np.float32(0.3), np.float32(5))  # trust the model more, or walk carefully
    return fit


def _damp(hessian: Floats, damping: Floats) -> Floats:
    """Marquardt's damping in proportion to the diagonal, so that it does not depend on the parameters' units."""
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)  # (starts, 4)
    # The constant keeps the system solvable where plain pictures have no slopes at all.
    added = diagonal * damping[:, None] + np.float32(1e-6)
    return hessian + added[:, :, None] * np.eye(hessian.shape[1], dtype=np.float32)


def _measure(reference: Floats, layers: Floats, parameters: Floats) -> _Fit:
    """Cost and its derivatives at the parameters (starts, 4).

    `reference` is (channels, rows, columns); `layers` (3 * channels, rows, columns) are the query and its two slopes.
    """
    starts, (channels, rows, columns) = len(parameters), reference.shape
    pixels = rows * columns
    a, b, dx, dy = parameters.T  # (starts,) each
    grid = _homogeneous(rows, columns)
    x = np.stack([a, -b, dx], -1) @ grid  # (starts, pixels)
    y = np.stack([b, a, dy], -1) @ grid
    across, down = half_extent(rows, columns)
    # 1 where the query shows it, (starts, pixels).
    visible = ((np.abs(x) <= across) & (np.abs(y) <= down)).astype(np.float32)
    moved = _sample(layers.reshape(len(layers), pixels), x.ravel(), y.ravel(), rows, columns)
    query, slope_x, slope_y = moved.reshape(3, channels, starts, pixels)  # (channels, starts, pixels) each

    error, contrast = _standardise(query, visible)
    still, _ = _standardise(reference.reshape(channels, 1, pixels), visible)
    error -= still  # zero where not visible
    # One weight for all channels: a part that really differs, differs as a whole.
    square = np.einsum("csp,csp->sp", error, error)  # (starts, pixels)
    square *= np.float32(CAUCHY / channels)
    weight = visible / (1 + square)  # derivative of the Cauchy loss below, up to the factor CAUCHY
    seen = visible.sum(1)  # (starts,)
    cost = np.log1p(square).sum(1) / np.maximum(seen, 1)
    # Without this, the cheapest transform may be one that moves all that differs out of view.
    cost = cost + np.float32(1e3) * (seen / pixels < MIN_OVERLAP)

    # Chain rule: slopes of the query, whose points move with the parameters. Mean and contrast count as constants,
    # whose own derivatives are small; the slopes are to be divided by the contrast as well, (starts, 1).
    pairs = ((slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y))
    products = [np.einsum("csp,csp->sp", one, other) * weight for one, other in pairs]  # (starts, pixels) each
    errors = [np.einsum("csp,csp->sp", slope, error) * weight for slope in (slope_x, slope_y)]
    by_parameter, by_two = _derivatives(rows, columns)
    hessian = np.concatenate(products, 1) @ by_two / contrast**2
    gradient = np.concatenate(errors, 1) @ by_parameter / contrast
    return _Fit(parameters, cost, hessian.reshape(starts, 4, 4), gradient[..., None])


@lru_cache(8)
def _homogeneous(rows: int, columns: int) -> Floats:
    """x, y and 1 of a grid's points, (3, pixels): a product with these moves all of them."""
    x, y = isotropic_grid(rows, columns).reshape(-1, 2).T  # (pixels,) each
    return np.stack([x, y, np.ones_like(x)])


@lru_cache(8)
def _derivatives(rows: int, columns: int) -> tuple[Floats, Floats]:
    """How a grid's points move with the parameters a, b, dx, dy.

    Derivatives (2 * pixels, 4) of the points' x and y, and the products of two of them (3 * pixels, 4 * 4): of x and x,
    of x and y in both orders together, of y and y.
    """
    x, y = isotropic_grid(rows, columns).reshape(-1, 2).T  # (pixels,) each
    one, none = np.ones_like(x), np.zeros_like(x)
    of_x = np.stack([x, -y, one, none], -1)  # (pixels, 4)
    of_y = np.stack([y, x, none, one], -1)
    derivatives = np.stack([of_x, of_y])
    products = np.einsum("ipa,jpb->ijpab", derivatives, derivatives)  # (2, 2, pixels, 4, 4)
    mixed = products[0, 1] + products[1, 0]
    three = np.stack([products[0, 0], mixed, products[1, 1]])
    return derivatives.reshape(-1, 4), three.reshape(-1, 16)


def _standardise(values: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """Zero mean in each channel and unit contrast over all, as counted in view: light and exposure cancel out.

    Values (channels, starts, pixels), visible (starts, pixels) -> the values, and the contrast (starts, 1) that they
    were divided by.
    """
    count = np.maximum(visible.sum(1, keepdims=True), 1)  # (starts, 1)
    # Sums of products as matrix products of a row and a column, which take half the time of a sum.
    mean = (values[:, :, None] @ visible[:, :, None])[..., 0] / count  # (channels, starts, 1)
    centred: Floats = values - mean  # (channels, starts, pixels)
    centred *= visible
    deviation = np.sqrt(np.einsum("csp,csp->cs", centred, centred)[..., None] / count)  # (channels, starts, 1)
    # A floor, since a picture of one colour has none to divide by.
    contrast = np.maximum(deviation.mean(0), np.float32(1e-3))
    centred /= contrast
    return centred, contrast
