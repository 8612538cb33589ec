"""The database of an archive: SQLite's tables, whose rows stay as they are, and its errors in one clear line.

    database = Database(folder)                          # folder/archive.sqlite3, made if it is not there
    with database.transaction() as connection:           # all or nothing; on the disk at its end
        connection.execute("INSERT INTO …")
    database.rows("SELECT * FROM inspections WHERE id = ?", (3,))

Triggers refuse every change of a row, and its end. A database of a newer version, or with views and triggers that no
archive writes, is refused.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.service.station import path_inside
from lad_reasoner.text import printable

DATABASE = "archive.sqlite3"
FORMAT = 1  # of the tables

_TABLES = """
CREATE TABLE IF NOT EXISTS inspections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, part TEXT NOT NULL, who TEXT NOT NULL,
    outcome TEXT NOT NULL, why TEXT NOT NULL, p_value REAL, version INTEGER NOT NULL, verdict TEXT);
CREATE INDEX IF NOT EXISTS inspections_by_part ON inspections (part);
CREATE TABLE IF NOT EXISTS pictures (
    inspection INTEGER PRIMARY KEY REFERENCES inspections, file TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY AUTOINCREMENT, inspection INTEGER NOT NULL REFERENCES inspections, at TEXT NOT NULL,
    who TEXT NOT NULL, opinion TEXT NOT NULL, reason TEXT NOT NULL, note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS feedback_by_inspection ON feedback (inspection);
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, file TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, target TEXT NOT NULL,
    inspections TEXT NOT NULL, state TEXT NOT NULL, base INTEGER NOT NULL, version INTEGER,
    preview TEXT NOT NULL DEFAULT '{}', draft TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    detail TEXT NOT NULL, chain TEXT NOT NULL);
"""
_FINAL = ("inspections", "feedback", "versions", "audit")  # tables whose rows stay as they are
_TRIGGERS = {f"{table}_{verb.lower()}": f"{verb} ON {table}" for table in _FINAL for verb in ("UPDATE", "DELETE")}


class Database:
    """The database of one folder. Several threads, and several processes, may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.RLock()
        with clear_errors(folder):
            self.connection = sqlite3.connect(
                path_inside(folder, DATABASE), check_same_thread=False, isolation_level=None
            )
            self.connection.row_factory = sqlite3.Row
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Once the transaction under way has ended."""
        with self.lock:
            self.connection.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows that a SELECT finds."""
        with self.lock, clear_errors(self.folder):
            return self.connection.execute(query, tuple(values)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; on the disk at its end."""
        with self.lock, clear_errors(self.folder):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        database = self.connection
        database.execute("PRAGMA busy_timeout = 10000")
        known = database.execute("PRAGMA user_version").fetchone()[0]
        if known > FORMAT:
            raise InputError(f"{self.folder / DATABASE}: written by a newer version; update lad-reasoner")
        # A stranger's archive may hold a view that never ends under the name of a table.
        schema = database.execute("SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchall()
        if strange := {row["name"] for row in schema} - _TRIGGERS.keys():
            raise InputError(f"{self.folder / DATABASE}: holds {printable(min(strange))}, which no archive writes")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {FORMAT}")
        for trigger, when in _TRIGGERS.items():
            table = trigger.partition("_")[0]
            database.execute(
                f"CREATE TRIGGER IF NOT EXISTS {trigger} BEFORE {when} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} stay as they are'); END"
            )


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Turns the errors of the disk, of SQLite and of damaged rows into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        # A damaged file may have line ends in the names that SQLite calls.
        raise MachineError(f"{folder / DATABASE}: {explain(' '.join(str(error).split()))}") from None
    except (ValueError, TypeError) as error:  # TypeError: nothing stands where every row has a value
        problem = f"damaged ({' '.join(str(error).split())[:100]})"
        raise MachineError(f"{folder / DATABASE}: {explain(problem)}") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        problem = "the disk is full" if full else error.strerror or str(error)
        raise MachineError(f"{folder}: nothing was kept: {explain(problem)}") from None


def explain(problem: str) -> str:
    """The problem, and what helps."""
    if "full" in problem:
        return f"{problem}; make room, or keep pictures for fewer days"
    return f"{problem}; look at the disk and its permissions"
