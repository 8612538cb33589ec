"""A cover plate with six bolts at fixed holes: the plainest product; good pictures differ in pose and light alone."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.painting import parts, surfaces
from lad_reasoner.miniloco.painting.paint import PAPER, Canvas
from lad_reasoner.miniloco.painting.shapes import box, disc, offset, outline, polygon
from lad_reasoner.miniloco.scene import (
    Item,
    Product,
    Region,
    Scene,
    Spot,
    around,
    by_name,
    jitter,
    pick,
    pick_two,
    turn_of,
)

NAME = "bolt_plate"
RULE = (
    "Each of the six holes of the plate holds one bolt. The bolt in the upper left hole is brass, the other "
    "five are steel. One blue label sits in the middle, upright."
)
WIDTH, HEIGHT = 1.0, 0.75
HOLES = {
    "upper left": (0.18, 0.19),
    "upper middle": (0.50, 0.19),
    "upper right": (0.82, 0.19),
    "lower left": (0.18, 0.56),
    "lower middle": (0.50, 0.56),
    "lower right": (0.82, 0.56),
}
BRASS_HOLE = "upper left"
MIDDLE = (0.50, 0.375)
HEAD = 0.056
LABEL = (0.30, 0.15)


def good(rng: np.random.Generator) -> Scene:
    bolts = []
    for hole, (x, y) in HOLES.items():
        at = (x + jitter(rng, 0.002), y + jitter(rng, 0.002))
        colour = "brass" if hole == BRASS_HOLE else "steel"
        bolts.append(Item("bolt", *at, 2 * HEAD, colour, hole, jitter(rng, 30)))
    tilt = float(np.clip(rng.normal(0, 0.7), -2, 2))
    label = Item("label", *MIDDLE, LABEL[0], "blue", "middle", tilt)
    return Scene(NAME, WIDTH, HEIGHT, (*bolts, label))


def check(scene: Scene) -> list[str]:
    broken = []
    for hole in HOLES:
        bolts = scene.all("bolt", place=hole)
        wanted = "brass" if hole == BRASS_HOLE else "steel"
        if len(bolts) != 1:
            broken.append(f"the {hole} hole holds {len(bolts)} bolts, not one")
        elif bolts[0].colour != wanted:
            broken.append(f"the bolt in the {hole} hole is {bolts[0].colour}, not {wanted}")
    labels = scene.all("label")
    if len(labels) != 1:
        broken.append(f"there are {len(labels)} labels, not one")
    elif np.hypot(labels[0].x - MIDDLE[0], labels[0].y - MIDDLE[1]) > 0.03:
        broken.append("the label is not in the middle")
    elif turn_of(labels[0].angle) > 10:
        broken.append("the label is not upright")
    elif labels[0].colour != "blue":
        broken.append(f"the label is {labels[0].colour}, not blue")
    return broken


def _missing_bolt(scene: Scene, rng: np.random.Generator) -> Scene:
    bolt = pick(rng, scene.all("bolt"))
    return scene.without(bolt).broken(f"the bolt in the {bolt.place} hole is missing", around(bolt))


def _second_brass_bolt(scene: Scene, rng: np.random.Generator) -> Scene:
    bolt = pick(rng, scene.all("bolt", colour="steel"))
    words = f"the bolt in the {bolt.place} hole is brass, it should be steel"
    return scene.change(bolt, colour="brass").broken(words, around(bolt))


def _swapped_bolts(scene: Scene, rng: np.random.Generator) -> Scene:
    (brass,) = scene.all("bolt", colour="brass")
    other = pick(rng, scene.all("bolt", colour="steel"))
    words = f"the brass bolt is in the {other.place} hole, it should be in the {brass.place} hole"
    return scene.exchange(brass, other, "colour").broken(words, around(brass), around(other))


def _two_missing_bolts(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.all("bolt"), rng)
    words = f"the bolts in the {one.place} and the {two.place} hole are missing"
    return scene.without(one, two).broken(words, around(one), around(two))


def _missing_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    return scene.without(label).broken("the blue label in the middle is missing", Region(*MIDDLE, *LABEL))


def _turned_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    upside_down = bool(rng.integers(2))
    if upside_down:
        angle = 180.0 + float(rng.normal(0, 1))
        words = "the label is upside down"
    else:
        angle = float(pick(rng, [-1, 1]) * rng.uniform(20, 32))
        words = "the label is crooked, it should be upright"
    return scene.change(label, angle=angle).broken(words, Region(label.x, label.y, *LABEL, angle))


def _misplaced_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    side, sign = pick(rng, [("left", -1), ("right", 1)])
    moved = label.x + sign * float(rng.uniform(0.13, 0.17))
    words = f"the label sits too far to the {side}, it should be in the middle"
    return scene.change(label, x=moved, place=side).broken(words, Region(moved, label.y, *LABEL))


def spots(scene: Scene) -> list[Spot]:
    beside_the_label = [(x, 0.375, 0.08) for x in (0.17, 0.83)]
    between_the_bolts = [(x, y, 0.06) for x in (0.34, 0.66) for y in (0.19, 0.56)]
    return beside_the_label + between_the_bolts


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.115, 0.12, 0.13), unevenness=0.10)
    plate = box(0.88, 0.63, 0.045)
    surfaces.brushed_plate(canvas, plate, MIDDLE, (0.70, 0.71, 0.73))
    # A milled groove: its dark edge, and the bright one inside it.
    for inset, tone in ((0.846, (0.45, 0.46, 0.48)), (0.838, (0.86, 0.87, 0.88))):
        edge = box(inset, inset - 0.25, 0.032)
        canvas.flat(outline(edge, 0.0024), MIDDLE, tone, opacity=0.55)
    for x, y in HOLES.values():
        parts.drilled_hole(canvas, x, y, 0.030)
    for label in scene.all("label"):
        _paint_label(canvas, label)
    for bolt in scene.all("bolt"):
        parts.socket_bolt(canvas, bolt.x, bolt.y, HEAD, bolt.angle, bolt.colour)


def _paint_label(canvas: Canvas, label: Item) -> None:
    at, angle = (label.x, label.y), label.angle
    canvas.solid(box(*LABEL, 0.012), at, label.colour, PAPER, angle=angle, bevel=0.003, lift=0.003)
    canvas.flat(outline(box(0.282, 0.132, 0.008), 0.0024), at, "white", angle=angle)
    canvas.lettering("PUMP 40", offset(*at, angle, 0.035, -0.030), "white", height=0.030, angle=angle)
    canvas.lettering("24 V  3.5 A", offset(*at, angle, 0.035, 0.010), "white", height=0.020, angle=angle)
    canvas.lettering("No. 7-118", offset(*at, angle, 0.035, 0.042), "white", height=0.017, angle=angle)
    sign = offset(*at, angle, -0.098, 0.0)
    canvas.flat(polygon([(-0.030, 0.024), (0.030, 0.024), (0.0, -0.030)]), sign, "yellow", angle=angle)
    canvas.flat(disc(0.004), offset(*at, angle, -0.098, 0.016), "black")
    canvas.flat(box(0.006, 0.022, 0.002), offset(*at, angle, -0.098, -0.003), "black", angle=angle)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_bolt,
        _second_brass_bolt,
        _swapped_bolts,
        _two_missing_bolts,
        _missing_label,
        _turned_label,
        _misplaced_label,
    ),
    paint=paint,
    spots=spots,
)
