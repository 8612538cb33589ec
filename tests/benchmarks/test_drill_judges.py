"""A short soak."""

import drill_judges


def test_a_few_pictures_of_soak() -> None:
    tally = drill_judges.drill_soak(4)
    assert tally.tried == 8  # by two judges
    assert not any("open" in line or "picture" in line for line in tally.lost)
