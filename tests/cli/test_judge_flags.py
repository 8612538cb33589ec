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
from lad_reasoner.errors import InputError
from lad_reasoner.service import server
from lad_reasoner.service.station import Station

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
    monkeypatch.setenv("LAD_TRUSTED", "lad_noted:Noted")
    monkeypatch.delitem(sys.modules, "lad_noted", raising=False)
    yield __import__("lad_noted")
    sys.modules.pop("lad_noted", None)


def invoke(*words: str) -> None:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output


VERBS = {
    "inspect": ["--reference", "lamps/lamp/train/good/000.png", "lamps/lamp/test/good"],
    "eval": ["--benchmark", "folder", "--root", "lamps", "--out", "run"],
    "station create": ["--reference", "lamps/lamp/train/good", "-o", "station"],
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


OF_STATIONS = {
    "inspect": ["--station", "station", "lamps/lamp/test/good/000.png"],
    "eval": ["--station", "station", "--benchmark", "folder", "--root", "lamps", "--out", "run"],
    "watch": ["--station", "station", "--to", "lines.jsonl", "--once", "lamps/lamp/test/good"],
    "serve": ["station"],
    "station check": ["station"],
    "station test": [
        "station",
        "--good",
        "lamps/lamp/test/good/000.png",
        "--bad",
        "lamps/lamp/test/logical_anomalies/000.png",
    ],
    "station calibrate": ["station"],
    "station zones": ["station", "--clear"],
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "serve", lambda *_, **__: None)


@pytest.mark.parametrize("verb", OF_STATIONS)
@pytest.mark.usefixtures("served")
def test_flags_go_before_the_options_of_a_station(verb: str, noted: Any) -> None:
    invoke("station", "create", "--model", "lad_noted:Noted", "--device", "cuda:7", *VERBS["station create"])
    noted.GIVEN.clear()
    done = CliRunner().invoke(app, [*verb.split(), *FLAGS, *OF_STATIONS[verb]], catch_exceptions=verb == "station test")
    assert done.exit_code == 0 or verb == "station test", done.output  # the judge calls the bad master part good
    assert noted.GIVEN == [GIVEN]
    kept = Station.load("station")
    assert (kept.max_pixels, kept.options["device"]) == (
        (50000, "cpu") if verb == "station calibrate" else (None, "cuda:7")
    )


@pytest.mark.parametrize("verb", OF_STATIONS)
@pytest.mark.usefixtures("served")
def test_what_a_limit_was_made_with_is_not_changed_beside_it(verb: str, noted: Any) -> None:
    """The device may change; for all else the limit is made anew, which `station calibrate` does."""
    lamps(Path("more"), good=20)
    make = ["--normal", "more/lamp/test/good", "--max-false-alarms", "0.1", "--reasoning-tokens", "9"]
    invoke("station", "create", "--model", "lad_noted:Noted", *make, *VERBS["station create"])
    noted.GIVEN.clear()
    if verb == "station calibrate":
        invoke(*verb.split(), *FLAGS, *OF_STATIONS[verb])
        assert noted.GIVEN == [GIVEN]
        return
    same = ["--device", "cpu", "--reasoning-tokens", "9"]
    if verb != "station test":
        invoke(*verb.split(), *same, *OF_STATIONS[verb])
        assert noted.GIVEN == [(None, "cpu", 9)]
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, [*verb.split(), *same[:3], "7", *OF_STATIONS[verb]], catch_exceptions=False)
    assert str(caught.value) == (
        "--reasoning-tokens 7: the limit of station was made with 9; make it anew with "
        "`lad-reasoner station calibrate STATION --reasoning-tokens 7`"
    )


@pytest.mark.usefixtures("served")
def test_serve_hands_them_to_the_judges_that_have_them(noted: Any) -> None:
    invoke("station", "create", "--model", "lad_noted:Noted", *VERBS["station create"])
    invoke("station", "create", "--model", "always-no", *VERBS["station create"][:-1], "plain")
    noted.GIVEN.clear()
    invoke("serve", "--device", "cpu", "station", "plain")
    assert noted.GIVEN == [(None, "cpu", None)]
    with pytest.raises(InputError, match="--device: no judge that is served has this option"):
        CliRunner().invoke(app, ["serve", "--device", "cpu", "plain"], catch_exceptions=False)


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

    all_verbs = dict(verbs(get_command(app)))
    assert {path for path, options in all_verbs.items() if "--votes" in options} == VERBS.keys()
    taking = {
        path for path, options in all_verbs.items() if {"--max-pixels", "--device", "--reasoning-tokens"} <= options
    }
    assert taking == VERBS.keys() | OF_STATIONS.keys() | {"demo"}
    # `check` and `export` count tokens; the others ask no model in this process, or have the fields in their settings.
    assert {path for path, options in all_verbs.items() if "--max-pixels" in options} - taking == {
        "data check",
        "data export",
    }
