"""A foam tray with a cut-out for each tool; all handles of one colour."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.paint import METAL, PLASTIC, RUBBER, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import (
    Shape,
    box,
    capsule,
    disc,
    hexagon,
    minus,
    moved,
    offset,
    polygon,
    union,
)
from lad_reasoner.miniloco.scene import Item, Product, Region, Scene, Spot, by_name, jitter, pick, pick_two, turn_of

NAME = "tool_tray"
RULE = (
    "A foam tray holds, from left to right, a hammer, a large screwdriver, a small screwdriver, a wrench and "
    "a brush, each in its own slot with its handle down. All handles have the same colour."
)
WIDTH, HEIGHT = 1.0, 0.8
ORDER = ("hammer", "large screwdriver", "small screwdriver", "wrench", "brush")
HANDLED = ("hammer", "large screwdriver", "small screwdriver", "brush")
LENGTHS = {
    "hammer": 0.52,
    "large screwdriver": 0.54,
    "small screwdriver": 0.38,
    "wrench": 0.50,
    "brush": 0.48,
}
SLOTS = (0.185, 0.350, 0.490, 0.645, 0.815)
COLOURS = ("red", "yellow", "green", "blue", "orange")
FOAMS = {"grey": (0.20, 0.21, 0.23), "blue": (0.16, 0.23, 0.36), "green": (0.17, 0.27, 0.22)}


def _place(index: int) -> str:
    return f"slot {index + 1}"


def good(rng: np.random.Generator) -> Scene:
    colour, foam = str(pick(rng, COLOURS)), str(pick(rng, list(FOAMS)))
    shift = (jitter(rng, 0.012), jitter(rng, 0.012))
    items = []
    for index, what in enumerate(ORDER):
        x = SLOTS[index] + shift[0] + jitter(rng, 0.004)
        y = 0.4 + shift[1] + jitter(rng, 0.010)
        shown = colour if what in HANDLED else "steel"
        items.append(Item(what, x, y, LENGTHS[what], shown, _place(index), float(rng.normal(0, 1.0))))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items), layout={"shift": shift, "foam": foam})


def check(scene: Scene) -> list[str]:
    broken = []
    for index, what in enumerate(ORDER):
        here = [item for item in scene.items if item.place == _place(index)]
        if len(here) != 1:
            broken.append(f"{_place(index)} holds {len(here)} tools, not the {what}")
        elif here[0].what != what:
            broken.append(f"{_place(index)} holds a {here[0].what}, not the {what}")
        elif turn_of(here[0].angle) > 20:
            broken.append(f"the {what} lies upside down")
    colours = sorted({item.colour for item in scene.items if item.what in HANDLED})
    if len(colours) > 1:
        broken.append(f"the handles are {' and '.join(colours)}")
    return broken


def _around(item: Item) -> Region:
    return Region(item.x, item.y, 0.13, item.size * 1.06, item.angle)


def _missing_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    return scene.without(gone).broken(f"the {gone.what} is missing, {gone.place} is empty", _around(gone))


def _exchanged_tools(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.items, rng)
    words = f"the {one.what} and the {two.what} lie in each other's slots"
    swapped = scene.change(one, x=two.x, place=two.place).change(two, x=one.x, place=one.place)
    return swapped.broken(words, _around(one), _around(two))


def _wrong_handle(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, [item for item in scene.items if item.what in HANDLED])
    colour = str(pick(rng, [c for c in COLOURS if c != item.colour]))
    words = f"the handle of the {item.what} is {colour}, all others are {item.colour}"
    return scene.change(item, colour=colour).broken(words, _around(item))


def _upside_down_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    words = f"the {item.what} lies upside down, its handle points up"
    return scene.change(item, angle=180.0 + item.angle).broken(words, _around(item))


def _doubled_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    gone, kept = pick_two(scene.items, rng)
    words = f"there are two {kept.what}{'es' if kept.what.endswith('h') else 's'}"
    more = scene.change(gone, what=kept.what, size=kept.size, colour=kept.colour)
    return more.broken(f"{words}, the {gone.what} is missing", _around(gone))


def spots(scene: Scene) -> list[Spot]:
    return [(*offset(item.x, item.y, item.angle, 0, item.size * 0.28), 0.045) for item in scene.items] + [
        (0.265, 0.25, 0.04),
        (0.73, 0.70, 0.05),
    ]


def _slot(what: str) -> Shape:
    """The cut-out of a tool: its outline with some room about it."""
    length = LENGTHS[what] + 0.03
    trunk = box(0.068, length, 0.034)
    if what == "hammer":
        return union(trunk, moved(box(0.165, 0.085, 0.03), 0, -length / 2 + 0.055))
    if what == "wrench":
        return union(trunk, moved(disc(0.056), 0, -length / 2 + 0.05), moved(disc(0.052), 0, length / 2 - 0.05))
    if what == "brush":
        return union(trunk, moved(box(0.105, 0.16, 0.02), 0, -length / 2 + 0.09))
    return trunk


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.wood(canvas, (0.52, 0.40, 0.29))
    dx, dy = scene.layout["shift"]
    foam = FOAMS[scene.layout["foam"]]
    pores = Material(gloss=0.02, polish=8, speckle=0.07, pitch=0.004)
    canvas.solid(box(0.90, 0.70, 0.03), (0.5 + dx, 0.4 + dy), foam, pores, bevel=0.012, lift=0.02)
    hollow = Material(gloss=0.0, speckle=0.05, pitch=0.005)
    for what, x in zip(ORDER, SLOTS, strict=True):
        canvas.solid(_slot(what), (x + dx, 0.4 + dy), mix(foam, "black", 0.45), hollow, bevel=0.014, rise=-0.9)
    painters = {
        "hammer": _paint_hammer,
        "large screwdriver": _paint_screwdriver,
        "small screwdriver": _paint_screwdriver,
        "wrench": _paint_wrench,
        "brush": _paint_brush,
    }
    for item in scene.items:
        painters[item.what](canvas, item)


def _handle(canvas: Canvas, item: Item, middle: float, length: float, width: float) -> None:
    """A grip with ribs, `middle` below the tool's centre."""
    at = offset(item.x, item.y, item.angle, 0, middle)
    upright = item.angle + 90
    canvas.solid(
        capsule(length, width / 2),
        at,
        item.colour,
        PLASTIC,
        angle=upright,
        bevel=width / 2,
        rise=0.8,
        lift=0.012,
    )
    for share in (-0.15, 0.0, 0.15):
        rib = offset(item.x, item.y, item.angle, 0, middle + share * length)
        canvas.flat(
            box(width * 0.92, 0.007),
            rib,
            mix(item.colour, "black", 0.5),
            angle=item.angle,
            opacity=0.55,
            softness=0.004,
        )


