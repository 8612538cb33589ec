"""Opened stations: decisions, failures, several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.stations import Grey, grey_picture, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.records import Failure
from lad_reasoner.service.inspection import Decision, OpenStation


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_station(tmp_path_factory.mktemp("grey"), max_unsure=0.2)[0]


def decisions(station: OpenStation, *pictures: object) -> list[Decision | Failure]:
    return list(station.inspect(list(pictures)))  # type: ignore[arg-type]


def test_good_unsure_and_anomalous(station: Path, tmp_path: Path) -> None:
    opened = OpenStation(station)
    assert opened.station.limit is not None
    pictures = [grey_picture(tmp_path / f"{shade}.png", shade) for shade in (101, 115, 117, 130, 250)]
    found = decisions(opened, *pictures)
    assert [decision.outcome for decision in found] == ["good", "unsure", "unsure", "anomalous", "anomalous"]  # type: ignore[union-attr]
    assert [decision.verdict.anomalous for decision in found] == [False, False, False, True, True]  # type: ignore[union-attr]
    assert [decision.verdict.answer for decision in found] == ["no", "no", "no", "yes", "yes"]  # type: ignore[union-attr]
    p_values = [decision.p_value for decision in found]  # type: ignore[union-attr]
    assert p_values[0] == pytest.approx(20 / 21, abs=0.06)
    assert p_values[-1] == pytest.approx(1 / 21)


def test_what_cannot_be_read_is_a_failure_in_its_place(station: Path, tmp_path: Path) -> None:
    good = grey_picture(tmp_path / "a.png", 100)
    found = decisions(OpenStation(station), good, tmp_path / "gone.png", Failure(query="x", error="y: no"), good)
    assert [type(result) for result in found] == [Decision, Failure, Failure, Decision]


def test_a_camera_gets_each_decision_before_the_next_part(station: Path, tmp_path: Path) -> None:
    decided = threading.Event()

    def camera() -> Iterator[Path]:
        for number in range(3):
            yield grey_picture(tmp_path / f"{number}.png", 100)
            assert decided.wait(5)
            decided.clear()

    count = 0
    for _ in OpenStation(station).inspect(camera()):
        count += 1
        decided.set()
    assert count == 3


def test_threads_share_a_station(station: Path, tmp_path: Path) -> None:
    opened = OpenStation(station)
    pictures = [grey_picture(tmp_path / f"{shade}.png", shade) for shade in range(100, 140)]
    alone = [decision.outcome for decision in decisions(opened, *pictures)]  # type: ignore[union-attr]
    outcomes: list[list[str]] = []

    def inspect() -> None:
        outcomes.append([decision.outcome for decision in decisions(opened, *pictures)])  # type: ignore[union-attr]

    threads = [threading.Thread(target=inspect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [alone] * 4


def test_a_judge_of_another_version_is_refused(station: Path) -> None:
    with pytest.raises(InputError, match=r"station.toml: prompt_version: .* with none, and grey is grey-1 now"):
        OpenStation(station, Grey())
