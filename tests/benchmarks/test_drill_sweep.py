"""A short sweep."""

import drill_sweep
import pytest


@pytest.mark.slow  # two verbs in processes of their own
def test_good_pictures_among_odd_files_are_judged_and_each_other_has_a_line() -> None:
    tally = drill_sweep.drill_sweep(500, seed=2)
    assert tally.lost == []
    assert tally.tried == 520
    assert "(20 good pictures, 300 files that are none, " in tally.note
