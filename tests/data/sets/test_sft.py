"""The two builders: what they take, what they leave out, and that a build that was cut off goes on."""

from __future__ import annotations

import csv
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.skeletons import FakeTeacher, draw, mvtec_ad, truthful, visa
from lad_reasoner.data.layouts import find_samples
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.public_sets import MVTEC_AD
from lad_reasoner.data.sets.built_set import Entry, read_entries, read_manifest
from lad_reasoner.data.sets.pairs import ALONE, CLASSES, NOT_CHOSEN, OTHER_KIND, build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import TWICE, UNREADABLE, Pool, gather
from lad_reasoner.data.sets.questions import QUESTIONS
from lad_reasoner.data.sets.sft import GOOD_ENOUGH, MASK_UNREADABLE, build_sft, plan_sft
from lad_reasoner.data.teachers.offline import OfflineTeacher
from lad_reasoner.data.teachers.teacher import Request, Unanswered
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.miniloco import write_benchmark
from lad_reasoner.prompts import PROMPT_VERSION, QUESTION

DATA = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[4] / "shared/data/real")).parent
needs_data = pytest.mark.skipif(
    not (DATA / "real").is_dir(), reason=f"no data in {DATA}; set LAD_PHOTOGRAPHS to the folder `real` in it"
)
NOTHING = read_mmad()


@pytest.fixture(scope="module")
def mvtec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mvtec_ad(tmp_path_factory.mktemp("data") / "mvtec", part=0.1)


@pytest.fixture(scope="module")
def miniloco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "miniloco"
    list(write_benchmark(folder, products=["bolt_plate", "test_tubes"], per_class=3, size=64))
    return folder


def material(*folders: Path) -> Pool:
    return gather([find_samples(folder) for folder in folders])


def own(folder: Path, *, good: int = 4, bad: int = 6, train: int = 0) -> Path:
    """A folder of one's own."""
    for i in range(train):
        draw(folder / f"train/good/{i}.png", 5000 + i)
    for i in range(good):
        draw(folder / ("test" if train else "") / f"good/{i}.png", i)
    for i in range(bad):
        draw(folder / ("test" if train else "") / f"bad/{i}.png", 1000 + i)
    return folder


def pairs(out: Path, found: Pool, **settings: Any) -> list[Entry]:
    list(build_pairs(out, plan_pairs(found, **settings)))
    return read_entries(out)


# SFT


def test_every_anomalous_picture_and_a_tenth_good(mvtec: Path, tmp_path: Path) -> None:
    found = material(mvtec)
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
    found = material(mvtec_ad(tmp_path / "mvtec"), visa(tmp_path / "visa", rows))
    assert len(found.tests()) == 1725 + 2162
    plan = plan_sft(found, NOTHING)
    assert len(plan.asked) == 2731
    list(build_sft(tmp_path / "sft", plan, FakeTeacher(truthful)))
    assert read_manifest(tmp_path / "sft")["labels"] == {"no": 273, "yes": 2458}
    assert len(pairs(tmp_path / "pairs", found)) == 984
    assert read_manifest(tmp_path / "pairs")["labels"] == {"no": 268, "yes": 716}


def test_a_picture_can_be_asked_about_in_several_ways(miniloco: Path) -> None:
    plan = plan_sft(material(miniloco), NOTHING, good_share=0.5, per_picture=5)
    by_picture: dict[str, set[str]] = {}
    for asked in plan.asked:
        by_picture.setdefault(asked.item.name, set()).add(asked.question)
    assert len(by_picture) == 2 * (3 + 3 + 3)  # too few good ones: all are taken
    assert all(questions == set(QUESTIONS) for questions in by_picture.values())


def test_the_student_never_sees_what_the_teacher_is_told(mvtec: Path, tmp_path: Path) -> None:
    knowledge = tmp_path / "knowledge.json"
    knowledge.write_text(json.dumps({"MVTec": {"cable": {"missing_wire": "One of three copper strands is absent."}}}))
    teacher = FakeTeacher(truthful)
    list(build_sft(tmp_path / "out", plan_sft(material(mvtec), read_mmad(None, knowledge)), teacher))
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
    list(build_sft(tmp_path / "out", plan_sft(material(mvtec), mmad), teacher))
    refused = read_manifest(tmp_path / "out")["refused"]
    told = {reason: found["names"] for reason, found in refused.items() if "MMAD" in reason}
    assert sum(map(len, told.values())) == 3
    assert told["keys of MMAD: absent from the sources"] == ["MVTec AD/cable/missing_wire/999"]
    [asked] = [r for r in teacher.asked if str(r.pictures[0]).endswith("cable/test/missing_wire/000.png")]
    assert "Where? there" in asked.messages[0]["content"][1]["text"]
    with pytest.raises(InputError, match="other settings \\(mmad_sha256"):
        list(build_sft(tmp_path / "out", plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful)))


