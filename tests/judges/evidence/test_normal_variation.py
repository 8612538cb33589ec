"""The score: 0.5 at the limit, monotone, and the more good pictures the more they count."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.judges.evidence.normal_variation import (
    LIMIT_WIDTHS,
    PRIOR_CENTRE,
    PRIOR_WIDTH,
    NormalSpread,
)

distances = st.floats(1e-3, 1.0)


@given(distances, st.lists(distances, max_size=8))
def test_half_at_the_limit_and_monotone(augmented: float, observed: list[float]) -> None:
    spread = NormalSpread.estimate([augmented], observed)
    assert spread.score(spread.limit) == pytest.approx(0.5)
    scores = [spread.score(spread.limit * factor) for factor in (0, 0.5, 0.99, 1.01, 2, 1e6)]
    assert scores == sorted(scores)
    assert scores[0] >= 0
    assert scores[-1] <= 1
    assert scores[2] < 0.5 < scores[3]


def test_one_reference_is_the_first_guess() -> None:
    spread = NormalSpread.estimate([0.1, 0.3], [])
    assert spread.centre == pytest.approx(PRIOR_CENTRE)
    assert spread.width == pytest.approx(PRIOR_WIDTH)
    assert spread.limit == pytest.approx(math.exp(spread.centre + LIMIT_WIDTHS * spread.width))


def test_observed_pictures_take_over() -> None:
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(-0.5, 0.1, 4000)).tolist()
    offsets = [abs(NormalSpread.estimate([0.01], truth[:n]).centre + 0.5) for n in (1, 4, 40, 4000)]
    assert offsets == sorted(offsets, reverse=True)
    many = NormalSpread.estimate([0.01], truth)
    assert many.centre == pytest.approx(-0.5, abs=0.01)
    assert many.width == pytest.approx(0.1, abs=0.005)


def test_copies_of_a_reference_are_no_second_shot() -> None:
    one = NormalSpread.estimate([0.1], [])
    assert NormalSpread.estimate([0.1], [1e-5, 0.0], weight=1) == one
    mixed = NormalSpread.estimate([0.1], [1e-5, 1e-5, 0.12], weight=2)
    assert mixed.observed == 1
    assert mixed.centre > one.centre - 0.5


def test_two_references_say_nothing_about_the_width_but_something_about_the_centre() -> None:
    one, two = NormalSpread.estimate([0.1], []), NormalSpread.estimate([0.1], [0.2, 0.2], weight=1)
    assert two.width == one.width == pytest.approx(PRIOR_WIDTH)
    assert two.centre == pytest.approx((one.centre + math.log(0.2)) / 2)
