"""The check of a built set: each thing that must stop a training stops it, and a sound set passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.skeletons import FakeTeacher, truthful
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.review.decisions import ReviewDecision, append_decision
from lad_reasoner.data.sets.check import ALL_REJECTED, FEW, INCOMPLETE, ONE_LABEL_LEFT, check_set
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sets.sft import build_sft, plan_sft
from lad_reasoner.data.sets.tokens import needed_pixels, picture_tokens, record_tokens
from lad_reasoner.data.sources import Source, find_samples
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.records import Sample

Line = dict[str, Any]


def noise(path: Path, seed: int) -> Path:
    """A picture that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "lamp"
    for i in range(3):
        noise(folder / f"train/good/{i}.png", i)
        noise(folder / f"test/good/{i}.png", 10 + i)
        noise(folder / f"test/dark/{i}.png", 20 + i)
        mask = folder / f"ground_truth/dark/{i}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (80, 60), 255).save(mask)
    return folder


@pytest.fixture
def pairs(source: Path, tmp_path: Path) -> Path:
    list(build_pairs(tmp_path / "pairs", plan_pairs(gather([find_samples(source)]))))
    return tmp_path / "pairs"


def change(folder: Path, edit: Callable[[list[Line]], object]) -> None:
    path = folder / "metadata.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_sound_sets_pass(pairs: Path, source: Path, tmp_path: Path) -> None:
    report = check_set(pairs)
    assert (report.fit, report.errors, report.warnings) == (True, {}, {})
    assert report.summary["labels"] == {"no": 3, "yes": 3}
    assert report.longest == 32 + 2 * (2 * 3 + 2) + record_tokens([pair_message(pairs)], [])[0] - 32
    plan = plan_sft(gather([find_samples(source)]), read_mmad(), good_share=0.5)
    list(build_sft(tmp_path / "sft", plan, FakeTeacher(truthful)))
    report = check_set(tmp_path / "sft")
    assert (report.fit, report.errors, report.warnings) == (True, {}, {})


def pair_message(folder: Path) -> Line:
    message: Line = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])["messages"][0]
    return message


def set_all(**fields: Any) -> Callable[[list[Line]], object]:
    return lambda lines: [line.update(fields) for line in lines]


@pytest.mark.parametrize(
    ("reason", "edit"),
    [
        ("two records have the same identifier", lambda lines: lines.append(lines[0])),
        ("label and kind contradict each other", lambda lines: lines[-1].update(kind="structural")),
        ("labelled good, but has a defect or a mask", lambda lines: lines[-1].update(defect="scratch")),
        (
            "the messages' places do not match the pictures",
            lambda lines: lines[0]["messages"][0]["content"].pop(0),
        ),
        ("the messages' places do not match the pictures", lambda lines: lines[0].update(query=7)),
        ("the messages' places do not match the pictures", lambda lines: lines[0].update(query=-9)),
        ("the messages' places do not match the pictures", lambda lines: lines[0].update(images_file_names=[])),
        ("the roles of the messages are wrong for the task", lambda lines: lines[0].update(task="sft")),
        ("MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks", set_all(category="pushpins")),
        (
            "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks",
            lambda lines: lines[0].update(source="mvtec_loco_anomaly_detection/a.png"),
        ),
        ("all records have the same label", lambda lines: lines.__delitem__(slice(3, None))),
        ("the set is empty", lambda lines: lines.clear()),
        ("a picture cannot be read", lambda lines: lines[0].update(images_file_names=["images/no.png"] * 2)),
        ("a path leads out of the folder", lambda lines: lines[0].update(masks=["../../secret.png"])),
        ("a mask cannot be read", lambda lines: lines[0].update(masks=["masks/no.png"])),
        (
            "a picture is its own reference",
            lambda lines: lines[0].update(images_file_names=[lines[0]["images_file_names"][1]] * 2),
        ),
        (
            "one picture is labelled good and anomalous",
            lambda lines: lines[0].update(
                images_file_names=[lines[0]["images_file_names"][0], lines[-1]["images_file_names"][1]]
            ),
        ),
    ],
)
def test_what_stops_a_training(pairs: Path, reason: str, edit: Callable[[list[Line]], object]) -> None:
    change(pairs, edit)
    report = check_set(pairs)
    assert reason in report.errors
    assert not report.fit


