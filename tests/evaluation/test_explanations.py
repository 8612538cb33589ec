"""Explanations: defects are named or not, whatever the words; contradictions, copies; figures from the lines alone."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.loco_sentences import DENIALS, SENTENCES
from helpers.runs import prediction
from lad_reasoner.answers import parse_response
from lad_reasoner.evaluation.explanations import conclude, meaning_of, measure_explanations, read_mentions
from lad_reasoner.miniloco import CATALOGUE, EVALUATION, PRODUCTS, draw_picture
from lad_reasoner.miniloco.painting.flaws import NAMES
from lad_reasoner.miniloco.words import GOOD, write_response
from lad_reasoner.records import Prediction

DATA = Path(os.environ.get("LAD_DATA", Path(__file__).parents[3] / "shared/data"))
LISTING = DATA / "mvtec_loco_listing.csv"
LOCO = [(category, defect) for category, sentences in SENTENCES.items() for defect in sentences]
# "The wire that joins the two connectors is missing": what stands nearest is not always what is meant.
NOT_UNDERSTOOD = {("splicing_connectors", "missing_cable")}


def named(text: str, category: str, defect: str) -> bool:
    meaning = meaning_of(defect, category)
    assert meaning
    return read_mentions(text).name(meaning)


@pytest.mark.skipif(not LISTING.is_file(), reason=f"no mvtec_loco_listing.csv in {DATA}; set LAD_DATA to its folder")
def test_every_defect_of_the_listing_has_words_and_a_sentence() -> None:
    with LISTING.open(newline="") as file:
        listed = {(row["category"], name) for row in csv.DictReader(file) for name in row["defects"].split(";") if name}
    assert len(listed) == 85
    assert listed == set(LOCO)
    assert all(meaning_of(defect, category) for category, defect in listed)


@pytest.mark.parametrize(("category", "defect"), LOCO)
def test_a_sentence_names_its_defect(category: str, defect: str) -> None:
    sentence = SENTENCES[category][defect]
    assert named(sentence, category, defect) == ((category, defect) not in NOT_UNDERSTOOD)
    assert named(f"Everything else is in order. {sentence.upper()}", category, defect) == (
        (category, defect) not in NOT_UNDERSTOOD
    )


def test_a_sentence_seldom_names_another_defect() -> None:
    others = [
        named(sentence, category, other)
        for category, sentences in SENTENCES.items()
        for defect, sentence in sentences.items()
        for other in sentences
        if meaning_of(other, category) != meaning_of(defect, category)
    ]
    assert len(others) > 1000
    assert 0 < sum(others) / len(others) < 0.03  # such as the missing toppings where the almonds are missing


@pytest.mark.parametrize("category", EVALUATION)
def test_a_denial_names_nothing(category: str) -> None:
    said = read_mentions(DENIALS[category])
    assert said.objects
    for defect in SENTENCES[category]:
        meaning = meaning_of(defect, category)
        assert meaning
        assert not said.name(meaning), defect
    assert conclude(DENIALS[category]) == "no"


@pytest.mark.parametrize("product", PRODUCTS)
def test_minilocos_own_words_name_its_defects(product: str) -> None:
    names = CATALOGUE[product].defects
    for index, defect in enumerate(names):
        words = draw_picture(product, "test", "logical", index, size=48).facts["defect_words"]
        assert named(words, product, defect), words
        assert conclude(words) != "no", words
    for index, name in enumerate(NAMES):
        words = draw_picture(product, "test", "structural", index, size=48).facts["defect_words"]
        assert named(words, product, name), words
        assert conclude(words) == "yes", words


@pytest.mark.parametrize(
    ("text", "nut", "washer"),
    [
        ("One nut is missing.", True, False),
        ("One nut is missing, but all washers are there.", True, False),
        ("All washers are there, but one nut is missing.", True, False),
        ("The washers are complete. A nut is absent.", True, False),
        ("The nut and the washer are missing.", True, True),
        ("A long screw, a nut and the washer are missing.", True, True),
        ("Missing: the washer, one nut and two screws.", True, True),
        ("The nut is there and the washer is missing.", False, True),
        ("The nut on the washer is missing.", True, False),
        ("There is no nut.", True, False),
        ("There is no nut missing.", False, False),
        ("No nut is missing.", False, False),
        ("The nut is not missing.", False, False),
        ("Neither a nut nor a washer is missing.", False, False),
        ("Nut. Missing.", False, False),
        ("Steel nut x1 less, steel washer x2 same.", True, False),
        ("The nuts are there. Something is missing.", False, False),
    ],
)
def test_object_and_change_belong_together(text: str, nut: bool, washer: bool) -> None:
    found = [named(text, "screw_bag", f"1_missing_{part}") for part in ("nut", "washer")]
    assert found == [nut, washer]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "no"),
        ("One nut is missing.", "yes"),
        ("Nothing is missing.", "no"),
        ("A nut is missing. Apart from that everything is in order.", "no"),
        ("Everything is in order. A nut is missing.", "yes"),
        ("There is no visible anomaly.", "no"),
        ("The query is not in order.", "yes"),
        ("It does not match the reference.", "yes"),
        ("It matches the reference.", "no"),
        ("Overall the difference is 1.31 times the limit: more than normal variation explains.", "yes"),
        ("Overall the difference is 0.85 times the limit: within normal variation.", "no"),
        ("I see two nuts.", None),
        ("", None),
    ],
)
def test_the_last_word_concludes(text: str, expected: str | None) -> None:
    assert conclude(text) == expected


KNOWLEDGE = DATA / "mmad_domain_knowledge.json"


@pytest.mark.skipif(not KNOWLEDGE.is_file(), reason=f"no mmad_domain_knowledge.json in {DATA}; set LAD_DATA")
def test_what_others_wrote_on_146_classes_and_defects_is_understood() -> None:
    """MMAD's descriptions of good and defective products, about a hundred words each, were not written for this."""
    right = []
    for classes in json.loads(KNOWLEDGE.read_text(encoding="utf-8")).values():
        for texts in classes.values():
            for name, text in texts.items():
                if isinstance(text, str):
                    right.append(conclude(text.split("Description:")[-1]) == ("no" if name == "good" else "yes"))
    assert len(right) == 146
    assert sum(right) >= 140


