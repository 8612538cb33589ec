"""What a service can do, measured: against servers with one quirk each, and against a real model."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.chat_server import Act, ChatServer, pictures
from helpers.command_line import run
from helpers.micro_server import by_micro
from lad_reasoner.errors import ServiceError
from lad_reasoner.judges.server_check import Finding, check_server

GOOD = "<think>All there.</think><answer>no</answer>"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def name_colours(body: dict[str, Any]) -> str:
    shown = (image.getpixel((0, 0)) for image in pictures(body))
    return ", ".join("Red" if red > blue else "Blue" for red, _, blue in shown)  # type: ignore[misc]


def able(body: dict[str, Any], before: int) -> Act:
    """Sees, keeps to the grammar, tells probabilities, and is quick with a reference that it knows."""
    if "colour of the first" in body["messages"][0]["content"][-1]["text"]:
        return Act("answer", name_colours(body))
    told = {"no": math.log(0.7), "yes": math.log(0.2), "maybe": math.log(0.1)}
    return Act("answer", GOOD, written=[(GOOD[:33], {}), ("no", told), ("</answer>", {})])


class CountingServer(ChatServer):
    """Counts the tokens of each request; without `see_all` only those of one picture."""

    def __init__(
        self, behave: Callable[[dict[str, Any], int], Act], *, see_all: bool = True, cached: int | None = None
    ) -> None:
        def act(body: dict[str, Any], before: int) -> Act:
            number = len(pictures(body)) if see_all else 1
            details = {"cached_tokens": cached, "audio_tokens": None}
            self.usage = {"prompt_tokens": 50 + 100 * number, "prompt_tokens_details": details}
            return behave(body, before)

        super().__init__(act)


def findings(server: ChatServer) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_server(server.url, "big")}


def test_an_able_service(tmp_path: Path) -> None:
    with CountingServer(able) as server:
        found = findings(server)
    assert found["two pictures"] == Finding("two pictures", "taken: 150 tokens with one, 250 with two", good=True)
    assert found["order"].result == "as sent: the first picture is the reference"
    assert found["grammar"] == Finding("grammar", "sent, but ignored: 3 of 3 responses", good=True)
    assert found["log-probabilities"] == Finding("log-probabilities", "there, unmasked", good=True)
    assert found["identical queries"] == Finding("identical queries", "the same text twice", good=True)
    assert found["parameters"] == Finding("parameters", "all are taken", good=True)
    assert found["limits"] == Finding("limits", "5 pictures are taken", good=True)
    assert (found["proxy"].result, found["context"].result) == ("none", "the service does not say how long")
    assert not (tmp_path / "cache").exists()  # what is measured is not kept


def test_a_service_that_takes_one_picture_is_unusable() -> None:
    def one_image(body: dict[str, Any], before: int) -> Act:
        refusal = {"object": "error", "message": "At most 1 image(s) may be provided in one prompt.", "code": 400}
        return able(body, before) if len(pictures(body)) == 1 else Act("status", json.dumps(refusal), status=400)

    with CountingServer(one_image) as server:
        found = findings(server)
        done = run("server", "check", server.url, "--model", "big")
    assert list(found) == ["two pictures"]
    assert found["two pictures"].good is False
    assert "At most 1 image(s)" in found["two pictures"].result
    assert done.returncode == 1
    assert done.stdout.startswith("- two pictures")


def test_a_service_that_drops_or_swaps_pictures() -> None:
    def swapped(body: dict[str, Any], before: int) -> Act:
        act = able(body, before)
        return act if act.written else Act("answer", ", ".join(reversed(act.text.split(", "))))

    with CountingServer(lambda body, before: Act("answer", "Red."), see_all=False) as server:
        (found,) = check_server(server.url, "big")
    assert found == Finding("two pictures", "one is dropped: 150 tokens with one, 150 with two", good=False)
    with CountingServer(swapped) as server:
        assert findings(server)["order"] == Finding("order", "reversed", good=False)


def test_a_service_without_grammar_probabilities_and_repeatability() -> None:
    def free(body: dict[str, Any], before: int) -> Act:
        if "temperature" in body:
            return Act("status", "temperature is not supported", status=400)
        return Act("answer", f"I see no difference, {len(server.bodies)}.")

    with CountingServer(free) as server:
        found = findings(server)
    assert found["order"] == Finding("order", "not told by the answer")
    assert found["grammar"] == Finding("grammar", "sent, but ignored: 0 of 3 responses", good=False)
    assert found["log-probabilities"].result == "none: there is no score"
    assert found["identical queries"].result == "two texts for the same question"
    assert found["parameters"] == Finding("parameters", "rejected: temperature", good=False)


def test_probabilities_that_a_grammar_masks() -> None:
    def masked(body: dict[str, Any], before: int) -> Act:
        act = able(body, before)
        told = {"no": math.log(0.7), "yes": math.log(0.3)}
        return Act("answer", act.text, written=[(GOOD[:33], {}), ("no", told), ("</answer>", {})])

    with CountingServer(masked) as server:
        assert findings(server)["log-probabilities"].result == "there, but masked to yes and no"


@pytest.mark.parametrize("reused", [True, False])
def test_the_reuse_of_a_reference_is_measured(reused: bool) -> None:
    known: set[bytes] = set()

    def slow(body: dict[str, Any], before: int) -> Act:
        reference = pictures(body)[0].tobytes()
        if body.get("max_completion_tokens") == 1 and not (reused and reference in known):
            time.sleep(0.2)
        known.add(reference)
        return able(body, before)

    with CountingServer(slow) as server:
        prefix = findings(server)["prefix"]
    assert prefix.good is reused
    assert prefix.result.startswith("reused: " if reused else "not reused: ")


def test_cached_tokens_are_believed() -> None:
    with CountingServer(able, cached=64) as server:
        assert findings(server)["prefix"].result.startswith("reused (192 tokens in 3 queries): ")


def test_nobody_listens() -> None:
    with ChatServer(able) as server:
        pass
    with pytest.raises(ServiceError, match="refused"):
        next(check_server(server.url, "big", patience=0.2))


def test_micro_behind_a_server_and_the_verb() -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        return by_micro(body, before) if len(pictures(body)) == 2 else Act("answer", "One picture.")

    with CountingServer(act) as server:
        done = run("server", "check", server.url, "--model", "micro")
    assert done.returncode == 0, done.stderr
    assert "+ grammar            sent, but ignored: 3 of 3 responses" in done.stdout
    assert "- log-probabilities  there, but masked to yes and no" in done.stdout
    assert "+ identical queries  the same text twice" in done.stdout
