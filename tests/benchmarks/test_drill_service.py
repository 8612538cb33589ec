"""A short run of the faulty service."""

import drill_service


def test_a_faulty_service_loses_nothing() -> None:
    tally = drill_service.drill_service(6, seed=1)
    assert (tally.tried, tally.lost) == (6, [])
