"""What a station saw, what people said of it, and what was changed: SQLite, with the pictures beside it.

    archive = Archive("bottle", "bottle")                # bottle/archive.sqlite3 and bottle/pictures/
    inspection = archive.keep([seen])[0]                 # on the disk when this returns
    archive.review(inspection.id, Opinion.GOOD, who="Ada", reason="light")

A row is never changed and never deleted; `database.py` refuses it. Retention deletes pictures, not rows. `audit.py`
logs who did what.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lad_reasoner.errors import MachineError
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import Verdict
from lad_reasoner.service.archived import (
    AbsentError,
    AuditLine,
    Change,
    Feedback,
    Inspection,
    Opinion,
    Retention,
    Seen,
    State,
    Target,
)
from lad_reasoner.service.audit import add_audit_line, find_broken_line, read_audit_line
from lad_reasoner.service.database import DATABASE, Database, clear_errors, explain

logger = logging.getLogger(__name__)

PICTURES = "pictures"
_OURS = re.compile(r"[0-9a-f]{2}/([0-9a-f]{16}-[0-9a-f]{8}|\.\d+-\d+\.part)")  # a picture, half of one after a kill
JUMP = 3600.0  # seconds by which the clock is ahead of the time that has passed: it has been set forward
DISTRUST = 24 * 3600.0  # seconds after that in which no picture is deleted for its age
PAGE = 100  # rows of one page of the history


@dataclass(eq=False)
class _Pending:
    """The rows of one `keep`, each with its picture's file and hash; and what became of them."""

    rows: list[tuple[Seen, tuple[str, str] | None]]
    kept: list[Inspection] = field(default_factory=list)
    error: BaseException | None = None
    settled: bool = False


