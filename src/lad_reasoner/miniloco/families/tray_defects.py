"""The ways to break the rule of one draw of a lunch tray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lad_reasoner.miniloco.families.tray_contents import Bulk, Content, Fruits, Wrong
from lad_reasoner.miniloco.families.tray_rules import Rules, is_breakfast
from lad_reasoner.miniloco.scene import Break, Scene, by_name, pick, pick_two


@dataclass(frozen=True)
class Defects:
    """Every way in which some compartment of the tray can be wrong.

    The contents make their own faults: a method of `Bulk` is named after its defect, and `Fruits.wrong` gives names.
    """

    rules: Rules

    def applying(self) -> dict[str, Break]:
        """The defects that this draw can have."""
        breaks = self._of_fruits()
        bulks = {place: content for place, content in self.rules.contents.items() if isinstance(content, Bulk)}
        layered = [place for place, bulk in bulks.items() if len(bulk.layers) == 2]
        turnable = [place for place in layered if not self._would_be_breakfast(place, bulks[place].turned())]
        mixed = [place for place, bulk in bulks.items() if bulk.has_a_mix()]
        changes: tuple[tuple[Callable[[Bulk, np.random.Generator], Wrong], list[str]], ...] = (
            (Bulk.missing_ingredient, list(bulks)),
            (Bulk.wrong_ratio, layered),
            (Bulk.layers_exchanged, turnable),
            (Bulk.missing_part_of_the_mix, mixed),
        )
        for change, places in changes:
            if places:
                breaks[change.__name__] = self._of_bulk(places, change)
        if self._can_swap():
            breaks |= by_name(self._compartments_swapped)
        return breaks

    def _would_be_breakfast(self, place: str, content: Content) -> bool:
        """Whether the tray would be the evaluation product, were this in a compartment."""
        return is_breakfast({**self.rules.contents, place: content})

    def _of_fruits(self) -> dict[str, Break]:
        options: dict[str, list[tuple[str, Fruits]]] = {}
        for place, content in self.rules.contents.items():
            if isinstance(content, Fruits):
                for name, wrong in content.wrong():
                    if not self._would_be_breakfast(place, wrong):
                        options.setdefault(name, []).append((place, wrong))
        return {name: self._one_of(choices) for name, choices in options.items()}

    def _one_of(self, choices: list[tuple[str, Fruits]]) -> Break:
        """Wrong fruit in one place."""

        def broken(scene: Scene, rng: np.random.Generator) -> Scene:
            place, wrong = pick(rng, choices)
            contents = {**scene.layout["contents"], place: wrong}
            words = f"the {place} {wrong.words()}, it should hold {self.rules.contents[place].holds()}"
            changed = self.rules.scene(scene.layout["middle"], contents, rng)
            return changed.broken(words.replace(" exactly", ""), self.rules.region(scene, place))

        return broken

    def _of_bulk(self, places: list[str], change: Callable[[Bulk, np.random.Generator], Wrong]) -> Break:
        """A change of what fills one of the places."""

        def broken(scene: Scene, rng: np.random.Generator) -> Scene:
            place = str(pick(rng, places))
            wrong, words, layer = change(scene.layout["contents"][place], rng)
            contents = {**scene.layout["contents"], place: wrong}
            changed = self.rules.scene(scene.layout["middle"], contents, rng)
            # Fruit elsewhere stays where it was.
            changed = replace(changed, items=scene.items)
            return changed.broken(f"in the {place} {words}", self.rules.region(scene, place, layer))

        return broken

    def _can_swap(self) -> bool:
        """Whether there are several compartments, each with room for the content of any other."""
        contents = self.rules.contents
        for place in contents:
            if not all(self.rules.at(place).has_room_for(content) for content in contents.values()):
                return False
        return len(contents) > 1

    def _compartments_swapped(self, scene: Scene, rng: np.random.Generator) -> Scene:
        one, two = pick_two(list(self.rules.contents), rng)
        contents = dict(scene.layout["contents"])
        contents[one], contents[two] = contents[two], contents[one]
        words = f"the {one} and the {two} are swapped: each holds what belongs into the other"
        regions = (self.rules.region(scene, one), self.rules.region(scene, two))
        return self.rules.scene(scene.layout["middle"], contents, rng).broken(words, *regions)
