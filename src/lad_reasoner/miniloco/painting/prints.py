"""The little pictures that are printed on labels and sachets."""

from __future__ import annotations

from lad_reasoner.miniloco.colours import COLOURS, mix
from lad_reasoner.miniloco.painting.paint import GLASS, PLASTIC, Canvas
from lad_reasoner.miniloco.painting.shapes import box, disc, ellipse, offset, polyline, spline
from lad_reasoner.miniloco.scene import Item


def juice_fruit(canvas: Canvas, picture: Item) -> None:
    """An orange, a pair of cherries, or a banana."""
    x, y, angle, size = picture.x, picture.y, picture.angle, picture.size
    colour = COLOURS[picture.colour]

    def at(dx: float, dy: float) -> tuple[float, float]:
        return offset(x, y, angle, dx * size, dy * size)

    if picture.shows == "orange":
        canvas.solid(disc(0.40 * size), at(0.02, 0.06), mix(colour, "yellow", 0.25), PLASTIC, bevel=0.40 * size)
        canvas.flat(ellipse(0.30 * size, 0.11 * size), at(-0.20, -0.34), (0.10, 0.36, 0.16), angle=angle - 22)
    elif picture.shows == "cherry":
        stem = polyline(
            [(-0.22 * size, 0.14 * size), (0.02 * size, -0.40 * size), (0.24 * size, 0.10 * size)],
            0.022 * size,
        )
        canvas.flat(stem, (x, y), (0.18, 0.34, 0.10), angle=angle)
        for dx, dy in ((-0.24, 0.20), (0.24, 0.16)):
            canvas.solid(disc(0.24 * size), at(dx, dy), colour, GLASS, bevel=0.24 * size)
        canvas.flat(ellipse(0.22 * size, 0.09 * size), at(0.20, -0.38), (0.16, 0.46, 0.18), angle=angle + 12)
    else:
        for bend, tone in ((0.30, 0.12), (0.16, 0.0)):
            curve = [
                (-0.46, -0.16),
                (-0.26, bend - 0.02),
                (0.04, bend + 0.06),
                (0.30, bend - 0.10),
                (0.46, -0.22),
            ]
            shape = polyline(spline([(a * size, b * size) for a, b in curve], 4), 0.105 * size)
            canvas.solid(shape, (x, y), mix(colour, "brown", tone), PLASTIC, angle=angle, bevel=0.10 * size)
        for dx, dy in ((-0.50, -0.20), (0.50, -0.26)):
            canvas.flat(disc(0.06 * size), at(dx, dy), (0.30, 0.24, 0.10))


def tea_plant(canvas: Canvas, sort: str, at: tuple[float, float], angle: float) -> None:
    """A lemon, leaves of mint, berries, or a rose, about 0.1 of the long side across."""

    def local(dx: float, dy: float) -> tuple[float, float]:
        return offset(*at, angle, dx, dy)

    leaf = (0.20, 0.50, 0.22)
    if sort == "lemon":
        canvas.solid(
            ellipse(0.050, 0.036),
            local(0, 0.008),
            "yellow",
            PLASTIC,
            angle=angle - 20,
            bevel=0.036,
            lift=0.002,
        )
        canvas.solid(disc(0.011), local(0.046, -0.009), mix("yellow", "brown", 0.1), PLASTIC, bevel=0.011)
        canvas.flat(ellipse(0.030, 0.012), local(-0.026, -0.040), leaf, angle=angle + 20)
    elif sort == "mint":
        for dx, dy, turn, long in (
            (-0.026, 0.014, -38, 0.042),
            (0.026, 0.014, 218, 0.042),
            (0.0, -0.024, -90, 0.040),
        ):
            middle = local(dx, dy)
            canvas.solid(
                ellipse(long, 0.021),
                middle,
                "green",
                PLASTIC,
                angle=angle + turn,
                bevel=0.016,
                rise=0.6,
                lift=0.002,
            )
            canvas.flat(box(long * 1.6, 0.0026), middle, (0.75, 0.90, 0.70), angle=angle + turn, opacity=0.8)
    elif sort == "berry":
        for dx, dy in ((-0.024, 0.018), (0.024, 0.020), (0.0, -0.018)):
            canvas.solid(disc(0.025), local(dx, dy), "purple", PLASTIC, bevel=0.025, lift=0.002)
        canvas.flat(ellipse(0.026, 0.011), local(0.024, -0.046), leaf, angle=angle - 20)
    else:
        canvas.flat(polyline([(0.0, 0.0), (0.008, 0.060)], 0.0035), at, leaf, angle=angle)
        canvas.flat(ellipse(0.022, 0.009), local(0.024, 0.046), leaf, angle=angle - 30)
        for radius, tone, dx, dy in (
            (0.042, 0.0, 0, -0.012),
            (0.031, 0.22, 0.004, -0.016),
            (0.019, 0.0, -0.003, -0.012),
            (0.009, 0.35, 0, -0.013),
        ):
            canvas.solid(
                disc(radius),
                local(dx, dy),
                mix("pink", "red", tone),
                PLASTIC,
                bevel=radius * 0.6,
                rise=0.5,
                lift=0.002,
            )
