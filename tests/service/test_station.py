"""The station file: written, read back, and edited by hand to nonsense."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers.damaged import damaged
from helpers.stations import grey_picture, grey_station
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError
from lad_reasoner.service.station import FILE, ScoredPicture, Station, station_name

STATION = Station(
    name="lamp",
    version="1",
    made=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    options={"backbone": "x", "votes": 3, "share": 0.5, "quick": True},
    prompt_version="evidence-2",
    max_pixels=100_000,
    references=("references/0001.png",),
    limit=0.7,
    unsure_from=0.5,
    max_false_alarms=0.02,
    max_unsure=0.1,
    normals=(ScoredPicture(picture="normals/0001.png", score=0.25),),
    bad=(ScoredPicture(picture="bad/0001.png", score=0.95),),
)


@pytest.mark.parametrize(
    ("folder", "name"), [("lamp", "lamp"), ("meine Prüfung 1", "meine_Prüfung_1"), ("-r", "r"), ("...", "station")]
)
def test_a_name_from_that_of_the_folder(folder: str, name: str, tmp_path: Path) -> None:
    assert station_name(tmp_path / folder) == name
    assert Station.model_validate({**STATION.model_dump(), "name": name}).name == name


def test_a_wrong_name_is_refused_in_words(tmp_path: Path) -> None:
    path = STATION.save(tmp_path)
    path.write_text(path.read_text().replace('name = "lamp"', 'name = "line 3"'))
    with pytest.raises(InputError, match="name: 'line 3' is no name of a station; take letters, digits"):
        Station.load(tmp_path)


def test_a_station_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = STATION.save(tmp_path)
    assert path == tmp_path / FILE
    assert Station.load(tmp_path) == Station.load(path) == STATION
    assert sorted(file.name for file in tmp_path.iterdir()) == [FILE]


def test_whole_numbers_and_dates_of_a_hand_are_taken(tmp_path: Path) -> None:
    text = STATION.save(tmp_path).read_text()
    text = text.replace("limit = 0.7", "limit = 1").replace('"2026-01-02T03:04:05Z"', "2026-01-02T03:04:05Z")
    (tmp_path / FILE).write_text(text)
    assert Station.load(tmp_path).limit == 1
    assert Station.load(tmp_path).made == STATION.made


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("limit = 0.7", "limit = 7", "limit"),
        ("limit = 0.7", 'limit = "high"', "limit"),
        ("limit = 0.7", "limit = nan", "limit"),
        ("limit = 0.7", "limit = 0.4", "unsure_from must be at most limit"),
        ("limit = 0.7", "", "unsure_from must be at most limit"),
        ("limit = 0.7", "limmit = 0.7", "limmit"),
        ('name = "lamp"', 'name = "../lamp"', "name"),
        ('name = "lamp"', "", "name"),
        ("max_pixels = 100000", "max_pixels = 0", "max_pixels"),
        ('[\n    "references/0001.png",\n]', "[]", "references"),
        ('"references/0001.png"', '"../secret.png"', "references.0"),
        ('"references/0001.png"', '"/etc/passwd"', "references.0"),
        ('"references/0001.png"', "7", "references.0"),
        ("zones = []", '[[zones]]\nkind = "ignore"\npoints = [[1e300, 0], [0, 1], [1, 1]]', "zones.0.points"),
        ("max_false_alarms = 0.02", "max_false_alarms = 2", "max_false_alarms"),
        ('picture = "normals/0001.png"', 'picture = ""', "normals.0.picture"),
        ("score = 0.25", "score = -1", "normals.0.score"),
        ("quick = true", "name = true", "options"),
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = = 1", "not valid TOML"),
        ("format = 1", "format = " + "1" * 5000, "not valid TOML"),
        ("format = 1", ".".join("a" * 3000) + " = 1", "not valid TOML"),
        ("format = 1", ".".join("a" * 500) + " = 1", "not valid TOML (tables inside tables, too many)"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = STATION.save(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        Station.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert field in message
    assert "\n" not in message


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; make a station with"):
        Station.load(tmp_path / "gone")
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid TOML"):
        Station.load(tmp_path)
    (tmp_path / FILE).write_text("x = " + "[" * 100_000)
    with pytest.raises(InputError, match="not valid TOML"):
        Station.load(tmp_path)


@settings(max_examples=150)
@given(content=st.deferred(lambda: damaged(STATION.to_toml().encode())))
def test_a_damaged_file_is_refused_or_means_something(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / FILE).write_bytes(content)
    try:
        station = Station.load(folder)
    except InputError as error:
        assert "\n" not in str(error) and str(folder / FILE) in str(error)
    else:
        station.save(folder)
        assert Station.load(folder) == station


@pytest.mark.parametrize("name", ["references/0001.png", "normals/0001.png", "archive.sqlite3", "tests.jsonl", "watch"])
def test_no_link_leads_out_of_a_station(tmp_path: Path, name: str) -> None:
    folder, _ = grey_station(tmp_path)
    secret = grey_picture(tmp_path / "secret.png", 100)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    content = secret.read_bytes()
    picture = str(tmp_path / "good/000.png")
    words = {
        "normals/0001.png": ["station", "calibrate", str(folder)],
        "tests.jsonl": ["station", "test", str(folder), "--good", picture, "--bad", picture],
    }.get(name, ["watch", "--station", str(folder), "--once", str(tmp_path / "good")])
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError), done.output
    assert f"{folder / name}: a link that leads out of the station" in str(done.exception)
    assert secret.read_bytes() == content
