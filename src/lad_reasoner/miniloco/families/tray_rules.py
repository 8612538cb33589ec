"""The rule of one draw of a lunch tray: its compartments and their contents, good scenes, check, painting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.colours import Colour
from lad_reasoner.miniloco.families.tray_contents import Bulk, Content, Fruits, Layer
from lad_reasoner.miniloco.painting import food, surfaces, trays
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import Array, Shape, moved
from lad_reasoner.miniloco.scene import Fill, Item, Region, Scene, Sight, Spot, jitter

NAME = "lunch_tray"
_FILL_COLOURS = {"cereal": "brown", "banana chips": "yellow", "almonds": "brown"}
# How far the outer sides of a filling reach up the walls.
_WALL = 0.022
# The content of each compartment, by its place.
Contents = Mapping[str, Content]


def is_breakfast(contents: Contents) -> bool:
    """Whether this is the composition of the evaluation product breakfast_box, or its mirror image."""
    if set(contents) != {"left compartment", "right compartment"}:
        return False
    has_fruit = any(content == Fruits(2, 1) for content in contents.values())
    return has_fruit and any(isinstance(content, Bulk) and content.is_breakfast() for content in contents.values())


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

    @property
    def area(self) -> float:
        """The area on which fruit can lie."""
        return (self.wide + 0.05) * (self.tall + 0.05)

    def has_room_for(self, content: Content) -> bool:
        """Whether this content fits in; bulk always does."""
        number = content.tangerines + content.nectarines if isinstance(content, Fruits) else 0
        return number * (1.2 * 0.155) ** 2 < self.area


@dataclass(frozen=True)
class Rules:
    """The rule of one draw, and all that follows from it."""

    height: float
    compartments: tuple[Compartment, ...]
    contents: Contents
    zigzag: bool
    ground: Colour
    colour: Colour

    def at(self, place: str) -> Compartment:
        """The compartment of this name."""
        return next(c for c in self.compartments if c.place == place)

    def words(self) -> str:
        """The rule in words."""
        return " ".join(f"The {place} {content.words()}." for place, content in self.contents.items())

    def good(self, rng: np.random.Generator) -> Scene:
        """A scene that keeps the rule."""
        middle = (0.5 + jitter(rng, 0.026), self.height / 2 + jitter(rng, 0.018))
        return self.scene(middle, {place: content.varied(rng) for place, content in self.contents.items()}, rng)

    def scene(self, middle: tuple[float, float], contents: Contents, rng: np.random.Generator) -> Scene:
        """The tray about its middle with these contents, which may be wrong."""
        items: list[Item] = []
        fills: list[Fill] = []
        sights: list[Sight] = []
        for place, content in contents.items():
            compartment = self.at(place)
            if isinstance(content, Fruits):
                items += _lay_fruits(compartment, middle, content, self.zigzag, rng)
                continue
            fills += [Fill(what, _FILL_COLOURS[what], level, place) for what, level in content.levels()]
            for what, along, across in content.sights():
                u, v = (across, along) if content.upright else (along, across)
                x = middle[0] + compartment.x + u * compartment.wide
                y = middle[1] + compartment.y + v * compartment.tall
                sights.append((what, x, y))
        layout = {"middle": middle, "contents": dict(contents), "sights": tuple(sights)}
        return Scene(NAME, 1.0, self.height, tuple(items), tuple(fills), layout=layout)

    def check(self, scene: Scene) -> list[str]:
        """The breaches of the rule, in words; empty for a good scene."""
        broken = []
        for place, wanted in self.contents.items():
            content = scene.layout["contents"][place]
            # Fruit is counted as it lies there.
            if isinstance(wanted, Fruits) and scene.fill_at(place) is None:
                tangerines, nectarines = (len(scene.all(what, place=place)) for what in food.FRUIT_COLOURS)
                content = Fruits(tangerines, nectarines)
            broken += [f"the {place}: {words}" for words in wanted.broken_by(content)]
        return broken

    def region(self, scene: Scene, place: str, layer: Layer | None = None) -> Region:
        """A compartment, or a layer of its filling, for the mask."""
        compartment, middle = self.at(place), scene.layout["middle"]
        x, y = middle[0] + compartment.x, middle[1] + compartment.y
        wide, tall = compartment.wide + 0.06, compartment.tall + 0.06
        content = self.contents[place]
        if layer is None or not isinstance(content, Bulk):
            return Region(x, y, wide, tall)
        along = (layer.low + layer.high) / 2 - 0.5
        if content.upright:
            return Region(x, y + along * compartment.tall, wide, (layer.high - layer.low) * tall)
        return Region(x + along * compartment.wide, y, (layer.high - layer.low) * wide, tall)

    def spots(self, scene: Scene) -> list[Spot]:
        """Patches of fruit and fillings for structural flaws."""
        on_fruit = [(item.x, item.y, 0.07) for item in scene.items]
        return on_fruit + [(x, y, 0.05) for _, x, y in scene.layout["sights"]]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """The tray on its ground, its fillings, its fruit."""
        surfaces.mat(canvas, self.ground, unevenness=0.08)
        middle = scene.layout["middle"]
        floors = [(c.floor, (middle[0] + c.x, middle[1] + c.y)) for c in self.compartments]
        trays.tray(canvas, middle, self.height - 0.045, floors, self.colour)
        for place, content in scene.layout["contents"].items():
            if isinstance(content, Bulk):
                # Cereal last: its flakes lie on the edge of what is beside it.
                for layer in sorted(content.layers, key=lambda layer: "cereal" in layer.parts):
                    _paint_layer(canvas, middle, self.at(place), content.upright, layer)
        for item in scene.items:
            food.fruit(canvas, item)


def _lay_fruits(
    compartment: Compartment, middle: tuple[float, float], fruits: Fruits, zigzag: bool, rng: np.random.Generator
) -> list[Item]:
    """Fruits anywhere in a compartment, or in a zigzag along it; they touch but do not hide each other."""
    kinds = ["tangerine"] * fruits.tangerines + ["nectarine"] * fruits.nectarines
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    size = float(rng.uniform(0.190, 0.212))
    if len(kinds) * (1.25 * size) ** 2 > compartment.area:
        size *= 0.82
    reach = np.array([compartment.wide + 0.09, compartment.tall + 0.09])
    size = min(size, (min(compartment.wide, compartment.tall) + 0.09) * 0.92)
    for attempt in range(60):
        # Fruits that find no place shrink a little now and then.
        size *= 0.985 if attempt % 4 == 3 else 1.0
        if zigzag and attempt < 8:
            tries = _zigzag(len(kinds), reach, size) + rng.uniform(-0.015, 0.015, (len(kinds), 2))
        else:
            tries = rng.uniform(-0.5, 0.5, (len(kinds) * 40, 2)) * reach
        spots = _apart(tries[compartment.floor(tries[:, 0], tries[:, 1]) < -0.45 * size], size, len(kinds))
        if len(spots) == len(kinds):
            break
    items = []
    angles = rng.uniform(0, 360, len(spots)).tolist()
    for kind, (x, y), angle in zip(kinds, spots, angles, strict=True):
        at = middle[0] + compartment.x + x, middle[1] + compartment.y + y
        varied = size * float(rng.uniform(0.97, 1.03))
        items.append(Item(kind, *at, varied, food.FRUIT_COLOURS[kind], compartment.place, angle))
    return items


def _apart(tries: Array, size: float, number: int) -> list[tuple[float, float]]:
    """The first `number` of the tries, (n, 2), that lie apart from those before them."""
    spots: list[tuple[float, float]] = []
    for x, y in tries.tolist():
        if len(spots) < number and all(np.hypot(x - a, y - b) > size * 1.03 for a, b in spots):
            spots.append((x, y))
    return spots


def _zigzag(number: int, reach: Array, size: float) -> Array:
    """Middles of fruits, (number, 2), along the longer side of a floor, left and right of its middle line in turn."""
    along = ((np.arange(number) + 0.5) / number - 0.5) * (reach.max() - 0.03)
    aside = np.where(np.arange(number) % 2, 0.4, -0.4) * max(float(reach.min()) - size * 1.05, 0.0)
    return np.stack([aside, along] if reach[1] > reach[0] else [along, aside], axis=1)


def _paint_layer(
    canvas: Canvas, middle: tuple[float, float], compartment: Compartment, upright: bool, layer: Layer
) -> None:
    length = compartment.tall if upright else compartment.wide
    low = (layer.low - 0.5) * length - (_WALL if layer.low == 0 else 0.0)
    high = (layer.high - 0.5) * length + (_WALL if layer.high == 1 else 0.0)
    shift, half = (low + high) / 2, (high - low) / 2 + 0.02
    dx, dy = (0.0, shift) if upright else (shift, 0.0)
    reach = (compartment.wide / 2 + 0.03, half) if upright else (half, compartment.tall / 2 + 0.03)
    at = (middle[0] + compartment.x + dx, middle[1] + compartment.y + dy)
    window = canvas.window(at, reach)
    if window is None:
        return
    floor = moved(compartment.floor, -dx, -dy)
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
    # (spots, 3): x and y from the layer's middle, and the draw between chip and almond.
    loose = np.array([spots[i] for i in order]).reshape(-1, 3)
    loose[:, int(upright)] = np.clip(loose[:, int(upright)], -edge, edge)
    kept = loose[floor(loose[:, 0], loose[:, 1]) < -0.035] + (*at, 0.0)
    almonds = layer.almonds if len(layer.parts) == 2 else float(layer.parts == ("almonds",))
    food.scatter(canvas, [(x, y, share) for x, y, share in kept.tolist()], almonds)
