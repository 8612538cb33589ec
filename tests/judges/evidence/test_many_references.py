"""Many references: a bar while they are studied, and whether more of them would change the limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.inspector import Inspector
from lad_reasoner.judges.evidence.judge import MANY_REFERENCES, Evidence, WithEvidence, describe_gain
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.trivial import always_no

Item = TypeVar("Item")


class Colours:
    """A network that knows the colours of a few patches only."""

    name, multiple, parameters = "colours", 16, 0

    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        small = image.resize((size[0] // 32, size[1] // 32), Image.Resampling.BOX)
        values = np.asarray(small).astype(np.float32) + 1
        return values / np.linalg.norm(values, axis=-1, keepdims=True)


class Bars:
    """What progress bars would show: description -> (steps, total)."""

    def __init__(self) -> None:
        self.shown: dict[str, tuple[int, int]] = {}

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
        for step, item in enumerate(items, 1):
            yield item
            self.shown[description] = (step, total)


@pytest.fixture
def evidence() -> Evidence:
    judge = Evidence()
    judge.backbone = Colours()  # type: ignore[assignment]
    return judge


def shots(number: int) -> tuple[Picture, ...]:
    """The same scene, each time with a spot of its own."""
    y, x = np.mgrid[:64, :64]
    pictures = []
    for seed in range(number):
        chance = np.random.default_rng(seed)
        values = np.stack([x * 4, y * 4, (x * y) % 256], -1)
        left, top = chance.integers(0, 48, 2)
        values[top : top + 16, left : left + 16] = chance.integers(0, 256, 3)
        pictures.append(read_picture(values.astype(np.uint8)))
    return tuple(pictures)


def test_few_references_are_not_worth_a_note(evidence: Evidence) -> None:
    assert evidence.notes_on(shots(MANY_REFERENCES - 1)) == ()


@pytest.mark.slow  # ten references and five of them again
def test_many_references_are_studied_with_a_bar_and_a_note(evidence: Evidence) -> None:
    bars = Bars()
    evidence.show_progress(bars)
    (note,) = evidence.notes_on(shots(10))
    assert note.startswith("10 references: the limit is ")
    assert " with half of them; more references " in note
    assert bars.shown == {
        "studying 10 references": (10 * 8, 10 * 8),  # each in eight orientations
        "studying 10 references: how much they differ": (10, 10),
        "studying 5 references: how much they differ": (5, 5),
    }


@pytest.mark.parametrize(
    ("half", "words"),
    [
        (
            NormalSpread(0.62, 5, 0.41),
            "1.50 times what good pictures show, 1.51 times with half of them; ",
        ),
        (NormalSpread(0.60, 5, 0.41), "more references hardly change it"),
        (NormalSpread(0.57, 5, 0.40), "more references may still change it"),
        (NormalSpread(0.66, 5, 0.40), "more references may still change it"),
        (NormalSpread(0.60), "they are copies of one another, so they do not show how much is normal"),
    ],
)
def test_whether_more_references_would_change_the_limit(half: NormalSpread, words: str) -> None:
    said = describe_gain(10, NormalSpread(0.60, 10, 0.40), half)
    assert said.startswith("10 references: ")
    assert words in said


def test_the_bar_of_a_judge_with_evidence(evidence: Evidence) -> None:
    bars = Bars()
    both = WithEvidence(always_no(), evidence)
    both.show_progress(bars)
    pair = Inspector(both, [shot.image for shot in shots(2)]).read_pair(shots(3)[2].image)
    both.judge([pair])
    assert "studying 2 references" in bars.shown
