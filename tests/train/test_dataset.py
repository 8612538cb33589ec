"""Built sets as TRL takes them: columns, pictures, lengths, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import tiny
from helpers.tutored import build
from lad_reasoner.data.review.decisions import ReviewDecision, append_decision
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.prompts import build_messages
from lad_reasoner.train.dataset import context, load_set, row_lengths

pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(tiny.save_qwen(tmp_path_factory.mktemp("qwen")))


def test_questions_and_answers(tmp_path: Path) -> None:
    data = load_set(build(tmp_path / "sft", records=4), kind="sft")
    assert data["id"] == ["r00", "r01", "r02", "r03"]
    assert data["label"] == ["yes", "no", "yes", "no"]
    row = data[2]
    [image] = row["images"]
    assert np.array_equal(image, read_picture(tmp_path / "sft" / "images" / "02.png").image)
    assert row["prompt"] == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many red screws?"}]}
    ]
    told = [{"type": "text", "text": "The query shows two."}]
    assert row["completion"] == [{"role": "assistant", "content": told}]
    assert data.remove_columns(["id", "label"])[1]["kind"] == "good"


def test_an_answer_may_be_one_text_in_some_of_the_records(tmp_path: Path) -> None:
    folder = build(tmp_path / "sft", records=4)
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    records[0]["messages"][-1]["content"] = "One."
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    [answer] = load_set(folder, kind="sft")[0]["completion"]
    assert answer["content"] == [{"type": "text", "text": "One."}]


@pytest.mark.parametrize(("message", "role"), [(0, "user"), (-1, "assistant")])
@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>"])
def test_a_text_that_commands_the_model(tmp_path: Path, qwen: Checkpoint, token: str, message: int, role: str) -> None:
    folder = build(tmp_path / "sft", records=4)
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    content = records[2]["messages"][message]["content"]
    content[-1]["text"] += f" {token}"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(InputError, match=rf"r02: a text of its {role} holds {re.escape(token)}"):
        load_set(folder, kind="sft", checkpoint=qwen)


def test_pairs(tmp_path: Path) -> None:
    data = load_set(build(tmp_path / "pairs", task="pair", records=3), kind="pair")
    row = data[1]
    assert "completion" not in row
    assert row["prompt"] == build_messages(1)
    names = ["01_good.png", "01.png"]
    assert row["query_file"] == str(tmp_path / "pairs/images/01.png")
    pictures = [read_picture(tmp_path / "pairs" / "images" / name).image for name in names]
    assert all(np.array_equal(one, other) for one, other in zip(row["images"], pictures, strict=True))


def test_what_a_review_decided(tmp_path: Path) -> None:
    folder = build(tmp_path / "sft", records=5)
    append_decision(folder, ReviewDecision(id="r01", decision="reject"))
    append_decision(folder, ReviewDecision(id="r02", decision="edit", answer="None at all."))
    data = load_set(folder, kind="sft")
    assert data["id"] == ["r00", "r02", "r03", "r04"]
    assert data[1]["completion"][0]["content"] == [{"type": "text", "text": "None at all."}]
    append_decision(folder, ReviewDecision(id="r03", decision="reject"))
    with pytest.raises(InputError, match="only records of one label remain after the review: yes"):
        load_set(folder, kind="sft")


def test_a_rejected_record_stops_no_training(tmp_path: Path) -> None:
    folder = build(tmp_path / "sft", records=5)
    (folder / "images/01.png").unlink()
    append_decision(folder, ReviewDecision(id="r01", decision="reject"))
    assert load_set(folder, kind="sft")["id"] == ["r00", "r02", "r03", "r04"]


def spoil(change: Callable[[Path], Any]) -> Callable[[Path], Path]:
    def spoiled(folder: Path) -> Path:
        build(folder, records=4)
        change(folder)
        return folder

    return spoiled


def unfinish(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: build(folder, records=3, labels=("yes",)), "all records have the same label: yes"),
        (
            lambda folder: build(folder, task="pair", records=2),
            r"contains pairs \(lad-reasoner data pairs\); this stage",
        ),
        (spoil(lambda f: (f / "images/02.png").write_bytes((f / "images/02.png").read_bytes()[:90])), r"02\.png"),
        (spoil(lambda f: (f / "images/01.png").unlink()), r"a picture cannot be read: .*01\.png"),
        (spoil(unfinish), "the build is not complete"),
        (lambda folder: folder, "set: no such folder"),
        (spoil(lambda f: (f / "metadata.jsonl").unlink()), "no metadata.jsonl"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_set(make(tmp_path / "set"), kind="sft")
    assert str(tmp_path / "set") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_benchmarks_are_refused(tmp_path: Path) -> None:
    folder = build(tmp_path / "sft", records=4)
    lines = (folder / "metadata.jsonl").read_text().replace('"screws"', '"pushpins"')
    (folder / "metadata.jsonl").write_text(lines)
    with pytest.raises(InputError, match=r"are benchmarks: r00, r01, r02 and 1 more"):
        load_set(folder, kind="sft")


@pytest.mark.parametrize("save", [tiny.save_qwen, tiny.save_llava, tiny.save_idefics])
def test_lengths_are_those_of_the_processor(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    checkpoint = load_checkpoint(save(tmp_path / "model"))
    for kind, task in (("sft", "sft"), ("pair", "pair")):
        folder = build(tmp_path / task, task=task, records=3)
        rows = load_set(folder, kind=kind).with_format(None).to_list()  # type: ignore[arg-type]
        data = load_set(folder, kind=kind)  # type: ignore[arg-type]
        for row, length in zip(data, row_lengths(rows, checkpoint), strict=True):
            messages = [*row["prompt"], *row.get("completion", ())]
            text = checkpoint.processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt="completion" not in row
            )
            made = checkpoint.processor(text=[text], images=[row["images"]], add_special_tokens=False)
            assert len(made["input_ids"][0]) == length


def test_checking_and_measuring_can_be_followed(tmp_path: Path, qwen: Checkpoint) -> None:
    followed: list[tuple[str, int, int]] = []

    def track(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        passed = list(items)
        followed.append((description, total, len(passed)))
        yield from passed

    folder = build(tmp_path / "pairs", task="pair", records=3)
    load_set(folder, kind="pair", checkpoint=qwen, track=track)
    assert followed == [("Checking pictures", 6, 6), ("Measuring pictures", 6, 6)]


def test_records_that_are_too_long(tmp_path: Path, qwen: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    folder = build(tmp_path / "sft", records=4)
    append_decision(folder, ReviewDecision(id="r01", decision="edit", answer="a screw " * 500))
    append_decision(folder, ReviewDecision(id="r03", decision="edit", answer="a screw " * 40))
    assert context(qwen) == 1024
    with pytest.raises(
        InputError, match=r"1 of 4 records are longer than the model's context, 1024: r01 \(\d+ tokens\)"
    ):
        load_set(folder, kind="sft", checkpoint=qwen)
    kept = load_set(folder, kind="sft", checkpoint=qwen, leave_out_long=True)
    assert kept["id"] == ["r00", "r02", "r03"]
    assert "dropped, 1 of 4 records" in caplog.text
    with pytest.raises(InputError, match=r"2 of 4 records are longer than max_length, 120: r01 .*, r03 "):
        load_set(folder, kind="sft", checkpoint=qwen, max_length=120)
    with pytest.raises(InputError, match=r"4 of 4 records are longer than the model's context, 1024 with 1000 for the"):
        load_set(folder, kind="sft", checkpoint=qwen, room=1000, leave_out_long=True)
