"""A blister of tablets: two rows of five pockets, each row of one colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import parts, surfaces
from lad_reasoner.miniloco.painting.paint import GLASS, Canvas, Material, tint
from lad_reasoner.miniloco.painting.shapes import Array, box, disc, offset
from lad_reasoner.miniloco.scene import (
    Item,
    Pose,
    Product,
    Region,
    Scene,
    Spot,
    around,
    by_name,
    draw_pose,
    pick,
    pick_two,
)

NAME = "pill_blister"
RULE = (
    "Ten pockets in two rows of five, each with exactly one tablet. All tablets of a row have one colour; "
    "the two rows have different colours."
)
WIDTH, HEIGHT = 1.0, 0.56
ROWS, COLUMNS = ("upper row", "lower row"), 5
PITCH_X, PITCH_Y = 0.172, 0.215
TABLET = 0.098
TABLET_COLOURS = ("white", "yellow", "orange", "pink", "blue", "green")


def _pocket(pose: Pose, row: int, column: int) -> tuple[float, float]:
    return offset(*pose, (column - (COLUMNS - 1) / 2) * PITCH_X, (row - 0.5) * PITCH_Y)


def _place(row: str, column: int) -> str:
    return f"pocket {column + 1} of the {row}"


def _tablet(pose: Pose, row: int, column: int, colour: str, rng: np.random.Generator) -> Item:
    """A tablet that lies loose in its pocket."""
    x, y = _pocket(pose, row, column)
    slack = rng.uniform(-0.010, 0.010, 2)
    place = _place(ROWS[row], column)
    return Item("tablet", x + float(slack[0]), y + float(slack[1]), TABLET, colour, place, float(rng.uniform(0, 180)))


def good(rng: np.random.Generator) -> Scene:
    pose = draw_pose(rng, (0.5, 0.28), reach=(0.02, 0.02), tilt=2.0, limit=4)
    colours = pick_two(TABLET_COLOURS, rng)
    tablets: list[Item] = []
    for row in range(2):
        tablets += [_tablet(pose, row, column, colours[row], rng) for column in range(COLUMNS)]
    ground = str(pick(rng, ["grey", "brown", "blue", "green"]))
    return Scene(NAME, WIDTH, HEIGHT, tuple(tablets), layout={"pose": pose, "ground": ground})


def _row(scene: Scene, row: str) -> list[Item]:
    return [item for item in scene.items if item.place.endswith(row)]


def _colours(scene: Scene, row: str) -> set[str]:
    return {item.colour for item in _row(scene, row)}


def check(scene: Scene) -> list[str]:
    broken = []
    for row in ROWS:
        for column in range(COLUMNS):
            place = _place(row, column)
            number = len(scene.all("tablet", place=place))
            if number != 1:
                broken.append(f"{place} holds {number} tablets, not one")
        colours = sorted(_colours(scene, row))
        if len(colours) > 1:
            broken.append(f"the {row} has tablets of different colours: {' and '.join(colours)}")
    if _colours(scene, ROWS[0]) == _colours(scene, ROWS[1]):
        broken.append("both rows have the same colour")
    return broken


def _missing_tablet(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    return scene.without(gone).broken(f"the tablet in {gone.place} is missing", around(gone, 1.3))


def _two_missing_tablets(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.items, rng)
    words = f"the tablets in {one.place} and {two.place} are missing"
    return scene.without(one, two).broken(words, around(one, 1.3), around(two, 1.3))


def _wrong_colour(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    colour = str(pick(rng, [c for c in TABLET_COLOURS if c != item.colour]))
    words = f"the tablet in {item.place} is {colour}, the others of its row are {item.colour}"
    return scene.change(item, colour=colour).broken(words, around(item))


def _exchanged_tablets(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick(rng, _row(scene, ROWS[0])), pick(rng, _row(scene, ROWS[1]))
    words = f"two tablets are exchanged: {two.colour} in {one.place}, {one.colour} in {two.place}"
    return scene.exchange(one, two, "colour").broken(words, around(one), around(two))


def _two_in_one_pocket(scene: Scene, rng: np.random.Generator) -> Scene:
    item = pick(rng, scene.items)
    turn = float(rng.uniform(0, 2 * np.pi))
    dx, dy = 0.034 * float(np.cos(turn)), 0.034 * float(np.sin(turn))
    more = scene.change(item, x=item.x - dx, y=item.y - dy)
    second = replace(item, x=item.x + dx, y=item.y + dy, angle=float(rng.uniform(0, 180)))
    return more.plus(second).broken(f"{item.place} holds two tablets", around(item, 1.5))


def _rows_of_one_colour(scene: Scene, rng: np.random.Generator) -> Scene:
    row, other = ROWS if rng.integers(2) else ROWS[::-1]
    colour = _row(scene, other)[0].colour
    items = tuple(replace(i, colour=colour) if i.place.endswith(row) else i for i in scene.items)
    pose: Pose = scene.layout["pose"]
    x, y = offset(*pose, 0, (ROWS.index(row) - 0.5) * PITCH_Y)
    region = Region(x, y, PITCH_X * COLUMNS, 0.13, pose[2])
    words = f"the {row} has the same colour as the {other}, {colour}"
    return replace(scene, items=items).broken(words, region)


def spots(scene: Scene) -> list[Spot]:
    pose: Pose = scene.layout["pose"]
    between = [(*offset(*pose, (c - 1.5) * PITCH_X, 0), 0.06) for c in range(4)]
    return between + [(item.x, item.y, 0.05) for item in scene.items]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, mix(scene.layout["ground"], "black", 0.45), unevenness=0.05)
    pose = scene.layout["pose"]
    at, angle = (pose[0], pose[1]), pose[2]
    sweep = float(canvas.rng.uniform(-0.4, 0.4))
    foil = np.asarray((0.74, 0.75, 0.77), np.float32)

    def embossed(x: Array, y: Array) -> Array:
        # Foil is sealed with a fine lattice, and mirrors the room in broad bands.
        lattice = np.sin((x + y) * 420) * np.sin((x - y) * 420)
        bands = 0.10 * np.sin(5.0 * (x + 0.4 * y) + 4 * sweep)
        return tint(foil, 0.94 + 0.05 * lattice + bands)

    sheet = box(0.93, 0.475, 0.035)
    canvas.solid(sheet, at, embossed, Material(gloss=0.3, polish=16), angle=angle, bevel=0.005, lift=0.010)
    hollow = Material(gloss=0.3, polish=16)
    for row in range(2):
        for column in range(COLUMNS):
            pocket = _pocket(pose, row, column)
            canvas.solid(disc(0.074), pocket, (0.80, 0.81, 0.83), hollow, bevel=0.014, rise=0.8)
            canvas.solid(disc(0.063), pocket, (0.70, 0.71, 0.73), hollow, bevel=0.012, rise=-0.8)
    for item in scene.items:
        parts.tablet(canvas, item.x, item.y, item.size / 2, item.angle, item.colour)
    for row in range(2):
        for column in range(COLUMNS):
            x, y = _pocket(pose, row, column)
            canvas.solid(disc(0.068), (x, y), "white", GLASS, bevel=0.03, rise=0.8, opacity=0.06)
            lx, ly, _ = canvas.light
            glint = (x + lx * 0.065, y + ly * 0.065)
            turn = float(np.degrees(np.arctan2(ly, lx))) + 90
            canvas.flat(box(0.048, 0.007, 0.003), glint, (1.0, 1.0, 1.0), angle=turn, opacity=0.65, softness=0.008)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_tablet,
        _wrong_colour,
        _exchanged_tablets,
        _two_in_one_pocket,
        _two_missing_tablets,
        _rows_of_one_colour,
    ),
    paint=paint,
    spots=spots,
)
