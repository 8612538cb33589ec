"""Evaluation product after MVTec LOCO AD's splicing connectors: two lever connectors joined by one cable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.paint import GLASS, PLASTIC, Canvas, Colour, Material, mix, smoothstep
from lad_reasoner.miniloco.scene import Connection, Item, Product, Region, Scene, pick
from lad_reasoner.miniloco.shapes import box, offset, polyline, spline

NAME = "splicing_connectors"
RULE = (
    "Two connectors with the same number of clamps, 2, 3 or 5, are joined by exactly one cable. Its ends sit "
    "in the same row on both sides. The cable is yellow between connectors of 2 clamps, blue between 3, red "
    "between 5."
)
WIDTH, HEIGHT = 1.0, 0.5
CABLE_COLOURS = {2: "yellow", 3: "blue", 5: "red"}
PITCH = 0.049
HOUSING = 0.158
SIDES = ("left", "right")


def clamps(connector: Item) -> int:
    """The number of clamps of a connector, from its name: 'connector with 3 clamps'."""
    return int(connector.what.split()[2])


def _what(number: int) -> str:
    return f"connector with {number} clamps"


def connectors(scene: Scene) -> list[Item]:
    return [item for item in scene.items if item.what.startswith("connector")]


def _on(scene: Scene, side: str) -> Item | None:
    return next((item for item in connectors(scene) if item.place == side), None)


def socket(connector: Item, row: int) -> tuple[float, float]:
    """Where the cable enters row 0, 1, … of a connector, counted from the top of the picture."""
    inwards = 1 if connector.place == "left" else -1
    dy = (row - (clamps(connector) - 1) / 2) * PITCH
    return offset(connector.x, connector.y, connector.angle, inwards * HOUSING / 2, dy)


def _slack(start: tuple[float, float], end: tuple[float, float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Points of a cable that leaves both ends level and wanders between them."""
    (ax, ay), (bx, by) = start, end
    span, sag = bx - ax, float(rng.uniform(-0.035, 0.035))
    sway = float(rng.normal(0, 0.006))
    return [
        (ax, ay),
        (ax + 0.16 * span, ay + 0.25 * sag),
        (ax + 0.38 * span, ay + 0.30 * (by - ay) + sag + sway),
        (ax + 0.62 * span, ay + 0.70 * (by - ay) + sag - sway),
        (bx - 0.16 * span, by + 0.25 * sag),
        (bx, by),
    ]


