"""What a watched folder has been through: which pictures have a result, and which sinks still wait for it.

    with Journal(path) as journal:
        result = journal.record(file, result, ["results.jsonl"])     # one transaction: the result and its deliveries
        for result, file in journal.pending("results.jsonl"): ...
            journal.deliver(result.number, "results.jsonl")

SQLite with a write-ahead log, written through to the disk: a result that was recorded outlives SIGKILL and a power cut,
and a picture without a record is inspected again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.text import printable

KEPT = timedelta(days=30)  # results of pictures that are gone; not shorter, because an unmounted share looks empty
BATCH = 100  # results that are read at a time

_TABLES = """
CREATE TABLE IF NOT EXISTS results (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    path BLOB NOT NULL,  -- below the folder; bytes, because names need not be valid UTF-8
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    time TEXT NOT NULL,
    result TEXT NOT NULL DEFAULT '',
    UNIQUE (path, size, modified_ns)
);
CREATE TABLE IF NOT EXISTS pending (
    sink TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES results,
    refused INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, number)
) WITHOUT ROWID;
"""


class Journal:
    """The journal of one watched folder, for several threads; a context manager.

    Raises InputError if `path` cannot be opened, or is not a journal; its methods raise sqlite3.Error if the disk is
    full.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self._alive = path.with_suffix(".alive")
        self._lock = threading.Lock()
        self.closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{printable(path)}: cannot be used as the journal of a watched folder ({reason}); "
                "free the disk, or move the file away to start anew"
            ) from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.closed = True
            self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
        self._connection.executescript(_TABLES)
        with self._connection:
            # What a sink rejected is offered once more at each start.
            self._connection.execute("UPDATE pending SET refused = 0")

    def knows(self, file: PictureFile) -> bool:
        """Whether this picture has a result."""
        query = "SELECT 1 FROM results WHERE path = ? AND size = ? AND modified_ns = ?"
        with self._lock:
            return self._connection.execute(query, self._key(file)).fetchone() is not None

    def record(self, file: PictureFile, result: PartResult, sinks: Iterable[str]) -> PartResult:
        """Write the result, and that the sinks wait for it; returns it with its number."""
        with self._lock, self._connection:
            cursor = self._connection.execute(
                "INSERT INTO results (path, size, modified_ns, time) VALUES (?, ?, ?, ?)",
                (*self._key(file), result.time.isoformat()),
            )
            numbered = result.model_copy(update={"number": cursor.lastrowid})
            self._connection.execute(
                "UPDATE results SET result = ? WHERE number = ?", (numbered.model_dump_json(), numbered.number)
            )
            self._connection.executemany(
                "INSERT INTO pending (sink, number) VALUES (?, ?)", [(sink, numbered.number) for sink in sinks]
            )
        return numbered

    def pending(self, sink: str, after: str = "") -> list[tuple[PartResult, PictureFile]]:
        """The next results that this sink waits for, at most `BATCH`, in order; without those that it rejected.

        With `after` only those that this other sink does not wait for.
        """
        query = (
            "SELECT result, path, size, modified_ns FROM pending JOIN results USING (number) "
            "WHERE sink = ? AND NOT refused AND number NOT IN (SELECT number FROM pending WHERE sink = ?) "
            "ORDER BY number LIMIT ?"
        )
        with self._lock:
            rows = self._connection.execute(query, (sink, after, BATCH)).fetchall()
        return [
            (_parse(text), PictureFile(self._path(path), size, modified_ns)) for text, path, size, modified_ns in rows
        ]

    def deliver(self, number: int, sink: str) -> None:
        """The sink has this result.

        SIGKILL cannot undo this, a power cut before the next result can: sinks are prepared for a result that comes
        twice, and writing each delivery through to the disk would cost the line more than the judge does.
        """
        with self._lock:
            self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._connection:
                    self._connection.execute("DELETE FROM pending WHERE sink = ? AND number = ?", (sink, number))
            finally:
                self._connection.execute("PRAGMA synchronous = FULL")

    def refuse(self, number: int, sink: str) -> None:
        """The sink rejected this result; it is kept, and pending again when the journal is next opened."""
        with self._lock, self._connection:
            self._connection.execute("UPDATE pending SET refused = 1 WHERE sink = ? AND number = ?", (sink, number))

    def forget(self, sink: str) -> int:
        """Drop what waits for a sink, with what it rejected; returns the number of results."""
        with self._lock, self._connection:
            return self._connection.execute("DELETE FROM pending WHERE sink = ?", (sink,)).rowcount

    def waiting(self) -> dict[str, int]:
        """Sink -> number of results that it does not have, with those that it rejected."""
        with self._lock:
            return dict(self._connection.execute("SELECT sink, COUNT(*) FROM pending GROUP BY sink").fetchall())

    def beat(self) -> None:
        """Touch the file `.alive` beside the journal, whose age a health check reads."""
        with contextlib.suppress(OSError):  # on a full disk the health check says so
            self._alive.touch()

    def prune(self, there: Mapping[Path, PictureFile] = MappingProxyType({})) -> int:
        """Remove delivered results older than `KEPT` whose picture is gone; returns their number.

        Pictures that are known to be `there` are not looked for.
        """
        before = (datetime.now(UTC) - KEPT).isoformat()
        query = (
            "SELECT number, path, size, modified_ns FROM results "
            "WHERE time < ? AND number NOT IN (SELECT number FROM pending)"
        )
        with self._lock:
            rows = self._connection.execute(query, (before,)).fetchall()
        gone = []
        for number, path, size, modified_ns in rows:
            file = PictureFile(self._path(path), size, modified_ns)
            if there.get(file.path) != file and PictureFile.at(file.path) != file:
                gone.append((number,))
        with self._lock, self._connection:
            self._connection.executemany("DELETE FROM results WHERE number = ?", gone)
        return len(gone)

    def _path(self, name: bytes) -> Path:
        """InputError for a name that leads out of the folder, which no watcher records: sinks move files."""
        path = Path(os.fsdecode(name))
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"the journal holds a picture outside of the folder: {printable(path)}")
        return self.folder / path

    def _key(self, file: PictureFile) -> tuple[bytes, int, int]:
        return os.fsencode(file.path.relative_to(self.folder)), file.size, file.modified_ns


@contextlib.contextmanager
def journal_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        raise MachineError(
            f"{printable(path)}: cannot be used ({error}); free the disk, or move the file away to start anew"
        ) from None


def _parse(text: str) -> PartResult:
    try:
        return PartResult.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"the journal holds a result that cannot be read: {error.errors()[0]['msg']}") from None
