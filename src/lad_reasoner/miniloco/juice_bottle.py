"""Evaluation product after MVTec LOCO AD's juice bottle: one of three juices, a label that must match it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco import prints, surfaces
from lad_reasoner.miniloco.paint import PAPER, Canvas, mix, smoothstep
from lad_reasoner.miniloco.scene import Fill, Item, Product, Region, Scene, pick
from lad_reasoner.miniloco.shapes import (
    Array,
    Shape,
    box,
    ellipse,
    moved,
    outline,
    polyline,
)

Sized = Callable[[Shape], Shape]

NAME = "juice_bottle"
RULE = (
    "A bottle of orange, cherry or banana juice, filled to the middle of its neck. A fruit label sits on the "
    "upper half of the body, its picture in the label's middle and showing the fruit of the juice. A label "
    "that reads '100% Juice' sits near the bottom."
)
WIDTH, HEIGHT = 0.5, 1.0
# Colour by name, and the tone of the liquid.
JUICES = {
    "orange": ("yellow", (0.84, 0.68, 0.17)),
    "cherry": ("red", (0.44, 0.10, 0.07)),
    "banana": ("white", (0.86, 0.81, 0.67)),
}
ICON_COLOURS = {"orange": "orange", "cherry": "red", "banana": "yellow"}
# Heights above the table, as parts of a bottle of height 1 whose own unit is 0.87 of the frame.
BRIM, TABLE = 0.865, 0.932
LABELS = {"upper": -0.375, "lower": -0.130}
GOOD_LEVEL = (0.79, 0.85)


def _at(scene: Scene, dx: float, dy: float) -> tuple[float, float]:
    x, y, scale = scene.layout["pose"]
    return x + dx * scale, y + dy * scale


def good(rng: np.random.Generator) -> Scene:
    fruit = str(pick(rng, list(JUICES)))
    pose = (
        0.25 + float(rng.uniform(-0.02, 0.02)),
        TABLE + float(rng.uniform(-0.01, 0.01)),
        float(rng.uniform(0.96, 1.02)),
    )
    scene = Scene(NAME, WIDTH, HEIGHT, layout={"pose": pose, "fruit": fruit})
    tilts = rng.normal(0, 0.8, 2)
    upper = _at(scene, float(rng.uniform(-0.006, 0.006)), LABELS["upper"] + float(rng.uniform(-0.008, 0.008)))
    lower = _at(scene, float(rng.uniform(-0.006, 0.006)), LABELS["lower"] + float(rng.uniform(-0.006, 0.006)))
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
        found = scene.all(what)
        if len(found) != 1:
            broken.append(f"{len(found)} {what}s, not one")
            continue
        x, y = _at(scene, 0, LABELS[place])
        if np.hypot(found[0].x - x, found[0].y - y) > 0.02:
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


def _box(item: Item, tall: float) -> Region:
    return Region(item.x, item.y, 0.18, tall, item.angle)


def _upper(scene: Scene) -> tuple[Item, Item]:
    return scene.all("fruit label")[0], scene.all("fruit picture")[0]


def _lower(scene: Scene) -> Item:
    return scene.all("text label")[0]


def _missing_top_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    return scene.without(label, picture).broken("the fruit label is missing", _box(label, 0.17))


def _missing_bottom_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label = _lower(scene)
    return scene.without(label).broken("the lower label '100% Juice' is missing", _box(label, 0.08))


def _missing_both_labels(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    lower = _lower(scene)
    return scene.without(label, picture, lower).broken("both labels are missing", _box(label, 0.17), _box(lower, 0.08))


def _empty(scene: Scene, rng: np.random.Generator) -> Scene:
    bottle = Region(*_at(scene, 0, -0.30), 0.22, 0.60)
    return replace(scene, fills=(Fill("juice", "", 0.0, "bottle"),)).broken("the bottle is empty", bottle)


def _level(scene: Scene, low: float, high: float, words: str, rng: np.random.Generator) -> Scene:
    level = float(rng.uniform(low, high))
    changed = replace(scene, fills=(replace(scene.fills[0], level=level),))
    first, last = sorted((level, sum(GOOD_LEVEL) / 2))
    middle = _at(scene, 0, -BRIM * 0.97 * (first + last) / 2)
    return changed.broken(words, Region(*middle, 0.16, max(BRIM * (last - first), 0.04)))


def _not_enough(scene: Scene, rng: np.random.Generator) -> Scene:
    return _level(scene, 0.40, 0.70, "there is too little juice in the bottle", rng)


def _too_much(scene: Scene, rng: np.random.Generator) -> Scene:
    return _level(scene, 0.93, 0.98, "there is too much juice in the bottle, it reaches the thread", rng)


def _wrong_juice(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    other = str(pick(rng, [fruit for fruit in JUICES if fruit != picture.shows]))
    words = f"the label shows {other}, the bottle holds {scene.fills[0].what}"
    changed = scene.change(picture, shows=other, colour=ICON_COLOURS[other])
    return changed.broken(words, _box(label, 0.17))


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
    return moved_labels.broken(words, Region(lower.x, sunk, 0.18, 0.17), Region(label.x, lifted, 0.18, 0.08))


def _misplaced_top_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    down = float(rng.uniform(0.05, 0.09))
    slid = scene.change(label, y=label.y + down, place="too low").change(picture, y=picture.y + down)
    return slid.broken("the fruit label sits too low", Region(label.x, label.y + down, 0.18, 0.17))


def _misplaced_bottom_label(scene: Scene, rng: np.random.Generator) -> Scene:
    label = _lower(scene)
    y = label.y - float(rng.uniform(0.045, 0.075))
    slid = scene.change(label, y=y, place="too high")
    return slid.broken("the lower label sits too high", Region(label.x, y, 0.18, 0.08))


def _missing_icon(scene: Scene, rng: np.random.Generator) -> Scene:
    label, picture = _upper(scene)
    return scene.without(picture).broken("the fruit label shows no fruit", Region(label.x, label.y, 0.09, 0.09))


def _misplaced_icon(scene: Scene, rng: np.random.Generator) -> Scene:
    _, picture = _upper(scene)
    x, y = _at(scene, float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.245, -0.225)))
    slid = scene.change(picture, x=x, y=y, place="below the fruit label")
    return slid.broken("the picture of the fruit is below its label", Region(x, y, 0.09, 0.09))


def spots(scene: Scene) -> list[tuple[float, float, float]]:
    (label, _), lower = _upper(scene), _lower(scene)
    return [(label.x, label.y, 0.06), (lower.x, lower.y, 0.05), (*_at(scene, 0.0, -0.25), 0.06)]


def _half_width(height: Array, wall: float) -> Array:
    """Half width of the bottle at a height above the table (parts of its own size), less a wall."""
    heights = np.array([0.0, 0.012, 0.03, 0.47, 0.505, 0.54, 0.57, 0.595, 0.615, 0.635, 0.66, 0.865, 0.9])
    halves = np.array([0.105, 0.116, 0.120, 0.119, 0.1165, 0.107, 0.094, 0.081, 0.0745, 0.071, 0.0695, 0.0695, 0.0695])
    result: Array = np.interp(height, heights, halves).astype(np.float32) - np.float32(wall)
    return result


def _silhouette(wall: float, low: float, high: float) -> Shape:
    """The bottle seen from the side between two heights, (0, 0) on the table below its middle."""

    def distance(x: Array, y: Array) -> Array:
        side = np.abs(x) - _half_width(-y, wall)
        result: Array = np.maximum(side, np.maximum(y + low, -y - high))
        return result

    return Shape(distance, 0.13, high + 0.01)


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.016, 0.016, 0.018), unevenness=0.15)
    x, table, scale = scene.layout["pose"]
    floor = canvas.everywhere()
    near = smoothstep(floor.y + 0 * floor.x, table - 0.05, table - 0.01)
    canvas.blend(floor, near * (0.5 + 0.25 * canvas.noise(floor, 0.006)).clip(0, 1), (0.055, 0.058, 0.065))
    # Working in the bottle's own size keeps all numbers below those of one drawing.
    at = (x, table)

    def sized(shape: Shape) -> Shape:
        return Shape(lambda u, v: shape(u / scale, v / scale) * scale, shape.reach_x * scale, shape.reach_y * scale)

    _paint_glass(canvas, at, sized)
    _paint_juice(canvas, at, sized, scene)
    _paint_shine(canvas, at, sized, full=bool(scene.fills[0].level > 0.3))
    for item in scene.items:
        if item.what == "fruit label":
            _paint_paper(canvas, item, 0.165, 0.158)
        elif item.what == "text label":
            _paint_paper(canvas, item, 0.168, 0.074)
            canvas.lettering("100% Juice", (item.x, item.y), (0.10, 0.09, 0.08), height=0.0205, angle=item.angle)
    for item in scene.all("fruit picture"):
        prints.juice_fruit(canvas, item)


def _paint_glass(canvas: Canvas, at: tuple[float, float], sized: Sized) -> None:
    hull = sized(_silhouette(0.0, 0.0, BRIM))
    canvas.flat(hull, at, (0.055, 0.058, 0.066))
    window = canvas.window(at, (hull.reach_x, hull.reach_y))
    if window is None:
        return
    distance = hull(window.x, window.y)
    streak = 0.55 + 0.30 * canvas.noise(window, 0.05)
    rim = smoothstep(distance, -0.012, -0.004) * (1 - smoothstep(distance, -0.004, 0.001))
    canvas.blend(window, np.clip(rim * streak, 0, 0.85), (0.62, 0.65, 0.66))


def _paint_juice(canvas: Canvas, at: tuple[float, float], sized: Sized, scene: Scene) -> None:
    (juice,) = scene.fills
    if juice.level < 0.02:
        return
    tone = JUICES[juice.what.split()[0]][1]
    top = juice.level * BRIM * 0.97
    column = sized(_silhouette(0.012, 0.034, top))
    scale = scene.layout["pose"][2]

    def liquid(u: Array, v: Array) -> Array:
        height = -v / scale
        # Lit from above: bright at the shoulder, darker towards the bottom and at the sides.
        glow = 0.80 + 0.36 * np.exp(-(((height - 0.53) / 0.12) ** 2)) - 0.14 * smoothstep(-height, -0.50, 0.0)
        side = np.clip(np.abs(u / scale) / _half_width(height, 0.012), 0, 1)
        light = glow * (1 - 0.38 * side**6)
        result: Array = np.asarray(tone, np.float32) * light[..., None]
        return result

    canvas.flat(column, at, liquid, softness=0.003)
    # The surface of the liquid: a thin bright ring, a little foam at the glass.
    y = at[1] - top * scale
    half = float(_half_width(np.asarray([top], np.float32), 0.013)[0]) * scale
    canvas.flat(ellipse(half, 0.0042), (at[0], y), mix(tone, "white", 0.35), opacity=0.75, softness=0.002)


def _paint_shine(canvas: Canvas, at: tuple[float, float], sized: Sized, *, full: bool) -> None:
    x, table = at
    strong = 1.0 if full else 0.6

    def lay(shape: Shape, dx: float, dy: float, light: float, softness: float = 0.006, tilt: float = 0.0) -> None:
        # Reflections wander with the lamp from shot to shot.
        force = light * strong * float(canvas.rng.uniform(0.75, 1.1))
        turned = sized(moved(shape, dx, dy, tilt))
        canvas.flat(turned, (x, table), (0.97, 0.97, 0.94), opacity=min(force, 0.9), softness=softness)

    arch = polyline(
        [(-0.078, 0.020), (-0.055, -0.004), (-0.02, -0.013), (0.02, -0.013), (0.055, -0.006), (0.080, 0.016)],
        0.007,
    )
    lay(arch, 0, -0.485, 0.34, 0.016)
    lay(box(0.060, 0.012, 0.005), 0.0, -0.572, 0.30, 0.010)
    lay(box(0.005, 0.42, 0.002), -0.108, -0.29, 0.34)
    lay(box(0.005, 0.40, 0.002), 0.109, -0.28, 0.42)
    lay(box(0.003, 0.33, 0.001), 0.098, -0.25, 0.25)
    for dx, light in ((-0.052, 0.22), (-0.012, 0.20), (0.022, 0.12), (0.057, 0.28)):
        lay(box(0.006, 0.14, 0.003), dx, -0.685, light)
    # Thick glass of the bottom.
    foot = sized(moved(box(0.205, 0.024, 0.006), 0, -0.019))
    canvas.flat(foot, at, (0.035, 0.037, 0.042), opacity=0.85, softness=0.004)
    lay(box(0.20, 0.004, 0.002), 0.0, -0.006, 0.45, 0.004)
    lay(box(0.16, 0.003, 0.001), 0.01, -0.031, 0.22, 0.004)
    # Mouth and thread.
    neck = sized(moved(box(0.136, 0.118, 0.006), 0, -BRIM + 0.058))
    canvas.flat(neck, at, (0.085, 0.09, 0.10), opacity=0.35)
    for dy, wide, light in (
        (0.004, 0.134, 0.45),
        (0.016, 0.142, 0.22),
        (0.036, 0.160, 0.42),
        (0.056, 0.160, 0.36),
    ):
        lay(box(wide, 0.006, 0.003), 0.0, -BRIM + dy, light, 0.004, tilt=2.0 if 0.02 < dy < 0.06 else 0.0)
    lay(outline(box(0.164, 0.030, 0.006), 0.004), 0.0, -BRIM + 0.092, 0.50, 0.003)
    for dx in (-0.045, 0.0, 0.048):
        lay(box(0.012, 0.11, 0.004), dx, -BRIM + 0.055, 0.12, 0.008)


def _paint_paper(canvas: Canvas, label: Item, width: float, height: float) -> None:
    def warm(u: Array, v: Array) -> Array:
        middle = np.exp(-((u / (0.45 * width)) ** 2) - (v / (0.6 * height)) ** 2)
        edge, core = np.asarray((0.96, 0.66, 0.24), np.float32), np.asarray((1.0, 0.89, 0.60), np.float32)
        result: Array = edge + middle[..., None] * (core - edge)
        return result

    at = (label.x, label.y)
    canvas.solid(box(width, height, 0.002), at, warm, PAPER, angle=label.angle, bevel=0.002, lift=0.002, strength=0.4)
    line = outline(box(width * 0.90, height * 0.90, min(height * 0.15, 0.02)), 0.0016)
    canvas.flat(line, at, (0.45, 0.33, 0.14), angle=label.angle, opacity=0.8)


PRODUCT = Product(
    NAME,
    RULE,
    good,
    check,
    {
        "missing_top_label": _missing_top_label,
        "wrong_fill_level_not_enough": _not_enough,
        "wrong_juice_type": _wrong_juice,
        "missing_bottom_label": _missing_bottom_label,
        "swapped_labels": _swapped_labels,
        "empty_bottle": _empty,
        "misplaced_fruit_icon": _misplaced_icon,
        "wrong_fill_level_too_much": _too_much,
        "missing_both_labels": _missing_both_labels,
        "missing_fruit_icon": _missing_icon,
        "misplaced_label_top": _misplaced_top_label,
        "misplaced_label_bottom": _misplaced_bottom_label,
    },
    paint,
    spots,
)
