"""Evaluation product after MVTec LOCO AD's pushpins: a sorting box with one pin in each compartment."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco import surfaces
from lad_reasoner.miniloco.paint import GLASS, METAL, Canvas, Material
from lad_reasoner.miniloco.scene import Item, Product, Region, Scene, pick, pick_two
from lad_reasoner.miniloco.shapes import box, capsule, offset, outline

NAME = "pushpins"
RULE = (
    "A box of fifteen compartments, three rows of five, with a separator between neighbours. Each "
    "compartment holds exactly one yellow pushpin, lying anywhere in it at any angle."
)
WIDTH, HEIGHT = 1.0, 0.585
ROWS, COLUMNS = 3, 5
CELL_W, CELL_H = 0.184, 0.172
BODY, NEEDLE = 0.058, 0.054
# Corners of the compartments' field, from the middle of the box.
LEFT, TOP = -CELL_W * COLUMNS / 2, -CELL_H * ROWS / 2


def _place(row: int, column: int) -> str:
    return f"row {row + 1}, column {column + 1}"


def _lay(pose: tuple[float, float, float], row: int, column: int, rng: np.random.Generator) -> Item:
    """A pin that lies wholly in its compartment."""
    while True:
        angle = float(rng.uniform(0, 360))
        dx = LEFT + (column + float(rng.uniform(0.14, 0.86))) * CELL_W
        dy = TOP + (row + float(rng.uniform(0.15, 0.85))) * CELL_H
        tip_x, tip_y = offset(dx, dy, angle, BODY / 2 + NEEDLE, 0)
        inside_x = LEFT + column * CELL_W + 0.010 < tip_x < LEFT + (column + 1) * CELL_W - 0.010
        if inside_x and TOP + row * CELL_H + 0.010 < tip_y < TOP + (row + 1) * CELL_H - 0.010:
            x, y = offset(*pose, dx, dy)
            return Item("pushpin", x, y, BODY + NEEDLE, "yellow", _place(row, column), angle + pose[2])


def good(rng: np.random.Generator) -> Scene:
    pose: tuple[float, float, float] = (
        0.5 + float(rng.uniform(-0.012, 0.012)),
        0.297 + float(rng.uniform(-0.006, 0.006)),
        float(np.clip(rng.normal(0, 0.5), -1.2, 1.2)),
    )
    separators = []
    for row in range(ROWS):
        for column in range(COLUMNS - 1):
            x, y = offset(*pose, LEFT + (column + 1) * CELL_W, TOP + (row + 0.5) * CELL_H)
            place = f"row {row + 1}, between columns {column + 1} and {column + 2}"
            separators.append(Item("separator", x, y, CELL_H, "", place, pose[2]))
    pins = [_lay(pose, row, column, rng) for row in range(ROWS) for column in range(COLUMNS)]
    return Scene(NAME, WIDTH, HEIGHT, (*separators, *pins), layout={"pose": pose})


def check(scene: Scene) -> list[str]:
    broken = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = _place(row, column)
            count = len(scene.all("pushpin", place=place))
            if count != 1:
                broken.append(f"the compartment in {place} holds {count} pushpins, not one")
    if len(scene.all("separator")) != ROWS * (COLUMNS - 1):
        broken.append(f"{len(scene.all('separator'))} separators, not {ROWS * (COLUMNS - 1)}")
    broken += [f"a pushpin is {pin.colour}" for pin in scene.all("pushpin") if pin.colour != "yellow"]
    return broken


def _cell(scene: Scene, pin: Item) -> tuple[int, int]:
    words = pin.place.replace(",", "").split()
    return int(words[1]) - 1, int(words[3]) - 1


def _region(scene: Scene, row: int, column: int) -> Region:
    pose: tuple[float, float, float] = scene.layout["pose"]
    x, y = offset(*pose, LEFT + (column + 0.5) * CELL_W, TOP + (row + 0.5) * CELL_H)
    return Region(x, y, CELL_W * 0.94, CELL_H * 0.94, pose[2])


def _add_beside(scene: Scene, pin: Item, rng: np.random.Generator) -> Scene:
    """One more pin in this pin's compartment, where it hides the first one least."""
    row, column = _cell(scene, pin)
    tries = [_lay(scene.layout["pose"], row, column, rng) for _ in range(12)]
    return scene.plus(max(tries, key=lambda t: (t.x - pin.x) ** 2 + (t.y - pin.y) ** 2))


def _missing_pushpin(scene: Scene, rng: np.random.Generator) -> Scene:
    pin = pick(rng, scene.all("pushpin"))
    words = f"the compartment in {pin.place} is empty, its pushpin is missing"
    return scene.without(pin).broken(words, _region(scene, *_cell(scene, pin)))


def _one_additional(scene: Scene, rng: np.random.Generator) -> Scene:
    pin = pick(rng, scene.all("pushpin"))
    words = f"the compartment in {pin.place} holds two pushpins"
    return _add_beside(scene, pin, rng).broken(words, _region(scene, *_cell(scene, pin)))


