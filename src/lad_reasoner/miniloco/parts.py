"""Parts that several products share: bolts, nuts, washers, screws."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.paint import METAL, Canvas, Colour, Material, mix, rgb
from lad_reasoner.miniloco.shapes import Array, box, disc, hexagon, minus, offset, ring

DARK = (0.06, 0.06, 0.07)


def drilled_hole(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A hole with a bright chamfer."""
    canvas.solid(
        disc(radius * 1.35),
        (x, y),
        (0.62, 0.63, 0.65),
        METAL,
        bevel=radius * 0.4,
        rise=-0.8,
    )
    canvas.flat(disc(radius), (x, y), DARK, softness=radius * 0.15)


def socket_bolt(
    canvas: Canvas, x: float, y: float, radius: float, angle: float, colour: Colour | str
) -> None:
    """The head of a cap screw seen from above, its hexagonal socket turned by `angle`."""
    canvas.solid(disc(radius), (x, y), colour, METAL, bevel=radius * 0.28, lift=radius * 0.45)
    # Turned heads show fine rings.
    base = np.asarray(rgb(colour), np.float32)

    def turned(u: Array, v: Array) -> Array:
        rings = np.sin(np.hypot(u, v) * (70 / radius)) * 0.03
        sweep = 0.10 * np.cos(2 * np.arctan2(v, u) - 1.1)
        result: Array = base * (0.97 + rings + sweep)[..., None]
        return result

    canvas.flat(ring(radius * 0.78, radius * 0.5), (x, y), turned, softness=radius * 0.05)
    canvas.flat(hexagon(radius * 0.98), (x, y), DARK, angle=angle)
    lower = offset(0, 0, 0, canvas.light[0] * -radius * 0.14, canvas.light[1] * -radius * 0.14)
    canvas.flat(
        hexagon(radius * 0.72),
        (x + lower[0], y + lower[1]),
        mix(colour, "black", 0.72),
        angle=angle,
        softness=radius * 0.12,
    )


def washer(canvas: Canvas, x: float, y: float, radius: float, colour: Colour | str = "steel") -> None:
    """A flat ring."""
    shape = ring(radius, radius * 0.56)
    canvas.solid(shape, (x, y), colour, METAL, bevel=radius * 0.12, lift=radius * 0.18)


def nut(
    canvas: Canvas, x: float, y: float, radius: float, angle: float, colour: Colour | str = "steel"
) -> None:
    """A hexagonal nut; `radius` from the middle to a corner."""
    across = radius * 1.732
    shape = minus(hexagon(across), disc(radius * 0.5))
    canvas.solid(shape, (x, y), colour, METAL, angle=angle, bevel=radius * 0.16, lift=radius * 0.4)
    thread = Material(gloss=0.3, mirror=0.5)
    canvas.solid(
        ring(radius * 0.58, radius * 0.46),
        (x, y),
        mix(colour, "black", 0.35),
        thread,
        bevel=radius * 0.08,
    )


def machine_screw(
    canvas: Canvas,
    x: float,
    y: float,
    length: float,
    angle: float,
    colour: Colour | str = "steel",
    head: float = 0.05,
) -> None:
    """A cap screw on its side, head where `angle` points to; `head` is the head's diameter."""
    shank = head * 0.56
    tall = head * 0.62
    bare = mix(colour, "brass", 0.22)
    centre = offset(x, y, angle, -tall / 2, 0)
    body = length - tall

    def threaded(u: Array, v: Array) -> Array:
        turns = np.sin((u + 0.25 * v) * (2 * np.pi / (head * 0.14)))
        result: Array = np.asarray(rgb(bare), np.float32) * (0.9 + 0.16 * turns)[..., None]
        return result

    canvas.solid(
        box(body, shank, shank * 0.12),
        centre,
        threaded,
        METAL,
        angle=angle,
        bevel=shank / 2,
        lift=head * 0.3,
    )
    at = offset(x, y, angle, length / 2 - tall / 2, 0)
    canvas.solid(
        box(tall, head, head * 0.08),
        at,
        colour,
        METAL,
        angle=angle,
        bevel=head / 2,
        rise=0.9,
        lift=head * 0.35,
    )
    edge = offset(x, y, angle, length / 2 - tall * 0.10, 0)
    canvas.flat(box(tall * 0.16, head * 0.92, 0.0), edge, (0.95, 0.96, 0.98), angle=angle, opacity=0.45)
