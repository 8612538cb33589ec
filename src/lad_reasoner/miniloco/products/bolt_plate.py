"""A cover plate with six bolts at fixed holes: the plainest product, good pictures differ by pose and light
alone.
"""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.painting import parts, surfaces
from lad_reasoner.miniloco.painting.paint import PAPER, Canvas
from lad_reasoner.miniloco.painting.shapes import box, disc, offset, outline, polygon
from lad_reasoner.miniloco.scene import Item, Product, Region, Scene, around, pick, pick_two

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


def good(rng: np.random.Generator) -> Scene:
    bolts = [
        Item(
            "bolt",
            x + float(rng.uniform(-0.002, 0.002)),
            y + float(rng.uniform(-0.002, 0.002)),
            2 * HEAD,
            "brass" if hole == BRASS_HOLE else "steel",
            hole,
            float(rng.uniform(-30, 30)),
        )
        for hole, (x, y) in HOLES.items()
    ]
    tilt = float(np.clip(rng.normal(0, 0.7), -2, 2))
    label = Item("label", *MIDDLE, 0.30, "blue", "middle", tilt)
    return Scene(NAME, WIDTH, HEIGHT, (*bolts, label))


def check(scene: Scene) -> list[str]:
    broken = []
    for hole in HOLES:
        here = scene.all("bolt", place=hole)
        wanted = "brass" if hole == BRASS_HOLE else "steel"
        if len(here) != 1:
            broken.append(f"the {hole} hole holds {len(here)} bolts, not one")
        elif here[0].colour != wanted:
            broken.append(f"the bolt in the {hole} hole is {here[0].colour}, not {wanted}")
    labels = scene.all("label")
    if len(labels) != 1:
        broken.append(f"there are {len(labels)} labels, not one")
    elif np.hypot(labels[0].x - MIDDLE[0], labels[0].y - MIDDLE[1]) > 0.03:
        broken.append("the label is not in the middle")
    elif abs((labels[0].angle + 180) % 360 - 180) > 10:
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
    return scene.change(brass, colour="steel").change(other, colour="brass").broken(words, around(brass), around(other))


def _two_missing_bolts(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(scene.all("bolt"), rng)
    words = f"the bolts in the {one.place} and the {two.place} hole are missing"
    return scene.without(one, two).broken(words, around(one), around(two))


def _missing_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    return scene.without(label).broken("the blue label in the middle is missing", Region(*MIDDLE, 0.30, 0.15))


def _turned_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    upside_down = bool(rng.integers(2))
    angle = 180.0 + float(rng.normal(0, 1)) if upside_down else float(pick(rng, [-1, 1]) * rng.uniform(20, 32))
    words = "the label is upside down" if upside_down else "the label is crooked, it should be upright"
    region = Region(label.x, label.y, 0.30, 0.15, angle)
    return scene.change(label, angle=angle).broken(words, region)


def _misplaced_label(scene: Scene, rng: np.random.Generator) -> Scene:
    (label,) = scene.all("label")
    side, sign = pick(rng, [("left", -1), ("right", 1)])
    moved = label.x + sign * float(rng.uniform(0.13, 0.17))
    words = f"the label sits too far to the {side}, it should be in the middle"
    return scene.change(label, x=moved, place=side).broken(words, Region(moved, label.y, 0.30, 0.15))


def spots(scene: Scene) -> list[tuple[float, float, float]]:
    return [(x, 0.375, 0.08) for x in (0.17, 0.83)] + [(x, y, 0.06) for x in (0.34, 0.66) for y in (0.19, 0.56)]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.115, 0.12, 0.13), unevenness=0.10)
    plate = box(0.88, 0.63, 0.045)
    surfaces.brushed_plate(canvas, plate, MIDDLE, (0.70, 0.71, 0.73))
    for inset in (0.846, 0.838):
        tone = (0.45, 0.46, 0.48) if inset > 0.84 else (0.86, 0.87, 0.88)
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
    canvas.solid(box(0.30, 0.15, 0.012), at, label.colour, PAPER, angle=angle, bevel=0.003, lift=0.003)
    canvas.flat(outline(box(0.282, 0.132, 0.008), 0.0024), at, "white", angle=angle)
    canvas.lettering("PUMP 40", offset(*at, angle, 0.035, -0.030), "white", height=0.030, angle=angle)
    canvas.lettering("24 V  3.5 A", offset(*at, angle, 0.035, 0.010), "white", height=0.020, angle=angle)
    canvas.lettering("No. 7-118", offset(*at, angle, 0.035, 0.042), "white", height=0.017, angle=angle)
    sign = offset(*at, angle, -0.098, 0.0)
    canvas.flat(polygon([(-0.030, 0.024), (0.030, 0.024), (0.0, -0.030)]), sign, "yellow", angle=angle)
    canvas.flat(disc(0.004), offset(*at, angle, -0.098, 0.016), "black")
    canvas.flat(box(0.006, 0.022, 0.002), offset(*at, angle, -0.098, -0.003), "black", angle=angle)


PRODUCT = Product(
    NAME,
    RULE,
    good,
    check,
    {
        "missing_bolt": _missing_bolt,
        "second_brass_bolt": _second_brass_bolt,
        "swapped_bolts": _swapped_bolts,
        "two_missing_bolts": _two_missing_bolts,
        "missing_label": _missing_label,
        "turned_label": _turned_label,
        "misplaced_label": _misplaced_label,
    },
    paint,
    spots,
)
