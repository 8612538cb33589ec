"""Things to eat: fruit, nuts, chips of banana, and cereal as a texture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix, rgb
from lad_reasoner.miniloco.painting.paint import MATT, Canvas, Material, Window, between, smoothstep, tint
from lad_reasoner.miniloco.painting.shapes import Array, Shape, disc, ellipse, offset
from lad_reasoner.miniloco.scene import Item

FRUIT_COLOURS = {"tangerine": "orange", "nectarine": "red"}
# How far apart chips and almonds lie.
TOPPING_PITCH = 0.049
# Where a topping lies, and a draw in [0, 1) that decides which one it is.
Spot = tuple[float, float, float]


def banana_chip(canvas: Canvas, at: tuple[float, float]) -> None:
    """A dried slice of banana with its seeds."""
    rng = canvas.rng
    a, b = float(rng.uniform(0.038, 0.049)), float(rng.uniform(0.028, 0.034))
    angle = float(rng.uniform(0, 360))
    flesh = np.asarray(mix((0.90, 0.73, 0.42), (0.78, 0.56, 0.27), float(rng.uniform(0, 1))), np.float32)
    dark = np.asarray((0.42, 0.24, 0.10), np.float32)

    def slice_(x: Array, y: Array) -> Array:
        k = np.hypot(x / a, y / b)
        turn = np.arctan2(y / b, x / a)
        rim = smoothstep(k, 0.72, 0.98) * 0.35
        seeds = np.exp(-(((k - 0.26) / 0.13) ** 2)) * (0.5 + 0.5 * np.cos(3 * turn)) * 0.75
        rays = 0.06 * np.cos(9 * turn) * smoothstep(k, 0.3, 0.6)
        return between(flesh, dark, np.clip(rim + seeds + rays, 0, 1))

    crisp = Material(gloss=0.10, polish=10, bump=0.0010, pitch=0.010, speckle=0.05)
    canvas.solid(ellipse(a, b), at, slice_, crisp, angle=angle, bevel=0.007, lift=0.006, strength=0.7)


def almond(canvas: Canvas, at: tuple[float, float]) -> None:
    """An almond in its skin."""
    rng = canvas.rng
    length, width = float(rng.uniform(0.028, 0.033)), float(rng.uniform(0.0145, 0.0175))
    angle = float(rng.uniform(0, 360))
    base = np.asarray(mix((0.56, 0.27, 0.12), (0.42, 0.19, 0.08), float(rng.uniform(0, 1))), np.float32)

    def skin(x: Array, y: Array) -> Array:
        grooves = 0.10 * np.sin(y * (2 * np.pi / 0.0055) + 40 * x * np.sign(y))
        return tint(base, 1 + grooves)

    def pointed(x: Array, y: Array) -> Array:
        taper = np.clip(1 - 0.42 * np.clip(x / length, 0, 1) ** 2, 0.4, 1)
        return ellipse(length, width)(x, y / taper)

    shape = Shape(pointed, length, width)
    canvas.solid(
        shape,
        at,
        skin,
        Material(gloss=0.22, polish=14),
        angle=angle,
        bevel=width,
        rise=0.7,
        lift=0.008,
        strength=0.7,
    )


def tangerine(canvas: Canvas, fruit: Item) -> None:
    """A tangerine, its peel dimpled, the stalk's end somewhere near the middle."""
    rng, r = canvas.rng, fruit.size / 2
    at, angle = (fruit.x, fruit.y), fruit.angle
    base = np.asarray(mix((0.95, 0.40, 0.10), (0.90, 0.32, 0.08), float(rng.uniform(0, 1))), np.float32)
    cx, cy = (float(v) * r for v in rng.uniform(-0.25, 0.25, 2))
    creases = int(rng.integers(6, 9))

    def peel(x: Array, y: Array) -> Array:
        k = np.hypot(x - cx, y - cy) / r
        turn = np.arctan2(y - cy, x - cx)
        fold = 0.16 * np.exp(-((k / 0.30) ** 2)) * np.cos(creases * turn)
        paler = 0.10 * np.exp(-(((k - 0.28) / 0.18) ** 2))
        return tint(base, 1 + fold + paler)

    skin = Material(gloss=0.28, polish=14, bump=0.0008, pitch=0.0075, speckle=0.02)
    oval = float(rng.uniform(0.93, 1.0))
    canvas.solid(ellipse(r, r * oval), at, peel, skin, angle=angle, bevel=r * 0.98, rise=0.62, lift=0.030, strength=0.6)
    star = offset(*at, angle, cx, cy)
    canvas.flat(disc(r * 0.13), star, (0.55, 0.36, 0.08), softness=r * 0.10, opacity=0.6)
    canvas.solid(disc(r * 0.075), star, (0.17, 0.24, 0.12), MATT, bevel=r * 0.05)


