"""Bring a query into register with a reference: the similarity (shift, rotation, scale) that lays one on the other.

    move = register(reference, query)
    move.degrees, move.scale, move.dx      # 2.0, 0.99, -0.04: turned clockwise, a little smaller, moved to the left
    move.apply(isotropic_grid(24, 16))     # where the query shows the centres of a grid on the reference

Levenberg-Marquardt on small thumbnails of equal brightness and contrast, robust against parts that really differ
(Cauchy weights), from several starting points at once; about 20 ms on two cores.

Coordinates are isotropic: the picture's centre is (0, 0), its long side runs from -1 to 1, x to the right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

COARSE_SIDE, FINE_SIDE = 48, 96  # pixels of the thumbnails' long side
STEPS = 8  # iterations at each of the two sides
START_SHIFT = 0.15  # the other starting points lie this far from the first, in units of half the long side
FINALISTS = 2  # starts that are refined: the best fit of the coarse thumbnails need not be the best of the fine ones
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


def isotropic_grid(rows: int, columns: int) -> torch.Tensor:
    """Centres of a grid's cells in isotropic coordinates, tensor (rows, columns, 2)."""
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


@torch.inference_mode()
def register(reference: Image.Image, query: Image.Image) -> Similarity:
    """The similarity that lays the reference on the query; both are RGB and must have the same aspect.

    Rotations of up to some 15 degrees are found.
    """
    # The identity and a shift to each side: from one start alone, like parts in a row may be laid on the wrong one.
    shifts = torch.tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]) * START_SHIFT
    starts = torch.cat([torch.tensor([[1.0, 0.0]]).expand(5, 2), shifts], 1)  # (5, 4)
    coarse = _minimise(_thumbnail(reference, COARSE_SIDE), _thumbnail(query, COARSE_SIDE), starts)
    finalists = coarse.parameters[coarse.cost.argsort()[:FINALISTS]]
    # Units are independent of the thumbnails' size, so what one size has found is a start at the other.
    fine = _minimise(_thumbnail(reference, FINE_SIDE), _thumbnail(query, FINE_SIDE), finalists)
    return Similarity(*fine.parameters[fine.cost.argmin()].tolist())


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
    measure = partial(_measure, reference, layers)
    fit = measure(starts)
    damping = torch.full((len(starts),), 1e-2)
    for _ in range(STEPS):
        step = torch.linalg.solve(_damp(fit.hessian, damping), fit.gradient)[..., 0]
        better = fit.keep_better(measure(fit.parameters - step))
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
    query, slope_x, slope_y = moved.unbind(1)  # (starts, channels, rows, columns) each

    query, contrast = _standardise(query, visible)
    reference, _ = _standardise(reference.expand(starts, -1, -1, -1), visible)
    error = (query - reference) * visible
    # One weight for all channels: a part that really differs, differs as a whole.
    square = (error**2).mean(1, keepdim=True)  # (starts, 1, rows, columns)
    weight = visible / (1 + CAUCHY * square)  # derivative of the Cauchy loss below, up to the factor CAUCHY
    cost = (torch.log1p(CAUCHY * square) * visible).sum((1, 2, 3)) / visible.sum((1, 2, 3)).clamp(min=1)
    # Without this, the cheapest transform may be one that moves all that differs out of view.
    cost = cost + 1e3 * (visible.mean((1, 2, 3)) < MIN_OVERLAP)

    # Chain rule: slopes of the query times the points' derivatives by a, b, dx, dy. Mean and contrast count as
    # constants, whose own derivatives are small.
    derivatives = [slope_x * x + slope_y * y, slope_y * x - slope_x * y, slope_x, slope_y]
    jacobian = (torch.stack(derivatives, 1) / contrast[:, None]).flatten(2)  # (starts, 4, channels * rows * columns)
    weighted = jacobian * weight.expand_as(error).flatten(1)[:, None]
    return _Fit(parameters, cost, weighted @ jacobian.mT, weighted @ error.flatten(1)[..., None])


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
