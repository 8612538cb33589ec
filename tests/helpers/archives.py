"""What an archive is given, and what a stranger does to one."""

import sqlite3
from pathlib import Path

from lad_reasoner.service.archived import Outcome, Seen


def seen(part: str = "1", outcome: Outcome = "good", content: bytes | None = b"picture") -> Seen:
    return Seen(part=part, who="line 3", outcome=outcome, version=1, content=content)


def write(folder: Path, statement: str, *values: object) -> None:
    """As a stranger would, who hands a station on."""
    database = sqlite3.connect(folder / "archive.sqlite3")
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    database.execute(statement, values)
    database.commit()
    database.close()
