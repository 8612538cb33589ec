"""The offline teacher: every number it writes is the facts', its answers pass the checks, and it makes nothing up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lad_reasoner.data.mmad import Hint
from lad_reasoner.data.sets.answer_check import Answer
from lad_reasoner.data.sets.questions import QUESTIONS, QUESTIONS_VERSION, ask_teacher
from lad_reasoner.data.teachers.offline import NO_FACTS, OfflineTeacher, describe_parts, write_answer
from lad_reasoner.data.teachers.teacher import Answered, Request, Teacher, Unanswered
from lad_reasoner.miniloco import CATALOGUE, TRAINING, draw_picture
from lad_reasoner.miniloco.families.free import find_product
from lad_reasoner.miniloco.words import count_groups
from lad_reasoner.text import NUMBER_WORDS


def request(facts: dict[str, Any] | None, question: str, label: str, masks: tuple[str, ...] = ()) -> Request:
    hint = Hint(category="thing", anomalous=label == "yes", defect=None, where="", knowledge="", said=())
    known = {"question": question, "label": label, "hint": hint.text, "scene": facts, "masks": masks}
    messages = ask_teacher("where", "Where?", artifact="anomaly", hint=hint.text)
    return Request(messages, ["picture.png"], Answer, QUESTIONS_VERSION, known)


def test_a_free_product_has_its_own_rule() -> None:
    facts = draw_picture("wiring-3", "test", "good", 0, size=64).facts
    texts = [write_answer({"question": question, "scene": facts, "masks": ()}) for question in QUESTIONS]
    assert any(find_product("wiring-3").rule in text for text in texts)
    assert not any("wiring-" in text for text in texts)


@pytest.mark.parametrize("product", TRAINING)
def test_all_kinds_and_defects_of_a_product(product: str, tmp_path: Path) -> None:
    asked, drawn = [], []
    mask = tmp_path / "mask.png"
    for kind, count in (("good", 2), ("logical", len(CATALOGUE[product].defects)), ("structural", 4)):
        for index in range(count):
            facts = draw_picture(product, "test", kind, index, size=64).facts  # type: ignore[arg-type]
            for question in QUESTIONS:
                asked.append(request(facts, question, "no" if kind == "good" else "yes"))
                drawn.append((facts, question))
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(mask)
    outcomes = dict(OfflineTeacher().ask_many(asked))
    assert len(outcomes) == len(asked)
    for index, (facts, question) in enumerate(drawn):
        outcome = outcomes[index]
        assert isinstance(outcome, Answered), outcome
        assert isinstance(outcome.content, Answer)
        text = outcome.content.answer
        assert outcome.content.anomalous == (facts["defect_words"] is not None)
        if facts["defect_words"]:
            assert facts["defect_words"].lower() in text.lower()
        if question == "describe":
            said = {_singular(group): NUMBER_WORDS.index(number) for number, group in _claims(text)}
            assert said == {_singular(group): number for group, number in count_groups(facts).items()}


def _claims(text: str) -> list[tuple[str, str]]:
    listed = text.partition(" with ")[2].partition(". ")[0]
    return [(m[1], m[2]) for m in re.finditer(rf"\b({'|'.join(NUMBER_WORDS)}) ([a-z ]+?)(?=,| and |$)", listed)]


def _singular(group: str) -> str:
    return group.removesuffix("s").removesuffix("e") if group.endswith("ches") else group.removesuffix("s")


def test_the_place_is_that_of_the_mask(tmp_path: Path) -> None:
    mask = np.zeros((90, 90), np.uint8)
    mask[5:15, 5:15] = 40
    Image.fromarray(mask).save(tmp_path / "one.png")
    mask[70:80, 70:80] = 40
    Image.fromarray(mask).save(tmp_path / "two.png")
    facts = draw_picture("bolt_plate", "test", "logical", 0, size=64).facts
    known = {"scene": facts, "question": "where", "label": "yes"}
    one = write_answer({**known, "masks": (str(tmp_path / "one.png"),)})
    assert one == "The bolt in the lower left hole is missing. Look in the upper left."
    two = write_answer({**known, "masks": (str(tmp_path / "two.png"),)})
    assert two.endswith("Look in the upper left and in the lower right.")
    assert write_answer({**known, "masks": ()}).endswith("No single place can be pointed at.")


def test_levels_and_plurals() -> None:
    scene = {
        "items": [{"what": "box", "colour": ""}] * 2 + [{"what": "battery", "colour": "red"}] * 13,
        "fills": [{"what": "milk", "colour": "white", "level": 0.614, "place": "glass 1"}],
    }
    assert describe_parts(scene) == "13 red batteries, two boxes and white milk up to 61 % in glass 1"
    assert describe_parts({"items": [], "fills": []}) == "no loose parts"


def test_pictures_without_facts_stay_unanswered() -> None:
    teacher: Teacher = OfflineTeacher()
    [(index, outcome)] = teacher.ask_many([request(None, "where", "yes")])
    assert index == 0
    assert isinstance(outcome, Unanswered)
    assert outcome.error == NO_FACTS
    assert teacher.estimate([request(None, "where", "yes")]).expected.cost == 0
    assert teacher.paid.answers == teacher.recalled.answers == 0
