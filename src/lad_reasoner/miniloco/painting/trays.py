"""Lunch trays of pressed fibre or plastic: a rounded shell with a lip and hollow compartments."""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting.paint import Canvas, Material
from lad_reasoner.miniloco.painting.shapes import Points, Shape, box, outline, polygon

CARD = (0.95, 0.90, 0.86)
# Corners of two floors with a slanted wall between them, from the middle of the tray, before their round edges.
SLANTED_NARROW = (
    (-0.385, -0.275),
    (-0.165, -0.275),
    (-0.148, -0.13),
    (-0.115, 0.0),
    (-0.085, 0.12),
    (-0.078, 0.275),
    (-0.385, 0.275),
)
SLANTED_WIDE = (
    (-0.06, -0.275),
    (0.385, -0.275),
    (0.385, 0.275),
    (0.035, 0.275),
    (0.025, 0.12),
    (-0.005, 0.0),
    (-0.04, -0.13),
)


def tray(
    canvas: Canvas,
    middle: tuple[float, float],
    tall: float,
    floors: Sequence[tuple[Shape, tuple[float, float]]],
    colour: Colour = CARD,
) -> None:
    """A tray about its middle, `tall` from upper to lower edge, with these floors: shape and middle of each."""
    fibre = Material(gloss=0.05, polish=8, speckle=0.012, pitch=0.006)
    canvas.solid(box(0.94, tall, 0.15), middle, colour, fibre, bevel=0.022, lift=0.02)
    smooth = Material(gloss=0.05, polish=8)
    # The lip: a shallow step down all round, dark where it turns away from the lamp.
    lx, ly, _ = canvas.light
    bright = (1.0, 0.98, 0.96) if colour == CARD else mix(colour, "white", 0.5)
    for shift, tone in ((0.004, mix(colour, "grey", 0.55)), (-0.004, bright)):
        lip = (middle[0] - lx * shift, middle[1] - ly * shift)
        canvas.flat(outline(box(0.90, tall - 0.04, 0.13), 0.006), lip, tone, opacity=0.6, softness=0.006)
    for floor, at in floors:
        canvas.solid(floor, at, mix(colour, "grey", 0.06), smooth, bevel=0.055, rise=-0.75)


def slanted_floor(points: Points, side: float, grow: float = 0.045) -> tuple[Shape, float]:
    """A floor, the polygon grown by a round edge, about its own middle; and that middle's x. Side -1 mirrors it."""
    middle = (min(x for x, _ in points) + max(x for x, _ in points)) / 2
    core = polygon([((x - middle) * side, y) for x, y in points])
    shape = Shape(lambda x, y: core(x, y) - grow, core.reach_x + grow, core.reach_y + grow)
    return shape, middle * side
