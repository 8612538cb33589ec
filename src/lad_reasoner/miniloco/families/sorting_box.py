"""Free family: a flat box of R x C compartments, each with exactly k parts of one sort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix, rgb
from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.painting import boxes, surfaces
from lad_reasoner.miniloco.painting.boxes import Cell, cell_place, separator_place
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import offset
from lad_reasoner.miniloco.scene import Break, Item, Product, Region, Scene, Spot, by_name, jitter, pick, pick_two

NAME = "sorting_box"
# The grid of the evaluation product pushpins: rows, columns.
REFUSED = (3, 5)
_OTHERS = ("nut", "washer", "tablet", "bolt", "short screw")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
# How far parts stay from the middles of the walls.
_WALL = 0.010


@dataclass(frozen=True)
class Rule:
    """One draw: the frame's height, the grid, what each row holds, and how the box looks."""

    height: float
    grid: tuple[int, int]
    cell: tuple[float, float]
    rows: tuple[Sort, ...]
    number: int
    factor: float
    ground: Colour
    colour: Colour | None

    @property
    def floor(self) -> Colour:
        """What parts are seen against: an opaque floor, or the ground through a clear one."""
        return self.colour or mix(self.ground, (0.10, 0.10, 0.12), 0.55)

    def cells(self) -> list[Cell]:
        """All compartments, row by row."""
        return [(row, column) for row in range(self.grid[0]) for column in range(self.grid[1])]

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
        """The rule as a reader is told it."""
        rows, columns = self.grid
        box = (
            f"A box of {rows * columns} compartments, {_NUMBERS[rows]} rows of {_NUMBERS[columns]}, with a separator "
            "between neighbours."
        )
        if len(set(self.rows)) == 1:
            held = sorts.words(self.rows[0], self.number)
            return f"{box} Each compartment holds exactly {held}, lying anywhere in it."
        listed = [f"{sorts.words(sort, self.number)} in row {row + 1}" for row, sort in enumerate(self.rows)]
        return f"{box} Each compartment holds exactly {', '.join(listed[:-1])} and {listed[-1]}, lying anywhere in it."


def _inside(scene: Scene, cell: Cell) -> list[Item]:
    return [item for item in scene.items if item.place == cell_place(cell)]


def draw(rng: np.random.Generator) -> Product:
    """A box, its grid and what is sorted into it."""
    while True:
        rule = _draw_rule(rng)
        wide, tall = rule.cell
        longest = max(sorts.SIZES[what] * rule.factor for what, _ in rule.rows)
        # Room for one part too many: across for pairs, and for a long part to lie at any angle.
        roomy = wide * tall > (rule.number + 1) * (longest * 0.82) ** 2
        roomy = roomy and min(wide, tall) > longest * 1.05 + 2 * _WALL
        seen = all(sorts.stands_out(colour, rule.floor) for _, colour in rule.rows)
        if rule.grid != REFUSED and roomy and seen and all(_strangers(rule, sort) for sort in rule.rows):
            break

    def good(rng: np.random.Generator) -> Scene:
        return _good(rule, rng)

    def check(scene: Scene) -> list[str]:
        return _check(rule, scene)

    return Product(NAME, rule.words(), good, check, _defects(rule), _paint(rule), _spots)


def _draw_rule(rng: np.random.Generator) -> Rule:
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
    return Rule(height, grid, cell, tuple(rows), number, float(rng.uniform(0.85, 1.2)), ground, opaque)


def _any_sort(rng: np.random.Generator, what: str | None = None) -> Sort:
    """A sort of this name; else a pushpin half of the time."""
    return sorts.any_sort(what or ("pushpin" if rng.random() < 0.5 else str(pick(rng, _OTHERS))), rng)


def _lay(rule: Rule, scene: Scene, sort: Sort, cell: Cell, rng: np.random.Generator) -> Scene:
    """The scene and one more part in a compartment."""
    size = sorts.SIZES[sort[0]] * rule.factor
    pose, beside = scene.layout["pose"], _inside(scene, cell)
    return scene.plus(sorts.lay(sort, size, rule.room(cell), pose, beside, rng, place=cell_place(cell))[0])


