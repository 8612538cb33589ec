"""llama.cpp's server, vLLM and SGLang as they speak on the wire: probe, grammar, log-probabilities, errors.

None of the three runs here. The servers below are on a real socket, and answer in the three programs' forms: with the
fields that each adds to OpenAI's, the grammar in the field that each reads, and errors in the words of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.chat_server import Act, Behaviour, ChatServer, pictures
from helpers.command_line import run
from helpers.grammar_servers import THINKABLE, decode
from lad_reasoner.errors import InputError, ServiceError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.hosted import HostedJudge
from lad_reasoner.judges.served_grammar import FORMS, GBNF, REGEX
from lad_reasoner.judges.server_check import check_server

MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
FREE = "There is no difference. The answer is no."
GOOD = "<think>A screw is gone.</think><answer>yes</answer>"
# The same as tokens, the answer within a token: the alternatives at its place are unmasked.
PIECES = ["<", "think", ">A", " screw", " is", " gone", ".</", "think", "><", "answer", ">yes", "</", "answer", ">"]
AT_ANSWER = {">yes": 0.6, ">no": 0.3, ">maybe": 0.1}
SCORE = 0.6 / 0.9


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def token(text: str, **more: Any) -> dict[str, Any]:
    """A token with its alternatives; the first of them is what was written."""
    told = AT_ANSWER if text == ">yes" else {text: 1.0}
    alternatives = [
        {"token": other, "logprob": math.log(share), "bytes": list(other.encode()), **more}
        for other, share in told.items()
    ]
    return {**alternatives[0], "top_logprobs": alternatives}


def vllm(text: str, pieces: list[str] | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
    choice = {
        "index": 0,
        "message": {**message, "function_call": None, "reasoning": None},
        "logprobs": {"content": [token(piece) for piece in pieces]} if pieces else None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
    }
    return {
        "id": "chatcmpl-8f0c9c0c",
        "object": "chat.completion",
        "created": 1764140000,
        "model": MODEL,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {
            "prompt_tokens": 902,
            "total_tokens": 916,
            "completion_tokens": 14,
            "prompt_tokens_details": None,
        },
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
    }


def sglang(text: str, pieces: list[str] | None) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": None},
        "logprobs": {"content": [token(piece) for piece in pieces]} if pieces else None,
        "finish_reason": "stop",
        "matched_stop": 151645,
    }
    return {
        "id": "6a2b3c4d",
        "object": "chat.completion",
        "created": 1764140000,
        "model": MODEL,
        "choices": [choice],
        "usage": {
            "prompt_tokens": 902,
            "total_tokens": 916,
            "completion_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 451},
            "reasoning_tokens": 0,
        },
        "metadata": {"weight_version": "default"},
    }


def llama_cpp(text: str, pieces: list[str] | None) -> dict[str, Any]:
    """Its chat format moves what stands in <think> into a field of its own."""
    before, _, after = text.partition("</think>")
    message = {"role": "assistant", "content": text}
    if after:
        message = {"role": "assistant", "reasoning_content": before.removeprefix("<think>"), "content": after}
    choice: dict[str, Any] = {"finish_reason": "stop", "index": 0, "message": message}
    if pieces:
        choice["logprobs"] = {"content": [token(piece, id=number) for number, piece in enumerate(pieces)]}
    return {
        "choices": [choice],
        "created": 1764140000,
        "model": MODEL,
        "system_fingerprint": "b7140-c386114922",
        "object": "chat.completion",
        "usage": {"completion_tokens": 14, "prompt_tokens": 902, "total_tokens": 916},
        "id": "chatcmpl-XxVnQm3E",
        "timings": {"cache_n": 451, "prompt_n": 451, "prompt_ms": 812.4, "predicted_n": 14, "predicted_ms": 402.1},
    }


@dataclass(frozen=True)
class Engine:
    """How a program answers, where it reads the grammar and in what notation, and what it says to a long prompt."""

    answer: Callable[[str, list[str] | None], dict[str, Any]]
    form: str
    sent: Any
    questions: int
    too_long: dict[str, Any]


CONTEXT = "This model's maximum context length is 4096 tokens. However, your request has 9000 input tokens."
ENGINES = {
    "vLLM": Engine(
        vllm,
        "structured_outputs",
        {"regex": REGEX},
        1,
        {"error": {"message": CONTEXT, "type": "BadRequestError", "param": None, "code": 400}},
    ),
    "SGLang": Engine(
        sglang,
        "regex",
        REGEX,
        3,
        {"object": "error", "message": CONTEXT, "type": "BadRequest", "param": None, "code": 400},
    ),
    "llama.cpp": Engine(
        llama_cpp,
        "grammar",
        GBNF,
        4,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 4096,
            }
        },
    ),
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def asked(engine: Engine) -> Behaviour:
    """The question for the grammar: fields that the program does not know change nothing."""
    return lambda body, before: Act("raw", json.dumps(engine.answer(decode(body, engine.form, THINKABLE), None)))


def judging(engine: Engine) -> Behaviour:
    def act(body: dict[str, Any], before: int) -> Act:
        if "colour of the first" in body["messages"][0]["content"][-1]["text"]:
            return Act("raw", json.dumps(engine.answer(", ".join(map(colour, pictures(body))), None)))
        text = decode(body, engine.form, (FREE, GOOD))
        pieces = PIECES if body.get("logprobs") and body.get("top_logprobs") and text == GOOD else None
        return Act("raw", json.dumps(engine.answer(text, pieces)))

    return act


def colour(image: Image.Image) -> str:
    red, _, blue = image.getpixel((0, 0))  # type: ignore[misc]
    return "Red" if red > blue else "Blue"


def judge(server: ChatServer, tmp_path: Path) -> HostedJudge:
    return HostedJudge(server.url, MODEL, cache=tmp_path / "a.jsonl", timeout=5.0, patience=5.0, backoff=0.01)


def pair(red: int) -> PicturePair:
    shades = [read_picture(Image.new("RGB", (32, 24), (value, 90, 160))) for value in (7, red)]
    return PicturePair((shades[0],), shades[1])


def test_the_pieces_are_the_response() -> None:
    assert "".join(PIECES) == GOOD


@every_engine
def test_probe_grammar_and_score(engine: Engine, tmp_path: Path) -> None:
    with ChatServer(judging(engine), probe=asked(engine)) as server:
        asking = judge(server, tmp_path)
        found = asking.judge([pair(3), pair(250)])
        assert judge(server, tmp_path).judge([pair(9)])[0].answer == "yes"
    assert len(server.probes) == engine.questions
    assert all(form in probe for probe, form in zip(server.probes, FORMS, strict=False))
    assert all(body[engine.form] == engine.sent for body in server.bodies)
    assert all(not (FORMS.keys() - {engine.form}) & body.keys() for body in server.bodies)
    assert [(one.answer, one.response) for one in found] == [("yes", GOOD)] * 2
    assert [one.score for one in found] == [pytest.approx(SCORE)] * 2
    assert all(body["logprobs"] is True and body["top_logprobs"] == 20 for body in server.bodies)
    assert asking.notes[0].endswith(f"sent as `{engine.form}`.")
    assert f"{2 * 902} input" in asking.receipt() or f"{(2 + engine.questions) * 902} input" in asking.receipt()


@every_engine
def test_a_prompt_that_is_too_long_is_that_pairs_fault_in_the_programs_words(engine: Engine, tmp_path: Path) -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        too_long = any(image.size == (320, 24) for image in pictures(body))
        return Act("status", json.dumps(engine.too_long), status=400) if too_long else judging(engine)(body, before)

    long = PicturePair((read_picture(Image.new("RGB", (320, 24), (7, 90, 160))),), pair(3).query)
    with ChatServer(act, probe=asked(engine)) as server:
        asking = judge(server, tmp_path)
        asking.judge([pair(3)])
        with pytest.raises(InputError, match="context"):
            asking.judge([long])
        assert asking.judge([pair(5)])[0].answer == "yes"


@every_engine
def test_the_check_prints_what_each_of_them_does(engine: Engine) -> None:
    with ChatServer(judging(engine), probe=asked(engine)) as server:
        found = {finding.name: finding for finding in check_server(server.url, MODEL)}
        done = run("server", "check", server.url, "--model", MODEL)
    assert [*found] == [
        *("two pictures", "order", "grammar", "log-probabilities", "identical queries", "prefix"),
        *("parameters", "limits", "proxy", "context"),
    ]
    assert found["two pictures"].result.startswith("taken")
    assert found["order"].result == "as sent: the first picture is the reference"
    assert found["grammar"].result.startswith(f"sent as `{engine.form}`: 3 of 3 responses")
    assert found["log-probabilities"].result == "there, unmasked"
    assert found["identical queries"].result.startswith("the same text twice")
    assert done.returncode == 0, done.stderr
    assert all(f" {name} " in done.stdout for name in found)


def test_a_server_that_still_loads_its_model_is_waited_for(tmp_path: Path) -> None:
    """llama.cpp's 503; nothing is asked of the pairs before the question for the grammar is answered."""
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    engine = ENGINES["llama.cpp"]

    def wake(body: dict[str, Any], before: int) -> Act:
        return Act("status", json.dumps(loading), status=503) if before < 2 else asked(engine)(body, before)

    with ChatServer(judging(engine), probe=wake) as server:
        assert judge(server, tmp_path).judge([pair(3)])[0].answer == "yes"
    with ChatServer(judging(engine), probe=lambda body, before: wake(body, 0)) as server:
        impatient = HostedJudge(server.url, MODEL, cache=tmp_path / "b.jsonl", patience=0.1, backoff=0.01)
        with pytest.raises(ServiceError, match="Loading model"):
            impatient.judge([pair(3)])
