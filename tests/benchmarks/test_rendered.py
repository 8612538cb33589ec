"""Claims on MiniLOCO's pictures: numbers of parts, and whether a reference shows the query's variety."""

from typing import Any

import numpy as np
import pytest
import rendered
from PIL import Image
from rendered import Pair, Rendered, check_counts, draw_pairs, shows_variety


def drawn(*names: str, fills: tuple[str, ...] = ()) -> Rendered:
    """A picture of nothing with these facts."""
    items = [{"what": name, "colour": "orange", "place": "", "shows": "", "size": 9.0} for name in names]
    facts: dict[str, Any] = {
        "items": items,
        "fills": [{"what": fill, "colour": "red", "level": 0.8, "place": "bottle"} for fill in fills],
    }
    return Rendered(Image.new("RGB", (8, 8)), facts, np.zeros((8, 8), np.uint8))


TWO, THREE = "connector with 2 clamps", "connector with 3 clamps"


@pytest.mark.parametrize(
    ("found", "expected", "true"),
    [
        (6, 4, True),  # levers
        (4, 4, False),
        (6, 5, False),
        (3, 3, True),  # both connectors and the cable
        (2, 2, True),  # connectors, whatever their clamps
    ],
)
def test_levers_are_parts_as_connectors_are(found: int, expected: int, true: bool) -> None:
    pair = Pair((drawn(TWO, TWO, "cable"),), drawn(THREE, THREE, "cable"), anomalous=False)
    said = f"The query has {found} orange parts and the reference {expected}: so many too many."
    assert check_counts(said, pair) == [true]


def test_every_reference_must_have_the_number() -> None:
    pair = Pair((drawn(TWO, TWO), drawn(THREE, THREE)), drawn(TWO), anomalous=True)
    assert check_counts("The query has 2 orange parts and each reference 4: 2 too few.", pair) == [False]
    assert check_counts("The query has 1 orange part and each reference 2: 1 too few.", pair) == [True]


def test_a_variety_is_shown_by_one_of_the_references() -> None:
    two, three, none = drawn(TWO, TWO, "cable"), drawn(THREE, THREE, "cable"), drawn("pushpin")
    assert not shows_variety(Pair((three,), two, anomalous=False))
    assert shows_variety(Pair((three, two), two, anomalous=False))
    assert shows_variety(Pair((three,), drawn(TWO, THREE), anomalous=True))
    assert shows_variety(Pair((none,), none, anomalous=False))
    cherry, banana = drawn(fills=("cherry juice",)), drawn(fills=("banana juice",))
    assert not shows_variety(Pair((cherry,), banana, anomalous=False))
    assert shows_variety(Pair((cherry,), cherry, anomalous=False))


@pytest.mark.parametrize("defects", ["logical", "structural"])
def test_good_and_bad_queries_come_in_turn(defects: rendered.Defects) -> None:
    pairs = list(draw_pairs("pushpins", 2, defects=defects, references=2, size=64))
    assert [pair.anomalous for pair in pairs] == [False, True, False, True]
    assert [pair.query.facts["kind"] for pair in pairs] == ["good", defects] * 2
    assert {len(pair.references) for pair in pairs} == {2}