def said(query: str, answer: str, reasoning: str, anomalous: bool = True, **pair: object) -> Prediction:
    line = prediction(query, anomalous, answer, **pair)
    response = f"<think>{reasoning}</think>" if reasoning else "nonsense"
    return line.model_copy(
        update={"verdict": line.verdict.model_copy(update={"reasoning": reasoning, "response": response})}
    )


RUN = [
    said("a.png", "yes", "One nut is missing.", category="screw_bag", defect="1_missing_nut"),
    said("b.png", "no", "One nut is missing.", category="screw_bag", defect="1_missing_washer"),
    said("c.png", "no", "Everything is in order.", category="screw_bag", defect="1_additional_nut;1_missing_washer"),
    said("d.png", "yes", "one  NUT is\nmissing.", False, category="screw_bag"),
    said("e.png", "invalid", "", category="screw_bag", defect="a_new_defect"),
    said("f.png", "no", "I see nuts.", False, category="screw_bag"),
    prediction("g.png", True, "invalid", category="screw_bag").model_copy(update={"error": "empty file"}),
]


def test_all_figures_of_a_run() -> None:
    found = measure_explanations(RUN, resamples=100)
    assert found
    assert (found.responses, found.empty.value) == (6, 1 / 6)
    assert (found.repeated.value, found.most_repeated, found.most_repeated_times) == (3 / 5, "One nut is missing.", 3)
    assert (found.concluding, found.contradicting.value) == (4, 1 / 4)  # b says missing and answers no
    assert (found.mean_words, found.most_words) == (3.2, 4)
    naming = found.naming
    assert naming
    assert (naming.defects, naming.unknown) == (4, ("a_new_defect",))
    assert (naming.defect.value, naming.object.value, naming.change.value) == (1 / 4, 1 / 4, 2 / 4)
    assert (naming.found, naming.when_found.value) == (1, 1)
    # Of three meanings in this class: two are not there in a and in b, one is not in c; b names a nut that is there.
    assert (naming.others, naming.others_named.value) == (5, 1 / 5)
    assert found.faithfulness is None
    assert found.repeated.interval
    shuffled = [*RUN]
    random.Random(1).shuffle(shuffled)
    assert measure_explanations(shuffled, resamples=100) == found


