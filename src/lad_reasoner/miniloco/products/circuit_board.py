"""A small controller board: every part has its footprint; good boards differ in pose, light and tolerance alone."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.painting import electronics, surfaces
from lad_reasoner.miniloco.painting.paint import METAL, Canvas
from lad_reasoner.miniloco.painting.shapes import box, outline, ring
from lad_reasoner.miniloco.scene import (
    Item,
    Product,
    Region,
    Scene,
    Spot,
    around,
    by_name,
    jitter,
    pick,
    pick_two,
    turn_of,
)

NAME = "circuit_board"
RULE = (
    "Two chips, the larger on the left, both with their notch upwards. Five resistors in a row, three "
    "capacitors in a column on the right. The connectors along the lower edge are red, white and blue from "
    "left to right. The lamp in the upper left corner is green."
)
WIDTH, HEIGHT = 1.0, 0.75
MIDDLE = (0.5, 0.375)
CHIPS = {"left": (0.30, 0.300, 0.20), "right": (0.575, 0.285, 0.14)}
RESISTORS = {f"place {i + 1}": (0.205 + 0.115 * i, 0.485) for i in range(5)}
CAPACITORS = {"top": (0.845, 0.18), "middle": (0.845, 0.33), "bottom": (0.845, 0.48)}
CONNECTORS = {"left": (0.23, 0.62, "red"), "middle": (0.47, 0.62, "white"), "right": (0.71, 0.62, "blue")}
LAMP = (0.125, 0.125)
# How far off its footprint a part may be soldered, along x and y.
TOLERANCE = 0.002


def _near(x: float, y: float, rng: np.random.Generator) -> tuple[float, float]:
    """Where a part is soldered that belongs at (x, y)."""
    return x + jitter(rng, TOLERANCE), y + jitter(rng, TOLERANCE)


def good(rng: np.random.Generator) -> Scene:
    items = []
    for place, (x, y, size) in CHIPS.items():
        items.append(Item("chip", *_near(x, y, rng), size, "black", place, float(rng.normal(0, 0.5))))
    for place, (x, y) in RESISTORS.items():
        items.append(Item("resistor", *_near(x, y, rng), 0.105, "brown", place, 90.0 + float(rng.normal(0, 1.0))))
    for place, (x, y) in CAPACITORS.items():
        items.append(Item("capacitor", *_near(x, y, rng), 0.105, "grey", place, jitter(rng, 10)))
    for place, (x, y, colour) in CONNECTORS.items():
        items.append(Item("connector", *_near(x, y, rng), 0.18, colour, place))
    items.append(Item("lamp", *LAMP, 0.05, "green", "upper left"))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items))


def check(scene: Scene) -> list[str]:
    broken = []
    for place, (_, _, size) in CHIPS.items():
        chips = scene.all("chip", place=place)
        if len(chips) != 1:
            broken.append(f"{len(chips)} chips on the {place}, not one")
        elif turn_of(chips[0].angle) >= 10:
            broken.append(f"the notch of the {place} chip does not point upwards")
        elif chips[0].size != size:
            broken.append(f"the {place} chip is of the wrong size")
    for what, places in (("resistor", RESISTORS), ("capacitor", CAPACITORS)):
        if len(scene.all(what)) != len(places):
            broken.append(f"{len(scene.all(what))} {what}s, not {len(places)}")
        broken += [f"no {what} at {place}" for place in places if not scene.all(what, place=place)]
    for place, (_, _, colour) in CONNECTORS.items():
        colours = [item.colour for item in scene.all("connector", place=place)]
        if colours != [colour]:
            broken.append(f"the {place} connector is {' and '.join(colours) or 'missing'}, not {colour}")
    if [lamp.colour for lamp in scene.all("lamp")] != ["green"]:
        broken.append("the lamp is not green")
    return broken


def _missing_resistor(scene: Scene, rng: np.random.Generator) -> Scene:
    part = pick(rng, scene.all("resistor"))
    return scene.without(part).broken(f"the resistor at {part.place} is missing", Region(part.x, part.y, 0.05, 0.12))


def _missing_capacitor(scene: Scene, rng: np.random.Generator) -> Scene:
    part = pick(rng, scene.all("capacitor"))
    return scene.without(part).broken(f"the {part.place} capacitor is missing", around(part))


def _extra_capacitor(scene: Scene, rng: np.random.Generator) -> Scene:
    extra = Item("capacitor", 0.715, 0.16, 0.105, "grey", "beside the column", jitter(rng, 10))
    return scene.plus(extra).broken("there is a fourth capacitor, left of the column", around(extra))


def _swapped_connectors(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.all("connector"), rng)
    words = f"the {one.colour} and the {two.colour} connector are swapped"
    regions = (Region(one.x, one.y, 0.19, 0.10), Region(two.x, two.y, 0.19, 0.10))
    return scene.exchange(one, two, "colour").broken(words, *regions)


def _missing_connector(scene: Scene, rng: np.random.Generator) -> Scene:
    part = pick(rng, scene.all("connector"))
    return scene.without(part).broken(f"the {part.colour} connector is missing", Region(part.x, part.y, 0.19, 0.10))


def _turned_chip(scene: Scene, rng: np.random.Generator) -> Scene:
    chip = pick(rng, scene.all("chip"))
    words = f"the {chip.place} chip is upside down, its notch points downwards"
    return scene.change(chip, angle=180.0).broken(words, Region(chip.x, chip.y, chip.size * 0.8, chip.size * 1.1))


def _wrong_lamp(scene: Scene, rng: np.random.Generator) -> Scene:
    (lamp,) = scene.all("lamp")
    colour = pick(rng, ["red", "yellow", "blue"])
    return scene.change(lamp, colour=colour).broken(f"the lamp is {colour}, it should be green", around(lamp, 1.5))


def spots(scene: Scene) -> list[Spot]:
    return [
        (0.44, 0.20, 0.06),
        (0.70, 0.17, 0.06),
        (0.30, 0.30, 0.06),
        (0.71, 0.36, 0.06),
        (0.14, 0.30, 0.06),
    ]


def _silkscreen(canvas: Canvas) -> None:
    white = (0.88, 0.90, 0.86)

    def frame(x: float, y: float, width: float, height: float) -> None:
        canvas.flat(
            outline(box(width, height, 0.004), 0.0026),
            (x, y),
            white,
            opacity=0.8,
        )

    def pad(x: float, y: float) -> None:
        canvas.solid(box(0.020, 0.020, 0.004), (x, y), (0.76, 0.76, 0.74), METAL, bevel=0.004)

    for x, y, size in CHIPS.values():
        frame(x, y, size * 0.78, size * 1.12)
    for x, y in RESISTORS.values():
        frame(x, y, 0.046, 0.074)
        pad(x, y - 0.050)
        pad(x, y + 0.050)
    for x, y in CAPACITORS.values():
        canvas.flat(ring(0.058, 0.0555), (x, y), white, opacity=0.8)
        pad(x - 0.022, y)
        pad(x + 0.022, y)
    for x, y, _ in CONNECTORS.values():
        frame(x, y, 0.192, 0.092)
        for i in range(4):
            pad(x - 0.06 + 0.04 * i, y)
    canvas.lettering("CTRL-7 rev B", (0.475, 0.105), white, height=0.022)
    for i, (x, _) in enumerate(RESISTORS.values()):
        canvas.lettering(f"R{i + 1}", (x + 0.036, 0.452), white, height=0.014)


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.62, 0.63, 0.65), unevenness=0.025)
    electronics.board(canvas, MIDDLE, (0.055, 0.30, 0.185))
    _silkscreen(canvas)
    painters = {
        "chip": electronics.chip,
        "resistor": electronics.resistor,
        "capacitor": electronics.capacitor,
        "connector": electronics.connector,
        "lamp": electronics.lamp,
    }
    for item in scene.items:
        painters[item.what](canvas, item)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_resistor,
        _missing_capacitor,
        _extra_capacitor,
        _swapped_connectors,
        _missing_connector,
        _turned_chip,
        _wrong_lamp,
    ),
    paint=paint,
    spots=spots,
)
