"""Free family: a flat box of R x C compartments, each with exactly k parts of one sort."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.families import make_product, sorts
from lad_reasoner.miniloco.families.sorting_defects import Defects
from lad_reasoner.miniloco.families.sorting_rules import NAME, OTHERS, REFUSED, Rules
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.scene import Product, pick


def draw(rng: np.random.Generator) -> Product:
    """A box with its grid, and the parts that are sorted into it."""
    while True:
        rules = _draw_rules(rng)
        visible = all(sorts.stands_out(colour, rules.floor) for _, colour in rules.rows)
        can_be_wrong = all(rules.strangers(sort) for sort in rules.rows)
        if rules.grid != REFUSED and rules.is_roomy() and visible and can_be_wrong:
            break
    return make_product(NAME, rules, Defects(rules).applying())


def _draw_rules(rng: np.random.Generator) -> Rules:
    height = float(pick(rng, (0.585, 0.585, 0.585, 0.685, 0.5)))
    grid = int(rng.integers(2, 5)), int(rng.integers(2, 7))
    spread = float(rng.uniform(0.82, 1.0)) if rng.random() < 0.3 else 1.0
    cell = 0.92 * spread / grid[1], (height - 0.069) * spread / grid[0]
    rows = [_any_sort(rng)] * grid[0]
    if rng.random() < 0.55:
        # Each row its own sort, or its own colour of one sort.
        what = rows[0][0] if rng.random() < 0.5 else None
        rows = [_any_sort(rng, what) for _ in range(grid[0])]
    number = 2 if rng.random() < 0.2 else 1
    shade = float(rng.uniform(0.85, 0.95))
    ground = mix(str(pick(rng, ["grey", "blue", "brown", "green"])), "black", shade)
    if rng.random() < 0.3:
        ground = mix(str(pick(rng, ["grey", "blue", "brown", "white"])), "white", float(rng.uniform(0.0, 0.7)))
    opaque: Colour | None = None
    if rng.random() < 0.3:
        opaque = mix(str(pick(rng, ["blue", "green", "red", "grey", "black", "white", "brown"])), "grey", 0.25)
    return Rules(
        height=height,
        grid=grid,
        cell=cell,
        rows=tuple(rows),
        number=number,
        factor=float(rng.uniform(0.85, 1.2)),
        ground=ground,
        colour=opaque,
    )


def _any_sort(rng: np.random.Generator, what: str | None = None) -> Sort:
    """A sort of this name; without a name a pushpin half of the time."""
    if what is None:
        what = "pushpin" if rng.random() < 0.5 else str(pick(rng, OTHERS))
    return sorts.any_sort(what, rng)