def run_with_facts() -> list[Prediction]:
    """True, wrong, repeated and empty reasonings on two products, of logical and structural anomalies and good ones."""
    lines = []
    for product in ("juice_bottle", "screw_bag"):
        for index, kind in enumerate(["good", "logical", "structural"] * 6):
            reference = draw_picture(product, "train", "good", index, size=48).facts
            query = draw_picture(product, "test", kind, index, size=48).facts  # type: ignore[arg-type]
            reasonings = [
                parse_response(write_response(reference, query)).reasoning,
                parse_response(write_response(query, reference)).reasoning,
                "Reference: one nut. Query: two nuts. One nut is missing.",
                "",
            ]
            answer = "invalid" if index == 7 else "no" if index % 4 else "yes"
            line = said(
                f"{product}/{index}.png",
                answer,
                reasonings[index % 4],
                kind != "good",
                kind=kind,
                category=product,
                defect=query["defect"],
            )
            lines.append(line.model_copy(update={"facts": (reference, query)}))
    return lines


# What `measure_explanations` found in `run_with_facts()` before it was written anew.
FOUND = {
    "claims": (280, 316, 276, 536, 28),
    "by class": {"juice_bottle": (120, 148), "screw_bag": (160, 168)},
    "naming": (24, 6, 96, ()),
    "shares": [8 / 36, 17 / 28, 11 / 21],
}
DIGEST = "2517ed961a7a0cac"


def test_explanations_of_a_run_with_facts_stay_as_they_are() -> None:
    found = measure_explanations(run_with_facts(), resamples=200)
    assert found
    assert found.faithfulness
    assert found.faithfulness_by_class
    assert found.naming
    everything = json.loads(found.model_dump_json(), parse_float=lambda number: f"{float(number):.6f}")
    totals = found.faithfulness["all"]
    assert {
        "claims": (totals.true, totals.claims, totals.told, totals.facts, found.claiming),
        "by class": {name: (one.true, one.claims) for name, one in found.faithfulness_by_class.items()},
        "naming": (found.naming.defects, found.naming.found, found.naming.others, found.naming.unknown),
        "shares": [found.empty.value, found.repeated.value, found.contradicting.value],
    } == FOUND
    assert hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:16] == DIGEST


def test_who_gives_no_reasons_has_no_figures() -> None:
    assert measure_explanations([prediction("a.png", True, "yes"), prediction("b.png", False, "no")]) is None
    nothing = measure_explanations([said("a.png", "invalid", "")], resamples=0)
    assert nothing
    assert (nothing.empty.value, nothing.repeated.value, nothing.naming) == (1, None, None)
    assert (nothing.contradicting.value, nothing.most_repeated_times) == (None, 0)


def test_writing_all_words_down_names_all_defects_and_is_seen() -> None:
    everything = " ".join(SENTENCES["screw_bag"].values())
    defects = list(SENTENCES["screw_bag"])
    lines = [said(f"{at}.png", "yes", everything, category="screw_bag", defect=name) for at, name in enumerate(defects)]
    found = measure_explanations(lines, resamples=0)
    assert found
    assert found.naming
    assert (found.naming.defect.value, found.naming.others_named.value, found.repeated.value) == (1, 1, 1)


@settings(deadline=None)
@given(st.text(max_size=100))
def test_no_reasoning_is_too_strange(reasoning: str) -> None:
    line = said("a.png", "yes", reasoning, category="screw_bag", defect="1_missing_nut")
    found = measure_explanations(
        [line, line.model_copy(update={"pair": line.pair.model_copy(update={"query": "b.png"})})], resamples=0
    )
    assert found
    assert found.empty.value in (0, 1)
    assert found.naming
