"""Evaluation product after MVTec LOCO AD's breakfast box: fruit on the left, cereal and toppings on the
right.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco import surfaces
from lad_reasoner.miniloco.paint import MATT, Canvas, Material, Window, mix, smoothstep
from lad_reasoner.miniloco.scene import Break, Fill, Item, Product, Region, Scene
from lad_reasoner.miniloco.shapes import Array, Shape, box, disc, ellipse, offset, polygon

NAME = "breakfast_box"
RULE = (
    "The left compartment holds exactly two tangerines and one nectarine, in any order. The right "
    "compartment is full: its upper part, about six tenths, is cereal, the rest below is a mix of banana "
    "chips and almonds."
)
WIDTH, HEIGHT = 1.0, 0.8
MIDDLE = (0.5, 0.4)
# Middles of three fruits, and of four smaller ones, from the middle of the box.
SLOTS = {
    3: ((-0.285, -0.205), (-0.225, 0.000), (-0.265, 0.205)),
    4: ((-0.32, -0.22), (-0.17, -0.10), (-0.30, 0.06), (-0.17, 0.21)),
}
CEREAL_RATIO = (0.54, 0.66)
COLOURS = {"tangerine": "orange", "nectarine": "red"}
_FLOOR_LEFT = (
    (-0.385, -0.275),
    (-0.165, -0.275),
    (-0.148, -0.13),
    (-0.115, 0.0),
    (-0.085, 0.12),
    (-0.078, 0.275),
    (-0.385, 0.275),
)
_FLOOR_RIGHT = (
    (-0.06, -0.275),
    (0.385, -0.275),
    (0.385, 0.275),
    (0.035, 0.275),
    (0.025, 0.12),
    (-0.005, 0.0),
    (-0.04, -0.13),
)


def _fruits(kinds: list[str], side: int, rng: np.random.Generator) -> list[Item]:
    """Fruits in a zigzag from top to bottom; side -1 is the left compartment, 1 its mirror image."""
    slots = SLOTS[4] if len(kinds) > 3 else SLOTS[3]
    places = sorted(rng.permutation(len(slots))[: len(kinds)].tolist())
    slack = 0.010 if len(kinds) > 3 else 0.018
    items = []
    for kind, slot in zip(kinds, places, strict=True):
        dx = (slots[slot][0] + float(rng.uniform(-slack, slack))) * -side
        dy = slots[slot][1] + float(rng.uniform(-slack * 0.5, slack * 0.5))
        size = float(rng.uniform(0.155, 0.175) if len(kinds) > 3 else rng.uniform(0.190, 0.212))
        place = "left compartment" if side < 0 else "right compartment"
        items.append(
            Item(kind, MIDDLE[0] + dx, MIDDLE[1] + dy, size, COLOURS[kind], place, float(rng.uniform(0, 360)))
        )
    return items


def good(rng: np.random.Generator) -> Scene:
    kinds = ["tangerine", "tangerine", "nectarine"]
    fruits = _fruits([kinds[i] for i in rng.permutation(3)], -1, rng)
    ratio = float(rng.uniform(*CEREAL_RATIO))
    almonds = float(rng.uniform(0.3, 0.55))
    fills = _fills(ratio, almonds, "right compartment")
    return Scene(NAME, WIDTH, HEIGHT, tuple(fruits), fills, layout={"almonds": almonds})


def _fills(ratio: float, almonds: float, place: str) -> tuple[Fill, ...]:
    """What fills how much of a compartment: cereal, and the rest shared between almonds and banana chips."""
    rest = 1 - ratio
    return (
        Fill("cereal", "brown", ratio, place),
        Fill("banana chips", "yellow", rest * (1 - almonds), place),
        Fill("almonds", "brown", rest * almonds, place),
    )


def _levels(scene: Scene) -> tuple[float, float, float]:
    found = {fill.what: fill.level for fill in scene.fills}
    return found.get("cereal", 0.0), found.get("banana chips", 0.0), found.get("almonds", 0.0)


def check(scene: Scene) -> list[str]:
    broken = []
    for what, number in (("tangerine", 2), ("nectarine", 1)):
        here = len(scene.all(what, place="left compartment"))
        if len(scene.all(what)) != number:
            broken.append(f"{len(scene.all(what))} {what}s, not {number}")
        elif here != number:
            broken.append(f"the {what}s are not in the left compartment")
    cereal, chips, almonds = _levels(scene)
    if not CEREAL_RATIO[0] <= cereal <= CEREAL_RATIO[1]:
        broken.append(f"cereal fills {cereal:.0%} of its compartment")
    for what, level in (("banana chips", chips), ("almonds", almonds)):
        if level == 0:
            broken.append(f"there are no {what}")
    if any(fill.place != "right compartment" for fill in scene.fills):
        broken.append("the cereal is not in the right compartment")
    return broken


def _count_words(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _wrong_fruits(tangerines: int, nectarines: int) -> Break:
    def broken(scene: Scene, rng: np.random.Generator) -> Scene:
        kinds = ["tangerine"] * tangerines + ["nectarine"] * nectarines
        fruits = _fruits([kinds[i] for i in rng.permutation(len(kinds))], -1, rng)
        have = f"{_count_words(tangerines, 'tangerine')} and {_count_words(nectarines, 'nectarine')}"
        words = f"the left compartment holds {have}, it should hold 2 tangerines and 1 nectarine"
        region = Region(MIDDLE[0] - 0.25, MIDDLE[1], 0.27, 0.60)
        return replace(scene, items=tuple(fruits)).broken(words, region)

    return broken


def _refill(scene: Scene, cereal: float, chips: float, almonds: float, words: str, region: Region) -> Scene:
    levels = {"cereal": cereal, "banana chips": chips, "almonds": almonds}
    fills = tuple(replace(fill, level=levels[fill.what]) for fill in scene.fills if levels[fill.what] > 0)
    return replace(scene, fills=fills).broken(words, region)


def _lower(scene: Scene) -> Region:
    """The toppings' part of the right compartment."""
    top = -0.275 + 0.55 * _levels(scene)[0]
    return Region(MIDDLE[0] + 0.19, MIDDLE[1] + (top + 0.275) / 2, 0.38, 0.275 - top)


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


