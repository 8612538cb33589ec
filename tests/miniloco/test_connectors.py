"""Connectors and cables: rows are read from ends, a cut leaves two pieces."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.painting.connectors import (
    cable_sights,
    changes_row,
    clamps,
    cut,
    make_cable,
    make_connector,
    row_of,
    slack,
)

PATH = slack((0.2, 0.2), (0.8, 0.3), 0.02, 0.0)


def test_rows_are_read_from_the_ends() -> None:
    assert row_of("left row 3") == 2
    assert changes_row("left row 1", "right row 2")
    assert not changes_row("left row 1", "right row 1")
    assert not changes_row("", "right row 2")


def test_a_connector_says_how_many_clamps_it_has() -> None:
    small, large = (make_connector(number, (0.2, 0.3), "left", 4.0) for number in (2, 5))
    assert (clamps(small), clamps(large)) == (2, 5)
    assert small.size < large.size


def test_a_cut_cable_has_two_pieces_with_a_gap() -> None:
    left, right, at = cut(PATH, np.random.default_rng(3))
    assert left[0] == PATH[0] and right[-1] == PATH[-1]
    assert left[-1][0] < at[0] < right[0][0]


def test_sights_of_a_cable() -> None:
    cable = make_cable(PATH, "red", "between the connectors")
    assert cable_sights("left row 1", "right row 1", PATH) == []
    assert cable_sights("left row 1", "", PATH) == [("loose end", *PATH[-1])]
    assert cable_sights("left row 1", "right row 2", PATH) == [("crossing row", cable.x, cable.y)]
