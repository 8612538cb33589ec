"""Evaluation product after MVTec LOCO AD's juice bottle: one of three juices, a label that must match it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.painting import prints, surfaces, vessels
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.vessels import ICON_COLOURS, JUICES
from lad_reasoner.miniloco.scene import (
    Fill,
    Item,
    Product,
    Region,
    Scene,
    Sight,
    Spot,
    box_around,
    by_name,
    jitter,
    pick,
)

NAME = "juice_bottle"
RULE = (
    "A bottle of orange, cherry or banana juice, filled to the middle of its neck. A fruit label sits on the "
    "upper half of the body, its picture in the label's middle and showing the fruit of the juice. A label "
    "that reads '100% Juice' sits near the bottom."
)
WIDTH, HEIGHT = 0.5, 1.0
# TABLE is y in the frame; heights are in the bottle's own unit, negative above the table as y is.
BRIM, TABLE = vessels.SLIM.brim, 0.932
LABELS = {"upper": -0.375, "lower": -0.130}
GOOD_LEVEL = (0.79, 0.85)
# Of the regions about labels.
LABEL_WIDTH, UPPER_HEIGHT, LOWER_HEIGHT = 0.18, 0.17, 0.08


def _at(scene: Scene, dx: float, dy: float) -> tuple[float, float]:
    """A point of the bottle, from the middle of its foot, in the frame."""
    x, y, scale = scene.layout["pose"]
    return x + dx * scale, y + dy * scale


def good(rng: np.random.Generator) -> Scene:
    fruit = str(pick(rng, list(JUICES)))
    pose = (
        0.25 + jitter(rng, 0.02),
        TABLE + jitter(rng, 0.01),
        float(rng.uniform(0.96, 1.02)),
    )
    scene = Scene(NAME, WIDTH, HEIGHT, layout={"pose": pose, "fruit": fruit})
    tilts = rng.normal(0, 0.8, 2)
    upper = _at(scene, jitter(rng, 0.006), LABELS["upper"] + jitter(rng, 0.008))
    lower = _at(scene, jitter(rng, 0.006), LABELS["lower"] + jitter(rng, 0.006))
    items = (
        Item("fruit label", *upper, 0.17, "orange", "upper", float(tilts[0])),
        Item("fruit picture", *upper, 0.075, ICON_COLOURS[fruit], "on the fruit label", float(tilts[0]), fruit),
        Item("text label", *lower, 0.17, "orange", "lower", float(tilts[1]), "100% Juice"),
    )
    juice = Fill(f"{fruit} juice", JUICES[fruit][0], float(rng.uniform(*GOOD_LEVEL)), "bottle")
    return replace(scene, items=items, fills=(juice,))


def check(scene: Scene) -> list[str]:
    broken = []
    for what, place in (("fruit label", "upper"), ("text label", "lower")):
        labels = scene.all(what)
        if len(labels) != 1:
            broken.append(f"{len(labels)} {what}s, not one")
            continue
        x, y = _at(scene, 0, LABELS[place])
        if np.hypot(labels[0].x - x, labels[0].y - y) > 0.02:
            broken.append(f"the {what} is not where it belongs")
    if len(scene.fills) != 1 or not GOOD_LEVEL[0] <= scene.fills[0].level <= GOOD_LEVEL[1]:
        broken.append("the juice does not reach the middle of the neck")
    pictures, labels = scene.all("fruit picture"), scene.all("fruit label")
    if len(pictures) != 1:
        broken.append(f"{len(pictures)} fruit pictures, not one")
        return broken
    if labels and np.hypot(pictures[0].x - labels[0].x, pictures[0].y - labels[0].y) > 0.02:
        broken.append("the fruit picture is not in the middle of its label")
    if scene.fills and scene.fills[0].what != f"{pictures[0].shows} juice":
        broken.append(f"the label shows {pictures[0].shows}, the bottle holds {scene.fills[0].what}")
    return broken


def _around(label: Item, height: float) -> Region:
    return box_around(label, LABEL_WIDTH, height)


def _upper(scene: Scene) -> tuple[Item, Item]:
    return scene.all("fruit label")[0], scene.all("fruit picture")[0]


def _lower(scene: Scene) -> Item:
    return scene.all("text label")[0]


def _missing_top_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    return scene.without(label, picture).broken("the fruit label is missing", _around(label, UPPER_HEIGHT))


def _missing_bottom_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label = _lower(scene)
    return scene.without(label).broken("the lower label '100% Juice' is missing", _around(label, LOWER_HEIGHT))


def _missing_both_labels(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    lower = _lower(scene)
    return scene.without(label, picture, lower).broken(
        "both labels are missing", _around(label, UPPER_HEIGHT), _around(lower, LOWER_HEIGHT)
    )


def _empty_bottle(scene: Scene, rng: np.random.Generator) -> Scene:
    bottle = Region(*_at(scene, 0, -0.30), 0.22, 0.60)
    return replace(scene, fills=(Fill("juice", "", 0.0, "bottle"),)).broken("the bottle is empty", bottle)


def _level(scene: Scene, low: float, high: float, words: str, rng: np.random.Generator) -> Scene:
    level = float(rng.uniform(low, high))
    changed = scene.change_fill(scene.fills[0], level=level)
    first, last = sorted((level, sum(GOOD_LEVEL) / 2))
    middle = _at(scene, 0, -BRIM * 0.97 * (first + last) / 2)
    return changed.broken(words, Region(*middle, 0.16, max(BRIM * (last - first), 0.04)))


def _wrong_fill_level_not_enough(scene: Scene, rng: np.random.Generator) -> Scene:
    return _level(scene, 0.40, 0.70, "there is too little juice in the bottle", rng)


def _wrong_fill_level_too_much(scene: Scene, rng: np.random.Generator) -> Scene:
    return _level(scene, 0.93, 0.98, "there is too much juice in the bottle, it reaches the thread", rng)


def _wrong_juice_type(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    other = str(pick(rng, [fruit for fruit in JUICES if fruit != picture.shows]))
    words = f"the label shows {other}, the bottle holds {scene.fills[0].what}"
    changed = scene.change(picture, shows=other, colour=ICON_COLOURS[other])
    return changed.broken(words, _around(label, UPPER_HEIGHT))


def _swapped_labels(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    lower = _lower(scene)
    lifted = label.y + 0.02
    sunk = lower.y - 0.035
    moved_labels = (
        scene.change(label, x=lower.x, y=sunk, place="lower")
        .change(picture, x=lower.x, y=sunk)
        .change(lower, x=label.x, y=lifted, place="upper")
    )
    words = "the labels are swapped: '100% Juice' is above, the fruit label below"
    return moved_labels.broken(
        words, Region(lower.x, sunk, LABEL_WIDTH, UPPER_HEIGHT), Region(label.x, lifted, LABEL_WIDTH, LOWER_HEIGHT)
    )


def _misplaced_label_top(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    down = float(rng.uniform(0.05, 0.09))
    slid = scene.change(label, y=label.y + down, place="too low").change(picture, y=picture.y + down)
    return slid.broken("the fruit label sits too low", Region(label.x, label.y + down, LABEL_WIDTH, UPPER_HEIGHT))


def _misplaced_label_bottom(scene: Scene, rng: np.random.Generator) -> Scene:
    label = _lower(scene)
    y = label.y - float(rng.uniform(0.045, 0.075))
    slid = scene.change(label, y=y, place="too high")
    return slid.broken("the lower label sits too high", Region(label.x, y, LABEL_WIDTH, LOWER_HEIGHT))


def _missing_fruit_icon(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    return scene.without(picture).broken("the fruit label shows no fruit", Region(label.x, label.y, 0.09, 0.09))


def _misplaced_fruit_icon(scene: Scene, rng: np.random.Generator) -> Scene:
    _, picture = _upper(scene)
    x, y = _at(scene, jitter(rng, 0.02), float(rng.uniform(-0.245, -0.225)))
    slid = scene.change(picture, x=x, y=y, place="below the fruit label")
    return slid.broken("the picture of the fruit is below its label", Region(x, y, 0.09, 0.09))


def spots(scene: Scene) -> list[Spot]:
    (label, _), lower = _upper(scene), _lower(scene)
    return [(label.x, label.y, 0.06), (lower.x, lower.y, 0.05), (*_at(scene, 0.0, -0.25), 0.06)]


def sights(scene: Scene) -> list[Sight]:
    """An empty bottle, a fruit that is not that of the juice, a label that sits too high or too low."""
    (juice,) = scene.fills
    points = [("wrong height", item.x, item.y) for item in scene.items if item.place.startswith("too ")]
    if juice.level == 0:
        return [*points, ("empty vessel", *_at(scene, 0, -0.30))]
    wrong = [item for item in scene.all("fruit picture") if f"{item.shows} juice" != juice.what]
    return points + [("mismatch", item.x, item.y) for item in wrong]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.016, 0.016, 0.018), unevenness=0.15)
    pose = scene.layout["pose"]
    vessels.dark_table(canvas, pose[1], (0.055, 0.058, 0.065))
    (juice,) = scene.fills
    vessels.vessel(canvas, vessels.SLIM, pose, juice)
    for item in scene.items:
        if item.what != "fruit picture":
            vessels.label(canvas, item)
    for item in scene.all("fruit picture"):
        prints.juice_fruit(canvas, item)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_top_label,
        _wrong_fill_level_not_enough,
        _wrong_juice_type,
        _missing_bottom_label,
        _swapped_labels,
        _empty_bottle,
        _misplaced_fruit_icon,
        _wrong_fill_level_too_much,
        _missing_both_labels,
        _missing_fruit_icon,
        _misplaced_label_top,
        _misplaced_label_bottom,
    ),
    paint=paint,
    spots=spots,
    sights=sights,
)