def _missing_cereal(scene: Scene, rng: np.random.Generator) -> Scene:
    cereal, chips, almonds = _levels(scene)
    upper = Region(MIDDLE[0] + 0.17, MIDDLE[1] - 0.275 + 0.275 * cereal, 0.42, 0.55 * cereal)
    words = "the cereal is missing, the upper part of the right compartment is empty"
    return _refill(scene, 0.0, chips, almonds, words, upper)


def _wrong_ratio(scene: Scene, rng: np.random.Generator) -> Scene:
    _, chips, almonds = _levels(scene)
    more = bool(rng.integers(2))
    now = float(rng.uniform(0.78, 0.86) if more else rng.uniform(0.28, 0.40))
    share = (1 - now) / (chips + almonds)
    words = "there is too much cereal and too little of the toppings"
    if not more:
        words = "there is too little cereal and too much of the toppings"
    low, high = sorted((now, sum(CEREAL_RATIO) / 2))
    region = Region(MIDDLE[0] + 0.18, MIDDLE[1] - 0.275 + 0.275 * (low + high), 0.40, 0.55 * (high - low))
    return _refill(scene, now, chips * share, almonds * share, words, region)


def _swapped(scene: Scene, rng: np.random.Generator) -> Scene:
    fruits = _fruits([item.what for item in scene.items], 1, rng)
    fills = tuple(replace(fill, place="left compartment") for fill in scene.fills)
    words = "the compartments are swapped: the fruit is on the right, the cereal on the left"
    return replace(scene, items=tuple(fruits), fills=fills).broken(words, Region(*MIDDLE, 0.80, 0.60))


def spots(scene: Scene) -> list[tuple[float, float, float]]:
    return [(item.x, item.y, 0.07) for item in scene.items] + [
        (0.69, 0.26, 0.08),
        (0.09, 0.40, 0.05),
        (0.91, 0.40, 0.05),
    ]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.075, 0.075, 0.105), unevenness=0.08)
    mirrored = any(fill.place == "left compartment" for fill in scene.fills)
    side = -1.0 if mirrored else 1.0
    card = (0.95, 0.90, 0.86)
    fibre = Material(gloss=0.05, polish=8, speckle=0.012, pitch=0.006)
    canvas.solid(box(0.94, 0.755, 0.15), MIDDLE, card, fibre, bevel=0.022, lift=0.02)
    canvas.solid(box(0.90, 0.715, 0.13), MIDDLE, card, fibre, bevel=0.016, rise=-0.6)
    left, right = _floor(_FLOOR_LEFT, side), _floor(_FLOOR_RIGHT, side)
    for floor in (left, right):
        canvas.solid(floor, MIDDLE, mix(card, "grey", 0.06), fibre, bevel=0.055, rise=-0.75)
    _paint_filling(canvas, scene, side)
    for item in scene.items:
        if item.what == "tangerine":
            _paint_tangerine(canvas, item)
        else:
            _paint_nectarine(canvas, item)


def _floor(points: tuple[tuple[float, float], ...], side: float, grow: float = 0.045) -> Shape:
    """A compartment: the polygon grown by a round edge."""
    core = polygon([(x * side, y) for x, y in points])
    return Shape(lambda x, y: core(x, y) - grow, core.reach_x + grow, core.reach_y + grow)


