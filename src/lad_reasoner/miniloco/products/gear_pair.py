"""Two gears on a plate: one large, one small, in mesh, their marks facing each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.colours import mix, rgb
from lad_reasoner.miniloco.painting import parts, surfaces
from lad_reasoner.miniloco.painting.paint import METAL, Canvas, Material, tint
from lad_reasoner.miniloco.painting.shapes import Array, Shape, box, disc, offset
from lad_reasoner.miniloco.scene import (
    Connection,
    Item,
    Product,
    Region,
    Scene,
    Spot,
    around,
    by_name,
    jitter,
    pick,
    turn_of,
)

NAME = "gear_pair"
RULE = (
    "A large brass gear and a small steel gear are in mesh, the large one on either side. Each is held by "
    "one nut. The red marks of the two gears face each other."
)
WIDTH, HEIGHT = 1.0, 0.68
TEETH = {"large gear": 20, "small gear": 12}
MODULE = 0.0195
GEAR_COLOURS = {"large gear": "brass", "small gear": "steel"}


def _radius(what: str) -> float:
    """Radius of the pitch circle: where the teeth of two gears in mesh touch."""
    return TEETH[what] * MODULE / 2


def _gear(what: str, x: float, y: float, mark: float) -> Item:
    """A gear whose mark lies in direction `mark` (degrees, clockwise from the right)."""
    return Item(what, x, y, 2 * (_radius(what) + 0.8 * MODULE), GEAR_COLOURS[what], angle=mark)


def good(rng: np.random.Generator) -> Scene:
    tilt = jitter(rng, 24) + (180.0 if rng.integers(2) else 0.0)
    centre = (0.5 + jitter(rng, 0.04), 0.34 + jitter(rng, 0.015))
    apart = _radius("large gear") + _radius("small gear")
    # The pair is centred, not the large gear: both reach equally far.
    large = offset(*centre, tilt, -_radius("small gear") - 0.8 * MODULE, 0)
    small = offset(*large, tilt, apart, 0)
    return _build(_gear("large gear", *large, tilt), _gear("small gear", *small, tilt + 180), rng)


def _build(one: Item, two: Item, rng: np.random.Generator) -> Scene:
    left, right = sorted((one, two), key=lambda gear: gear.x)
    gears = [replace(left, place="left"), replace(right, place="right")]
    nuts = [Item("nut", g.x, g.y, 0.076, "steel", _on(g), float(rng.uniform(0, 60))) for g in gears]
    mesh = Connection("mesh", "", "left gear", "right gear")
    return Scene(NAME, WIDTH, HEIGHT, (*gears, *nuts), connections=(mesh,))


def _on(gear: Item) -> str:
    """The place of what sits on a gear."""
    return f"on the {gear.place} gear"


def gears_of(scene: Scene) -> list[Item]:
    """The gears that are there, from left to right in a good scene."""
    return [item for item in scene.items if item.what in TEETH]


def check(scene: Scene) -> list[str]:
    broken = []
    gears = gears_of(scene)
    for what, colour in GEAR_COLOURS.items():
        same_size = scene.all(what)
        if len(same_size) != 1:
            broken.append(f"{len(same_size)} {what}s, not one")
        broken += [f"the {what} is {gear.colour}, not {colour}" for gear in same_size if gear.colour != colour]
    broken += [f"the nut {_on(gear)} is missing" for gear in gears if not scene.all("nut", place=_on(gear))]
    if len(gears) != 2:
        return broken
    one, two = gears
    apart = float(np.hypot(one.x - two.x, one.y - two.y))
    if apart > _radius(one.what) + _radius(two.what) + 0.01 or not scene.connections:
        broken.append("the gears are not in mesh")
    for gear, other in ((one, two), (two, one)):
        towards = np.degrees(np.arctan2(other.y - gear.y, other.x - gear.x))
        if turn_of(gear.angle - towards) > 12:
            broken.append(f"the mark of the {gear.what} does not face the other gear")
    return broken


def _gears_apart(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = gears_of(scene)
    away = float(rng.uniform(0.035, 0.060))
    turn = np.arctan2(two.y - one.y, two.x - one.x)
    dx, dy = float(np.cos(turn)) * away / 2, float(np.sin(turn)) * away / 2
    far = scene
    for item in scene.items:
        sign = -1 if item is one or item.place == _on(one) else 1
        far = far.change(item, x=item.x + sign * dx, y=item.y + sign * dy)
    reach = _radius(one.what)
    gap = Region(*offset(one.x, one.y, float(np.degrees(turn)), reach, 0), 0.14, 0.14, round=True)
    return replace(far, connections=()).broken("the gears are too far apart, they are not in mesh", gap)


def _missing_nut(scene: Scene, rng: np.random.Generator) -> Scene:
    nut = pick(rng, scene.all("nut"))
    return scene.without(nut).broken(f"the nut {nut.place} is missing", around(nut))


def _missing_gear(scene: Scene, rng: np.random.Generator) -> Scene:
    gear = pick(rng, gears_of(scene))
    (nut,) = scene.all("nut", place=_on(gear))
    return replace(scene.without(gear, nut), connections=()).broken(f"the {gear.what} is missing", around(gear, 1.02))


def _turned_mark(scene: Scene, rng: np.random.Generator) -> Scene:
    gear = pick(rng, gears_of(scene))
    # Whole teeth, so that the gears stay in mesh.
    step = 360 / TEETH[gear.what]
    teeth = int(rng.integers(3, TEETH[gear.what] - 2))
    words = f"the mark of the {gear.what} does not face the other gear"
    where = offset(gear.x, gear.y, gear.angle + teeth * step, _radius(gear.what) * 0.78, 0)
    region = Region(*where, 0.06, 0.06, round=True)
    return scene.change(gear, angle=gear.angle + teeth * step).broken(words, region)


def _exchanged_metals(scene: Scene, rng: np.random.Generator) -> Scene:
    large, small = scene.all("large gear")[0], scene.all("small gear")[0]
    words = "the large gear is steel and the small gear is brass, it should be the other way round"
    return scene.exchange(large, small, "colour").broken(words, around(large, 1.02), around(small, 1.02))


def _two_small_gears(scene: Scene, rng: np.random.Generator) -> Scene:
    large = scene.all("large gear")[0]
    (small,) = scene.all("small gear")
    where = offset(small.x, small.y, small.angle, 2 * _radius("small gear"), 0)
    second = _gear("small gear", *where, small.angle + 180)
    words = "there are two small gears, one of them should be large"
    return _build(small, second, rng).broken(words, around(replace(second, size=large.size)))


def spots(scene: Scene) -> list[Spot]:
    on_gears = [(*offset(g.x, g.y, g.angle + 90, _radius(g.what) * 0.62, 0), 0.045) for g in gears_of(scene)]
    return [*on_gears, (0.12, 0.10, 0.05), (0.88, 0.58, 0.05)]


def _toothed(what: str) -> Shape:
    """A spur gear. At angle 0 the large gear has a gap and the small one a tooth, so that they mesh face to face."""
    number, radius = TEETH[what], _radius(what)
    phase = np.pi if what == "large gear" else 0.0

    def distance(x: Array, y: Array) -> Array:
        wave = np.cos(number * np.arctan2(y, x) + phase)
        edge = radius + 0.75 * MODULE * np.tanh(2.2 * wave)
        # Along the steep flanks the plain difference of radii is too large a distance.
        result: Array = (np.hypot(x, y) - edge) * 0.62
        return result

    return Shape(distance, radius + MODULE, radius + MODULE)


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.10, 0.105, 0.115), unevenness=0.08)
    surfaces.brushed_plate(canvas, box(0.95, 0.63, 0.03), (0.5, 0.34), (0.56, 0.58, 0.60))
    for x in (0.065, 0.935):
        for y in (0.065, 0.615):
            parts.drilled_hole(canvas, x, y, 0.014)
    for gear in gears_of(scene):
        _paint_gear(canvas, gear)
    for nut in scene.all("nut"):
        parts.nut(canvas, nut.x, nut.y, nut.size / 2, nut.angle)


def _paint_gear(canvas: Canvas, gear: Item) -> None:
    at, radius = (gear.x, gear.y), _radius(gear.what)
    base = np.asarray(rgb(gear.colour), np.float32)
    phase = float(canvas.rng.uniform(0, 6.28))

    def turned(x: Array, y: Array) -> Array:
        sweep = 0.13 * np.cos(2 * np.arctan2(y, x) + phase)
        rings = 0.03 * np.sin(np.hypot(x, y) * 900)
        return tint(base, 0.92 + sweep + rings)

    machined = Material(gloss=0.4, polish=24, mirror=0.35)
    canvas.solid(_toothed(gear.what), at, turned, machined, angle=gear.angle, bevel=0.006, lift=0.018)
    canvas.solid(disc(radius * 0.70), at, mix(gear.colour, "black", 0.16), machined, bevel=0.010, rise=-0.8)
    if gear.what == "large gear":
        for k in range(6):
            hole = offset(*at, gear.angle + 30 + 60 * k, radius * 0.48, 0)
            canvas.flat(disc(radius * 0.11), hole, (0.07, 0.07, 0.08))
    canvas.solid(disc(radius * 0.30 + 0.01), at, gear.colour, METAL, bevel=0.010, lift=0.006)
    canvas.solid(disc(0.017), at, (0.50, 0.51, 0.54), METAL, bevel=0.006, lift=0.006)
    mark = offset(*at, gear.angle, radius * 0.80, 0)
    canvas.flat(disc(0.0155), mark, "red")
    canvas.flat(disc(0.006), (mark[0] - 0.004, mark[1] - 0.005), "white", opacity=0.35, softness=0.006)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _gears_apart,
        _missing_nut,
        _turned_mark,
        _exchanged_metals,
        _missing_gear,
        _two_small_gears,
    ),
    paint=paint,
    spots=spots,
)
