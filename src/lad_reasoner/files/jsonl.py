"""JSON lines: appended record by record, read back after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lad_reasoner.errors import RecordError
from lad_reasoner.files.whole import named_errors
from lad_reasoner.records import Record
from lad_reasoner.text import first_problem

RecordType = TypeVar("RecordType", bound=Record)


def load_json(content: str | bytes) -> Any:
    """`json.loads` of what strangers wrote: ValueError, and nothing else, if it is not JSON."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


def append_record(path: str | Path, record: Record) -> None:
    """Append one line and flush it to the disk, so that a crash loses at most this line.

    An OSError has the file's name.
    """
    append_lines(path, [record.model_dump_json()])


def append_lines(path: str | Path, lines: Iterable[str]) -> None:
    """As `append_record`, of several lines of JSON that are flushed together."""
    with named_errors(path), Path(path).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def read_records(path: str | Path, kind: type[RecordType]) -> Iterator[RecordType]:
    """The records of a JSONL file, one at a time.

    A last line without a line end was cut off by a crash and is skipped. Any other invalid line raises `RecordError`
    with file, line, field and the mend.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            if line.strip():
                yield _parse(line, kind, f"{path}:{number}")


def _parse(line: bytes, kind: type[RecordType], where: str) -> RecordType:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise RecordError(f"{where}: {first_problem(error)}; repair or remove this line") from None


def repair_records(path: str | Path) -> int:
    """Remove an incomplete last line before more are appended; returns the number of bytes removed."""
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return len(content) - whole