def _two_additional(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.all("pushpin"), rng)
    words = f"the compartments in {one.place} and in {two.place} hold two pushpins each"
    regions = (_region(scene, *_cell(scene, one)), _region(scene, *_cell(scene, two)))
    return _add_beside(_add_beside(scene, one, rng), two, rng).broken(words, *regions)


def _wrong_compartment(scene: Scene, rng: np.random.Generator) -> Scene:
    gone, doubled = pick_two(scene.all("pushpin"), rng)
    words = f"the compartment in {gone.place} is empty, the one in {doubled.place} holds two pushpins"
    regions = (_region(scene, *_cell(scene, gone)), _region(scene, *_cell(scene, doubled)))
    return _add_beside(scene.without(gone), doubled, rng).broken(words, *regions)


def _missing_separator(scene: Scene, rng: np.random.Generator) -> Scene:
    wall = pick(rng, scene.all("separator"))
    words = f"the separator in {wall.place} is missing"
    return scene.without(wall).broken(words, Region(wall.x, wall.y, 0.03, CELL_H * 0.9, wall.angle))


def spots(scene: Scene) -> list[tuple[float, float, float]]:
    return [(pin.x, pin.y, 0.05) for pin in scene.all("pushpin")]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.045, 0.043, 0.048), unevenness=0.12)
    x, y, angle = scene.layout["pose"]
    clear, edge = (0.50, 0.50, 0.51), (0.74, 0.74, 0.75)
    wide, tall = CELL_W * COLUMNS + 0.026, CELL_H * ROWS + 0.024
    shell = box(wide, tall, 0.055)
    canvas.flat(shell, (x, y), (0.10, 0.10, 0.12), angle=angle, opacity=0.55)
    for dx, width in ((-0.055, 0.014), (0.055, 0.014), (0.0, 0.080)):
        clasp = offset(x, y, angle, dx, -tall / 2 - 0.006)
        canvas.flat(outline(box(width, 0.018, 0.003), 0.004), clasp, clear, angle=angle, opacity=0.6)
    for dy in (-0.12, 0.12):
        hinge = offset(x, y, angle, -wide / 2 - 0.006, dy)
        canvas.flat(outline(box(0.012, 0.05, 0.003), 0.004), hinge, clear, angle=angle, opacity=0.4)
    canvas.flat(outline(shell, 0.013), (x, y), clear, angle=angle, opacity=0.42)
    canvas.flat(outline(shell, 0.003), (x, y), edge, angle=angle, opacity=0.75)
    canvas.flat(outline(box(wide - 0.022, tall - 0.022, 0.045), 0.0025), (x, y), edge, angle=angle, opacity=0.55)
    for row in range(1, ROWS):
        _wall(canvas, offset(x, y, angle, 0, TOP + row * CELL_H), CELL_W * COLUMNS, angle)
    for wall in scene.all("separator"):
        _wall(canvas, (wall.x, wall.y), CELL_H - 0.004, angle + 90)
    for row in range(1, ROWS):
        for column in range(1, COLUMNS):
            post = offset(x, y, angle, LEFT + column * CELL_W, TOP + row * CELL_H)
            canvas.solid(box(0.016, 0.016, 0.005), post, clear, GLASS, angle=angle, bevel=0.006, opacity=0.8)
    for pin in scene.all("pushpin"):
        _paint_pin(canvas, pin)


def _wall(canvas: Canvas, at: tuple[float, float], length: float, angle: float) -> None:
    """A clear wall seen from above: a faint body between two bright edges."""
    canvas.flat(box(length, 0.0085), at, (0.42, 0.42, 0.43), angle=angle, opacity=0.55)
    shine = float(canvas.rng.uniform(0.5, 0.85))
    for dy in (-0.0034, 0.0030):
        line = offset(*at, angle, 0, dy)
        canvas.flat(box(length, 0.0022), line, (0.78, 0.78, 0.78), angle=angle, opacity=shine)


def _paint_pin(canvas: Canvas, pin: Item) -> None:
    plastic = Material(gloss=0.55, polish=24)
    amber = (0.97, 0.70, 0.10)
    at, angle = (pin.x, pin.y), pin.angle
    needle = offset(*at, angle, BODY / 2 + NEEDLE / 2, 0)
    canvas.solid(
        capsule(NEEDLE + 0.006, 0.0021),
        needle,
        (0.62, 0.58, 0.50),
        METAL,
        angle=angle,
        bevel=0.002,
        lift=0.004,
    )
    canvas.solid(box(BODY, 0.0165, 0.003), at, amber, plastic, angle=angle, bevel=0.009, lift=0.008)
    for dx, height, width in ((-BODY / 2 + 0.005, 0.037, 0.011), (BODY / 2 - 0.006, 0.032, 0.010)):
        flange = offset(*at, angle, dx, 0)
        canvas.solid(box(width, height, 0.004), flange, amber, plastic, angle=angle, bevel=0.006, rise=0.9)


PRODUCT = Product(
    NAME,
    RULE,
    good,
    check,
    {
        "missing_pushpin": _missing_pushpin,
        "1_additional_pushpin": _one_additional,
        "wrong_compartment": _wrong_compartment,
        "2_additional_pushpins": _two_additional,
        "missing_separator": _missing_separator,
    },
    paint,
    spots,
)