def _good(rule: Rule, rng: np.random.Generator) -> Scene:
    (rows, columns), (wide, tall) = rule.grid, rule.cell
    pose = (
        0.5 + jitter(rng, 0.012),
        rule.height / 2 + float(rng.uniform(-0.004, 0.008)),
        float(np.clip(rng.normal(0, 0.5), -1.2, 1.2)),
    )
    separators = []
    for row in range(rows):
        for column in range(columns - 1):
            x, y = offset(*pose, (column + 1 - columns / 2) * wide, (row + 0.5 - rows / 2) * tall)
            place = separator_place((row, column))
            separators.append(Item("separator", x, y, tall, "", place, pose[2]))
    scene = Scene(NAME, 1.0, rule.height, tuple(separators), layout={"pose": pose, "sights": ()})
    for cell in rule.cells():
        for _ in range(rule.number):
            scene = _lay(rule, scene, rule.rows[cell[0]], cell, rng)
    return _seen(rule, scene)


def _check(rule: Rule, scene: Scene) -> list[str]:
    broken = []
    for cell in rule.cells():
        wanted = rule.rows[cell[0]]
        found = Counter((item.what, item.colour) for item in _inside(scene, cell))
        if found != {wanted: rule.number}:
            holds = " and ".join(sorts.words(sort, n) for sort, n in found.items()) or "nothing"
            broken.append(
                f"the compartment in {cell_place(cell)} holds {holds}, not {sorts.words(wanted, rule.number)}"
            )
    walls = rule.grid[0] * (rule.grid[1] - 1)
    if len(scene.all("separator")) != walls:
        broken.append(f"{len(scene.all('separator'))} separators, not {walls}")
    return broken


def _sights(rule: Rule, scene: Scene) -> list[tuple[str, float, float]]:
    """How many parts each compartment holds, and whether that is nothing or too much."""
    seen = []
    for cell in rule.cells():
        number = len(_inside(scene, cell))
        seen.append((f"holding {number}", *rule.middle(scene, cell)))
        if number == 0 or number > rule.number:
            what = "crowded compartment" if number else "empty compartment"
            seen.append((what, *rule.middle(scene, cell)))
    return seen


def _seen(rule: Rule, scene: Scene, *more: tuple[str, float, float]) -> Scene:
    """The scene with its sights, and more of them."""
    return replace(scene, layout={**scene.layout, "sights": (*_sights(rule, scene), *more)})


def _broken(rule: Rule, scene: Scene, words: str, *cells: Cell) -> Scene:
    """The scene with its defect in words, its mask over these compartments, and its sights."""
    return _seen(rule, scene).broken(words, *(rule.region(scene, cell) for cell in cells))


