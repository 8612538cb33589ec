"""What is written to disk and handed around: pairs, verdicts, predictions; as JSON, one object a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lad_reasoner.answers import Answer
from lad_reasoner.errors import InputError, RecordError

Kind = Literal["good", "logical", "structural"]
Label = Literal["yes", "no"]
Split = Literal["train", "validation", "test"]


class Record(BaseModel):
    """Frozen; unknown fields are ignored, so that newer files can be read."""

    model_config = ConfigDict(frozen=True)


class Box(Record):
    """A region of the query that differs, in pixels of the query; `strength` 1 is the limit of normal variation."""

    x: int
    y: int
    width: int
    height: int
    strength: float


class Sample(Record):
    """A picture of a data set, with what its source says about it.

    `kind` is None for an anomalous picture of which the source does not say what kind of anomaly it shows, `split` None
    where the source has no splits. `masks` are files in which all that is not black is anomalous. `facts` is the line
    of MiniLOCO's facts.jsonl.
    """

    image: str
    dataset: str
    category: str
    split: Split | None
    kind: Kind | None
    defect: str | None = None
    masks: tuple[str, ...] = ()
    licence: str
    facts: dict[str, Any] | None = None

    @property
    def label(self) -> Label:
        """Yes for anomalous."""
        return "no" if self.kind == "good" else "yes"


class Pair(Record):
    """References and a query, with what is known about it. `label` is yes for anomalous.

    Several defects in one query are joined by semicolons.
    """

    references: tuple[str, ...] = Field(min_length=1)
    query: str
    label: Label | None = None
    kind: Kind | None = None
    defect: str | None = None
    category: str | None = None

    def defect_names(self) -> list[str]:
        """Each defect of the query by its own name; none for a good one."""
        return [name for name in (self.defect or "").split(";") if name]


class Verdict(Record):
    """One judged query, and how the verdict was made.

    A `score` of 0.5 is the boundary, `seconds` are this query's (of a batch its share). `boxes_from` names the judge
    that the boxes come from, where it is not `model`.
    """

    query: str
    references: tuple[str, ...]
    answer: Answer
    anomalous: bool
    score: float = Field(ge=0, le=1)
    reasoning: str
    response: str
    boxes: tuple[Box, ...] = ()
    boxes_from: str = ""
    model: str
    prompt_version: str
    tokens: int = 0
    seconds: float = Field(ge=0)


class Failure(Record):
    """A query that could not be judged, and why."""

    query: str
    error: str


class Prediction(Record):
    """A verdict on a labelled pair.

    `scored` is false for a system that answers without a score: its verdict's score only repeats the answer. `error`
    says why there is no opinion on this pair; its answer is then invalid, which counts as wrong. `facts` are MiniLOCO's
    of each reference and, at the end, of the query.
    """

    pair: Pair
    verdict: Verdict
    scored: bool = True
    error: str = ""
    facts: tuple[dict[str, Any], ...] = ()


RecordType = TypeVar("RecordType", bound=Record)


@contextmanager
def alone(folder: Path, flag: str) -> Iterator[None]:
    """Hold the lock of a run's folder, which the system releases however a process ends.

    InputError where another holds it; `flag` is the option that names another folder.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{folder}: another process works there; wait for it, or give another {flag}") from None
    except OSError:  # some file systems on a network know no locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def append_record(path: str | Path, record: Record) -> None:
    """Append one line and push it to the disk, so that a crash loses at most the line being written."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(record.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: str | Path, kind: type[RecordType]) -> Iterator[RecordType]:
    """The records of a JSONL file, one at a time.

    A last line without its end was cut off by a crash and is passed over. Any other line that is no such record raises
    `RecordError` with file, line and field.
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
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{where}: {field + ': ' if field else ''}{first['msg']}") from None


def repair_records(path: str | Path) -> int:
    """Cut a half line off the end, before appending to the file; returns the bytes that were cut."""
    path = Path(path)
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        end = position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        file.truncate(position)
        return end - position
