"""The ways to break the rule of one draw of loose parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.families import sorts
from lad_reasoner.miniloco.families.loose_rules import REFUSED, Rules, count_sorts
from lad_reasoner.miniloco.families.sorts import Sort
from lad_reasoner.miniloco.scene import Break, Region, Scene, around, by_name, pick


@dataclass(frozen=True)
class Defects:
    """The ways to break the rule of one draw, each method named after its defect."""

    rules: Rules

    def applying(self, rng: np.random.Generator) -> dict[str, Break]:
        """The defects that this draw can have; two parts at once are the fault of a quarter of the draws."""
        doubled_extra = bool(rng.random() < 0.25)
        doubled_missing = bool(rng.random() < 0.25) and max(self.rules.wanted.values()) > 1
        offered = (
            (self._missing_part, True),
            (self._extra_part, True),
            (self._replaced_by_another_sort, True),
            (self._replaced_by_a_foreign_sort, True),
            (self._whole_sort_replaced, True),
            (self._wrong_colour, bool(self._recolourable())),
            (self._two_extra_parts, doubled_extra),
            (self._two_missing_parts, doubled_missing),
        )
        breaks = by_name(*(function for function, applies in offered if applies))
        return {name: _never_refused(function) for name, function in breaks.items()}

    def _missing(self, number: int, scene: Scene, rng: np.random.Generator) -> Scene:
        wanted = self.rules.wanted
        sort = pick(rng, [sort for sort in wanted if wanted[sort] >= number])
        less, regions = _without(scene, sort, number, rng)
        verb = "is" if number == 1 else "are"
        return less.broken(f"{sorts.words(sort, number)} {verb} missing", *regions)

    def _missing_part(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._missing(1, scene, rng)

    def _two_missing_parts(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._missing(2, scene, rng)

    def _extra(self, number: int, scene: Scene, rng: np.random.Generator) -> Scene:
        sort = pick(rng, list(self.rules.wanted))
        more, regions = self._plus(scene, sort, number, rng)
        verb = "is" if number == 1 else "are"
        return more.broken(f"there {verb} {sorts.words(sort, number)} too many", *regions)

    def _extra_part(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._extra(1, scene, rng)

    def _two_extra_parts(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._extra(2, scene, rng)

    def _replaced(self, old: Sort, new: Sort, number: int, scene: Scene, rng: np.random.Generator) -> Scene:
        less, _ = _without(scene, old, number, rng)
        more, regions = self._plus(less, new, number, rng)
        verb = "lies" if number == 1 else "lie"
        return more.broken(f"{sorts.words(new, number)} {verb} in place of {sorts.words(old, number)}", *regions)

    def _replaced_by_another_sort(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wanted = list(self.rules.wanted)
        old, new = (wanted[int(i)] for i in rng.permutation(len(wanted))[:2])
        return self._replaced(old, new, 1, scene, rng)

    def _replaced_by_a_foreign_sort(self, scene: Scene, rng: np.random.Generator) -> Scene:
        old = pick(rng, list(self.rules.wanted))
        return self._replaced(old, self._foreign(old, rng), 1, scene, rng)

    def _whole_sort_replaced(self, scene: Scene, rng: np.random.Generator) -> Scene:
        wanted = self.rules.wanted
        old = pick(rng, list(wanted))
        others = [sort for sort in wanted if sort != old and sort[0] not in sorts.FRUITS]
        new = pick(rng, others) if others and rng.random() < 0.7 else self._foreign(old, rng)
        return self._replaced(old, new, wanted[old], scene, rng)

    def _wrong_colour(self, scene: Scene, rng: np.random.Generator) -> Scene:
        what, old = pick(rng, self._recolourable())
        item, colour = pick(rng, scene.all(what, colour=old)), str(pick(rng, self._other_colours((what, old))))
        words = f"{sorts.words((what, colour))} lies in place of {sorts.words((what, old))}"
        return scene.change(item, colour=colour).broken(words, around(item))

    def _other_colours(self, sort: Sort) -> list[str]:
        """The other colours of a part that would be seen on the ground."""
        what, own = sort
        return [c for c in sorts.colours_of(what) if c != own and sorts.stands_out(c, self.rules.tone)]

    def _recolourable(self) -> list[Sort]:
        return [sort for sort in self.rules.wanted if self._other_colours(sort)]

    def _plus(self, scene: Scene, sort: Sort, number: int, rng: np.random.Generator) -> tuple[Scene, list[Region]]:
        """The scene and some more parts of a sort, and where they are."""
        regions = []
        for _ in range(number):
            item, _gap = self.rules.lay(sort, scene.layout["pose"], scene.items, rng)
            scene = scene.plus(item)
            regions.append(around(item))
        return scene, regions

    def _foreign(self, like: Sort, rng: np.random.Generator) -> Sort:
        """A sort that the scene should not hold."""
        strangers = self.rules.strangers(like)
        while True:
            sort = sorts.any_sort(str(pick(rng, strangers)), rng)
            if sorts.stands_out(sort[1], self.rules.tone):
                return sort


def _without(scene: Scene, sort: Sort, number: int, rng: np.random.Generator) -> tuple[Scene, list[Region]]:
    """The scene less some parts of a sort, drawn at random, and where they were."""
    alike = scene.all(sort[0], colour=sort[1])
    gone = [alike[int(i)] for i in rng.permutation(len(alike))[:number]]
    return scene.without(*gone), [around(item) for item in gone]


def _never_refused(function: Break) -> Break:
    """The break, drawn again where it would end at the composition of an evaluation product."""

    def broken(scene: Scene, rng: np.random.Generator) -> Scene:
        while True:
            result = function(scene, rng)
            if count_sorts(result) != REFUSED:
                return result

    return broken
