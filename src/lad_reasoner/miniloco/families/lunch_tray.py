"""Free family: a tray of one to three compartments, each with an exact set of fruit or full of cereal and toppings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.families import make_product
from lad_reasoner.miniloco.families.tray_contents import Content, Fruits, any_bulk
from lad_reasoner.miniloco.families.tray_defects import Defects
from lad_reasoner.miniloco.families.tray_rules import NAME, Compartment, Rules, is_breakfast
from lad_reasoner.miniloco.painting import trays
from lad_reasoner.miniloco.painting.shapes import box
from lad_reasoner.miniloco.scene import Product, jitter, pick

_WIDE, _GAP = 0.86, 0.045


def draw(rng: np.random.Generator) -> Product:
    """A tray, and the contents of its compartments."""
    height = float(pick(rng, (0.8, 0.8, 0.8, 0.685)))
    compartments = _draw_compartments(height - 0.16, rng)
    contents = _draw_contents(compartments, rng)
    # Two compartments with the same content could be swapped without a trace.
    while is_breakfast(contents) or len(set(map(str, contents.values()))) < len(contents):
        contents = _draw_contents(compartments, rng)
    ground = mix(str(pick(rng, ["grey", "blue", "purple", "brown", "green"])), "black", float(rng.uniform(0.75, 0.92)))
    if rng.random() < 0.2:
        ground = mix(ground, "white", float(rng.uniform(0.5, 0.8)))
    colour = trays.CARD
    if rng.random() < 0.4:
        hue = str(pick(rng, ["grey", "blue", "green", "white", "pink", "black"]))
        colour = mix(hue, "white", rng.uniform(0.1, 0.5))
    rules = Rules(height, compartments, contents, bool(rng.integers(2)), ground, colour)
    return make_product(NAME, rules, Defects(rules).applying())


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
    pair = []
    for points in (trays.SLANTED_NARROW, trays.SLANTED_WIDE):
        scaled = [(x, y * (tall - 0.09) / 0.55) for x, y in points]
        floor, x = trays.slanted_floor(scaled, side)
        wide = max(px for px, _ in scaled) - min(px for px, _ in scaled)
        pair.append(Compartment("", x, 0.0, wide, tall - 0.09, floor, slanted=True))
    left, right = sorted(pair, key=lambda compartment: compartment.x)
    return replace(left, place="left compartment"), replace(right, place="right compartment")


def _lies_upright(compartment: Compartment) -> bool | None:
    """Whether layers lie one above the other: they lie along a long compartment; None where both will do."""
    if compartment.wide > 1.4 * compartment.tall:
        return False
    # A slanted wall is about upright.
    return True if compartment.slanted or compartment.tall > 1.4 * compartment.wide else None


def _draw_contents(compartments: tuple[Compartment, ...], rng: np.random.Generator) -> dict[str, Content]:
    """Fruit or bulk for each compartment, five fruits at most and few enough for their compartment."""
    contents: dict[str, Content] = {}
    left = 5
    for i in rng.permutation(len(compartments)):
        compartment = compartments[int(i)]
        room = min(int(compartment.area / (1.2 * 0.155) ** 2) - 1, 5, left)
        if room >= 1 and rng.random() < 0.5:
            number = int(rng.integers(1, room + 1))
            tangerines = int(rng.integers(0, number + 1))
            contents[compartment.place] = Fruits(tangerines, number - tangerines)
            left -= number
        else:
            contents[compartment.place] = any_bulk(rng, _lies_upright(compartment))
    return {c.place: contents[c.place] for c in compartments}
