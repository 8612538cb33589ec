"""Estimates: Wilson's interval, and shares of nothing. How they are printed is in evaluation/test_metrics.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.records import Estimate, share_of


@given(st.integers(1, 500), st.data())
def test_the_interval_is_wilsons(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    estimate, z = share_of(part, whole), 1.959963984540054
    share = part / whole
    centre = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z / (1 + z * z / whole) * (share * (1 - share) / whole + z * z / (4 * whole * whole)) ** 0.5
    assert estimate.value == share
    assert estimate.interval == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_a_share_of_nothing_is_not_defined() -> None:
    assert share_of(0, 0) == Estimate(value=None)
    assert (share_of(45, 60).percent(), share_of(45, 60).percent_interval()) == ("75.0", "[62.8, 84.2]")
