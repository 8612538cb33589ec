"""The audit log: who did what, and when.

    add_audit_line(connection, utc_now(), "Ada", "feedback", {"inspection": 3})
    find_broken_line(rows)                               # the number of a line that was changed, None if none was

It is a chain: each line holds a hash of itself and of the line before it, which shows one that was changed or taken
out.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from lad_reasoner.files.jsonl import load_json
from lad_reasoner.service.archived import AuditLine


def add_audit_line(connection: sqlite3.Connection, at: str, who: str, action: str, detail: Mapping[str, Any]) -> None:
    """Add a line behind the last one, in the caller's transaction."""
    last = connection.execute("SELECT chain FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    text = json.dumps(detail, sort_keys=True)
    chain = _link(last["chain"] if last else "", at, who, action, text)
    connection.execute(
        "INSERT INTO audit (at, who, action, detail, chain) VALUES (?, ?, ?, ?, ?)", (at, who, action, text, chain)
    )


def read_audit_line(row: sqlite3.Row) -> AuditLine:
    """ValueError for a damaged row."""
    return AuditLine(**{**dict(row), "detail": load_json(row["detail"])})


def find_broken_line(rows: Iterable[sqlite3.Row]) -> int | None:
    """The number of the first line that does not follow from the one before it; `rows` are all, in their order."""
    chain = ""
    for expected, row in enumerate(rows, 1):
        # As text: in a damaged row a value may be absent.
        chain = _link(chain, *(str(row[name]) for name in ("at", "who", "action", "detail")))
        if row["id"] != expected or row["chain"] != chain:
            return int(row["id"])
    return None


def _link(chain: str, *parts: str) -> str:
    return hashlib.sha256("\x1f".join((chain, *parts)).encode("utf-8", "surrogatepass")).hexdigest()
