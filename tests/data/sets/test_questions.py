"""The questions: wordings take turns and do not give the answer away; names in sentences."""

from __future__ import annotations

import pytest

from lad_reasoner.data.sets.questions import (
    QUESTIONS,
    WORDINGS,
    Question,
    artifact_type,
    ask_teacher,
    product_of,
    wording,
)

HINT = (
    "Product: cable\nDefect: missing wire\nWhere: upper left, 3.1 % of the picture\n"
    "About such pictures: one of the three insulated wires inside the cable is absent from its place."
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_does_not_give_its_answer_away(question: Question) -> None:
    assert len(set(WORDINGS[question])) == len(WORDINGS[question]) >= 3
    asked = [wording(question, "metal nut", turn) for turn in range(6)]
    assert asked[:3] == asked[3:]
    assert all("metal nut" in text and "{" not in text for text in asked)
    [message] = ask_teacher(question, asked[0], artifact="none, a good product", hint=HINT)
    text = message["content"][1]["text"]
    assert asked[0] in text
    assert HINT in text
    assert ("Begin with Yes or No." in text) == (question == "anomaly")


def test_names_in_sentences() -> None:
    assert product_of("metal_nut") == "metal nut"
    assert product_of("pcb3") == "pcb"
    assert product_of("capsules") == "set of capsules"
    assert product_of("lens") == "lens"
    assert product_of("hall 2/lamp") == "lamp"
    assert product_of("42") == "42"
    assert artifact_type("no", "good", None) == "none, a good product"
    assert artifact_type("yes", "logical", "cable_swap") == "logical anomaly (cable swap)"
    assert artifact_type("yes", None, None) == "anomaly"
