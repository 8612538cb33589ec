"""What a rendered picture shows, as pure data: the scene, and the facts that a reader of the picture may
claim.

Lengths are in units of the frame's long side, x to the right, y downwards, (0, 0) the frame's upper left
corner. Angles are in degrees, clockwise in the picture. A scene says nothing about light, noise or camera:
`render` adds those.
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

# The colours that facts name, as display RGB in [0, 1] before light and camera.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.13, 0.11),
    "orange": (0.95, 0.45, 0.10),
    "yellow": (0.95, 0.77, 0.16),
    "green": (0.20, 0.58, 0.25),
    "blue": (0.16, 0.34, 0.74),
    "purple": (0.48, 0.24, 0.60),
    "pink": (0.93, 0.56, 0.66),
    "brown": (0.45, 0.28, 0.16),
    "black": (0.10, 0.10, 0.11),
    "grey": (0.52, 0.53, 0.55),
    "white": (0.93, 0.92, 0.89),
    "steel": (0.70, 0.72, 0.75),
    "brass": (0.82, 0.63, 0.26),
}


@dataclass(frozen=True)
class Item:
    """One part of the product. `size` is its longest extent; `shows` is what is printed on it, if anything
    is.
    """

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
    """What joins two places; an end that is plugged into nothing is the empty string."""

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
    """What is wrong, in a name of the product's list and in words. `value` is its grey value in masks."""

    name: str
    words: str
    regions: tuple[Region, ...] = ()
    value: int = 255


@dataclass(frozen=True)
class Scene:
    """All that the picture shows of the product; `width` and `height` of the frame, the longer of them 1."""

    product: str
    width: float
    height: float
    items: tuple[Item, ...] = ()
    fills: tuple[Fill, ...] = ()
    connections: tuple[Connection, ...] = ()
    kind: Kind = "good"
    defect: Defect | None = None
    marks: tuple[Mark, ...] = ()
    # What the painter needs and no fact names: shapes of cables, the tilt of a bag.
    layout: Mapping[str, Any] = field(default_factory=dict)

    def all(self, what: str, **wanted: str) -> tuple[Item, ...]:
        """The items of this name whose fields have the wanted values, in the order of the scene."""
        return tuple(
            item
            for item in self.items
            if item.what == what and all(getattr(item, key) == value for key, value in wanted.items())
        )

    def counts(self) -> dict[str, int]:
        """How many items of each name there are."""
        return dict(sorted(Counter(item.what for item in self.items).items()))

    def without(self, *gone: Item) -> Scene:
        """The scene less these items."""
        return replace(self, items=tuple(item for item in self.items if not any(item is g for g in gone)))

    def plus(self, *new: Item) -> Scene:
        """The scene and these items, painted after the others."""
        return replace(self, items=self.items + new)

    def change(self, item: Item, **fields: Any) -> Scene:
        """The scene with some fields of one item replaced."""
        return replace(self, items=tuple(replace(i, **fields) if i is item else i for i in self.items))

    def broken(self, words: str, *regions: Region) -> Scene:
        """The scene with its logical defect put into words; `make_scene` adds name and grey value."""
        return replace(self, kind="logical", defect=Defect(name="", words=words, regions=regions))

    def facts(self) -> dict[str, Any]:
        """What is true of the picture, ready for JSON; `render` adds the centres in pixels."""
        return {
            "product": self.product,
            "kind": self.kind,
            "items": [
                {
                    "what": item.what,
                    "colour": item.colour,
                    "place": item.place,
                    "shows": item.shows,
                    "size": round(item.size, 4),
                    "angle": round(item.angle % 360, 1),
                }
                for item in self.items
            ],
            "counts": self.counts(),
            "fills": [
                {"what": f.what, "colour": f.colour, "level": round(f.level, 3), "place": f.place} for f in self.fills
            ],
            "connections": [
                {"what": c.what, "colour": c.colour, "start": c.start, "end": c.end} for c in self.connections
            ],
            "defect": self.defect.name if self.defect else None,
            "defect_words": self.defect.words if self.defect else None,
        }


Sight = tuple[str, float, float]
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
    # Where a structural flaw can sit without hiding or changing a part: (x, y, radius) of patches of the
    # product.
    spots: Callable[[Scene], list[tuple[float, float, float]]]
    # What there is to see that is no item, such as an empty compartment: (what, x, y) of points.
    sights: Callable[[Scene], list[Sight]] | None = None


def around(item: Item, factor: float = 1.1) -> Region:
    """A round region about an item."""
    return Region(item.x, item.y, item.size * factor, item.size * factor, round=True)


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def pick_two(choices: Sequence[Any], rng: np.random.Generator) -> tuple[Any, Any]:
    """Two different members of the choices."""
    first, second = rng.choice(len(choices), 2, replace=False)
    return choices[int(first)], choices[int(second)]
