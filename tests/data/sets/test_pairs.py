"""The builder of pairs: queries and references, balance, order, and a build that was cut off and resumed."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import prediction, write_run
from helpers.skeletons import TEST, own_folder, pool_of, write_pairs
from lad_reasoner.data.public_sets import MVTEC_AD
from lad_reasoner.data.sets import pairs
from lad_reasoner.data.sets.built_set import read_entries, read_manifest
from lad_reasoner.data.sets.pairs import (
    ALONE,
    CLASSES,
    DEFECTS,
    JUDGED_RIGHT,
    NOT_CHOSEN,
    OTHER_DEFECT,
    OTHER_KIND,
    build_pairs,
    plan_pairs,
)
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.miniloco import write_benchmark
from lad_reasoner.miniloco.families.free import free_names
from lad_reasoner.miniloco.words import differing, write_response
from lad_reasoner.prompts import PROMPT_VERSION, QUESTION
from lad_reasoner.train.rewards import consistent_reward

# Anomalous test pictures of MVTec AD by the folders of its defects.
ANOMALIES: dict[str, dict[str, int]] = {
    "cable": {
        **{"bent_wire": 13, "cable_swap": 12, "combined": 11, "cut_inner_insulation": 14, "cut_outer_insulation": 10},
        **{"missing_cable": 12, "missing_wire": 10, "poke_insulation": 10},
    },
    "capsule": {"crack": 23, "faulty_imprint": 22, "poke": 21, "scratch": 23, "squeeze": 20},
    "carpet": {"color": 19, "cut": 17, "hole": 17, "metal_contamination": 17, "thread": 19},
    "leather": {"color": 19, "cut": 19, "fold": 17, "glue": 19, "poke": 18},
    "metal_nut": {"bent": 25, "color": 22, "flip": 23, "scratch": 23},
    "pill": {
        **{"color": 25, "combined": 17, "contamination": 21, "crack": 26, "faulty_imprint": 19, "pill_type": 9},
        "scratch": 24,
    },
    "transistor": {"bent_lead": 10, "cut_lead": 10, "damaged_case": 10, "misplaced": 10},
    "wood": {"color": 8, "combined": 11, "hole": 10, "liquid": 10, "scratch": 21},
}


def test_pairs_of_the_tables_classes(mvtec: Path, tmp_path: Path) -> None:
    assert set(CLASSES) <= set(MVTEC_AD)
    assert {name for name, defects in MVTEC_AD.items() if "color" in defects} < set(CLASSES)
    found = pool_of(mvtec)
    queries = [item for item in found.tests() if item.sample.category in CLASSES]
    entries = write_pairs(tmp_path, found)
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


def test_defects_by_the_papers_words(mvtec: Path) -> None:
    for category, counts in ANOMALIES.items():
        everything, good = TEST[category]
        assert counts.keys() == MVTEC_AD[category]
        assert sum(counts.values()) == everything - good
    chosen = {tuple(name.split("/")) for names in DEFECTS.values() for name in names}
    assert sum(sum(counts.values()) for counts in ANOMALIES.values()) == 716
    assert sum(ANOMALIES[category][defect] for category, defect in chosen) == 319
    assert sum(TEST[category][1] for category in CLASSES) == 268
    pool = pool_of(mvtec)
    whole = plan_pairs(pool_of(mvtec))
    plan = plan_pairs(pool, defects=["color", "number"])
    queries = [pair.query.sample for pair in plan.pairs]
    asked = {f"{query.category}/{query.defect}" for query in queries if query.label == "yes"}
    assert asked == {*DEFECTS["color"], *DEFECTS["number"]}
    assert sum(query.label == "no" for query in queries) == sum(pair.query.sample.label == "no" for pair in whole.pairs)
    assert len(pool.refused[OTHER_DEFECT]) == len(whole.pairs) - len(plan.pairs) > 0
    assert "defects" not in whole.recipe
    with pytest.raises(InputError, match="--defects colour: no such word; give some of number, color"):
        plan_pairs(pool, defects=["colour"])


def test_a_seed_repeats_and_a_class_depends_on_itself_alone(mvtec: Path) -> None:
    def drawn(**settings: Any) -> dict[str, list[str]]:
        plan = plan_pairs(pool_of(mvtec), **settings)
        return {pair.id: [item.name for item in pair.references] for pair in plan.pairs}

    everything = drawn(seed=3)
    assert drawn(seed=3) == everything
    assert drawn(seed=4) != everything
    pill = drawn(seed=3, classes=["pill"])
    assert pill == {name: references for name, references in everything.items() if "/pill/" in name}
    with pytest.raises(
        InputError, match=r"pillow: not among the sources' classes \(bottle, cable.*; did you mean pill"
    ):
        drawn(classes=["pillow"])
    assert drawn(seed=3, classes=["Pill"]) == pill
    assert plan_pairs(pool_of(mvtec), classes=["Metal Nut"]).recipe["classes"] == ["metal_nut"]


def test_classes_in_folders_of_another_case(mvtec: Path, tmp_path: Path) -> None:
    shutil.copytree(mvtec / "bottle", tmp_path / "mine" / "Bottle")
    shutil.copytree(mvtec / "bottle", tmp_path / "theirs" / "bottle")
    mine, theirs = (plan_pairs(pool_of(tmp_path / name), classes=["bottle"]) for name in ("mine", "theirs"))
    assert [pair.id for pair in mine.pairs] == [pair.id for pair in theirs.pairs]


def test_a_source_without_the_papers_classes_is_told_its_own(mvtec: Path, tmp_path: Path) -> None:
    for category in ("bottle", "grid"):
        shutil.copytree(mvtec / category, tmp_path / "some" / category)
    with pytest.raises(InputError, match=r"\(cable, .*wood\); give some of theirs, such as --classes bottle,grid$"):
        plan_pairs(pool_of(tmp_path / "some"))


def test_several_references_and_several_pairs_of_a_picture(mvtec: Path) -> None:
    plan = plan_pairs(pool_of(mvtec), references=2, per_picture=2)
    by_query: dict[str, list[set[str]]] = {}
    for pair in plan.pairs:
        names = {item.name for item in pair.references}
        assert len(names) == 2
        by_query.setdefault(pair.query.name, []).append(names)
    assert len({pair.id for pair in plan.pairs}) == len(plan.pairs)
    assert all(len(sets) == 2 and not sets[0] & sets[1] for sets in by_query.values())
    with pytest.raises(InputError, match="6 references are wanted, but a query has 5 good pictures"):
        plan_pairs(pool_of(mvtec), references=6)


def test_only_queries_of_the_wanted_kinds(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path / "source", products=["bolt_plate"], per_class=2, size=64))
    plan = plan_pairs(pool_of(tmp_path / "source"), kinds=["good", "logical"])
    assert Counter(pair.query.sample.kind for pair in plan.pairs) == {"good": 2, "logical": 2}
    list(build_pairs(tmp_path / "out", plan))
    assert read_manifest(tmp_path / "out")["refused"][OTHER_KIND]["count"] == 2
    with pytest.raises(InputError, match="--kinds mad: no such kind; give some of good, logical, structural, other"):
        plan_pairs(pool_of(tmp_path / "source"), kinds=["good", "mad"])


def test_balanced_and_good_good(tmp_path: Path) -> None:
    found = pool_of(own_folder(tmp_path / "lamp", good=2, bad=9, train=4))
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
    folder = own_folder(tmp_path / "lamp", good=3, bad=2)
    (folder / "good/copy.png").write_bytes((folder / "good/0.png").read_bytes())
    for seed in range(20):
        for pair in plan_pairs(pool_of(folder), seed=seed, references=2).pairs:
            contents = [Path(item.sample.image).read_bytes() for item in pair.references]
            assert Path(pair.query.sample.image).read_bytes() not in contents
    list(build_pairs(tmp_path / "out", plan_pairs(pool_of(folder))))
    assert read_manifest(tmp_path / "out")["references_from_test"] == 6  # this source has no training pictures


def test_the_only_good_picture_is_a_reference_and_no_query(tmp_path: Path) -> None:
    found = pool_of(own_folder(tmp_path / "lamp", good=1, bad=3))
    plan = plan_pairs(found)
    assert [pair.query.sample.label for pair in plan.pairs] == ["yes"] * 3
    assert found.refused == {ALONE: ["good/0.png"]}


def test_shuffled_pictures_say_where_the_query_is(mvtec: Path, tmp_path: Path) -> None:
    entries = write_pairs(tmp_path, pool_of(mvtec), shuffle=True, references=2)
    places = Counter(entry.query for entry in entries)
    assert set(places) == {0, 2}
    assert min(places.values()) > 0.3 * len(entries)
    for entry in entries:
        assert "/test/" in entry.images_file_names[entry.query]
        text = entry.messages[0]["content"][-1]["text"]
        assert text.startswith("The first image is the query" if entry.query == 0 else "The first 2 images are ref")


def test_pairs_that_were_cut_off_go_on(mvtec: Path, tmp_path: Path) -> None:
    build = build_pairs(tmp_path, plan_pairs(pool_of(mvtec)))
    for _ in range(random.Random(0).randrange(5, 20)):
        next(build)
    build.close()
    done = [entry.id for entry in read_entries(tmp_path)]
    entries = write_pairs(tmp_path, pool_of(mvtec))
    assert [entry.id for entry in entries][: len(done)] == done
    assert read_manifest(tmp_path)["complete"] is True
    assert len({entry.id for entry in entries}) == len(entries)


def test_a_full_disk_is_said_in_one_line(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lad_reasoner.data.sets.built_set.put_file", full)
    with pytest.raises(MachineError, match="No space left on device; free some space, then run the same command again"):
        write_pairs(tmp_path, pool_of(mvtec))
    monkeypatch.undo()
    assert len(write_pairs(tmp_path, pool_of(mvtec))) == len(plan_pairs(pool_of(mvtec)).pairs)


def test_copies_where_links_are_not_possible(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    entries = write_pairs(tmp_path, pool_of(mvtec), classes=["pill"])
    for entry in entries:
        path = tmp_path / entry.images_file_names[1]
        assert path.read_bytes() == (mvtec / entry.source).read_bytes()
        assert path.stat().st_nlink == 1
    assert not list(tmp_path.rglob("*.part"))


def test_a_mask_that_is_a_link_to_a_secret_does_not_get_into_the_set(mvtec: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(mvtec, source)
    (tmp_path / "secret").write_text("password")
    pool = pool_of(source)
    mask = next(Path(item.sample.masks[0]) for item in pool.tests() if item.sample.masks and item.name.count("pill"))
    mask.unlink()
    mask.symlink_to(tmp_path / "secret")
    plan = plan_pairs(pool_of(source), classes=["pill"])
    list(build_pairs(tmp_path / "out", plan))
    assert len(plan.pool.refused["have a mask that cannot be read"]) == 1
    assert not any(path.read_bytes() == b"password" for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_pairs_carry_the_facts_of_their_pictures(tmp_path: Path) -> None:
    for _ in write_benchmark(tmp_path / "m", products=["bolt_plate"], per_class=2, size=96):
        pass
    entries = write_pairs(tmp_path / "pairs", pool_of(tmp_path / "m"))
    for entry in entries:
        reference, query = (json.loads(text) for text in entry.facts)
        assert not reference["defect_words"]
        assert bool(query["defect_words"]) == (entry.label == "yes")
    photographs = write_pairs(tmp_path / "other", pool_of(own_folder(tmp_path / "own")))
    assert not any(entry.facts for entry in photographs)
    assert not any("facts" in json.loads(entry.line()) for entry in photographs)


def test_good_queries_that_differ_in_what_the_rule_allows(tmp_path: Path) -> None:
    """Keys of a keyboard may have other colours; a bolt plate allows nothing."""
    for _ in write_benchmark(tmp_path / "m", products=["keyboard_row", "bolt_plate"], per_class=4, size=96):
        pass

    def share(**settings: Any) -> dict[str, float]:
        plan = plan_pairs(pool_of(tmp_path / "m"), **settings)
        differ: dict[str, list[bool]] = {}
        for pair in plan.pairs:
            if pair.query.sample.label == "no":
                facts = [item.sample.facts or {} for item in (*pair.references, pair.query)]
                differ.setdefault(pair.query.sample.category, []).append(bool(differing(*facts)))
        return {name: sum(values) / len(values) for name, values in differ.items()}

    assert share(allowed=True)["keyboard_row"] == 1
    assert share(allowed=True)["bolt_plate"] == share()["bolt_plate"] == 0


def test_differing_references_come_first_for_good_queries_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pool_of(own_folder(tmp_path / "own", train=6))
    monkeypatch.setattr(pairs, "_differs", lambda reference, query: reference.source.endswith("good/4.png"))

    def drawn(label: str, **settings: Any) -> set[str]:
        plan = plan_pairs(found, **settings)
        return {pair.references[0].source for pair in plan.pairs if pair.query.sample.label == label}

    assert drawn("no", allowed=True) == {"train/good/4.png"}
    assert len(drawn("no")) > 1
    assert drawn("yes", allowed=True) == drawn("yes")


def test_hard_pairs_are_what_a_run_judged_wrongly(tmp_path: Path) -> None:
    pool = pool_of(own_folder(tmp_path / "own"))
    names = sorted(item.source for item in pool.tests())
    lines = [prediction(name, "bad" in name, "yes" if at < 3 else "no") for at, name in enumerate(names)]
    run = write_run(tmp_path / "run", lines)
    wrong = {line.pair.query for line in lines if line.verdict.answer != line.pair.label}
    assert 0 < len(wrong) < len(names)
    entries = write_pairs(tmp_path / "hard", pool, hard_from=run)
    assert {entry.source for entry in entries} == wrong
    assert read_manifest(tmp_path / "hard")["refused"][JUDGED_RIGHT]["count"] == len(names) - len(wrong)
    with pytest.raises(InputError, match=r"--hard-from .*: no predictions\.jsonl; give a run folder"):
        plan_pairs(pool, hard_from=tmp_path)
    other = write_run(tmp_path / "other", [prediction("elsewhere.png", True, "no")])
    with pytest.raises(InputError, match="judged none of these pictures"):
        plan_pairs(pool, hard_from=other)
    right = write_run(
        tmp_path / "right", [prediction(name, "bad" in name, "yes" if "bad" in name else "no") for name in names]
    )
    with pytest.raises(InputError, match="judged all of these pictures right"):
        plan_pairs(pool, hard_from=right)


def test_easy_pairs_first_with_both_labels_all_the_way(tmp_path: Path) -> None:
    pool = pool_of(own_folder(tmp_path / "own"))
    names = sorted(item.source for item in pool.tests())
    ease = {name: (7 * at % len(names)) / len(names) for at, name in enumerate(names)}
    lines = []
    for name in names:
        bad = "bad" in name
        score = ease[name] if bad else 1 - ease[name]
        lines.append(prediction(name, bad, "yes" if score >= 0.5 else "no", score))
    run = write_run(tmp_path / "run", lines)
    plan = plan_pairs(pool, easy_first=run)
    assert sorted(pair.query.source for pair in plan.pairs) == names
    assert plan.recipe["easy_first"] == str(run)
    labels = [pair.query.sample.label for pair in plan.pairs]
    for label in ("yes", "no"):
        eases = [ease[pair.query.source] for pair in plan.pairs if pair.query.sample.label == label]
        assert eases == sorted(eases, reverse=True)
        assert label in labels[:3] and label in labels[-3:]
    # In the order of the set, which is the order of the file that is trained on.
    entries = write_pairs(tmp_path / "pairs", pool, easy_first=run)
    assert [entry.source for entry in entries] == [pair.query.source for pair in plan.pairs]


def test_the_ease_of_several_answers_and_of_none(tmp_path: Path) -> None:
    pool = pool_of(own_folder(tmp_path / "own"))
    bad = sorted(item.source for item in pool.tests() if item.sample.label == "yes")
    others = [prediction(item.source, False, "no", 0.1) for item in pool.tests() if item.sample.label == "no"]
    # The first was judged twice, 0.9 and 0.3 right; an invalid answer is wrong whatever its score.
    lines = [prediction(bad[0], True, "yes", 0.9), prediction(bad[0], True, "no", 0.3, references=("s.png",))]
    lines += [prediction(bad[1], True, "invalid", 1.0)]
    lines += [prediction(name, True, "yes", 0.7) for name in bad[2:]]
    plan = plan_pairs(pool, easy_first=write_run(tmp_path / "run", lines + others))
    order = [pair.query.source for pair in plan.pairs if pair.query.sample.label == "yes"]
    assert order[-2:] == [bad[0], bad[1]]
    partial = write_run(tmp_path / "partial", others)
    with pytest.raises(InputError, match=r"--easy-first .*: did not judge .*; run `eval` on the same folder"):
        plan_pairs(pool, easy_first=partial)
    with pytest.raises(InputError, match=r"--easy-first .*: no predictions\.jsonl; give a run folder"):
        plan_pairs(pool, easy_first=tmp_path)


def test_free_scenes_are_pairs_of_a_product_of_their_own(tmp_path: Path) -> None:
    for _ in write_benchmark(tmp_path / "m", products=free_names(1), per_class=1, size=96):
        pass
    entries = write_pairs(tmp_path / "pairs", pool_of(tmp_path / "m"), kinds=["good", "logical"])
    assert Counter(entry.category for entry in entries) == dict.fromkeys(free_names(1), 2)
    for entry in entries:
        reference, query = (json.loads(text) for text in entry.facts)
        assert reference["product"] == query["product"] == entry.category
        assert bool(query["defect_words"]) == (entry.label == "yes") == bool(entry.masks)
        assert consistent_reward([write_response(reference, query)]) == [1.0]
