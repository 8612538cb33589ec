"""Free family: a tray of one to three compartments, each with an exact set of fruit or full of cereal and toppings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.families.tray_contents import Bulk, Content, Fruits, Layer, any_bulk
from lad_reasoner.miniloco.painting import food, surfaces, trays
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import Array, Shape, box, moved
from lad_reasoner.miniloco.scene import Break, Fill, Item, Product, Region, Scene, Spot, jitter, pick, pick_two

NAME = "lunch_tray"
_COLOURS = {"tangerine": "orange", "nectarine": "red"}
_FILL_COLOURS = {"cereal": "brown", "banana chips": "yellow", "almonds": "brown"}
# A layer may be this much larger or smaller than the rule says.
_SLACK = 0.06
_WIDE, _GAP = 0.86, 0.045
Contents = Mapping[str, Content]


@dataclass(frozen=True)
class Compartment:
    """A floor: its middle from the tray's, the width and height that contents use, and its shape."""

    place: str
    x: float
    y: float
    wide: float
    tall: float
    floor: Shape
    slanted: bool = False


@dataclass(frozen=True)
class Rule:
    """One draw: the tray, and what each of its compartments holds."""

    height: float
    compartments: tuple[Compartment, ...]
    contents: Contents
    zigzag: bool
    ground: Colour
    colour: Colour

    def at(self, place: str) -> Compartment:
        """The compartment of this name."""
        return next(c for c in self.compartments if c.place == place)


def draw(rng: np.random.Generator) -> Product:
    """A tray and what belongs into it."""
    height = float(pick(rng, (0.8, 0.8, 0.8, 0.685)))
    compartments = _draw_compartments(height - 0.16, rng)
    contents = _draw_contents(compartments, rng)
    while _is_breakfast(contents) or len(set(map(str, contents.values()))) < len(contents):
        contents = _draw_contents(compartments, rng)
    ground = mix(str(pick(rng, ["grey", "blue", "purple", "brown", "green"])), "black", float(rng.uniform(0.75, 0.92)))
    if rng.random() < 0.2:
        ground = mix(ground, "white", float(rng.uniform(0.5, 0.8)))
    colour = trays.CARD
    if rng.random() < 0.4:
        colour = mix(
            str(pick(rng, ["grey", "blue", "green", "white", "pink", "black"])), "white", rng.uniform(0.1, 0.5)
        )
    rule = Rule(height, compartments, contents, bool(rng.integers(2)), ground, colour)

    def good(rng: np.random.Generator) -> Scene:
        middle = (0.5 + jitter(rng, 0.026), height / 2 + jitter(rng, 0.018))
        now = {place: content.varied(_SLACK, rng) for place, content in contents.items()}
        return _scene(rule, middle, now, rng)

    def check(scene: Scene) -> list[str]:
        return _check(rule, scene)

    words = " ".join(f"The {place} {content.words()}." for place, content in contents.items())
    return Product(NAME, words, good, check, _defects(rule), _paint(rule), _spots)


def _draw_compartments(tall: float, rng: np.random.Generator) -> tuple[Compartment, ...]:
    """A tray's compartments: one, two or three beside or below each other, or the slanted pair."""

    def rect(place: str, left: float, top: float, right: float, bottom: float) -> Compartment:
        wide, high = right - left, bottom - top
        floor = box(wide, high, float(min(0.07, wide / 4, high / 4)))
        return Compartment(place, (left + right) / 2, (top + bottom) / 2, wide - 0.09, high - 0.09, floor)

    half_w, half_h, half_gap = _WIDE / 2, tall / 2, _GAP / 2
    kind = str(pick(rng, ["slanted", "slanted", "pair", "pair", "pair", "three", "stack", "stack", "mixed", "one"]))
    if kind == "slanted":
        return _slanted_pair(tall, -1.0 if rng.integers(2) else 1.0)
    if kind == "one":
        return (rect("middle compartment", -half_w, -half_h, half_w, half_h),)
    if kind == "three":
        edges = [-half_w + i * (_WIDE + _GAP) / 3 for i in range(4)]
        names = ("left compartment", "middle compartment", "right compartment")
        return tuple(rect(name, edges[i], -half_h, edges[i + 1] - _GAP, half_h) for i, name in enumerate(names))
    if kind == "stack":
        cut = jitter(rng, 0.04)
        upper = rect("upper compartment", -half_w, -half_h, half_w, cut - half_gap)
        return upper, rect("lower compartment", -half_w, cut + half_gap, half_w, half_h)
    cut = jitter(rng, 0.10)
    left = rect("left compartment", -half_w, -half_h, cut - half_gap, half_h)
    if kind == "pair":
        return left, rect("right compartment", cut + half_gap, -half_h, half_w, half_h)
    upper = rect("upper right compartment", cut + half_gap, -half_h, half_w, -half_gap)
    return left, upper, rect("lower right compartment", cut + half_gap, half_gap, half_w, half_h)


