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

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

COARSE_SIDE, FINE_SIDE = 48, 96  # pixels of the thumbnails' long side
STEPS = 8  # iterations at each of the two sides, at most
STILL = 1e-3  # of half the long side: a smaller step is the last
START_SHIFT = 0.15  # the other starting points lie this far from the first, in units of half the long side
TRIES = 200  # pairs of pairs that each propose a similarity
FEWEST_PAIRS = 8
FAR_APART = 0.3  # of half the long side: the places of two pairs, so that they give an angle
RESIZED = 0.42  # doublings: a similarity that resizes more is none of two shots of a product
AGREEMENT = 0.06  # of half the long side: a pair is this near to where the similarity lays it, which is one patch
MIN_OVERLAP = 0.6  # share of the picture that a transform must keep in view
CAUCHY = 2.0  # how fast a pixel's weight falls with its squared difference


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
        return Similarity(a, b, -(a * self.dx - b * self.dy), -(b * self.dx + a * self.dy))

    def apply(self, points: torch.Tensor) -> torch.Tensor:
        """Points (…, 2) of the reference -> the same points of the query."""
        x, y = points[..., 0], points[..., 1]
        return torch.stack([self.a * x - self.b * y + self.dx, self.b * x + self.a * y + self.dy], -1)


@lru_cache(32)
def isotropic_grid(rows: int, columns: int) -> torch.Tensor:
    """Centres of a grid's cells in isotropic coordinates, tensor (rows, columns, 2), which must not be written to."""
    long = max(rows, columns)
    y = ((torch.arange(rows) + 0.5) / rows * 2 - 1) * rows / long
    x = ((torch.arange(columns) + 0.5) / columns * 2 - 1) * columns / long
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def half_extent(rows: int, columns: int) -> torch.Tensor:
    """Isotropic coordinates (x, y) of the lower right corner of a picture of this aspect, tensor (2,)."""
    return torch.tensor([columns, rows]) / max(rows, columns)


def in_view(points: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Which isotropic points (…, 2) lie on a picture of this aspect, bool (…)."""
    return (points.abs() <= half_extent(rows, columns)).all(-1)


def sample(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Values (channels, rows, columns) at isotropic points (rows', columns', 2) -> (channels, rows', columns').

    Points outside take the value at the nearest edge.
    """
    return _interpolate(values[None], (points / half_extent(*values.shape[-2:]))[None])[0]


def _interpolate(values: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """`grid_sample`, whose coordinates run from -1 to 1 along both sides of the picture."""
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def align(places: torch.Tensor, counterparts: torch.Tensor) -> Similarity | None:
    """The similarity that lays most of the reference's places (pairs, 2) on their counterparts (pairs, 2) in the query.

    Many pairs may be wrong: each of TRIES random pairs of pairs proposes a similarity, and the one that most pairs
    agree with is fitted to these (RANSAC, Fischler & Bolles 1981). None if nothing agrees.
    """
    if len(places) < FEWEST_PAIRS:
        return None
    # As complex numbers, a similarity is z -> factor * z + shift.
    before, after = torch.view_as_complex(places.contiguous()), torch.view_as_complex(counterparts.contiguous())
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(len(places), (2, TRIES), generator=generator)
    apart = before[second] - before[first]  # (tries,)
    factor = (after[second] - after[first]) / torch.where(apart == 0, 1.0, apart)
    shift = after[first] - factor * before[first]
    sound = (apart.abs() > FAR_APART) & ((factor.abs().log2()).abs() < RESIZED)
    if not sound.any():
        return None
    error = (factor[:, None] * before + shift[:, None] - after).abs()  # (tries, pairs)
    agreeing = ((error < AGREEMENT).sum(1) * sound).argmax()
    weight = (error[agreeing] < AGREEMENT).float()  # (pairs,)
    centre_before, centre_after = (weight * before).sum() / weight.sum(), (weight * after).sum() / weight.sum()
    before, after = before - centre_before, after - centre_after
    fitted = (weight * after * before.conj()).sum() / (weight * before.abs() ** 2).sum().clamp(min=1e-9)
    moved = centre_after - fitted * centre_before
    return Similarity(float(fitted.real), float(fitted.imag), float(moved.real), float(moved.imag))


@torch.inference_mode()
def register(reference: Image.Image, query: Image.Image, start: Similarity | None = None) -> Similarity:
    """The similarity that lays the reference on the query; both are RGB and must have the same aspect.

    `start` is one more starting point; another one wins if it ends in a better fit.
    """
    # The identity and a shift to each side: from one start alone, like parts in a row may be laid on the wrong one.
    shifts = torch.tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]) * START_SHIFT
    starts = torch.cat([torch.tensor([[1.0, 0.0]]).expand(5, 2), shifts], 1)  # (5, 4)
    if start is not None:
        starts = torch.cat([starts, torch.tensor([[start.a, start.b, start.dx, start.dy]])])
    coarse = _minimise(_thumbnail(reference, COARSE_SIDE), _thumbnail(query, COARSE_SIDE), starts)
    # The identity, where all fit equally well but for rounding: on a plain picture.
    best = coarse.parameters[coarse.cost <= coarse.cost.min() + 1e-6][0]
    # Units are independent of the thumbnails' size, so what one size has found is a start at the other.
    fine = _minimise(_thumbnail(reference, FINE_SIDE), _thumbnail(query, FINE_SIDE), best[None])
    return Similarity(*fine.parameters[0].tolist())


