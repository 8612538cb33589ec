"""The score: 0.5 at the limit, monotone, and the more good pictures the more they count."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.judges.evidence.normal_variation import DROP, LIMIT, MARGIN, TRUST, NormalSpread

statistics = st.floats(1e-3, 10.0)


@given(st.lists(statistics, max_size=8))
def test_half_at_the_limit_and_monotone(observed: list[float]) -> None:
    spread = NormalSpread.estimate(observed, max(1, len(observed)))
    assert spread.score(spread.limit) == pytest.approx(0.5)
    scores = [spread.score(spread.limit * factor) for factor in (0, 0.5, 0.99, 1.01, 2, 1e6)]
    assert scores == sorted(scores)
    assert scores[0] >= 0
    assert scores[-1] <= 1
    assert scores[2] < 0.5 < scores[3]


def test_one_reference_has_the_constant() -> None:
    spread = NormalSpread.estimate([], 1)
    assert spread.limit == pytest.approx(math.exp(LIMIT))
    assert spread.observed == 0


@pytest.mark.parametrize(("count", "trust"), [(2, 2 / 5), (3, 1 / 2), (7, 7 / 10), (40, TRUST), (4000, TRUST)])
def test_the_limit_follows_the_references_the_more_the_more_there_are(count: int, trust: float) -> None:
    limit = NormalSpread.estimate([0.2] * count, count).limit
    typical = LIMIT - DROP * (1 - 1 / count)
    assert math.log(limit) == pytest.approx((1 - trust) * typical + trust * (math.log(0.2) + trust * MARGIN))


@given(st.lists(statistics, min_size=2, max_size=8), st.floats(1.01, 3))
def test_references_that_differ_more_raise_the_limit(observed: list[float], factor: float) -> None:
    calm = NormalSpread.estimate(observed, len(observed))
    lively = NormalSpread.estimate([factor * value for value in observed], len(observed))
    assert calm.limit < lively.limit < factor * calm.limit


def test_a_copy_of_a_picture_has_a_logarithm() -> None:
    assert NormalSpread.estimate([0.0, 0.0], 2).limit > 0
    assert NormalSpread.estimate([], 1).score(0.0) < 1e-6
