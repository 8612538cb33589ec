"""The content of a picture as pure data: the scene, and the facts that a reader of the picture may claim.

Lengths are in units of the frame's long side, x to the right, y downwards, (0, 0) the frame's upper left corner. Angles
are in degrees, clockwise in the picture. A scene says nothing about light, noise or camera: `render` adds those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from lad_reasoner.miniloco.painting.paint import Canvas

Kind = Literal["good", "logical", "structural"]


@dataclass(frozen=True)
class Item:
    """One part of the product. `size` is its longest extent; `shows` names the print on it, if it has one."""

    what: str
    x: float
    y: float
    size: float
    colour: str = ""
    place: str = ""
    angle: float = 0.0
    shows: str = ""


@dataclass(frozen=True)
class Fill:
    """How full a vessel is: `level` 0 is empty, 1 is up to the brim."""

    what: str
    colour: str
    level: float
    place: str = ""


@dataclass(frozen=True)
class Connection:
    """A cable or the like between two places; an end that is plugged into nothing is the empty string."""

    what: str
    colour: str
    start: str
    end: str


@dataclass(frozen=True)
class Region:
    """Where a defect is, for its mask: a box or an ellipse of the given width and height about (x, y)."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0
    round: bool = False


@dataclass(frozen=True)
class Mark:
    """A structural flaw on the surface: a scratch, stain, crack or dent of some length about (x, y)."""

    what: str
    x: float
    y: float
    length: float
    angle: float
    seed: int


@dataclass(frozen=True)
class Defect:
    """A fault, by its name in the product's list and in words. `value` is its grey value in masks."""

    name: str
    words: str
    regions: tuple[Region, ...] = ()
    value: int = 255


@dataclass(frozen=True)
class Scene:
    """All that the picture shows of the product. The longer of the frame's `width` and `height` is 1."""

    product: str
    width: float
    height: float
    items: tuple[Item, ...] = ()
    fills: tuple[Fill, ...] = ()
    connections: tuple[Connection, ...] = ()
    kind: Kind = "good"
    defect: Defect | None = None
    marks: tuple[Mark, ...] = ()
    # For the painter, and named in no fact: shapes of cables, the tilt of a bag.
    layout: Mapping[str, Any] = field(default_factory=dict)

    def all(self, what: str, **wanted: str) -> tuple[Item, ...]:
        """The items of this name whose fields have the wanted values, in the order of the scene."""

        def matches(item: Item) -> bool:
            return item.what == what and all(getattr(item, field) == value for field, value in wanted.items())

        return tuple(item for item in self.items if matches(item))

    def counts(self) -> dict[str, int]:
        """How many items of each name there are."""
        return dict(sorted(Counter(item.what for item in self.items).items()))

    def without(self, *gone: Item) -> Scene:
        """The scene less these items."""
        # By identity: two equal items are still two parts.
        left = tuple(item for item in self.items if not any(item is other for other in gone))
        return replace(self, items=left)

    def plus(self, *new: Item) -> Scene:
        """The scene and these items, painted after the others."""
        return replace(self, items=self.items + new)

    def change(self, item: Item, **fields: Any) -> Scene:
        """The scene with some fields of one item replaced."""
        changed = replace(item, **fields)
        return replace(self, items=tuple(changed if other is item else other for other in self.items))

    def exchange(self, one: Item, two: Item, *fields: str) -> Scene:
        """The scene with the values of these fields of two items exchanged."""
        of_one = {name: getattr(one, name) for name in fields}
        of_two = {name: getattr(two, name) for name in fields}
        return self.change(one, **of_two).change(two, **of_one)

    def fill_at(self, place: str) -> Fill | None:
        """The filling at this place, if there is one."""
        return next((fill for fill in self.fills if fill.place == place), None)

    def change_fill(self, fill: Fill, **fields: Any) -> Scene:
        """The scene with some fields of one fill replaced."""
        changed = replace(fill, **fields)
        return replace(self, fills=tuple(changed if other is fill else other for other in self.fills))

    def broken(self, words: str, *regions: Region) -> Scene:
        """The scene with its logical defect put into words; `make_scene` adds name and grey value."""
        return replace(self, kind="logical", defect=Defect(name="", words=words, regions=regions))

    def facts(self) -> dict[str, Any]:
        """All that is true of the picture, ready for JSON; `render` adds the centres in pixels."""
        return {
            "product": self.product,
            "kind": self.kind,
            "items": [_item_facts(item) for item in self.items],
            "counts": self.counts(),
            "fills": [{**vars(fill), "level": round(fill.level, 3)} for fill in self.fills],
            "connections": [{**vars(connection)} for connection in self.connections],
            "defect": self.defect.name if self.defect else None,
            "defect_words": self.defect.words if self.defect else None,
        }


def _item_facts(item: Item) -> dict[str, Any]:
    return {
        "what": item.what,
        "colour": item.colour,
        "place": item.place,
        "shows": item.shows,
        "size": round(item.size, 4),
        "angle": round(item.angle % 360, 1),
    }


# Where a thing lies, and how it is turned: (x, y, angle).
Pose = tuple[float, float, float]
# A patch of the product: (x, y, radius).
Spot = tuple[float, float, float]
# Something at (x, y) that can be seen but is no item, such as an empty compartment.
Sight = tuple[str, float, float]
# Breaks the rule of a good scene in one way.
Break = Callable[[Scene, np.random.Generator], Scene]


@dataclass(frozen=True)
class Product:
    """One product: its rule in words and as a check, how to make good scenes, and how to break them."""

    name: str
    rule: str
    good: Callable[[np.random.Generator], Scene]
    check: Callable[[Scene], list[str]]
    defects: Mapping[str, Break]
    paint: Callable[[Canvas, Scene], None]
    # Where a structural flaw can sit without hiding or changing a part.
    spots: Callable[[Scene], list[Spot]]
    # Added to the facts of broken scenes.
    sights: Callable[[Scene], list[Sight]] | None = None


def by_name(*breaks: Break) -> dict[str, Break]:
    """The breaks by the names of their defects, which are their own names less the leading underscore.

    Their order counts: it gives each defect its grey value, and says which one a random number draws.
    """
    return {function.__name__.removeprefix("_"): function for function in breaks}


def jitter(rng: np.random.Generator, reach: float) -> float:
    """How far something lies off its place, at most `reach` on either side."""
    return float(rng.uniform(-reach, reach))


def draw_pose(
    rng: np.random.Generator, middle: tuple[float, float], *, reach: tuple[float, float], tilt: float, limit: float
) -> Pose:
    """A pose near the middle: shifted by at most `reach`, turned by `tilt` degrees (one sigma), at most by `limit`."""
    x, y = middle[0] + jitter(rng, reach[0]), middle[1] + jitter(rng, reach[1])
    return x, y, float(np.clip(rng.normal(0, tilt), -limit, limit))


def turn_of(angle: float) -> float:
    """How far an angle is from upright, 0 to 180 degrees."""
    return abs((angle + 180) % 360 - 180)


def around(item: Item, factor: float = 1.1) -> Region:
    """A round region about an item."""
    return Region(item.x, item.y, item.size * factor, item.size * factor, round=True)


def box_around(item: Item, width: float, height: float) -> Region:
    """A rectangular region about an item, turned with it."""
    return Region(item.x, item.y, width, height, item.angle)


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def pick_two(choices: Sequence[Any], rng: np.random.Generator) -> tuple[Any, Any]:
    """Two different members of the choices."""
    first, second = rng.choice(len(choices), 2, replace=False)
    return choices[int(first)], choices[int(second)]
