"""Six wires between two terminal strips, in a fixed order of colours, held by a tie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.paint import METAL, PLASTIC, Canvas
from lad_reasoner.miniloco.painting.shapes import box, disc, offset, polyline, spline
from lad_reasoner.miniloco.scene import Connection, Item, Product, Region, Scene, Spot, by_name, jitter, pick_two

Point = tuple[float, float]
# A colour, and the terminals (from 0) that the wire joins above and below.
Wire = tuple[str, int, int]
# x of the upper and of the lower strip; where the tie is; the tone of the wood.
Layout = dict[str, Point]

NAME = "cable_bundle"
RULE = (
    "Six wires, from left to right white, brown, green, yellow, blue and red, run from the upper strip to "
    "the lower strip. Each joins terminals of the same number. One black tie holds the bundle."
)
WIDTH, HEIGHT = 0.86, 1.0
ORDER = ("white", "brown", "green", "yellow", "blue", "red")
NUMBER = len(ORDER)
PITCH = 0.082
UPPER, LOWER = 0.150, 0.850
WAIST = 0.030


def _x(index: int) -> float:
    """Terminal 0 … 5, from the middle of a strip."""
    return (index - (NUMBER - 1) / 2) * PITCH


def _path(layout: Layout, start: int, end: int) -> list[Point]:
    """A wire from one upper to one lower terminal, drawn together at the tie."""
    (upper_x, lower_x), (tie_x, tie_y) = layout["strips"], layout["tie"]
    top, bottom = (upper_x + _x(start), UPPER + 0.045), (lower_x + _x(end), LOWER - 0.045)
    lane = (start + end) / 2 - (NUMBER - 1) / 2
    gather = (tie_x + lane * WAIST, tie_y)
    return [
        top,
        (top[0] * 0.94 + gather[0] * 0.06, top[1] + 0.09),
        gather,
        (bottom[0] * 0.94 + gather[0] * 0.06, bottom[1] - 0.09),
        bottom,
    ]


def _wire(layout: Layout, colour: str, start: int, end: int) -> Item:
    """The wire as an item: its centre lies on it, above the tie."""
    path = spline(_path(layout, start, end))
    x, y = path[8]
    return Item("wire", x, y, LOWER - UPPER, colour, f"from terminal {start + 1}")


def _build(layout: Layout, wires: list[Wire]) -> Scene:
    items = [_wire(layout, *wire) for wire in wires]
    joined = [
        Connection("wire", c, f"upper terminal {start + 1}", f"lower terminal {end + 1}") for c, start, end in wires
    ]
    tie = Item("tie", *layout["tie"], 0.20, "black", "around the bundle")
    return Scene(
        NAME, WIDTH, HEIGHT, (*items, tie), connections=tuple(joined), layout={**layout, "wires": tuple(wires)}
    )


def good(rng: np.random.Generator) -> Scene:
    middle = 0.43 + jitter(rng, 0.02)
    layout = {
        "strips": (middle + jitter(rng, 0.05), middle + jitter(rng, 0.05)),
        "tie": (middle + jitter(rng, 0.06), 0.5 + jitter(rng, 0.09)),
        "wood": (float(rng.uniform(0, 1)), 0.0),
    }
    return _build(layout, [(colour, i, i) for i, colour in enumerate(ORDER)])


def _number(terminal: str) -> int:
    """3 of `upper terminal 3`."""
    return int(terminal.split()[-1])


def check(scene: Scene) -> list[str]:
    broken = []
    if len(scene.all("wire")) != NUMBER:
        broken.append(f"{len(scene.all('wire'))} wires, not {NUMBER}")
    for joined in scene.connections:
        if not joined.end:
            broken.append(f"the {joined.colour} wire is not plugged in below")
        elif _number(joined.start) != _number(joined.end):
            broken.append(f"the {joined.colour} wire runs from {joined.start} to {joined.end}")
        wanted = ORDER[_number(joined.start) - 1]
        if joined.colour != wanted:
            broken.append(f"the wire at {joined.start} is {joined.colour}, not {wanted}")
    if len(scene.all("tie")) != 1:
        broken.append("the tie is missing")
    return broken


def _rewired(scene: Scene, wires: list[Wire]) -> Scene:
    layout = {key: scene.layout[key] for key in ("strips", "tie", "wood")}
    return _build(layout, wires)


def _strip(scene: Scene, index: int, *, upper: bool) -> Region:
    """About a terminal of the upper or the lower strip, with some of its wire."""
    x = scene.layout["strips"][0 if upper else 1] + _x(index)
    return Region(x, UPPER + 0.06 if upper else LOWER - 0.06, PITCH * 0.9, 0.16)


def _missing_wire(scene: Scene, rng: np.random.Generator) -> Scene:
    wires = list(scene.layout["wires"])
    colour, i, _ = wires.pop(int(rng.integers(NUMBER)))
    words = f"the {colour} wire is missing"
    return _rewired(scene, wires).broken(words, _strip(scene, i, upper=True), _strip(scene, i, upper=False))


def _exchanged_wires(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(range(NUMBER), rng)
    wires = list(scene.layout["wires"])
    wires[one], wires[two] = (ORDER[two], one, one), (ORDER[one], two, two)
    words = f"the {ORDER[one]} and the {ORDER[two]} wire have changed places"
    return _rewired(scene, wires).broken(words, _strip(scene, one, upper=True), _strip(scene, two, upper=True))


def _crossed_wires(scene: Scene, rng: np.random.Generator) -> Scene:
    one = int(rng.integers(NUMBER - 1))
    two = min(one + int(rng.integers(1, 3)), NUMBER - 1)
    wires = list(scene.layout["wires"])
    wires[one], wires[two] = (ORDER[one], one, two), (ORDER[two], two, one)
    words = f"the {ORDER[one]} and the {ORDER[two]} wire cross: they are exchanged at the lower strip"
    return _rewired(scene, wires).broken(words, _strip(scene, one, upper=False), _strip(scene, two, upper=False))


def _loose_wire(scene: Scene, rng: np.random.Generator) -> Scene:
    index = int(rng.integers(NUMBER))
    joined = scene.connections[index]
    hanging = tuple(replace(c, end="") if c is joined else c for c in scene.connections)
    words = f"the {joined.colour} wire is not plugged into the lower strip"
    return replace(scene, connections=hanging).broken(words, _strip(scene, index, upper=False))


def _doubled_colour(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(range(NUMBER), rng)
    wires = list(scene.layout["wires"])
    wires[one] = (ORDER[two], one, one)
    words = f"there are two {ORDER[two]} wires, the one at terminal {one + 1} should be {ORDER[one]}"
    return _rewired(scene, wires).broken(words, _strip(scene, one, upper=True))


def _missing_tie(scene: Scene, rng: np.random.Generator) -> Scene:
    (tie,) = scene.all("tie")
    return scene.without(tie).broken("the tie around the bundle is missing", Region(tie.x, tie.y, 0.22, 0.06))


def spots(scene: Scene) -> list[Spot]:
    upper, lower = scene.layout["strips"]
    return [(upper, UPPER - 0.02, 0.06), (lower, LOWER + 0.02, 0.06), (upper - 0.15, UPPER - 0.02, 0.05)]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.wood(canvas, mix((0.74, 0.58, 0.40), (0.58, 0.42, 0.27), scene.layout["wood"][0]))
    layout = {key: scene.layout[key] for key in ("strips", "tie")}
    for x, y in zip(layout["strips"], (UPPER, LOWER), strict=True):
        _paint_strip(canvas, x, y, inwards=1 if y == UPPER else -1)
    for (colour, start, end), joined in zip(scene.layout["wires"], scene.connections, strict=True):
        path = _path(layout, start, end)
        if not joined.end:
            # The end has slipped out and lies beside the strip.
            away = 0.030 if start % 2 else -0.030
            path[-1] = (path[-1][0] + away, path[-1][1] - 0.055)
            path[-2] = (path[-2][0] + away * 0.3, path[-2][1] - 0.06)
        _paint_wire(canvas, colour, path, loose=not joined.end)
    for x, y in zip(layout["strips"], (UPPER, LOWER), strict=True):
        for i in range(NUMBER):
            clamp = (x + _x(i), y + (0.030 if y == UPPER else -0.030))
            canvas.solid(box(0.052, 0.034, 0.005), clamp, (0.86, 0.87, 0.86), PLASTIC, bevel=0.006, lift=0.004)
    for tie in scene.all("tie"):
        band = box(WAIST * NUMBER + 0.014, 0.026, 0.004)
        canvas.solid(band, (tie.x, tie.y), (0.13, 0.13, 0.14), PLASTIC, bevel=0.008, lift=0.012)
        knob = (tie.x + WAIST * 1.2, tie.y)
        canvas.solid(box(0.040, 0.040, 0.006), knob, (0.15, 0.15, 0.16), PLASTIC, bevel=0.008, lift=0.012)
        tail = offset(*knob, -62, 0.055, 0)
        canvas.solid(box(0.085, 0.016, 0.003), tail, (0.13, 0.13, 0.14), PLASTIC, angle=-62, bevel=0.004, lift=0.014)


def _paint_strip(canvas: Canvas, x: float, y: float, *, inwards: int) -> None:
    """A grey strip with a screw for each terminal, its number beside it."""
    canvas.solid(box(PITCH * NUMBER + 0.03, 0.115, 0.008), (x, y), (0.78, 0.79, 0.78), PLASTIC, bevel=0.009, lift=0.02)
    for i in range(NUMBER):
        at = (x + _x(i), y - inwards * 0.012)
        canvas.solid(disc(0.020), at, "steel", METAL, bevel=0.006, lift=0.004)
        canvas.flat(box(0.032, 0.0055), at, (0.12, 0.12, 0.13), angle=float(canvas.rng.uniform(0, 180)))
        canvas.lettering(str(i + 1), (at[0], y - inwards * 0.044), (0.15, 0.15, 0.16), height=0.020)
    for i in range(NUMBER - 1):
        canvas.flat(box(0.004, 0.100), (x + _x(i) + PITCH / 2, y), (0.40, 0.41, 0.41), softness=0.003)


def _paint_wire(canvas: Canvas, colour: str, path: list[Point], *, loose: bool) -> None:
    line = spline(path, 5)
    xs, ys = [x for x, _ in line], [y for _, y in line]
    at = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    tone = mix(colour, "white", 0.05)
    radius = 0.0125
    if loose:
        end_x, end_y = line[-1]
        tip = [(x - at[0], y - at[1]) for x, y in ((end_x, end_y), (end_x, end_y + 0.022))]
        canvas.solid(polyline(tip, 0.006), at, (0.82, 0.50, 0.28), METAL, bevel=0.006, lift=0.006)
    shape = polyline([(a - at[0], b - at[1]) for a, b in line], radius)
    canvas.solid(shape, at, tone, PLASTIC, bevel=radius, rise=0.8, lift=0.012, strength=0.6)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_wire,
        _exchanged_wires,
        _crossed_wires,
        _loose_wire,
        _doubled_colour,
        _missing_tie,
    ),
    paint=paint,
    spots=spots,
)
