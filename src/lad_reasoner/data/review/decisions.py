"""A person's decisions about the records of a built data set, in decisions.jsonl beside it.

    decisions = read_decisions(folder)                  # id -> its last decision; {} if nobody reviewed
    records = list(decided(records, decisions))         # without the rejected records, with the edited answers
    entries = read_decided(folder)                      # the same of a whole set: what training, check and export read

Lines are only appended, and the last line of an id counts; `undo` makes a record undecided again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lad_reasoner.data.sets.built_set import DECISIONS, Entry, read_entries
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.whole import own_file
from lad_reasoner.records import Estimate, Record, share_of
from lad_reasoner.text import shown

Word = Literal["accept", "reject", "edit", "undo"]


class ReviewDecision(Record):
    """One line of decisions.jsonl. `answer` is the new text of an edit; `time` is ISO 8601."""

    id: str
    decision: Word
    answer: str | None = None
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="after")
    def _edit_has_answer(self) -> Self:
        if (self.decision == "edit") != bool(self.answer and self.answer.strip()):
            raise ValueError("an edit must have an answer, and no other decision may have one")
        if self.answer and shown(self.answer, lines=True) != self.answer:
            raise ValueError("an edited answer holds a control character; remove it")
        return self


def read_decisions(folder: str | Path) -> dict[str, ReviewDecision]:
    """The last decision of each id, oldest first; ignores an incomplete last line.

    RecordError with file, line and field for any other line that is not a decision.
    """
    path = Path(folder) / DECISIONS
    decisions: dict[str, ReviewDecision] = {}
    if path.exists():
        for decision in read_records(path, ReviewDecision):
            apply(decisions, decision)
    return decisions


def apply(decisions: dict[str, ReviewDecision], decision: ReviewDecision) -> None:
    """Take over one more line; the order is that of time."""
    decisions.pop(decision.id, None)
    if decision.decision != "undo":
        decisions[decision.id] = decision


def append_decision(folder: str | Path, decision: ReviewDecision) -> None:
    """Append a line; it is on disk when this returns. OSError if it cannot be written."""
    path = own_file(Path(folder), DECISIONS)
    repair_records(path)  # half a line of an earlier kill or a full disk
    append_record(path, decision)


def read_decided(folder: str | Path) -> list[Entry]:
    """The records of a built set as its review left them, in its order; see `decided`.

    Errors are those of `read_entries`, `read_decisions` and `decided`.
    """
    return decided_entries(read_entries(folder), read_decisions(folder))


def decided_entries(entries: Iterable[Entry], decisions: Mapping[str, ReviewDecision]) -> list[Entry]:
    """As `decided`, of records that are read already."""
    records = (entry.model_dump(mode="json") for entry in entries)
    return [Entry.model_validate(record) for record in decided(records, decisions)]


def decided(records: Iterable[Mapping[str, Any]], decisions: Mapping[str, ReviewDecision]) -> Iterator[dict[str, Any]]:
    """The records to train on, in their order: without the rejected records, with the edited answers.

    An edited answer replaces the text of the last assistant's turn in `messages`. The answer of a pair is its label:
    `label` becomes the new word, `kind` becomes good or None, `defect` None, and a good one loses its masks. Undecided
    records stay as they are. The given records are not changed. InputError if an edit does not fit its record.
    """
    for record in records:
        decision = decisions.get(record["id"])
        if decision is None or decision.decision == "accept":
            yield dict(record)
        elif decision.decision == "edit":
            try:
                edited = with_answer(record, decision.answer or "")
            except InputError as error:
                raise InputError(f"{DECISIONS}: {error}; remove its line, and review the record again") from None
            yield edited


def answer_of(record: Mapping[str, Any]) -> str | None:
    """The text of the last assistant's turn; the label of a pair. None if there is neither."""
    if record.get("task") == "pair":
        return record.get("label")
    return text_of(record["messages"], "assistant")


def text_of(messages: Sequence[Mapping[str, Any]], role: str) -> str | None:
    """The text of the last turn of this role, whether its content is a string or a list of parts."""
    for message in reversed(messages):
        if message["role"] == role:
            content = message["content"]
            if isinstance(content, str):
                return content
            return "\n".join(part["text"] for part in content if part["type"] == "text")
    return None


def with_answer(record: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """A copy of the record with this answer; see `decided`."""
    if record.get("task") == "pair":
        if answer not in ("yes", "no"):
            raise InputError(f"{record['id']}: the answer of a pair is yes or no, not {answer!r}")
        kind = "good" if answer == "no" else None
        masks: dict[str, Any] = {"masks": []} if answer == "no" and record.get("masks") else {}
        return {**record, "label": answer, "kind": kind, "defect": None, **masks}
    messages = list(record["messages"])
    for at in reversed(range(len(messages))):
        if messages[at]["role"] == "assistant":
            plain = isinstance(messages[at]["content"], str)
            messages[at] = {**messages[at], "content": answer if plain else [{"type": "text", "text": answer}]}
            return {**record, "messages": messages}
    raise InputError(f"{record['id']}: an answer was edited, but its messages have no assistant's turn")


def acceptance(decisions: Iterable[ReviewDecision]) -> Estimate:
    """The share accepted without an edit, with Wilson's 95 % interval; None if there are no decisions.

    The interval assumes that the records are drawn independently. Strata and small sets make the true interval
    narrower; several questions about one picture make it wider.
    """
    words = Counter(decision.decision for decision in decisions)
    return share_of(words["accept"], words["accept"] + words["edit"] + words["reject"])
