"""Limits that keep a promised rate of false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from lad_reasoner.errors import InputError
from lad_reasoner.service.conformal import (
    allowed_above,
    balanced_rate,
    conformal_limit,
    expected_misses,
    false_alarm_interval,
    least_normals,
    least_rate,
    p_value,
)


@pytest.mark.parametrize(
    ("rate", "least"), [(0.05, 19), (0.02, 49), (0.01, 99), (0.07, 14), (0.5, 1), (0.4, 2), (0.001, 999)]
)
def test_least_number_of_normals(rate: float, least: int) -> None:
    assert least_normals(rate) == least
    conformal_limit([0.1] * least, rate)
    few = "1 normal picture is" if least == 2 else f"{least - 1} normal pictures are"
    with pytest.raises(InputError, match=rf"^{few} too few .*give {least} or more"):
        conformal_limit([0.1] * (least - 1), rate)


def test_without_normals_no_rate_is_offered() -> None:
    with pytest.raises(InputError, match=r"^0 normal pictures are too few to promise 10 % .*; give 9 or more$"):
        conformal_limit([], 0.1)


@pytest.mark.parametrize("normals", [1, 7, 19, 48, 333])
def test_the_rate_that_an_error_offers_can_be_promised(normals: int) -> None:
    with pytest.raises(InputError) as caught:
        conformal_limit([0.1] * normals, 0.0001)
    offered = float(str(caught.value).rsplit("a rate of ")[1].split()[0])
    assert offered >= least_rate(normals)
    conformal_limit([0.1] * normals, offered)


def test_above_the_limit_is_a_p_value_at_most_the_rate() -> None:
    rng = np.random.default_rng(0)
    for count in (19, 20, 60, 111):
        scores = [float(score) for score in rng.integers(0, 30, count) / 30]  # with ties
        for rate in (0.05, 0.1, 0.33):
            limit = conformal_limit(scores, rate)
            for score in np.linspace(0, 1, 61):
                assert (score > limit) == (p_value(scores, float(score)) <= rate + 1e-12), (count, rate, score)


def test_promised_and_real_false_alarms() -> None:
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(2000):
        limit = conformal_limit(list(rng.random(60)), 0.05)
        rates.append(1 - limit)  # of uniform scores, so many lie above the limit
    interval = false_alarm_interval(60, 0.05)
    assert np.mean(rates) == pytest.approx(interval.value, abs=0.002)
    assert interval.value is not None
    assert interval.value <= 0.05
    assert interval.interval is not None
    low, high = interval.interval
    inside = sum(low <= rate <= high for rate in rates)
    assert binomtest(inside, 2000, 0.95).pvalue > 0.01


def test_the_limit_is_that_of_puncc() -> None:
    from deel.puncc.api.utils import quantile

    rng = np.random.default_rng(2)
    for count in (19, 50, 128):
        scores = rng.random(count)
        for rate in (0.06, 0.1, 0.25):
            theirs = quantile(scores, (1 - rate) * (1 + 1 / count))
            assert conformal_limit(list(scores), rate) == pytest.approx(float(theirs))


def test_the_promise_that_errs_least() -> None:
    normals = [number / 100 for number in range(20)]
    assert balanced_rate(normals, [0.5, 0.6]) == pytest.approx(1 / 21)  # the lowest promise finds all
    # Two of four lie below the two highest normals: a rate of 3/21 finds all, and costs less than half of them.
    rate = balanced_rate(normals, [0.5, 0.6, 0.175, 0.176])
    assert rate == pytest.approx(3 / 21) and conformal_limit(normals, rate) == 0.17
    assert balanced_rate(normals, [0.001, 0.002, 0.5]) == pytest.approx(1 / 21)  # not at any price


def test_misses_and_too_few() -> None:
    missed = expected_misses([0.2, 0.9, 0.5, 0.7], 0.5)
    assert missed.value == 0.5
    assert missed.interval is not None
    assert expected_misses([], 0.5).value is None
    assert false_alarm_interval(10, 0.05).value is None
    assert allowed_above(19, 0.05) == 0
