"""The archive: what is kept stays as it is, what goes goes by rule, and a full disk loses nothing."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from helpers.archives import seen, write
from helpers.served import grey_png
from lad_reasoner.errors import MachineError
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import AbsentError, Opinion, Outcome, Retention


def test_an_inspection_is_read_back_as_it_was_kept(archive: Archive) -> None:
    first, second = archive.keep([seen("a"), seen("b", "anomalous", grey_png(10))])
    assert (first.id, second.id) == (1, 2)
    assert archive.inspection(2) == second and second.picture and second.station == "bottle"
    assert archive.content(2) == grey_png(10)
    with pytest.raises(AbsentError, match="bottle: no inspection 3"):
        archive.inspection(3)


def test_another_process_reads_what_was_kept(tmp_path: Path, archive: Archive) -> None:
    archive.keep([seen("a")])
    other = Archive(tmp_path, "bottle")
    assert [each.part for each in other.history()] == ["a"]
    other.keep([seen("b")])
    assert [each.part for each in archive.history()] == ["b", "a"]
    other.close()


def test_history_is_filtered_and_paged(archive: Archive) -> None:
    outcomes: list[Outcome] = ["good", "anomalous", "unsure"]
    archive.keep([seen(str(number), outcomes[number % 3], None) for number in range(9)])
    archive.review(2, Opinion.GOOD, who="Ada")
    assert [each.id for each in archive.history(limit=3)] == [9, 8, 7]
    assert [each.id for each in archive.history(limit=3, before=7)] == [6, 5, 4]
    assert [each.id for each in archive.history(limit=3, after=4)] == [7, 6, 5]
    assert [each.id for each in archive.history(outcome="anomalous")] == [8, 5, 2]
    assert [each.id for each in archive.history(reviewed=True)] == [2]
    assert len(archive.history(reviewed=False)) == 8 and archive.history(with_picture=True) == []
    assert [each.id for each in archive.history(part="4")] == [5]
    assert archive.counts() == {"good": 3, "anomalous": 3, "unsure": 3}


def test_the_last_opinion_counts(archive: Archive) -> None:
    archive.keep([seen()])
    assert archive.inspection(1).truth is None
    archive.review(1, Opinion.MISSED, who="Ada", reason="damage", note="a scratch")
    inspection = archive.review(1, Opinion.GOOD, who="Bo")
    assert inspection.truth == "good" and [each.who for each in inspection.feedback] == ["Ada", "Bo"]


def test_pictures_go_by_the_rule_of_their_outcome(archive: Archive) -> None:
    archive.keep([seen("good"), seen("bad", "anomalous"), seen("unsure", "unsure"), seen("said", "anomalous")])
    archive.review(4, Opinion.GOOD, who="Ada")

    def left() -> list[str]:
        return [each.part for each in reversed(archive.history(with_picture=True))]

    later = datetime.now(UTC) + timedelta(days=8)
    assert archive.retain(Retention(), later) == 0
    assert archive.retain(Retention(good=10), later) == 0
    assert archive.retain(Retention(good=7), later) == 1 and left() == ["bad", "unsure", "said"]
    assert archive.retain(Retention(rejected=7), later) == 2 and left() == ["said"]
    assert archive.retain(Retention(good=7, rejected=7, reviewed=7), later) == 1 and left() == []
    assert len(archive.history()) == 4 and not archive.inspection(1).picture
    assert [path for path in (archive.folder / "pictures").rglob("*") if path.is_file()] == []
    with pytest.raises(AbsentError, match="no picture of inspection 1 is kept"):
        archive.content(1)
    assert archive.audit()[0].detail == {"days": 7, "number": 1, "rule": "reviewed"}


def test_a_picture_that_cannot_be_deleted_is_said_and_goes_at_a_later_start(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive.keep([seen("1"), seen("2")])

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "Input/output error")

    later = datetime.now(UTC) + timedelta(days=8)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        assert archive.retain(Retention(good=7), later) == 2
    assert caplog.messages == [
        "bottle: 2 old pictures stay on the disk (Input/output error); a later start deletes them"
    ]
    files = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        os.utime(path, (0, 0))
    Archive(tmp_path, "bottle").close()
    assert not any(path.is_file() for path in (tmp_path / "pictures").rglob("*"))


def test_a_clock_that_is_set_back_deletes_nothing_and_is_written_down(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.keep([seen("before")])
    past = (datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="milliseconds")
    monkeypatch.setattr("lad_reasoner.service.archive.utc_now", lambda: past)
    archive.keep([seen("after")])
    archive.keep([seen("again")])
    assert [each.part for each in archive.history()] == ["again", "after", "before"]
    assert [line.action for line in archive.audit()] == ["clock went back"]
    assert archive.retain(Retention(good=7), datetime.now(UTC) - timedelta(days=400)) == 0


def test_after_a_clock_that_was_set_forward_no_picture_is_deleted_for_a_day(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive.keep([seen("old")])
    wall, passed = time.time(), time.monotonic()
    days = 24 * 3600.0

    def set_clock(ahead: float, later: float) -> None:
        """`ahead` of the true time, `later` seconds after the start."""
        monkeypatch.setattr(time, "time", lambda: wall + ahead + later)
        monkeypatch.setattr(time, "monotonic", lambda: passed + later)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(time.time(), tz)

    monkeypatch.setattr("lad_reasoner.service.archive.datetime", Clock)
    for ahead, later in ((0.0, 1.0), (3000 * days, 2.0), (3000 * days, 0.9 * days), (0.0, 0.95 * days)):
        set_clock(ahead, later)
        assert archive.retain(Retention(good=7)) == 0
    assert [line.action for line in archive.audit()] == ["clock went forward"]
    assert caplog.messages == ["bottle: the clock went 72000 h forward; for a day no picture is deleted"]
    set_clock(3000 * days, 3 * days)  # it stays so: then it is true
    assert archive.retain(Retention(good=7)) == 0
    set_clock(3000 * days, 4.1 * days)
    assert archive.retain(Retention(good=7)) == 1


def test_a_full_disk_is_one_clear_line_and_loses_nothing(archive: Archive) -> None:
    archive.keep([seen("kept")])
    pages = archive._database.connection.execute("PRAGMA page_count").fetchone()[0]
    archive._database.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(MachineError, match="disk is full; make room"):
        archive.keep([seen("x" * 20_000)])
    archive._database.connection.execute("PRAGMA max_page_count = 1000000")
    assert [each.part for each in archive.history()] == ["kept"]
    assert len(list((archive.folder / "pictures").glob("*/*"))) == 1
    archive.keep([seen("next")])
    assert archive.history()[0].part == "next"


def test_who_comes_at_the_same_time_shares_a_transaction(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []
    inner = archive._commit_pending

    def slow() -> None:
        commits.append(1)
        time.sleep(0.05)
        inner()

    monkeypatch.setattr(archive, "_commit_pending", slow)
    with ThreadPoolExecutor(20) as pool:
        kept = list(pool.map(lambda number: archive.keep([seen(str(number))])[0], range(20)))
    assert [each.part for each in kept] == [str(number) for number in range(20)] and len(commits) < 10
    assert all(archive.inspection(each.id) == each for each in kept)

    pages = archive._database.connection.execute("PRAGMA page_count").fetchone()[0]
    archive._database.connection.execute(f"PRAGMA max_page_count = {pages}")

    def fail(number: int) -> str:
        with pytest.raises(MachineError, match="make room") as failed:
            archive.keep([seen("x" * 20_000)])
        return str(failed.value)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fail, range(4)))) == 1
    assert len(list((archive.folder / "pictures").glob("*/*"))) == 20


def test_a_picture_that_was_changed_on_the_disk_is_not_given_out(archive: Archive) -> None:
    archive.keep([seen(content=grey_png(10))])
    (path,) = (archive.folder / "pictures").glob("*/*")
    assert path.name.startswith(hashlib.sha256(grey_png(10)).hexdigest()[:16])
    path.write_bytes(grey_png(20))
    with pytest.raises(AbsentError, match="was changed on the disk"):
        archive.content(1)
    path.unlink()
    with pytest.raises(AbsentError, match="is gone from the disk"):
        archive.content(1)


def test_a_version_is_a_new_one_only_if_the_file_is_another(archive: Archive) -> None:
    assert archive.version("a", who="Ada", why="start") == 1
    assert archive.version("a", who="Ada", why="start") == 1
    assert archive.version("b", who="Ada", why="edit") == 2
    assert archive.version_file(1) == "a"


def test_no_picture_from_elsewhere_is_given_out_or_deleted(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret")
    archive = Archive(tmp_path / "bottle", "bottle")
    archive.keep([seen()])
    write(archive.folder, "UPDATE pictures SET file = '../../secret.txt'")
    for ask in (lambda: archive.content(1), lambda: archive.retain(Retention(0.0, 0.0, 0.0))):
        with pytest.raises(MachineError, match="names a picture that it did not write"):
            ask()
    archive.close()
    assert secret.exists()


def test_other_files_in_a_linked_folder_of_pictures_stay(tmp_path: Path) -> None:
    other = tmp_path / "documents/letters/old.txt"
    other.parent.mkdir(parents=True)
    other.touch()
    os.utime(other, (0, 0))
    (tmp_path / "bottle").mkdir()
    (tmp_path / "bottle/pictures").symlink_to(tmp_path / "documents")
    Archive(tmp_path / "bottle", "bottle").close()
    assert other.exists()


def test_damaged_rows_are_one_clear_line(archive: Archive) -> None:
    archive.keep([seen()])
    archive.begin_change("limit", [1], who="Ada", base=1)
    for statement, ask in (
        ("UPDATE inspections SET verdict = '{'", lambda: archive.history(limit=5)),
        ("UPDATE changes SET inspections = '[[[['", lambda: archive.changes()),
        ("UPDATE changes SET inspections = '[[[['", lambda: archive.change(1)),
        ("UPDATE audit SET detail = 'x'", lambda: archive.audit()),
    ):
        write(archive.folder, statement)
        with pytest.raises(MachineError, match=r"archive\.sqlite3: damaged \("):
            ask()


def test_a_value_that_is_gone_is_one_clear_line(archive: Archive) -> None:
    archive.keep([seen()])
    archive.begin_change("limit", [1], who="Ada", base=1)
    for statement in (  # no other statement puts nothing into a column that must have a value
        "CREATE TABLE other AS SELECT id, at, who, action, NULL AS detail, chain FROM audit",
        "DROP TABLE audit",
        "ALTER TABLE other RENAME TO audit",
    ):
        write(archive.folder, statement)
    with pytest.raises(MachineError, match=r"archive\.sqlite3: damaged \("):
        archive.audit()
    assert archive.broken_audit() == 1