def _paint_filling(canvas: Canvas, scene: Scene, side: float) -> None:
    cereal, chips, almonds = _levels(scene)
    border = -0.275 + 0.55 * (cereal if cereal else 1 - chips - almonds)
    floor = _floor(_FLOOR_RIGHT, side, 0.022)
    window = canvas.window(MIDDLE, (floor.reach_x, floor.reach_y))
    if window is None:
        return
    wavy = canvas.noise(window, 0.05) * 0.008
    inside = floor(window.x, window.y) + 0.010 * canvas.noise(window, 0.022)
    above = np.maximum(inside, window.y - border + wavy)
    below = np.maximum(inside, border - window.y + wavy)
    if chips + almonds > 0:
        shade = 1 - 0.45 * (1 - smoothstep(below, -0.005, 0.02))
        canvas.pixels[window.rows, window.columns] *= shade[..., None]
        bed = 0.5 + 0.12 * canvas.noise(window, 0.012)
        canvas.blend(window, canvas.cover(below), np.asarray((0.62, 0.40, 0.22), np.float32) * bed[..., None])
        _scatter(canvas, floor, side, border, almonds / (chips + almonds))
    if cereal > 0:
        used = int(np.count_nonzero(window.y < border + 0.03))
        rows = slice(window.rows.start, window.rows.start + used)
        upper, above = Window(rows, window.columns, window.x, window.y[:used]), above[:used]
        shade = 1 - 0.5 * (1 - smoothstep(above, -0.005, 0.016))
        canvas.pixels[upper.rows, upper.columns] *= shade[..., None]
        grains = surfaces.flakes(canvas, upper, (0.82, 0.55, 0.29), pitch=0.0215)
        canvas.blend(upper, canvas.cover(above), grains)


def _scatter(canvas: Canvas, floor: Shape, side: float, border: float, almonds: float) -> None:
    """Banana chips and almonds, overlapping, all over the part of the floor below the border."""
    rng = canvas.rng
    step = 0.049
    spots = []
    for row in np.arange(border + 0.022, 0.300, step):
        for column in np.arange(-0.05, 0.42, step * 1.08):
            x = float(column + rng.uniform(-0.016, 0.016))
            y = max(float(row + rng.uniform(-0.014, 0.014)), border + 0.018)
            spots.append((side * x, y, float(rng.random())))
    # Chips first, almonds on top of them: small things come to lie between and above large ones.
    order = rng.permutation(len(spots))
    inside = floor(np.array([s[0] for s in spots], np.float32), np.array([s[1] for s in spots], np.float32))
    kept = [spots[i] for i in order if inside[i] < -0.012]
    for x, y, draw in sorted(kept, key=lambda s: s[2] < almonds):
        at = (MIDDLE[0] + x, MIDDLE[1] + y)
        if draw < almonds:
            _paint_almond(canvas, at)
        else:
            _paint_chip(canvas, at)


def _paint_chip(canvas: Canvas, at: tuple[float, float]) -> None:
    rng = canvas.rng
    a, b = float(rng.uniform(0.038, 0.049)), float(rng.uniform(0.028, 0.034))
    angle = float(rng.uniform(0, 360))
    flesh = np.asarray(mix((0.90, 0.73, 0.42), (0.78, 0.56, 0.27), float(rng.uniform(0, 1))), np.float32)
    dark = np.asarray((0.42, 0.24, 0.10), np.float32)

    def slice_(x: Array, y: Array) -> Array:
        k = np.hypot(x / a, y / b)
        turn = np.arctan2(y / b, x / a)
        rim = smoothstep(k, 0.72, 0.98) * 0.35
        seeds = np.exp(-(((k - 0.26) / 0.13) ** 2)) * (0.5 + 0.5 * np.cos(3 * turn)) * 0.75
        rays = 0.06 * np.cos(9 * turn) * smoothstep(k, 0.3, 0.6)
        share = np.clip(rim + seeds + rays, 0, 1)[..., None]
        result: Array = flesh + share * (dark - flesh)
        return result

    crisp = Material(gloss=0.10, polish=10, bump=0.0010, pitch=0.010, speckle=0.05)
    canvas.solid(ellipse(a, b), at, slice_, crisp, angle=angle, bevel=0.007, lift=0.006, strength=0.7)


