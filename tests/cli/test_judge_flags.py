"""--max-pixels, --device and --reasoning-tokens: every verb that judges takes them and hands them to its judge."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers.planted import lamps
from lad_reasoner.cli import demo_products
from lad_reasoner.cli.app import app
from lad_reasoner.service import server

JUDGE = """
from lad_reasoner import Judgement

GIVEN = []


class Noted:
    name, prompt_version, batch_size, notes, parameters = "noted", "none", 1, (), None

    def __init__(
        self, max_pixels: int | None = None, device: str | None = None, reasoning_tokens: int | None = None
    ) -> None:
        GIVEN.append((max_pixels, device, reasoning_tokens))

    def judge(self, pairs):
        return [Judgement("no", 0.2) for _ in pairs]
"""
FLAGS = ["--max-pixels", "50000", "--device", "cpu", "--reasoning-tokens", "7"]
GIVEN = (50000, "cpu", 7)


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the judge, whose `GIVEN` are the options of each that was made."""
    (tmp_path / "lad_noted.py").write_text(JUDGE)
    lamps(tmp_path / "lamps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lad_noted", raising=False)
    yield __import__("lad_noted")
    sys.modules.pop("lad_noted", None)


def invoke(*words: str) -> None:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output


VERBS = {
    "inspect": ["--reference", "lamps/lamp/train/good/000.png", "lamps/lamp/test/good"],
    "eval": ["--benchmark", "folder", "--root", "lamps", "--out", "run"],
    "station create": ["--references", "lamps/lamp/train/good", "-o", "station"],
    "serve": [],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_judge_gets_the_flags_of_every_verb(verb: str, noted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "serve", lambda *_, **__: None)
    invoke(*verb.split(), "--model", "lad_noted:Noted", *FLAGS, *VERBS[verb])
    assert noted.GIVEN == [GIVEN]


def test_a_station_keeps_them_for_inspect_eval_watch_and_serve(noted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "serve", lambda *_, **__: None)
    invoke("station", "create", "--model", "lad_noted:Noted", *FLAGS, *VERBS["station create"])
    invoke("inspect", "--station", "station", "lamps/lamp/test/good/000.png")
    invoke("eval", "--station", "station", "--benchmark", "folder", "--root", "lamps", "--out", "run")
    invoke("watch", "--station", "station", "--to", "lines.jsonl", "--once", "lamps/lamp/test/good")
    invoke("serve", "station")
    assert len(noted.GIVEN) >= 5
    assert set(noted.GIVEN) == {GIVEN}


def test_the_demo_hands_them_to_the_judge_that_has_them(noted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    part = demo_products.Part("lad_noted:Noted", ("bolt_plate",), references=1, good=1, logical=1, size=64)
    monkeypatch.setattr(demo_products, "PARTS", (part, replace(part, judge="always-no")))
    invoke("demo", *FLAGS, "--out", "demo")
    assert noted.GIVEN == [GIVEN]


def test_verbs_that_take_a_model_take_the_flags() -> None:
    def verbs(command: Any, path: str = "") -> Any:
        for name, inner in getattr(command, "commands", {}).items():
            yield from verbs(inner, f"{path} {name}".strip())
        if not hasattr(command, "commands"):
            yield path, {option for parameter in command.params for option in parameter.opts}

    with_votes = {path: options for path, options in verbs(get_command(app)) if "--votes" in options}
    assert with_votes.keys() == VERBS.keys()
    for options in with_votes.values():
        assert {"--model", "--max-pixels", "--device", "--reasoning-tokens"} <= options
