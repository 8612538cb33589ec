"""The camera's part in every picture: pose, light, colour balance, blur and noise, all drawn from one seed.

The pose is also applied to item centres and masks, so that facts stay true of the final picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.miniloco.painting.paint import MARGIN
from lad_reasoner.miniloco.painting.shapes import Array


@dataclass(frozen=True)
class Camera:
    """One shot: where the camera stands and how it sees. Lengths in units of the long side, angles in degrees."""

    width: float
    height: float
    shift_x: float
    shift_y: float
    turn: float
    zoom: float
    gains: tuple[float, float, float]
    slope_x: float
    slope_y: float
    vignette: float
    blur: float
    noise: float

    @classmethod
    def draw(cls, width: float, height: float, rng: np.random.Generator) -> Camera:
        """A camera on a good stand in a hall whose light is not quite constant."""
        exposure = float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12))
        warmth, tint = (float(np.clip(v, -0.05, 0.05)) for v in rng.normal(0, [0.020, 0.006]))
        return cls(
            width=width,
            height=height,
            shift_x=float(rng.uniform(-0.012, 0.012)),
            shift_y=float(rng.uniform(-0.012, 0.012)),
            turn=float(np.clip(rng.normal(0, 0.8), -1.8, 1.8)),
            zoom=float(rng.uniform(0.985, 1.02)),
            gains=(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth)),
            slope_x=float(np.clip(rng.normal(0, 0.07), -0.15, 0.15)),
            slope_y=float(np.clip(rng.normal(0, 0.07), -0.15, 0.15)),
            vignette=float(rng.uniform(0.02, 0.14)),
            blur=float(rng.uniform(0.0004, 0.0016)),
            noise=float(rng.uniform(0.004, 0.011)),
        )

    def pixels(self, size: int) -> tuple[int, int]:
        """(width, height) in pixels of a picture whose long side has `size` pixels."""
        return max(round(self.width * size), 1), max(round(self.height * size), 1)

    def project(self, x: float, y: float, size: int) -> tuple[float, float]:
        """Scene point -> pixel of the final picture (centres of pixels lie at whole numbers plus a half)."""
        c, s = np.cos(np.radians(self.turn)) * self.zoom, np.sin(np.radians(self.turn)) * self.zoom
        dx, dy = x - self.width / 2, y - self.height / 2
        px = self.width / 2 + self.shift_x + c * dx - s * dy
        py = self.height / 2 + self.shift_y + s * dx + c * dy
        return float(px * size), float(py * size)

    def backward(self) -> NDArray[np.float64]:
        """The 2x3 matrix from the final picture (units of the long side) back to the scene."""
        c, s = np.cos(np.radians(self.turn)) / self.zoom, np.sin(np.radians(self.turn)) / self.zoom
        linear = np.array([[c, s], [-s, c]])
        centre = np.array([self.width / 2, self.height / 2])
        moved = centre + np.array([self.shift_x, self.shift_y])
        return np.column_stack([linear, centre - linear @ moved])

    def grid(self, size: int) -> tuple[Array, Array]:
        """Scene x and y of every pixel of the final picture, each (height, width)."""
        wide, tall = self.pixels(size)
        px, py = np.meshgrid((np.arange(wide) + 0.5) / size, (np.arange(tall) + 0.5) / size)
        m = self.backward()
        x, y = m[0, 0] * px + m[0, 1] * py + m[0, 2], m[1, 0] * px + m[1, 1] * py + m[1, 2]
        return x.astype(np.float32), y.astype(np.float32)

    def shoot(self, painted: Image.Image, size: int, supersampling: int, rng: np.random.Generator) -> Image.Image:
        """The painted canvas -> the photograph, `size` pixels on its long side."""
        unit = size * supersampling
        wide, tall = self.pixels(size)
        m = self.backward()
        m[:, 2] += MARGIN
        matrix = (m[0, 0], m[0, 1], m[0, 2] * unit, m[1, 0], m[1, 1], m[1, 2] * unit)
        posed = painted.transform(
            (wide * supersampling, tall * supersampling),
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BILINEAR,
        )
        pixels = np.asarray(posed.reduce(supersampling), dtype=np.float32) * (1 / 255)
        sigma = self.blur * size
        if sigma > 0.15:
            pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), truncate=2.5)
        # Half-width coordinates about the middle, the long side from -1 to 1.
        x = ((np.arange(wide, dtype=np.float32) + 0.5) / size - self.width / 2)[None, :] * 2
        y = ((np.arange(tall, dtype=np.float32) + 0.5) / size - self.height / 2)[:, None] * 2
        light = (1 + self.slope_x * x + self.slope_y * y) * (1 - self.vignette * (x * x + y * y))
        # Line by line, each with its three channels in turn: NumPy is slow along an axis of three.
        lines = pixels.reshape(tall, 3 * wide) * np.repeat(light, 3, axis=1)
        pixels = (lines * np.tile(np.asarray(self.gains, dtype=np.float32), wide)).reshape(pixels.shape)
        # Highlights roll off instead of clipping hard, as in a camera's own tone curve.
        bright = pixels > 0.85
        pixels[bright] = 0.85 + 0.15 * np.tanh((pixels[bright] - 0.85) / 0.15)
        spread = self.noise * (0.6 + 0.8 * np.sqrt(np.maximum(pixels, 0)))
        pixels = pixels + spread * rng.standard_normal(pixels.shape, dtype=np.float32)
        return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
