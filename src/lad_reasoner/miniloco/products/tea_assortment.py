"""A box of tea sachets: four pairs, each sachet with the picture that goes with its colour."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import prints, surfaces
from lad_reasoner.miniloco.painting.paint import PAPER, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import box, offset
from lad_reasoner.miniloco.scene import (
    Item,
    Product,
    Region,
    Scene,
    Spot,
    box_around,
    by_name,
    draw_pose,
    pick,
    pick_two,
    turn_of,
)

NAME = "tea_assortment"
RULE = (
    "Eight sachets in two rows of four, two sachets of each of four sorts, equal sorts one above the other. "
    "Lemon is yellow, mint green, berry purple, rose pink, and each sachet bears the picture of its sort, "
    "upright."
)
WIDTH, HEIGHT = 1.0, 0.78
SORTS = {"lemon": "yellow", "mint": "green", "berry": "purple", "rose": "pink"}
ROWS, COLUMNS = ("upper", "lower"), 4
PITCH_X, PITCH_Y = 0.222, 0.335
SACHET_W, SACHET_H = 0.192, 0.290


def _place(row: int, column: int) -> str:
    return f"{ROWS[row]} row, column {column + 1}"


def good(rng: np.random.Generator) -> Scene:
    pose = draw_pose(rng, (0.5, 0.39), reach=(0.015, 0.012), tilt=0.8, limit=2)
    order = [list(SORTS)[i] for i in rng.permutation(len(SORTS))]
    items = []
    for row in range(2):
        for column, sort in enumerate(order):
            slack = rng.uniform(-0.006, 0.006, 2)
            dx, dy = (column - 1.5) * PITCH_X + float(slack[0]), (row - 0.5) * PITCH_Y + float(slack[1])
            x, y = offset(*pose, dx, dy)
            tilt = pose[2] + float(np.clip(rng.normal(0, 1.2), -3, 3))
            items.append(Item("sachet", x, y, SACHET_H, SORTS[sort], _place(row, column), tilt, sort))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items), layout={"pose": pose})


def check(scene: Scene) -> list[str]:
    broken = []
    for column in range(COLUMNS):
        pair = [scene.all("sachet", place=_place(row, column)) for row in range(2)]
        if any(len(sachets) != 1 for sachets in pair):
            broken.append(f"a sachet is missing in column {column + 1}")
        elif pair[0][0].colour != pair[1][0].colour:
            broken.append(f"column {column + 1} holds {pair[0][0].colour} above {pair[1][0].colour}")
    for colour in SORTS.values():
        number = len(scene.all("sachet", colour=colour))
        if number != 2:
            broken.append(f"{number} {colour} sachets, not 2")
    for item in scene.items:
        if SORTS[item.shows] != item.colour:
            broken.append(f"the {item.colour} sachet in the {item.place} shows {item.shows}")
        if turn_of(item.angle) > 20:
            broken.append(f"the sachet in the {item.place} stands on its head")
    return broken


def _around(sachet: Item) -> Region:
    return box_around(sachet, SACHET_W * 1.04, SACHET_H * 1.04)


def _missing_sachet(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    words = f"the {gone.shows} sachet in the {gone.place} is missing"
    return scene.without(gone).broken(words, _around(gone))


def _third_of_a_sort(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    sort = str(pick(rng, [s for s in SORTS if s != gone.shows]))
    words = f"there are three {sort} sachets and one {gone.shows} sachet"
    return scene.change(gone, colour=SORTS[sort], shows=sort).broken(words, _around(gone))


def _parted_pairs(scene: Scene, rng: np.random.Generator) -> Scene:
    row = pick(rng, ROWS)
    one, two = pick_two([item for item in scene.items if item.place.startswith(row)], rng)
    words = f"in the {row} row {one.shows} and {two.shows} are exchanged, the pairs are parted"
    return scene.exchange(one, two, "colour", "shows").broken(words, _around(one), _around(two))


def _wrong_picture(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    sort = str(pick(rng, [s for s in SORTS if s != item.shows]))
    words = f"the {item.colour} sachet in the {item.place} shows {sort}, it should show {item.shows}"
    return scene.change(item, shows=sort).broken(words, _around(item))


def _sachet_on_its_head(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    words = f"the {item.shows} sachet in the {item.place} stands on its head"
    return scene.change(item, angle=item.angle + 180).broken(words, _around(item))


def spots(scene: Scene) -> list[Spot]:
    return [(*offset(item.x, item.y, item.angle, 0, 0.09), 0.055) for item in scene.items]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.cloth(canvas, (0.78, 0.76, 0.70))
    x, y, angle = scene.layout["pose"]
    wood = Material(gloss=0.08, polish=8, speckle=0.03, pitch=0.004)
    canvas.solid(box(0.945, 0.73, 0.012), (x, y), (0.66, 0.47, 0.29), wood, angle=angle, bevel=0.010, lift=0.03)
    for row in range(2):
        for column in range(COLUMNS):
            at = offset(x, y, angle, (column - 1.5) * PITCH_X, (row - 0.5) * PITCH_Y)
            canvas.solid(box(0.212, 0.322, 0.006), at, (0.40, 0.27, 0.16), wood, angle=angle, bevel=0.012, rise=-1)
    for item in scene.items:
        _paint_sachet(canvas, item)


def _paint_sachet(canvas: Canvas, item: Item) -> None:
    at, angle = (item.x, item.y), item.angle
    colour = mix(item.colour, "white", 0.10)

    def local(dx: float, dy: float) -> tuple[float, float]:
        return offset(*at, angle, dx, dy)

    crumpled = Material(gloss=0.12, polish=8, bump=0.0010, pitch=0.05, speckle=0.008)
    canvas.solid(box(SACHET_W, SACHET_H, 0.004), at, colour, crumpled, angle=angle, bevel=0.010, rise=0.6, lift=0.010)
    for dy in (-SACHET_H / 2 + 0.010, SACHET_H / 2 - 0.010):
        canvas.flat(box(SACHET_W, 0.003), local(0, dy), mix(colour, "black", 0.35), angle=angle, opacity=0.6)
    panel = local(0, -0.035)
    canvas.solid(box(0.148, 0.142, 0.010), panel, (0.95, 0.93, 0.88), PAPER, angle=angle, bevel=0.002)
    prints.tea_plant(canvas, item.shows, panel, angle)
    canvas.flat(box(0.148, 0.040, 0.006), local(0, 0.078), mix(colour, "black", 0.42), angle=angle, opacity=0.85)
    canvas.lettering(item.shows.upper(), local(0, 0.077), (0.97, 0.96, 0.93), height=0.025, angle=angle)
    canvas.lettering("TEA", local(0, 0.118), mix(colour, "black", 0.55), height=0.017, angle=angle)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_sachet,
        _third_of_a_sort,
        _parted_pairs,
        _wrong_picture,
        _sachet_on_its_head,
    ),
    paint=paint,
    spots=spots,
)
