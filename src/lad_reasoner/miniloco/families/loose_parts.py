"""Free family: an exact set of small parts, lying anywhere at any angle in a clear bag or on some ground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.painting import bags, surfaces
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import box
from lad_reasoner.miniloco.scene import Break, Item, Pose, Product, Region, Scene, Spot, around, jitter, pick

NAME = "loose_parts"
# The composition of the evaluation product screw_bag.
REFUSED: dict[Sort, int] = {
    ("long screw", "steel"): 1,
    ("short screw", "steel"): 1,
    ("nut", "steel"): 2,
    ("washer", "steel"): 2,
}
_HEIGHTS = (0.5, 0.585, 0.685, 0.8, 1.0)
_HARDWARE = ("long screw", "short screw", "nut", "washer")
_SMALL = ("nut", "washer", "pushpin", "tablet")


@dataclass(frozen=True)
class Rule:
    """What one draw of the family wants, and on what it lies."""

    height: float
    ground: str
    tone: Colour
    factor: float
    wanted: dict[Sort, int]

    @property
    def place(self) -> str:
        """Where the parts lie, as their facts say it."""
        return "in the bag" if self.ground == "bag" else ""

    @property
    def room(self) -> tuple[float, float, float, float]:
        """Where parts can lie, from the middle of the frame: left, top, right, bottom."""
        if self.ground == "bag":
            return -0.385, 0.095 - self.height / 2, 0.240, self.height / 2 - 0.095
        return -0.455, 0.045 - self.height / 2, 0.455, self.height / 2 - 0.045

    def words(self) -> str:
        """The rule as a reader is told it."""
        listed = [sorts.words(sort, number) for sort, number in self.wanted.items()]
        holds = "A clear bag holds exactly" if self.ground == "bag" else "The picture shows exactly"
        return f"{holds} {', '.join(listed[:-1])} and {listed[-1]}, lying anywhere at any angle."


def _counts(scene: Scene) -> Counter[Sort]:
    return Counter((item.what, item.colour) for item in scene.items)


def _draw_wanted(ground: str, rng: np.random.Generator) -> dict[Sort, int]:
    """2 to 5 sorts and how many of each; half of the time mostly screws, nuts and washers."""
    if rng.random() < 0.5:
        kinds = [str(k) for k in rng.permutation(_HARDWARE)[: int(rng.integers(2, 5))]]
        if rng.random() < 0.3:
            kinds.append(str(pick(rng, ["bolt", "very short screw", "pushpin", "tablet"])))
    else:
        choice = [*_HARDWARE, "bolt", "bolt", "pushpin", "pushpin", "tablet", "tablet"]
        choice += [] if ground == "bag" else [*sorts.FRUITS, *sorts.FRUITS]
        choice += ["very short screw"] if rng.random() < 0.2 else []
        kinds = [str(pick(rng, choice)) for _ in range(int(rng.integers(2, 6)))]
    wanted: dict[Sort, int] = {}
    for kind in kinds:
        most = 6 if kind in _SMALL and rng.random() < 0.15 else 2 if kind in sorts.FRUITS else 4
        wanted[sorts.any_sort(kind, rng)] = int(rng.integers(1, most + 1))
    return wanted


def _fits(rule: Rule) -> bool:
    """Few enough parts for the room, with one more beside them, and not an evaluation product's set."""
    number, sizes = sum(rule.wanted.values()), sorts.SIZES
    if not (2 <= len(rule.wanted) <= 5 and 3 <= number <= 14) or rule.wanted == REFUSED:
        return False
    fruits = sum(n for (what, _), n in rule.wanted.items() if what in sorts.FRUITS)
    long = sum(n for (what, _), n in rule.wanted.items() if what == "long screw")
    left, top, right, bottom = rule.room
    # A bar needs about as much space as a round thing of a third of its length.
    sides = {what: (sizes[what] + 0.02) * (0.5 if what.endswith("screw") else 1.0) for what, _ in rule.wanted}
    area = sum(number * sides[what] ** 2 for (what, _), number in rule.wanted.items())
    crowded = area * rule.factor**2 > 0.42 * (right - left) * (bottom - top)
    return fruits <= 4 and long <= 4 and (fruits < 3 or number <= 9) and not crowded


def draw(rng: np.random.Generator) -> Product:
    """A set of parts and what it lies on."""
    grounds = ["bag", "bag", "bag", "dark mat", "dark mat", "light mat", "metal", "wood", "foam"]
    ground, height = str(pick(rng, grounds)), float(pick(rng, _HEIGHTS))
    while True:
        wanted, tone = _draw_wanted(ground, rng), _tone(ground, rng)
        rule = Rule(height, ground, tone, float(rng.uniform(0.9, 1.1)), wanted)
        seen = all(sorts.stands_out(sort[1], rule.tone) for sort in wanted)
        if _fits(rule) and seen and all(_strangers(rule, sort) for sort in wanted):
            break

    def good(rng: np.random.Generator) -> Scene:
        return _good(rule, rng)

    return Product(
        NAME, rule.words(), good, lambda scene: _check(rule, scene), _defects(rule, rng), _paint(rule), _spots
    )