def _slanted_pair(tall: float, side: float) -> tuple[Compartment, ...]:
    """The two slanted compartments of the breakfast box, or their mirror image."""
    found = []
    for points in (trays.SLANTED_NARROW, trays.SLANTED_WIDE):
        scaled = [(x, y * (tall - 0.09) / 0.55) for x, y in points]
        floor, x = trays.slanted_floor(scaled, side)
        wide = max(px for px, _ in scaled) - min(px for px, _ in scaled)
        found.append(Compartment("", x, 0.0, wide, tall - 0.09, floor, slanted=True))
    found.sort(key=lambda c: c.x)
    return replace(found[0], place="left compartment"), replace(found[1], place="right compartment")


def _draw_contents(compartments: tuple[Compartment, ...], rng: np.random.Generator) -> dict[str, Content]:
    """Fruit or bulk for each compartment, five fruits at most and few enough for their compartment."""
    contents: dict[str, Content] = {}
    left = 5
    for i in rng.permutation(len(compartments)):
        here = compartments[int(i)]
        room = min(int(_room(here) / (1.2 * 0.155) ** 2) - 1, 5, left)
        if room >= 1 and rng.random() < 0.5:
            number = int(rng.integers(1, room + 1))
            tangerines = int(rng.integers(0, number + 1))
            contents[here.place], left = Fruits(tangerines, number - tangerines), left - number
        else:
            # Layers of a long compartment lie along it; a slanted wall is about upright.
            upright = True if here.slanted or here.tall > 1.4 * here.wide else None
            contents[here.place] = any_bulk(rng, False if here.wide > 1.4 * here.tall else upright)
    return {c.place: contents[c.place] for c in compartments}


def _room(compartment: Compartment) -> float:
    """The area on which fruit can lie."""
    return (compartment.wide + 0.05) * (compartment.tall + 0.05)


def _is_breakfast(contents: Contents) -> bool:
    """Whether this is the composition of the evaluation product breakfast_box, or its mirror image."""
    if set(contents) != {"left compartment", "right compartment"}:
        return False
    fruit = [c for c in contents.values() if c == Fruits(2, 1)]
    return bool(fruit) and any(isinstance(c, Bulk) and c.is_breakfast() for c in contents.values())


def _scene(rule: Rule, middle: tuple[float, float], contents: Contents, rng: np.random.Generator) -> Scene:
    items: list[Item] = []
    fills: list[Fill] = []
    sights: list[tuple[str, float, float]] = []
    for place, content in contents.items():
        here = rule.at(place)
        if isinstance(content, Fruits):
            items += _lay_fruits(here, middle, content, rule.zigzag, rng)
            continue
        fills += [Fill(what, _FILL_COLOURS[what], level, place) for what, level in content.levels()]
        for what, along, across in content.sights():
            u, v = (across, along) if content.upright else (along, across)
            sights.append((what, middle[0] + here.x + u * here.wide, middle[1] + here.y + v * here.tall))
    layout = {"middle": middle, "contents": dict(contents), "sights": tuple(sights)}
    return Scene(NAME, 1.0, rule.height, tuple(items), tuple(fills), layout=layout)


def _lay_fruits(
    here: Compartment, middle: tuple[float, float], fruits: Fruits, zigzag: bool, rng: np.random.Generator
) -> list[Item]:
    """Fruits anywhere in a compartment, or in a zigzag along it; they touch but do not hide each other."""
    kinds = ["tangerine"] * fruits.tangerines + ["nectarine"] * fruits.nectarines
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    size = float(rng.uniform(0.190, 0.212))
    if len(kinds) * (1.25 * size) ** 2 > _room(here):
        size *= 0.82
    size = min(size, (min(here.wide, here.tall) + 0.09) * 0.92)
    reach = np.array([here.wide + 0.09, here.tall + 0.09])
    for attempt in range(60):
        size *= 0.985 if attempt % 4 == 3 else 1.0
        if zigzag and attempt < 8:
            tries = _zigzag(len(kinds), reach, size) + rng.uniform(-0.015, 0.015, (len(kinds), 2))
        else:
            tries = rng.uniform(-0.5, 0.5, (len(kinds) * 40, 2)) * reach
        inside = here.floor(tries[:, 0], tries[:, 1]) < -0.45 * size
        spots: list[tuple[float, float]] = []
        for x, y in tries[inside].tolist():
            if len(spots) < len(kinds) and all(np.hypot(x - a, y - b) > size * 1.03 for a, b in spots):
                spots.append((x, y))
        if len(spots) == len(kinds):
            break
    at = middle[0] + here.x, middle[1] + here.y
    return [
        Item(kind, at[0] + x, at[1] + y, size * float(rng.uniform(0.97, 1.03)), _COLOURS[kind], here.place, angle)
        for kind, (x, y), angle in zip(kinds, spots, rng.uniform(0, 360, len(spots)).tolist(), strict=True)
    ]


