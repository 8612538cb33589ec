"""Names, lists, numbers and places in words."""

import json
import logging
import sys
from typing import Literal

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from lad_reasoner.text import (
    ShownFormatter,
    counted,
    first_problem,
    label_counts,
    listed,
    nearest_name,
    number_word,
    place_words,
    print_shown,
    printable,
    shown,
    turn_words,
)


def test_names_that_are_not_utf8_are_spelled_out() -> None:
    assert printable(b"caf\xe9.png".decode("utf-8", "surrogateescape")) == "caf\\udce9.png"


ACTING = "\x1b]52;c;YQ==\x07 \x1b[2J \x9b31m \u202egnp.exe \u2066 \u200f \x7f \r"


def test_what_would_act_in_a_terminal_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(f"a\n{ACTING}\t") == (
        r"a\u000a\u001b]52;c;YQ==\u0007 \u001b[2J \u009b31m \u202egnp.exe \u2066 \u200f \u007f \u000d\u0009"
    )
    assert shown("é 缺 🔩 [bold]\n", lines=True) == "é 缺 🔩 [bold]\n"
    print_shown(ACTING, "b", sep="|", file=sys.stderr)
    assert capsys.readouterr().err == f"{shown(ACTING)}|b\n"


def test_json_keeps_its_meaning() -> None:
    text = json.dumps({"query": f"\\{ACTING}\\"}, ensure_ascii=False)
    assert json.loads(shown(text)) == {"query": f"\\{ACTING}\\"}


def test_log_lines_are_written_out() -> None:
    record = logging.LogRecord("lad_reasoner", logging.WARNING, "", 0, "%s: odd", ("\x1b[2J.png",), None)
    assert ShownFormatter().format(record) == r"\u001b[2J.png: odd"


def test_a_list_names_some_and_counts_the_rest() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(list("abcdefghij")) == "a, b, c and 7 more"
    assert listed([1, 2, 3], limit=1, separator="; ") == "1 and 2 more"


def test_numbers_and_places() -> None:
    assert [number_word(number) for number in (0, 1, 12, 13)] == ["no", "one", "twelve", "13"]
    assert [counted(number, "pixel") for number in (0, 1, 2)] == ["0 pixels", "1 pixel", "2 pixels"]
    assert label_counts({"yes": 6}) == "6 anomalous, 0 good"
    assert place_words(0.5, 0.5) == "centre"
    assert place_words(0.1, 0.9) == "lower left"
    assert place_words(0.99, 0.5) == "middle right"


class _Inner(BaseModel):
    count: int

    @field_validator("count")
    @classmethod
    def _refuse_odd(cls, count: int) -> int:
        if count % 2:
            raise ValueError("it is odd")
        return count


class _Outer(BaseModel):
    inner: _Inner


def test_the_first_problem_names_field_and_fault() -> None:
    try:
        _Outer.model_validate({"inner": {"count": "secret"}})
    except ValidationError as error:
        problem = first_problem(error)
    assert problem.startswith("inner.count: Input should be a valid integer")
    assert "secret" not in problem
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate({"inner": {"count": 3}})
    assert first_problem(caught.value) == "inner.count: it is odd"
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, Literal["a", "b"] | int]).validate_python({"reason": "x"})
    assert first_problem(caught.value) == "reason: Input should be 'a' or 'b'"  # without "literal['a','b']"


def test_the_nearest_name_in_whatever_case() -> None:
    assert nearest_name("GUTE TEILE", ["Schlechte Teile", "Gute Teile"]) == "Gute Teile"
    assert nearest_name("micr", ["micro", "evidence"]) == "micro"
    assert nearest_name("lamp", ["micro", "evidence"]) is None


def test_turns_in_words() -> None:
    assert [turn_words(degrees) for degrees in (0, 1, 10.5, -90.0, 180, -180)] == [
        "not turned",
        "turned 1 degree clockwise",
        "turned 10.5 degrees clockwise",
        "turned 90 degrees anticlockwise",
        "turned 180 degrees",
        "turned 180 degrees",
    ]
