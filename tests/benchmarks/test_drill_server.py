"""A short attack on the server."""

import drill_server
import pytest


@pytest.mark.slow  # a server starts four times
def test_a_server_that_is_attacked() -> None:
    tally = drill_server.drill_server(40, seed=1)
    assert tally.lost == []
    assert tally.tried > 60
