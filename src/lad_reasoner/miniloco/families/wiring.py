"""Free family: lever connectors in one or two facing pairs, joined by cables as each draw says.

One pair joined by one cable is never drawn: that is an evaluation product.
"""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.families import make_product
from lad_reasoner.miniloco.families.wiring_defects import Defects
from lad_reasoner.miniloco.families.wiring_rules import NAME, NUMBERS, Rules
from lad_reasoner.miniloco.painting.connectors import CABLE_TONES
from lad_reasoner.miniloco.scene import Product, pick

# Mats of middling tones: white and black cables stand out from all of them.
MATS = ((0.70, 0.62, 0.50), (0.36, 0.42, 0.48), (0.52, 0.53, 0.55), (0.44, 0.50, 0.40), (0.58, 0.46, 0.38))


def draw(rng: np.random.Generator) -> Product:
    """A product of its own: how many connectors, how many cables join them, of which colours."""
    double = bool(rng.random() < 0.45)
    high = bool(rng.random() < (0.65 if double else 0.2))
    cables = int(pick(rng, [1, 2] if double else [2, 2, 3]))
    most = (4 if high else 3) if double else 5
    pool = tuple(n for n in NUMBERS if cables <= n <= most)
    fixed = bool(rng.random() < 0.5)
    pairs = ("upper ", "lower ") if double else ("",)
    numbers = {pair: (int(pick(rng, pool)),) if fixed else pool for pair in pairs}
    tied = int(rng.integers(3))
    # Black cables would be lost in the holes of the mesh.
    ground = "mesh" if rng.random() < 0.5 else str(pick(rng, ["mat", "mat", "metal"]))
    palette = tuple(c for c in CABLE_TONES if c != "black" or ground != "mesh")
    table = [str(c) for c in rng.choice(palette, len(NUMBERS), replace=False)]
    # One colour, one for each number of clamps, or any.
    colours = dict.fromkeys(NUMBERS, table[0]) if tied == 0 else dict(zip(NUMBERS, table, strict=True))
    tone = MATS[int(rng.integers(len(MATS)))]
    rules = Rules(
        numbers=numbers,
        cables=cables,
        colours=colours if tied < 2 else {},
        palette=palette,
        height=0.685 if high else 0.5,
        most=most,
        ground=ground,
        tone=tone,
    )
    return make_product(NAME, rules, Defects(rules).applying())
