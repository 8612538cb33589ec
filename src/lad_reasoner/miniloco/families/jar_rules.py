"""The rule of one draw of jars: its vessels and labels, its good scenes, its check, its painting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting import prints, surfaces, vessels
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.vessels import FORMS, ICON, ICON_COLOURS, JUICES, LABEL, Form, Stand
from lad_reasoner.miniloco.scene import Fill, Item, Scene, Sight, Spot, jitter, pick

NAME = "jars"
FRUIT = "fruit"
TEXTS = ("100% Juice", "Fresh", "No. 7", "Bio")
# How far a level and a label may be from where they belong.
SLACK, OFF = 0.03, 0.02


@dataclass(frozen=True)
class Vessel:
    """The rule for one vessel; `labels` is FRUIT or a text for each place that has a label."""

    form: str
    labels: tuple[tuple[str, str], ...]
    level: float
    # Which juice it holds; empty if any will do.
    juice: str

    @property
    def shape(self) -> Form:
        """The form of this name."""
        return FORMS[self.form]

    def height(self, place: str) -> float:
        """How high above the table a label at this place sits."""
        return dict(self.shape.labels)[place]

    @property
    def can_swap(self) -> bool:
        """Whether its labels differ, and are not those of the evaluation product when exchanged."""
        bears = dict(self.labels)
        return len(set(bears.values())) == 2 and bears != {"upper": TEXTS[0], "lower": FRUIT}


class Worn(NamedTuple):
    """A label on a vessel of a good scene, and the fruit picture on it."""

    vessel: int
    place: str
    label: Item
    picture: Item | None


@dataclass(frozen=True)
class Rules:
    """The rule of one draw, and all that follows from it."""

    plan: tuple[Vessel, ...]
    height: float
    ground: Colour
    dark: bool

    def name(self, index: int) -> str:
        """A vessel's name in facts."""
        return "bottle" if len(self.plan) == 1 else f"vessel {index + 1}"

    def the(self, index: int) -> str:
        """A vessel's name in a sentence."""
        return "the bottle" if len(self.plan) == 1 else self.name(index)

    def place(self, index: int, place: str) -> str:
        """A place on a vessel, as facts say it."""
        return place if len(self.plan) == 1 else f"vessel {index + 1}, {place}"

    def words(self) -> str:
        """The rule in words."""
        number = len(self.plan)
        parts = ["There is one glass vessel." if number == 1 else f"There are {number} glass vessels side by side."]
        for index, vessel in enumerate(self.plan):
            name = "The vessel" if number == 1 else f"Vessel {index + 1}"
            worn = []
            for place, bears in vessel.labels:
                worn.append(f"a fruit label ({place})" if bears == FRUIT else f"a label '{bears}' ({place})")
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
        stands = []
        for index in range(number):
            x = middle + (index - (number - 1) / 2) * pitch + jitter(rng, 0.008)
            stands.append((x, table + jitter(rng, 0.003), scale))
        return tuple(stands)

    def good(self, rng: np.random.Generator) -> Scene:
        """A scene that keeps the rule."""
        poses, items, fills = self._stand(rng), [], []
        for index, vessel in enumerate(self.plan):
            x, table, scale = poses[index]
            juice = vessel.juice or str(pick(rng, list(JUICES)))
            level = vessel.level + jitter(rng, SLACK) * 0.9
            fills.append(Fill(f"{juice} juice", JUICES[juice][0], level, self.name(index)))
            for place, bears in vessel.labels:
                label_x = x + jitter(rng, 0.006) * scale
                at = label_x, table - (vessel.height(place) + jitter(rng, 0.007)) * scale
                tilt, named = float(rng.normal(0, 0.8)), self.place(index, place)
                if bears == FRUIT:
                    items.append(Item("fruit label", *at, LABEL * scale, "orange", named, tilt))
                    on = self.place(index, "on the fruit label")
                    items.append(Item("fruit picture", *at, ICON * scale, ICON_COLOURS[juice], on, tilt, juice))
                else:
                    items.append(Item("text label", *at, LABEL * scale, "orange", named, tilt, bears))
        width = 0.5 if len(self.plan) == 1 else 1.0
        scene = Scene(NAME, width, self.height, tuple(items), tuple(fills), layout={"poses": poses})
        return self.with_sights(scene)

    def items_of(self, scene: Scene, index: int, what: str) -> list[Item]:
        """The items of this name on one vessel, which is the one they are nearest to."""
        xs = np.asarray([x for x, _, _ in scene.layout["poses"]])
        return [item for item in scene.all(what) if int(np.argmin(np.abs(xs - item.x))) == index]

    def fill(self, scene: Scene, index: int) -> Fill | None:
        """The filling of a vessel, if the vessel is there."""
        return scene.fill_at(self.name(index))

    def at(self, scene: Scene, index: int, height: float) -> tuple[float, float]:
        """The middle of a vessel at a height above the table."""
        x, table, scale = scene.layout["poses"][index]
        return x, table - height * scale

    def with_sights(self, scene: Scene) -> Scene:
        """The scene with the sights that its items and fills give."""
        sights: list[Sight] = []
        for index, vessel in enumerate(self.plan):
            fill = self.fill(scene, index)
            if fill is None:
                continue
            sights.append((f"level {round(fill.level * 10)}", *self.at(scene, index, vessel.shape.brim / 2)))
            if fill.level == 0:
                sights.append(("empty vessel", *self.at(scene, index, vessel.shape.brim / 2)))
                continue
            kind = fill.what.split()[0]
            sights.append((f"juice {kind}", *self.at(scene, index, vessel.shape.surface(fill.level) / 2)))
            wrong = [p for p in self.items_of(scene, index, "fruit picture") if p.shows != kind]
            sights += [("mismatch", p.x, p.y) for p in wrong]
        labels = (*scene.all("fruit label"), *scene.all("text label"))
        sights += [("wrong height", item.x, item.y) for item in labels if "too " in item.place]
        return replace(scene, layout={**scene.layout, "sights": tuple(sights)})

    def check(self, scene: Scene) -> list[str]:
        """The breaches of the rule, in words; empty for a good scene."""
        broken = []
        for index, vessel in enumerate(self.plan):
            name, fill = self.the(index), self.fill(scene, index)
            if fill is None:
                broken.append(f"{name} is missing")
                continue
            if abs(fill.level - vessel.level) > SLACK:
                broken.append(f"{name} is filled to {fill.level:.0%}, not {vessel.level:.0%}")
            if vessel.juice and fill.what != f"{vessel.juice} juice":
                broken.append(f"{name} holds {fill.what}, not {vessel.juice} juice")
            broken += self._check_labels(scene, index)
            for picture in self.items_of(scene, index, "fruit picture"):
                if fill.what != f"{picture.shows} juice":
                    broken.append(f"the label shows {picture.shows}, {name} holds {fill.what}")
        return broken

    def _check_labels(self, scene: Scene, index: int) -> list[str]:
        """Which labels of a vessel, or pictures on them, are not where they belong."""
        broken = []
        name, scale = self.the(index), scene.layout["poses"][index][2]
        texts = self.items_of(scene, index, "text label")
        fruit_labels = self.items_of(scene, index, "fruit label")
        pictures = self.items_of(scene, index, "fruit picture")

        def near(items: list[Item], place: str) -> list[Item]:
            x, y = self.at(scene, index, self.plan[index].height(place))
            return [item for item in items if np.hypot(item.x - x, item.y - y) <= OFF * scale]

        for place, bears in self.plan[index].labels:
            if bears != FRUIT:
                if not any(label.shows == bears for label in near(texts, place)):
                    broken.append(f"the label '{bears}' of {name} is not where it belongs")
                continue
            if not near(fruit_labels, place):
                broken.append(f"the fruit label of {name} is not where it belongs")
            if not near(pictures, place):
                broken.append(f"the {place} fruit label of {name} shows no fruit")
        return broken

    def labels(self, scene: Scene, what: str = "") -> list[Worn]:
        """The labels of a good scene, or those that are called `what`."""
        worn = []
        for index, vessel in enumerate(self.plan):
            for place, bears in vessel.labels:
                name = "fruit label" if bears == FRUIT else "text label"
                (label,) = scene.all(name, place=self.place(index, place))
                picture = next((p for p in scene.all("fruit picture") if (p.x, p.y) == (label.x, label.y)), None)
                if what in ("", name):
                    worn.append(Worn(index, place, label, picture))
        return worn

    def spots(self, scene: Scene) -> list[Spot]:
        """Patches of labels and glass for structural flaws."""
        labels = [(worn.label.x, worn.label.y, 0.05) for worn in self.labels(scene)]
        return labels + [(*self.at(scene, i, 0.25), 0.05) for i in range(len(self.plan))]

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """The table, the vessels with their juices, the labels."""
        surfaces.mat(canvas, self.ground, unevenness=0.15 if self.dark else 0.05)
        poses = scene.layout["poses"]
        strip: Colour = (0.055, 0.058, 0.065) if self.dark else mix(self.ground, "white", 0.12)
        vessels.dark_table(canvas, poses[0][1], strip)
        glass = vessels.DARK_GLASS if self.dark else mix(self.ground, vessels.DARK_GLASS, 0.55)
        for index, (vessel, pose) in enumerate(zip(self.plan, poses, strict=True)):
            fill = self.fill(scene, index)
            if fill is not None:
                vessels.vessel(canvas, vessel.shape, pose, fill, glass)
        for item in scene.items:
            painted = prints.juice_fruit if item.what == "fruit picture" else vessels.label
            painted(canvas, item)
