"""The check of a teacher's answers: what is refused, for which reason, and what is let pass."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lad_reasoner.data.sets.answer_check import COMPLAINTS, NO_FORM, Answer, complain, echoes, reason_of
from lad_reasoner.data.sets.questions import (
    QUESTIONS,
    Question,
)
from lad_reasoner.records import Label

DATA = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[4] / "shared/data/real")).parent
HINT = (
    "Product: cable\nDefect: missing wire\nWhere: upper left, 3.1 % of the picture\n"
    "About such pictures: one of the three insulated wires inside the cable is absent from its place."
)


def judge(text: str, label: Label, question: Question = "describe", *, says: bool | None = None) -> str | None:
    anomalous = label == "yes" if says is None else says
    return complain(Answer(anomalous=anomalous, answer=text), question, label, HINT)


@pytest.mark.parametrize(
    "text",
    [
        "The cable shows three strands, and the upper one has lost its wire.",
        "There is a deep scratch on the cap. No other damage is visible.",
        "The left pin is bent; the remaining pins show no defects.",
        "While the surface is free of scratches elsewhere, a dark stain covers the upper edge.",
        "A hint of blue shines through the torn insulation.",
        "The solder mask is chipped beside the third pad.",
    ],
)
def test_good_answers_about_bad_pictures(text: str) -> None:
    assert judge(text, "yes") is None


def test_a_model_that_does_not_end_is_too_long() -> None:
    sentence = "The cable shows three strands, and the upper one has lost its wire. "
    assert judge(sentence * 50, "yes") is None
    assert judge(sentence * 100, "yes") == "too long"


@pytest.mark.parametrize(
    "text",
    [
        "The cable holds three wires, green, blue and brown, and each fills its sleeve.",
        "There are no scratches, cracks or stains on the smooth grey surface.",
        "The pill is white with an even edge. It does not show any defect.",
        "Nothing is missing: all twelve teeth stand in a row.",
        "If a strand were missing, its sleeve would be empty; here all of them are filled.",
    ],
)
def test_good_answers_about_good_pictures(text: str) -> None:
    assert judge(text, "no") is None


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("The surface is damaged near the rim.", "no", "contradicts the label"),
        ("The nut is shiny. A scratch runs along its left side.", "no", "contradicts the label"),
        ("There is no visible defect on the cable.", "yes", "contradicts the label"),
        ("The cable is in perfect condition and of three colours.", "yes", "contradicts the label"),
        ("Nothing is wrong with the three wires of this cable.", "yes", "contradicts the label"),
        ("According to the hint, the wire has gone.", "yes", "mentions the hint"),
        ("The mask shows that a wire has gone.", "yes", "mentions the hint"),
        ("In the ground-truth annotation a wire is absent.", "yes", "mentions the hint"),
        ("As mentioned, a wire is absent from the cable.", "yes", "mentions the hint"),
        ("One of the three insulated wires inside the cable is absent.", "yes", "echoes the hint"),
        ("The defect is a missing_wire in the cable.", "yes", "echoes the hint"),
        ("", "yes", "not usable text"),
        ("Broken.", "yes", "not usable text"),
        ("A wire is absent from the cable and its sleeve", "yes", "not usable text"),
        ("<p>A wire is absent from the cable.</p>", "yes", "not usable text"),
        ("<think>A wire is absent from the cable.</think>", "yes", "not usable text"),
        ("A wire is absent<|im_end|> from the cable.", "yes", "not usable text"),
        ("**Where**: a wire is absent from the cable.", "yes", "not usable text"),
        ("Ein Draht fehlt im Kabel, und seine Hülle steht leer.", "yes", "not usable text"),
        ("电缆中缺少一根电线，位于左上角。这是一个缺陷.", "yes", "not usable text"),
        ("Falta un hilo en el cable y la funda queda vacía por dentro.", "yes", "not usable text"),
    ],
)
def test_what_is_refused(text: str, label: Label, reason: str) -> None:
    assert judge(text, label) == reason


@pytest.mark.skipif(not DATA.joinpath("mmad_domain_knowledge.json").is_file(), reason=f"no MMAD texts in {DATA}")
def test_texts_that_a_model_wrote_about_good_and_bad_products() -> None:
    """MMAD's domain knowledge: 38 texts on good pictures and 108 on defects, each of several sentences."""
    known = json.loads((DATA / "mmad_domain_knowledge.json").read_text())
    missed = alarms = texts = 0
    for classes in known.values():
        for defect, raw in ((name, text) for defects in classes.values() for name, text in defects.items()):
            text = " ".join(re.sub(r"<[^>]*>|\*\*|^#+ |Description:", "", raw).split()).rstrip(".") + "."
            label, other = ("no", "yes") if defect == "good" else ("yes", "no")
            texts += 1
            alarms += judge(text, label) is not None  # type: ignore[arg-type]
            missed += judge(text, other) != "contradicts the label"  # type: ignore[arg-type]
    assert (texts, alarms) == (146, 0)
    assert missed <= 1


