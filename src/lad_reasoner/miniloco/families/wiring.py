"""Free family: lever connectors in one or two facing pairs, joined by cables as each draw says.

One pair joined by one cable is never drawn: that is an evaluation product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.connectors import (
    CABLE_TONES,
    PITCH,
    around_connector,
    cable_sights,
    changes_row,
    clamps,
    connectors,
    cut,
    facing,
    make_cable,
    make_connector,
    mesh,
    paint_cable,
    paint_connector,
    row_of,
    slack,
    socket,
    span,
)
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import Points, box, offset
from lad_reasoner.miniloco.scene import (
    Break,
    Connection,
    Item,
    Product,
    Region,
    Scene,
    Sight,
    Spot,
    by_name,
    jitter,
    pick,
)

NAME = "wiring"
NUMBERS = (2, 3, 4, 5)
COLOURS = tuple(CABLE_TONES)
# Mats of middling tones: white and black cables stand out from all of them.
MATS = ((0.70, 0.62, 0.50), (0.36, 0.42, 0.48), (0.52, 0.53, 0.55), (0.44, 0.50, 0.40), (0.58, 0.46, 0.38))
SIDES = ("left", "right")
EDGE = 0.04


@dataclass(frozen=True)
class _Wire:
    """A cable of one pair; an end that is plugged into nothing is the empty string."""

    pair: str
    colour: str
    start: str
    end: str
    path: Points

    @property
    def row(self) -> int:
        """The row, from 0, at which it starts."""
        return row_of(self.start)


def draw(rng: np.random.Generator) -> Product:
    """A product of its own: how many connectors, how many cables join them, of which colours."""
    double = bool(rng.random() < 0.45)
    high = bool(rng.random() < (0.65 if double else 0.2))
    cables = int(pick(rng, [1, 2] if double else [2, 2, 3]))
    most = (4 if high else 3) if double else 5
    pool = tuple(n for n in NUMBERS if cables <= n <= most)
    fixed = bool(rng.random() < 0.5)
    pairs = ("upper ", "lower ") if double else ("",)
    numbers = {pair: (int(pick(rng, pool)),) if fixed else pool for pair in pairs}
    tied = int(rng.integers(3))
    # Black cables would be lost in the holes of the mesh.
    ground = "mesh" if rng.random() < 0.5 else str(pick(rng, ["mat", "mat", "metal"]))
    palette = tuple(c for c in COLOURS if c != "black" or ground != "mesh")
    table = [str(c) for c in rng.choice(palette, len(NUMBERS), replace=False)]
    # One colour, one for each number of clamps, or any.
    colours = dict.fromkeys(NUMBERS, table[0]) if tied == 0 else dict(zip(NUMBERS, table, strict=True))
    tone = MATS[int(rng.integers(len(MATS)))]
    rules = _Rules(numbers, cables, colours if tied < 2 else {}, palette, 0.685 if high else 0.5, most, ground, tone)
    return Product(NAME, rules.words(), rules.good, rules.check, rules.defects(), rules.paint, rules.spots)


@dataclass(frozen=True)
class _Rules:
    """The rule of one draw, and all that follows from it."""

    # The numbers of clamps that the connectors of a pair may have, by the pair's name.
    numbers: dict[str, tuple[int, ...]]
    cables: int
    # Colour of cables by number of clamps; empty if any will do.
    colours: dict[int, str]
    palette: tuple[str, ...]
    height: float
    most: int
    ground: str
    tone: tuple[float, float, float]

    def words(self) -> str:
        """The rule in words."""
        parts = []
        joined = "One cable joins" if self.cables == 1 else f"{self.cables} cables join"
        for pair, numbers in self.numbers.items():
            clamped = " or ".join(str(n) for n in numbers)
            parts.append(f"The {pair}left and the {pair}right connector have the same number of clamps, {clamped}.")
        parts.append(f"{joined} the connectors of a pair, each in the same row on both sides.")
        used = sorted({n for numbers in self.numbers.values() for n in numbers})
        if not self.colours:
            parts.append("Cables may have any colour.")
        elif len(set(self.colours.values())) == 1:
            parts.append(f"All cables are {self.colours[2]}.")
        else:
            tied = ", ".join(f"{self.colours[n]} between connectors of {n} clamps" for n in used)
            parts.append(f"Cables are {tied}.")
        return " ".join(parts)

    def _stand(self, numbers: dict[str, int], rng: np.random.Generator) -> list[Item]:
        """The connectors, one pair above the other."""
        talls = [number * PITCH for number in numbers.values()]
        between = 0.05 * (len(talls) - 1)
        room = self.height - 2 * EDGE - sum(talls) - between
        if len(talls) == 1:
            middles = [EDGE + talls[0] / 2 + room * float(rng.uniform(0.25, 0.75))]
        else:
            above, below = (room * float(v) for v in rng.uniform(0.1, 0.4, 2))
            middles = [EDGE + talls[0] / 2 + above, self.height - EDGE - talls[1] / 2 - below]
        shake = min(0.035, 0.15 * room) if len(talls) == 1 else min(0.02, 0.08 * room)
        placed = []
        for (pair, number), middle in zip(numbers.items(), middles, strict=True):
            for side, x in zip(SIDES, (0.20, 0.80), strict=True):
                at = (x + jitter(rng, 0.05), middle + jitter(rng, shake))
                angle = float(np.clip(rng.normal(0, 3.0), -7, 7))
                placed.append(make_connector(number, at, f"{pair}{side}", angle))
        return placed

    def good(self, rng: np.random.Generator) -> Scene:
        """A scene that keeps the rule."""
        numbers = {pair: int(pick(rng, choices)) for pair, choices in self.numbers.items()}
        placed = self._stand(numbers, rng)
        deepest = 0.05 if len(numbers) == 1 else 0.028
        sags = {pair: float(rng.uniform(-0.035 if len(numbers) == 1 else -0.028, deepest)) for pair in numbers}
        bare = Scene(NAME, 1.0, self.height, tuple(placed), layout={"sags": sags, "mesh": tuple(rng.uniform(0, 1, 2))})
        wires = [
            self._wire(bare, pair, (int(row), int(row)), self._colour(number, rng), rng)
            for pair, number in numbers.items()
            for row in sorted(rng.choice(number, self.cables, replace=False))
        ]
        return self._built(bare, placed, wires)

    def _colour(self, number: int, rng: np.random.Generator) -> str:
        return self.colours[number] if self.colours else str(pick(rng, self.palette))

    def _wire(self, scene: Scene, pair: str, rows: tuple[int, int], colour: str, rng: np.random.Generator) -> _Wire:
        left, right = (_on(scene, f"{pair}{side}") for side in SIDES)
        # Cables of a pair hang alike, so that their rows can be told apart.
        sag = scene.layout["sags"][pair] + jitter(rng, 0.006)
        path = slack(socket(left, rows[0]), socket(right, rows[1]), sag, float(rng.normal(0, 0.003)))
        return _Wire(pair, colour, f"{left.place} row {rows[0] + 1}", f"{right.place} row {rows[1] + 1}", tuple(path))

    def _built(self, scene: Scene, placed: list[Item], wires: list[_Wire]) -> Scene:
        """The scene with these connectors and cables, and the sights that they give."""
        cables: list[Item] = []
        sights: list[Sight] = []
        for wire in wires:
            place = f"between the {wire.pair}connectors"
            if not wire.start or not wire.end:
                place = f"at the {wire.start or wire.end}".rsplit(" row", 1)[0]
            cables.append(make_cable(wire.path, wire.colour, place))
            sights += cable_sights(wire.start, wire.end, wire.path)
        for pair in self.numbers:
            facing_each_other = _pair_of(placed, pair)
            if len({clamps(c) for c in facing_each_other}) == 2:
                one, two = facing_each_other
                sights.append(("unequal connectors", (one.x + two.x) / 2, (one.y + two.y) / 2))
        joined = tuple(Connection("cable", wire.colour, wire.start, wire.end) for wire in wires)
        layout = {**scene.layout, "wires": tuple(wires), "sights": tuple(sights)}
        return replace(scene, items=(*placed, *cables), connections=joined, layout=layout)

    def check(self, scene: Scene) -> list[str]:
        """What breaks the rule."""
        broken = []
        for pair, choices in self.numbers.items():
            facing_each_other = _pair_of(connectors(scene), pair)
            numbers = {clamps(c) for c in facing_each_other}
            if len(facing_each_other) != 2:
                broken.append(f"{len(facing_each_other)} {pair}connectors, not two")
            if len(numbers) > 1:
                broken.append(f"the {pair}connectors have different numbers of clamps")
            broken += [f"a {pair}connector has {n} clamps" for n in sorted(numbers - set(choices))]
            wires = [wire for wire in scene.layout["wires"] if wire.pair == pair]
            if len(wires) != self.cables:
                broken.append(f"{len(wires)} cables join the {pair}connectors, not {self.cables}")
            for wire in wires:
                if not wire.start or not wire.end:
                    broken.append("a cable does not join both connectors")
                elif changes_row(wire.start, wire.end):
                    broken.append(f"a cable runs from {wire.start} to {wire.end}")
                wanted = {self.colours[n] for n in numbers} if self.colours else {wire.colour}
                if len(numbers) == 1 and wire.colour not in wanted:
                    broken.append(f"a cable is {wire.colour}, not {wanted.pop()}")
        return broken

    def defects(self) -> dict[str, Break]:
        """The ways to break this rule."""
        fixed = all(len(numbers) == 1 for numbers in self.numbers.values())
        one_colour = len(set(self.colours.values())) == 1
        # Where colours go with the number of clamps, a picture of other connectors does not tell the right one.
        tells_the_colour = one_colour or (fixed and bool(self.colours))
        offered = (
            (self._missing_cable, True),
            (self._cable_cut, True),
            (self._missing_connector, True),
            (self._extra_cable, any(min(numbers) > self.cables for numbers in self.numbers.values())),
            (self._wrong_row, True),
            (self._wrong_colour, tells_the_colour),
            (self._unequal_connectors, True),
        )
        return by_name(*(function for function, applies in offered if applies))

    def _changed(self, scene: Scene, change: Callable[[_Wire], list[_Wire]]) -> Scene:
        """The scene with each cable replaced by none, one or more."""
        wires: list[_Wire] = []
        for wire in scene.layout["wires"]:
            wires += change(wire)
        return self._built(scene, connectors(scene), wires)

    def _missing_cable(self, scene: Scene, rng: np.random.Generator) -> Scene:
        gone = pick(rng, scene.layout["wires"])
        bare = self._changed(scene, lambda wire: [] if wire is gone else [wire])
        return bare.broken(f"a cable between the {gone.pair}connectors is missing", span(gone.path))

    def _cable_cut(self, scene: Scene, rng: np.random.Generator) -> Scene:
        whole = pick(rng, scene.layout["wires"])
        left_path, right_path, at = cut(whole.path, rng)
        left = replace(whole, end="", path=left_path)
        right = replace(whole, start="", path=right_path)
        pieces = self._changed(scene, lambda wire: [left, right] if wire is whole else [wire])
        return pieces.broken("a cable is cut in two", Region(*at, 0.10, 0.06))

    def _missing_connector(self, scene: Scene, rng: np.random.Generator) -> Scene:
        gone = pick(rng, connectors(scene))

        def loosened(wire: _Wire) -> list[_Wire]:
            start = "" if wire.start.startswith(f"{gone.place} ") else wire.start
            end = "" if wire.end.startswith(f"{gone.place} ") else wire.end
            return [replace(wire, start=start, end=end)]

        words = f"the {gone.place} connector is missing"
        return self._changed(scene.without(gone), loosened).broken(words, around_connector(gone))

    def _extra_cable(self, scene: Scene, rng: np.random.Generator) -> Scene:
        pair = str(pick(rng, [pair for pair, numbers in self.numbers.items() if min(numbers) > self.cables]))
        number, taken = self._taken(scene, pair)
        row = int(pick(rng, [r for r in range(number) if r not in taken]))
        more = self._wire(scene, pair, (row, row), self._colour(number, rng), rng)
        added = self._built(scene, connectors(scene), [*scene.layout["wires"], more])
        return added.broken(f"there is one cable too many between the {pair}connectors", span(more.path))

    def _taken(self, scene: Scene, pair: str) -> tuple[int, list[int]]:
        """Number of clamps of a pair, and the rows that its cables take, in a good scene."""
        rows = [wire.row for wire in scene.layout["wires"] if wire.pair == pair]
        return clamps(_on(scene, f"{pair}left")), rows

    def _wrong_row(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wire = pick(rng, scene.layout["wires"])
        number, taken = self._taken(scene, wire.pair)
        row, other = wire.row, int(pick(rng, [r for r in range(number) if r != wire.row]))
        rows = (row, other) if rng.integers(2) else (other, row)
        new = {row: self._wire(scene, wire.pair, rows, wire.colour, rng)}
        if other in taken:
            # The row is not free: two cables change places at one end.
            crossed = next(w for w in scene.layout["wires"] if w.pair == wire.pair and w.row == other)
            new[other] = self._wire(scene, wire.pair, (rows[1], rows[0]), crossed.colour, rng)
        wrong = self._changed(scene, lambda w: [new.get(w.row, w) if w.pair == wire.pair else w])
        words = f"a cable runs from {new[row].start} to {new[row].end}"
        return wrong.broken(words, *(span(w.path) for w in new.values()))

    def _wrong_colour(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wire = pick(rng, scene.layout["wires"])
        colour = str(pick(rng, [c for c in self.palette if c != wire.colour]))
        wrong = self._changed(scene, lambda w: [replace(w, colour=colour) if w is wire else w])
        return wrong.broken(f"a cable is {colour}, it should be {wire.colour}", span(wire.path))

    def _unequal_connectors(self, scene: Scene, rng: np.random.Generator) -> Scene:
        changed = pick(rng, connectors(scene))
        number, pair = clamps(changed), changed.place.removesuffix("left").removesuffix("right")
        # In frames with two pairs a connector can grow by little more than the largest one there.
        others = [n for n in NUMBERS if n != number and self.cables <= n <= self.most + 1]
        other = int(pick(rng, others))
        half = other * PITCH / 2
        at = (changed.x, float(np.clip(changed.y, EDGE + half, self.height - EDGE - half)))
        new = make_connector(other, at, changed.place, changed.angle)
        placed = [new if c is changed else c for c in connectors(scene)]
        bare = replace(scene, items=tuple(placed))
        old = [wire for wire in scene.layout["wires"] if wire.pair == pair]
        rows = sorted(rng.choice(min(number, other), len(old), replace=False))
        fresh = [self._wire(bare, pair, (int(r), int(r)), w.colour, rng) for r, w in zip(rows, old, strict=True)]
        kept = [wire for wire in scene.layout["wires"] if wire.pair != pair]
        words = f"the {changed.place} connector has {other} clamps, the other one has {number}"
        return self._built(bare, placed, kept + fresh).broken(words, around_connector(new))

    def spots(self, scene: Scene) -> list[Spot]:
        """Patches of the levers for structural flaws."""
        return [(*offset(c.x, c.y, c.angle, 0.03 * facing(c), 0), 0.05) for c in connectors(scene)]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Ground, cables, connectors."""
        if self.ground == "mesh":
            mesh(canvas, *scene.layout["mesh"])
        else:
            surfaces.mat(canvas, self.tone, unevenness=0.04)
        if self.ground == "metal":
            plate = box(1.3, self.height + 0.3)
            surfaces.brushed_plate(canvas, plate, (0.5, self.height / 2), (0.60, 0.61, 0.63))
        for wire in scene.layout["wires"]:
            paint_cable(canvas, wire.colour, list(wire.path))
        for connector in connectors(scene):
            paint_connector(canvas, connector)


def _pair_of(placed: list[Item], pair: str) -> list[Item]:
    """The connectors of a pair that are there."""
    return [c for c in placed if c.place in (f"{pair}left", f"{pair}right")]


def _on(scene: Scene, place: str) -> Item:
    return next(item for item in connectors(scene) if item.place == place)
