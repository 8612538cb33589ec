"""The rule of one draw of loose parts: the parts and their ground, good scenes, check, painting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.painting import bags, surfaces
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import box
from lad_reasoner.miniloco.scene import Item, Pose, Scene, Spot, jitter

NAME = "loose_parts"
# The composition of the evaluation product screw_bag.
REFUSED: dict[Sort, int] = {
    ("long screw", "steel"): 1,
    ("short screw", "steel"): 1,
    ("nut", "steel"): 2,
    ("washer", "steel"): 2,
}


def count_sorts(scene: Scene) -> Counter[Sort]:
    """How many parts of each sort lie there."""
    return Counter((item.what, item.colour) for item in scene.items)


@dataclass(frozen=True)
class Rules:
    """The rule of one draw, and all that follows from it."""

    height: float
    ground: str
    tone: Colour
    # The size of all parts, relative to that in `sorts.SIZES`.
    factor: float
    wanted: dict[Sort, int]

    @property
    def place(self) -> str:
        """Where the parts lie, as their facts say it."""
        return "in the bag" if self.ground == "bag" else ""

    @property
    def room(self) -> tuple[float, float, float, float]:
        """Where parts can lie, from the middle of the frame: left, top, right, bottom."""
        if self.ground == "bag":
            return -0.385, 0.095 - self.height / 2, 0.240, self.height / 2 - 0.095
        return -0.455, 0.045 - self.height / 2, 0.455, self.height / 2 - 0.045

    def words(self) -> str:
        """The rule in words."""
        listed = [sorts.words(sort, number) for sort, number in self.wanted.items()]
        holds = "A clear bag holds exactly" if self.ground == "bag" else "The picture shows exactly"
        return f"{holds} {', '.join(listed[:-1])} and {listed[-1]}, lying anywhere at any angle."

    def fits(self) -> bool:
        """Few enough parts for the room, with one more beside them, and not an evaluation product's set."""
        total = sum(self.wanted.values())
        if not (2 <= len(self.wanted) <= 5 and 3 <= total <= 14) or self.wanted == REFUSED:
            return False
        fruits = long_screws = 0
        area = 0.0
        for (what, _), number in self.wanted.items():
            if what in sorts.FRUITS:
                fruits += number
            if what == "long screw":
                long_screws += number
            # A bar needs about as much space as a round thing of half its length.
            side = (sorts.SIZES[what] + 0.02) * (0.5 if what.endswith("screw") else 1.0)
            area += number * side**2
        left, top, right, bottom = self.room
        crowded = area * self.factor**2 > 0.42 * (right - left) * (bottom - top)
        return fruits <= 4 and long_screws <= 4 and (fruits < 3 or total <= 9) and not crowded

    def strangers(self, like: Sort) -> list[str]:
        """Names of parts that do not belong there and would be seen; no fruit in place of something small."""
        wanted = {what for what, _ in self.wanted}
        others = [what for what in sorts.SIZES if what not in wanted and what not in sorts.FRUITS]
        if like[0] in sorts.FRUITS:
            others += [what for what in sorts.FRUITS if what not in wanted] * 4
        return [what for what in others if self._is_seen(what)]

    def _is_seen(self, what: str) -> bool:
        """Whether a part of this name, in one of its colours, stands out from the ground."""
        return any(sorts.stands_out(colour, self.tone) for colour in sorts.colours_of(what))

    def lay(self, sort: Sort, pose: Pose, taken: Sequence[Item], rng: np.random.Generator) -> tuple[Item, float]:
        """A part at a free spot, and how far it is from the next part."""
        size = sorts.SIZES[sort[0]] * self.factor
        if sort[0] in sorts.FRUITS:
            size *= float(rng.uniform(0.97, 1.03))
        return sorts.lay(sort, size, self.room, pose, taken, rng, place=self.place)

    def good(self, rng: np.random.Generator) -> Scene:
        """A scene that keeps the rule: of some attempts the first without overlaps, or the one with the least."""
        in_bag = self.ground == "bag"
        tilt = float(np.clip(rng.normal(0, 1.5), -3.5, 3.5)) if in_bag else 0.0
        away = 0.02 if in_bag else 0.0
        pose = (0.5 + jitter(rng, away), self.height / 2 + jitter(rng, away) / 2, tilt)
        # Large parts first: small ones find a place between them. The order of painting is drawn afterwards.
        queue: list[Sort] = []
        for sort, number in self.wanted.items():
            queue += [sort] * number
        queue.sort(key=lambda sort: -sorts.SIZES[sort[0]])
        best: list[Item] = []
        widest = -2.0
        for _ in range(4):
            items: list[Item] = []
            least = 1.0
            for sort in queue:
                item, gap = self.lay(sort, pose, items, rng)
                items.append(item)
                least = min(least, gap)
            if least > widest:
                best, widest = items, least
            if least > 0:
                break
        shuffled = tuple(best[i] for i in rng.permutation(len(best)))
        return Scene(NAME, 1.0, self.height, shuffled, layout={"pose": pose, "sights": ()})

    def check(self, scene: Scene) -> list[str]:
        """The breaches of the rule, in words; empty for a good scene."""
        counts = count_sorts(scene)
        broken = []
        for sort in {**self.wanted, **counts}:
            wanted = self.wanted.get(sort, 0)
            if counts[sort] != wanted:
                broken.append(f"there should be {sorts.words(sort, wanted)}, there are {counts[sort]}")
        return broken

    def spots(self, scene: Scene) -> list[Spot]:
        """Patches of the parts for structural flaws."""
        return [(item.x, item.y, min(item.size * 0.5, 0.07)) for item in scene.items]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """The ground, and the parts on it or in their bag."""

        def contents() -> None:
            for item in scene.items:
                sorts.paint(canvas, item)

        if self.ground == "wood":
            surfaces.wood(canvas, self.tone)
        elif self.ground == "metal":
            surfaces.mat(canvas, mix(self.tone, "black", 0.8))
            plate = box(1.2, self.height + 0.2)
            surfaces.brushed_plate(canvas, plate, (0.5, self.height / 2), self.tone, lift=0.0)
        else:
            grain = {"bag": 0.15, "foam": 0.12}.get(self.ground, 0.05)
            surfaces.mat(canvas, self.tone, unevenness=grain, pitch=0.007 if self.ground == "foam" else 0.004)
        if self.ground == "bag":
            bags.clear_bag(canvas, scene.layout["pose"], contents, self.height - 0.10)
        else:
            contents()