def test_the_plain_fact_must_agree_too() -> None:
    text = "The cable holds three wires."
    assert judge(text, "yes") is None
    assert judge(text, "yes", says=False) == judge(text, "no", says=True) == "contradicts the label"


def test_whether_anything_is_wrong_begins_with_yes_or_no() -> None:
    assert judge("Yes, a wire is absent from the cable.", "yes", "anomaly") is None
    assert judge("A wire is absent from the cable.", "yes", "anomaly") == "contradicts the label"
    assert judge("No, it is complete and of three colours.", "no", "anomaly") is None
    assert judge("Yes, it is complete and of three colours.", "no", "anomaly") == "contradicts the label"
    assert judge("No, a wire is absent from the cable.", "yes", "anomaly") == "contradicts the label"


def test_the_teacher_is_told_what_to_mend_and_the_reason_is_counted() -> None:
    context = {"question": "describe", "label": "yes", "hint": HINT}
    for text in ("There is no defect on the cable.", "The hint says that a wire has gone.", "Gone.", HINT[-60:]):
        with pytest.raises(ValidationError) as caught:
            Answer.model_validate({"anomalous": True, "answer": text}, context=context)
        message = caught.value.errors()[0]["msg"]
        reason = complain(Answer(anomalous=True, answer=text), "describe", "yes", HINT)
        assert reason_of(f"answer: {message}") == reason
        assert reason in COMPLAINTS
    assert reason_of("it holds no JSON object") == reason_of("it was cut off") == NO_FORM
    assert Answer.model_validate({"anomalous": True, "answer": "Gone."}).answer == "Gone."  # nothing to check against


@given(
    st.lists(
        st.sampled_from(["the", "wire", "is", "gone", "from", "its", "place", "in", "a", "dark", "sleeve"]),
        min_size=7,
        max_size=20,
    )
)
def test_seven_words_in_a_row_are_an_echo(words: list[str]) -> None:
    hint = " ".join(words)
    assert echoes(f"I see that {hint.upper()}!", hint)
    assert not echoes(" ".join(words[:6]), hint)


@given(st.text(max_size=200), st.sampled_from(QUESTIONS), st.sampled_from(["yes", "no"]), st.booleans())
def test_no_text_is_too_strange_to_be_judged(text: str, question: Question, label: Label, says: bool) -> None:
    reason = complain(Answer(anomalous=says, answer=text), question, label, HINT)
    assert reason is None or reason in COMPLAINTS
    if says != (label == "yes"):
        assert reason is not None


def test_the_form_of_an_answer_stays() -> None:
    """It is part of each request to a service; another one would pay for all answers on disk again."""
    schema = Answer.model_json_schema()
    assert schema["title"] == Answer.__name__ == "Answer"
    assert schema["description"] == (
        "What the teacher writes. Checked against the request's facts where these are given as context."
    )
    assert {name: field["description"] for name, field in schema["properties"].items()} == {
        "anomalous": "whether the picture shows an anomaly of any kind",
        "answer": "the answer to the question: two to five full sentences in plain English",
    }
