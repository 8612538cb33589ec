"""A small controller board: every part has its footprint; good boards differ by pose, light and tolerance
alone.
"""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.paint import METAL, PLASTIC, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import box, capsule, disc, offset, outline, polyline, ring
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


def _near(rng: np.random.Generator) -> float:
    """How far off its footprint a part may be soldered."""
    return jitter(rng, 0.002)


def good(rng: np.random.Generator) -> Scene:
    items = [
        Item("chip", x + _near(rng), y + _near(rng), size, "black", place, float(rng.normal(0, 0.5)))
        for place, (x, y, size) in CHIPS.items()
    ]
    items += [
        Item(
            "resistor",
            x + _near(rng),
            y + _near(rng),
            0.105,
            "brown",
            place,
            90.0 + float(rng.normal(0, 1.0)),
        )
        for place, (x, y) in RESISTORS.items()
    ]
    items += [
        Item("capacitor", x + _near(rng), y + _near(rng), 0.105, "grey", place, jitter(rng, 10))
        for place, (x, y) in CAPACITORS.items()
    ]
    items += [
        Item("connector", x + _near(rng), y + _near(rng), 0.18, colour, place)
        for place, (x, y, colour) in CONNECTORS.items()
    ]
    return Scene(NAME, WIDTH, HEIGHT, (*items, Item("lamp", *LAMP, 0.05, "green", "upper left")))


def _upright(item: Item) -> bool:
    return turn_of(item.angle) < 10


def check(scene: Scene) -> list[str]:
    broken = []
    for place, (_, _, size) in CHIPS.items():
        here = scene.all("chip", place=place)
        if len(here) != 1:
            broken.append(f"{len(here)} chips on the {place}, not one")
        elif not _upright(here[0]):
            broken.append(f"the notch of the {place} chip does not point upwards")
        elif here[0].size != size:
            broken.append(f"the {place} chip is of the wrong size")
    for what, places in (("resistor", RESISTORS), ("capacitor", CAPACITORS)):
        if len(scene.all(what)) != len(places):
            broken.append(f"{len(scene.all(what))} {what}s, not {len(places)}")
        broken += [f"no {what} at {place}" for place in places if not scene.all(what, place=place)]
    for place, (_, _, colour) in CONNECTORS.items():
        found = [item.colour for item in scene.all("connector", place=place)]
        if found != [colour]:
            broken.append(f"the {place} connector is {' and '.join(found) or 'missing'}, not {colour}")
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
    return scene.change(one, colour=two.colour).change(two, colour=one.colour).broken(words, *regions)


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


def _printed_board(canvas: Canvas, colour: Colour) -> None:
    """The bare board: the same copper on every one, hence a fixed seed."""
    rng = np.random.default_rng(20240117)
    canvas.solid(
        box(0.90, 0.65, 0.02),
        MIDDLE,
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


def _paint_chip(canvas: Canvas, chip: Item) -> None:
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


def _paint_resistor(canvas: Canvas, part: Item) -> None:
    at, angle = (part.x, part.y), part.angle
    canvas.solid(capsule(0.118, 0.0032), at, "steel", METAL, angle=angle, bevel=0.003, lift=0.004)
    sand = (0.74, 0.58, 0.40)
    canvas.solid(box(0.066, 0.030, 0.013), at, sand, PLASTIC, angle=angle, bevel=0.015, lift=0.012)
    for dx, colour in ((-0.022, "brown"), (-0.008, "black"), (0.005, "red"), (0.022, (0.72, 0.55, 0.20))):
        band = offset(*at, angle, dx, 0)
        canvas.solid(box(0.0075, 0.0295, 0.002), band, colour, PLASTIC, angle=angle, bevel=0.015)


def _paint_capacitor(canvas: Canvas, part: Item) -> None:
    at, radius = (part.x, part.y), part.size / 2
    canvas.solid(disc(radius), at, (0.12, 0.14, 0.22), PLASTIC, bevel=radius * 0.25, lift=0.030)
    canvas.solid(disc(radius * 0.84), at, (0.70, 0.71, 0.73), METAL, bevel=radius * 0.12)
    for turn in (0.0, 60.0, 120.0):
        score = box(radius * 1.1, radius * 0.045)
        canvas.flat(score, at, (0.36, 0.37, 0.39), angle=part.angle + turn, softness=0.003)


def _paint_connector(canvas: Canvas, part: Item) -> None:
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


def _paint_lamp(canvas: Canvas, lamp: Item) -> None:
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


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.62, 0.63, 0.65), unevenness=0.025)
    _printed_board(canvas, (0.055, 0.30, 0.185))
    _silkscreen(canvas)
    painters = {
        "chip": _paint_chip,
        "resistor": _paint_resistor,
        "capacitor": _paint_capacitor,
        "connector": _paint_connector,
        "lamp": _paint_lamp,
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
