"""Free family: one to three glass vessels of juice in a row, their labels, fill levels and juices as each draw says.

A vessel with a fruit label above a label that reads '100% Juice' is never drawn: that is an evaluation product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting import prints, surfaces, vessels
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.vessels import FORMS, ICON, ICON_COLOURS, JUICES, LABEL, Form, Stand
from lad_reasoner.miniloco.scene import Break, Fill, Item, Product, Region, Scene, Spot, around, jitter, pick

NAME = "jars"
TEXTS = ("100% Juice", "Fresh", "No. 7", "Bio")
FRUIT = "fruit"
PLACES = ("upper", "lower", "middle")
GROUNDS = ("blue", "green", "brown", "purple", "red", "grey")
# How far a level and a label may be from where they belong.
SLACK, OFF = 0.03, 0.02


@dataclass(frozen=True)
class _Vessel:
    """What the rule says of one vessel; `labels` is FRUIT or a text for each place that has a label."""

    form: str
    labels: tuple[tuple[str, str], ...]
    level: float
    # Which juice it holds; empty if any will do.
    juice: str

    @property
    def shape(self) -> Form:
        return FORMS[self.form]

    def height(self, place: str) -> float:
        return dict(self.shape.labels)[place]

    @property
    def can_swap(self) -> bool:
        """Whether its labels differ, and are not those of the evaluation product when exchanged."""
        bears = dict(self.labels)
        return len(set(bears.values())) == 2 and bears != {"upper": TEXTS[0], "lower": FRUIT}


def _draw_labels(rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Labels of one vessel, but never those of the evaluation product."""
    kind = int(rng.integers(10))
    text, other = (str(t) for t in rng.choice(TEXTS, 2, replace=False))
    if kind < 2:
        return ((str(pick(rng, PLACES)), FRUIT),)
    if kind < 3:
        return ((str(pick(rng, PLACES)), text),)
    if kind < 4:
        return (("upper", FRUIT), ("lower", FRUIT))
    if kind < 5:
        return (("upper", text), ("lower", other))
    if kind < 8:
        return (("upper", text), ("lower", FRUIT))
    return (("upper", FRUIT), ("lower", text if text != TEXTS[0] else other))


def draw(rng: np.random.Generator) -> Product:
    """A product of its own: how many vessels, which labels they bear and where, how full of what they are."""
    number = 1 + int(rng.choice(3, p=[0.45, 0.30, 0.25]))
    alike, level = bool(rng.random() < 0.6), float(rng.uniform(0.25, 0.9))
    same_level = bool(rng.random() < 0.75)
    form, labels = str(pick(rng, list(FORMS))), _draw_labels(rng)
    forms = [form if alike else str(pick(rng, list(FORMS))) for _ in range(number)]
    sets = [labels if alike else _draw_labels(rng) for _ in range(number)]
    if not alike and number > 1 and rng.random() < 0.3:
        sets[int(rng.integers(number))] = ()
    levels = [level if same_level else float(rng.uniform(0.25, 0.9)) for _ in range(number)]
    free = any(FRUIT in dict(s).values() for s in sets) and bool(rng.random() < 0.7)
    # Only the juice of a vessel that shows its fruit can be left free.
    plan = tuple(
        _Vessel(f, s, amount, "" if free and FRUIT in dict(s).values() else str(pick(rng, list(JUICES))))
        for f, s, amount in zip(forms, sets, levels, strict=True)
    )
    height = 1.0 if number == 1 or rng.random() < 0.4 else 0.8
    dark = bool(rng.random() < 0.7)
    ground = (0.016, 0.016, 0.018) if dark else mix(str(pick(rng, GROUNDS)), "black", float(rng.uniform(0.45, 0.7)))
    rules = _Rules(plan, height, ground, dark)
    return Product(NAME, rules.words(), rules.good, rules.check, rules.defects(), rules.paint, rules.spots)


