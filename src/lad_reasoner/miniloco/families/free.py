"""Free scenes for pretraining: each draw is a product of its own, with a rule, good scenes and ways to break them.

    product = draw_product("loose_parts", seed=3)
    scene = make_scene(product, seed=4, kind="logical")
    picture = render(scene, seed=5, paint=product.paint)

As part of the benchmark's folders a draw has a name, `loose_parts-7`: the family, and the seed of the draw.

A family shows parts that also occur in the evaluation products (screws, fruit, cables, …), but refuses to draw any of
their five compositions. Beside items a free scene names `sights` in its layout, points (what, x, y) where there is
something to see that is no item, such as an empty compartment; `render` adds them to the facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from lad_reasoner.errors import InputError
from lad_reasoner.miniloco.catalogue import CATALOGUE
from lad_reasoner.miniloco.families import jars, loose_parts, lunch_tray, sorting_box, wiring
from lad_reasoner.miniloco.render import Seed
from lad_reasoner.miniloco.scene import Product
from lad_reasoner.text import nearest_name

FAMILIES: dict[str, Callable[[np.random.Generator], Product]] = {
    module.NAME: module.draw for module in (loose_parts, sorting_box, lunch_tray, jars, wiring)
}


def draw_product(family: str, *, seed: Seed) -> Product:
    """A product of this family, drawn at random; KeyError for an unknown family."""
    return FAMILIES[family](np.random.default_rng(seed))


def free_names(draws: int) -> tuple[str, ...]:
    """The names of so many products of each family."""
    return tuple(f"{family}-{draw}" for draw in range(draws) for family in FAMILIES)


@cache
def find_product(name: str) -> Product:
    """The product of this name in the catalogue, or the draw of a family; InputError names all."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    match = re.fullmatch(r"([a-z_]+)-(\d{1,9})", name)
    if match is None or match[1] not in FAMILIES:
        known = (*CATALOGUE, *(f"{family}-N" for family in FAMILIES))
        near = nearest_name(name, known)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
        raise InputError(f"unknown product {name!r}; {hint}")
    return draw_product(match[1], seed=int(match[2]))
