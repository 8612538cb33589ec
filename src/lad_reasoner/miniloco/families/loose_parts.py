"""Free family: an exact set of small parts, lying anywhere at any angle in a clear bag or on some ground."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.families import make_product, sorts
from lad_reasoner.miniloco.families.loose_defects import Defects
from lad_reasoner.miniloco.families.loose_rules import NAME, Rules
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.scene import Product, pick

_HEIGHTS = (0.5, 0.585, 0.685, 0.8, 1.0)
# Named as often as they are to be drawn.
_GROUNDS = ("bag", "bag", "bag", "dark mat", "dark mat", "light mat", "metal", "wood", "foam")
_HARDWARE = ("long screw", "short screw", "nut", "washer")
_SMALL = ("nut", "washer", "pushpin", "tablet")


def draw(rng: np.random.Generator) -> Product:
    """A set of parts, and the ground on which it lies."""
    ground, height = str(pick(rng, _GROUNDS)), float(pick(rng, _HEIGHTS))
    while True:
        wanted, tone = _draw_wanted(ground, rng), _draw_tone(ground, rng)
        rules = Rules(height, ground, tone, float(rng.uniform(0.9, 1.1)), wanted)
        visible = all(sorts.stands_out(colour, tone) for _, colour in wanted)
        if rules.fits() and visible and all(rules.strangers(sort) for sort in wanted):
            break
    return make_product(NAME, rules, Defects(rules).applying(rng))


def _draw_wanted(ground: str, rng: np.random.Generator) -> dict[Sort, int]:
    """2 to 5 sorts and how many of each; half of the time mostly screws, nuts and washers."""
    if rng.random() < 0.5:
        kinds = [str(k) for k in rng.permutation(_HARDWARE)[: int(rng.integers(2, 5))]]
        if rng.random() < 0.3:
            kinds.append(str(pick(rng, ["bolt", "very short screw", "pushpin", "tablet"])))
    else:
        choice = [*_HARDWARE, "bolt", "bolt", "pushpin", "pushpin", "tablet", "tablet"]
        if ground != "bag":
            choice += [*sorts.FRUITS, *sorts.FRUITS]
        if rng.random() < 0.2:
            choice.append("very short screw")
        kinds = [str(pick(rng, choice)) for _ in range(int(rng.integers(2, 6)))]
    wanted: dict[Sort, int] = {}
    for kind in kinds:
        most = 2 if kind in sorts.FRUITS else 4
        if kind in _SMALL and rng.random() < 0.15:
            most = 6
        number = int(rng.integers(1, most + 1))
        wanted[sorts.any_sort(kind, rng)] = number
    return wanted


def _draw_tone(ground: str, rng: np.random.Generator) -> Colour:
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
