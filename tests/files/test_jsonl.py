"""Records: validation, round trip through JSONL, and what a crash leaves behind."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from helpers.verdicts import verdict
from lad_reasoner.errors import RecordError
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.records import Pair, Prediction, Verdict


def test_records_are_frozen_and_checked() -> None:
    record = verdict()
    with pytest.raises(ValidationError):
        record.score = 0.5  # type: ignore[misc]
    for changes in ({"score": 1.5}, {"answer": "maybe"}, {"seconds": -1}):
        with pytest.raises(ValidationError):
            verdict(**changes)
    with pytest.raises(ValidationError):
        Pair(references=(), query="q.png")


@given(st.text(), st.floats(0, 1), st.sampled_from(["yes", "no", "invalid"]))
def test_json_round_trip(reasoning: str, score: float, answer: str) -> None:
    record = verdict(reasoning=reasoning, score=score, answer=answer)
    prediction = Prediction(
        pair=Pair(references=("r.png",), query="q.png", label="yes", kind="logical"), verdict=record
    )
    line = prediction.model_dump_json()
    assert "\n" not in line
    assert Prediction.model_validate_json(line) == prediction


def test_verdicts_of_older_versions_are_read() -> None:
    values = verdict(headline="a hole", details="compared").model_dump(exclude={"headline", "details", "boxes_from"})
    record = Verdict.model_validate(values)
    assert (record.headline, record.details, record.boxes_from) == ("", "", "")


def test_half_a_line_is_passed_over_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    for i in range(3):
        append_record(path, verdict(query=f"{i}.png"))
    whole = path.read_bytes()
    for cut in (whole[:-1], whole[:-40], whole + b'{"query": "half', whole + b"\xff\xfe"):
        path.write_bytes(cut)
        kept = [record.query for record in read_records(path, Verdict)]
        assert kept == [f"{i}.png" for i in range(cut.count(b"\n"))]
        removed = repair_records(path)
        assert removed == len(cut) - cut.rfind(b"\n") - 1
        append_record(path, verdict(query="next.png"))
        assert [record.query for record in read_records(path, Verdict)] == [*kept, "next.png"]


def test_repair_of_odd_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert repair_records(path) == 0
    path.write_bytes(b"no line end at all" * 10_000)
    assert repair_records(path) == 180_000
    assert path.read_bytes() == b""
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    assert repair_records(path) == 200_000
    assert path.read_bytes() == b"{}\n"


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_record(path, verdict())
    with path.open("a") as file:
        file.write('{"query": "q.png"}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:2: references: Field required; repair or remove this line"):
        list(read_records(path, Verdict))
    path.write_text("not json\n")
    with pytest.raises(RecordError, match=r"a\.jsonl:1: Invalid JSON.*; repair or remove this line"):
        list(read_records(path, Verdict))


def test_defects_by_name() -> None:
    pair = Pair(references=("r.png",), query="q.png", defect="1_additional_nut;1_missing_washer")
    assert pair.defect_names() == ["1_additional_nut", "1_missing_washer"]
    assert Pair(references=("r.png",), query="q.png").defect_names() == []


def test_a_line_of_before_there_were_systems_without_scores() -> None:
    prediction = Prediction(pair=Pair(references=("r.png",), query="q.png"), verdict=verdict())
    line = prediction.model_dump_json(exclude={"scored"})
    assert "scored" not in line
    assert Prediction.model_validate_json(line).scored
