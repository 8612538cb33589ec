"""Free family: one to three glass vessels of juice in a row, their labels, fill levels and juices as each draw says.

A vessel with a fruit label above a label that reads '100% Juice' is never drawn: that is an evaluation product.
"""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.families import make_product
from lad_reasoner.miniloco.families.jar_defects import Defects
from lad_reasoner.miniloco.families.jar_rules import FRUIT, NAME, TEXTS, Rules, Vessel
from lad_reasoner.miniloco.painting.vessels import FORMS, JUICES
from lad_reasoner.miniloco.scene import Product, pick

PLACES = ("upper", "lower", "middle")
GROUNDS = ("blue", "green", "brown", "purple", "red", "grey")


def _draw_labels(rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Labels of one vessel, but never those of the evaluation product."""
    kind = int(rng.integers(10))
    text, other = (str(t) for t in rng.choice(TEXTS, 2, replace=False))
    if kind < 2:
        return ((str(pick(rng, PLACES)), FRUIT),)
    if kind < 3:
        return ((str(pick(rng, PLACES)), text),)
    if kind < 4:
        return (("upper", FRUIT), ("lower", FRUIT))
    if kind < 5:
        return (("upper", text), ("lower", other))
    if kind < 8:
        return (("upper", text), ("lower", FRUIT))
    return (("upper", FRUIT), ("lower", text if text != TEXTS[0] else other))


def draw(rng: np.random.Generator) -> Product:
    """A product of its own: the number of vessels, their labels, juices and levels."""
    number = 1 + int(rng.choice(3, p=[0.45, 0.30, 0.25]))
    alike, level = bool(rng.random() < 0.6), float(rng.uniform(0.25, 0.9))
    same_level = bool(rng.random() < 0.75)
    form, labels = str(pick(rng, list(FORMS))), _draw_labels(rng)
    forms = [form if alike else str(pick(rng, list(FORMS))) for _ in range(number)]
    sets = [labels if alike else _draw_labels(rng) for _ in range(number)]
    if not alike and number > 1 and rng.random() < 0.3:
        sets[int(rng.integers(number))] = ()
    levels = [level if same_level else float(rng.uniform(0.25, 0.9)) for _ in range(number)]
    free = any(FRUIT in dict(s).values() for s in sets) and bool(rng.random() < 0.7)
    plan = []
    for form, labels, level in zip(forms, sets, levels, strict=True):
        # Only the juice of a vessel that shows its fruit can be left free.
        any_juice = free and FRUIT in dict(labels).values()
        plan.append(Vessel(form, labels, level, "" if any_juice else str(pick(rng, list(JUICES)))))
    height = 1.0 if number == 1 or rng.random() < 0.4 else 0.8
    dark = bool(rng.random() < 0.7)
    ground = (0.016, 0.016, 0.018) if dark else mix(str(pick(rng, GROUNDS)), "black", float(rng.uniform(0.45, 0.7)))
    rules = Rules(tuple(plan), height, ground, dark)
    return make_product(NAME, rules, Defects(rules).applying())