def _zigzag(number: int, reach: Array, size: float) -> Array:
    """Middles of fruits along the longer side of a floor, left and right of its middle line in turn."""
    along = ((np.arange(number) + 0.5) / number - 0.5) * (reach.max() - 0.03)
    aside = np.where(np.arange(number) % 2, 0.4, -0.4) * max(float(reach.min()) - size * 1.05, 0.0)
    return np.stack([aside, along] if reach[1] > reach[0] else [along, aside], axis=1)


def _check(rule: Rule, scene: Scene) -> list[str]:
    broken = []
    for place, wanted in rule.contents.items():
        if isinstance(wanted, Fruits):
            number = {what: len(scene.all(what, place=place)) for what in _COLOURS}
            found: Content = Fruits(number["tangerine"], number["nectarine"])
            if any(fill.place == place for fill in scene.fills):
                found = scene.layout["contents"][place]
        else:
            found = scene.layout["contents"][place]
        broken += [f"the {place}: {words}" for words in wanted.broken_by(found, _SLACK + 1e-6)]
    return broken


def _region(rule: Rule, scene: Scene, place: str, layer: Layer | None = None) -> Region:
    """A compartment, or a layer of its filling, for the mask."""
    here, middle = rule.at(place), scene.layout["middle"]
    x, y, wide, tall = middle[0] + here.x, middle[1] + here.y, here.wide + 0.06, here.tall + 0.06
    content = rule.contents[place]
    if layer is None or not isinstance(content, Bulk):
        return Region(x, y, wide, tall)
    along = (layer.low + layer.high) / 2 - 0.5
    if content.upright:
        return Region(x, y + along * here.tall, wide, (layer.high - layer.low) * tall)
    return Region(x + along * here.wide, y, (layer.high - layer.low) * wide, tall)


