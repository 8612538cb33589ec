"""Parts that several products share: bolts, nuts, washers, screws, pushpins, tablets."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix, rgb
from lad_reasoner.miniloco.painting.paint import METAL, Canvas, Material, Paint, tint
from lad_reasoner.miniloco.painting.shapes import Array, box, capsule, disc, hexagon, minus, offset, outline, ring

DARK = (0.06, 0.06, 0.07)
# A pushpin's body and the part of its needle that stands out of it.
PIN_BODY, PIN_NEEDLE = 0.058, 0.054


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


def socket_bolt(canvas: Canvas, x: float, y: float, radius: float, angle: float, colour: Colour | str) -> None:
    """The head of a cap screw seen from above, its hexagonal socket turned by `angle`."""
    canvas.solid(disc(radius), (x, y), colour, METAL, bevel=radius * 0.28, lift=radius * 0.45)
    # Turned heads show fine rings.
    base = np.asarray(rgb(colour), np.float32)

    def turned(u: Array, v: Array) -> Array:
        rings = np.sin(np.hypot(u, v) * (70 / radius)) * 0.03
        sweep = 0.10 * np.cos(2 * np.arctan2(v, u) - 1.1)
        return tint(base, 0.97 + rings + sweep)

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


def _swept(canvas: Canvas, colour: Colour | str, depth: float) -> Paint:
    """A colour that brightens and darkens around the middle, as turned and polished rings do."""
    base = np.asarray(rgb(colour), np.float32)
    phase = float(canvas.rng.uniform(0, 2 * np.pi))

    def paint(x: Array, y: Array) -> Array:
        around = np.arctan2(y, x)
        light = 0.86 + depth * (0.65 * np.cos(2 * around + phase) + 0.35 * np.cos(around - phase))
        return tint(base, light)

    return paint


def washer(canvas: Canvas, x: float, y: float, radius: float, colour: Colour | str = "steel") -> None:
    """A flat ring."""
    shape = ring(radius, radius * 0.58)
    cool = mix(colour, (0.62, 0.70, 0.82), 0.5)
    paint = _swept(canvas, cool, 0.20)
    canvas.solid(shape, (x, y), paint, METAL, bevel=radius * 0.12, lift=radius * 0.18)


def nut(canvas: Canvas, x: float, y: float, radius: float, angle: float, colour: Colour | str = "steel") -> None:
    """A hexagonal nut; `radius` from the middle to a corner."""
    shape = minus(hexagon(radius * 1.732), disc(radius * 0.5))
    cool = mix(colour, (0.62, 0.70, 0.82), 0.5)
    paint = _swept(canvas, cool, 0.16)
    canvas.solid(shape, (x, y), paint, METAL, angle=angle, bevel=radius * 0.16, lift=radius * 0.4)
    # The turned face inside the corners, and the first thread.
    canvas.flat(outline(disc(radius * 0.80), radius * 0.05), (x, y), (0.30, 0.33, 0.38), opacity=0.5)
    thread = Material(gloss=0.3, mirror=0.5)
    dark = mix(colour, "black", 0.45)
    canvas.solid(ring(radius * 0.58, radius * 0.46), (x, y), dark, thread, bevel=radius * 0.08)


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
    shank, tall = head * 0.56, head * 0.66
    bare = np.asarray(mix(colour, "brass", 0.28), np.float32)
    body = length - tall

    def threaded(u: Array, v: Array) -> Array:
        turns = np.sin((u + 0.2 * v) * (2 * np.pi / (head * 0.105)))
        # The mirrored room: a dark band beside the bright middle.
        band = 1 - 0.35 * np.exp(-(((v / shank) - 0.30) ** 2) / 0.012)
        return tint(bare, (0.84 + 0.17 * turns) * band)

    centre = offset(x, y, angle, -tall / 2, 0)
    canvas.solid(
        box(body, shank, shank * 0.15),
        centre,
        threaded,
        METAL,
        angle=angle,
        bevel=shank / 2,
        rise=0.8,
        lift=head * 0.3,
        profile=box(9, shank),
    )
    base = np.asarray(rgb(colour), np.float32)

    def polished(u: Array, v: Array) -> Array:
        w = v / head
        bands = 0.80 + 0.45 * np.exp(-((w + 0.14) ** 2) / 0.010) - 0.42 * np.exp(-((w - 0.16) ** 2) / 0.008)
        return tint(base, bands + 0.12 * (np.abs(u) > tall * 0.40))

    at = offset(x, y, angle, length / 2 - tall / 2, 0)
    canvas.solid(
        box(tall, head, head * 0.10),
        at,
        polished,
        METAL,
        angle=angle,
        bevel=head / 2,
        rise=0.8,
        lift=head * 0.35,
        profile=box(9, head),
    )


def pushpin(
    canvas: Canvas, x: float, y: float, length: float, angle: float, colour: Colour | str = (0.97, 0.70, 0.10)
) -> None:
    """A pushpin on its side, the middle of its body at (x, y), its needle where `angle` points to."""
    plastic = Material(gloss=0.55, polish=24)
    k = length / (PIN_BODY + PIN_NEEDLE)
    body, needle = PIN_BODY * k, PIN_NEEDLE * k
    at = (x, y)
    canvas.solid(
        capsule(needle + 0.006 * k, 0.0021 * k),
        offset(*at, angle, body / 2 + needle / 2, 0),
        (0.62, 0.58, 0.50),
        METAL,
        angle=angle,
        bevel=0.002 * k,
        lift=0.004 * k,
    )
    canvas.solid(box(body, 0.0165 * k, 0.003 * k), at, colour, plastic, angle=angle, bevel=0.009 * k, lift=0.008 * k)
    for dx, height, width in (
        (-body / 2 + 0.005 * k, 0.037 * k, 0.011 * k),
        (body / 2 - 0.006 * k, 0.032 * k, 0.010 * k),
    ):
        flange = offset(*at, angle, dx, 0)
        canvas.solid(box(width, height, 0.004 * k), flange, colour, plastic, angle=angle, bevel=0.006 * k, rise=0.9)


def tablet(canvas: Canvas, x: float, y: float, radius: float, angle: float, colour: str) -> None:
    """A round tablet with a score across it."""
    coat = rgb(colour) if colour == "white" else mix(colour, "white", 0.06)
    chalk = Material(gloss=0.08, polish=8, speckle=0.015, pitch=0.005)
    canvas.solid(disc(radius), (x, y), coat, chalk, bevel=radius * 0.5, rise=0.45, lift=0.010)
    canvas.flat(box(radius * 1.7, 0.0045, 0.002), (x, y), mix(coat, "black", 0.30), angle=angle, softness=0.002)