def nectarine(canvas: Canvas, fruit: Item) -> None:
    """A nectarine, red with a pale patch off its middle."""
    rng, r = canvas.rng, fruit.size / 2
    at, angle = (fruit.x, fruit.y), fruit.angle
    red, gold = np.asarray((0.60, 0.09, 0.08), np.float32), np.asarray((0.90, 0.66, 0.27), np.float32)
    share = float(rng.uniform(0.25, 0.75))
    mottled = canvas.window(at, (r * 1.06, r * 1.06), angle)
    if mottled is None:
        return
    cloud = canvas.noise(mottled, 0.035) * 0.16 + canvas.noise(mottled, 0.010) * 0.05

    def skin(x: Array, y: Array) -> Array:
        # The sunny side is red; the pale patch lies off the middle.
        patch = np.exp(-(((x / r - 0.55) ** 2) + (y / r) ** 2) / 0.30)
        noise = cloud if cloud.shape == patch.shape else 0.0
        pale = np.clip(patch * (0.4 + share) + noise, 0, 1)
        speck = 1 + 0.05 * np.sin(y * (140 / r))
        result: Array = between(red, gold, pale) * speck[..., None]
        return result

    body = Material(gloss=0.30, polish=18, bump=0.0002, pitch=0.01, speckle=0.03)
    oval = float(rng.uniform(0.90, 0.98))
    canvas.solid(
        ellipse(r * 1.04, r * oval),
        at,
        skin,
        body,
        angle=angle,
        bevel=r * 0.93,
        rise=0.62,
        lift=0.030,
        strength=0.6,
    )


def fruit(canvas: Canvas, item: Item) -> None:
    """A tangerine or a nectarine."""
    if item.what == "tangerine":
        tangerine(canvas, item)
    else:
        nectarine(canvas, item)


def cereal(canvas: Canvas, window: Window, colour: Colour | str, *, pitch: float) -> Array:
    """Cereal: cells of different tilt and tone, each a small shaded flake; (height, width, 3)."""
    height, width = window.shape
    tall, wide = int(height / canvas.unit / pitch) + 4, int(width / canvas.unit / pitch) + 4
    rng = canvas.fork()
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
    share = np.clip(slope[1][cell] * 3 + 0.3, 0, 1)
    result: Array = between(base, pale, share) * np.clip(shade, 0.12, 1.15)[..., None]
    return result


def cereal_bed(canvas: Canvas, window: Window, distance: Array) -> None:
    """Cereal where the distance is negative, its edge dark on the ground."""
    shade = 1 - 0.5 * (1 - smoothstep(distance, -0.005, 0.016))
    canvas.pixels[window.rows, window.columns] *= shade[..., None]
    # Roasted darker or lighter from bag to bag.
    roast = mix((0.70, 0.43, 0.20), (0.90, 0.66, 0.38), float(canvas.rng.random()))
    canvas.blend(window, canvas.cover(distance), cereal(canvas, window, roast, pitch=0.0215))


def topping_bed(canvas: Canvas, window: Window, distance: Array) -> None:
    """The dark bed under chips and almonds, where the distance is negative."""
    shade = 1 - 0.45 * (1 - smoothstep(distance, -0.005, 0.02))
    canvas.pixels[window.rows, window.columns] *= shade[..., None]
    bed = 0.5 + 0.12 * canvas.noise(window, 0.012)
    canvas.blend(window, canvas.cover(distance), tint(np.asarray((0.62, 0.40, 0.22), np.float32), bed))


def spread(rng: np.random.Generator, rows: Array, columns: Array) -> list[Spot]:
    """Spots for chips and almonds, loosely on a grid."""
    spots = []
    for row in rows:
        for column in columns:
            x = float(column + rng.uniform(-0.016, 0.016))
            y = float(row + rng.uniform(-0.014, 0.014))
            spots.append((x, y, float(rng.random())))
    return spots


def scatter(canvas: Canvas, spots: Sequence[Spot], almonds: float) -> None:
    """Lay an almond or a chip on each spot; the share of almonds is 0 to 1."""
    # Chips first, almonds on top of them: small things come to lie between and above large ones.
    for x, y, draw in sorted(spots, key=lambda s: s[2] < almonds):
        if draw < almonds:
            almond(canvas, (x, y))
        else:
            banana_chip(canvas, (x, y))
