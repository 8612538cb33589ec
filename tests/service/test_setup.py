"""Stations made from pictures: limits, refusals, and nothing half done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers.stations import grey_picture, grey_pictures, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.service.setup import calibrate, create_station
from lad_reasoner.service.station import FILE, Station


def test_a_station_holds_copies_and_limits(tmp_path: Path) -> None:
    bad = grey_pictures(tmp_path / "wrong", [200, 105])
    out, station = grey_station(tmp_path, bad=bad, max_unsure=0.2)
    assert Station.load(out) == station
    assert station.name == "station"
    assert station.references == ("references/0001.png",)
    assert [picture.picture for picture in station.bad] == ["bad/0001.png", "bad/0002.png"]
    scores = sorted(station.normal_scores)
    assert station.limit == scores[-2]  # 10 % of 21 are 2, the new part is one of them
    assert station.unsure_from == scores[-6]
    shutil.rmtree(tmp_path / "good")
    assert calibrate(out).normal_scores == station.normal_scores
    assert sorted(path.name for path in tmp_path.iterdir()) == ["normal", "station", "wrong"]


def test_a_promise_can_be_changed(tmp_path: Path) -> None:
    out, station = grey_station(tmp_path)
    changed = calibrate(out, max_false_alarms=0.3)
    assert changed.limit is not None
    assert station.limit is not None
    assert changed.limit < station.limit
    assert Station.load(out) == changed


def test_without_normals_nothing_is_promised(tmp_path: Path) -> None:
    station = create_station(tmp_path / "s", [grey_picture(tmp_path / "a.png", 90)], judge="pixel-difference")
    assert station.limit is None
    assert station.max_false_alarms is None


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    reference = grey_picture(tmp_path / "in/a.png", 90)
    normals = grey_pictures(tmp_path / "in/normal", list(range(90, 110)))
    broken = tmp_path / "in/broken.png"
    broken.write_bytes(b"no picture")
    twin = shutil.copy(reference, tmp_path / "in/twin.png")
    out = tmp_path / "out"

    def refused(message: str, pictures: list[Path], judge: str = "pixel-difference", rate: float = 0.1) -> None:
        with pytest.raises(InputError, match=message):
            create_station(out, [reference], pictures, judge=judge, max_false_alarms=rate)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    refused("20 normal pictures are too few", normals, rate=0.01)
    refused("broken.png: not a picture", [*normals, broken])
    refused("twin.png: the same picture as .*a.png", [*normals, Path(twin)])
    refused("no such model", normals, judge="nonesuch")
    (out / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="exists already; give another -o"):
        create_station(out, [reference])


def test_a_crash_while_scoring_leaves_the_old_limit(tmp_path: Path) -> None:
    out, _ = grey_station(tmp_path)
    before = (out / FILE).read_bytes()
    (out / "normals/0003.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003.png: the file is empty"):
        calibrate(out)
    assert (out / FILE).read_bytes() == before
