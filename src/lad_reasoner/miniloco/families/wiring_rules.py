"""The rule of one draw of wiring: its connectors and cables, its good scenes, its check, its painting."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.colours import Colour
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.connectors import (
    PITCH,
    cable_sights,
    changes_row,
    clamps,
    connectors,
    facing,
    make_cable,
    make_connector,
    mesh,
    paint_cable,
    paint_connector,
    row_of,
    slack,
    socket,
)
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import Points, box, offset
from lad_reasoner.miniloco.scene import Connection, Item, Scene, Sight, Spot, jitter, pick

NAME = "wiring"
SIDES = ("left", "right")
# The numbers of clamps that connectors come with.
NUMBERS = (2, 3, 4, 5)
# How far connectors stay from the edge of the frame.
EDGE = 0.04


@dataclass(frozen=True)
class Wire:
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


@dataclass(frozen=True)
class Rules:
    """The rule of one draw, and all that follows from it."""

    # The numbers of clamps that the connectors of a pair may have, by the pair's name.
    numbers: dict[str, tuple[int, ...]]
    # How many cables join each pair.
    cables: int
    # Colour of cables by number of clamps; empty if any will do.
    colours: dict[int, str]
    palette: tuple[str, ...]
    height: float
    # The largest number of clamps for which the frame has room.
    most: int
    # "mesh", "mat" or "metal", and the colour of a mat.
    ground: str
    tone: Colour

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
        # How far the cables of a pair hang down, or up: less in frames with two pairs.
        highest, deepest = (-0.035, 0.05) if len(numbers) == 1 else (-0.028, 0.028)
        sags = {pair: float(rng.uniform(highest, deepest)) for pair in numbers}
        bare = Scene(NAME, 1.0, self.height, tuple(placed), layout={"sags": sags, "mesh": tuple(rng.uniform(0, 1, 2))})
        wires: list[Wire] = []
        for pair, number in numbers.items():
            rows = [int(row) for row in sorted(rng.choice(number, self.cables, replace=False))]
            wires += [self.wire(bare, pair, (row, row), self.colour(number, rng), rng) for row in rows]
        return self.built(bare, placed, wires)

    def colour(self, number: int, rng: np.random.Generator) -> str:
        """The colour of a cable between connectors with this number of clamps."""
        return self.colours[number] if self.colours else str(pick(rng, self.palette))

    def wire(self, scene: Scene, pair: str, rows: tuple[int, int], colour: str, rng: np.random.Generator) -> Wire:
        """A cable of a pair, from a row (from 0) on the left to one on the right."""
        left, right = (connector_at(scene, f"{pair}{side}") for side in SIDES)
        # Cables of a pair hang alike, so that their rows can be told apart.
        sag = scene.layout["sags"][pair] + jitter(rng, 0.006)
        path = slack(socket(left, rows[0]), socket(right, rows[1]), sag, float(rng.normal(0, 0.003)))
        return Wire(pair, colour, f"{left.place} row {rows[0] + 1}", f"{right.place} row {rows[1] + 1}", tuple(path))

    def built(self, scene: Scene, placed: list[Item], wires: list[Wire]) -> Scene:
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
            facing_each_other = pair_of(placed, pair)
            if len({clamps(c) for c in facing_each_other}) == 2:
                one, two = facing_each_other
                sights.append(("unequal connectors", (one.x + two.x) / 2, (one.y + two.y) / 2))
        joined = tuple(Connection("cable", wire.colour, wire.start, wire.end) for wire in wires)
        layout = {**scene.layout, "wires": tuple(wires), "sights": tuple(sights)}
        return replace(scene, items=(*placed, *cables), connections=joined, layout=layout)

    def check(self, scene: Scene) -> list[str]:
        """The breaches of the rule, in words; empty for a good scene."""
        broken = []
        for pair, choices in self.numbers.items():
            facing_each_other = pair_of(connectors(scene), pair)
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


def pair_of(placed: list[Item], pair: str) -> list[Item]:
    """The connectors of a pair that are there."""
    return [c for c in placed if c.place in (f"{pair}left", f"{pair}right")]


def connector_at(scene: Scene, place: str) -> Item:
    """The connector at a place of a good scene."""
    return next(item for item in connectors(scene) if item.place == place)
