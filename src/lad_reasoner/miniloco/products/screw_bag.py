"""Evaluation product after MVTec LOCO AD's screw bag: an exact set of small parts loose in a clear bag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from lad_reasoner.miniloco.painting import bags, parts, surfaces
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import offset
from lad_reasoner.miniloco.scene import (
    Item,
    Pose,
    Product,
    Scene,
    Spot,
    around,
    draw_pose,
    jitter,
    pick,
)

NAME = "screw_bag"
RULE = (
    "A clear bag holds exactly one long screw, one short screw, two nuts and two washers, lying anywhere in "
    "it at any angle."
)
WIDTH, HEIGHT = 1.0, 0.685
WANTED = {"long screw": 1, "short screw": 1, "nut": 2, "washer": 2}
# Longest extent of each part.
SIZES = {"long screw": 0.275, "short screw": 0.185, "very short screw": 0.115, "nut": 0.076, "washer": 0.078}
HEAD = 0.058
# Where in the bag parts can lie: half width, half height, and how far right of the bag's middle.
ROOM_X, ROOM_Y, ROOM_AT = 0.30, 0.235, -0.075


def _footprint(what: str, x: float, y: float, angle: float) -> list[Spot]:
    """Circles (x, y, radius) that cover the part."""
    size = SIZES[what]
    if what in ("nut", "washer"):
        return [(x, y, size / 2)]
    steps = np.linspace(-0.5, 0.5, 7)
    return [(*offset(x, y, angle, float(t) * (size - HEAD * 0.6), 0), HEAD * 0.45) for t in steps]


def _gap(circles: Sequence[Spot], others: Sequence[Spot]) -> float:
    """The least distance between two sets of circles; 1 where there are no others."""
    distances = [np.hypot(x - u, y - v) - r - s for x, y, r in circles for u, v, s in others]
    return float(min(distances, default=1.0))


def _lay(what: str, pose: Pose, taken: Iterable[Item], rng: np.random.Generator, pile: float) -> Item:
    """A part at a free spot of the bag; parts gather about a pile, as they do when the bag is shaken."""
    others = [circle for item in taken for circle in _footprint(item.what, item.x, item.y, item.angle)]
    best, widest = None, -1.0
    for attempt in range(60):
        reach = min(1.0, 0.45 + attempt / 60)
        dx = float(np.clip(rng.normal(pile * ROOM_X * 0.5, 0.5 * reach * ROOM_X), -ROOM_X, ROOM_X)) + ROOM_AT
        dy = float(np.clip(rng.normal(0, 0.55 * reach * ROOM_Y), -ROOM_Y, ROOM_Y))
        angle = float(rng.uniform(0, 360))
        inside = _footprint(what, dx, dy, angle)
        if any(abs(x - ROOM_AT) > ROOM_X + 0.02 or abs(y) > ROOM_Y + 0.01 for x, y, _ in inside):
            continue
        x, y = offset(*pose, dx, dy)
        item = Item(what, x, y, SIZES[what], "steel", "in the bag", angle + pose[2])
        gap = _gap(_footprint(what, x, y, item.angle), others)
        if gap > 0.004:
            return item
        if gap > widest:
            best, widest = item, gap
    assert best is not None
    return best


def good(rng: np.random.Generator) -> Scene:
    pose = draw_pose(rng, (0.5, 0.345), reach=(0.03, 0.015), tilt=1.5, limit=3.5)
    pile = jitter(rng, 1)
    items: list[Item] = []
    for what, number in WANTED.items():
        for _ in range(number):
            items.append(_lay(what, pose, items, rng, pile))
    folds = int(rng.integers(2**31))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items), layout={"pose": pose, "pile": pile, "folds": folds})


def check(scene: Scene) -> list[str]:
    counts = scene.counts()
    broken = []
    for what, number in WANTED.items():
        if counts.get(what, 0) != number:
            broken.append(f"{what}: {counts.get(what, 0)}, not {number}")
    return broken + [f"there is a {what}" for what in counts if what not in WANTED]


def _add(scene: Scene, what: str, rng: np.random.Generator) -> tuple[Scene, Item]:
    pose = scene.layout["pose"]
    item = _lay(what, pose, scene.items, rng, scene.layout["pile"])
    return scene.plus(item), item


def _add_one(what: str, scene: Scene, rng: np.random.Generator) -> Scene:
    more, item = _add(scene, what, rng)
    return more.broken(f"there is one {what} too many", around(item))


def _remove_one(what: str, scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.all(what))
    return scene.without(gone).broken(f"one {what} is missing", around(gone))


def _replace_one(scene: Scene, old: str, new: str, words: str, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.all(old))
    swapped, item = _add(scene.without(gone), new, rng)
    return swapped.broken(words, around(item))


def _screw_too_long(scene: Scene, rng: np.random.Generator) -> Scene:
    words = "there are two long screws, one of them should be short"
    return _replace_one(scene, "short screw", "long screw", words, rng)


def _screw_too_short(scene: Scene, rng: np.random.Generator) -> Scene:
    words = "there are two short screws, one of them should be long"
    return _replace_one(scene, "long screw", "short screw", words, rng)


def _very_short_screw(scene: Scene, rng: np.random.Generator) -> Scene:
    old = str(pick(rng, ["long screw", "short screw"]))
    return _replace_one(scene, old, "very short screw", f"a very short screw lies in place of the {old}", rng)


def _nuts_and_washers_exchanged(scene: Scene, rng: np.random.Generator) -> Scene:
    old, new = ("nut", "washer") if rng.integers(2) else ("washer", "nut")
    if rng.integers(2):
        return _replace_one(scene, old, new, f"there are three {new}s and one {old}, there should be two of each", rng)
    first = _replace_one(scene, old, new, "", rng)
    second = _replace_one(first, old, new, "", rng)
    assert first.defect is not None and second.defect is not None
    regions = (*first.defect.regions, *second.defect.regions)
    return second.broken(f"there are four {new}s and no {old}, there should be two of each", *regions)


def spots(scene: Scene) -> list[Spot]:
    x, y, angle = scene.layout["pose"]
    on_the_film = [(*offset(x, y, angle, dx, dy), 0.08) for dx in (-0.25, 0.1) for dy in (-0.12, 0.14)]
    on_screws = [(item.x, item.y, 0.05) for item in scene.items if "screw" in item.what]
    return on_the_film + on_screws


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.mat(canvas, (0.028, 0.028, 0.030), unevenness=0.15)

    def contents() -> None:
        for item in scene.items:
            _paint_part(canvas, item)

    bags.clear_bag(canvas, scene.layout["pose"], contents)


def _paint_part(canvas: Canvas, item: Item) -> None:
    if item.what == "nut":
        parts.nut(canvas, item.x, item.y, item.size / 2, item.angle)
    elif item.what == "washer":
        parts.washer(canvas, item.x, item.y, item.size / 2)
    else:
        parts.machine_screw(canvas, item.x, item.y, item.size, item.angle, head=HEAD)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    # The order of the defects counts, see `by_name` in scene.py.
    defects={
        "1_additional_nut": partial(_add_one, "nut"),
        "1_missing_washer": partial(_remove_one, "washer"),
        "screw_too_long": _screw_too_long,
        "1_missing_nut": partial(_remove_one, "nut"),
        "nuts_and_washers_exchanged": _nuts_and_washers_exchanged,
        "1_additional_long_screw": partial(_add_one, "long screw"),
        "screw_too_short": _screw_too_short,
        "1_additional_washer": partial(_add_one, "washer"),
        "1_missing_long_screw": partial(_remove_one, "long screw"),
        "very_short_screw": _very_short_screw,
        "1_additional_short_screw": partial(_add_one, "short screw"),
        "1_missing_short_screw": partial(_remove_one, "short screw"),
    },
    paint=paint,
    spots=spots,
)
