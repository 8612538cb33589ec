"""The rules of a station as a form of the page: what stands in its fields, and what a person sends back.

    rows = rule_rows(sheet, first, inspections)          # a row for each rule: words, fields, how often it broke
    form = read_rule_form(sheet, {"0.on": "1", "0.least": "70", "broken": "unsure", "base": "3"})

Fields are named by the place of their rule in the sheet and by its field. Shares are shown in percent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.records import Box
from lad_reasoner.service.archived import Inspection
from lad_reasoner.service.bodies import RulesForm
from lad_reasoner.service.rule_sheet import COLOURS, Check, PlaceCheck, RuleSheet
from lad_reasoner.service.rules import describe_check
from lad_reasoner.text import first_problem

# kind of a rule -> its fields: name, label, what stands in it, the choices of a list
FIELDS: dict[str, tuple[tuple[str, str, str, tuple[str, ...]], ...]] = {
    "amount": (
        ("colour", "colour", "words", COLOURS),
        ("least", "at least, %", "percent", ()),
        ("most", "at most, %", "percent", ()),
    ),
    "count": (
        ("colour", "colour", "words", COLOURS),
        ("number", "areas", "number", ()),
        ("smallest", "smallest that counts, % of the picture", "percent", ()),
    ),
    "place": (
        ("colour", "colour", "words", COLOURS),
        ("box", "x, y, width, height", "box", ()),
        ("least", "at least, %", "percent", ()),
    ),
    "turn": (("most", "at most, degrees", "decimal", ()),),
    "text": (("words", "text", "words", ()),),
    "question": (("question", "question", "words", ()), ("answer", "answer of a good part", "words", ("yes", "no"))),
}
MOST_FIELDS = 1500  # of a form: more than all rules of a station have


@dataclass(frozen=True)
class FormField:
    """One field of a rule; `choices` are those of a list."""

    name: str
    label: str
    value: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class RuleRow:
    """One rule: its words, fields and box on the first reference; on how many parts it was checked, and broke."""

    check: Check
    words: str
    fields: tuple[FormField, ...]
    box: Box | None
    checked: int
    broken: int


def rule_rows(sheet: RuleSheet, first: Picture, inspections: Sequence[Inspection]) -> list[RuleRow]:
    """A row for each rule; `inspections` are those by the station as it is."""
    tallies = iter(_tallies(len(sheet.active), inspections))
    rows = []
    for index, check in enumerate(sheet.checks):
        checked, broken = (0, 0) if check.off else next(tallies)
        fields = tuple(
            FormField(f"{index}.{name}", label, _shown(getattr(check, name), holds), choices)
            for name, label, holds, choices in FIELDS[check.kind]
        )
        box = _box_of(check) if isinstance(check, PlaceCheck) else None
        rows.append(RuleRow(check, describe_check(check, first), fields, box, checked, broken))
    return rows


def read_rule_form(sheet: RuleSheet, sent: Mapping[str, str]) -> RulesForm:
    """What a person sent of the form of this sheet. InputError names the rule and the field."""
    if "write" in sent:
        checks = None
    else:
        checks = [_edited(index, check, sent) for index, check in enumerate(sheet.checks)]
        for kind, name in (("text", "words"), ("question", "question")):
            if added := sent.get(f"new.{kind}", "").strip():
                checks.append({"kind": kind, name: added})
    try:
        values: dict[str, Any] = {"checks": checks, "broken": sent.get("broken", sheet.broken)}
        for name in ("base", "pictures"):
            if name in sent:
                values[name] = _number(sent[name], name)
        return RulesForm.model_validate(values)
    except ValidationError as error:
        # As the page numbers them: `checks.6.place.least` is the field `least` of rule 7.
        problem = re.sub(r"^checks\.(\d+)\.\w+(\.|: )", lambda at: f"rule {int(at[1]) + 1}: ", first_problem(error))
        raise InputError(problem if problem.startswith("rule ") else f"rules: {problem}") from None


def _edited(index: int, check: Check, sent: Mapping[str, str]) -> dict[str, Any]:
    """The rule with the fields that were sent; a field that was not touched keeps its exact value."""
    values: dict[str, Any] = check.model_dump() | {"off": f"{index}.on" not in sent}
    for name, label, holds, _ in FIELDS[check.kind]:
        text = sent.get(f"{index}.{name}")
        if text is not None and text != _shown(values[name], holds):
            values[name] = _read(text, holds, f"rule {index + 1}: {label}")
    return values


def _tallies(active: int, inspections: Sequence[Inspection]) -> list[tuple[int, int]]:
    """On how many parts each rule that is not off was checked, and broke."""
    counts = [(0, 0)] * active
    for inspection in inspections:
        checks = inspection.verdict.checks if inspection.verdict else ()
        if len(checks) != active:
            continue
        for index, checked in enumerate(checks):
            seen, broken = counts[index]
            counts[index] = seen + (checked.holds is not None), broken + (checked.holds is False)
    return counts


def _box_of(check: PlaceCheck) -> Box:
    x, y, width, height = map(round, check.box)
    return Box(x=x, y=y, width=width, height=height, strength=1.0)


def _shown(value: Any, holds: str) -> str:
    if holds == "percent":
        return f"{100 * value:.6g}"
    if holds == "box":
        return ", ".join(f"{side:g}" for side in value)
    if holds == "decimal":
        return f"{value:g}"
    return str(value)


def _read(text: str, holds: str, name: str) -> Any:
    if holds == "percent":
        return round(_decimal(text, name) / 100, 8)
    if holds == "number":
        return _number(text, name)
    if holds == "decimal":
        return _decimal(text, name)
    if holds == "box":
        sides = tuple(_decimal(side, name) for side in text.split(","))
        if len(sides) != 4:
            raise InputError(f"{name}: give four numbers")
        return sides
    return text.strip()


def _decimal(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name}: not a number") from None


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name}: not a whole number") from None