def _paint_almond(canvas: Canvas, at: tuple[float, float]) -> None:
    rng = canvas.rng
    length, width = float(rng.uniform(0.028, 0.033)), float(rng.uniform(0.0145, 0.0175))
    angle = float(rng.uniform(0, 360))
    base = np.asarray(mix((0.56, 0.27, 0.12), (0.42, 0.19, 0.08), float(rng.uniform(0, 1))), np.float32)

    def skin(x: Array, y: Array) -> Array:
        grooves = 0.10 * np.sin(y * (2 * np.pi / 0.0055) + 40 * x * np.sign(y))
        result: Array = base * (1 + grooves)[..., None]
        return result

    def pointed(x: Array, y: Array) -> Array:
        taper = np.clip(1 - 0.42 * np.clip(x / length, 0, 1) ** 2, 0.4, 1)
        return ellipse(length, width)(x, y / taper)

    shape = Shape(pointed, length, width)
    canvas.solid(
        shape,
        at,
        skin,
        Material(gloss=0.22, polish=14),
        angle=angle,
        bevel=width,
        rise=0.7,
        lift=0.008,
        strength=0.7,
    )


def _paint_tangerine(canvas: Canvas, fruit: Item) -> None:
    rng, r = canvas.rng, fruit.size / 2
    at, angle = (fruit.x, fruit.y), fruit.angle
    base = np.asarray(mix((0.95, 0.40, 0.10), (0.90, 0.32, 0.08), float(rng.uniform(0, 1))), np.float32)
    cx, cy = (float(v) * r for v in rng.uniform(-0.25, 0.25, 2))
    creases = int(rng.integers(6, 9))

    def peel(x: Array, y: Array) -> Array:
        k = np.hypot(x - cx, y - cy) / r
        turn = np.arctan2(y - cy, x - cx)
        fold = 0.16 * np.exp(-((k / 0.30) ** 2)) * np.cos(creases * turn)
        paler = 0.10 * np.exp(-(((k - 0.28) / 0.18) ** 2))
        result: Array = base * (1 + fold + paler)[..., None]
        return result

    skin = Material(gloss=0.28, polish=14, bump=0.0008, pitch=0.0075, speckle=0.02)
    oval = float(rng.uniform(0.93, 1.0))
    canvas.solid(
        ellipse(r, r * oval), at, peel, skin, angle=angle, bevel=r * 0.98, rise=0.62, lift=0.030, strength=0.6
    )
    star = offset(*at, angle, cx, cy)
    canvas.flat(disc(r * 0.13), star, (0.55, 0.36, 0.08), softness=r * 0.10, opacity=0.6)
    canvas.solid(disc(r * 0.075), star, (0.17, 0.24, 0.12), MATT, bevel=r * 0.05)


def _paint_nectarine(canvas: Canvas, fruit: Item) -> None:
    rng, r = canvas.rng, fruit.size / 2
    at, angle = (fruit.x, fruit.y), fruit.angle
    red, gold = np.asarray((0.60, 0.09, 0.08), np.float32), np.asarray((0.90, 0.66, 0.27), np.float32)
    share = float(rng.uniform(0.25, 0.75))
    mottled = canvas.window(at, (r * 1.06, r * 1.06), angle)
    if mottled is None:
        return
    cloud = canvas.noise(mottled, 0.035) * 0.16 + canvas.noise(mottled, 0.010) * 0.05

    def skin(x: Array, y: Array) -> Array:
        # The sunny side is red; the pale patch lies off the middle.
        patch = np.exp(-(((x / r - 0.55) ** 2) + (y / r) ** 2) / 0.30)
        noise = cloud if cloud.shape == patch.shape else 0.0
        pale = np.clip(patch * (0.4 + share) + noise, 0, 1)[..., None]
        speck = 1 + 0.05 * np.sin(y * (140 / r))
        result: Array = (red + pale * (gold - red)) * speck[..., None]
        return result

    body = Material(gloss=0.30, polish=18, bump=0.0002, pitch=0.01, speckle=0.03)
    oval = float(rng.uniform(0.90, 0.98))
    canvas.solid(
        ellipse(r * 1.04, r * oval),
        at,
        skin,
        body,
        angle=angle,
        bevel=r * 0.93,
        rise=0.62,
        lift=0.030,
        strength=0.6,
    )


PRODUCT = Product(
    NAME,
    RULE,
    good,
    check,
    {
        "0_nectarines_3_tangerines": _wrong_fruits(3, 0),
        "missing_almonds": _missing_almonds,
        "2_nectarines_1_tangerine": _wrong_fruits(1, 2),
        "wrong_ratio": _wrong_ratio,
        "0_nectarines_2_tangerines": _wrong_fruits(2, 0),
        "missing_bananas": _missing_bananas,
        "compartments_swapped": _swapped,
        "1_nectarine_1_tangerine": _wrong_fruits(1, 1),
        "missing_cereals": _missing_cereal,
        "0_nectarines_4_tangerines": _wrong_fruits(4, 0),
        "missing_toppings": _missing_toppings,
        "3_nectarines_0_tangerines": _wrong_fruits(0, 3),
    },
    paint,
    spots,
)