def _defects(rule: Rule) -> dict[str, Break]:
    cells = rule.cells()
    cells_of = {sort: [cell for cell in cells if rule.rows[cell[0]] == sort] for sort in rule.rows}

    def empty_compartment(scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, cells)
        words = f"the compartment in {cell_place(cell)} is empty"
        return _broken(rule, scene.without(*_inside(scene, cell)), words, cell)

    def two_empty_compartments(scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(cells, rng)
        words = f"the compartments in {cell_place(one)} and in {cell_place(two)} are empty"
        return _broken(rule, scene.without(*_inside(scene, one), *_inside(scene, two)), words, one, two)

    def one_of_them_missing(scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, cells)
        words = f"the compartment in {cell_place(cell)} holds only {sorts.words(rule.rows[cell[0]], rule.number - 1)}"
        return _broken(rule, scene.without(pick(rng, _inside(scene, cell))), words, cell)

    def extra_part(scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, cells)
        sort = rule.rows[cell[0]]
        words = f"the compartment in {cell_place(cell)} holds {sorts.words(sort, rule.number + 1)}"
        return _broken(rule, _lay(rule, scene, sort, cell, rng), words, cell)

    def two_extra_parts(scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(cells, rng)
        for cell in (one, two):
            scene = _lay(rule, scene, rule.rows[cell[0]], cell, rng)
        words = f"the compartments in {cell_place(one)} and in {cell_place(two)} hold one part too many each"
        return _broken(rule, scene, words, one, two)

    def wrong_compartment(scene: Scene, rng: np.random.Generator) -> Scene:
        # Within one sort: the part would be a foreign one elsewhere.
        sort = rule.rows[int(rng.integers(len(rule.rows)))]
        old, new = pick_two(cells_of[sort], rng)
        left = scene.without(pick(rng, _inside(scene, old)))
        now = "is empty" if rule.number == 1 else "holds one part too few"
        words = f"the compartment in {cell_place(old)} {now}, the one in {cell_place(new)} holds one part too many"
        return _broken(rule, _lay(rule, left, rule.rows[new[0]], new, rng), words, old, new)

    def missing_separator(scene: Scene, rng: np.random.Generator) -> Scene:
        wall = pick(rng, scene.all("separator"))
        region = Region(wall.x, wall.y, 0.03, rule.cell[1] * 0.9, wall.angle)
        less = _seen(rule, scene.without(wall), ("missing separator", wall.x, wall.y))
        return less.broken(f"the separator in {wall.place} is missing", region)

    def foreign_part(scene: Scene, rng: np.random.Generator) -> Scene:
        cell = pick(rng, cells)
        old = rule.rows[cell[0]]
        new = _foreign(rule, old, rng)
        less = scene.without(pick(rng, _inside(scene, cell)))
        words = f"the compartment in {cell_place(cell)} holds {sorts.words(new)} in place of {sorts.words(old)}"
        return _broken(rule, _lay(rule, less, new, cell, rng), words, cell)

    def exchanged_parts(scene: Scene, rng: np.random.Generator) -> Scene:
        first, second = pick_two(list(cells_of), rng)
        one, two = pick(rng, cells_of[first]), pick(rng, cells_of[second])
        less = scene.without(pick(rng, _inside(scene, one)), pick(rng, _inside(scene, two)))
        more = _lay(rule, _lay(rule, less, second, one, rng), first, two, rng)
        now = f"{sorts.words(second)} in {cell_place(one)}, {sorts.words(first)} in {cell_place(two)}"
        return _broken(rule, more, f"two parts are exchanged: {now}", one, two)

    breaks: list[Break] = [
        empty_compartment,
        extra_part,
        wrong_compartment,
        missing_separator,
        two_extra_parts,
        foreign_part,
        two_empty_compartments,
    ]
    if rule.number > 1:
        breaks.append(one_of_them_missing)
    if len(cells_of) > 1:
        breaks.append(exchanged_parts)
    return by_name(*breaks)


def _fitting(rule: Rule) -> list[str]:
    """The parts that fit into a compartment."""
    longest = (min(rule.cell) - 2 * _WALL) / 1.05
    return [what for what in ("pushpin", *_OTHERS) if sorts.SIZES[what] * rule.factor <= longest]


def _strangers(rule: Rule, old: Sort) -> list[Sort]:
    """What may lie by mistake where a part of this sort should, and is seen there."""
    possible = [(what, colour) for what in {old[0], *_fitting(rule)} for colour in sorts.colours_of(what)]
    return [sort for sort in possible if sort != old and sorts.stands_out(sort[1], rule.floor)]


def _foreign(rule: Rule, old: Sort, rng: np.random.Generator) -> Sort:
    """Another colour or another sort than the compartment should hold, one that fits into it."""
    fitting, strangers = _fitting(rule), _strangers(rule, old)
    many = len(sorts.colours_of(old[0])) > 1
    while True:
        sort = sorts.any_sort(old[0] if many and rng.random() < 0.5 else str(pick(rng, fitting)), rng)
        if sort in strangers:
            return sort


def _spots(scene: Scene) -> list[Spot]:
    return [(item.x, item.y, 0.05) for item in scene.items if item.what != "separator"]


def _paint(rule: Rule) -> Callable[[Canvas, Scene], None]:
    def paint(canvas: Canvas, scene: Scene) -> None:
        surfaces.mat(canvas, rule.ground, unevenness=0.12 if max(rgb(rule.ground)) < 0.2 else 0.04)
        separators = [(wall.x, wall.y) for wall in scene.all("separator")]
        boxes.sorting_box(canvas, scene.layout["pose"], rule.grid, rule.cell, separators, rule.colour)
        for item in scene.items:
            if item.what != "separator":
                sorts.paint(canvas, item)

    return paint
