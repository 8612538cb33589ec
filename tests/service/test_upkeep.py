"""Scores again, drift, and what a station stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.stations import Grey, grey_picture, grey_pictures, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.service.inspection import OpenStation
from lad_reasoner.service.station import Station
from lad_reasoner.service.summary import describe_drift, describe_rescored, describe_robustness, histogram
from lad_reasoner.service.upkeep import CHANGES, Stood, measure_drift, measure_robustness, rescore


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_station(tmp_path_factory.mktemp("grey"), max_unsure=0.2)[0]


def test_the_same_judge_gives_the_same_scores(station: Path) -> None:
    again = rescore(OpenStation(station))
    assert (again.pictures, again.largest, again.changed) == (20, 0.0, ())
    assert describe_rescored(again) == "20 pictures scored again: the largest change of a score is 0.0000"


def test_a_changed_judge_or_picture_is_named(tmp_path: Path) -> None:
    out, station = grey_station(tmp_path, max_unsure=0.2)
    grey_picture(out / "normals/0003.png", 180)
    again = rescore(OpenStation(out))
    assert again.changed == ("normals/0003.png",)
    assert again.largest > 0.2
    assert "CHANGED: normals/0003.png; make the limit anew" in describe_rescored(again)
    other = OpenStation(out, Grey(), station.model_copy(update={"prompt_version": "grey-1"}))
    assert len(rescore(other).changed) > 10


def test_the_last_digits_of_the_score_that_is_the_limit_are_no_change(tmp_path: Path) -> None:
    out, station = grey_station(tmp_path, max_unsure=0.2)
    assert station.limit is not None
    station = station.model_copy(update={"limit": station.limit - 1e-7})
    assert rescore(OpenStation(out, station=station)).changed == ()
    station = station.model_copy(update={"limit": station.limit - 5e-3})
    assert rescore(OpenStation(out, station=station)).changed == ()  # the picture is as anomalous as before


def test_drift(station: Path, tmp_path: Path) -> None:
    opened = OpenStation(station)
    same = measure_drift(opened, grey_pictures(tmp_path / "same", list(range(100, 120, 2))))
    assert not same.found
    assert same.p > 0.5
    darker = measure_drift(opened, grey_pictures(tmp_path / "darker", [113 + i % 9 for i in range(12)]))
    assert darker.found
    assert darker.p < 0.01
    said = describe_drift(darker, opened.station)
    assert said.startswith("drift: FOUND in 12 recent pictures (Kolmogorov-Smirnov 0.")
    assert said.endswith("promised at most 10 %")
    # Pictures that made the station hid a drift, and nothing said so.
    mixed = measure_drift(opened, sorted(station.glob("normals/*"))[:3] + grey_pictures(tmp_path / "more", [113] * 9))
    assert "; 3 of them made the station, which hides a drift: leave" in describe_drift(mixed, opened.station)
    with pytest.raises(InputError, match=r"^--recent: too few to see a drift: 3 recent pictures; give 8 or more$"):
        measure_drift(opened, grey_pictures(tmp_path / "few", [100, 101, 102]))
    with pytest.raises(InputError, match=r"sane: no such file; did you mean .*same\?$"):
        measure_drift(opened, [tmp_path / "sane"])
    with pytest.raises(InputError, match="no such file"):
        measure_drift(opened, [tmp_path / "gone.png"] * 9)


def test_robustness(station: Path) -> None:
    report = {stood.change: stood for stood in measure_robustness(OpenStation(station))}
    assert report.keys() == CHANGES.keys()
    assert {len(stood.outcomes) for stood in report.values()} == {5}
    # Pictures of one grey value, with a limit at the value of the last but one: only the light matters.
    assert report["none"].good > report["light +20 %"].good == 0
    assert report["light +20 %"].outcomes.count("anomalous") >= 4
    for change in ("focus 0.1 %", "shift 2 %", "JPEG 75"):
        assert report[change].outcomes == report["none"].outcomes
    lines = describe_robustness(list(report.values()))
    assert len(lines) == 1 + len(CHANGES)
    assert any(line.startswith("  light +20 %  0 of 5 good, ") and "anomalous; mean score" in line for line in lines)
    dark = Stood("light -20 %", ("good", "invalid", "invalid"), 0.5)
    assert describe_robustness([dark])[1] == "  light -20 %  1 of 3 good, 2 not judged; mean score 0.500"


def test_without_normals_its_references_are_changed(tmp_path: Path) -> None:
    out, _ = grey_station(tmp_path, normals=0, max_false_alarms=None)
    report = measure_robustness(OpenStation(out))
    assert {len(stood.outcomes) for stood in report} == {1}
    with pytest.raises(InputError, match="no normal pictures to compare with"):
        measure_drift(OpenStation(out), [])
    assert histogram(Station.load(out)) == []