def _thumbnail(image: Image.Image, side: int) -> torch.Tensor:
    """The picture at this long side, float (3, rows, columns) from 0 to 1."""
    factor = side / max(image.size)
    size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
    # A box filter counts every pixel once: no aliasing that moves when the picture moves.
    pixels = np.array(image.resize(size, Image.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@dataclass(eq=False)
class _Fit:
    """Where the search from several starts stands; one row a start."""

    parameters: torch.Tensor  # (starts, 4): a, b, dx, dy
    cost: torch.Tensor  # (starts,)
    hessian: torch.Tensor  # (starts, 4, 4), Gauss-Newton approximation of the Hessian
    gradient: torch.Tensor  # (starts, 4, 1), of the cost, up to a factor that it shares with the Hessian

    def keep_better(self, trial: _Fit) -> torch.Tensor:
        """Take over the starts that `trial` has improved; returns which these are, bool (starts,)."""
        better = trial.cost < self.cost
        self.parameters = torch.where(better[:, None], trial.parameters, self.parameters)
        self.cost = torch.where(better, trial.cost, self.cost)
        self.hessian = torch.where(better[:, None, None], trial.hessian, self.hessian)
        self.gradient = torch.where(better[:, None, None], trial.gradient, self.gradient)
        return better


def _minimise(reference: torch.Tensor, query: torch.Tensor, starts: torch.Tensor) -> _Fit:
    """Levenberg-Marquardt from every start (starts, 4) at once; both pictures are (channels, rows, columns)."""
    slope_y, slope_x = torch.gradient(query, dim=(1, 2))
    unit = max(query.shape[1:]) / 2  # pixels for one unit, which turns slopes a pixel into slopes a unit
    layers = torch.stack([query, slope_x * unit, slope_y * unit])  # (3, channels, rows, columns)
    fit = _measure(reference, layers, starts)
    damping = torch.full((len(starts),), 1e-2)
    for _ in range(STEPS):
        step = torch.linalg.solve(_damp(fit.hessian, damping), fit.gradient)[..., 0]  # (starts, 4)
        if (step.abs() <= STILL).all():
            break
        better = fit.keep_better(_measure(reference, layers, fit.parameters - step))
        damping = torch.where(better, damping * 0.3, damping * 5)  # trust the model more, or walk more carefully
    return fit


def _damp(hessian: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    """Marquardt's damping in proportion to the diagonal, so that it does not depend on the parameters' units."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)  # (starts, 4)
    # The constant keeps the system solvable where plain pictures have no slopes at all.
    return hessian + torch.diag_embed(diagonal * damping[:, None] + 1e-6)


def _measure(reference: torch.Tensor, layers: torch.Tensor, parameters: torch.Tensor) -> _Fit:
    """Cost and its derivatives at the parameters (starts, 4).

    `reference` is (channels, rows, columns); `layers` (3, channels, rows, columns) are the query and its two slopes.
    """
    starts, (channels, rows, columns) = len(parameters), reference.shape
    x, y = isotropic_grid(rows, columns).unbind(-1)  # (rows, columns) each
    a, b, dx, dy = parameters.T[:, :, None, None]  # (starts, 1, 1) each
    points = torch.stack([a * x - b * y + dx, b * x + a * y + dy], -1) / half_extent(rows, columns)
    visible = (points.abs() <= 1).all(-1)[:, None].float()  # (starts, 1, rows, columns): 1 where the query shows it
    moved = _interpolate(layers.flatten(0, 1).expand(starts, -1, -1, -1), points)
    moved = moved.reshape(starts, 3, channels, rows, columns)
    query, slopes = moved[:, 0], moved[:, 1:]  # (starts, channels, rows, columns), (starts, 2, channels, …)

    query, contrast = _standardise(query, visible)
    reference, _ = _standardise(reference.expand(starts, -1, -1, -1), visible)
    error = (query - reference) * visible
    # One weight for all channels: a part that really differs, differs as a whole.
    square = (error**2).mean(1, keepdim=True)  # (starts, 1, rows, columns)
    weight = visible / (1 + CAUCHY * square)  # derivative of the Cauchy loss below, up to the factor CAUCHY
    cost = (torch.log1p(CAUCHY * square) * visible).sum((1, 2, 3)) / visible.sum((1, 2, 3)).clamp(min=1)
    # Without this, the cheapest transform may be one that moves all that differs out of view.
    cost = cost + 1e3 * (visible.mean((1, 2, 3)) < MIN_OVERLAP)

    # Chain rule: slopes of the query, whose points move with the parameters. Mean and contrast count as constants,
    # whose own derivatives are small.
    slopes = slopes / contrast[:, None]
    products = ((slopes[:, :, None] * slopes[:, None]).sum(3) * weight[:, None]).flatten(1)  # (starts, 4 * pixels)
    errors = ((slopes * error[:, None]).sum(2) * weight).flatten(1)  # (starts, 2 * pixels)
    by_parameter, by_two = _derivatives(rows, columns)
    return _Fit(parameters, cost, (products @ by_two).reshape(starts, 4, 4), (errors @ by_parameter)[..., None])


@lru_cache(8)
def _derivatives(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How a grid's points move with the parameters a, b, dx, dy.

    Derivatives (2 * pixels, 4) of the points' x and y, and the products of two of them (2 * 2 * pixels, 4 * 4).
    """
    x, y = isotropic_grid(rows, columns).flatten(0, 1).unbind(-1)  # (pixels,) each
    one, none = torch.ones_like(x), torch.zeros_like(x)
    derivatives = torch.stack([torch.stack([x, -y, one, none], -1), torch.stack([y, x, none, one], -1)])
    products = torch.einsum("ipa,jpb->ijpab", derivatives, derivatives)
    return derivatives.reshape(-1, 4), products.reshape(-1, 16)


def _standardise(values: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero mean in each channel and unit contrast over all, as counted in view: light and exposure cancel out.

    Values (starts, channels, rows, columns), visible (starts, 1, rows, columns) -> the values, and the contrast
    (starts, 1, 1, 1) that they were divided by.
    """
    count = visible.sum((2, 3), keepdim=True).clamp(min=1)
    centred = (values - (values * visible).sum((2, 3), keepdim=True) / count) * visible
    deviation = ((centred**2).sum((2, 3), keepdim=True) / count).sqrt()  # (starts, channels, 1, 1)
    # A floor, since a picture of one colour has none to divide by.
    contrast = deviation.mean(1, keepdim=True).clamp(min=1e-3)
    return centred / contrast, contrast
