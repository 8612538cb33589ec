"""Results in the station's history: each once, with its own picture."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.plant import part_result, wait_for
from helpers.stations import grey_picture, grey_station
from helpers.verdicts import verdict
from lad_reasoner.service.archived import Retention
from lad_reasoner.service.delivery import Delivery
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.parts import PictureFile
from lad_reasoner.service.sinks import open_sink
from lad_reasoner.service.sinks.history import StationHistory
from lad_reasoner.service.watcher import FolderWatcher


@pytest.fixture
def history(tmp_path: Path) -> Iterator[StationHistory]:
    folder, station = grey_station(tmp_path)
    sink = StationHistory(folder, station.name, Retention())
    yield sink
    sink.close()


def picture(path: Path, shade: int = 101) -> PictureFile:
    file = PictureFile.at(grey_picture(path, shade))
    assert file is not None
    return file


def test_each_result_is_kept_once_with_its_picture(history: StationHistory, tmp_path: Path) -> None:
    file = picture(tmp_path / "in" / "1.png")
    history.deliver(part_result(1), file)
    history.deliver(part_result(1), file)  # after a crash
    history.deliver(part_result(2, part="part-1", outcome="invalid", verdict=None, error="no judge"), file)
    second, first = history.archive.history()
    assert (first.part, first.outcome, first.p_value, first.who) == ("part-1", "anomalous", 0.01, "watch in 1")
    assert first.verdict is not None
    assert history.archive.content(first.id) == file.path.read_bytes()
    assert (second.outcome, second.why, second.verdict) == ("not judged", "no judge", None)


def test_the_next_parts_picture_is_not_kept_for_it(history: StationHistory, tmp_path: Path) -> None:
    file = picture(tmp_path / "in" / "latest.png")
    picture(file.path, 250)
    history.deliver(part_result(1), file)
    file.path.unlink()
    history.deliver(part_result(2), file)
    assert [inspection.picture for inspection in history.archive.history()] == [False, False]


def test_old_pictures_go_by_the_rules(history: StationHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.deliver(part_result(1, outcome="good"), picture(tmp_path / "in" / "1.png"))
    assert history.archive.history()[0].picture
    history.retention, history._retained = Retention(good=1), -1e9
    monkeypatch.setattr("lad_reasoner.service.archive.datetime", _Tomorrow)
    history.deliver(part_result(2, outcome="good"), picture(tmp_path / "in" / "2.png"))
    assert [inspection.picture for inspection in history.archive.history()] == [True, False]


class _Tomorrow(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(days=1, hours=1)


def test_a_picture_is_moved_after_the_history_has_it(
    history: StationHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = picture(tmp_path / "in" / "1.png")
    content = file.path.read_bytes()
    mover = open_sink(str(tmp_path / "sorted"), move=True)
    with Journal(tmp_path / "journal.sqlite", tmp_path / "in") as journal:
        journal.record(file, part_result(), [history.name, mover.name])
        first = Delivery(history, journal)
        second = Delivery(mover, journal, after=first)
        second.start()
        second.wake()
        with pytest.raises(AssertionError):
            wait_for(lambda: not file.path.exists(), 0.3)
        first.start()
        wait_for(lambda: not file.path.exists())
        second.request_stop()
        first.request_stop()
        first.join(5)
        second.join(5)
        assert not journal.waiting()
        assert second._ended.is_set()
    (kept,) = StationHistory(history.archive.folder, history.archive.name, Retention()).archive.history()
    assert kept.picture
    assert (tmp_path / "sorted/bad/1.png").read_bytes() == content


def test_the_watcher_keeps_that_order(history: StationHistory, tmp_path: Path) -> None:
    mover = open_sink(str(tmp_path / "sorted"), move=True)
    copier = open_sink(str(tmp_path / "copies"))
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        watched = FolderWatcher(tmp_path, lambda pictures: iter(()), "grey", journal, [mover, history, copier])
    assert [(each.sink, each.after and each.after.sink) for each in watched.deliveries] == [
        (history, None),
        (mover, history),
        (copier, None),
    ]


def test_the_same_number_of_another_folder_is_kept(history: StationHistory, tmp_path: Path) -> None:
    for line in ("line1", "line2"):  # two cameras of one station; or the journal was begun anew
        file = picture(tmp_path / line / "in" / "4711.png")
        history.deliver(part_result(1, part="4711", verdict=verdict(query=str(file.path))), file)
    assert [inspection.who for inspection in history.archive.history(part="4711")] == ["watch in 1"] * 2


def test_a_result_that_waited_keeps_the_version_that_decided(history: StationHistory, tmp_path: Path) -> None:
    assert history.version == 1
    file = history.folder / "station.toml"
    file.write_text(file.read_text() + "# edited\n")
    history.note_version("file changed")
    for number, version in ((1, 1), (2, 2)):  # the first was recorded before, while the disk was full
        history.deliver(part_result(number, version=version), picture(tmp_path / "in" / f"{number}.png"))
    assert [inspection.version for inspection in history.archive.history()] == [2, 1]
