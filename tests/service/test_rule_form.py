"""The rules of a station as a form: shown, edited, switched off, and refused with the name of the field."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.verdicts import verdict
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.records import Checked
from lad_reasoner.service.archived import Inspection
from lad_reasoner.service.rule_form import read_rule_form, rule_rows
from lad_reasoner.service.rule_sheet import (
    AmountCheck,
    Check,
    CountCheck,
    PlaceCheck,
    QuestionCheck,
    RuleSheet,
    TextCheck,
    TurnCheck,
)

CHECKS: tuple[Check, ...] = (
    AmountCheck(kind="amount", colour="red", least=0.0312, most=0.123456789),
    CountCheck(kind="count", colour="blue", number=5, smallest=0.000123),
    PlaceCheck(kind="place", colour="green", box=(1.5, 2, 10, 20.25), least=0.71),
    TextCheck(kind="text", words="CTRL-7", off=True),
    QuestionCheck(kind="question", question="Is it round?"),
    TurnCheck(kind="turn", most=10.25),
)
SHEET = RuleSheet(broken="anomalous", checks=CHECKS)
FIRST = read_picture(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))


def shown(sheet: RuleSheet = SHEET, **changes: str) -> dict[str, str]:
    """What a browser sends of the form as it is shown, but for the changes."""
    sent = {"broken": sheet.broken, "base": "3"}
    for index, row in enumerate(rule_rows(sheet, FIRST, [])):
        sent |= {field.name: field.value for field in row.fields}
        if not row.check.off:
            sent[f"{index}.on"] = "1"
    return sent | {name.replace("_", "."): value for name, value in changes.items()}


def test_what_is_not_touched_stays_as_it_was() -> None:
    form = read_rule_form(SHEET, shown())
    assert form.checks == list(CHECKS) and (form.broken, form.base, form.pictures) == ("anomalous", 3, 200)


def test_each_kind_is_edited_switched_off_and_added_to() -> None:
    changes = {"0_least": "4", "1_number": "6", "2_box": "1, 2, 3, 4", "3_on": "1", "4_answer": "no", "5_most": "12.5"}
    sent = shown(**changes, new_text=" B ", new_question="Is it blue?", pictures="5000")
    del sent["0.on"]
    form = read_rule_form(SHEET, sent)
    assert form.checks is not None and form.pictures == 5000
    amount, count, place, text, question, turn, new_text, new_question = form.checks
    assert turn == TurnCheck(kind="turn", most=12.5)
    assert amount == CHECKS[0].model_copy(update={"least": 0.04, "off": True})
    assert count == CHECKS[1].model_copy(update={"number": 6})
    assert place == CHECKS[2].model_copy(update={"box": (1.0, 2.0, 3.0, 4.0)})
    assert text == CHECKS[3].model_copy(update={"off": False})
    assert question == CHECKS[4].model_copy(update={"answer": "no"})
    assert new_text == TextCheck(kind="text", words="B")
    assert new_question == QuestionCheck(kind="question", question="Is it blue?")
    assert read_rule_form(SHEET, {"write": "1", "base": "3"}).checks is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"0_least": "much"}, "rule 1: at least, %: not a number"),
        ({"0_least": "nan"}, "rule 1: least: "),
        ({"0_least": "50"}, "rule 1: least must be at most most"),
        ({"0_colour": "mauve"}, "rule 1: colour: "),
        ({"1_number": "4.5"}, "rule 2: areas: not a whole number"),
        ({"1_number": "-1"}, "rule 2: number: "),
        ({"2_box": "1, 2, 3"}, "rule 3: x, y, width, height: give four numbers"),
        ({"2_box": "1, 2, 3, x"}, "rule 3: x, y, width, height: not a number"),
        ({"3_words": ""}, "rule 4: words: "),
        ({"broken": "ignored"}, "broken"),
        ({"base": "newest"}, "base: not a whole number"),
        ({"pictures": "1000000"}, "pictures"),
    ],
)
def test_nonsense_names_the_rule_and_the_field(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read_rule_form(SHEET, shown(**changes))
    assert problem in str(caught.value)


def checked(*holds: bool | None) -> Inspection:
    checks = tuple(Checked(rule="a rule", kind="amount", holds=each) for each in holds)
    return Inspection(at="", part="", who="", outcome="good", verdict=verdict(checks=checks))


def test_how_often_a_rule_broke() -> None:
    inspections = [checked(True, False, None, True, False), checked(False, False, None, True, True), checked(True)]
    rows = rule_rows(SHEET, FIRST, inspections)
    assert [(row.checked, row.broken) for row in rows] == [(2, 1), (2, 2), (0, 0), (0, 0), (2, 0), (2, 1)]
    assert [row.box is not None for row in rows] == [False, False, True, False, False, False]
    assert rows[0].words.startswith("red covers 3.1 to 12.3 %")