def _tone(ground: str, rng: np.random.Generator) -> Colour:
    """The colour of the ground."""
    if ground == "bag":
        return 0.028, 0.028, 0.030
    if ground == "metal":
        return mix((0.38, 0.39, 0.41), (0.66, 0.67, 0.68), float(rng.random()))
    if ground == "wood":
        return mix((0.78, 0.58, 0.36), (0.50, 0.33, 0.20), float(rng.random()))
    hue = str(pick(rng, ["grey", "blue", "green", "brown", "red", "purple"]))
    muted = mix(hue, "grey", float(rng.uniform(0.2, 1.0)))
    return mix(muted, "white" if ground == "light mat" else "black", float(rng.uniform(0.5, 0.9)))


def _good(rule: Rule, rng: np.random.Generator) -> Scene:
    best: tuple[Item, ...] = ()
    widest = -2.0
    tilt = float(np.clip(rng.normal(0, 1.5), -3.5, 3.5)) if rule.ground == "bag" else 0.0
    away = 0.02 if rule.ground == "bag" else 0.0
    pose = (0.5 + jitter(rng, away), rule.height / 2 + jitter(rng, away) / 2, tilt)
    # Large parts first: small ones find a place between them. The order of painting is drawn afterwards.
    queue = sorted((s for s, n in rule.wanted.items() for _ in range(n)), key=lambda s: -sorts.SIZES[s[0]])
    for _ in range(4):
        items: list[Item] = []
        least = 1.0
        for sort in queue:
            item, free = _lay(rule, sort, pose, items, rng)
            items.append(item)
            least = min(least, free)
        if least > widest:
            best, widest = tuple(items), least
        if least > 0:
            break
    order = rng.permutation(len(best))
    return Scene(NAME, 1.0, rule.height, tuple(best[i] for i in order), layout={"pose": pose, "sights": ()})


def _lay(
    rule: Rule, sort: Sort, pose: Pose, taken: list[Item] | tuple[Item, ...], rng: np.random.Generator
) -> tuple[Item, float]:
    size = sorts.SIZES[sort[0]] * rule.factor * (float(rng.uniform(0.97, 1.03)) if sort[0] in sorts.FRUITS else 1.0)
    return sorts.lay(sort, size, rule.room, pose, taken, rng, place=rule.place)


def _check(rule: Rule, scene: Scene) -> list[str]:
    found = _counts(scene)
    return [
        f"there should be {sorts.words(sort, rule.wanted.get(sort, 0))}, there are {found[sort]}"
        for sort in {**rule.wanted, **found}
        if found[sort] != rule.wanted.get(sort, 0)
    ]


def _without(scene: Scene, sort: Sort, number: int, rng: np.random.Generator) -> tuple[Scene, list[Region]]:
    """The scene less some parts of a sort, drawn at random, and where they were."""
    here = scene.all(sort[0], colour=sort[1])
    gone = [here[int(i)] for i in rng.permutation(len(here))[:number]]
    return scene.without(*gone), [around(item) for item in gone]


def _plus(rule: Rule, scene: Scene, sort: Sort, number: int, rng: np.random.Generator) -> tuple[Scene, list[Region]]:
    """The scene and some more parts of a sort, and where they are."""
    regions = []
    for _ in range(number):
        item, _gap = _lay(rule, sort, scene.layout["pose"], scene.items, rng)
        scene = scene.plus(item)
        regions.append(around(item))
    return scene, regions


def _strangers(rule: Rule, like: Sort) -> list[str]:
    """What the scene should not hold and would be seen in it; no fruit in place of something small."""
    here = {what for what, _ in rule.wanted}
    others = [what for what in sorts.SIZES if what not in here and what not in sorts.FRUITS]
    if like[0] in sorts.FRUITS:
        others += [what for what in sorts.FRUITS if what not in here] * 4
    return [what for what in others if any(sorts.stands_out(c, rule.tone) for c in sorts.colours_of(what))]


def _foreign(rule: Rule, like: Sort, rng: np.random.Generator) -> Sort:
    """A sort that the scene should not hold."""
    others = _strangers(rule, like)
    while True:
        sort = sorts.any_sort(str(pick(rng, others)), rng)
        if sorts.stands_out(sort[1], rule.tone):
            return sort


