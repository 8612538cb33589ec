"""Evaluation product after MVTec LOCO AD's pushpins: a sorting box with one pin in each compartment."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.painting import boxes, parts, surfaces
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import offset
from lad_reasoner.miniloco.scene import (
    Item,
    Pose,
    Product,
    Region,
    Scene,
    Sight,
    Spot,
    by_name,
    draw_pose,
    pick,
    pick_two,
)

NAME = "pushpins"
RULE = (
    "A box of fifteen compartments, three rows of five, with a separator between neighbours. Each "
    "compartment holds exactly one yellow pushpin, lying anywhere in it at any angle."
)
WIDTH, HEIGHT = 1.0, 0.585
ROWS, COLUMNS = 3, 5
CELL_W, CELL_H = 0.184, 0.172
BODY, NEEDLE = parts.PIN_BODY, parts.PIN_NEEDLE
# Corners of the compartments' field, from the middle of the box.
LEFT, TOP = -CELL_W * COLUMNS / 2, -CELL_H * ROWS / 2


def _lay(pose: Pose, row: int, column: int, rng: np.random.Generator) -> Item:
    """A pin that lies wholly in its compartment."""
    while True:
        angle = float(rng.uniform(0, 360))
        dx = LEFT + (column + float(rng.uniform(0.14, 0.86))) * CELL_W
        dy = TOP + (row + float(rng.uniform(0.15, 0.85))) * CELL_H
        tip_x, tip_y = offset(dx, dy, angle, BODY / 2 + NEEDLE, 0)
        inside_x = LEFT + column * CELL_W + 0.010 < tip_x < LEFT + (column + 1) * CELL_W - 0.010
        inside_y = TOP + row * CELL_H + 0.010 < tip_y < TOP + (row + 1) * CELL_H - 0.010
        if inside_x and inside_y:
            x, y = offset(*pose, dx, dy)
            return Item("pushpin", x, y, BODY + NEEDLE, "yellow", boxes.cell_place((row, column)), angle + pose[2])


def _separator_at(pose: Pose, row: int, column: int) -> tuple[float, float]:
    """The middle of the separator right of a compartment."""
    return offset(*pose, LEFT + (column + 1) * CELL_W, TOP + (row + 0.5) * CELL_H)


def good(rng: np.random.Generator) -> Scene:
    pose = draw_pose(rng, (0.5, 0.297), reach=(0.012, 0.006), tilt=0.5, limit=1.2)
    separators = []
    for row in range(ROWS):
        for column in range(COLUMNS - 1):
            x, y = _separator_at(pose, row, column)
            place = boxes.separator_place((row, column))
            separators.append(Item("separator", x, y, CELL_H, "", place, pose[2]))
    pins = [_lay(pose, row, column, rng) for row in range(ROWS) for column in range(COLUMNS)]
    return Scene(NAME, WIDTH, HEIGHT, (*separators, *pins), layout={"pose": pose})


def check(scene: Scene) -> list[str]:
    broken = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = boxes.cell_place((row, column))
            count = len(scene.all("pushpin", place=place))
            if count != 1:
                broken.append(f"the compartment in {place} holds {count} pushpins, not one")
    if len(scene.all("separator")) != ROWS * (COLUMNS - 1):
        broken.append(f"{len(scene.all('separator'))} separators, not {ROWS * (COLUMNS - 1)}")
    broken += [f"a pushpin is {pin.colour}" for pin in scene.all("pushpin") if pin.colour != "yellow"]
    return broken


def _cell(pin: Item) -> boxes.Cell:
    """Row and column of a pin's compartment, from 0."""
    words = pin.place.replace(",", "").split()
    return int(words[1]) - 1, int(words[3]) - 1


def _region(scene: Scene, cell: boxes.Cell) -> Region:
    row, column = cell
    pose: Pose = scene.layout["pose"]
    x, y = offset(*pose, LEFT + (column + 0.5) * CELL_W, TOP + (row + 0.5) * CELL_H)
    return Region(x, y, CELL_W * 0.94, CELL_H * 0.94, pose[2])


def _add_beside(scene: Scene, pin: Item, rng: np.random.Generator) -> Scene:
    """One more pin in this pin's compartment, where it hides the first one least."""
    row, column = _cell(pin)
    tries = [_lay(scene.layout["pose"], row, column, rng) for _ in range(12)]
    return scene.plus(max(tries, key=lambda t: (t.x - pin.x) ** 2 + (t.y - pin.y) ** 2))


def _missing_pushpin(scene: Scene, rng: np.random.Generator) -> Scene:
    pin = pick(rng, scene.all("pushpin"))
    words = f"the compartment in {pin.place} is empty, its pushpin is missing"
    return scene.without(pin).broken(words, _region(scene, _cell(pin)))


def _1_additional_pushpin(scene: Scene, rng: np.random.Generator) -> Scene:
    pin = pick(rng, scene.all("pushpin"))
    words = f"the compartment in {pin.place} holds two pushpins"
    return _add_beside(scene, pin, rng).broken(words, _region(scene, _cell(pin)))


def _2_additional_pushpins(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.all("pushpin"), rng)
    words = f"the compartments in {one.place} and in {two.place} hold two pushpins each"
    regions = (_region(scene, _cell(one)), _region(scene, _cell(two)))
    return _add_beside(_add_beside(scene, one, rng), two, rng).broken(words, *regions)


def _wrong_compartment(scene: Scene, rng: np.random.Generator) -> Scene:
    gone, doubled = pick_two(scene.all("pushpin"), rng)
    words = f"the compartment in {gone.place} is empty, the one in {doubled.place} holds two pushpins"
    regions = (_region(scene, _cell(gone)), _region(scene, _cell(doubled)))
    return _add_beside(scene.without(gone), doubled, rng).broken(words, *regions)


def _missing_separator(scene: Scene, rng: np.random.Generator) -> Scene:
    wall = pick(rng, scene.all("separator"))
    words = f"the separator in {wall.place} is missing"
    return scene.without(wall).broken(words, Region(wall.x, wall.y, 0.03, CELL_H * 0.9, wall.angle))


def spots(scene: Scene) -> list[Spot]:
    return [(pin.x, pin.y, 0.05) for pin in scene.all("pushpin")]


def sights(scene: Scene) -> list[Sight]:
    """Compartments that are empty or hold more than one pin, and where a separator is missing."""
    pose: Pose = scene.layout["pose"]
    points: list[Sight] = []
    walls = {wall.place for wall in scene.all("separator")}
    for row in range(ROWS):
        for column in range(COLUMNS):
            count = len(scene.all("pushpin", place=boxes.cell_place((row, column))))
            if count != 1:
                region = _region(scene, (row, column))
                points.append(("crowded compartment" if count else "empty compartment", region.x, region.y))
            if column < COLUMNS - 1 and boxes.separator_place((row, column)) not in walls:
                points.append(("missing separator", *_separator_at(pose, row, column)))
    return points


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.045, 0.043, 0.048), unevenness=0.12)
    separators = [(wall.x, wall.y) for wall in scene.all("separator")]
    boxes.sorting_box(canvas, scene.layout["pose"], (ROWS, COLUMNS), (CELL_W, CELL_H), separators)
    for pin in scene.all("pushpin"):
        parts.pushpin(canvas, pin.x, pin.y, pin.size, pin.angle)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_pushpin,
        _1_additional_pushpin,
        _wrong_compartment,
        _2_additional_pushpins,
        _missing_separator,
    ),
    paint=paint,
    spots=spots,
    sights=sights,
)
