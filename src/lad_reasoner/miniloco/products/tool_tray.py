"""A foam tray with a cut-out for each tool; all handles of one colour."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import surfaces, tools
from lad_reasoner.miniloco.painting.paint import Canvas, Material
from lad_reasoner.miniloco.painting.shapes import (
    Shape,
    box,
    disc,
    moved,
    offset,
    union,
)
from lad_reasoner.miniloco.scene import (
    Item,
    Product,
    Region,
    Scene,
    Spot,
    box_around,
    by_name,
    jitter,
    pick,
    pick_two,
    turn_of,
)

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
HANDLE_COLOURS = ("red", "yellow", "green", "blue", "orange")
FOAMS = {"grey": (0.20, 0.21, 0.23), "blue": (0.16, 0.23, 0.36), "green": (0.17, 0.27, 0.22)}


def _place(index: int) -> str:
    return f"slot {index + 1}"


def good(rng: np.random.Generator) -> Scene:
    colour, foam = str(pick(rng, HANDLE_COLOURS)), str(pick(rng, list(FOAMS)))
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
        tools = [item for item in scene.items if item.place == _place(index)]
        if len(tools) != 1:
            broken.append(f"{_place(index)} holds {len(tools)} tools, not the {what}")
        elif tools[0].what != what:
            broken.append(f"{_place(index)} holds a {tools[0].what}, not the {what}")
        elif turn_of(tools[0].angle) > 20:
            broken.append(f"the {what} lies upside down")
    colours = sorted({item.colour for item in scene.items if item.what in HANDLED})
    if len(colours) > 1:
        broken.append(f"the handles are {' and '.join(colours)}")
    return broken


def _around(tool: Item) -> Region:
    return box_around(tool, 0.13, tool.size * 1.06)


def _missing_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    return scene.without(gone).broken(f"the {gone.what} is missing, {gone.place} is empty", _around(gone))


def _exchanged_tools(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.items, rng)
    words = f"the {one.what} and the {two.what} lie in each other's slots"
    return scene.exchange(one, two, "x", "place").broken(words, _around(one), _around(two))


def _wrong_handle(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, [item for item in scene.items if item.what in HANDLED])
    colour = str(pick(rng, [c for c in HANDLE_COLOURS if c != item.colour]))
    words = f"the handle of the {item.what} is {colour}, all others are {item.colour}"
    return scene.change(item, colour=colour).broken(words, _around(item))


def _upside_down_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    words = f"the {item.what} lies upside down, its handle points up"
    return scene.change(item, angle=180.0 + item.angle).broken(words, _around(item))


def _doubled_tool(scene: Scene, rng: np.random.Generator) -> Scene:
    gone, kept = pick_two(scene.items, rng)
    plural = f"{kept.what}es" if kept.what.endswith("h") else f"{kept.what}s"
    more = scene.change(gone, what=kept.what, size=kept.size, colour=kept.colour)
    return more.broken(f"there are two {plural}, the {gone.what} is missing", _around(gone))


def spots(scene: Scene) -> list[Spot]:
    on_handles = [(*offset(item.x, item.y, item.angle, 0, item.size * 0.28), 0.045) for item in scene.items]
    return [*on_handles, (0.265, 0.25, 0.04), (0.73, 0.70, 0.05)]


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
        "hammer": tools.hammer,
        "large screwdriver": tools.screwdriver,
        "small screwdriver": tools.screwdriver,
        "wrench": tools.wrench,
        "brush": tools.brush,
    }
    for item in scene.items:
        painters[item.what](canvas, item)


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
