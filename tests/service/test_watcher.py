"""A watched folder: each picture once, half-written ones waited for, faults of all kinds outlived."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.plant import part_result, wait_for
from helpers.stations import grey_picture, grey_station
from lad_reasoner.errors import InputError, ServiceError
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.records import Failure
from lad_reasoner.service import watcher
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.journal import KEPT, Journal
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks import Sink, open_sink
from lad_reasoner.service.watcher import FolderWatcher, check_folders, journal_path


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> OpenStation:
    folder, _ = grey_station(tmp_path_factory.mktemp("grey"), max_unsure=0.2)
    return OpenStation(folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "SETTLE", 0.1)
    monkeypatch.setattr(watcher, "PATIENCE", 0.5)
    monkeypatch.setattr(watcher, "PAUSE", 0.05)


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


class Line:
    """A watcher at work in a thread, and what it has given so far."""

    def __init__(self, watched: FolderWatcher, poll: float | None) -> None:
        self.results: list[PartResult] = []
        self.stop, self.watched, self.poll = threading.Event(), watched, poll
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for result in self.watched.watch(self.stop, self.poll):
                self.results.append(result)
        except BaseException as error:
            self.error = error

    def parts(self) -> list[str]:
        return [result.part for result in self.results]

    def wait(self, count: int, seconds: float = 5.0) -> list[PartResult]:
        wait_for(lambda: len(self.results) >= count or self.error is not None, seconds)
        assert self.error is None
        return self.results


@contextlib.contextmanager
def line(
    station: OpenStation, folder: Path, *sinks: Sink, poll: float | None = None, inspect: Any = None
) -> Iterator[Line]:
    """The line from its start to its end; its journal stays beside the folder."""
    with (
        Journal(folder.parent / "journal.sqlite", folder) as journal,
        FolderWatcher(folder, inspect or station.inspect, "grey", journal, sinks) as watched,
    ):
        working = Line(watched, poll)
        working.thread.start()
        try:
            yield working
        finally:
            working.stop.set()
            working.thread.join(5)
            assert not working.thread.is_alive()
    assert working.error is None


def inspect_all(station: OpenStation, folder: Path, *sinks: Sink) -> list[PartResult]:
    with (
        Journal(folder.parent / "journal.sqlite", folder) as journal,
        FolderWatcher(folder, station.inspect, "grey", journal, sinks) as watched,
    ):
        return list(watched.inspect_all())


@pytest.mark.parametrize("poll", [None, 0.1])
def test_pictures_are_inspected_as_they_come(station: OpenStation, camera: Path, poll: float | None) -> None:
    grey_picture(camera / "before.png", 101)
    with line(station, camera, poll=poll) as working:
        working.wait(1)
        for number, shade in enumerate((101, 116, 250), 1):
            start = time.monotonic()
            grey_picture(camera / f"{number}.png", shade)
            working.wait(number + 1)
            assert time.monotonic() - start < 2, "a verdict at once, not with the next part"
        grey_picture(camera / "shift" / "4.png", 101)  # a folder that is new
        working.wait(5)
    assert working.parts() == ["before", "1", "2", "3", "4"]
    assert [result.outcome for result in working.results] == ["good", "good", "unsure", "anomalous", "good"]
    assert [result.number for result in working.results] == [1, 2, 3, 4, 5]
    last = working.results[-1]
    assert (last.picture, last.station) == ("shift/4.png", "grey")
    assert last.verdict is not None
    assert last.verdict.query == str(camera / "shift" / "4.png")
    assert last.p_value is not None


def test_a_restart_repeats_nothing_and_loses_nothing(station: OpenStation, camera: Path) -> None:
    for number in range(3):
        grey_picture(camera / f"{number}.png", 100)
    assert len(inspect_all(station, camera)) == 3
    for number in range(3, 6):  # while nobody watches
        grey_picture(camera / f"{number}.png", 100)
    assert [result.part for result in inspect_all(station, camera)] == ["3", "4", "5"]
    assert inspect_all(station, camera) == []


def test_a_name_that_is_used_again_is_another_picture(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "sorted"))
    with line(station, camera, sink) as working:
        for count, shade in enumerate((101, 250, 102), 1):
            grey_picture(camera / "latest.png", shade)
            working.wait(count)
            wait_for(lambda: len(list((tmp_path / "sorted").rglob("*.png"))) == count)  # noqa: B023
    assert [result.outcome for result in working.results] == ["good", "anomalous", "good"]


def test_a_half_written_picture_is_waited_for(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    content = grey_picture(tmp_path / "whole.png", 250, side=200).read_bytes()
    with line(station, camera) as working, (camera / "slow.png").open("wb", buffering=0) as file:
        for start in range(0, len(content), len(content) // 4 + 1):
            file.write(content[start : start + len(content) // 4 + 1])
            time.sleep(0.2)  # longer than SETTLE, so that its parts are looked at
        working.wait(1)
    (result,) = working.results
    assert result.outcome == "anomalous"
    assert result.error == ""


def test_a_picture_that_stays_broken_is_invalid(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    whole = grey_picture(tmp_path / "whole.png", 250, side=200).read_bytes()
    (camera / "half.png").write_bytes(whole[:1000])
    (camera / "empty.png").write_bytes(b"")
    grey_picture(camera / "good.png", 101)
    sink = open_sink(str(tmp_path / "sorted"))
    results = {result.part: result for result in inspect_all(station, camera, sink)}
    assert {part: result.outcome for part, result in results.items()} == {
        "good": "good",
        "half": "invalid",
        "empty": "invalid",
    }
    assert "half.png" in results["half"].error
    assert "empty" in results["empty"].error
    assert {path.relative_to(tmp_path / "sorted").as_posix() for path in (tmp_path / "sorted").rglob("*.png")} == {
        "good/good.png",
        "invalid/half.png",
        "invalid/empty.png",
    }


def test_a_file_that_fills_the_memory_is_invalid(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    with (camera / "vast.png").open("wb") as file:
        file.write(grey_picture(tmp_path / "whole.png", 101).read_bytes())
        file.truncate(200 * 1024**3)  # takes no room on the disk
    grey_picture(camera / "good.png", 101)
    sink = open_sink(str(tmp_path / "sorted"))
    results = {result.part: result for result in inspect_all(station, camera, sink)}
    assert results["good"].outcome == "good"
    assert "vast.png: 200.0 GB; the file of a picture has at most 1 GB" in results["vast"].error
    assert [path.name for path in (tmp_path / "sorted").rglob("*.png")] == ["good.png"]


def test_a_black_picture_is_invalid_at_once(
    station: OpenStation, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "PATIENCE", 60.0)
    from PIL import Image

    Image.new("RGB", (32, 32)).save(camera / "lens_cap.png")
    (result,) = inspect_all(station, camera)
    assert result.outcome == "invalid"
    assert "one colour" in result.error


def test_an_invalid_answer_says_why(station: OpenStation, camera: Path) -> None:
    def inspect(pictures: Iterable[PictureSource]) -> Iterator[Decision | Failure]:
        for decision in station.inspect(pictures):
            assert isinstance(decision, Decision)
            reason = "overexposed" if "bright" in decision.verdict.query else ""
            verdict = decision.verdict.model_copy(update={"answer": "invalid", "reason": reason})
            yield Decision(verdict, "invalid", None, decision.judged)

    grey_picture(camera / "bright.png", 101)
    grey_picture(camera / "mute.png", 101)
    with line(station, camera, inspect=inspect) as working:
        working.wait(2)
    errors = {result.part: (result.outcome, result.error) for result in working.results}
    assert errors == {
        "bright": ("invalid", "overexposed"),
        "mute": ("invalid", "the judge gave no valid answer"),
    }


def test_what_is_no_picture_is_passed_over_and_named(
    station: OpenStation, camera: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (camera / "notes.txt").write_text("")
    (camera / ".hidden.png").write_bytes(b"x")
    (camera / "1.png.part").write_bytes(b"x")
    (camera / "gone.png").symlink_to(camera / "nowhere.png")
    grey_picture(camera / "1.png", 101).rename(camera / os.fsdecode(b"caf\xe9.png"))
    results = inspect_all(station, camera)
    assert [result.part for result in results] == ["caf\\udce9"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert any(".txt" in message for message in messages)
    assert any(".part" in message for message in messages)
    assert any("gone.png" in message for message in messages)


def test_sinks_get_each_result_once_over_restarts(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    addresses = [str(tmp_path / "results.jsonl"), str(tmp_path / "sorted")]
    for turn in range(3):
        grey_picture(camera / f"{turn}.png", 101)
        inspect_all(station, camera, *(open_sink(address) for address in addresses))
    assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == 3
    assert sorted(path.name for path in (tmp_path / "sorted/good").iterdir()) == ["0.png", "1.png", "2.png"]


def test_pictures_that_are_moved_away(station: OpenStation, camera: Path, tmp_path: Path) -> None:
    with line(station, camera, open_sink(str(tmp_path / "sorted"), move=True)) as working:
        for number in range(4):
            grey_picture(camera / f"{number}.png", 101)
        working.wait(4)
        wait_for(lambda: not list(camera.iterdir()))
    assert len(list((tmp_path / "sorted/good").iterdir())) == 4
    assert inspect_all(station, camera) == []


class Lamp(Sink):
    """Notes what the line does."""

    def __init__(self) -> None:
        super().__init__("lamp")
        self.states: list[str] = []

    def announce(self, state: str) -> None:  # type: ignore[override]
        self.states.append(state)

    def deliver(self, *_: object) -> None:
        """Nothing."""


def test_a_judge_that_fails_is_tried_again(
    station: OpenStation, camera: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [ServiceError("http://gpu/v1: no answer")] * 3
    lamp = Lamp()

    def inspect(pictures: Iterable[PictureSource]) -> Iterator[Any]:
        if failures:
            raise failures.pop()
        yield from station.inspect(pictures)

    grey_picture(camera / "1.png", 250)
    with line(station, camera, lamp, inspect=inspect) as working:
        working.wait(1)
        wait_for(lambda: lamp.states[-1] == "ready")
    assert working.results[0].outcome == "anomalous"
    assert lamp.states == ["ready", *["busy", "fault"] * 3, "busy", "ready"]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "http://gpu/v1: no answer; the pictures wait until this is mended",
        f"{camera}: goes on",
    ]


def test_a_full_disk_loses_no_picture(
    station: OpenStation, camera: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failures = Journal.record, [sqlite3.OperationalError("database or disk is full")] * 2

    def fail(*arguments: Any) -> PartResult:
        if failures:
            raise failures.pop()
        return record(*arguments)

    monkeypatch.setattr(Journal, "record", fail)
    for number in range(3):
        grey_picture(camera / f"{number}.png", 101)
    with line(station, camera) as working:
        working.wait(3)
    assert sorted(working.parts()) == ["0", "1", "2"]
    assert caplog.text.count("database or disk is full") == 1
    assert f"{camera.parent / 'journal.sqlite'}: database or disk is full; the pictures wait" in caplog.text


def test_a_share_that_goes_and_comes_back(
    station: OpenStation, camera: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LISTED", 0.1)
    grey_picture(camera / "0.png", 101)
    away, lamp = camera.with_name("away"), Lamp()
    with line(station, camera, lamp) as working:
        working.wait(1)
        camera.rename(away)
        wait_for(lambda: "is looked for" in caplog.text)
        wait_for(lambda: lamp.states[-1] == "fault")
        grey_picture(away / "1.png", 101)
        away.rename(camera)
        working.wait(2)
        grey_picture(camera / "2.png", 101)
        working.wait(3)
    assert working.parts() == ["0", "1", "2"], "none twice"
    assert caplog.text.count("is looked for") == 1
    assert lamp.states == ["ready", "busy", "ready", "fault", "ready", *["busy", "ready"] * 2]


def test_events_that_are_lost_lose_no_picture(
    station: OpenStation, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def deaf(*_: object, stop_event: threading.Event, **__: object) -> Iterator[set[object]]:
        while not stop_event.wait(0.02):
            yield set()

    monkeypatch.setattr(watchfiles, "watch", deaf)
    monkeypatch.setattr(watcher, "LISTED", 0.2)
    with line(station, camera) as working:
        grey_picture(camera / "1.png", 101)
        working.wait(1)
    assert working.parts() == ["1"]


def test_an_unmounted_share_that_looks_empty(
    station: OpenStation, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LISTED", 0.1)
    grey_picture(camera / "0.png", 101)
    with line(station, camera) as working:
        working.wait(1)
        stored = camera.with_name("0.png")
        shutil.move(camera / "0.png", stored)
        time.sleep(0.3)
        shutil.move(stored, camera / "0.png")
        grey_picture(camera / "1.png", 101)
        working.wait(2)
        time.sleep(0.3)
    assert working.parts() == ["0", "1"]


def test_the_journal_is_pruned_while_the_line_works(
    station: OpenStation, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "PRUNED", 0.0)
    gone = PictureFile(camera / "gone.png", 1, 1)
    with Journal(camera.parent / "journal.sqlite", camera) as journal:
        journal.record(gone, part_result(time=datetime.now(UTC) - KEPT - timedelta(days=1)), [])
    with line(station, camera) as working:
        journal = working.watched.journal
        time.sleep(0.5)
        assert journal.knows(gone), "an empty folder may be a share that is away"
        grey_picture(camera / "1.png", 101)
        working.wait(1)
        wait_for(lambda: not journal.knows(gone))
    assert working.parts() == ["1"]


def test_a_stop_keeps_what_is_not_inspected(station: OpenStation, camera: Path) -> None:
    for number in range(6):
        grey_picture(camera / f"{number}.png", 101)
        os.utime(camera / f"{number}.png", ns=(number, number))
    with line(station, camera) as working:
        wait_for(lambda: bool(working.results), 5)
        working.stop.set()
        working.thread.join(5)
    rest = inspect_all(station, camera)
    assert working.parts() + [result.part for result in rest] == list("012345")


class Slow(Sink):
    """Takes a twentieth of a second for each result."""

    def deliver(self, *_: object) -> None:
        time.sleep(0.05)


@pytest.mark.parametrize(("patience", "left"), [(None, False), (0.1, True)])
def test_the_end_waits_for_slow_sinks_or_keeps_their_results(
    station: OpenStation, camera: Path, patience: float | None, left: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        grey_picture(camera / f"{number}.png", 101)
    with Journal(camera.parent / "journal.sqlite", camera) as journal:
        watched = FolderWatcher(camera, station.inspect, "grey", journal, [Slow("slow")])
        for delivery in watched.deliveries:
            delivery.start()
        list(watched.inspect_all())
        watched.finish(patience)
        assert bool(journal.waiting()) == left
    for delivery in watched.deliveries:
        delivery.join(5)
    assert not caplog.records, "what is left behind is silent"


def test_folders_that_would_feed_themselves_are_refused(tmp_path: Path, camera: Path) -> None:
    elsewhere = tmp_path / "station"
    check_folders(camera, elsewhere, [open_sink(str(tmp_path / "sorted"))])
    check_folders(camera, elsewhere, [open_sink(str(tmp_path))])
    with pytest.raises(InputError, match="the station keeps pictures of its own there"):
        check_folders(camera, elsewhere, [open_sink(str(elsewhere))])
    with pytest.raises(InputError, match="watched again"):
        check_folders(camera, elsewhere, [open_sink(str(camera / "sorted"))])
    (tmp_path / "sorted" / "bad").mkdir(parents=True)
    with pytest.raises(InputError, match="watched again"):
        check_folders(tmp_path / "sorted" / "bad", elsewhere, [open_sink(str(tmp_path / "sorted"))])
    with pytest.raises(InputError, match="lies in the watched folder"):
        check_folders(tmp_path, elsewhere, [])
    with pytest.raises(InputError, match="not a folder"):
        check_folders(tmp_path / "nothing", elsewhere, [])
    with pytest.raises(InputError, match="one folder only"):
        check_folders(camera, elsewhere, [open_sink(str(tmp_path / name), move=True) for name in "ab"])


def test_each_folder_has_a_journal(tmp_path: Path) -> None:
    paths = {journal_path(tmp_path, tmp_path / line / "in") for line in ("line1", "line2")}
    assert len(paths) == 2
    assert journal_path(tmp_path, tmp_path / "line1" / ".." / "line1" / "in") in paths


def test_a_file_that_changes_while_it_is_read_is_left(station: OpenStation, camera: Path) -> None:
    path = grey_picture(camera / "1.png", 101)
    file = PictureFile.at(path)
    assert file is not None
    os.utime(path, ns=(5, 5))
    assert watcher._read_whole(file) is None
