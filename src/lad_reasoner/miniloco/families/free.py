"""Free scenes for pretraining: each draw is a product of its own, with a rule, good scenes and ways to break them.

    product = draw_product("loose_parts", seed=3)
    scene = make_scene(product, seed=4, kind="logical")
    picture = render(scene, seed=5, paint=product.paint)

A family shows parts that also occur in the evaluation products (screws, fruit, cables, …), but refuses to draw any of
their five compositions. Beside items a free scene names `sights` in its layout, points (what, x, y) where there is
something to see that is no item, such as an empty compartment; `render` adds them to the facts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lad_reasoner.miniloco.families import jars, loose_parts, lunch_tray, sorting_box, wiring
from lad_reasoner.miniloco.render import Seed
from lad_reasoner.miniloco.scene import Product

FAMILIES: dict[str, Callable[[np.random.Generator], Product]] = {
    module.NAME: module.draw for module in (loose_parts, sorting_box, lunch_tray, jars, wiring)
}


def draw_product(family: str, *, seed: Seed) -> Product:
    """A product of this family, drawn at random; KeyError for an unknown family."""
    return FAMILIES[family](np.random.default_rng(seed))
