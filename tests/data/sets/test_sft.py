"""The SFT builder: its questions and pictures, its refusals, and a build that was cut off and resumed."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from helpers.skeletons import FakeTeacher, draw, mvtec_ad, pool_of, truthful, visa, write_pairs
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.sets.built_set import read_entries, read_manifest
from lad_reasoner.data.sets.pool import UNREADABLE
from lad_reasoner.data.sets.questions import QUESTIONS
from lad_reasoner.data.sets.sft import GOOD_ENOUGH, MASK_UNREADABLE, build_sft, plan_sft
from lad_reasoner.data.teachers.offline import OfflineTeacher
from lad_reasoner.data.teachers.teacher import Request, Unanswered
from lad_reasoner.errors import InputError, ServiceError

DATA = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[4] / "shared/data/real")).parent
needs_data = pytest.mark.skipif(
    not (DATA / "real").is_dir(), reason=f"no data in {DATA}; set LAD_PHOTOGRAPHS to the folder `real` in it"
)
NOTHING = read_mmad()


def test_every_anomalous_picture_and_a_tenth_good(mvtec: Path, tmp_path: Path) -> None:
    found = pool_of(mvtec)
    bad = sum(item.sample.label == "yes" for item in found.tests())
    good = len(found.tests()) - bad
    teacher = FakeTeacher(truthful)
    names = list(build_sft(tmp_path, plan_sft(found, NOTHING), teacher))
    entries = read_entries(tmp_path)
    assert len(names) == len(entries) == len({entry.id for entry in entries})
    labels = Counter(entry.label for entry in entries)
    assert labels["yes"] == bad
    assert labels["no"] == round(bad / 9)
    classes = Counter(entry.category for entry in entries if entry.label == "no")
    assert max(classes.values()) - min(classes.values()) <= 1
    assert len(classes) == min(15, labels["no"])
    questions = Counter(entry.question for entry in entries)
    assert set(questions) == set(QUESTIONS)
    assert max(questions.values()) - min(questions.values()) <= 2  # one of each label
    manifest = read_manifest(tmp_path)
    assert manifest["complete"] is True
    assert manifest["labels"] == dict(sorted(labels.items()))
    assert manifest["refused"][GOOD_ENOUGH]["count"] == good - labels["no"]
    assert manifest["teacher"]["paid"]["answers"] == len(entries)
    assert manifest["licences"] == {"CC BY-NC-SA 4.0": len(entries)}


@needs_data
def test_full_size_skeletons_give_the_papers_numbers(tmp_path: Path) -> None:
    with (DATA / "visa_1cls.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    found = pool_of(mvtec_ad(tmp_path / "mvtec"), visa(tmp_path / "visa", rows))
    assert len(found.tests()) == 1725 + 2162
    plan = plan_sft(found, NOTHING)
    assert len(plan.asked) == 2731
    list(build_sft(tmp_path / "sft", plan, FakeTeacher(truthful)))
    assert read_manifest(tmp_path / "sft")["labels"] == {"no": 273, "yes": 2458}
    assert len(write_pairs(tmp_path / "pairs", found)) == 984
    assert read_manifest(tmp_path / "pairs")["labels"] == {"no": 268, "yes": 716}


def test_a_picture_can_be_asked_about_in_several_ways(miniloco: Path) -> None:
    plan = plan_sft(pool_of(miniloco), NOTHING, good_share=0.5, per_picture=5)
    by_picture: dict[str, set[str]] = {}
    for asked in plan.asked:
        by_picture.setdefault(asked.item.name, set()).add(asked.question)
    assert len(by_picture) == 2 * (3 + 3 + 3)  # too few good ones: all are taken
    assert all(questions == set(QUESTIONS) for questions in by_picture.values())


def test_the_student_never_sees_what_the_teacher_is_told(mvtec: Path, tmp_path: Path) -> None:
    knowledge = tmp_path / "knowledge.json"
    knowledge.write_text(json.dumps({"MVTec": {"cable": {"missing_wire": "One of three copper strands is absent."}}}))
    teacher = FakeTeacher(truthful)
    list(build_sft(tmp_path / "out", plan_sft(pool_of(mvtec), read_mmad(None, knowledge)), teacher))
    told = [request for request in teacher.asked if "missing_wire" in str(request.pictures[0])]
    assert told
    for request in told:
        prompt = request.messages[0]["content"][1]["text"]
        assert "Artifact type: structural anomaly (missing wire)" in prompt
        assert "copper strands" in prompt
        assert "upper left" in prompt
        assert "look beyond it" in prompt
    for entry in read_entries(tmp_path / "out"):
        [image, text] = entry.messages[0]["content"]
        assert image == {"type": "image"}
        assert "hint" not in text["text"].casefold()
        assert "copper" not in json.dumps(entry.messages)
        assert [message["role"] for message in entry.messages] == ["user", "assistant"]


def test_what_mmad_knows_of_other_pictures_is_counted_and_other_hints_need_another_folder(
    mvtec: Path, tmp_path: Path
) -> None:
    entry = {"conversation": [{"Question": "Where?", "Answer": "A", "Options": {"A": "there"}, "type": "Defect"}]}
    keys = ["DS-MVTec/cable/image/missing_wire/000.png", "DS-MVTec/cable/image/missing_wire/999.png"]
    keys += ["MVTec-LOCO/pushpins/test/logical_anomalies/000.png", "DS-MVTec/../../etc/passwd"]
    (tmp_path / "mmad.json").write_text(json.dumps(dict.fromkeys(keys, entry)))
    mmad = read_mmad(tmp_path / "mmad.json")
    teacher = FakeTeacher(truthful)
    list(build_sft(tmp_path / "out", plan_sft(pool_of(mvtec), mmad), teacher))
    refused = read_manifest(tmp_path / "out")["refused"]
    told = {reason: found["names"] for reason, found in refused.items() if "MMAD" in reason}
    assert sum(map(len, told.values())) == 3
    assert told["keys of MMAD: absent from the sources"] == ["MVTec AD/cable/missing_wire/999"]
    [asked] = [r for r in teacher.asked if str(r.pictures[0]).endswith("cable/test/missing_wire/000.png")]
    assert "Where? there" in asked.messages[0]["content"][1]["text"]
    with pytest.raises(InputError, match="other settings \\(mmad_sha256"):
        list(build_sft(tmp_path / "out", plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful)))


def test_offline_every_product_every_question(miniloco: Path, tmp_path: Path) -> None:
    list(build_sft(tmp_path, plan_sft(pool_of(miniloco), NOTHING, good_share=0.5, per_picture=5), OfflineTeacher()))
    manifest = read_manifest(tmp_path)
    assert manifest["records"] == 2 * 9 * 5
    assert manifest["answers_refused"] == {}
    assert manifest["teacher"]["name"] == "offline"


def test_what_the_teacher_cannot_answer_is_counted_by_reason(mvtec: Path, tmp_path: Path) -> None:
    again = "answer: the answer contradicts what is known about the picture: it shows an anomaly"

    def reply(request: Request) -> dict[str, object] | Unanswered:
        if "bottle" in str(request.pictures[0]):
            return Unanswered("malformed", again, (again, again))
        return Unanswered("malformed", "nobody knows") if "pill" in str(request.pictures[0]) else truthful(request)

    list(build_sft(tmp_path, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(reply)))
    manifest = read_manifest(tmp_path)
    count = manifest["refused"]["the teacher's answer: contradicts the label"]["count"]
    assert count >= 6
    assert manifest["answers_refused"] == {"contradicts the label": 2 * count}
    assert manifest["refused"]["nobody knows"]["count"] >= 14
    assert not {entry.category for entry in read_entries(tmp_path)} & {"bottle", "pill"}
    assert manifest["complete"] is True


def test_one_usable_answer_is_enough_to_go_on(mvtec: Path, tmp_path: Path) -> None:
    plan = plan_sft(pool_of(mvtec), NOTHING)
    useless = Unanswered("malformed", "it holds no JSON object", ("it holds no JSON object",) * 2)
    first = plan.requests[0].pictures

    def seldom(request: Request) -> dict[str, object] | Unanswered:
        return truthful(request) if request.pictures == first else useless

    list(build_sft(tmp_path / "one", plan, FakeTeacher(seldom)))
    assert read_manifest(tmp_path / "one")["records"] == 1
    teacher = FakeTeacher(lambda request: useless)
    with pytest.raises(
        ServiceError, match=r"none of its answers to the first 20 questions .*\(40 of 40 answers: no ans"
    ):
        list(build_sft(tmp_path / "none", plan, teacher))
    assert len(teacher.asked) == 20
    silent = FakeTeacher(lambda request: Unanswered("malformed", "nobody knows"))
    list(build_sft(tmp_path / "silent", plan, silent))
    assert len(silent.asked) == len(plan.asked)


def test_what_was_not_asked_is_asked_by_the_next_run(mvtec: Path, tmp_path: Path) -> None:
    def broke(request: Request) -> dict[str, object] | Unanswered:
        return Unanswered("budget", "spent") if "cable" in str(request.pictures[0]) else truthful(request)

    list(build_sft(tmp_path, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(broke)))
    first = read_manifest(tmp_path)
    assert (first["complete"], first["unasked"]) == (False, first["refused"]["the budget was spent"]["count"])
    list(build_sft(tmp_path, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful)))
    second = read_manifest(tmp_path)
    assert second["complete"] is True
    assert second["records"] == first["records"] + first["unasked"]
    assert "the budget was spent" not in second["refused"]


def test_a_build_that_was_cut_off_goes_on(mvtec: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    list(build_sft(whole, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful)))
    build = build_sft(cut, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful))
    for _ in range(20):
        next(build)
    build.close()
    with (cut / "metadata.jsonl").open("a") as file:
        file.write('{"id": "half a li')  # what a kill leaves
    assert read_manifest(cut)["complete"] is False
    before = {path: path.stat().st_mtime_ns for path in (cut / "images").rglob("*.png")}
    list(build_sft(cut, plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful)))
    for name in ("metadata.jsonl", "manifest.json", "README.md"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_need_another_folder(mvtec: Path, tmp_path: Path) -> None:
    list(build_sft(tmp_path / "out", plan_sft(pool_of(mvtec), NOTHING), FakeTeacher(truthful)))
    with pytest.raises(InputError, match=r"other settings \(seed: 0 there, 1 here\)"):
        list(build_sft(tmp_path / "out", plan_sft(pool_of(mvtec), NOTHING, seed=1), FakeTeacher(truthful)))
    with pytest.raises(InputError, match="another task"):
        write_pairs(tmp_path / "out", pool_of(mvtec))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        write_pairs(tmp_path / "mine", pool_of(mvtec))


def test_damaged_pictures_and_masks_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "mvtec/bottle"
    for i in range(4):
        draw(folder / f"test/contamination/{i:03d}.png", i)
        Image.new("L", (16, 16), 255).save(draw(folder / f"ground_truth/contamination/{i:03d}_mask.png", i))
    draw(folder / "train/good/000.png", 99)
    draw(folder / "test/good/000.png", 98)
    whole = (folder / "test/contamination/001.png").read_bytes()
    (folder / "test/contamination/001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "ground_truth/contamination/002_mask.png").write_bytes(b"no picture")
    list(build_sft(tmp_path / "out", plan_sft(pool_of(folder.parent), NOTHING), FakeTeacher(truthful)))
    manifest = read_manifest(tmp_path / "out")
    assert manifest["labels"] == {"yes": 2}
    assert manifest["refused"][UNREADABLE]["count"] == 1
    assert "001.png" in manifest["refused"][UNREADABLE]["names"][0]
    assert manifest["refused"][MASK_UNREADABLE]["count"] == 1
