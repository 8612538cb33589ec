"""The journal and the deliveries: nothing that was recorded is lost, and a sink's fault stays its own."""

import errno
import logging
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from helpers.plant import part_result, wait_for
from lad_reasoner.errors import InputError
from lad_reasoner.service import delivery
from lad_reasoner.service.delivery import Delivery
from lad_reasoner.service.journal import KEPT, Journal
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import RejectedResultError, Sink, UndeliveredError


class Basket(Sink):
    """Takes results, or raises the next of its `faults`."""

    def __init__(self, name: str = "basket", *faults: Exception) -> None:
        super().__init__(name)
        self.faults, self.numbers, self.opened, self.closed = list(faults), list[int](), 0, 0

    def open(self) -> None:
        self.opened += 1

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.numbers.append(result.number)

    def close(self) -> None:
        self.closed += 1


def file_of(folder: Path, name: str) -> PictureFile:
    return PictureFile(folder / name, 1, 1)


def record(journal: Journal, count: int, *sinks: str, first: int = 0) -> None:
    for index in range(first, first + count):
        journal.record(file_of(journal.folder, f"{index}.png"), part_result(), sinks)


def deliver_all(journal: Journal, *sinks: Sink) -> None:
    """One life of the deliveries."""
    threads = [Delivery(sink, journal) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.request_stop()
    for thread in threads:
        thread.join(5)


def test_a_journal_outlives_its_process(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "journal.sqlite", tmp_path) as journal:
        record(journal, 2, "a", "b")
        journal.deliver(1, "a")
    with Journal(tmp_path / "new" / "journal.sqlite", tmp_path) as journal:
        assert journal.waiting() == {"a": 1, "b": 2}
        assert [(result.number, file.path.name) for result, file in journal.pending("b")] == [
            (1, "0.png"),
            (2, "1.png"),
        ]
        assert journal.knows(file_of(tmp_path, "0.png"))
        assert not journal.knows(PictureFile(tmp_path / "0.png", 1, 2)), "written anew: another picture"
        record(journal, 1, "a", first=7)
        assert [result.number for result, _ in journal.pending("a")] == [2, 3]


def test_a_picture_has_one_result(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        record(journal, 1, "a")
        with pytest.raises(sqlite3.IntegrityError):
            record(journal, 1, "a")
        assert journal.waiting() == {"a": 1}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = PictureFile(tmp_path / os.fsdecode(b"caf\xe9.png"), 1, 1)
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        journal.record(file, part_result(), ["a"])
        assert journal.knows(file)
        assert journal.pending("a")[0][1] == file


def test_a_file_that_is_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            closed.append(True)
            super().close()

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    (tmp_path / "journal.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="cannot be used as the journal"):
        Journal(tmp_path / "journal.sqlite", tmp_path)
    assert closed == [True]


def test_old_results_go_when_their_picture_is_gone(tmp_path: Path) -> None:
    old = datetime.now(UTC) - KEPT - timedelta(days=1)
    (tmp_path / "there.png").write_bytes(b"x")
    there = PictureFile.at(tmp_path / "there.png")
    assert there is not None
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        journal.record(there, part_result(time=old), [])
        journal.record(file_of(tmp_path, "gone.png"), part_result(time=old), [])
        journal.record(file_of(tmp_path, "waits.png"), part_result(time=old), ["a"])
        journal.record(file_of(tmp_path, "young.png"), part_result(time=datetime.now(UTC)), [])
        assert journal.prune() == 1
        assert journal.knows(there)
        assert not journal.knows(file_of(tmp_path, "gone.png"))
        last = journal.record(file_of(tmp_path, "next.png"), part_result(), [])
        assert last.number == 5, "numbers are never used again"


def test_a_failing_sink_gets_all_later_and_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    away = [UndeliveredError("not there"), OSError(28, "No space left on device"), RuntimeError("what nobody foresaw")]
    good, bad = Basket("good"), Basket("bad", *away)
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        threads = [Delivery(good, journal), Delivery(bad, journal)]
        record(journal, 120, "good", "bad")
        for thread in threads:
            thread.start()
        wait_for(lambda: len(good.numbers) == len(bad.numbers) == 120)
        record(journal, 1, "good", "bad", first=500)
        for thread in threads:
            thread.wake()
        wait_for(lambda: len(good.numbers) == len(bad.numbers) == 121)
        for thread in threads:
            thread.request_stop()
            thread.join(5)
        assert not journal.waiting()
    assert good.numbers == bad.numbers == list(range(1, 122))
    assert (good.opened, bad.opened) == (1, 4), "opened again after each failure"
    assert good.closed == bad.closed == 1
    assert [entry.getMessage() for entry in caplog.records] == [
        "bad: not there; results are kept and sent when it is back",
        "bad: delivers again",
    ]


def test_a_rejected_result_is_kept_and_does_not_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Basket("mes", RejectedResultError("status 400"))
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        record(journal, 3, "mes")
        deliver_all(journal, sink)
        assert sink.numbers == [2, 3]
        assert journal.waiting() == {"mes": 1}
    assert "status 400; it is kept" in caplog.text
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        deliver_all(journal, sink)
        assert sink.numbers == [2, 3, 1], "offered again at the next start"


def test_an_end_does_not_wait_for_a_sink_that_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Basket("away", *(UndeliveredError("not there") for _ in range(50)))
    caplog.set_level(logging.WARNING)
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        record(journal, 1, "away")
        thread = Delivery(sink, journal)
        thread.start()
        wait_for(lambda: bool(caplog.records))
        thread.request_stop()
        thread.join(5)
        assert journal.waiting() == {"away": 1}
        assert sink.closed == 1


def test_what_the_journal_could_not_note_is_not_delivered_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    sink = Basket()
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        note, failures = journal.deliver, [sqlite3.OperationalError("database or disk is full")] * 3

        def deliver(number: int, name: str) -> None:
            if failures:
                raise failures.pop()
            note(number, name)

        monkeypatch.setattr(journal, "deliver", deliver)
        record(journal, 2, "basket")
        thread = Delivery(sink, journal)
        thread.start()
        wait_for(lambda: not journal.waiting())
        thread.request_stop()
        thread.join(5)
    assert sink.numbers == [1, 2]


def test_a_fault_of_a_disk_is_said_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk was `[Errno 28]`, and one of the journal was told of the sink."""
    faults = (
        OSError(errno.ENOSPC, "No space left on device", "sorted/1.png"),
        sqlite3.OperationalError("disk is full"),
    )
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        record(journal, 1, "basket", "other")
        deliver_all(journal, Basket("basket", faults[0]), Basket("other", faults[1]))
    end = "; results are kept and sent when it is back"
    assert f"basket: No space left on device: sorted/1.png{end}" in caplog.messages
    assert f"other: the station's journal: disk is full{end}" in caplog.messages
