"""Families of free scenes for pretraining: each draw of a family is a product of its own.

`free.py` lists the families. A family has three modules: the draw (`wiring.py`), the rule of one draw (`…_rules.py`:
words, good scenes, check, painting) and the ways to break it (`…_defects.py`). `sorts.py` holds the loose parts,
`tray_contents.py` the contents of a tray's compartments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.scene import Break, Product, Scene, Spot


class Rules(Protocol):
    """The rule of one draw; its methods are the fields of `Product`."""

    def words(self) -> str: ...
    def good(self, rng: np.random.Generator, /) -> Scene: ...
    def check(self, scene: Scene, /) -> list[str]: ...
    def paint(self, canvas: Canvas, scene: Scene, /) -> None: ...
    def spots(self, scene: Scene, /) -> list[Spot]: ...


def make_product(name: str, rules: Rules, defects: Mapping[str, Break]) -> Product:
    """The product of one draw."""
    return Product(name, rules.words(), rules.good, rules.check, defects, rules.paint, rules.spots)