def test_offline_every_product_every_question(miniloco: Path, tmp_path: Path) -> None:
    list(build_sft(tmp_path, plan_sft(material(miniloco), NOTHING, good_share=0.5, per_picture=5), OfflineTeacher()))
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

    list(build_sft(tmp_path, plan_sft(material(mvtec), NOTHING), FakeTeacher(reply)))
    manifest = read_manifest(tmp_path)
    count = manifest["refused"]["the teacher's answer: contradicts the label"]["count"]
    assert count >= 6
    assert manifest["answers_refused"] == {"contradicts the label": 2 * count}
    assert manifest["refused"]["nobody knows"]["count"] >= 14
    assert not {entry.category for entry in read_entries(tmp_path)} & {"bottle", "pill"}
    assert manifest["complete"] is True


def test_what_was_not_asked_is_asked_by_the_next_run(mvtec: Path, tmp_path: Path) -> None:
    def broke(request: Request) -> dict[str, object] | Unanswered:
        return Unanswered("budget", "spent") if "cable" in str(request.pictures[0]) else truthful(request)

    list(build_sft(tmp_path, plan_sft(material(mvtec), NOTHING), FakeTeacher(broke)))
    first = read_manifest(tmp_path)
    assert (first["complete"], first["unasked"]) == (False, first["refused"]["the budget was spent"]["count"])
    list(build_sft(tmp_path, plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful)))
    second = read_manifest(tmp_path)
    assert second["complete"] is True
    assert second["records"] == first["records"] + first["unasked"]
    assert "the budget was spent" not in second["refused"]


