"""Values and the fields of settings classes."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from lad_reasoner.train.fields import check_fields, declared_fields, field_names, nearest, setting_problem


class Strategy(Enum):
    NO = "no"
    STEPS = "steps"


@dataclass
class Theirs:
    rate: float = 0.1
    steps: int = 1
    fast: bool | None = None
    save: Strategy | str = "no"
    options: dict[str, Any] | str | None = None
    made: int = field(default=0, init=False)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    weight: float = 0.5


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ({"rate": "1e-6"}, {"rate": 1e-6}),
        ({"rate": 3}, {"rate": 3.0}),
        ({"steps": "8"}, {"steps": 8}),
        ({"fast": "yes"}, {"fast": True}),
        ({"fast": False}, {"fast": False}),
        ({"save": "steps"}, {"save": "steps"}),
        ({"save": False}, {"save": "no"}),  # what YAML makes of no
        ({"options": {"a": 1}}, {"options": {"a": 1}}),
        ({}, {}),
    ],
)
def test_values_that_fit(given: dict[str, Any], checked: dict[str, Any]) -> None:
    assert check_fields(given, Theirs) == checked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rat": 1}, "rat: no such setting; did you mean rate?"),
        ({"made": 1}, "made: no such setting"),
        ({"steps": 2.5}, "steps: Input should be a valid integer"),
        ({"steps": True}, "steps: must be a number, not true"),
        ({"save": True}, "save: true is a boolean"),
        ({"steps": None}, "steps: has no value; give one"),
        ({"rate": [1]}, "rate: Input should be a valid number, not [1]"),
    ],
)
def test_values_that_do_not_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_fields(given, Theirs)
    assert str(raised.value).startswith(message)


@given(st.sampled_from([field.name for field in fields(Theirs) if field.init]), st.data())
def test_one_letter_that_is_missing_is_found(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    assert nearest(name[:at] + name[at + 1 :], field_names(Theirs)) == f"did you mean {name}?"


@pytest.mark.parametrize("config", ["SFTConfig", "GRPOConfig"])
def test_fields_are_those_that_the_sources_declare(config: str) -> None:
    trl = pytest.importorskip("trl")
    declared = declared_fields(config)
    assert {name for name in declared if not name.startswith("_")} == set(field_names(getattr(trl, config)))
    hints = typing.get_type_hints(getattr(trl, config))
    plain = {name: hint for name, hint in declared.items() if hint is not Any}
    assert len(plain) > 100
    assert plain == {name: hints[name] for name in plain}


def test_fields_of_sources_at_another_place_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert declared_fields("NoneConfig") == {}
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert declared_fields("SFTConfig") == {}


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        ({}, {}, "file.yaml: name is missing"),
        ({"name": None}, {}, "file.yaml: name: has no value; give one"),
        ({"name": 3}, {}, "file.yaml: name: Input should be a valid string, not 3"),
        ({"name": 3}, {"name": "--name"}, "--name: Input should be a valid string, not 3"),
        ({"name": "x", "inner": {"wieght": 1}}, {}, "file.yaml: inner.wieght: no such setting; did you mean weight?"),
        ({"name": "x", "iner": 1}, {}, "file.yaml: iner: no such setting; did you mean inner?"),
    ],
)
def test_what_is_said_of_our_own_keys(values: dict[str, Any], given: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(values)
    assert setting_problem(raised.value, Outer, Path("file.yaml"), given) == message
