"""The rule of one draw of a sorting box: its grid, the parts in each row, good scenes, check, painting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix, rgb
from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.painting import boxes, surfaces
from lad_reasoner.miniloco.painting.boxes import Cell, cell_place, separator_place
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import offset
from lad_reasoner.miniloco.scene import Item, Region, Scene, Sight, Spot, jitter
from lad_reasoner.text import number_word

NAME = "sorting_box"
# The grid of the evaluation product pushpins: rows, columns.
REFUSED = (3, 5)
OTHERS = ("nut", "washer", "tablet", "bolt", "short screw")
# How far parts stay from the middles of the walls.
_WALL = 0.010


def items_in(scene: Scene, cell: Cell) -> list[Item]:
    """The items in a compartment."""
    return [item for item in scene.items if item.place == cell_place(cell)]


@dataclass(frozen=True)
class Rules:
    """The rule of one draw, and all that follows from it."""

    height: float
    # Rows and columns.
    grid: tuple[int, int]
    # Width and height of a compartment.
    cell: tuple[float, float]
    # The sort of parts in each row, and how many of them lie in each compartment.
    rows: tuple[Sort, ...]
    number: int
    # The size of all parts, relative to that in `sorts.SIZES`.
    factor: float
    ground: Colour
    # Of an opaque box; None for a clear one.
    colour: Colour | None

    @property
    def floor(self) -> Colour:
        """The colour behind the parts: an opaque floor, or the ground through a clear one."""
        return self.colour or mix(self.ground, (0.10, 0.10, 0.12), 0.55)

    def cells(self) -> list[Cell]:
        """All compartments, row by row."""
        return [(row, column) for row in range(self.grid[0]) for column in range(self.grid[1])]

    def sort_in(self, cell: Cell) -> Sort:
        """The sort of parts that a compartment should hold."""
        return self.rows[cell[0]]

    def room(self, cell: Cell) -> tuple[float, float, float, float]:
        """A compartment between its walls, from the middle of the box: left, top, right, bottom."""
        wide, tall = self.cell
        left, top = (cell[1] - self.grid[1] / 2) * wide, (cell[0] - self.grid[0] / 2) * tall
        return left + _WALL, top + _WALL, left + wide - _WALL, top + tall - _WALL

    def middle(self, scene: Scene, cell: Cell) -> tuple[float, float]:
        """The middle of a compartment in the scene."""
        left, top, right, bottom = self.room(cell)
        x, y, angle = scene.layout["pose"]
        return offset(x, y, angle, (left + right) / 2, (top + bottom) / 2)

    def region(self, scene: Scene, cell: Cell) -> Region:
        """A compartment for the mask."""
        return Region(*self.middle(scene, cell), self.cell[0] * 0.94, self.cell[1] * 0.94, scene.layout["pose"][2])

    def words(self) -> str:
        """The rule in words."""
        rows, columns = self.grid
        box = (
            f"A box of {rows * columns} compartments, {number_word(rows)} rows of {number_word(columns)}, with a "
            "separator between neighbours."
        )
        if len(set(self.rows)) == 1:
            held = sorts.words(self.rows[0], self.number)
            return f"{box} Each compartment holds exactly {held}, lying anywhere in it."
        listed = [f"{sorts.words(sort, self.number)} in row {row + 1}" for row, sort in enumerate(self.rows)]
        return f"{box} Each compartment holds exactly {', '.join(listed[:-1])} and {listed[-1]}, lying anywhere in it."

    def is_roomy(self) -> bool:
        """Whether there is room for one part too many: across for pairs, and for a long part to lie at any angle."""
        wide, tall = self.cell
        longest = max(sorts.SIZES[what] * self.factor for what, _ in self.rows)
        large = wide * tall > (self.number + 1) * (longest * 0.82) ** 2
        return large and min(wide, tall) > longest * 1.05 + 2 * _WALL

    def fitting(self) -> list[str]:
        """The parts that fit into a compartment."""
        longest = (min(self.cell) - 2 * _WALL) / 1.05
        return [what for what in ("pushpin", *OTHERS) if sorts.SIZES[what] * self.factor <= longest]

    def strangers(self, old: Sort) -> list[Sort]:
        """Sorts that could lie by mistake in place of this one, and would be seen there."""
        possible = [(what, colour) for what in {old[0], *self.fitting()} for colour in sorts.colours_of(what)]
        return [sort for sort in possible if sort != old and sorts.stands_out(sort[1], self.floor)]

    def lay(self, scene: Scene, sort: Sort, cell: Cell, rng: np.random.Generator) -> Scene:
        """The scene and one more part in a compartment."""
        size = sorts.SIZES[sort[0]] * self.factor
        pose, beside = scene.layout["pose"], items_in(scene, cell)
        item, _gap = sorts.lay(sort, size, self.room(cell), pose, beside, rng, place=cell_place(cell))
        return scene.plus(item)

    def good(self, rng: np.random.Generator) -> Scene:
        """A scene that keeps the rule."""
        (rows, columns), (wide, tall) = self.grid, self.cell
        pose = (
            0.5 + jitter(rng, 0.012),
            self.height / 2 + float(rng.uniform(-0.004, 0.008)),
            float(np.clip(rng.normal(0, 0.5), -1.2, 1.2)),
        )
        separators = []
        for row, column in self.cells():
            if column < columns - 1:
                at = offset(*pose, (column + 1 - columns / 2) * wide, (row + 0.5 - rows / 2) * tall)
                separators.append(Item("separator", *at, tall, "", separator_place((row, column)), pose[2]))
        scene = Scene(NAME, 1.0, self.height, tuple(separators), layout={"pose": pose, "sights": ()})
        for cell in self.cells():
            for _ in range(self.number):
                scene = self.lay(scene, self.sort_in(cell), cell, rng)
        return self.with_sights(scene)

    def check(self, scene: Scene) -> list[str]:
        """The breaches of the rule, in words; empty for a good scene."""
        broken = []
        for cell in self.cells():
            wanted = self.sort_in(cell)
            counts = Counter((item.what, item.colour) for item in items_in(scene, cell))
            if counts != {wanted: self.number}:
                holds = " and ".join(sorts.words(sort, number) for sort, number in counts.items()) or "nothing"
                should = sorts.words(wanted, self.number)
                broken.append(f"the compartment in {cell_place(cell)} holds {holds}, not {should}")
        walls = self.grid[0] * (self.grid[1] - 1)
        if len(scene.all("separator")) != walls:
            broken.append(f"{len(scene.all('separator'))} separators, not {walls}")
        return broken

    def with_sights(self, scene: Scene, *more: Sight) -> Scene:
        """The scene with how many parts each compartment holds, whether that is nothing or too much, and more."""
        sights: list[Sight] = []
        for cell in self.cells():
            number, at = len(items_in(scene, cell)), self.middle(scene, cell)
            sights.append((f"holding {number}", *at))
            if number == 0:
                sights.append(("empty compartment", *at))
            elif number > self.number:
                sights.append(("crowded compartment", *at))
        return replace(scene, layout={**scene.layout, "sights": (*sights, *more)})

    def spots(self, scene: Scene) -> list[Spot]:
        """Patches of the parts for structural flaws."""
        return [(item.x, item.y, 0.05) for item in scene.items if item.what != "separator"]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """The box on its ground, and the parts in it."""
        surfaces.mat(canvas, self.ground, unevenness=0.12 if max(rgb(self.ground)) < 0.2 else 0.04)
        separators = [(wall.x, wall.y) for wall in scene.all("separator")]
        boxes.sorting_box(canvas, scene.layout["pose"], self.grid, self.cell, separators, self.colour)
        for item in scene.items:
            if item.what != "separator":
                sorts.paint(canvas, item)
