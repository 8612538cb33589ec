"""Decisions on disk, what training makes of them, and the rate of acceptance."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.data.review.decisions import (
    ReviewDecision,
    acceptance,
    answer_of,
    append_decision,
    decided,
    read_decisions,
)
from lad_reasoner.data.sets.built_set import DECISIONS
from lad_reasoner.errors import InputError, RecordError

USER = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is wrong?"}]}


def sft(name: str, answer: Any = "A bolt is missing.") -> dict[str, Any]:
    return {"id": name, "task": "sft", "label": "yes", "messages": [USER, {"role": "assistant", "content": answer}]}


def pair(name: str, label: str) -> dict[str, Any]:
    kind = "good" if label == "no" else "logical"
    return {"id": name, "task": "pair", "label": label, "kind": kind, "defect": "missing_bolt", "messages": [USER]}


def words(*lines: tuple[str, str] | tuple[str, str, str]) -> dict[str, ReviewDecision]:
    made = [
        ReviewDecision.model_validate(dict(zip(("id", "decision", "answer"), line, strict=False))) for line in lines
    ]
    return {decision.id: decision for decision in made}


def test_the_last_line_of_an_id_counts_and_undo_takes_it_back(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == {}
    for line in (("a", "accept"), ("b", "reject"), ("a", "edit", "better"), ("c", "accept"), ("c", "undo")):
        append_decision(tmp_path, *words(line).values())
    decisions = read_decisions(tmp_path)
    assert [(d.id, d.decision, d.answer) for d in decisions.values()] == [
        ("b", "reject", None),
        ("a", "edit", "better"),
    ]
    lines = (tmp_path / DECISIONS).read_text().splitlines()
    assert len(lines) == 5  # nothing is ever rewritten
    assert json.loads(lines[2]).keys() == {"id", "decision", "answer", "time"}


@pytest.mark.posix
def test_decisions_of_a_stranger_that_are_a_link_change_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a line without an end")
    (tmp_path / DECISIONS).symlink_to(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"decisions\.jsonl: a link"):
        append_decision(tmp_path, ReviewDecision(id="a", decision="accept"))
    assert (tmp_path / "notes.txt").read_text() == "a line without an end"


def test_a_half_line_is_cut_off_and_a_broken_one_is_named(tmp_path: Path) -> None:
    append_decision(tmp_path, ReviewDecision(id="a", decision="accept"))
    with (tmp_path / DECISIONS).open("a") as file:
        file.write('{"id": "b", "deci')
    assert read_decisions(tmp_path).keys() == {"a"}
    append_decision(tmp_path, ReviewDecision(id="c", decision="reject"))
    assert read_decisions(tmp_path).keys() == {"a", "c"}
    edit = '{"id": "b", "decision": "edit", "answer": "%s"}'
    for line in (
        '{"id": "b", "decision": "maybe"}',
        edit % " ",
        edit % r"a\u0000b",
        edit % r"\u001b[2J",
        '{"id": "b"}',
    ):
        (tmp_path / DECISIONS).write_text(line + "\n")
        with pytest.raises(RecordError, match=r"decisions\.jsonl:1"):
            read_decisions(tmp_path)


def test_training_gets_neither_rejected_records_nor_old_answers() -> None:
    parts = [{"type": "text", "text": "A bolt is missing."}]
    records = [sft("a"), sft("b"), sft("c"), sft("d", parts), sft("e")]
    before = copy.deepcopy(records)
    decisions = words(
        ("a", "accept"), ("b", "reject"), ("c", "edit", "Two bolts."), ("d", "edit", "Two."), ("x", "reject")
    )
    after = list(decided(records, decisions))
    assert [record["id"] for record in after] == ["a", "c", "d", "e"]
    assert after[0] == before[0]
    assert after[1] == sft("c", "Two bolts.")
    assert after[2] == sft("d", [{"type": "text", "text": "Two."}])
    assert after[3] == before[4]
    assert records == before


def test_only_the_last_of_the_assistants_turns_is_edited() -> None:
    turns = [USER, {"role": "assistant", "content": "1"}, USER, {"role": "assistant", "content": "2"}]
    [record] = decided([{"id": "a", "task": "sft", "messages": turns}], words(("a", "edit", "3")))
    assert [turn["content"] for turn in record["messages"] if turn["role"] == "assistant"] == ["1", "3"]
    assert answer_of(record) == "3"


def test_the_answer_of_a_pair_is_its_label() -> None:
    records = [pair("a", "yes"), pair("b", "no"), pair("c", "no")]
    after = list(decided(records, words(("a", "edit", "no"), ("b", "edit", "yes"))))
    assert [(r["label"], r["kind"], r["defect"]) for r in after[:2]] == [("no", "good", None), ("yes", None, None)]
    assert after[2] == records[2]
    masked = {**pair("a", "yes"), "masks": ["masks/a.png"]}  # by which `places` would still judge
    assert [r["masks"] for r in decided([masked], words(("a", "edit", "no")))] == [[]]
    assert [r["masks"] for r in decided([masked], words(("a", "edit", "yes")))] == [["masks/a.png"]]
    with pytest.raises(
        InputError, match=r"decisions\.jsonl: b: the answer of a pair is yes or no, not 'maybe'; remove its line"
    ):
        list(decided(records, words(("b", "edit", "maybe"))))


def test_an_edit_without_an_answer_to_replace_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"decisions\.jsonl: a: an answer was edited, but its messages have no assistant's turn; remove",
    ):
        list(decided([{"id": "a", "task": "sft", "messages": [USER]}], words(("a", "edit", "x"))))


def test_acceptance_has_wilsons_interval() -> None:
    assert acceptance([]).value is None
    decisions = [ReviewDecision(id=str(i), decision="accept") for i in range(9)]
    figure = acceptance([*decisions, ReviewDecision(id="e", decision="edit", answer="x")])
    z, n, p = 1.959964, 10, 0.9
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert figure.value == 0.9
    assert figure.interval == pytest.approx(((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)))
    assert acceptance([ReviewDecision(id="r", decision="reject")]).value == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["accept", "reject", "edit", "undo"]))))
def test_what_stays_is_what_the_last_lines_say(lines: list[tuple[str, str]]) -> None:
    from lad_reasoner.data.review.decisions import apply

    decisions: dict[str, ReviewDecision] = {}
    for name, word in lines:
        apply(
            decisions,
            ReviewDecision.model_validate({"id": name, "decision": word, "answer": "x" if word == "edit" else None}),
        )
    last = dict(lines)
    assert {name: decision.decision for name, decision in decisions.items()} == {
        name: word for name, word in last.items() if word != "undo"
    }
    kept = [record["id"] for record in decided([sft(name) for name in "abc"], decisions)]
    assert kept == [name for name in "abc" if last.get(name) != "reject"]
