"""Opened stations: decisions, failures, several threads."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.stations import Grey, grey_picture, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import hash_file
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import Failure
from lad_reasoner.service.inspection import Decision, OpenStation, StaleLimitError
from lad_reasoner.service.station import Station
from lad_reasoner.service.summary import describe_station


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


def test_a_command_to_mend_a_station_can_be_pasted(station: Path, tmp_path: Path) -> None:
    """`station calibrate line 3` has an argument too many."""
    folder = tmp_path / "line 3"
    shutil.copytree(station, folder)
    with pytest.raises(InputError, match=rf"`lad-reasoner station calibrate '{folder}'`$"):
        OpenStation(folder, Grey())


@pytest.mark.parametrize("field", ["limit", "unsure_from"])
def test_a_limit_that_was_moved_by_hand_promises_nothing(field: str, station: Path, tmp_path: Path) -> None:
    """`show` went on to promise the rate of the limit before."""
    folder = tmp_path / "s"
    shutil.copytree(station, folder)
    as_made = Station.load(folder)
    lowest = min(as_made.normal_scores)
    as_made.model_copy(update={"unsure_from": lowest, field: lowest}).save(folder)
    with pytest.raises(StaleLimitError, match=rf"toml: {field}: 19 of 20 normal pictures score above .*; delete max_f"):
        OpenStation(folder)
    said = describe_station(Station.load(folder))
    assert not [line for line in said if "at most" in line]
    assert [line for line in said if line.startswith(f"note: {field}: 19 of 20 normal pictures")]
    by_hand = {"max_false_alarms": None, "max_unsure": None}
    Station.load(folder).model_copy(update=by_hand).save(folder)
    OpenStation(folder)
    as_made.model_copy(update={"limit": 1.0}).save(folder)  # a higher limit keeps the promise
    OpenStation(folder)


def test_a_reference_that_is_gone_brings_the_mend(station: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shutil.copytree(station, folder)
    gone = Station.load(folder).references[0]
    (folder / gone).unlink()
    with pytest.raises(InputError, match=rf"toml: references: {gone}: no such file; put it back, or delete its line"):
        OpenStation(folder)


class Mapped(Grey):
    """With a map, whose strongest cell is at the lower right, and no boxes."""

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        heat = np.zeros((4, 4), np.float32)
        heat[3, 2:] = 2.0, 1.5
        heat[0, 0] = 1.0
        return [replace(judgement, heat=heat, headline="Nothing stands out.") for judgement in super().judge(pairs)]


class Choosy(Grey):
    """Takes one reference."""

    def check_references(self, references: Sequence[Picture]) -> None:
        if len(references) > 1:
            raise InputError("give one reference")


def test_more_references_than_the_judge_takes_are_refused_at_the_opening(station: Path) -> None:
    """Each picture failed instead, for the same reason."""
    judged_by_choosy = Station.load(station).model_copy(update={"prompt_version": Choosy.prompt_version})
    OpenStation(station, Choosy(), judged_by_choosy)
    two = judged_by_choosy.model_copy(update={"references": ("references/0001.png", "normals/0001.png")})
    with pytest.raises(InputError, match="give one reference"):
        OpenStation(station, Choosy(), two)


def test_a_limit_that_decides_otherwise_says_why_and_where(station: Path, tmp_path: Path) -> None:
    settings = Station.load(station).model_copy(update={"prompt_version": "grey-1", "limit": 0.05, "unsure_from": 0.03})
    opened = OpenStation(station, Mapped(), settings)
    bad, unsure, good = decisions(
        opened, *(grey_picture(tmp_path / f"{shade}.png", shade, side=40) for shade in (130, 110, 101))
    )
    assert isinstance(bad, Decision)
    assert isinstance(unsure, Decision)
    assert isinstance(good, Decision)
    assert re.fullmatch(
        r"Anomalous: 0\.\d{4} is above the station's limit of 0\.0500, most at lower right\.", bad.verdict.headline
    )
    assert bad.verdict.reasoning == f"grey {bad.verdict.headline}"
    assert (bad.verdict.boxes[0].x, bad.verdict.boxes[0].y) == (20, 30)
    assert (bad.verdict.boxes[0].width, bad.verdict.boxes[0].height) == (20, 10)
    assert bad.judged.verdict is bad.verdict
    assert re.fullmatch(
        r"Unsure: 0\.\d{4} lies between the limits of 0\.0300 and 0\.0500, most at lower right\.",
        unsure.verdict.headline,
    )
    assert len(unsure.verdict.headline.split()) <= 15
    assert good.verdict.headline == "Nothing stands out."  # here judge and limit agree


class Ratio(Mapped):
    """Tells how far a picture is from the judge's own limit, as `evidence` does."""

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        words = {"headline": "Nothing stands out. 0.74 times the limit.", "reasoning": "It is 0.74 times the limit."}
        return [replace(judgement, **words) for judgement in super().judge(pairs)]


def test_the_limit_is_that_of_the_station(station: Path, tmp_path: Path) -> None:
    settings = Station.load(station).model_copy(update={"prompt_version": "grey-1", "limit": 0.05})
    picture = grey_picture(tmp_path / "query.png", 101, side=40)
    (good,) = decisions(OpenStation(station, Ratio(), settings), picture)
    assert isinstance(good, Decision)
    assert re.fullmatch(r"Nothing stands out\. Score 0\.\d{4}, limit 0\.0500\.", good.verdict.headline)
    assert good.verdict.reasoning == "It is 0.74 times the judge's own limit."
    (own,) = decisions(OpenStation(station, Ratio(), settings.model_copy(update={"limit": None})), picture)
    assert isinstance(own, Decision)
    assert own.verdict.headline == "Nothing stands out. 0.74 times the limit."


def test_only_files_of_the_size_of_a_normal_are_read_to_know_it_again(
    station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every query of a benchmark was read to its end, before the first was judged."""
    opened = OpenStation(station)
    own = station / opened.station.normals[0].picture
    other = tmp_path / "other.png"
    other.write_bytes(own.read_bytes() + bytes(100_000))
    read: list[Path] = []

    def hash_recorded(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr("lad_reasoner.service.inspection.hash_file", hash_recorded)
    assert opened.count_own([other]) == 0 and not read
    assert opened.count_own([own, other, tmp_path / "gone.png"]) == 1
    assert own in read and other not in read