class Archive:
    """One folder's archive. Several threads, and several processes, may use it at the same time."""

    def __init__(self, folder: str | Path, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self._gathering = threading.Lock()  # of what waits for the next transaction
        self._pending: list[_Pending] = []
        self._clock = time.time() - time.monotonic()
        self._distrusted = 0.0  # monotonic time until which the clock may be wrong
        with clear_errors(self.folder):
            (self.folder / PICTURES).mkdir(parents=True, exist_ok=True)
        self._database = Database(self.folder)
        try:
            with clear_errors(self.folder):
                self._sweep()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def keep(self, parts: Sequence[Seen]) -> list[Inspection]:
        """Write inspections and their pictures, all or none; they are on the disk when this returns.

        Threads that come at the same time share one transaction, since the disk takes its time for each. MachineError
        if the disk is full or fails: then nothing of them is kept.
        """
        files: list[Path] = []
        try:
            with clear_errors(self.folder):
                pending = _Pending([(seen, self._write_picture(seen.content, files)) for seen in parts])
            with self._gathering:
                self._pending.append(pending)
            with self._database.lock:  # whoever gets it first commits for all who wait
                if not pending.settled:
                    self._commit_pending()
            if pending.error is not None:
                raise MachineError(str(pending.error)) from pending.error
        except BaseException:
            for path in files:
                path.unlink(missing_ok=True)
            raise
        return pending.kept

    def inspection(self, number: int) -> Inspection:
        """AbsentError if there is none of this number."""
        found = self._select("WHERE id = ?", (number,))
        if not found:
            raise AbsentError(f"{self.name}: no inspection {number}")
        return found[0]

    def history(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = PAGE,
        outcome: str = "",
        part: str = "",
        reviewed: bool | None = None,
        with_picture: bool = False,
    ) -> list[Inspection]:
        """The newest first; `before` is the number of the last one of the page before.

        With `after`, the number of an inspection, those that came next after it.
        """
        clauses, values = ["1"], list[Any]()
        for clause, value in (
            ("id < ?", before),
            ("id > ?", after),
            ("outcome = ?", outcome or None),
            ("part = ?", part or None),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if reviewed is not None:
            clauses.append(f"{'' if reviewed else 'NOT '}EXISTS (SELECT 1 FROM feedback WHERE inspection = i.id)")
        if with_picture:
            clauses.append("EXISTS (SELECT 1 FROM pictures WHERE inspection = i.id)")
        order = "DESC" if after is None else "ASC"
        found = self._select(f"WHERE {' AND '.join(clauses)} ORDER BY id {order} LIMIT ?", (*values, limit))
        return found if after is None else found[::-1]

    def newest(self, most: int, **chosen: Any) -> Iterator[Inspection]:
        """At most so many inspections that `history` chooses, newest first, read page by page."""
        before = None
        while page := self.history(before=before, limit=min(PAGE, most), **chosen):
            yield from page
            before, most = page[-1].id, most - len(page)

    def counts(self) -> dict[str, int]:
        """Outcome -> number of inspections."""
        rows = self._database.rows("SELECT outcome, COUNT(*) AS number FROM inspections GROUP BY outcome")
        return {row["outcome"]: row["number"] for row in rows}

    def content(self, number: int) -> bytes:
        """The picture's file, byte for byte. AbsentError if there is none, or if it was changed on the disk."""
        rows = self._database.rows("SELECT file, sha256 FROM pictures WHERE inspection = ?", (number,))
        if not rows:
            raise AbsentError(f"{self.name}: no picture of inspection {number} is kept")
        try:
            content: bytes = self._picture(rows[0]["file"]).read_bytes()
        except OSError:
            raise AbsentError(f"{self.name}: the picture of inspection {number} is gone from the disk") from None
        if hashlib.sha256(content).hexdigest() != rows[0]["sha256"]:
            raise AbsentError(f"{self.name}: the picture of inspection {number} was changed on the disk")
        return content

    def review(self, number: int, opinion: Opinion, *, who: str, reason: str = "", note: str = "") -> Inspection:
        """Keep a person's opinion. AbsentError if there is no such inspection."""
        self.inspection(number)
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO feedback (inspection, at, who, opinion, reason, note) VALUES (?, ?, ?, ?, ?, ?)",
                (number, utc_now(), who, opinion.value, reason, note),
            )
            self._log(database, who, "feedback", inspection=number, opinion=opinion.value, reason=reason, note=note)
        return self.inspection(number)

    def version(self, file: str, *, who: str, why: str) -> int:
        """The number of this station file: the newest version if it is the same, else a new one."""
        with self._database.transaction() as database:
            return self._version(database, file, who=who, why=why)

    def version_file(self, number: int) -> str:
        """The station file of a version."""
        rows = self._database.rows("SELECT file FROM versions WHERE id = ?", (number,))
        if not rows:
            raise AbsentError(f"{self.name}: no version {number}")
        return str(rows[0]["file"])

    def begin_change(self, target: Target, inspections: Sequence[int], *, who: str, base: int) -> Change:
        """A change whose preview is being made; `base` is the version that it starts from."""
        with self._database.transaction() as database:
            row = database.execute(
                "INSERT INTO changes (at, who, target, inspections, state, base) VALUES (?, ?, ?, ?, 'preparing', ?) "
                "RETURNING id",
                (utc_now(), who, target, json.dumps(list(inspections)), base),
            ).fetchone()
            self._log(database, who, "preparing", change=row["id"], target=target, inspections=list(inspections))
        return self.change(row["id"])

    def change(self, number: int) -> Change:
        """AbsentError if there is none of this number."""
        rows = self._database.rows("SELECT * FROM changes WHERE id = ?", (number,))
        if not rows:
            raise AbsentError(f"{self.name}: no change {number}")
        with clear_errors(self.folder):
            return _change(rows[0])

    def changes(self) -> list[Change]:
        """The newest first."""
        rows = self._database.rows("SELECT * FROM changes ORDER BY id DESC LIMIT ?", (PAGE,))
        with clear_errors(self.folder):
            return list(map(_change, rows))

    def move_change(
        self,
        number: int,
        state: State,
        *,
        who: str,
        preview: dict[str, Any] | None = None,
        draft: str | None = None,
        version: int | None = None,
    ) -> Change:
        """Move a change to its next state; what is given is kept with it."""
        with self._database.transaction() as database:
            database.execute(
                "UPDATE changes SET state = ?, preview = COALESCE(?, preview), draft = COALESCE(?, draft), "
                "version = COALESCE(?, version) WHERE id = ?",
                (state, None if preview is None else json.dumps(preview), draft, version, number),
            )
            self._log(database, who, state, change=number, version=version)
        return self.change(number)

    def note(self, who: str, action: str, **detail: Any) -> None:
        """Add a line to the audit log."""
        with self._database.transaction() as database:
            self._log(database, who, action, **detail)

    def audit(self, *, before: int | None = None, limit: int = PAGE) -> list[AuditLine]:
        """The newest first."""
        top = 2**62 if before is None else before
        rows = self._database.rows("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?", (top, limit))
        with clear_errors(self.folder):
            return list(map(read_audit_line, rows))

    def broken_audit(self) -> int | None:
        """The number of the first line of the audit log that does not follow from the one before it; None if all do."""
        return find_broken_line(self._database.rows("SELECT * FROM audit ORDER BY id"))

    def retain(self, retention: Retention, now: datetime | None = None) -> int:
        """Delete the pictures that are older than the rules allow; returns their number. The rows stay.

        A clock that was set forward makes all pictures old: then none is deleted for a day, unless `now` is given.
        """
        if now is None and self._is_clock_doubtful():
            return 0
        now = now or datetime.now(UTC)
        reviewed = "EXISTS (SELECT 1 FROM feedback WHERE inspection = i.id)"
        rules = (
            ("good", retention.good, f"outcome = 'good' AND NOT {reviewed}"),
            ("rejected", retention.rejected, f"outcome <> 'good' AND NOT {reviewed}"),
            ("reviewed", retention.reviewed, reviewed),
        )
        number = 0
        for name, days, clause in rules:
            if days is None:
                continue
            limit = (now - timedelta(days=days)).isoformat(timespec="milliseconds")
            rows = self._database.rows(
                f"SELECT p.inspection, p.file FROM pictures p JOIN inspections i ON i.id = p.inspection "
                f"WHERE i.at < ? AND {clause}",
                (limit,),
            )
            if rows:
                with self._database.transaction() as database:
                    doomed = [(row["inspection"],) for row in rows]
                    database.executemany("DELETE FROM pictures WHERE inspection = ?", doomed)
                    self._log(database, "retention", "deleted pictures", rule=name, days=days, number=len(rows))
                self._delete([row["file"] for row in rows])
                number += len(rows)
        return number

    def _delete(self, names: Sequence[str]) -> None:
        """Delete pictures that no row names any more. What cannot be deleted now, the sweep of a start deletes."""
        problems = []
        for name in names:
            try:
                self._picture(name).unlink(missing_ok=True)
            except OSError as error:
                problems.append(error.strerror or str(error))
        if problems:
            logger.warning(
                "%s: %d old pictures stay on the disk (%s); a later start deletes them",
                self.name,
                len(problems),
                problems[0],
            )

    def _is_clock_doubtful(self) -> bool:
        clock = time.time() - time.monotonic()
        ahead, self._clock = clock - self._clock, clock
        if ahead > JUMP:
            self._distrusted = time.monotonic() + DISTRUST
            logger.warning(
                "%s: the clock went %.0f h forward; for a day no picture is deleted", self.name, ahead / 3600
            )
            self.note("clock", "clock went forward", seconds=round(ahead))
        elif ahead < -JUMP:  # it is set right again
            self._distrusted = 0.0
        return time.monotonic() < self._distrusted

    def _commit_pending(self) -> None:
        """The caller holds the lock of the database."""
        with self._gathering:
            together, self._pending = self._pending, []
        try:
            with self._database.transaction() as database:
                self._note_clock(database)
                kept = [self._insert_all(database, each) for each in together]
        except BaseException as error:
            for each in together:
                each.error, each.settled = error, True
        else:
            for each, inspections in zip(together, kept, strict=True):
                each.kept, each.settled = inspections, True

    def _sweep(self) -> None:
        """Delete pictures without a row: a crash came between the two."""
        kept = {row["file"] for row in self._database.rows("SELECT file FROM pictures")}
        limit = datetime.now(UTC).timestamp() - 3600  # another process may be writing its row
        for path in (self.folder / PICTURES).glob("*/*"):
            name = path.relative_to(self.folder / PICTURES).as_posix()
            # Only what an archive wrote: the folder may be a link to one with other files.
            if _OURS.fullmatch(name) and name not in kept and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    def _picture(self, name: str) -> Path:
        """The path of a kept picture. MachineError for a name that no archive writes: it may lead anywhere."""
        if not _OURS.fullmatch(name):
            raise MachineError(f"{self.folder / DATABASE}: {explain('names a picture that it did not write')}")
        return self.folder / PICTURES / name

    def _write_picture(self, content: bytes | None, files: list[Path]) -> tuple[str, str] | None:
        """Returns the file's name below `pictures/` and its hash."""
        if content is None:
            return None
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest[:2]}/{digest[:16]}-{secrets.token_hex(4)}"
        path = self.folder / PICTURES / name
        path.parent.mkdir(exist_ok=True)
        files.append(path)  # removed if the row is not written
        write_whole(path, content)
        return name, digest

    def _insert_all(self, database: sqlite3.Connection, pending: _Pending) -> list[Inspection]:
        return [self._insert(database, seen, file) for seen, file in pending.rows]

    def _insert(self, database: sqlite3.Connection, seen: Seen, file: tuple[str, str] | None) -> Inspection:
        at = utc_now()
        verdict = None if seen.verdict is None else seen.verdict.model_dump_json()
        row = database.execute(
            "INSERT INTO inspections (at, part, who, outcome, why, p_value, version, verdict) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (at, seen.part, seen.who, seen.outcome, seen.why, seen.p_value, seen.version, verdict),
        ).fetchone()
        if file is not None:
            database.execute("INSERT INTO pictures VALUES (?, ?, ?)", (row["id"], *file))
        return Inspection(
            id=row["id"],
            station=self.name,
            at=at,
            part=seen.part,
            who=seen.who,
            outcome=seen.outcome,
            why=seen.why,
            p_value=seen.p_value,
            version=seen.version,
            picture=file is not None,
            verdict=seen.verdict,
        )

    def _version(self, database: sqlite3.Connection, file: str, *, who: str, why: str) -> int:
        newest = database.execute("SELECT id, file FROM versions ORDER BY id DESC LIMIT 1").fetchone()
        if newest is not None and newest["file"] == file:
            return int(newest["id"])
        row = database.execute(
            "INSERT INTO versions (at, who, why, file) VALUES (?, ?, ?, ?) RETURNING id", (utc_now(), who, why, file)
        ).fetchone()
        self._log(database, who, "station file", version=row["id"], why=why)
        return int(row["id"])

    def _note_clock(self, database: sqlite3.Connection) -> None:
        """Rows are ordered by their numbers; that times run backwards is written down."""
        newest = database.execute("SELECT at FROM inspections ORDER BY id DESC LIMIT 1").fetchone()
        now = utc_now()
        if newest is not None and now < newest["at"]:
            last = database.execute("SELECT action, at FROM audit ORDER BY id DESC LIMIT 1").fetchone()
            if last is None or last["action"] != "clock went back" or now < last["at"]:
                self._log(database, "clock", "clock went back", newest=newest["at"])

    def _log(self, database: sqlite3.Connection, who: str, action: str, **detail: Any) -> None:
        add_audit_line(database, utc_now(), who, action, detail)

    def _select(self, rest: str, values: Sequence[Any]) -> list[Inspection]:
        rows = self._database.rows(
            "SELECT i.*, EXISTS (SELECT 1 FROM pictures WHERE inspection = i.id) AS picture FROM inspections i " + rest,
            values,
        )
        numbers = [row["id"] for row in rows]
        marks = ", ".join("?" * len(numbers))
        feedback: dict[int, list[Feedback]] = {number: [] for number in numbers}
        opinions = self._database.rows(f"SELECT * FROM feedback WHERE inspection IN ({marks}) ORDER BY id", numbers)
        with clear_errors(self.folder):
            for row in opinions:
                feedback[row["inspection"]].append(Feedback(**dict(row)))
            return [_inspection(row, self.name, feedback[row["id"]]) for row in rows]


def _inspection(row: sqlite3.Row, station: str, feedback: Sequence[Feedback]) -> Inspection:
    values = dict(row)
    if row["verdict"] is not None:
        values["verdict"] = Verdict.model_validate_json(row["verdict"])
    return Inspection(**{**values, "station": station, "feedback": tuple(feedback)})


def _change(row: sqlite3.Row) -> Change:
    values = dict(row)
    values["inspections"] = load_json(row["inspections"])
    values["preview"] = load_json(row["preview"])
    return Change(**values)


def utc_now() -> str:
    """UTC, in a form that sorts as it reads."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
