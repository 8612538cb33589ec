"""Evaluation product after MVTec LOCO AD's breakfast box: fruit on the left, cereal and toppings on the right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from lad_reasoner.miniloco.painting import food, surfaces, trays
from lad_reasoner.miniloco.painting.paint import Canvas, Window
from lad_reasoner.miniloco.painting.shapes import Shape
from lad_reasoner.miniloco.scene import Fill, Item, Product, Region, Scene, Sight, Spot, jitter

Point = tuple[float, float]

NAME = "breakfast_box"
RULE = (
    "The left compartment holds exactly two tangerines and one nectarine, in any order. The right "
    "compartment is full: its upper part, about six tenths, is cereal, the rest below is a mix of banana "
    "chips and almonds."
)
WIDTH, HEIGHT = 1.0, 0.8
# Middles of three fruits, and of four smaller ones, from the middle of the box.
SLOTS = {
    3: ((-0.285, -0.205), (-0.225, 0.000), (-0.265, 0.205)),
    4: ((-0.32, -0.22), (-0.17, -0.10), (-0.30, 0.06), (-0.17, 0.21)),
}
CEREAL_RATIO = (0.54, 0.66)
LEFT, RIGHT = "left compartment", "right compartment"


def _fruits(middle: Point, kinds: list[str], side: int, rng: np.random.Generator) -> list[Item]:
    """Fruits in a zigzag from top to bottom; side -1 is the left compartment, 1 its mirror image."""
    crowded = len(kinds) > 3
    slots = SLOTS[4] if crowded else SLOTS[3]
    slack = 0.010 if crowded else 0.018
    sizes = (0.155, 0.175) if crowded else (0.190, 0.212)
    place = LEFT if side < 0 else RIGHT
    chosen = sorted(rng.permutation(len(slots))[: len(kinds)].tolist())
    items = []
    for kind, slot in zip(kinds, chosen, strict=True):
        dx = (slots[slot][0] + jitter(rng, slack)) * -side
        dy = slots[slot][1] + jitter(rng, slack * 0.5)
        size = float(rng.uniform(*sizes))
        items.append(
            Item(
                kind, middle[0] + dx, middle[1] + dy, size, food.FRUIT_COLOURS[kind], place, float(rng.uniform(0, 360))
            )
        )
    return items


def _region(scene: Scene, x: float, y: float, width: float, height: float) -> Region:
    """A box about a point of the tray, counted from its middle."""
    middle = scene.layout["middle"]
    return Region(middle[0] + x, middle[1] + y, width, height)


def good(rng: np.random.Generator) -> Scene:
    kinds = ["tangerine", "tangerine", "nectarine"]
    middle = (0.5 + jitter(rng, 0.026), 0.4 + jitter(rng, 0.018))
    fruits = _fruits(middle, [kinds[i] for i in rng.permutation(3)], -1, rng)
    ratio = float(rng.uniform(*CEREAL_RATIO))
    almonds = float(rng.uniform(0.3, 0.55))
    fills = _fills(ratio, almonds, RIGHT)
    return Scene(NAME, WIDTH, HEIGHT, tuple(fruits), fills, layout={"middle": middle})


def _fills(ratio: float, almonds: float, place: str) -> tuple[Fill, ...]:
    """What fills how much of a compartment: cereal, and the rest shared between almonds and banana chips."""
    rest = 1 - ratio
    return (
        Fill("cereal", "brown", ratio, place),
        Fill("banana chips", "yellow", rest * (1 - almonds), place),
        Fill("almonds", "brown", rest * almonds, place),
    )


def _levels(scene: Scene) -> tuple[float, float, float]:
    """How much of their compartment cereal, banana chips and almonds fill."""
    levels = {fill.what: fill.level for fill in scene.fills}
    return levels.get("cereal", 0.0), levels.get("banana chips", 0.0), levels.get("almonds", 0.0)


def _is_mirrored(scene: Scene) -> bool:
    return any(fill.place == LEFT for fill in scene.fills)


def check(scene: Scene) -> list[str]:
    broken = []
    for what, number in (("tangerine", 2), ("nectarine", 1)):
        if len(scene.all(what)) != number:
            broken.append(f"{what}: {len(scene.all(what))}, not {number}")
        elif len(scene.all(what, place=LEFT)) != number:
            broken.append(f"the {what}s are not in the left compartment")
    cereal, chips, almonds = _levels(scene)
    if not CEREAL_RATIO[0] <= cereal <= CEREAL_RATIO[1]:
        broken.append(f"cereal fills {cereal:.0%} of its compartment")
    for what, level in (("banana chips", chips), ("almonds", almonds)):
        if level == 0:
            broken.append(f"there are no {what}")
    if any(fill.place != RIGHT for fill in scene.fills):
        broken.append("the cereal is not in the right compartment")
    return broken


def _count_words(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _wrong_fruits(tangerines: int, nectarines: int, scene: Scene, rng: np.random.Generator) -> Scene:
    kinds = ["tangerine"] * tangerines + ["nectarine"] * nectarines
    shuffled = [kinds[i] for i in rng.permutation(len(kinds))]
    fruits = _fruits(scene.layout["middle"], shuffled, -1, rng)
    holds = f"{_count_words(tangerines, 'tangerine')} and {_count_words(nectarines, 'nectarine')}"
    words = f"the left compartment holds {holds}, it should hold 2 tangerines and 1 nectarine"
    return replace(scene, items=tuple(fruits)).broken(words, _region(scene, -0.25, 0.0, 0.27, 0.60))


def _refill(scene: Scene, cereal: float, chips: float, almonds: float, words: str, region: Region) -> Scene:
    levels = {"cereal": cereal, "banana chips": chips, "almonds": almonds}
    fills = tuple(replace(fill, level=levels[fill.what]) for fill in scene.fills if levels[fill.what] > 0)
    return replace(scene, fills=fills).broken(words, region)


def _lower(scene: Scene) -> Region:
    """The toppings' part of the right compartment."""
    top = -0.275 + 0.55 * _levels(scene)[0]
    return _region(scene, 0.19, (top + 0.275) / 2, 0.38, 0.275 - top)


