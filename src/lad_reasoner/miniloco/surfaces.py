"""What products lie on: mats, brushed metal, cloth."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.paint import Canvas, Colour, Material, Window, mix, rgb
from lad_reasoner.miniloco.shapes import Array, Shape


def mat(canvas: Canvas, colour: Colour | str, *, unevenness: float = 0.05, pitch: float = 0.004) -> None:
    """Fill the canvas with an even, slightly grainy ground."""
    window = canvas.everywhere()
    grain = canvas.noise(window, pitch) * unevenness + canvas.noise(window, 0.12) * unevenness * 0.8
    canvas.pixels[:] = np.asarray(rgb(colour), np.float32) * (1 + grain)[..., None]


def brushed_plate(
    canvas: Canvas,
    shape: Shape,
    at: tuple[float, float],
    colour: Colour | str,
    *,
    angle: float = 0.0,
    lift: float = 0.02,
    strength: float = 0.06,
) -> None:
    """A plate of brushed metal: fine lines along x and a broad soft reflection across."""
    base = np.asarray(rgb(colour), np.float32)
    sheen_at, sheen_angle = float(canvas.rng.uniform(-0.3, 0.3)), float(canvas.rng.uniform(-0.5, 0.5))

    def paint(x: Array, y: Array) -> Array:
        window = canvas.window(at, (shape.reach_x, shape.reach_y), angle)
        assert window is not None
        lines = canvas.noise(window, 0.0022, 45.0) + 0.6 * canvas.noise(window, 0.005, 25.0)
        sheen = np.exp(-(((x + sheen_angle * y - sheen_at) / 0.32) ** 2))
        result: Array = base * (0.92 + strength * lines + 0.13 * sheen)[..., None]
        return result

    canvas.solid(
        shape,
        at,
        paint,
        Material(gloss=0.3, polish=20, mirror=0.2),
        angle=angle,
        bevel=0.010,
        lift=lift,
    )


def cloth(canvas: Canvas, colour: Colour | str, *, thread: float = 0.009) -> None:
    """A woven ground: threads over and under."""
    window = canvas.everywhere()
    u, v = window.x * (np.pi / thread), window.y * (np.pi / thread)
    weave = np.sin(u) * np.sin(v) * 0.5 + np.cos(2 * u) * 0.2 + np.cos(2 * v) * 0.2
    light = 0.92 + 0.09 * weave + 0.03 * canvas.noise(window, 0.003) + 0.03 * canvas.noise(window, 0.15)
    canvas.pixels[:] = np.asarray(rgb(colour), np.float32) * light[..., None]


def wood(canvas: Canvas, colour: Colour | str) -> None:
    """A table top with grain along x."""
    window = canvas.everywhere()
    grain = canvas.noise(window, 0.02, 22.0) + 0.5 * canvas.noise(window, 0.006, 40.0)
    rings = np.sin(9 * grain + 60 * window.y)
    light = 1 + 0.05 * grain + 0.035 * rings
    base, dark = np.asarray(rgb(colour), np.float32), np.asarray(mix(colour, "brown", 0.5), np.float32)
    share = np.clip(0.25 + 0.25 * grain, 0, 1)[..., None]
    canvas.pixels[:] = (base * (1 - share) + dark * share) * light[..., None]


def flakes(canvas: Canvas, window: Window, colour: Colour | str, *, pitch: float) -> Array:
    """Cereal: cells of different tilt and tone, each a small shaded flake; (height, width, 3)."""
    height, width = window.shape
    tall, wide = int(height / canvas.unit / pitch) + 4, int(width / canvas.unit / pitch) + 4
    rng = canvas.rng
    jitter_x, jitter_y = rng.random((2, tall * wide), dtype=np.float32) * 0.7 + 0.15
    turn = rng.random(tall * wide, dtype=np.float32) * np.float32(np.pi)
    long_x, long_y = np.cos(turn), np.sin(turn)
    lift = 0.55 * rng.random(tall * wide, dtype=np.float32)
    u = (np.arange(width, dtype=np.float32) / canvas.unit / pitch + 1)[None, :]
    v = (np.arange(height, dtype=np.float32) / canvas.unit / pitch + 1)[:, None]
    column, row = (u - 0.5).astype(np.int32), (v - 0.5).astype(np.int32)
    nearest = np.full(window.shape, 9.0, np.float32)
    along = np.zeros(window.shape, np.float32)
    across = np.zeros(window.shape, np.float32)
    cell = np.zeros(window.shape, np.int32)
    # Each pixel belongs to the flake, of the four about it, whose ellipse holds it best; high flakes win.
    for dr in (0, 1):
        for dc in (0, 1):
            index = (row + dr) * wide + (column + dc)
            du = (u - (column + dc)) - jitter_x[index]
            dv = (v - (row + dr)) - jitter_y[index]
            lx, ly = long_x[index], long_y[index]
            a, b = (du * lx + dv * ly) * 0.78, (dv * lx - du * ly) * 1.35
            far = np.sqrt(a * a + b * b) - lift[index]
            won = far < nearest
            np.copyto(nearest, far, where=won)
            np.copyto(along, a, where=won)
            np.copyto(across, b, where=won)
            np.copyto(cell, index, where=won)
    tone = rng.random(tall * wide, dtype=np.float32)[cell]
    slope = rng.standard_normal((2, tall * wide), dtype=np.float32) * 0.13
    edge = np.clip(nearest + lift[cell], 0, 1.2)
    crease = np.exp(-((across / 0.10) ** 2)) * 0.14
    shade = 0.50 + 0.42 * tone + slope[0][cell] + along * 0.22 - crease - 0.50 * edge * edge + 0.12
    base, pale = (
        np.asarray(rgb(colour), np.float32),
        np.asarray(mix(colour, (0.98, 0.86, 0.62), 0.55), np.float32),
    )
    share = np.clip(slope[1][cell] * 3 + 0.3, 0, 1)[..., None]
    result: Array = (base + share * (pale - base)) * np.clip(shade, 0.12, 1.15)[..., None]
    return result