def good(rng: np.random.Generator) -> Scene:
    number = int(pick(rng, [2, 3, 5]))
    row = int(rng.integers(number))
    room = 0.5 - number * PITCH / 2 - 0.07
    middle = 0.25 + float(rng.uniform(-room * 0.5, room * 0.5)) * (0.8 if number < 5 else 0.5)
    places = []
    for side, x in zip(SIDES, (0.20, 0.80), strict=True):
        y = float(np.clip(middle + rng.uniform(-0.035, 0.035), 0.04 + number * PITCH / 2, 0.46 - number * PITCH / 2))
        angle = float(np.clip(rng.normal(0, 3.5), -8, 8))
        places.append(
            Item(
                _what(number),
                x + float(rng.uniform(-0.05, 0.05)),
                y,
                max(HOUSING, number * PITCH),
                "orange",
                side,
                angle,
            )
        )
    colour = CABLE_COLOURS[number]
    path = _slack(socket(places[0], row), socket(places[1], row), rng)
    cable = _cable(path, colour)
    return Scene(
        NAME,
        WIDTH,
        HEIGHT,
        (*places, cable),
        connections=(Connection("cable", colour, f"left row {row + 1}", f"right row {row + 1}"),),
        layout={
            "paths": ((colour, tuple(path)),),
            "mesh": (float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
        },
    )


def _cable(path: list[tuple[float, float]], colour: str) -> Item:
    """The cable as an item: its centre lies on it."""
    line = spline(path)
    x, y = line[len(line) // 2]
    return Item("cable", x, y, path[-1][0] - path[0][0], colour, "between the connectors")


def check(scene: Scene) -> list[str]:
    broken = []
    sides = [_on(scene, side) for side in SIDES]
    broken += [f"the {side} connector is missing" for side, found in zip(SIDES, sides, strict=True) if found is None]
    numbers = [clamps(found) for found in sides if found is not None]
    if len(set(numbers)) > 1:
        broken.append(f"{numbers[0]} clamps on the left, {numbers[1]} on the right")
    if len(scene.connections) != 1:
        broken.append(f"{len(scene.connections)} cables, not one")
    for cable in scene.connections:
        if not cable.start or not cable.end:
            broken.append("a cable does not join both connectors")
        elif cable.start.split()[-1] != cable.end.split()[-1]:
            broken.append(f"the cable runs from {cable.start} to {cable.end}")
        if numbers and len(set(numbers)) == 1 and cable.colour != CABLE_COLOURS[numbers[0]]:
            broken.append(f"the cable is {cable.colour}, not {CABLE_COLOURS[numbers[0]]}")
    return broken


def _span(path: tuple[tuple[float, float], ...], height: float = 0.05) -> Region:
    xs, ys = [x for x, _ in path], [y for _, y in path]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    return Region(*middle, max(xs) - min(xs), max(ys) - min(ys) + height)


def _around_connector(item: Item) -> Region:
    return Region(item.x, item.y, HOUSING * 1.05, clamps(item) * PITCH * 1.1, item.angle)


def _without_cables(scene: Scene) -> Scene:
    return replace(scene.without(*scene.all("cable")), connections=(), layout={**scene.layout, "paths": ()})


def _with_cable(scene: Scene, colour: str, rows: tuple[int, int], rng: np.random.Generator) -> Scene:
    left, right = (_on(scene, side) for side in SIDES)
    assert left is not None and right is not None
    path = _slack(socket(left, rows[0]), socket(right, rows[1]), rng)
    joined = Connection("cable", colour, f"left row {rows[0] + 1}", f"right row {rows[1] + 1}")
    paths = (*scene.layout["paths"], (colour, tuple(path)))
    return replace(
        scene.plus(_cable(path, colour)),
        connections=(*scene.connections, joined),
        layout={**scene.layout, "paths": paths},
    )


def _rows(scene: Scene) -> tuple[int, int, str]:
    """Row of the one cable (from 0), number of clamps, and the cable's colour."""
    (cable,) = scene.connections
    return int(cable.start.split()[-1]) - 1, clamps(connectors(scene)[0]), cable.colour


def _missing_cable(scene: Scene, rng: np.random.Generator) -> Scene:
    ((_, path),) = scene.layout["paths"]
    return _without_cables(scene).broken("the cable between the connectors is missing", _span(path))


def _cable_cut(scene: Scene, rng: np.random.Generator) -> Scene:
    ((colour, path),) = scene.layout["paths"]
    (cable,) = scene.connections
    line = spline(path)
    middle, gap = int(rng.integers(10, 21)), 1
    left, right = line[: middle - gap], line[middle + gap + 1 :]
    bare = _without_cables(scene)
    halves = (
        Item("cable", *left[len(left) // 2], left[-1][0] - left[0][0], colour, "left"),
        Item("cable", *right[len(right) // 2], right[-1][0] - right[0][0], colour, "right"),
    )
    cut = replace(
        bare.plus(*halves),
        connections=(replace(cable, end=""), replace(cable, start="")),
        layout={**bare.layout, "paths": ((colour, tuple(left)), (colour, tuple(right)))},
    )
    return cut.broken("the cable is cut in two", Region(*line[middle], 0.10, 0.06))


def _missing_connector(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, connectors(scene))
    (cable,) = scene.connections
    left_gone = gone.place == "left"
    loose = replace(cable, start="" if left_gone else cable.start, end=cable.end if left_gone else "")
    words = f"the {gone.place} connector is missing"
    return replace(scene.without(gone), connections=(loose,)).broken(words, _around_connector(gone))


def _extra_cable(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [r for r in range(number) if r != row]))
    more = _with_cable(scene, colour, (other, other), rng)
    return more.broken("there are two cables, there should be one", _span(more.layout["paths"][-1][1]))


def _wrong_row(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [r for r in range(number) if r != row]))
    rows = (row, other) if rng.integers(2) else (other, row)
    wrong = _with_cable(_without_cables(scene), colour, rows, rng)
    words = f"the cable runs from row {rows[0] + 1} on the left to row {rows[1] + 1} on the right"
    return wrong.broken(words, _span(wrong.layout["paths"][0][1]))


def _wrong_colour(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    wrong = str(pick(rng, [c for c in CABLE_COLOURS.values() if c != colour]))
    swapped = _with_cable(_without_cables(scene), wrong, (row, row), rng)
    words = f"the cable is {wrong}, between connectors of {number} clamps it should be {colour}"
    return swapped.broken(words, _span(swapped.layout["paths"][0][1]))


def _unequal_connectors(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [n for n in CABLE_COLOURS if n != number]))
    changed = pick(rng, connectors(scene))
    room = other * PITCH / 2
    y = float(np.clip(changed.y, 0.04 + room, 0.46 - room))
    bare = _without_cables(scene).change(changed, what=_what(other), y=y, size=max(HOUSING, other * PITCH))
    kept = min(row, other - 1)
    words = f"the {changed.place} connector has {other} clamps, the other one has {number}"
    found = _with_cable(bare, colour, (kept, kept), rng)
    now = _on(found, changed.place)
    assert now is not None
    return found.broken(words, _around_connector(now))


def spots(scene: Scene) -> list[tuple[float, float, float]]:
    return [(*offset(c.x, c.y, c.angle, 0.03 if c.place == "left" else -0.03, 0), 0.05) for c in connectors(scene)]


def paint(canvas: Canvas, scene: Scene) -> None:
    _mesh(canvas, *scene.layout["mesh"])
    for colour, path in scene.layout["paths"]:
        _paint_cable(canvas, colour, list(path))
    for connector in connectors(scene):
        _paint_connector(canvas, connector)


def _mesh(canvas: Canvas, phase_x: float, phase_y: float) -> None:
    """Expanded metal over black: wavy strands touch their neighbours in turn and leave staggered holes."""
    window = canvas.everywhere()
    wide, tall = 0.082, 0.0215
    wave = 0.5 * np.cos(2 * np.pi * (window.x / wide + phase_x))
    v = window.y / tall + 2 * phase_y + 0.08 * canvas.noise(window, 0.05)
    # Signed height above the nearest strand with an even number, and with an odd one; one unit is a row.
    even = (v - wave + 1) % 2 - 1
    odd = (v + wave) % 2 - 1
    below_even, below_odd = np.abs(even), np.abs(odd)
    side = np.where(below_even < below_odd, even, odd)
    # A soft minimum makes the knots, where two strands meet, thicker than the strands.
    both = below_even + below_odd
    distance = np.minimum(below_even, below_odd) - 0.16 * np.exp(-((both / 0.35) ** 2))
    strand = 1 - smoothstep(distance, 0.14, 0.32)
    bright = 0.72 - 1.5 * side + 0.16 * canvas.noise(window, 0.010)
    ground = np.asarray((0.045, 0.042, 0.042), np.float32)
    metal = np.asarray((0.72, 0.70, 0.67), np.float32) * np.clip(bright, 0.22, 1.25)[..., None]
    canvas.pixels[:] = ground + strand[..., None] * (metal - ground)


def _paint_cable(canvas: Canvas, colour: str, path: list[tuple[float, float]]) -> None:
    line = spline(path, 5) if len(path) == 6 else path
    x, y = (line[0][0] + line[-1][0]) / 2, (line[0][1] + line[-1][1]) / 2
    shape = polyline([(a - x, b - y) for a, b in line], 0.0088)
    tone = {"yellow": (0.93, 0.72, 0.14), "blue": (0.28, 0.36, 0.76), "red": (0.80, 0.16, 0.10)}[colour]
    canvas.solid(shape, (x, y), tone, PLASTIC, bevel=0.0088, lift=0.012, strength=0.8)


def _paint_connector(canvas: Canvas, connector: Item) -> None:
    number = clamps(connector)
    inwards = 1 if connector.place == "left" else -1
    angle = connector.angle
    x, y = connector.x, connector.y
    tall = number * PITCH
    clear: Colour = (0.66, 0.61, 0.59)

    def at(dx: float, dy: float) -> tuple[float, float]:
        return offset(x, y, angle, inwards * dx, dy)

    body = box(HOUSING * 0.98, tall, 0.006)
    canvas.shadow(body, (x, y), angle=angle, lift=0.020, strength=0.8)
    canvas.solid(
        body,
        (x, y),
        clear,
        Material(gloss=0.5, speckle=0.05, pitch=0.008),
        angle=angle,
        bevel=0.008,
        opacity=0.82,
    )
    orange = (0.97, 0.33, 0.10)
    for row in range(number):
        dy = (row - (number - 1) / 2) * PITCH
        # Cable entry inside the clear housing, then the lever over it.
        canvas.flat(box(0.052, PITCH * 0.66, 0.004), at(-0.052, dy), (0.36, 0.33, 0.33), angle=angle, opacity=0.7)
        canvas.solid(
            box(0.018, PITCH * 0.40, 0.003),
            at(-0.060, dy),
            (0.78, 0.75, 0.73),
            GLASS,
            angle=angle,
            bevel=0.005,
        )
        canvas.flat(box(0.004, PITCH * 0.62), at(-0.040, dy), (0.86, 0.84, 0.83), angle=angle, opacity=0.8)
        lever = box(0.104, PITCH * 0.92, 0.007)
        canvas.solid(lever, at(0.027, dy), orange, PLASTIC, angle=angle, bevel=0.006, lift=0.006)
        canvas.solid(
            box(0.034, PITCH * 0.56, 0.003),
            at(-0.006, dy),
            (0.42, 0.30, 0.26),
            GLASS,
            angle=angle,
            bevel=0.004,
            rise=-1,
        )
        canvas.flat(box(0.012, PITCH * 0.40, 0.002), at(0.000, dy), (0.72, 0.66, 0.62), angle=angle, opacity=0.9)
        ridge = mix(orange, "black", 0.25)
        canvas.flat(box(0.003, PITCH * 0.80), at(0.020, dy), ridge, angle=angle, opacity=0.7, softness=0.002)
    for dy in (np.arange(1, number) - number / 2) * PITCH:
        canvas.flat(
            box(0.105, 0.0032),
            at(0.026, float(dy)),
            (0.20, 0.10, 0.08),
            angle=angle,
            opacity=0.8,
            softness=0.002,
        )
    canvas.solid(
        box(0.020, tall * 0.985, 0.004),
        at(-0.072, 0),
        (0.72, 0.69, 0.68),
        GLASS,
        angle=angle,
        bevel=0.006,
        opacity=0.55,
    )


PRODUCT = Product(
    NAME,
    RULE,
    good,
    check,
    {
        "missing_cable": _missing_cable,
        "cable_cut": _cable_cut,
        "missing_connector": _missing_connector,
        "extra_cable": _extra_cable,
        "wrong_cable_location": _wrong_row,
        "cable_color": _wrong_colour,
        "wrong_connector_type": _unequal_connectors,
    },
    paint,
    spots,
)
