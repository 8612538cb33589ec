"""What products lie on: mats, brushed metal, cloth."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix, rgb
from lad_reasoner.miniloco.painting.paint import Canvas, Material, tint
from lad_reasoner.miniloco.painting.shapes import Array, Shape


def mat(canvas: Canvas, colour: Colour | str, *, unevenness: float = 0.05, pitch: float = 0.004) -> None:
    """Fill the canvas with an even, slightly grainy ground."""
    window = canvas.everywhere()
    grain = canvas.noise(window, pitch) * unevenness + canvas.noise(window, 0.12) * unevenness * 0.8
    canvas.pixels[:] = tint(np.asarray(rgb(colour), np.float32), 1 + grain)


def brushed_plate(
    canvas: Canvas,
    shape: Shape,
    at: tuple[float, float],
    colour: Colour | str,
    *,
    lift: float = 0.02,
) -> None:
    """A plate of brushed metal: fine lines along x and a broad soft reflection across."""
    base = np.asarray(rgb(colour), np.float32)
    sheen_at, sheen_angle = float(canvas.rng.uniform(-0.3, 0.3)), float(canvas.rng.uniform(-0.5, 0.5))

    def paint(x: Array, y: Array) -> Array:
        window = canvas.window(at, (shape.reach_x, shape.reach_y))
        assert window is not None
        lines = canvas.noise(window, 0.0022, 45.0) + 0.6 * canvas.noise(window, 0.005, 25.0)
        sheen = np.exp(-(((x + sheen_angle * y - sheen_at) / 0.32) ** 2))
        return tint(base, 0.92 + 0.06 * lines + 0.13 * sheen)

    canvas.solid(
        shape,
        at,
        paint,
        Material(gloss=0.3, polish=20, mirror=0.2),
        bevel=0.010,
        lift=lift,
    )


def cloth(canvas: Canvas, colour: Colour | str) -> None:
    """A woven ground: threads over and under."""
    window = canvas.everywhere()
    u, v = window.x * (np.pi / 0.009), window.y * (np.pi / 0.009)
    weave = np.sin(u) * np.sin(v) * 0.5 + np.cos(2 * u) * 0.2 + np.cos(2 * v) * 0.2
    light = 0.92 + 0.09 * weave + 0.03 * canvas.noise(window, 0.003) + 0.03 * canvas.noise(window, 0.15)
    canvas.pixels[:] = tint(np.asarray(rgb(colour), np.float32), light)


def wood(canvas: Canvas, colour: Colour | str) -> None:
    """A table top with grain along x."""
    window = canvas.everywhere()
    grain = canvas.noise(window, 0.02, 22.0) + 0.5 * canvas.noise(window, 0.006, 40.0)
    rings = np.sin(9 * grain + 60 * window.y)
    light = 1 + 0.05 * grain + 0.035 * rings
    base, dark = np.asarray(rgb(colour), np.float32), np.asarray(mix(colour, "brown", 0.5), np.float32)
    share = np.clip(0.25 + 0.25 * grain, 0, 1)
    canvas.pixels[:] = (tint(base, 1 - share) + tint(dark, share)) * light[..., None]