def _change(change: Break) -> Break:
    """The change, drawn again where it would end at the composition of an evaluation product."""

    def broken(scene: Scene, rng: np.random.Generator) -> Scene:
        while True:
            result = change(scene, rng)
            if _counts(result) != REFUSED:
                return result

    return broken


def _defects(rule: Rule, rng: np.random.Generator) -> dict[str, Break]:
    wanted = list(rule.wanted)

    def missing(number: int) -> Break:
        def change(scene: Scene, rng: np.random.Generator) -> Scene:
            sort = pick(rng, [s for s in wanted if rule.wanted[s] >= number])
            less, regions = _without(scene, sort, number, rng)
            verb = "is" if number == 1 else "are"
            return less.broken(f"{sorts.words(sort, number)} {verb} missing", *regions)

        return change

    def extra(number: int) -> Break:
        def change(scene: Scene, rng: np.random.Generator) -> Scene:
            sort = pick(rng, wanted)
            more, regions = _plus(rule, scene, sort, number, rng)
            verb = "is" if number == 1 else "are"
            return more.broken(f"there {verb} {sorts.words(sort, number)} too many", *regions)

        return change

    def swapped(old: Sort, new: Sort, number: int, scene: Scene, rng: np.random.Generator) -> Scene:
        less, _ = _without(scene, old, number, rng)
        more, regions = _plus(rule, less, new, number, rng)
        verb = "lies" if number == 1 else "lie"
        return more.broken(f"{sorts.words(new, number)} {verb} in place of {sorts.words(old, number)}", *regions)

    def replaced(scene: Scene, rng: np.random.Generator) -> Scene:
        old, new = (wanted[int(i)] for i in rng.permutation(len(wanted))[:2])
        return swapped(old, new, 1, scene, rng)

    def foreign(scene: Scene, rng: np.random.Generator) -> Scene:
        old = pick(rng, wanted)
        return swapped(old, _foreign(rule, old, rng), 1, scene, rng)

    def all_replaced(scene: Scene, rng: np.random.Generator) -> Scene:
        old = pick(rng, wanted)
        others = [s for s in wanted if s != old and s[0] not in sorts.FRUITS]
        new = pick(rng, others) if others and rng.random() < 0.7 else _foreign(rule, old, rng)
        return swapped(old, new, rule.wanted[old], scene, rng)

    def other_colours(sort: Sort) -> list[str]:
        return [c for c in sorts.colours_of(sort[0]) if c != sort[1] and sorts.stands_out(c, rule.tone)]

    coloured = [sort for sort in wanted if other_colours(sort)]

    def recoloured(scene: Scene, rng: np.random.Generator) -> Scene:
        what, old = pick(rng, coloured)
        item, colour = pick(rng, scene.all(what, colour=old)), str(pick(rng, other_colours((what, old))))
        words = f"{sorts.words((what, colour))} lies in place of {sorts.words((what, old))}"
        return scene.change(item, colour=colour).broken(words, around(item))

    found = {
        "missing_part": missing(1),
        "extra_part": extra(1),
        "replaced_by_another_sort": replaced,
        "replaced_by_a_foreign_sort": foreign,
        "whole_sort_replaced": all_replaced,
    }
    if coloured:
        found["wrong_colour"] = recoloured
    if rng.random() < 0.25:
        found["two_extra_parts"] = extra(2)
    if rng.random() < 0.25 and max(rule.wanted.values()) > 1:
        found["two_missing_parts"] = missing(2)
    return {name: _change(change) for name, change in found.items()}


def _spots(scene: Scene) -> list[Spot]:
    return [(item.x, item.y, min(item.size * 0.5, 0.07)) for item in scene.items]


def _paint(rule: Rule) -> Callable[[Canvas, Scene], None]:
    def paint(canvas: Canvas, scene: Scene) -> None:
        def contents() -> None:
            for item in scene.items:
                sorts.paint(canvas, item)

        if rule.ground == "wood":
            surfaces.wood(canvas, rule.tone)
        elif rule.ground == "metal":
            surfaces.mat(canvas, mix(rule.tone, "black", 0.8))
            plate = box(1.2, rule.height + 0.2)
            surfaces.brushed_plate(canvas, plate, (0.5, rule.height / 2), rule.tone, lift=0.0)
        else:
            grain = {"bag": 0.15, "foam": 0.12}.get(rule.ground, 0.05)
            surfaces.mat(canvas, rule.tone, unevenness=grain, pitch=0.007 if rule.ground == "foam" else 0.004)
        if rule.ground == "bag":
            bags.clear_bag(canvas, scene.layout["pose"], contents, rule.height - 0.10)
        else:
            contents()

    return paint