def _missing_almonds(scene: Scene, rng: np.random.Generator) -> Scene:
    cereal, chips, almonds = _levels(scene)
    return _refill(scene, cereal, chips + almonds, 0.0, "the almonds are missing", _lower(scene))


def _missing_bananas(scene: Scene, rng: np.random.Generator) -> Scene:
    cereal, chips, almonds = _levels(scene)
    return _refill(scene, cereal, 0.0, chips + almonds, "the banana chips are missing", _lower(scene))


def _missing_toppings(scene: Scene, rng: np.random.Generator) -> Scene:
    cereal, _, _ = _levels(scene)
    words = "the banana chips and the almonds are missing, the lower part of the right compartment is empty"
    return _refill(scene, cereal, 0.0, 0.0, words, _lower(scene))


def _missing_cereals(scene: Scene, rng: np.random.Generator) -> Scene:
    cereal, chips, almonds = _levels(scene)
    upper = _region(scene, 0.17, -0.275 + 0.275 * cereal, 0.42, 0.55 * cereal)
    words = "the cereal is missing, the upper part of the right compartment is empty"
    return _refill(scene, 0.0, chips, almonds, words, upper)


def _wrong_ratio(scene: Scene, rng: np.random.Generator) -> Scene:
    _, chips, almonds = _levels(scene)
    if rng.integers(2):
        now = float(rng.uniform(0.78, 0.86))
        words = "there is too much cereal and too little of the toppings"
    else:
        now = float(rng.uniform(0.28, 0.40))
        words = "there is too little cereal and too much of the toppings"
    share = (1 - now) / (chips + almonds)
    low, high = sorted((now, sum(CEREAL_RATIO) / 2))
    region = _region(scene, 0.18, -0.275 + 0.275 * (low + high), 0.40, 0.55 * (high - low))
    return _refill(scene, now, chips * share, almonds * share, words, region)


def _compartments_swapped(scene: Scene, rng: np.random.Generator) -> Scene:
    fruits = _fruits(scene.layout["middle"], [item.what for item in scene.items], 1, rng)
    fills = tuple(replace(fill, place=LEFT) for fill in scene.fills)
    words = "the compartments are swapped: the fruit is on the right, the cereal on the left"
    return replace(scene, items=tuple(fruits), fills=fills).broken(words, _region(scene, 0.0, 0.0, 0.80, 0.60))


