"""Stations whose normals are references as well: no normal is judged by itself."""

import shutil
from pathlib import Path

import pytest

from helpers.plant import wait_for
from helpers.served import grey_png
from helpers.stations import grey_picture, grey_pictures, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.service.folds import leave_folds_out
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import calibrate, create_station
from lad_reasoner.service.station import FILE, Station
from lad_reasoner.service.summary import describe_station
from lad_reasoner.service.teaching import apply_change, propose_change
from lad_reasoner.service.upkeep import measure_robustness, rescore

NEAREST = "helpers.stations:NearestGrey"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its reference is grey 100, its normals are 100 to 119."""
    return grey_station(tmp_path_factory.mktemp("folds"), judge=NEAREST, folds=5)[0]


@pytest.fixture
def station(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "station")
    return tmp_path / "station"


def score(opened: OpenStation, picture: Path) -> float:
    (decision,) = opened.inspect([picture])
    assert isinstance(decision, Decision)
    return decision.verdict.score


def test_queries_are_compared_with_the_normals_and_no_normal_with_itself(station: Path, tmp_path: Path) -> None:
    opened = OpenStation(station)
    assert len(opened.references) == 21 and len(opened.station.references) == 1
    # The neighbours of each normal, a grey level away, are of other folds; the last one has a neighbour on one side.
    assert all(0.5 / 255 < normal < 1.5 / 255 for normal in opened.station.normal_scores[1:])
    assert score(opened, station / opened.station.normals[7].picture) == 0
    assert score(opened, grey_picture(tmp_path / "apart.png", 125)) == pytest.approx(6 / 255, abs=0.5 / 255)
    held_out = [(len(each.references), numbers) for each, numbers in leave_folds_out(opened)]
    assert held_out == [(17, list(range(fold, 20, 5))) for fold in range(5)]
    assert "the normals are references as well; each was scored without its fold, one of 5" in describe_station(
        opened.station
    )


def test_they_are_scored_again_without_themselves(station: Path) -> None:
    opened = OpenStation(station)
    rescored = rescore(opened)
    assert (rescored.pictures, rescored.largest, rescored.changed) == (20, 0, ())
    unchanged = measure_robustness(opened, pictures=5)[0]
    assert len(unchanged.outcomes) == 5 and unchanged.score > 0.5 / 255


def test_folds_are_given_later_and_taken_back(tmp_path: Path) -> None:
    folder, before = grey_station(tmp_path, judge=NEAREST)
    with pytest.raises(InputError, match="folds: 30 is more than the 20 normals"):
        calibrate(folder, folds=30)
    assert Station.load(folder) == before
    shared = calibrate(folder, folds=20)
    assert shared.folds == 20 and shared.limit is not None and before.limit is not None and shared.limit < before.limit
    assert calibrate(folder, folds=0).limit == before.limit


def test_nonsense_in_the_file_is_named(station: Path) -> None:
    text = (station / FILE).read_text()
    for folds, problem in ((1, "folds: "), (21, "folds: 21 is more than the 20 normals")):
        (station / FILE).write_text(text.replace("folds = 5", f"folds = {folds}"))
        with pytest.raises(InputError, match=problem):
            Station.load(station)


def test_without_normals_there_is_nothing_to_divide(tmp_path: Path) -> None:
    references = grey_pictures(tmp_path / "good", [100])
    with pytest.raises(InputError, match="folds: 5 is more than the 0 normals"):
        create_station(tmp_path / "s", references, judge=NEAREST, folds=5)


def test_what_is_accepted_into_the_calibration_is_compared_with(station: Path) -> None:
    runtime = Runtime([station])
    try:
        live = runtime.station("station")
        numbers = []
        for shade in (140, 141, 142):
            order = runtime.order("station", grey_png(shade), part=f"{shade}", who="line", seconds=60)
            numbers.append(order.finish(order.future.result(60)).id)
        change = propose_change(runtime, live, "calibration", numbers[:2], who="Ada")
        wait_for(lambda: live.archive.change(change.id).state != "preparing", seconds=60)
        preview = live.archive.change(change.id).preview
        # The third lies a grey level from the second.
        assert [(each["part"], each["before"], each["after"]) for each in preview["changes"]] == [
            ("142", "anomalous", "good")
        ]
        apply_change(live, change.id, who="Ada")
        taught = live.open.station
        assert len(taught.normals) == 22 and len(live.open.references) == 23
        assert all(0 < normal.score < 1.5 / 255 for normal in taught.normals[20:])
    finally:
        runtime.close()
