"""What a person decided about the records of a built data set: kept beside it in decisions.jsonl, honoured by training.

    decisions = read_decisions(folder)                  # id -> its last decision; {} where nobody reviewed
    records = list(decided(records, decisions))         # rejected ones dropped, edited answers in their place

The file is only ever appended to and the last line for an id counts; `undo` makes a record undecided again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lad_reasoner.errors import InputError
from lad_reasoner.estimate import Estimate, share_of
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.records import Record

FILE = "decisions.jsonl"
Word = Literal["accept", "reject", "edit", "undo"]


class Decision(Record):
    """One line of decisions.jsonl. `answer` is the new text of an edit; `time` is ISO 8601."""

    id: str
    decision: Word
    answer: str | None = None
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="after")
    def _edit_has_answer(self) -> Self:
        if (self.decision == "edit") != bool(self.answer and self.answer.strip()):
            raise ValueError("an edit, and nothing else, has an answer that is not empty")
        return self


def read_decisions(folder: str | Path) -> dict[str, Decision]:
    """The decision that counts for each id, oldest first; a half last line is passed over.

    RecordError with file, line and field for any other line that is no decision.
    """
    path = Path(folder) / FILE
    found: dict[str, Decision] = {}
    for decision in read_records(path, Decision) if path.exists() else ():
        apply(found, decision)
    return found


def apply(decisions: dict[str, Decision], decision: Decision) -> None:
    """Let one more line count; the order stays that of time."""
    decisions.pop(decision.id, None)
    if decision.decision != "undo":
        decisions[decision.id] = decision


def append_decision(folder: str | Path, decision: Decision) -> None:
    """One line more, on the disk when this returns. OSError where it cannot be written."""
    path = Path(folder) / FILE
    repair_records(path)  # of a kill or a full disk
    append_record(path, decision)


def decided(records: Iterable[Mapping[str, Any]], decisions: Mapping[str, Decision]) -> Iterator[dict[str, Any]]:
    """The records in their order as they are to be trained on: without the rejected, with the edited answers.

    An edited answer replaces the text of the last assistant's turn in `messages`. A pair has none, its answer is the
    label: `label` becomes the new word, `kind` what is left to say (good, or None), `defect` None. What is not decided
    stays. The given records are not changed. InputError for an edit that fits no answer.
    """
    for record in records:
        decision = decisions.get(record["id"])
        if decision is None or decision.decision == "accept":
            yield dict(record)
        elif decision.decision == "edit":
            yield with_answer(record, decision.answer or "")


def answer_of(record: Mapping[str, Any]) -> str | None:
    """The text of the last assistant's turn; of a pair its label. None where there is neither."""
    if record.get("task") == "pair":
        return record.get("label")
    return text_of(record["messages"], "assistant")


def text_of(messages: Sequence[Mapping[str, Any]], role: str) -> str | None:
    """The text of the last turn of this role, whether its content is a string or a list of parts."""
    for message in reversed(messages):
        if message["role"] == role:
            content = message["content"]
            return content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")
    return None


def with_answer(record: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """A copy with this answer in place; see `decided`."""
    if record.get("task") == "pair":
        if answer not in ("yes", "no"):
            raise InputError(f"{record['id']}: the answer of a pair is yes or no, not {answer!r}")
        kind = "good" if answer == "no" else None
        return {**record, "label": answer, "kind": kind, "defect": None}
    messages = list(record["messages"])
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None:
        raise InputError(f"{record['id']}: an answer was edited, but its messages have no assistant's turn")
    plain = isinstance(messages[last]["content"], str)
    messages[last] = {**messages[last], "content": answer if plain else [{"type": "text", "text": answer}]}
    return {**record, "messages": messages}


def acceptance(decisions: Iterable[Decision]) -> Estimate:
    """The share that was accepted as it stood (edited is not), with Wilson's 95 % interval; None of none.

    The records are taken as drawn independently. Strata and small sets make the true interval narrower, several
    questions about one picture make it wider.
    """
    words = Counter(decision.decision for decision in decisions)
    return share_of(words["accept"], words["accept"] + words["edit"] + words["reject"])