def _defects(rule: Rule) -> dict[str, Break]:
    """Every way in which some compartment of this tray can be wrong."""
    changes: dict[str, list[tuple[str, Content]]] = {}
    for place, content in rule.contents.items():
        if isinstance(content, Fruits):
            for name, wrong in content.wrong():
                if not _is_breakfast({**rule.contents, place: wrong}):
                    changes.setdefault(name, []).append((place, wrong))

    def fruits(options: list[tuple[str, Content]]) -> Break:
        def broken(scene: Scene, rng: np.random.Generator) -> Scene:
            place, wrong = pick(rng, options)
            now = {**scene.layout["contents"], place: wrong}
            words = f"the {place} {wrong.words()}, it should hold {rule.contents[place].holds()}"
            more = _scene(rule, scene.layout["middle"], now, rng)
            return more.broken(words.replace(" exactly", ""), _region(rule, scene, place))

        return broken

    def bulk(places: list[str], change: Callable[[Bulk, np.random.Generator], tuple[Bulk, str, Layer | None]]) -> Break:
        def broken(scene: Scene, rng: np.random.Generator) -> Scene:
            place = str(pick(rng, places))
            wrong, words, layer = change(scene.layout["contents"][place], rng)
            now = {**scene.layout["contents"], place: wrong}
            more = _scene(rule, scene.layout["middle"], now, rng)
            # Fruit elsewhere stays where it was.
            more = replace(more, items=scene.items)
            return more.broken(f"in the {place} {words}", _region(rule, scene, place, layer))

        return broken

    def swapped(scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(list(rule.contents), rng)
        now = dict(scene.layout["contents"])
        now[one], now[two] = now[two], now[one]
        words = f"the {one} and the {two} are swapped: each holds what belongs into the other"
        regions = (_region(rule, scene, one), _region(rule, scene, two))
        return _scene(rule, scene.layout["middle"], now, rng).broken(words, *regions)

    found = {name: fruits(options) for name, options in changes.items()}
    bulks = {place: content for place, content in rule.contents.items() if isinstance(content, Bulk)}
    layered = [place for place, content in bulks.items() if len(content.layers) == 2]
    mixed = [place for place, content in bulks.items() if any(len(layer.parts) == 2 for layer in content.layers)]
    if bulks:
        found["missing_ingredient"] = bulk(list(bulks), Bulk.without_a_layer)
    if layered:
        found["wrong_ratio"] = bulk(layered, lambda content, rng: content.wrong_ratio(0.17 + _SLACK, rng))
        turned = [p for p in layered if not _is_breakfast({**rule.contents, p: bulks[p].turned()})]
        if turned:
            found["layers_exchanged"] = bulk(turned, Bulk.exchanged)
    if mixed:
        found["missing_part_of_the_mix"] = bulk(mixed, Bulk.without_a_part)
    if len(rule.contents) > 1 and all(_holds(rule.at(p), c) for p in rule.contents for c in rule.contents.values()):
        found["compartments_swapped"] = swapped
    return found


def _holds(compartment: Compartment, content: Content) -> bool:
    """Whether there is room for this content."""
    number = content.tangerines + content.nectarines if isinstance(content, Fruits) else 0
    return number * (1.2 * 0.155) ** 2 < _room(compartment)


def _spots(scene: Scene) -> list[Spot]:
    return [(item.x, item.y, 0.07) for item in scene.items] + [(x, y, 0.05) for _, x, y in scene.layout["sights"]]


def _paint(rule: Rule) -> Callable[[Canvas, Scene], None]:
    def paint(canvas: Canvas, scene: Scene) -> None:
        surfaces.mat(canvas, rule.ground, unevenness=0.08)
        middle = scene.layout["middle"]
        floors = [(c.floor, (middle[0] + c.x, middle[1] + c.y)) for c in rule.compartments]
        trays.tray(canvas, middle, rule.height - 0.045, floors, rule.colour)
        for place, content in scene.layout["contents"].items():
            if isinstance(content, Bulk):
                here = rule.at(place)
                # Cereal last: its flakes lie on the edge of what is beside it.
                for layer in sorted(content.layers, key=lambda layer: "cereal" in layer.parts):
                    _paint_layer(canvas, middle, here, content.upright, layer)
        for item in scene.items:
            food.fruit(canvas, item)

    return paint


def _paint_layer(canvas: Canvas, middle: tuple[float, float], here: Compartment, upright: bool, layer: Layer) -> None:
    span = here.tall if upright else here.wide
    # The outer sides of a filling reach a little up the walls.
    low = (layer.low - 0.5) * span - (0.022 if layer.low == 0 else 0.0)
    high = (layer.high - 0.5) * span + (0.022 if layer.high == 1 else 0.0)
    shift, half = (low + high) / 2, (high - low) / 2 + 0.02
    dx, dy = (0.0, shift) if upright else (shift, 0.0)
    reach = (here.wide / 2 + 0.03, half) if upright else (half, here.tall / 2 + 0.03)
    at = (middle[0] + here.x + dx, middle[1] + here.y + dy)
    window = canvas.window(at, reach)
    if window is None:
        return
    floor = moved(here.floor, -dx, -dy)
    wavy = canvas.noise(window, 0.05) * 0.008
    inside = floor(window.x, window.y) + 0.023 + 0.010 * canvas.noise(window, 0.022)
    along = window.y if upright else window.x
    distance = np.maximum(inside, np.abs(along) - (high - low) / 2 + wavy)
    if "cereal" in layer.parts:
        food.cereal_bed(canvas, window, distance)
        return
    food.topping_bed(canvas, window, distance)
    step = food.TOPPING_PITCH
    rows = np.arange(-reach[1] + 0.04, reach[1] - 0.02, step)
    columns = np.arange(-reach[0] + 0.04, reach[0] - 0.02, step * 1.08)
    spots = food.spread(canvas.rng, rows, columns)
    edge = (high - low) / 2 - 0.016
    order = canvas.rng.permutation(len(spots))
    loose = np.array([spots[i] for i in order]).reshape(-1, 3)
    loose[:, int(upright)] = np.clip(loose[:, int(upright)], -edge, edge)
    kept = loose[floor(loose[:, 0], loose[:, 1]) < -0.035] + (*at, 0.0)
    almonds = layer.almonds if len(layer.parts) == 2 else float(layer.parts == ("almonds",))
    food.scatter(canvas, [(x, y, share) for x, y, share in kept.tolist()], almonds)