def _paint_screwdriver(canvas: Canvas, item: Item) -> None:
    grip = item.size * 0.42
    blade = offset(item.x, item.y, item.angle, 0, -item.size * 0.20)
    width = 0.017 if "large" in item.what else 0.013
    canvas.solid(
        box(item.size * 0.60, width, 0.003),
        blade,
        "steel",
        METAL,
        angle=item.angle + 90,
        bevel=width / 2,
        lift=0.012,
    )
    tip = offset(item.x, item.y, item.angle, 0, -item.size / 2 + 0.014)
    canvas.solid(box(0.026, width * 1.5, 0.003), tip, (0.60, 0.62, 0.65), METAL, angle=item.angle + 90, bevel=0.004)
    _handle(canvas, item, item.size / 2 - grip / 2, grip, 0.058 if "large" in item.what else 0.050)


def _paint_hammer(canvas: Canvas, item: Item) -> None:
    stem = offset(item.x, item.y, item.angle, 0, -0.05)
    canvas.solid(
        box(0.36, 0.026, 0.006),
        stem,
        (0.77, 0.60, 0.38),
        RUBBER,
        angle=item.angle + 90,
        bevel=0.013,
        lift=0.012,
    )
    _handle(canvas, item, item.size / 2 - 0.10, 0.20, 0.046)
    head = offset(item.x, item.y, item.angle, 0, -item.size / 2 + 0.034)
    dark = Material(gloss=0.45, polish=20, mirror=0.35)
    canvas.solid(box(0.098, 0.050, 0.006), head, (0.40, 0.42, 0.45), dark, angle=item.angle, bevel=0.014, lift=0.018)
    face = offset(*head, item.angle, -0.058, 0)
    canvas.solid(box(0.030, 0.058, 0.006), face, (0.58, 0.60, 0.63), METAL, angle=item.angle, bevel=0.010)
    claw = offset(*head, item.angle, 0.050, 0)
    wedge = polygon([(-0.015, -0.024), (0.035, -0.006), (0.035, 0.006), (-0.015, 0.024)])
    canvas.solid(wedge, claw, (0.48, 0.50, 0.53), METAL, angle=item.angle, bevel=0.010)


def _paint_wrench(canvas: Canvas, item: Item) -> None:
    half = item.size / 2
    jaw = minus(disc(0.046), moved(box(0.036, 0.070, 0.004), 0, -0.030, 12))
    eye = minus(disc(0.041), hexagon(0.044))
    body = union(
        moved(box(0.034, item.size - 0.11, 0.008), 0, 0),
        moved(jaw, 0, -half + 0.046),
        moved(eye, 0, half - 0.041),
    )
    canvas.solid(body, (item.x, item.y), "steel", METAL, angle=item.angle, bevel=0.009, lift=0.012)
    groove = box(0.014, item.size * 0.42, 0.006)
    canvas.solid(groove, (item.x, item.y), (0.58, 0.60, 0.63), METAL, angle=item.angle, bevel=0.005, rise=-0.8)


def _paint_brush(canvas: Canvas, item: Item) -> None:
    half = item.size / 2
    hair = offset(item.x, item.y, item.angle, 0, -half + 0.055)
    bristles = Material(gloss=0.03, polish=8, speckle=0.16, pitch=0.0035)
    canvas.solid(box(0.086, 0.11, 0.012), hair, (0.70, 0.58, 0.40), bristles, angle=item.angle, bevel=0.02, lift=0.012)
    collar = offset(item.x, item.y, item.angle, 0, -half + 0.125)
    canvas.solid(box(0.092, 0.048, 0.004), collar, "steel", METAL, angle=item.angle, bevel=0.010, lift=0.012)
    _handle(canvas, item, half - (item.size - 0.15) / 2, item.size - 0.15, 0.048)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_tool,
        _exchanged_tools,
        _wrong_handle,
        _upside_down_tool,
        _doubled_tool,
    ),
    paint=paint,
    spots=spots,
)