def spots(scene: Scene) -> list[Spot]:
    on_the_fruit = [(item.x, item.y, 0.07) for item in scene.items]
    return [*on_the_fruit, (0.69, 0.26, 0.08), (0.09, 0.40, 0.05), (0.91, 0.40, 0.05)]


def sights(scene: Scene) -> list[Sight]:
    """The part of the right compartment whose floor shows."""
    cereal, chips, almonds = _levels(scene)
    side = -1 if _is_mirrored(scene) else 1
    x, y = scene.layout["middle"]
    if cereal == 0:
        return [("empty floor", x + 0.17 * side, y - 0.275 * (chips + almonds))]
    if chips + almonds == 0:
        return [("empty floor", x + 0.19 * side, y + 0.275 * cereal)]
    return []


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.075, 0.075, 0.105), unevenness=0.08)
    middle = scene.layout["middle"]
    side = -1.0 if _is_mirrored(scene) else 1.0
    floors = []
    for points in (trays.SLANTED_NARROW, trays.SLANTED_WIDE):
        floor, x = trays.slanted_floor(points, side)
        floors.append((floor, (middle[0] + x, middle[1])))
    trays.tray(canvas, middle, 0.755, floors)
    _paint_filling(canvas, scene, side)
    for item in scene.items:
        food.fruit(canvas, item)


def _paint_filling(canvas: Canvas, scene: Scene, side: float) -> None:
    middle = scene.layout["middle"]
    cereal, chips, almonds = _levels(scene)
    border = -0.275 + 0.55 * (cereal if cereal else 1 - chips - almonds)
    floor, x = trays.slanted_floor(trays.SLANTED_WIDE, side, 0.022)
    window = canvas.window((middle[0] + x, middle[1]), (floor.reach_x, floor.reach_y))
    if window is None:
        return
    wavy = canvas.noise(window, 0.05) * 0.008
    inside = floor(window.x, window.y) + 0.010 * canvas.noise(window, 0.022)
    above = np.maximum(inside, window.y - border + wavy)
    below = np.maximum(inside, border - window.y + wavy)
    if chips + almonds > 0:
        food.topping_bed(canvas, window, below)
        _scatter(canvas, floor, middle, x, side, border, almonds / (chips + almonds))
    if cereal > 0:
        used = int(np.count_nonzero(window.y < border + 0.03))
        rows = slice(window.rows.start, window.rows.start + used)
        upper, above = Window(rows, window.columns, window.x, window.y[:used]), above[:used]
        food.cereal_bed(canvas, upper, above)


def _scatter(
    canvas: Canvas, floor: Shape, middle: Point, away: float, side: float, border: float, almonds: float
) -> None:
    """Banana chips and almonds, overlapping, all over the part of the floor below the border."""
    rng = canvas.rng
    step = food.TOPPING_PITCH
    grid = food.spread(rng, np.arange(border + 0.022, 0.300, step), np.arange(-0.05, 0.42, step * 1.08))
    # From the middle of the box; a topping that would lie on the cereal slides down to the border.
    loose = [(side * x, max(y, border + 0.018), draw) for x, y, draw in grid]
    order = rng.permutation(len(loose))
    xs = np.array([x - away for x, _, _ in loose], np.float32)
    ys = np.array([y for _, y, _ in loose], np.float32)
    distance = floor(xs, ys)
    kept = [loose[i] for i in order if distance[i] < -0.012]
    food.scatter(canvas, [(middle[0] + x, middle[1] + y, draw) for x, y, draw in kept], almonds)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    # The order of the defects counts, see `by_name` in scene.py.
    defects={
        "0_nectarines_3_tangerines": partial(_wrong_fruits, 3, 0),
        "missing_almonds": _missing_almonds,
        "2_nectarines_1_tangerine": partial(_wrong_fruits, 1, 2),
        "wrong_ratio": _wrong_ratio,
        "0_nectarines_2_tangerines": partial(_wrong_fruits, 2, 0),
        "missing_bananas": _missing_bananas,
        "compartments_swapped": _compartments_swapped,
        "1_nectarine_1_tangerine": partial(_wrong_fruits, 1, 1),
        "missing_cereals": _missing_cereals,
        "0_nectarines_4_tangerines": partial(_wrong_fruits, 4, 0),
        "missing_toppings": _missing_toppings,
        "3_nectarines_0_tangerines": partial(_wrong_fruits, 0, 3),
    },
    paint=paint,
    spots=spots,
    sights=sights,
)
