"""No policy that games a reward earns as much of it as the truth does."""

from __future__ import annotations

import pytest
import reward_hacks


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    return reward_hacks.measure(2, tmp_path_factory.mktemp("masks"))


def test_the_truth_earns_all_of_faithful_and_consistent(table: dict[str, dict[str, float]]) -> None:
    truth = table["the truth"]
    assert truth["precision"] > 0.99
    assert truth["faithful"] > 0.9
    assert truth["consistent"] == 1


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        ("an empty list", 0.3),  # the conclusion itself may tell a fact
        ("the first line alone", 0.7),
        ("the first line ten times", 0.7),
        ("only parts that are not there", 0.3),
        ("every part with every number", 0.4),
        ("without the form", 0.0),
    ],
)
def test_games_of_faithful(table: dict[str, dict[str, float]], policy: str, most: float) -> None:
    assert table[policy]["faithful"] <= most
    assert table[policy]["faithful"] < table["the truth"]["faithful"]


def test_repeating_and_what_is_not_there_earn_nothing_more(table: dict[str, dict[str, float]]) -> None:
    assert table["the first line ten times"]["faithful"] == table["the first line alone"]["faithful"]
    assert table["only parts that are not there"]["faithful"] == table["an empty list"]["faithful"]
    assert table["the reference, said of both"]["faithful"] < table["the truth"]["faithful"]


def test_games_of_places_and_consistent(table: dict[str, dict[str, float]]) -> None:
    assert table["the truth, and all nine places"]["places"] == 0
    assert table["the truth, and a box around all"]["places"] == 0
    assert table["the truth, and nothing wrong"]["consistent"] == 0.5  # right of the good half alone
    assert table["no conclusion"]["consistent"] == table["without the form"]["consistent"] == 0
