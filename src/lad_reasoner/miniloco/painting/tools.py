"""Hand tools seen from above, their handles down."""

from __future__ import annotations

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting.paint import METAL, PLASTIC, RUBBER, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import box, capsule, disc, hexagon, minus, moved, offset, polygon, union
from lad_reasoner.miniloco.scene import Item


def _handle(canvas: Canvas, tool: Item, middle: float, length: float, width: float) -> None:
    """A grip with ribs, `middle` below the tool's centre."""
    at = offset(tool.x, tool.y, tool.angle, 0, middle)
    upright = tool.angle + 90
    canvas.solid(
        capsule(length, width / 2),
        at,
        tool.colour,
        PLASTIC,
        angle=upright,
        bevel=width / 2,
        rise=0.8,
        lift=0.012,
    )
    for share in (-0.15, 0.0, 0.15):
        rib = offset(tool.x, tool.y, tool.angle, 0, middle + share * length)
        canvas.flat(
            box(width * 0.92, 0.007),
            rib,
            mix(tool.colour, "black", 0.5),
            angle=tool.angle,
            opacity=0.55,
            softness=0.004,
        )


def screwdriver(canvas: Canvas, tool: Item) -> None:
    """A screwdriver, large or small by its name."""
    grip = tool.size * 0.42
    blade = offset(tool.x, tool.y, tool.angle, 0, -tool.size * 0.20)
    width = 0.017 if "large" in tool.what else 0.013
    canvas.solid(
        box(tool.size * 0.60, width, 0.003),
        blade,
        "steel",
        METAL,
        angle=tool.angle + 90,
        bevel=width / 2,
        lift=0.012,
    )
    tip = offset(tool.x, tool.y, tool.angle, 0, -tool.size / 2 + 0.014)
    canvas.solid(box(0.026, width * 1.5, 0.003), tip, (0.60, 0.62, 0.65), METAL, angle=tool.angle + 90, bevel=0.004)
    _handle(canvas, tool, tool.size / 2 - grip / 2, grip, 0.058 if "large" in tool.what else 0.050)


def hammer(canvas: Canvas, tool: Item) -> None:
    """A hammer with face and claw."""
    stem = offset(tool.x, tool.y, tool.angle, 0, -0.05)
    canvas.solid(
        box(0.36, 0.026, 0.006),
        stem,
        (0.77, 0.60, 0.38),
        RUBBER,
        angle=tool.angle + 90,
        bevel=0.013,
        lift=0.012,
    )
    _handle(canvas, tool, tool.size / 2 - 0.10, 0.20, 0.046)
    head = offset(tool.x, tool.y, tool.angle, 0, -tool.size / 2 + 0.034)
    dark = Material(gloss=0.45, polish=20, mirror=0.35)
    canvas.solid(box(0.098, 0.050, 0.006), head, (0.40, 0.42, 0.45), dark, angle=tool.angle, bevel=0.014, lift=0.018)
    face = offset(*head, tool.angle, -0.058, 0)
    canvas.solid(box(0.030, 0.058, 0.006), face, (0.58, 0.60, 0.63), METAL, angle=tool.angle, bevel=0.010)
    claw = offset(*head, tool.angle, 0.050, 0)
    wedge = polygon([(-0.015, -0.024), (0.035, -0.006), (0.035, 0.006), (-0.015, 0.024)])
    canvas.solid(wedge, claw, (0.48, 0.50, 0.53), METAL, angle=tool.angle, bevel=0.010)


def wrench(canvas: Canvas, tool: Item) -> None:
    """A wrench: an open jaw above, a hexagonal eye below."""
    half = tool.size / 2
    jaw = minus(disc(0.046), moved(box(0.036, 0.070, 0.004), 0, -0.030, 12))
    eye = minus(disc(0.041), hexagon(0.044))
    body = union(
        moved(box(0.034, tool.size - 0.11, 0.008), 0, 0),
        moved(jaw, 0, -half + 0.046),
        moved(eye, 0, half - 0.041),
    )
    canvas.solid(body, (tool.x, tool.y), "steel", METAL, angle=tool.angle, bevel=0.009, lift=0.012)
    groove = box(0.014, tool.size * 0.42, 0.006)
    canvas.solid(groove, (tool.x, tool.y), (0.58, 0.60, 0.63), METAL, angle=tool.angle, bevel=0.005, rise=-0.8)


def brush(canvas: Canvas, tool: Item) -> None:
    """A flat brush with its collar."""
    half = tool.size / 2
    hair = offset(tool.x, tool.y, tool.angle, 0, -half + 0.055)
    bristles = Material(gloss=0.03, polish=8, speckle=0.16, pitch=0.0035)
    canvas.solid(box(0.086, 0.11, 0.012), hair, (0.70, 0.58, 0.40), bristles, angle=tool.angle, bevel=0.02, lift=0.012)
    collar = offset(tool.x, tool.y, tool.angle, 0, -half + 0.125)
    canvas.solid(box(0.092, 0.048, 0.004), collar, "steel", METAL, angle=tool.angle, bevel=0.010, lift=0.012)
    _handle(canvas, tool, half - (tool.size - 0.15) / 2, tool.size - 0.15, 0.048)
