"""Questions and answers about the pictures of the pool, from easy to hard: micro's lessons in words.

About one picture: its description, how many, where. About two: the prompt of all models and a response. If a good query
differs from its reference in a way that its rule allows, the answer is random: the paper's stages teach whether that
matters. When these lessons taught it, the paper's stages gained nothing (docs/miniature.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.answers import format_response, parse_response
from lad_reasoner.micro.pool import Shot
from lad_reasoner.miniloco.families.free import FAMILIES
from lad_reasoner.miniloco.words import GOOD, MANY, count_groups, describe, group_of, write_response
from lad_reasoner.prompts import build_prompt

DESCRIBE = "What does the image show?"
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


def _shares(weights: Sequence[float]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.asarray(weights, np.float64) / sum(weights)
    return shares


@dataclass(frozen=True)
class Exercise:
    """A question about one or two pictures and its answer.

    `verdict` is the place in the answer where the judgement begins. The part before it is not learned if `given`.
    """

    pictures: tuple[int, ...]  # numbers of shots
    question: str
    answer: str
    verdict: int | None = None
    given: bool = False


class ExerciseSampler:
    """Draws exercises from the shots of a pool.

    A batch has pictures of one shape. All products have equal weight; a family has twice the weight, since each of its
    groups is another product.
    """

    def __init__(self, shots: Sequence[Shot]) -> None:
        self.shots = shots
        self.good: dict[str, list[int]] = {}
        self.bad: dict[str, list[int]] = {}
        for number, shot in enumerate(shots):
            (self.good if shot.good else self.bad).setdefault(shot.group, []).append(number)
        # A pair needs two good pictures of its rule, or a good one and a broken one.
        groups = [g for g, good in self.good.items() if len(good) > 1 and g in self.bad]
        product = {g: self.shots[self.good[g][0]].facts["product"] for g in groups}
        sizes = Counter(product.values())  # groups of each product
        weight = {g: (2 if product[g] in FAMILIES else 1) / sizes[product[g]] for g in groups}
        shapes: dict[tuple[int, ...], list[str]] = {}
        for group in groups:
            shapes.setdefault(shots[self.good[group][0]].pixels.shape, []).append(group)
        self.shapes = [(members, _shares([weight[g] for g in members])) for members in shapes.values()]
        self.chances = _shares([sum(weight[g] for g in members) for members in shapes.values()])

    def draw(self, rng: np.random.Generator, size: int, singles: float) -> list[Exercise]:
        """A batch of exercises: all of pairs, or, with the chance `singles`, all of single pictures."""
        members, shares = self.shapes[int(rng.choice(len(self.shapes), p=self.chances))]
        chosen = [members[int(i)] for i in rng.choice(len(members), size, p=shares)]
        if rng.random() >= singles:
            return [self.pair(rng, group) for group in chosen]
        return [self.single(rng, int(rng.choice([*self.good[g], *self.bad[g]]))) for g in chosen]

    def pair(self, rng: np.random.Generator, group: str) -> Exercise:
        """A reference and a query of one rule; every second query is good."""
        good = self.good[group]
        first, second = (int(v) for v in rng.choice(len(good), 2, replace=False))
        reference, query = good[first], good[second]
        if rng.integers(2):
            bad = self.bad[group]
            query = bad[int(rng.integers(len(bad)))]
        return self.respond(rng, reference, query)

    def respond(self, rng: np.random.Generator, reference: int, query: int) -> Exercise:
        """The exercise of these two pictures.

        If a good query differs from its reference in a way that the rule allows, the answer is random.
        """
        facts = self.shots[reference].facts, self.shots[query].facts
        answer = write_response(*facts)
        begin = answer.index(". ") + 1  # after the list
        if self.shots[query].good and GOOD not in answer and rng.integers(2):
            answer = format_response(parse_response(answer).reasoning, anomalous=True)
        return Exercise((reference, query), build_prompt(1), answer, begin)

    def single(self, rng: np.random.Generator, number: int) -> Exercise:
        """A question about one picture."""
        shot = self.shots[number]
        counts, items = count_groups(shot.facts), shot.facts["items"]
        draw = rng.random()
        if draw < 0.6 or not counts or not items:
            return Exercise((number,), DESCRIBE, describe(shot.facts) + ".")
        if draw < 0.8:
            group = str(rng.choice(list(counts)))
            count = counts[group]
            return Exercise((number,), f"How many are there: {group}?", f"x{count if count < MANY else f'{MANY}+'}.")
        item = items[int(rng.integers(len(items)))]
        if sum(group_of(other) == group_of(item) for other in items) > 1:
            return Exercise((number,), DESCRIBE, describe(shot.facts) + ".")
        return Exercise((number,), f"Where is it: {group_of(item)}?", self._place(shot, item["centre"]) + ".")

    @staticmethod
    def _place(shot: Shot, centre: Sequence[float]) -> str:
        x, y = centre
        column = COLUMNS[int(np.clip(3 * x / shot.facts["width"], 0, 2))]
        row = ROWS[int(np.clip(3 * y / shot.facts["height"], 0, 2))]
        return f"{row} {column}"