def test_a_build_that_was_cut_off_goes_on(mvtec: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    list(build_sft(whole, plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful)))
    build = build_sft(cut, plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful))
    for _ in range(20):
        next(build)
    build.close()
    with (cut / "metadata.jsonl").open("a") as file:
        file.write('{"id": "half a li')  # what a kill leaves
    assert read_manifest(cut)["complete"] is False
    before = {path: path.stat().st_mtime_ns for path in (cut / "images").rglob("*.png")}
    list(build_sft(cut, plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful)))
    for name in ("metadata.jsonl", "manifest.json", "README.md"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_need_another_folder(mvtec: Path, tmp_path: Path) -> None:
    list(build_sft(tmp_path / "out", plan_sft(material(mvtec), NOTHING), FakeTeacher(truthful)))
    with pytest.raises(InputError, match=r"other settings \(seed: 0 there, 1 here\)"):
        list(build_sft(tmp_path / "out", plan_sft(material(mvtec), NOTHING, seed=1), FakeTeacher(truthful)))
    with pytest.raises(InputError, match="another task"):
        pairs(tmp_path / "out", material(mvtec))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        pairs(tmp_path / "mine", material(mvtec))


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
    list(build_sft(tmp_path / "out", plan_sft(material(folder.parent), NOTHING), FakeTeacher(truthful)))
    manifest = read_manifest(tmp_path / "out")
    assert manifest["labels"] == {"yes": 2}
    assert manifest["refused"][UNREADABLE]["count"] == 1
    assert "001.png" in manifest["refused"][UNREADABLE]["names"][0]
    assert manifest["refused"][MASK_UNREADABLE]["count"] == 1


# Pairs


def test_pairs_of_the_tables_classes(mvtec: Path, tmp_path: Path) -> None:
    assert set(CLASSES) <= set(MVTEC_AD)
    assert {name for name, defects in MVTEC_AD.items() if "color" in defects} < set(CLASSES)
    found = material(mvtec)
    queries = [item for item in found.tests() if item.sample.category in CLASSES]
    entries = pairs(tmp_path, found)
    assert len(entries) == len(queries)
    assert {entry.category for entry in entries} == set(CLASSES)
    for entry in entries:
        reference, query = entry.images_file_names
        assert "/train/good/" in reference
        assert "/test/" in query
        assert reference.split("/")[2] == query.split("/")[2] == entry.category
        assert entry.query == 1
        assert entry.label == ("no" if "/test/good/" in query else "yes")
        assert (tmp_path / query).read_bytes() == (mvtec / entry.source).read_bytes()
        [first, second, text] = entry.messages[0]["content"]
        assert first == second == {"type": "image"}
        assert QUESTION in text["text"]
        assert entry.prompt == entry.messages
        assert entry.prompt_version == PROMPT_VERSION
        assert bool(entry.masks) == (entry.label == "yes")
    manifest = read_manifest(tmp_path)
    assert manifest["refused"][NOT_CHOSEN]["count"] == len(found.tests()) - len(queries)
    assert manifest["references_from_test"] == 0
    assert manifest["sources"][0]["pictures"] == len({n for entry in entries for n in entry.images_file_names})


def test_a_seed_repeats_and_a_class_depends_on_itself_alone(mvtec: Path) -> None:
    def drawn(**settings: Any) -> dict[str, list[str]]:
        plan = plan_pairs(material(mvtec), **settings)
        return {pair.id: [item.name for item in pair.references] for pair in plan.pairs}

    everything = drawn(seed=3)
    assert drawn(seed=3) == everything
    assert drawn(seed=4) != everything
    pill = drawn(seed=3, classes=["pill"])
    assert pill == {name: references for name, references in everything.items() if "/pill/" in name}
    with pytest.raises(InputError, match=r"pillow: not among the sources' classes \(bottle, cable"):
        drawn(classes=["pillow"])


def test_several_references_and_several_pairs_of_a_picture(mvtec: Path) -> None:
    plan = plan_pairs(material(mvtec), references=2, per_picture=2)
    by_query: dict[str, list[set[str]]] = {}
    for pair in plan.pairs:
        names = {item.name for item in pair.references}
        assert len(names) == 2
        by_query.setdefault(pair.query.name, []).append(names)
    assert len({pair.id for pair in plan.pairs}) == len(plan.pairs)
    assert all(len(sets) == 2 and not sets[0] & sets[1] for sets in by_query.values())
    with pytest.raises(InputError, match="6 references are wanted, but a query has 5 good pictures"):
        plan_pairs(material(mvtec), references=6)


def test_only_queries_of_the_wanted_kinds(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path / "source", products=["bolt_plate"], per_class=2, size=64))
    plan = plan_pairs(material(tmp_path / "source"), kinds=["good", "logical"])
    assert Counter(pair.query.sample.kind for pair in plan.pairs) == {"good": 2, "logical": 2}
    list(build_pairs(tmp_path / "out", plan))
    assert read_manifest(tmp_path / "out")["refused"][OTHER_KIND]["count"] == 2
    with pytest.raises(InputError, match="--kinds mad: no such kind; give some of good, logical, structural, other"):
        plan_pairs(material(tmp_path / "source"), kinds=["good", "mad"])


def test_balanced_and_good_good(tmp_path: Path) -> None:
    found = material(own(tmp_path / "lamp", good=2, bad=9, train=4))
    plain = plan_pairs(found)
    assert Counter(pair.query.sample.label for pair in plain.pairs) == {"yes": 9, "no": 2}
    balanced = plan_pairs(found, balanced=True)
    assert Counter(pair.query.sample.label for pair in balanced.pairs) == {"yes": 2, "no": 2}
    filled = plan_pairs(found, good_good=True)
    assert Counter(pair.query.sample.label for pair in filled.pairs) == {"yes": 9, "no": 2 + 4}
    both = plan_pairs(found, good_good=True, balanced=True)
    assert Counter(pair.query.sample.label for pair in both.pairs) == {"yes": 6, "no": 6}
    for pair in (*filled.pairs, *both.pairs):
        assert pair.query.name not in {item.name for item in pair.references}
        assert all("/train/" in item.name for item in pair.references)


