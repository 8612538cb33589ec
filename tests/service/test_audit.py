"""The audit log: a line that was changed or taken out is found."""

import sqlite3
from pathlib import Path

from lad_reasoner.service.archive import Archive


def test_an_audit_line_that_was_changed_is_found(archive: Archive, tmp_path: Path) -> None:
    for number in range(5):
        archive.note("Ada", "looked", number=number)
    assert archive.broken_audit() is None
    assert [line.detail for line in archive.audit(limit=2)] == [{"number": 4}, {"number": 3}]
    with sqlite3.connect(tmp_path / "archive.sqlite3") as database:
        database.execute("DROP TRIGGER audit_update")
        database.execute("UPDATE audit SET who = 'Eve' WHERE id = 3")
    database.close()
    assert archive.broken_audit() == 3


def test_an_audit_line_that_was_taken_out_is_found(archive: Archive, tmp_path: Path) -> None:
    for number in range(5):
        archive.note("Ada", "looked", number=number)
    with sqlite3.connect(tmp_path / "archive.sqlite3") as database:
        database.execute("DROP TRIGGER audit_delete")
        database.execute("DELETE FROM audit WHERE id = 2")
    database.close()
    assert archive.broken_audit() == 3
