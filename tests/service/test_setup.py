"""Stations made from pictures: limits, refusals, and nothing half done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.stations import grey_picture, grey_pictures, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock
from lad_reasoner.service import setup
from lad_reasoner.service.setup import calibrate, create_station, make_rules, set_zones
from lad_reasoner.service.station import FILE, Station
from lad_reasoner.service.summary import describe_station


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
    refused("000.png: given twice", [*normals, normals[0]])
    refused("twin.png: the same picture as .*a.png", [*normals, Path(twin)])
    refused("no such model", normals, judge="nonesuch")
    (out / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="exists already; give another -o"):
        create_station(out, [reference])


def test_a_folder_without_a_station_gets_no_lock_file(tmp_path: Path) -> None:
    """`nope.lock` was left, and was what the message proposed: did you mean nope.lock?"""
    for change in (calibrate, set_zones, make_rules):
        with pytest.raises(InputError, match=r"nope/station.toml: no such file; make a station"):
            change(tmp_path / "nope")
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_scoring_leaves_the_old_limit(tmp_path: Path) -> None:
    out, _ = grey_station(tmp_path)
    before = (out / FILE).read_bytes()
    (out / "normals/0003.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003.png: the file is empty"):
        calibrate(out)
    assert (out / FILE).read_bytes() == before


def test_of_two_that_make_one_station_the_first_to_end_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score, out = setup._score, tmp_path / "station"
    pictures = grey_pictures(tmp_path / "good", [100, 101])

    def meanwhile(*arguments: Any) -> Station:
        monkeypatch.setattr(setup, "_score", score)
        create_station(out, pictures[1:], judge="pixel-difference")
        return score(*arguments)

    monkeypatch.setattr(setup, "_score", meanwhile)
    with pytest.raises(InputError, match="station: exists already; give another -o"):
        create_station(out, pictures[:1], judge="pixel-difference")
    assert (out / "references/0001.png").read_bytes() == pictures[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "station"]


def test_what_kills_left_is_removed_but_not_what_is_being_made(tmp_path: Path) -> None:
    halves = [tmp_path / f".station.{name}.part" for name in ("killed", "held", "whole")]
    for half in (*halves, tmp_path / ".stations.other.part"):
        (half / "references").mkdir(parents=True)
    (halves[2] / FILE).touch()
    with lock(halves[1], "-o"):
        grey_station(tmp_path)
    left = {path.name for path in tmp_path.iterdir() if path.suffix == ".part"}
    assert left == {".station.held.part", ".station.whole.part", ".stations.other.part"}


def test_a_full_disk_names_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = grey_pictures(tmp_path / "good", [100])

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*\.part/references/0001\.png"):
        create_station(tmp_path / "station", pictures, judge="pixel-difference")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]


def test_a_place_that_cannot_be_written_is_named_with_the_flag(tmp_path: Path) -> None:
    pictures = grey_pictures(tmp_path / "good", [100])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^-o .*file.*: .*; choose a folder that can be written$"):
        create_station(tmp_path / "file" / "station", pictures, judge="pixel-difference")


def test_all_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    normals = grey_pictures(tmp_path / "normal", list(range(90, 110)))
    for number in (3, 7):
        normals[number].write_bytes(b"no picture " + bytes([number]))
    with pytest.raises(InputError) as problem:
        create_station(
            tmp_path / "s",
            [grey_picture(tmp_path / "a.png", 90)],
            normals,
            judge="pixel-difference",
            max_false_alarms=0.1,
        )
    message = str(problem.value)
    assert message.startswith("2 of 20 pictures cannot be used: ")
    assert str(normals[3]) in message and str(normals[7]) in message


def test_calibrate_says_how_a_station_gets_more_normals(tmp_path: Path) -> None:
    """`give 19 or more` named no way, since only `create` takes them."""
    reference = grey_picture(tmp_path / "a.png", 100)
    create_station(tmp_path / "s", [reference], judge="pixel-difference")
    before = (tmp_path / "s" / FILE).read_bytes()
    with pytest.raises(InputError, match=r"give 19 or more: accept good parts .* `lad-reasoner station create --norm"):
        calibrate(tmp_path / "s", max_false_alarms=0.05)
    assert (tmp_path / "s" / FILE).read_bytes() == before


def test_a_mistyped_name_brings_the_one_that_is_there(tmp_path: Path) -> None:
    grey_pictures(tmp_path / "good", [100, 101])
    with pytest.raises(InputError, match=rf"god: no such file; did you mean {tmp_path / 'good'}\?$"):
        create_station(tmp_path / "s", [tmp_path / "god"], judge="pixel-difference")


def test_normals_of_another_product_are_told(tmp_path: Path) -> None:
    """Their scores made a limit above which nothing is, and nothing was said."""
    _, station = grey_station(tmp_path / "own", judge="helpers.stations:Grey")
    told = [line for line in describe_station(station) if line.startswith("note: ")]
    assert told == []
    strange = station.model_copy(
        update={"limit": 0.9, "normals": tuple(each.model_copy(update={"score": 0.9}) for each in station.normals)}
    )
    (note,) = [line for line in describe_station(strange) if line.startswith("note: ")]
    assert "20 of 20 normal pictures are anomalous by the judge's own limit of 0.5: check that they show the" in note