@dataclass(frozen=True)
class _Rules:
    """The rule of one draw, and all that follows from it."""

    plan: tuple[_Vessel, ...]
    height: float
    ground: Colour
    dark: bool

    def _name(self, index: int) -> str:
        return "bottle" if len(self.plan) == 1 else f"vessel {index + 1}"

    def _the(self, index: int) -> str:
        return "the bottle" if len(self.plan) == 1 else self._name(index)

    def _place(self, index: int, place: str) -> str:
        return place if len(self.plan) == 1 else f"vessel {index + 1}, {place}"

    def words(self) -> str:
        number = len(self.plan)
        parts = ["There is one glass vessel." if number == 1 else f"There are {number} glass vessels side by side."]
        for index, vessel in enumerate(self.plan):
            name = "The vessel" if number == 1 else f"Vessel {index + 1}"
            worn = [
                f"a fruit label ({place})" if bears == FRUIT else f"a label '{bears}' ({place})"
                for place, bears in vessel.labels
            ]
            juice = f"{vessel.juice} juice" if vessel.juice else "any juice"
            held = f"{name} is a {vessel.form} filled to {vessel.level:.0%} with {juice}"
            parts.append(f"{held} and bears {' and '.join(worn) or 'no label'}.")
        if any(FRUIT in dict(vessel.labels).values() for vessel in self.plan):
            parts.append("A fruit label shows the fruit of the juice in its middle.")
        return " ".join(parts)

    def _stand(self, rng: np.random.Generator) -> tuple[Stand, ...]:
        """Where the vessels stand."""
        number = len(self.plan)
        if number == 1:
            x, scale, table = 0.25 + jitter(rng, 0.02), float(rng.uniform(0.96, 1.02)), 0.932
            return ((x, table + jitter(rng, 0.01), scale),)
        scale = float(rng.uniform(0.92, 0.97) if self.height == 1 else rng.uniform(0.74, 0.79))
        pitch = float(rng.uniform(0.29, 0.315) if number == 3 else rng.uniform(0.32, 0.42))
        middle, table = 0.5 + jitter(rng, 0.015), self.height - 0.07 + jitter(rng, 0.01)
        return tuple(
            (
                middle + (i - (number - 1) / 2) * pitch + jitter(rng, 0.008),
                table + jitter(rng, 0.003),
                scale,
            )
            for i in range(number)
        )

    def good(self, rng: np.random.Generator) -> Scene:
        poses, items, fills = self._stand(rng), [], []
        for index, (vessel, (x, table, scale)) in enumerate(zip(self.plan, poses, strict=True)):
            juice = vessel.juice or str(pick(rng, list(JUICES)))
            level = vessel.level + jitter(rng, SLACK) * 0.9
            fills.append(Fill(f"{juice} juice", JUICES[juice][0], level, self._name(index)))
            for place, bears in vessel.labels:
                at = (
                    x + jitter(rng, 0.006) * scale,
                    table - (vessel.height(place) + jitter(rng, 0.007)) * scale,
                )
                tilt, named = float(rng.normal(0, 0.8)), self._place(index, place)
                if bears == FRUIT:
                    items.append(Item("fruit label", *at, LABEL * scale, "orange", named, tilt))
                    on = self._place(index, "on the fruit label")
                    items.append(Item("fruit picture", *at, ICON * scale, ICON_COLOURS[juice], on, tilt, juice))
                else:
                    items.append(Item("text label", *at, LABEL * scale, "orange", named, tilt, bears))
        width = 0.5 if len(self.plan) == 1 else 1.0
        scene = Scene(NAME, width, self.height, tuple(items), tuple(fills), layout={"poses": poses})
        return self._seen(scene)

    def _of(self, scene: Scene, index: int, what: str) -> list[Item]:
        """The items of this name on one vessel, which is the one they are nearest to."""
        xs = np.asarray([x for x, _, _ in scene.layout["poses"]])
        return [item for item in scene.all(what) if int(np.argmin(np.abs(xs - item.x))) == index]

    def _fill(self, scene: Scene, index: int) -> Fill | None:
        return next((fill for fill in scene.fills if fill.place == self._name(index)), None)

    def _at(self, scene: Scene, index: int, height: float) -> tuple[float, float]:
        x, table, scale = scene.layout["poses"][index]
        return x, table - height * scale

    def _seen(self, scene: Scene) -> Scene:
        """The scene with the sights that its items and fills give."""
        sights: list[tuple[str, float, float]] = []
        for index, vessel in enumerate(self.plan):
            fill = self._fill(scene, index)
            if fill is None:
                continue
            sights.append((f"level {round(fill.level * 10)}", *self._at(scene, index, vessel.shape.brim / 2)))
            if fill.level == 0:
                sights.append(("empty vessel", *self._at(scene, index, vessel.shape.brim / 2)))
                continue
            kind = fill.what.split()[0]
            sights.append((f"juice {kind}", *self._at(scene, index, vessel.shape.surface(fill.level) / 2)))
            wrong = [p for p in self._of(scene, index, "fruit picture") if p.shows != kind]
            sights += [("mismatch", p.x, p.y) for p in wrong]
        labels = (*scene.all("fruit label"), *scene.all("text label"))
        sights += [("wrong height", item.x, item.y) for item in labels if "too " in item.place]
        return replace(scene, layout={**scene.layout, "sights": tuple(sights)})

    def check(self, scene: Scene) -> list[str]:
        """What breaks the rule."""
        broken = []
        for index, vessel in enumerate(self.plan):
            name, fill = self._the(index), self._fill(scene, index)
            if fill is None:
                broken.append(f"{name} is missing")
                continue
            if abs(fill.level - vessel.level) > SLACK:
                broken.append(f"{name} is filled to {fill.level:.0%}, not {vessel.level:.0%}")
            if vessel.juice and fill.what != f"{vessel.juice} juice":
                broken.append(f"{name} holds {fill.what}, not {vessel.juice} juice")
            pictures = self._of(scene, index, "fruit picture")
            scale = scene.layout["poses"][index][2]
            for place, bears in vessel.labels:
                at = self._at(scene, index, vessel.height(place))

                def here(item: Item, at: tuple[float, float] = at, scale: float = scale) -> bool:
                    return bool(np.hypot(item.x - at[0], item.y - at[1]) <= OFF * scale)

                if bears != FRUIT:
                    if not any(here(i) and i.shows == bears for i in self._of(scene, index, "text label")):
                        broken.append(f"the label '{bears}' of {name} is not where it belongs")
                    continue
                if not any(here(i) for i in self._of(scene, index, "fruit label")):
                    broken.append(f"the fruit label of {name} is not where it belongs")
                if not any(here(i) for i in pictures):
                    broken.append(f"the {place} fruit label of {name} shows no fruit")
            broken += [
                f"the label shows {i.shows}, {name} holds {fill.what}"
                for i in pictures
                if fill.what != f"{i.shows} juice"
            ]
        return broken

    def _labels(self, scene: Scene, what: str = "") -> list[tuple[int, str, Item, Item | None]]:
        """(vessel, place, label, its picture) for each label of a good scene."""
        found = []
        for index, vessel in enumerate(self.plan):
            for place, bears in vessel.labels:
                name = "fruit label" if bears == FRUIT else "text label"
                (label,) = scene.all(name, place=self._place(index, place))
                picture = next((p for p in scene.all("fruit picture") if (p.x, p.y) == (label.x, label.y)), None)
                if what in ("", name):
                    found.append((index, place, label, picture))
        return found

    def defects(self) -> dict[str, Break]:
        """The ways to break this rule."""
        worn = [set(dict(v.labels).values()) for v in self.plan]
        fruit, text = any(FRUIT in w for w in worn), any(w - {FRUIT} for w in worn)
        fixed = {v.juice for v in self.plan if v.juice}
        offered: dict[str, tuple[bool, Break]] = {
            "missing_fruit_label": (fruit, self._missing("fruit label")),
            "missing_text_label": (text, self._missing("text label")),
            "missing_both_labels": (any(len(v.labels) == 2 for v in self.plan), self._missing_both),
            "too_little_juice": (True, self._too_little),
            "too_much_juice": (min(v.level for v in self.plan) < 0.80, self._too_much),
            "empty_vessel": (True, self._empty),
            "wrong_fruit": (fruit, self._wrong_fruit),
            "swapped_labels": (any(v.can_swap for v in self.plan), self._swapped),
            "misplaced_label": (fruit or text, self._misplaced),
            "missing_fruit_picture": (fruit, self._missing_picture),
            "misplaced_fruit_picture": (fruit, self._misplaced_picture),
            "missing_vessel": (len(self.plan) > 1, self._missing_vessel),
            "exchanged_juices": (len(fixed) > 1, self._exchanged),
        }

        def telling(broken: Break) -> Break:
            return lambda scene, rng: self._seen(broken(scene, rng))

        return {name: telling(broken) for name, (applies, broken) in offered.items() if applies}

    def _missing(self, what: str) -> Break:
        def broken(scene: Scene, rng: np.random.Generator) -> Scene:
            _, _, label, picture = pick(rng, self._labels(scene, what))
            bare = scene.without(label, *([picture] if picture else []))
            return bare.broken(f"the {what} ({label.place}) is missing", vessels.around_label(label))

        return broken

    def _missing_both(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.plan) if len(v.labels) == 2]))
        gone = [(label, picture) for i, _, label, picture in self._labels(scene) if i == index]
        bare = scene.without(*(item for pair in gone for item in pair if item))
        words = f"both labels of {self._the(index)} are missing"
        return bare.broken(words, *(vessels.around_label(label) for label, _ in gone))

    def _filled(self, scene: Scene, index: int, level: float, words: str) -> Scene:
        old = self._fill(scene, index)
        assert old is not None
        new = replace(old, level=level) if level else Fill("juice", "", 0.0, old.place)
        form, scale = self.plan[index].shape, scene.layout["poses"][index][2]
        low, high = sorted((form.surface(old.level), form.surface(level)))
        region = Region(*self._at(scene, index, (low + high) / 2), 0.2 * scale, max(high - low, 0.04) * scale)
        changed = replace(scene, fills=tuple(new if fill is old else fill for fill in scene.fills))
        return changed.broken(f"{words} {self._the(index)}", region)

    def _too_little(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(rng.integers(len(self.plan)))
        level = max(self.plan[index].level - float(rng.uniform(0.11, 0.36)), 0.06)
        return self._filled(scene, index, level, "there is too little juice in")

    def _too_much(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.plan) if v.level < 0.80]))
        level = min(self.plan[index].level + float(rng.uniform(0.11, 0.36)), 0.97)
        return self._filled(scene, index, level, "there is too much juice in")

    def _empty(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._filled(scene, int(rng.integers(len(self.plan))), 0.0, "there is no juice in")

    def _wrong_fruit(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index, _, label, picture = pick(rng, self._labels(scene, "fruit label"))
        assert picture is not None
        other = str(pick(rng, [fruit for fruit in JUICES if fruit != picture.shows]))
        words = f"the label shows {other}, {self._the(index)} holds {picture.shows} juice"
        return scene.change(picture, shows=other, colour=ICON_COLOURS[other]).broken(words, vessels.around_label(label))

    def _swapped(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(pick(rng, [i for i, v in enumerate(self.plan) if v.can_swap]))
        (_, _, one, on_one), (_, _, two, on_two) = [found for found in self._labels(scene) if found[0] == index]
        for item, other in ((one, two), (two, one)):
            scene = scene.change(item, x=other.x, y=other.y, place=other.place)
        for picture, other in ((on_one, two), (on_two, one)):
            scene = scene.change(picture, x=other.x, y=other.y) if picture else scene
        return scene.broken(
            f"the labels of {self._the(index)} are swapped", vessels.around_label(one), vessels.around_label(two)
        )

    def _rooms(self, scene: Scene, label: Item, index: int) -> list[tuple[int, float]]:
        """(-1 for up or 1 for down, how far) for the ways that a label can slide on its vessel."""
        half = vessels.label_height(label) / 2
        ends = [self._at(scene, index, self.plan[index].shape.top)[1], self._at(scene, index, 0.012)[1]]
        for i, _, other, _ in self._labels(scene):
            if i == index and other is not label:
                edge = vessels.label_height(other) / 2
                ends[int(other.y > label.y)] = other.y - edge if other.y > label.y else other.y + edge
        return [(-1, label.y - half - ends[0]), (1, ends[1] - label.y - half)]

    def _misplaced(self, scene: Scene, rng: np.random.Generator) -> Scene:
        ways = [
            (index, label, picture, way, room)
            for index, _, label, picture in self._labels(scene)
            for way, room in self._rooms(scene, label, index)
            if room > 0.045
        ]
        index, label, picture, way, room = pick(rng, ways)
        y = label.y + way * float(rng.uniform(0.045, min(room, 0.09)))
        words = "too low" if way > 0 else "too high"
        slid = scene.change(label, y=y, place=self._place(index, words))
        slid = slid.change(picture, y=y) if picture else slid
        return slid.broken(
            f"the {label.what} of {self._the(index)} sits {words}", vessels.around_label(replace(label, y=y))
        )

    def _missing_picture(self, scene: Scene, rng: np.random.Generator) -> Scene:
        _, _, _, picture = pick(rng, self._labels(scene, "fruit label"))
        return scene.without(picture).broken("the fruit label shows no fruit", around(picture, 1.2))

    def _misplaced_picture(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index, place, _, picture = pick(rng, self._labels(scene, "fruit label"))
        way = {"upper": 1, "lower": -1}.get(place) or int(pick(rng, [-1, 1]))
        scale = scene.layout["poses"][index][2]
        x = picture.x + jitter(rng, 0.02) * scale
        y = picture.y + way * float(rng.uniform(0.122, 0.140)) * scale
        words = "below the fruit label" if way > 0 else "above the fruit label"
        slid = scene.change(picture, x=x, y=y, place=self._place(index, words))
        return slid.broken(f"the picture of the fruit is {words}", Region(x, y, 0.09 * scale, 0.09 * scale))

    def _missing_vessel(self, scene: Scene, rng: np.random.Generator) -> Scene:
        index = int(rng.integers(len(self.plan)))
        gone = [i for what in ("fruit label", "text label", "fruit picture") for i in self._of(scene, index, what)]
        bare = replace(scene.without(*gone), fills=tuple(f for f in scene.fills if f.place != self._name(index)))
        scale, brim = scene.layout["poses"][index][2], self.plan[index].shape.brim
        region = Region(*self._at(scene, index, brim / 2), 0.26 * scale, brim * scale)
        return bare.broken(f"{self._name(index)} is missing", region)

    def _exchanged(self, scene: Scene, rng: np.random.Generator) -> Scene:
        fixed = [i for i, v in enumerate(self.plan) if v.juice]
        one, two = pick(rng, [(a, b) for a in fixed for b in fixed if self.plan[a].juice < self.plan[b].juice])
        fills = list(scene.fills)
        for here, there in ((one, two), (two, one)):
            fills[here] = replace(scene.fills[here], what=scene.fills[there].what, colour=scene.fills[there].colour)
        regions = [Region(*self._at(scene, i, 0.22), 0.22, 0.44) for i in (one, two)]
        words = f"the juices of {self._name(one)} and {self._name(two)} are exchanged"
        return replace(scene, fills=tuple(fills)).broken(words, *regions)

    def spots(self, scene: Scene) -> list[Spot]:
        labels = [(label.x, label.y, 0.05) for _, _, label, _ in self._labels(scene)]
        return labels + [(*self._at(scene, i, 0.25), 0.05) for i in range(len(self.plan))]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        surfaces.mat(canvas, self.ground, unevenness=0.15 if self.dark else 0.05)
        poses = scene.layout["poses"]
        strip: Colour = (0.055, 0.058, 0.065) if self.dark else mix(self.ground, "white", 0.12)
        vessels.dark_table(canvas, poses[0][1], strip)
        glass = vessels.DARK_GLASS if self.dark else mix(self.ground, vessels.DARK_GLASS, 0.55)
        for index, (vessel, pose) in enumerate(zip(self.plan, poses, strict=True)):
            fill = self._fill(scene, index)
            if fill is not None:
                vessels.vessel(canvas, vessel.shape, pose, fill, glass)
        for item in scene.items:
            painted = prints.juice_fruit if item.what == "fruit picture" else vessels.label
            painted(canvas, item)
