"""The challenge at the start of a shift, and the lock that a failed one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.stations import grey_picture, grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.records import Failure
from lad_reasoner.service.challenge import Challenge, challenge
from lad_reasoner.service.inspection import Decision, OpenStation, why_locked
from lad_reasoner.service.setup import calibrate
from lad_reasoner.service.station import TESTS


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return grey_station(tmp_path, max_unsure=0.2)[0]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return grey_picture(tmp_path / "master_good.png", 101)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return grey_picture(tmp_path / "master_bad.png", 240)


def test_a_failed_challenge_locks_also_a_station_that_is_open(station: Path, good: Path, bad: Path) -> None:
    opened = OpenStation(station)
    assert challenge(station, good=[good], bad=[bad]).passed
    assert [type(result) for result in opened.inspect([good])] == [Decision]
    failed = challenge(station, good=[good], bad=[bad, good])
    assert not failed.passed
    assert failed.reason == f"the bad master part {good} was good"
    (refused,) = opened.inspect([good])
    assert isinstance(refused, Failure)
    assert refused.error.startswith("station: locked since 2")
    assert refused.error.endswith(f"{failed.reason}; run `lad-reasoner station test` with the master parts")
    calibrate(station)  # may still be done
    assert challenge(station, good=[good], bad=[bad]).passed
    assert [type(result) for result in opened.inspect([good])] == [Decision]
    assert [record.passed for record in read_records(station / TESTS, Challenge)] == [True, False, True]


def test_an_unsure_part_is_neither(station: Path, good: Path, bad: Path, tmp_path: Path) -> None:
    unsure = grey_picture(tmp_path / "unsure.png", 116)
    assert challenge(station, good=[unsure], bad=[bad]).reason == f"the good master part {unsure} was unsure"
    assert challenge(station, good=[good], bad=[unsure]).reason == f"the bad master part {unsure} was unsure"


def test_a_part_that_cannot_be_read_fails(station: Path, good: Path, tmp_path: Path) -> None:
    record = challenge(station, good=[good], bad=[tmp_path / "gone.png"])
    assert not record.passed
    assert "was not judged" in record.reason
    assert why_locked(station)


def test_both_kinds_are_needed(station: Path, good: Path) -> None:
    with pytest.raises(InputError, match="needs a good and a bad master part"):
        challenge(station, good=[good], bad=[])
    assert not (station / TESTS).exists()


def test_a_log_that_was_cut_or_spoilt(station: Path, good: Path, bad: Path) -> None:
    challenge(station, good=[bad], bad=[bad])
    locked = why_locked(station)
    assert locked
    path = station / TESTS
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])  # a power cut while the next was written
    assert why_locked(station) == locked
    assert challenge(station, good=[good], bad=[bad]).passed
    assert [record.passed for record in read_records(station / TESTS, Challenge)] == [False, True]
    assert why_locked(station) == ""
    for spoilt in (b"\xff\n", b"[]\n", b"{}\n", b"7\n"):
        path.write_bytes(spoilt)
        assert "cannot be read" in why_locked(station)
    path.write_bytes(b"")
    assert why_locked(station) == ""
