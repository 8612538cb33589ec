"""The ways to break the rule of one draw of wiring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.families.wiring_rules import EDGE, NUMBERS, Rules, Wire, connector_at
from lad_reasoner.miniloco.painting.connectors import (
    PITCH,
    around_connector,
    clamps,
    connectors,
    cut,
    make_connector,
    span,
)
from lad_reasoner.miniloco.scene import Break, Region, Scene, by_name, pick


@dataclass(frozen=True)
class Defects:
    """The ways to break the rule of one draw, each method named after its defect."""

    rules: Rules

    def applying(self) -> dict[str, Break]:
        """The defects that this draw can have."""
        fixed = all(len(numbers) == 1 for numbers in self.rules.numbers.values())
        one_colour = len(set(self.rules.colours.values())) == 1
        # Where colours go with the number of clamps, a picture of other connectors does not tell the right one.
        tells_the_colour = one_colour or (fixed and bool(self.rules.colours))
        offered = (
            (self._missing_cable, True),
            (self._cable_cut, True),
            (self._missing_connector, True),
            (self._extra_cable, any(min(numbers) > self.rules.cables for numbers in self.rules.numbers.values())),
            (self._wrong_row, True),
            (self._wrong_colour, tells_the_colour),
            (self._unequal_connectors, True),
        )
        return by_name(*(function for function, applies in offered if applies))

    def _changed(self, scene: Scene, change: Callable[[Wire], list[Wire]]) -> Scene:
        """The scene with each cable replaced by none, one or more."""
        wires: list[Wire] = []
        for wire in scene.layout["wires"]:
            wires += change(wire)
        return self.rules.built(scene, connectors(scene), wires)

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

        def loosened(wire: Wire) -> list[Wire]:
            start = "" if wire.start.startswith(f"{gone.place} ") else wire.start
            end = "" if wire.end.startswith(f"{gone.place} ") else wire.end
            return [replace(wire, start=start, end=end)]

        words = f"the {gone.place} connector is missing"
        return self._changed(scene.without(gone), loosened).broken(words, around_connector(gone))

    def _extra_cable(self, scene: Scene, rng: np.random.Generator) -> Scene:
        pair = str(
            pick(rng, [pair for pair, numbers in self.rules.numbers.items() if min(numbers) > self.rules.cables])
        )
        number, taken = self._taken(scene, pair)
        row = int(pick(rng, [r for r in range(number) if r not in taken]))
        more = self.rules.wire(scene, pair, (row, row), self.rules.colour(number, rng), rng)
        added = self.rules.built(scene, connectors(scene), [*scene.layout["wires"], more])
        return added.broken(f"there is one cable too many between the {pair}connectors", span(more.path))

    def _taken(self, scene: Scene, pair: str) -> tuple[int, list[int]]:
        """Number of clamps of a pair, and the rows that its cables take, in a good scene."""
        rows = [wire.row for wire in scene.layout["wires"] if wire.pair == pair]
        return clamps(connector_at(scene, f"{pair}left")), rows

    def _wrong_row(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wire = pick(rng, scene.layout["wires"])
        number, taken = self._taken(scene, wire.pair)
        row, other = wire.row, int(pick(rng, [r for r in range(number) if r != wire.row]))
        rows = (row, other) if rng.integers(2) else (other, row)
        new = {row: self.rules.wire(scene, wire.pair, rows, wire.colour, rng)}
        if other in taken:
            # The row is not free: two cables change places at one end.
            crossed = next(w for w in scene.layout["wires"] if w.pair == wire.pair and w.row == other)
            new[other] = self.rules.wire(scene, wire.pair, (rows[1], rows[0]), crossed.colour, rng)
        wrong = self._changed(scene, lambda w: [new.get(w.row, w) if w.pair == wire.pair else w])
        words = f"a cable runs from {new[row].start} to {new[row].end}"
        return wrong.broken(words, *(span(w.path) for w in new.values()))

    def _wrong_colour(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wire = pick(rng, scene.layout["wires"])
        colour = str(pick(rng, [c for c in self.rules.palette if c != wire.colour]))
        wrong = self._changed(scene, lambda w: [replace(w, colour=colour) if w is wire else w])
        return wrong.broken(f"a cable is {colour}, it should be {wire.colour}", span(wire.path))

    def _unequal_connectors(self, scene: Scene, rng: np.random.Generator) -> Scene:
        changed = pick(rng, connectors(scene))
        number, pair = clamps(changed), changed.place.removesuffix("left").removesuffix("right")
        # In frames with two pairs a connector can grow by little more than the largest one there.
        others = [n for n in NUMBERS if n != number and self.rules.cables <= n <= self.rules.most + 1]
        other = int(pick(rng, others))
        half = other * PITCH / 2
        at = (changed.x, float(np.clip(changed.y, EDGE + half, self.rules.height - EDGE - half)))
        new = make_connector(other, at, changed.place, changed.angle)
        placed = [new if c is changed else c for c in connectors(scene)]
        bare = replace(scene, items=tuple(placed))
        old = [wire for wire in scene.layout["wires"] if wire.pair == pair]
        rows = sorted(rng.choice(min(number, other), len(old), replace=False))
        fresh = [self.rules.wire(bare, pair, (int(r), int(r)), w.colour, rng) for r, w in zip(rows, old, strict=True)]
        kept = [wire for wire in scene.layout["wires"] if wire.pair != pair]
        words = f"the {changed.place} connector has {other} clamps, the other one has {number}"
        return self.rules.built(bare, placed, kept + fresh).broken(words, around_connector(new))
