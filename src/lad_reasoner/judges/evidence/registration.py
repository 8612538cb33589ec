"""Bring a query into register with a reference: the similarity (shift, rotation, scale) that lays one on the other.

Levenberg-Marquardt on small thumbnails of equal brightness and contrast, robust against parts that really differ
(Cauchy weights), from several starting points at once; about 20 ms on two cores.

Coordinates are isotropic: the picture's centre is (0, 0), its long side runs from -1 to 1, x to the right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

COARSE_SIDE, FINE_SIDE = 48, 96  # pixels of the thumbnails' long side
STEPS = 8  # iterations at each of the two sides
START_SHIFT = 0.15  # the other starting points lie this far from the first, in units of half the long side
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

    @cached_property
    def inverse(self) -> Similarity:
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


def in_view(points: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Which isotropic points (…, 2) lie on a picture of this aspect, bool (…)."""
    extent = torch.tensor([columns, rows]) / max(rows, columns)
    return (points.abs() <= extent).all(-1)


def sample(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Values (channels, rows, columns) at isotropic points (rows', columns', 2) -> (channels, rows', columns').

    Points outside take the value at the nearest edge.
    """
    rows, columns = values.shape[-2:]
    extent = torch.tensor([columns, rows]) / max(rows, columns)
    grid = (where / extent)[None]
    return F.grid_sample(values[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


@torch.inference_mode()
def register(reference: Image.Image, query: Image.Image) -> Similarity:
    """The similarity that lays the reference on the query; both must have the same aspect.

    Rotations of up to some 15 degrees are found.
    """
    shifts = torch.tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]) * START_SHIFT
    starts = torch.cat([torch.tensor([[1.0, 0.0]]).expand(5, 2), shifts], 1)
    found, cost = _minimise(_thumbnail(reference, COARSE_SIDE), _thumbnail(query, COARSE_SIDE), starts)
    best = found[cost.argsort()[:2]]
    found, cost = _minimise(_thumbnail(reference, FINE_SIDE), _thumbnail(query, FINE_SIDE), best)
    return Similarity(*found[cost.argmin()].tolist())


def _thumbnail(image: Image.Image, side: int) -> torch.Tensor:
    factor = side / max(image.size)
    size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
    pixels = np.array(image.resize(size, Image.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def _minimise(reference: torch.Tensor, query: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Levenberg-Marquardt from every start at once: parameters (starts, 4) and their costs (starts,)."""
    count, channels = len(starts), len(query)
    points = isotropic_grid(*query.shape[-2:])
    x, y = points[..., 0], points[..., 1]
    half = max(query.shape[-2:]) / 2  # pixels for one unit
    slope_y, slope_x = torch.gradient(query, dim=(1, 2))
    layers = torch.cat([query, slope_x * half, slope_y * half]).expand(count, -1, -1, -1)
    extent = torch.tensor([query.shape[-1], query.shape[-2]]) / max(query.shape[-2:])

    def measure(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        a, b, dx, dy = parameters.T[:, :, None, None]
        where = torch.stack([a * x - b * y + dx, b * x + a * y + dy], -1) / extent
        seen = (where.abs() <= 1).all(-1)[:, None].float()
        moved = F.grid_sample(layers, where, mode="bilinear", padding_mode="border", align_corners=False)
        moved_query, moved_x, moved_y = moved.reshape(count, 3, channels, *moved.shape[2:]).unbind(1)
        flat_query, spread = _standardise(moved_query, seen)
        flat_reference, _ = _standardise(reference.expand(count, -1, -1, -1), seen)
        error = (flat_query - flat_reference) * seen
        square = (error**2).mean(1, keepdim=True)
        weight = seen / (1 + CAUCHY * square)
        cost = (torch.log1p(CAUCHY * square) * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)
        cost = cost + 1e3 * (seen.mean((1, 2, 3)) < MIN_OVERLAP)
        jacobian = torch.stack([moved_x * x + moved_y * y, moved_y * x - moved_x * y, moved_x, moved_y], 1)
        jacobian = (jacobian / spread[:, None]).flatten(2)
        weighted = jacobian * weight.expand_as(error).flatten(1)[:, None]
        return cost, weighted @ jacobian.mT, (weighted @ error.flatten(1)[..., None]), parameters

    best = measure(starts)
    damping = torch.full((count,), 1e-2)
    for _ in range(STEPS):
        _, hessian, gradient, parameters = best
        damped = hessian + torch.diag_embed(hessian.diagonal(dim1=1, dim2=2) * damping[:, None] + 1e-6)
        trial = measure(parameters - torch.linalg.solve(damped, gradient)[..., 0])
        better = trial[0] < best[0]
        damping = torch.where(better, damping * 0.3, damping * 5)
        best = tuple(  # type: ignore[assignment]
            torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old) for new, old in zip(trial, best, strict=True)
        )
    return best[3], best[0]


def _standardise(values: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero mean a channel, unit spread over all: what light and exposure change is gone. (values, spread)."""
    count = seen.sum((2, 3), keepdim=True).clamp(min=1)
    centred = (values - (values * seen).sum((2, 3), keepdim=True) / count) * seen
    spread = ((centred**2).sum((2, 3), keepdim=True) / count).sqrt().mean(1, keepdim=True).clamp(min=1e-3)
    return centred / spread, spread
