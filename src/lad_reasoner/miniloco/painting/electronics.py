"""A printed board and the parts that are soldered on it."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting.paint import METAL, PLASTIC, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import box, capsule, disc, offset, polyline, ring
from lad_reasoner.miniloco.scene import Item


def board(canvas: Canvas, middle: tuple[float, float], colour: Colour) -> None:
    """The bare board: the same copper on every one, hence a fixed seed."""
    rng = np.random.default_rng(20240117)
    canvas.solid(
        box(0.90, 0.65, 0.02),
        middle,
        colour,
        Material(gloss=0.2, speckle=0.012),
        bevel=0.006,
        lift=0.018,
    )
    copper = mix(colour, (0.45, 0.62, 0.30), 0.42)
    for _ in range(34):
        x, y = float(rng.uniform(0.10, 0.90)), float(rng.uniform(0.09, 0.66))
        dx, dy = (
            float(rng.choice([-1, 1]) * rng.uniform(0.04, 0.14)),
            float(rng.choice([-1, 1]) * rng.uniform(0.02, 0.06)),
        )
        points = [(x, y), (x + dx, y), (x + dx + abs(dy) * np.sign(dx), y + dy), (x + 1.7 * dx, y + dy)]
        points = [(float(np.clip(a, 0.075, 0.925)), float(np.clip(b, 0.075, 0.675))) for a, b in points]
        left, top = min(a for a, _ in points), min(b for _, b in points)
        at = ((left + max(a for a, _ in points)) / 2, (top + max(b for _, b in points)) / 2)
        local = [(a - at[0], b - at[1]) for a, b in points]
        canvas.flat(polyline(local, 0.0028), at, copper)
        for a, b in (points[0], points[-1]):
            canvas.flat(disc(0.0075), (a, b), (0.74, 0.70, 0.52))
            canvas.flat(disc(0.0034), (a, b), (0.08, 0.10, 0.08))
    for x, y in ((0.085, 0.66), (0.915, 0.66), (0.915, 0.09)):
        canvas.flat(ring(0.026, 0.016), (x, y), (0.80, 0.76, 0.60))
        canvas.flat(disc(0.016), (x, y), (0.07, 0.07, 0.08))


def chip(canvas: Canvas, chip: Item) -> None:
    """A chip with its pins, notch and print; upright its notch points up."""
    size, angle = chip.size, chip.angle
    width, height = size * 0.60, size
    pins = 7 if size > 0.17 else 5
    for side in (-1, 1):
        for i in range(pins):
            dy = (i - (pins - 1) / 2) * height * 0.92 / pins
            at = offset(chip.x, chip.y, angle, side * (width / 2 + 0.011), dy)
            canvas.solid(
                box(0.026, 0.010, 0.002),
                at,
                "steel",
                METAL,
                angle=angle,
                bevel=0.004,
                lift=0.003,
            )
    body = Material(gloss=0.18, polish=14, speckle=0.03, pitch=0.004)
    canvas.solid(
        box(width, height, 0.006),
        (chip.x, chip.y),
        (0.115, 0.115, 0.125),
        body,
        angle=angle,
        bevel=0.008,
        lift=0.012,
    )
    notch = offset(chip.x, chip.y, angle, 0, -height / 2 + 0.004)
    canvas.solid(disc(0.016), notch, (0.05, 0.05, 0.055), PLASTIC, bevel=0.008, rise=-1)
    dot = offset(chip.x, chip.y, angle, -width / 2 + 0.018, -height / 2 + 0.030)
    canvas.flat(disc(0.007), dot, (0.75, 0.75, 0.73))
    name, code = ("MX 218C", "2417 A") if size > 0.17 else ("LT 90", "2403")
    canvas.lettering(
        name, offset(chip.x, chip.y, angle, 0, -0.006), (0.72, 0.72, 0.70), height=width * 0.155, angle=angle
    )
    canvas.lettering(
        code, offset(chip.x, chip.y, angle, 0, 0.024), (0.62, 0.62, 0.60), height=width * 0.12, angle=angle
    )


def resistor(canvas: Canvas, part: Item) -> None:
    """A resistor with four rings, lying on its wires."""
    at, angle = (part.x, part.y), part.angle
    canvas.solid(capsule(0.118, 0.0032), at, "steel", METAL, angle=angle, bevel=0.003, lift=0.004)
    sand = (0.74, 0.58, 0.40)
    canvas.solid(box(0.066, 0.030, 0.013), at, sand, PLASTIC, angle=angle, bevel=0.015, lift=0.012)
    for dx, colour in ((-0.022, "brown"), (-0.008, "black"), (0.005, "red"), (0.022, (0.72, 0.55, 0.20))):
        band = offset(*at, angle, dx, 0)
        canvas.solid(box(0.0075, 0.0295, 0.002), band, colour, PLASTIC, angle=angle, bevel=0.015)


def capacitor(canvas: Canvas, part: Item) -> None:
    """A round capacitor seen from above, scored with a star."""
    at, radius = (part.x, part.y), part.size / 2
    canvas.solid(disc(radius), at, (0.12, 0.14, 0.22), PLASTIC, bevel=radius * 0.25, lift=0.030)
    canvas.solid(disc(radius * 0.84), at, (0.70, 0.71, 0.73), METAL, bevel=radius * 0.12)
    for turn in (0.0, 60.0, 120.0):
        score = box(radius * 1.1, radius * 0.045)
        canvas.flat(score, at, (0.36, 0.37, 0.39), angle=part.angle + turn, softness=0.003)


def connector(canvas: Canvas, part: Item) -> None:
    """A pin header of four pins in a coloured housing."""
    canvas.solid(box(0.18, 0.080, 0.006), (part.x, part.y), part.colour, PLASTIC, bevel=0.008, lift=0.022)
    rim = mix(part.colour, "black", 0.28)
    canvas.solid(box(0.158, 0.050, 0.004), (part.x, part.y - 0.006), rim, PLASTIC, bevel=0.008, rise=-1)
    for i in range(4):
        at = (part.x - 0.06 + 0.04 * i, part.y - 0.006)
        canvas.solid(box(0.012, 0.012, 0.002), at, (0.86, 0.80, 0.62), METAL, bevel=0.005, lift=0.006)
    latch = (part.x, part.y + 0.031)
    canvas.solid(
        box(0.05, 0.014, 0.003),
        latch,
        mix(part.colour, "white", 0.12),
        PLASTIC,
        bevel=0.004,
        lift=0.004,
    )


def lamp(canvas: Canvas, lamp: Item) -> None:
    """A lamp that shines in its colour."""
    radius, at = lamp.size / 2, (lamp.x, lamp.y)
    glow = canvas.window(at, (0.09, 0.09))
    if glow is not None:
        alpha = 0.30 * np.exp(-((np.hypot(glow.x, glow.y) / 0.040) ** 2))
        canvas.blend(glow, alpha, mix(lamp.colour, "white", 0.25))
    canvas.solid(
        disc(radius * 1.25),
        at,
        (0.80, 0.80, 0.78),
        PLASTIC,
        bevel=radius * 0.3,
        lift=0.008,
    )
    canvas.solid(
        disc(radius),
        at,
        mix(lamp.colour, "white", 0.04),
        Material(gloss=0.8, polish=40),
        bevel=radius,
        lift=0.010,
    )
    canvas.flat(
        disc(radius * 0.42),
        at,
        mix(lamp.colour, "white", 0.30),
        softness=radius * 0.5,
        opacity=0.6,
    )
