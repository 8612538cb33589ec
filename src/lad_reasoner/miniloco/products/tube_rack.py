"""A rack of test tubes: filled to the same height, each stopper of the colour of its liquid."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.paint import METAL, RUBBER, Canvas, Material, tint
from lad_reasoner.miniloco.painting.shapes import Array, box, ellipse, moved, union
from lad_reasoner.miniloco.scene import Fill, Item, Product, Region, Scene, Spot, by_name, jitter, pick

NAME = "test_tubes"
RULE = (
    "A rack holds six test tubes. All are filled to the same height, a little over half. Each is closed by a "
    "stopper of the colour of its liquid. Any colour may stand in any place."
)
WIDTH, HEIGHT = 1.0, 0.8
NUMBER = 6
PITCH = 0.142
TOP, BOTTOM = 0.20, 0.655
RADIUS = 0.037
LIQUID_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
GOOD_LEVEL = (0.56, 0.66)
# Levels that differ by less than twice this are the same.
SAME = 0.02


def _place(index: int) -> str:
    return f"place {index + 1}"


def good(rng: np.random.Generator) -> Scene:
    left = 0.5 - PITCH * (NUMBER - 1) / 2 + jitter(rng, 0.02)
    level = float(rng.uniform(*GOOD_LEVEL))
    items, fills = [], []
    for index in range(NUMBER):
        x = left + index * PITCH + jitter(rng, 0.004)
        colour = str(pick(rng, LIQUID_COLOURS))
        items.append(Item("tube", x, (TOP + BOTTOM) / 2, BOTTOM - TOP, "", _place(index)))
        items.append(Item("stopper", x, TOP - 0.022, 0.085, colour, _place(index)))
        fills.append(Fill("liquid", colour, level + jitter(rng, SAME) / 2, _place(index)))
    table = str(pick(rng, ["white", "grey", "blue"]))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items), tuple(fills), layout={"left": left, "table": table})


def check(scene: Scene) -> list[str]:
    broken = []
    for index in range(NUMBER):
        place = _place(index)
        fill, stoppers = scene.fill_at(place), scene.all("stopper", place=place)
        if len(scene.all("tube", place=place)) != 1:
            broken.append(f"there is no tube in {place}")
            continue
        level = fill.level if fill else 0.0
        if not GOOD_LEVEL[0] - SAME <= level <= GOOD_LEVEL[1] + SAME:
            broken.append(f"the tube in {place} is filled to {level:.0%}")
        if len(stoppers) != 1:
            broken.append(f"the tube in {place} has no stopper")
        elif fill and stoppers[0].colour != fill.colour:
            broken.append(f"in {place} the stopper is {stoppers[0].colour}, the liquid {fill.colour}")
    levels = [fill.level for fill in scene.fills]
    if levels and max(levels) - min(levels) > 2 * SAME:
        broken.append("the tubes are not filled to the same height")
    return broken


def _surface(level: float) -> float:
    """y of the surface of a liquid."""
    return BOTTOM - level * (BOTTOM - TOP)


def _with_level(scene: Scene, low: float, high: float, words: str, rng: np.random.Generator) -> Scene:
    fill = pick(rng, scene.fills)
    level = float(rng.uniform(low, high))
    (tube,) = scene.all("tube", place=fill.place)
    top, bottom = sorted((_surface(level), _surface(fill.level)))
    region = Region(tube.x, (top + bottom) / 2, 2 * RADIUS, bottom - top)
    return scene.change_fill(fill, level=level).broken(words.format(place=fill.place), region)


def _too_little(scene: Scene, rng: np.random.Generator) -> Scene:
    return _with_level(scene, 0.20, 0.44, "the tube in {place} holds too little liquid", rng)


def _too_much(scene: Scene, rng: np.random.Generator) -> Scene:
    return _with_level(scene, 0.78, 0.90, "the tube in {place} holds too much liquid", rng)


def _empty_tube(scene: Scene, rng: np.random.Generator) -> Scene:
    return _with_level(scene, 0.0, 0.0, "the tube in {place} is empty", rng)


def _missing_tube(scene: Scene, rng: np.random.Generator) -> Scene:
    place = _place(int(rng.integers(NUMBER)))
    (tube,) = scene.all("tube", place=place)
    bare = scene.without(*[item for item in scene.items if item.place == place])
    bare = replace(bare, fills=tuple(fill for fill in bare.fills if fill.place != place))
    return bare.broken(f"the tube in {place} is missing", Region(tube.x, tube.y, 2 * RADIUS, tube.size))


def _missing_stopper(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.all("stopper"))
    return scene.without(gone).broken(f"the tube in {gone.place} has no stopper", _around(gone))


def _wrong_stopper(scene: Scene, rng: np.random.Generator) -> Scene:
    stopper = pick(rng, scene.all("stopper"))
    colour = str(pick(rng, [c for c in LIQUID_COLOURS if c != stopper.colour]))
    words = f"in {stopper.place} the stopper is {colour}, the liquid is {stopper.colour}"
    return scene.change(stopper, colour=colour).broken(words, _around(stopper))


def _exchanged_stoppers(scene: Scene, rng: np.random.Generator) -> Scene:
    stoppers = scene.all("stopper")
    pairs = [(a, b) for a, b in product(stoppers, repeat=2) if a.colour != b.colour]
    if not pairs:
        return _wrong_stopper(scene, rng)
    one, two = pick(rng, pairs)
    words = f"the stoppers of {one.place} and {two.place} are exchanged"
    return scene.exchange(one, two, "colour").broken(words, _around(one), _around(two))


def _around(stopper: Item) -> Region:
    return Region(stopper.x, stopper.y, 0.09, 0.08)


def spots(scene: Scene) -> list[Spot]:
    return [(item.x, item.y, 0.045) for item in scene.all("tube")] + [(0.5, 0.685, 0.06), (0.3, 0.685, 0.06)]


def paint(canvas: Canvas, scene: Scene) -> None:
    _paint_room(canvas, scene.layout["table"])
    middle = scene.layout["left"] + PITCH * (NUMBER - 1) / 2
    wide = PITCH * NUMBER + 0.03
    steel = Material(gloss=0.3, polish=16, mirror=0.3, speckle=0.01)
    canvas.solid(box(wide, 0.055, 0.008), (middle, BOTTOM + 0.035), (0.62, 0.64, 0.67), METAL, bevel=0.012, lift=0.03)
    for side in (-1, 1):
        post = (middle + side * (wide / 2 - 0.012), 0.46)
        canvas.solid(box(0.022, 0.42, 0.006), post, (0.66, 0.68, 0.71), METAL, bevel=0.009, lift=0.02)
    for item in scene.all("tube"):
        _paint_tube(canvas, item, scene.fill_at(item.place))
    canvas.solid(box(wide, 0.042, 0.006), (middle, 0.315), (0.68, 0.70, 0.73), steel, bevel=0.008, lift=0.012)
    for index in range(NUMBER):
        canvas.lettering(str(index + 1), (scene.layout["left"] + index * PITCH, 0.315), (0.2, 0.2, 0.22), height=0.024)
    for item in scene.all("stopper"):
        _paint_stopper(canvas, item)


def _paint_room(canvas: Canvas, table: str) -> None:
    surfaces.mat(canvas, mix(table, "grey", 0.45), unevenness=0.02)
    window = canvas.everywhere()
    back = np.clip((0.66 - window.y) / 0.10 + 0 * window.x, 0, 1)
    canvas.blend(window, back * 0.75, mix(table, (0.82, 0.83, 0.84), 0.75))


def _paint_tube(canvas: Canvas, tube: Item, fill: Fill | None) -> None:
    x = tube.x
    round_end = moved(ellipse(RADIUS, RADIUS), 0, tube.size / 2 - RADIUS)
    trunk = moved(box(2 * RADIUS, tube.size - RADIUS), 0, -RADIUS / 2)
    glass = union(trunk, round_end)
    at = (x, tube.y)
    canvas.shadow(glass, at, lift=0.018, strength=0.25)
    canvas.flat(glass, at, (0.90, 0.93, 0.94), opacity=0.35)
    if fill is not None and fill.level > 0:
        top = _surface(fill.level) - tube.y
        tone = np.asarray(mix(fill.colour, "white", 0.05), np.float32)

        def liquid(u: Array, v: Array) -> Array:
            side = np.clip(np.abs(u) / RADIUS, 0, 1)
            return tint(tone, 1.08 - 0.40 * side**3 - 0.25 * (v - top))

        inner = union(
            moved(box(2 * RADIUS - 0.010, tube.size / 2 - RADIUS - top), 0, (tube.size / 2 - RADIUS + top) / 2),
            moved(ellipse(RADIUS - 0.005, RADIUS - 0.005), 0, tube.size / 2 - RADIUS),
        )
        canvas.flat(inner, at, liquid, opacity=0.93)
        canvas.flat(ellipse(RADIUS - 0.005, 0.006), (x, _surface(fill.level)), mix(fill.colour, "white", 0.35))
    canvas.solid(glass, at, (0.92, 0.95, 0.96), Material(gloss=0.5, polish=30), bevel=RADIUS, opacity=0.14)
    canvas.flat(
        box(0.006, tube.size * 0.82, 0.003),
        (x - RADIUS * 0.55, tube.y),
        "white",
        opacity=0.55,
        softness=0.005,
    )
    canvas.flat(
        box(0.003, tube.size * 0.75, 0.001),
        (x + RADIUS * 0.70, tube.y),
        "white",
        opacity=0.35,
        softness=0.004,
    )
    canvas.flat(box(2 * RADIUS + 0.014, 0.010, 0.004), (x, TOP), (0.93, 0.95, 0.96), opacity=0.6)


def _paint_stopper(canvas: Canvas, stopper: Item) -> None:
    canvas.solid(
        box(0.058, 0.03, 0.004),
        (stopper.x, stopper.y + 0.030),
        mix(stopper.colour, "black", 0.2),
        RUBBER,
        bevel=0.028,
        profile=box(0.058, 9),
    )
    canvas.solid(
        box(stopper.size, 0.050, 0.010),
        (stopper.x, stopper.y - 0.005),
        stopper.colour,
        RUBBER,
        bevel=0.040,
        rise=0.7,
        lift=0.008,
        profile=box(stopper.size, 9),
    )


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _too_little,
        _wrong_stopper,
        _missing_tube,
        _too_much,
        _exchanged_stoppers,
        _missing_stopper,
        _empty_tube,
    ),
    paint=paint,
    spots=spots,
)
