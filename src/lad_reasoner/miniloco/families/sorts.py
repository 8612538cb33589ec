"""The loose parts of free scenes: their sorts and sizes, the ground that they cover, where they find room, painting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lad_reasoner.miniloco.colours import Colour, rgb
from lad_reasoner.miniloco.painting import food, parts
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import Array, offset
from lad_reasoner.miniloco.scene import Item, Pose, pick
from lad_reasoner.text import number_word

# A name and a colour.
Sort = tuple[str, str]

# Longest extent of each part in the products that it comes from.
SIZES = {
    "long screw": 0.275,
    "short screw": 0.185,
    "very short screw": 0.115,
    "nut": 0.076,
    "washer": 0.078,
    "bolt": 0.112,
    "pushpin": parts.PIN_BODY + parts.PIN_NEEDLE,
    "tablet": 0.098,
    "tangerine": 0.200,
    "nectarine": 0.200,
}
PART_COLOURS = {
    "bolt": ("steel", "brass"),
    "pushpin": ("yellow", "red", "blue", "green", "white", "pink"),
    "tablet": ("white", "yellow", "orange", "pink", "blue", "green"),
    "tangerine": ("orange",),
    "nectarine": ("red",),
}
FRUITS = ("tangerine", "nectarine")
TRIES = 80  # places that are tried for a part
_SCREW_HEAD = 0.058


def colours_of(what: str) -> tuple[str, ...]:
    """The colours that a part of this name comes in."""
    return PART_COLOURS.get(what, ("steel",))


def any_sort(what: str, rng: np.random.Generator) -> Sort:
    """A sort of this name, in one of its colours; pushpins are yellow half of the time."""
    if what == "pushpin" and rng.random() < 0.5:
        return what, "yellow"
    return what, str(pick(rng, colours_of(what)))


def words(sort: Sort, number: int = 1) -> str:
    """'two red pushpins', 'one nut', 'no washers': the colour is named where there is a choice."""
    what, colour = sort
    named = f"{colour} {what}" if len(colours_of(what)) > 1 else what
    if number != 1:
        named += "es" if named.endswith("s") else "s"
    return f"{number_word(number)} {named}"


def stands_out(colour: str, ground: Colour) -> bool:
    """Whether a part of this colour is seen on the ground; metal is, by its edges and its shadow."""
    near = sum(abs(a - b) for a, b in zip(rgb(colour), ground, strict=True))
    return near > (0.12 if colour in ("steel", "brass") else 0.45)


def footprint(item: Item) -> Array:
    """Circles that cover the part, (n, 3): x, y, radius."""
    if item.what.endswith("screw"):
        head = _SCREW_HEAD * item.size / SIZES[item.what]
        half = (item.size - head * 0.6) / 2
        along, radius = np.linspace(-half, half, 7), head * 0.45
    elif item.what == "pushpin":
        k = item.size / SIZES["pushpin"]
        along = np.linspace(-parts.PIN_BODY / 2, parts.PIN_BODY / 2 + parts.PIN_NEEDLE, 6) * k
        radius = 0.015 * k
    else:
        along, radius = np.zeros(1), item.size / 2
    c, s = np.cos(np.radians(item.angle)), np.sin(np.radians(item.angle))
    return np.stack([item.x + c * along, item.y + s * along, np.full(len(along), radius)], axis=1)


def gap(one: Array, other: Array) -> float:
    """The least distance between two footprints, negative where they overlap; infinite where one is empty."""
    if not len(one) or not len(other):
        return float("inf")
    apart = np.hypot(one[:, None, 0] - other[None, :, 0], one[:, None, 1] - other[None, :, 1])
    return float((apart - one[:, None, 2] - other[None, :, 2]).min())


def lay(
    sort: Sort,
    size: float,
    room: tuple[float, float, float, float],
    pose: Pose,
    taken: Sequence[Item],
    rng: np.random.Generator,
    *,
    place: str = "",
) -> tuple[Item, float]:
    """A part lying at any angle at a free spot of a room, and how far it is from the next part.

    The room is (left, top, right, bottom) from the pose of the container. If no spot is free, the part lies where it
    hides the others least.
    """
    left, top, right, bottom = room
    others = np.concatenate([np.zeros((0, 3)), *(footprint(item) for item in taken)])
    best: Item | None = None
    widest = -1.0
    tries = 0
    while best is None or tries < TRIES:
        tries += 1
        x, y, angle = float(rng.uniform(left, right)), float(rng.uniform(top, bottom)), float(rng.uniform(0, 360))
        circles = footprint(Item(sort[0], x, y, size, angle=angle))
        low, high = (circles[:, :2] - circles[:, 2:]).min(axis=0), (circles[:, :2] + circles[:, 2:]).max(axis=0)
        if low[0] < left or low[1] < top or high[0] > right or high[1] > bottom:
            continue
        item = Item(sort[0], *offset(*pose, x, y), size, sort[1], place, angle + pose[2])
        free = gap(footprint(item), others)
        if free > 0.006:
            return item, free
        if best is None or free > widest:
            best, widest = item, free
    return best, widest


def paint(canvas: Canvas, item: Item) -> None:
    """Paint one part."""
    at = (item.x, item.y)
    if item.what == "nut":
        parts.nut(canvas, *at, item.size / 2, item.angle)
    elif item.what == "washer":
        parts.washer(canvas, *at, item.size / 2)
    elif item.what == "bolt":
        parts.socket_bolt(canvas, *at, item.size / 2, item.angle, item.colour)
    elif item.what == "tablet":
        parts.tablet(canvas, *at, item.size / 2, item.angle, item.colour)
    elif item.what == "pushpin" and item.colour == "yellow":
        parts.pushpin(canvas, *at, item.size, item.angle)
    elif item.what == "pushpin":
        parts.pushpin(canvas, *at, item.size, item.angle, item.colour)
    elif item.what in FRUITS:
        food.fruit(canvas, item)
    else:
        parts.machine_screw(canvas, *at, item.size, item.angle, head=_SCREW_HEAD * item.size / SIZES[item.what])
