"""The ways to break the rule of one draw of a sorting box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.sorting_rules import Rules, items_in
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.painting.boxes import Cell, cell_place
from lad_reasoner.miniloco.scene import Break, Region, Scene, by_name, pick, pick_two


@dataclass(frozen=True)
class Defects:
    """The ways to break the rule of one draw, each method named after its defect."""

    rules: Rules

    def applying(self) -> dict[str, Break]:
        """The defects that this draw can have."""
        offered = (
            (self._empty_compartment, True),
            (self._extra_part, True),
            (self._wrong_compartment, True),
            (self._missing_separator, True),
            (self._two_extra_parts, True),
            (self._foreign_part, True),
            (self._two_empty_compartments, True),
            (self._one_of_them_missing, self.rules.number > 1),
            (self._exchanged_parts, len(set(self.rules.rows)) > 1),
        )
        return by_name(*(function for function, applies in offered if applies))

    def _broken(self, scene: Scene, words: str, *cells: Cell) -> Scene:
        """The scene with its sights, its defect in words, and its mask over these compartments."""
        regions = [self.rules.region(scene, cell) for cell in cells]
        return self.rules.with_sights(scene).broken(words, *regions)

    def _cells_of(self, sort: Sort) -> list[Cell]:
        return [cell for cell in self.rules.cells() if self.rules.sort_in(cell) == sort]

    def _empty_compartment(self, scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, self.rules.cells())
        words = f"the compartment in {cell_place(cell)} is empty"
        return self._broken(scene.without(*items_in(scene, cell)), words, cell)

    def _two_empty_compartments(self, scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(self.rules.cells(), rng)
        words = f"the compartments in {cell_place(one)} and in {cell_place(two)} are empty"
        return self._broken(scene.without(*items_in(scene, one), *items_in(scene, two)), words, one, two)

    def _one_of_them_missing(self, scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, self.rules.cells())
        left = sorts.words(self.rules.sort_in(cell), self.rules.number - 1)
        words = f"the compartment in {cell_place(cell)} holds only {left}"
        return self._broken(scene.without(pick(rng, items_in(scene, cell))), words, cell)

    def _extra_part(self, scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, self.rules.cells())
        sort = self.rules.sort_in(cell)
        words = f"the compartment in {cell_place(cell)} holds {sorts.words(sort, self.rules.number + 1)}"
        return self._broken(self.rules.lay(scene, sort, cell, rng), words, cell)

    def _two_extra_parts(self, scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(self.rules.cells(), rng)
        for cell in (one, two):
            scene = self.rules.lay(scene, self.rules.sort_in(cell), cell, rng)
        words = f"the compartments in {cell_place(one)} and in {cell_place(two)} hold one part too many each"
        return self._broken(scene, words, one, two)

    def _wrong_compartment(self, scene: Scene, rng: np.random.Generator) -> Scene:
        # Within one sort: the part would be a foreign one elsewhere.
        sort = self.rules.rows[int(rng.integers(len(self.rules.rows)))]
        old, new = pick_two(self._cells_of(sort), rng)
        less = scene.without(pick(rng, items_in(scene, old)))
        now = "is empty" if self.rules.number == 1 else "holds one part too few"
        words = f"the compartment in {cell_place(old)} {now}, the one in {cell_place(new)} holds one part too many"
        return self._broken(self.rules.lay(less, sort, new, rng), words, old, new)

    def _missing_separator(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wall = pick(rng, scene.all("separator"))
        region = Region(wall.x, wall.y, 0.03, self.rules.cell[1] * 0.9, wall.angle)
        less = self.rules.with_sights(scene.without(wall), ("missing separator", wall.x, wall.y))
        return less.broken(f"the separator in {wall.place} is missing", region)

    def _foreign_part(self, scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, self.rules.cells())
        old = self.rules.sort_in(cell)
        new = self._foreign(old, rng)
        less = scene.without(pick(rng, items_in(scene, cell)))
        words = f"the compartment in {cell_place(cell)} holds {sorts.words(new)} in place of {sorts.words(old)}"
        return self._broken(self.rules.lay(less, new, cell, rng), words, cell)

    def _foreign(self, old: Sort, rng: np.random.Generator) -> Sort:
        """Another colour or another sort than the compartment should hold, one that fits into it."""
        fitting, strangers = self.rules.fitting(), self.rules.strangers(old)
        has_other_colours = len(sorts.colours_of(old[0])) > 1
        while True:
            other_colour = has_other_colours and rng.random() < 0.5
            sort = sorts.any_sort(old[0] if other_colour else str(pick(rng, fitting)), rng)
            if sort in strangers:
                return sort

    def _exchanged_parts(self, scene: Scene, rng: np.random.Generator) -> Scene:
        first, second = pick_two(list(dict.fromkeys(self.rules.rows)), rng)
        one, two = pick(rng, self._cells_of(first)), pick(rng, self._cells_of(second))
        less = scene.without(pick(rng, items_in(scene, one)), pick(rng, items_in(scene, two)))
        more = self.rules.lay(less, second, one, rng)
        more = self.rules.lay(more, first, two, rng)
        now = f"{sorts.words(second)} in {cell_place(one)}, {sorts.words(first)} in {cell_place(two)}"
        return self._broken(more, f"two parts are exchanged: {now}", one, two)