def test_a_build_that_was_cut_off_is_not_fit(pairs: Path) -> None:
    manifest = json.loads((pairs / "manifest.json").read_text())
    (pairs / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    assert INCOMPLETE in check_set(pairs).errors
    with pytest.raises(InputError, match=r"no metadata\.jsonl"):
        check_set(pairs.parent)


def test_records_and_decisions_are_read_once(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def count(path: Path, kind: Any) -> Iterator[Any]:
        read.append(path.name)
        return read_records(path, kind)

    append_decision(pairs, ReviewDecision(id="another", decision="accept"))
    for module in ("sets.built_set", "review.decisions"):
        monkeypatch.setattr(f"lad_reasoner.data.{module}.read_records", count)
    check_set(pairs)
    assert sorted(read) == ["decisions.jsonl", "metadata.jsonl"]


def test_what_the_review_decided(pairs: Path) -> None:
    first, *others = [json.loads(line) for line in (pairs / "metadata.jsonl").read_text().splitlines()]
    (pairs / first["images_file_names"][1]).unlink()
    assert check_set(pairs).errors.keys() == {"a picture cannot be read"}
    append_decision(pairs, ReviewDecision(id=first["id"], decision="reject"))
    report = check_set(pairs)
    assert (report.fit, report.rejected, report.summary["records"]) == (True, 1, 5)
    assert report.summary["labels"] == {"no": 3, "yes": 2}
    strange = [f"{number} of another set" for number in range(9)]
    for name in strange:
        append_decision(pairs, ReviewDecision(id=name, decision="reject"))
    assert check_set(pairs).warnings == {"a decision of the review about no record of the set": strange}
    for record in others:
        if record["label"] == "yes":
            append_decision(pairs, ReviewDecision(id=record["id"], decision="reject"))
    assert check_set(pairs).errors == {ONE_LABEL_LEFT: ["no"]}
    for record in others:
        append_decision(pairs, ReviewDecision(id=record["id"], decision="reject"))
    assert check_set(pairs).errors == {ALL_REJECTED: ["pairs"]}


def test_worth_knowing(pairs: Path) -> None:
    lines = [json.loads(line) for line in (pairs / "metadata.jsonl").read_text().splitlines()]
    names = [line["images_file_names"][1] for line in lines]
    change(pairs, lambda lines: [lines[0].update(masks=[]), lines[1].update(masks=["masks/black.png"])])
    Image.new("L", (80, 60)).save(pairs / "masks/black.png")
    report = check_set(pairs)
    assert len(report.warnings["anomalous, without a mask"]) == 1
    assert len(report.warnings["anomalous, but the mask is black: is the label right?"]) == 1
    with Image.open(pairs / names[0]) as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0] += 3
    (pairs / names[1]).unlink()  # a link to the source
    Image.fromarray(pixels).save(pairs / names[1])
    report = check_set(pairs)
    assert report.warnings["nearly the same picture"] == [" ~ ".join(sorted(names[:2]))]
    assert report.fit


def test_one_label_in_twenty_is_few(pairs: Path) -> None:
    def grow(lines: list[Line]) -> None:
        bad = [line for line in lines if line["label"] == "yes"]
        good = [line for line in lines if line["label"] == "no"][:1]
        lines[:] = good + [{**bad[i % 3], "id": f"{i}"} for i in range(25)]

    change(pairs, grow)
    assert FEW in check_set(pairs).warnings


def test_the_budget_of_tokens(pairs: Path) -> None:
    longest = check_set(pairs).longest
    assert check_set(pairs, max_tokens=longest).fit
    assert len(check_set(pairs, max_tokens=longest - 1).errors[f"more than {longest - 1} tokens"]) == 6


def test_leakage_by_content_whatever_the_name(pairs: Path, source: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere/x.png"
    copied.parent.mkdir()
    copied.write_bytes((source / "test/dark/1.png").read_bytes())
    with Image.open(source / "test/good/2.png") as image:
        image.save(copied.with_name("y.jpg"), quality=90)
    noise(copied.with_name("z.png"), 77)
    samples = tuple(
        Sample(image=str(path), dataset="b", category="c", split="test", kind="good", licence="")
        for path in sorted(copied.parent.iterdir())
    )
    report = check_set(pairs, benchmarks=[Source(copied.parent, samples, {})])
    [error] = report.errors["a picture of the benchmark"]
    assert "dark/1.png" in error
    assert error.endswith("x.png")
    [warning] = report.warnings["nearly a picture of the benchmark"]
    assert "good/2.png" in warning
    assert warning.endswith("y.jpg")


def test_tokens_of_pictures() -> None:
    # DESIGN's figure: two pictures of 1024x1024 are about 2,700 tokens.
    assert 2 * picture_tokens(1024, 1024) == 2 * 37 * 37 == 2738
    assert picture_tokens(280, 560) == 200
    assert picture_tokens(2048, 1024, 28 * 28 * 205) == 10 * 20
    assert picture_tokens(8, 8) == 4
    assert picture_tokens(1024, 1024, 1024 * 1024) == 36 * 36
    assert picture_tokens(1024, 1024, needed_pixels(1024, 1024)) == 37 * 37
    prompt, answer = record_tokens(
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "x" * 30}]},
            {"role": "assistant", "content": [{"type": "text", "text": "y" * 31}]},
        ],
        [(280, 280)],
    )
    assert (prompt, answer) == (32 + 100 + 2 + 10, 11)


@pytest.fixture(scope="module")
def qwen() -> Any:
    return pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")


@given(width=st.integers(20, 3000), height=st.integers(20, 3000), budget=st.integers(4 * 784, 2_000_000))
def test_tokens_are_those_of_the_real_image_processor(qwen: Any, width: int, height: int, budget: int) -> None:
    rows, columns = qwen.smart_resize(height, width, factor=28, min_pixels=4 * 784, max_pixels=budget)
    assert picture_tokens(width, height, budget) == rows * columns // 784
    assert picture_tokens(width, height, needed_pixels(width, height)) == picture_tokens(width, height)