def test_no_picture_is_its_own_reference_not_even_a_copy_of_it(tmp_path: Path) -> None:
    folder = own(tmp_path / "lamp", good=3, bad=2)
    (folder / "good/copy.png").write_bytes((folder / "good/0.png").read_bytes())
    for seed in range(20):
        for pair in plan_pairs(material(folder), seed=seed, references=2).pairs:
            contents = [Path(item.sample.image).read_bytes() for item in pair.references]
            assert Path(pair.query.sample.image).read_bytes() not in contents
    list(build_pairs(tmp_path / "out", plan_pairs(material(folder))))
    assert read_manifest(tmp_path / "out")["references_from_test"] == 6  # this source has no training pictures


def test_the_only_good_picture_is_a_reference_and_no_query(tmp_path: Path) -> None:
    found = material(own(tmp_path / "lamp", good=1, bad=3))
    plan = plan_pairs(found)
    assert [pair.query.sample.label for pair in plan.pairs] == ["yes"] * 3
    assert found.refused == {ALONE: ["good/0.png"]}


def test_shuffled_pictures_say_where_the_query_is(mvtec: Path, tmp_path: Path) -> None:
    entries = pairs(tmp_path, material(mvtec), shuffle=True, references=2)
    places = Counter(entry.query for entry in entries)
    assert set(places) == {0, 2}
    assert min(places.values()) > 0.3 * len(entries)
    for entry in entries:
        assert "/test/" in entry.images_file_names[entry.query]
        text = entry.messages[0]["content"][-1]["text"]
        assert text.startswith("The first image is the query" if entry.query == 0 else "The first 2 images are ref")


def test_pairs_that_were_cut_off_go_on(mvtec: Path, tmp_path: Path) -> None:
    build = build_pairs(tmp_path, plan_pairs(material(mvtec)))
    for _ in range(random.Random(0).randrange(5, 20)):
        next(build)
    build.close()
    done = [entry.id for entry in read_entries(tmp_path)]
    entries = pairs(tmp_path, material(mvtec))
    assert [entry.id for entry in entries][: len(done)] == done
    assert read_manifest(tmp_path)["complete"] is True
    assert len({entry.id for entry in entries}) == len(entries)


# What nothing is built from


def test_nothing_of_a_benchmark(miniloco: Path, tmp_path: Path) -> None:
    list(write_benchmark(tmp_path / "evaluation", products=["pushpins"], per_class=1, size=64))
    with pytest.raises(InputError, match=r"nothing is left to train on.*benchmark"):
        material(tmp_path / "evaluation")
    found = material(tmp_path / "evaluation", miniloco)
    assert {item.sample.category for item in found.items} == {"bolt_plate", "test_tubes"}
    [(reason, names)] = [(reason, names) for reason, names in found.refused.items() if "benchmark" in reason]
    assert (len(names), reason) == (5, "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks")


def test_a_picture_that_two_sources_hold_counts_once(mvtec: Path, tmp_path: Path) -> None:
    for name in ("000.png", "001.png"):
        draw(tmp_path / "DS-MVTec/bottle/image/contamination" / name, 7)
    found = material(mvtec, tmp_path / "DS-MVTec")
    assert len(found.refused[TWICE]) == 2
    assert len(found.tests()) == len(material(mvtec).tests())
    assert len(material(mvtec, mvtec / "bottle").items) == len(material(mvtec).items)


def test_names_in_a_set_are_unique(tmp_path: Path) -> None:
    found = material(own(tmp_path / "a/lamp"), own(tmp_path / "b/lamp"))
    names = [item.name for item in found.items]
    assert len(set(names)) == len(names) == 20
    assert "lamp/lamp/bad/0.png" in names
    assert "lamp/lamp/bad/0-2.png" in names


def test_a_full_disk_is_said_in_one_line(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lad_reasoner.data.sets.built_set.put_file", full)
    with pytest.raises(MachineError, match="No space left on device; free some space and start again"):
        pairs(tmp_path, material(mvtec))
    monkeypatch.undo()
    assert len(pairs(tmp_path, material(mvtec))) == len(plan_pairs(material(mvtec)).pairs)


def test_copies_where_links_are_not_possible(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    entries = pairs(tmp_path, material(mvtec), classes=["pill"])
    for entry in entries:
        path = tmp_path / entry.images_file_names[1]
        assert path.read_bytes() == (mvtec / entry.source).read_bytes()
        assert path.stat().st_nlink == 1
    assert not list(tmp_path.rglob("*.half"))
