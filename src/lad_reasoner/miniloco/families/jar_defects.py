"""The ways to break the rule of one draw of jars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.families.jar_rules import FRUIT, Rules, Worn
from lad_reasoner.miniloco.painting import vessels
from lad_reasoner.miniloco.painting.vessels import ICON_COLOURS, JUICES
from lad_reasoner.miniloco.scene import Break, Fill, Item, Region, Scene, around, by_name, jitter, pick


@dataclass(frozen=True)
class Defects:
    """The ways to break the rule of one draw, each method named after its defect."""

    rules: Rules

    def applying(self) -> dict[str, Break]:
        """The defects that this draw can have."""
        plan = self.rules.plan
        borne = [set(dict(vessel.labels).values()) for vessel in plan]
        fruit, text = any(FRUIT in bears for bears in borne), any(bears - {FRUIT} for bears in borne)
        fixed = {vessel.juice for vessel in plan if vessel.juice}
        offered = (
            (self._missing_fruit_label, fruit),
            (self._missing_text_label, text),
            (self._missing_both_labels, any(len(vessel.labels) == 2 for vessel in plan)),
            (self._too_little_juice, True),
            (self._too_much_juice, min(vessel.level for vessel in plan) < 0.80),
            (self._empty_vessel, True),
            (self._wrong_fruit, fruit),
            (self._swapped_labels, any(vessel.can_swap for vessel in plan)),
            (self._misplaced_label, fruit or text),
            (self._missing_fruit_picture, fruit),
            (self._misplaced_fruit_picture, fruit),
            (self._missing_vessel, len(plan) > 1),
            (self._exchanged_juices, len(fixed) > 1),
        )
        breaks = by_name(*(function for function, applies in offered if applies))
        return {name: self._telling(function) for name, function in breaks.items()}

    def _telling(self, function: Break) -> Break:
        """The break, and then the sights of the broken scene."""
        return lambda scene, rng: self.rules.with_sights(function(scene, rng))

    def _missing_label(self, what: str, scene: Scene, rng: np.random.Generator) -> Scene:
        worn = pick(rng, self.rules.labels(scene, what))
        bare = scene.without(worn.label, *([worn.picture] if worn.picture else []))
        return bare.broken(f"the {what} ({worn.label.place}) is missing", vessels.around_label(worn.label))

    def _missing_fruit_label(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._missing_label("fruit label", scene, rng)

    def _missing_text_label(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._missing_label("text label", scene, rng)

    def _missing_both_labels(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.rules.plan) if len(v.labels) == 2]))
        gone = [worn for worn in self.rules.labels(scene) if worn.vessel == index]
        pictures = [worn.picture for worn in gone if worn.picture]
        bare = scene.without(*(worn.label for worn in gone), *pictures)
        words = f"both labels of {self.rules.the(index)} are missing"
        return bare.broken(words, *(vessels.around_label(worn.label) for worn in gone))

    def _filled(self, scene: Scene, index: int, level: float, words: str) -> Scene:
        old = self.rules.fill(scene, index)
        assert old is not None
        # An empty vessel holds no sort of juice.
        new = replace(old, level=level) if level else Fill("juice", "", 0.0, old.place)
        form, scale = self.rules.plan[index].shape, scene.layout["poses"][index][2]
        low, high = sorted((form.surface(old.level), form.surface(level)))
        region = Region(*self.rules.at(scene, index, (low + high) / 2), 0.2 * scale, max(high - low, 0.04) * scale)
        changed = scene.change_fill(old, **vars(new))
        return changed.broken(f"{words} {self.rules.the(index)}", region)

    def _too_little_juice(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(rng.integers(len(self.rules.plan)))
        level = max(self.rules.plan[index].level - float(rng.uniform(0.11, 0.36)), 0.06)
        return self._filled(scene, index, level, "there is too little juice in")

    def _too_much_juice(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.rules.plan) if v.level < 0.80]))
        level = min(self.rules.plan[index].level + float(rng.uniform(0.11, 0.36)), 0.97)
        return self._filled(scene, index, level, "there is too much juice in")

    def _empty_vessel(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._filled(scene, int(rng.integers(len(self.rules.plan))), 0.0, "there is no juice in")

    def _wrong_fruit(self, scene: Scene, rng: np.random.Generator) -> Scene:
        worn = pick(rng, self.rules.labels(scene, "fruit label"))
        picture = worn.picture
        other = str(pick(rng, [fruit for fruit in JUICES if fruit != picture.shows]))
        words = f"the label shows {other}, {self.rules.the(worn.vessel)} holds {picture.shows} juice"
        changed = scene.change(picture, shows=other, colour=ICON_COLOURS[other])
        return changed.broken(words, vessels.around_label(worn.label))

    def _swapped_labels(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.rules.plan) if v.can_swap]))
        one, two = (worn for worn in self.rules.labels(scene) if worn.vessel == index)
        swapped = scene.exchange(one.label, two.label, "x", "y", "place")
        for picture, label in ((one.picture, two.label), (two.picture, one.label)):
            if picture:
                swapped = swapped.change(picture, x=label.x, y=label.y)
        words = f"the labels of {self.rules.the(index)} are swapped"
        return swapped.broken(words, vessels.around_label(one.label), vessels.around_label(two.label))

    def _rooms(self, scene: Scene, worn: Worn) -> list[tuple[int, float]]:
        """(-1 for up or 1 for down, how far) for the ways that a label can slide on its vessel."""
        label, index = worn.label, worn.vessel
        top = self.rules.at(scene, index, self.rules.plan[index].shape.top)[1]
        bottom = self.rules.at(scene, index, 0.012)[1]
        for other in (w.label for w in self.rules.labels(scene) if w.vessel == index):
            edge = vessels.label_height(other) / 2
            if other.y < label.y:
                top = other.y + edge
            elif other.y > label.y:
                bottom = other.y - edge
        half = vessels.label_height(label) / 2
        return [(-1, label.y - half - top), (1, bottom - label.y - half)]

    def _misplaced_label(self, scene: Scene, rng: np.random.Generator) -> Scene:
        ways = []
        for worn in self.rules.labels(scene):
            ways += [(worn, way, room) for way, room in self._rooms(scene, worn) if room > 0.045]
        worn, way, room = pick(rng, ways)
        y = worn.label.y + way * float(rng.uniform(0.045, min(room, 0.09)))
        where = "too low" if way > 0 else "too high"
        slid = scene.change(worn.label, y=y, place=self.rules.place(worn.vessel, where))
        if worn.picture:
            slid = slid.change(worn.picture, y=y)
        words = f"the {worn.label.what} of {self.rules.the(worn.vessel)} sits {where}"
        return slid.broken(words, vessels.around_label(replace(worn.label, y=y)))

    def _missing_fruit_picture(self, scene: Scene, rng: np.random.Generator) -> Scene:
        picture = pick(rng, self.rules.labels(scene, "fruit label")).picture
        return scene.without(picture).broken("the fruit label shows no fruit", around(picture, 1.2))

    def _misplaced_fruit_picture(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index, place, _, picture = pick(rng, self.rules.labels(scene, "fruit label"))
        # Towards the middle of the vessel, where there is room; from the middle either way.
        way = {"upper": 1, "lower": -1}.get(place) or int(pick(rng, [-1, 1]))
        scale = scene.layout["poses"][index][2]
        x = picture.x + jitter(rng, 0.02) * scale
        y = picture.y + way * float(rng.uniform(0.122, 0.140)) * scale
        words = "below the fruit label" if way > 0 else "above the fruit label"
        slid = scene.change(picture, x=x, y=y, place=self.rules.place(index, words))
        return slid.broken(f"the picture of the fruit is {words}", Region(x, y, 0.09 * scale, 0.09 * scale))

    def _missing_vessel(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(rng.integers(len(self.rules.plan)))
        gone: list[Item] = []
        for what in ("fruit label", "text label", "fruit picture"):
            gone += self.rules.items_of(scene, index, what)
        fills = tuple(fill for fill in scene.fills if fill.place != self.rules.name(index))
        bare = replace(scene.without(*gone), fills=fills)
        scale, brim = scene.layout["poses"][index][2], self.rules.plan[index].shape.brim
        region = Region(*self.rules.at(scene, index, brim / 2), 0.26 * scale, brim * scale)
        return bare.broken(f"{self.rules.name(index)} is missing", region)

    def _exchanged_juices(self, scene: Scene, rng: np.random.Generator) -> Scene:
        plan = self.rules.plan
        fixed = [index for index, vessel in enumerate(plan) if vessel.juice]
        pairs = [(a, b) for a in fixed for b in fixed if plan[a].juice < plan[b].juice]
        one, two = pick(rng, pairs)
        first, second = scene.fills[one], scene.fills[two]
        exchanged = scene.change_fill(first, what=second.what, colour=second.colour)
        exchanged = exchanged.change_fill(second, what=first.what, colour=first.colour)
        regions = [Region(*self.rules.at(scene, i, 0.22), 0.22, 0.44) for i in (one, two)]
        words = f"the juices of {self.rules.name(one)} and {self.rules.name(two)} are exchanged"
        return exchanged.broken(words, *regions)
