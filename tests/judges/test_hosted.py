"""A model behind a service as a judge: nothing paid twice, nothing lost, and a score from what the service tells."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from helpers.chat_server import Act, ChatServer, faulty, pictures
from helpers.command_line import COMMAND, call
from helpers.micro_server import by_micro, micro
from helpers.planted import lamps
from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError, MachineError, MissingExtraError, ServiceError
from lad_reasoner.evaluation.benchmark import Benchmark, open_benchmark
from lad_reasoner.evaluation.run import Run, measure_run, read_run
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.inspector import Inspector, load_model
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import hosted
from lad_reasoner.judges.completions import score_answer
from lad_reasoner.judges.evidence.judge import WithEvidence
from lad_reasoner.judges.hosted import OPTIONAL, HostedJudge, load_hosted
from lad_reasoner.judges.trivial import always_no
from lad_reasoner.judges.vlm.checkpoint import BUILT_IN
from lad_reasoner.prompts import build_prompt
from lad_reasoner.records import Failure, Prediction, Verdict
from lad_reasoner.remote.completion import Alternative, Token
from lad_reasoner.remote.ledger import Exchange
from lad_reasoner.remote.prices import Prices
from lad_reasoner.runner import run as run_judge

GOOD = "<think>All there.</think><answer>no</answer>"
BAD = "<think>A lamp is missing.</think><answer>yes</answer>"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LAD_SERVER_KEY", "sk-very-secret-0123456789")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def judge(server: ChatServer, tmp_path: Path, **changes: Any) -> HostedJudge:
    settings = {"cache": tmp_path / "answers.jsonl", "timeout": 5.0, "patience": 5.0, "backoff": 0.01}
    return HostedJudge(server.url, "big", **{**settings, **changes})


def shade(red: int) -> Picture:
    return read_picture(Image.new("RGB", (32, 24), (red, 90, 160)))


def pair(red: int) -> PicturePair:
    return PicturePair((shade(7),), shade(red))


def by_colour(body: dict[str, Any], before: int) -> Act:
    """Yes for a red query, with log-probabilities that say how red."""
    red = pictures(body)[-1].getpixel((0, 0))[0] / 255  # type: ignore[index]
    score = min(max(red, 0.01), 0.99)
    text, word = (BAD, "yes") if score >= 0.5 else (GOOD, "no")
    begins = text.index(f"{word}</answer>")
    told = {"yes": math.log(score), "no": math.log(1 - score), "maybe": -30.0}
    return Act("answer", text, written=[(text[:begins], {}), (word, told), ("</answer>", {})])


def test_what_is_asked_and_what_comes_back(tmp_path: Path) -> None:
    with ChatServer(by_colour) as server:
        asked = judge(server, tmp_path)
        references = (shade(7), shade(9))
        low, high = asked.judge([PicturePair(references, shade(51)), PicturePair(references, shade(204))])
    assert (low.response, high.response) == (GOOD, BAD)
    assert (low.score, high.score) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.8, abs=0.02))
    assert low.tokens == 20
    (message,) = server.bodies[0]["messages"]
    assert server.bodies[0] == {"model": "big", "messages": [message], **OPTIONAL}
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url"] * 3 + ["text"]
    assert message["content"][-1]["text"] == build_prompt(2)
    assert [image.size for image in pictures(server.bodies[0])] == [(32, 24)] * 3
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret-0123456789"
    assert (asked.name, asked.batch_size, asked.prompt_version) == ("big", 16, "rlad-1")
    assert "sk-very" not in "".join(asked.notes) + asked.receipt() + (tmp_path / "answers.jsonl").read_text()


def token(text: str, **told: float) -> Token:
    others = tuple(Alternative(token=name, logprob=math.log(share)) for name, share in told.items())
    return Token(token=text, logprob=math.log(told.get(text, 0.5)), top_logprobs=others)


BEGIN = token("<think>Fine.</think><answer>")
END = token("</answer>")
SCORES = {
    "plain": ([BEGIN, token("yes", yes=0.6, no=0.2, maybe=0.1), END], 0.75),
    "variants add up": ([BEGIN, token("No", **{"No": 0.3, "no": 0.3, " NO": 0.1, "Yes": 0.1, "not": 0.2}), END], 0.125),
    "the tag in the token": (
        [token("<think>a</think><answer"), token(">yes", **{">yes": 0.5, ">no": 0.25, "yes": 0.2, ">\n": 0.05}), END],
        2 / 3,
    ),
    "the end in the token": ([BEGIN, token("no</", **{"no</": 0.5, "yes</": 0.5}), token("answer>")], 0.5),
    "a part of the word": ([BEGIN, token("y", y=0.4, n=0.1), token("es"), END], 0.8),
    "white space": ([BEGIN, token("\n"), token(" yes", **{" yes": 0.5, "no": 0.5}), END], 0.5),
    "only one is told": ([BEGIN, token("no", no=0.9), END], 0.0),
    "the last answer counts": (
        [token("<think><answer>no</answer> no</think><answer>"), token("yes", yes=0.9, no=0.1), END],
        0.9,
    ),
    "no tokens": ([], None),
    "no answer": ([token("<think>yes</think>")], None),
    "cut off": ([BEGIN, token("yes", yes=0.9)], None),
}


@pytest.mark.parametrize(("written", "score"), SCORES.values(), ids=SCORES)
def test_score_at_the_answer(written: list[Token], score: float | None) -> None:
    found = score_answer(written)
    assert found == (score if score is None else pytest.approx(score))


TOKENS = ("<think>A lamp is missing.</think><answer>", "yes", "</answer>")


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {},
        {"content": None},
        {"content": [{"token": 3}]},
        "none",
        {"content": [{"token": "a", "logprob": 1e9}]},
        {"content": [{"token": token, "logprob": -0.1, "top_logprobs": []} for token in TOKENS]},
    ],
)
def test_without_usable_logprobs_there_is_an_answer_and_no_score(tmp_path: Path, logprobs: Any) -> None:
    choice = {"index": 0, "message": {"content": BAD}, "logprobs": logprobs, "finish_reason": "stop"}
    with ChatServer(lambda body, before: Act("raw", json.dumps({"choices": [choice]}))) as server:
        asked = judge(server, tmp_path)
        (found,) = asked.judge([pair(3)])
    assert (found.response, found.answer, found.score) == (BAD, "yes", None)


@pytest.mark.parametrize(
    ("at_answer", "score"),
    [
        # SGLang under a grammar: what is forbidden has no number.
        ([("yes", -0.7), ("no", -0.7), ("!", None), ("#", None)], 0.5),
        ([("yes", -0.0), ("no", None)], 1.0),
        # OpenVINO's server: a logarithm that rounding put above 0.
        ([("yes", None), ("no", -20.0)], None),
    ],
)
def test_a_logarithm_that_is_null(tmp_path: Path, at_answer: list[tuple[str, Any]], score: float | None) -> None:
    alternatives = [{"token": name, "logprob": logprob} for name, logprob in at_answer]
    plain = [{"token": token, "logprob": None, "top_logprobs": []} for token in TOKENS]
    content = [plain[0], {**alternatives[0], "top_logprobs": alternatives}, plain[2]]
    choice = {"index": 0, "message": {"content": BAD}, "logprobs": {"content": content}, "finish_reason": "stop"}
    with ChatServer(lambda body, before: Act("raw", json.dumps({"choices": [choice]}))) as server:
        (found,) = judge(server, tmp_path).judge([pair(3)])
    assert (found.answer, found.score) == ("yes", score if score is None else pytest.approx(score))


@pytest.mark.parametrize(
    "text", ["yes", "<answer>yes</answer>", "<think></think><answer>no</answer>", f"{BAD}{BAD}", f"{GOOD}</think>"]
)
def test_what_is_not_structured_is_invalid(tmp_path: Path, text: str) -> None:
    written = [("<answer>", {}), ("yes", {"yes": -0.1, "no": -2.0}), ("</answer>", {})]
    with ChatServer(lambda body, before: Act("answer", text, written=written)) as server:
        (judgement,) = judge(server, tmp_path).judge([pair(3)])
    assert (judgement.answer, judgement.score, judgement.response) == ("invalid", None, text)


def test_reasoning_that_the_service_took_out_is_put_back(tmp_path: Path) -> None:
    acts = [
        Act("answer", "\n<answer>yes</answer>", reasoning="A lamp is missing."),
        Act("answer", GOOD, reasoning="Hidden thoughts of another kind."),
    ]
    with ChatServer(lambda body, before: acts[before]) as server:
        (joined,) = judge(server, tmp_path).judge([pair(3)])
        (own,) = judge(server, tmp_path, cache=tmp_path / "other.jsonl").judge([pair(3)])
    assert parse_response(joined.response).reasoning == "A lamp is missing."
    assert parse_response(joined.response).answer == "yes"
    assert own.response == GOOD


def raw(finish: str = "stop", model: str = "big", **message: Any) -> Act:
    """A completion with this message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return Act("raw", json.dumps({"model": model, "choices": [choice], "usage": usage}))


RESTATED = "The form is <think>…</think><Answer>yes or no</answer>. A lamp is missing."
FORMS = {
    "the template opened the reasoning": {
        "content": "A lamp is missing, the rest is alike.\n</think>\n\n<answer>yes</answer>",
        "reasoning_content": None,
    },
    "the same with a quoted form": {"content": "Form: <answer>yes or no</answer>. Gone.</think><answer>yes</answer>"},
    "typed parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Compare the lamps."}]},
            {"type": "text", "text": BAD},
        ]
    },
    "typed reasoning": {
        "content": [
            {"type": "reasoning", "text": "A lamp is missing."},
            {"type": "output_text", "text": "<answer>"},
            {"type": "output_text", "text": "yes</answer>"},
        ]
    },
    "one part": {"content": {"type": "text", "text": BAD}},
    "the form quoted in a separate reasoning": {"content": "<answer>yes</answer>", "reasoning_content": RESTATED},
    "another name": {"content": "</think><answer>yes</answer>", "reasoning": "A lamp is missing."},
    "all taken for reasoning": {"content": None, "reasoning_content": BAD},
}


@pytest.mark.parametrize("message", FORMS.values(), ids=FORMS)
def test_forms_of_an_answer_that_services_give(tmp_path: Path, message: dict[str, Any]) -> None:
    with ChatServer(lambda body, before: raw(**message)) as server:
        (judgement,) = judge(server, tmp_path).judge([pair(3)])
        (again,) = judge(server, tmp_path).judge([pair(3)])
    assert (judgement.answer, again.response) == ("yes", judgement.response)
    assert judgement.reasoning
    assert "<" not in judgement.reasoning
    assert len(server.bodies) == 1


FREE_FORM = {
    "two ends": {"content": "a</think><answer>yes</answer></think><answer>no</answer>"},
    "quoted in the text itself": {"content": f"<think>{RESTATED}</think><answer>yes</answer>"},
    "a refusal beside the text": {"content": None, "refusal": "I cannot help with that."},
    "words before": {"content": f"Sure. {BAD}"},
}


@pytest.mark.parametrize("message", FREE_FORM.values(), ids=FREE_FORM)
def test_what_the_grammar_does_not_hold_stays_invalid(tmp_path: Path, message: dict[str, Any]) -> None:
    with ChatServer(lambda body, before: raw(**message)) as server:
        (judgement,) = judge(server, tmp_path).judge([pair(3)])
    assert judgement.answer == "invalid"
    assert judgement.response == message["content"] or judgement.response == message.get("refusal")


CALL = [{"id": "1", "type": "function", "function": {"name": "answer", "arguments": '{"answer": "yes"}'}}]
FILTERED = {"error": {"message": "The prompt triggered the content management policy", "code": "content_filter"}}
WITHOUT_AN_ANSWER = {
    "the content filter": (raw("content_filter", content=""), "the service's content filter stopped the response"),
    "the content filter, with status 400": (
        Act("status", json.dumps(FILTERED), status=400),
        "the service's content filter stopped the response",
    ),
    "a function call": (raw("tool_calls", content=None, tool_calls=CALL), "the model called a function instead of"),
    "a function call in the old form": (raw("function_call", function_call={"name": "a"}), "the model called a funct"),
    "a function call at an ordinary end": (raw(content="", tool_calls=CALL), "the model called a function instead of"),
    "a refusal": (raw(content=None, refusal="I cannot help."), "the model refused to answer"),
    "a refusal as a part": (raw(content=[{"type": "refusal", "refusal": "I cannot."}]), "the model refused to answer"),
}


@pytest.mark.parametrize(("act", "reason"), WITHOUT_AN_ANSWER.values(), ids=WITHOUT_AN_ANSWER)
def test_a_pair_that_gets_no_answer_is_invalid_at_once_with_the_reason(tmp_path: Path, act: Act, reason: str) -> None:
    """Another try would bring the same and be paid again; the other pairs are judged."""
    with ChatServer(lambda body, before: by_colour(body, before) if len(server.bodies) > 1 else act) as server:
        first, second = judge(server, tmp_path, concurrency=1).judge([pair(3), pair(4)])
        again, _ = judge(server, tmp_path, concurrency=1).judge([pair(3), pair(4)])
    assert (first.answer, second.answer) == ("invalid", "no")
    assert first.reason.startswith(reason)
    assert len(server.bodies) == 2, "nor is it asked again by the next run"
    assert (again.answer, again.reason, again.tokens) == (first.answer, first.reason, first.tokens)
    assert not first.cut_off, "a run that is resumed does not ask for it again"


def test_reasoning_in_the_details_of_a_router(tmp_path: Path) -> None:
    details = [{"type": "reasoning.text", "text": "A lamp is missing."}]
    act = raw(content="<answer>yes</answer>", reasoning_details=details)
    with ChatServer(lambda body, before: act) as server:
        (judgement,) = judge(server, tmp_path).judge([pair(3)])
    assert (judgement.answer, judgement.reasoning) == ("yes", "A lamp is missing.")


def no_choice(choices: Any) -> Act:
    return Act("raw", json.dumps({"choices": choices, "usage": {"prompt_tokens": 100, "completion_tokens": 20}}))


EMPTY = {
    "null": raw(content=None),
    "blank": raw(content=" \n"),
    "no parts": raw(content=[]),
    "no content": raw(),
    "no choices": no_choice([]),
    "choices null": no_choice(None),
}


@pytest.mark.parametrize("act", EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_is_tried_again_and_never_kept(tmp_path: Path, act: Act) -> None:
    prices = Prices(2.0, 10.0)
    with ChatServer(lambda body, before: act if before < 2 else by_colour(body, before)) as server:
        asked = judge(server, tmp_path, prices=prices)
        assert asked.judge([pair(3)])[0].response == GOOD
        again = judge(server, tmp_path, prices=prices)
        assert again.judge([pair(3)])[0].response == GOOD
    assert len(server.bodies) == 3
    for bill in (asked.ledger.paid, again.ledger.recalled):  # one answer, but three were paid
        assert (bill.answers, bill.input_tokens, bill.output_tokens) == (1, 300, 60)


def test_a_service_that_only_gives_empty_answers_fails_and_is_asked_again(tmp_path: Path, lamp: Benchmark) -> None:
    healthy = False
    with ChatServer(lambda body, before: by_colour(body, before) if healthy else raw(content=None)) as server:
        with pytest.raises(ServiceError, match="an empty answer; given up"):
            list(Run(tmp_path / "run", judge(server, tmp_path, patience=0.2), lamp).predict())
        healthy = True
        list(Run(tmp_path / "run", judge(server, tmp_path), lamp).predict())
    lines = read_run(tmp_path / "run").predictions
    assert len(lines) == 40
    assert all(line.verdict.answer != "invalid" for line in lines)


def test_a_run_is_resumed_at_the_same_address_only(
    tmp_path: Path, lamp: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same name may be another model there; the key is not part of it."""
    monkeypatch.setenv("LAD_SERVER_KEY", "a-key-of-one-service")
    run = tmp_path / "run"
    with ChatServer(by_colour) as server, ChatServer(by_colour) as other:
        list(Run(run, judge(server, tmp_path), lamp, limit=5).predict())
        monkeypatch.setenv("LAD_SERVER_KEY", "another-key-of-it")
        list(Run(run, judge(server, tmp_path), lamp, limit=10).predict())
        said = f"run: made with address {server.url}, not {other.url}; give another --out"
        for asked in (judge(other, tmp_path), WithEvidence(judge(other, tmp_path), always_no())):
            with pytest.raises(InputError, match=re.escape(said)):
                Run(run, asked, lamp)
        assert other.bodies == []
        written = (run / "settings.json").read_text()
        assert f'"address": "{server.url}"' in written and "key" not in written
        # A folder of an older version, which did not record it.
        (run / "settings.json").write_text(written.replace(f'"address": "{server.url}"', '"address": ""'))
        list(Run(run, judge(other, tmp_path), lamp).predict())
    assert len(read_run(run).predictions) == 40


def test_empty_answers_are_covered_by_the_budget(tmp_path: Path) -> None:
    with ChatServer(lambda body, before: raw(content="")) as server:
        poor = judge(server, tmp_path, prices=Prices(2.0, 10.0), budget=3 * 0.0004 - 1e-9)
        with pytest.raises(MachineError, match=r"the budget of 0\.0012 is spent"):
            poor.judge([pair(3)])
    assert len(server.bodies) == 3


def test_an_empty_line_that_an_older_version_kept_is_asked_again(tmp_path: Path) -> None:
    with ChatServer(by_colour) as server:
        judge(server, tmp_path).judge([pair(3)])
        (line,) = read_records(tmp_path / "answers.jsonl", Exchange)
        (tmp_path / "answers.jsonl").write_text(line.model_copy(update={"text": ""}).model_dump_json() + "\n")
        asked = judge(server, tmp_path)
        assert asked.judge([pair(3)])[0].response == GOOD
    assert (asked.ledger.paid.answers, asked.ledger.paid.input_tokens) == (1, 100)
    assert (asked.ledger.recalled.answers, asked.ledger.recalled.input_tokens) == (0, 100)


def test_a_cut_off_answer_is_told_and_asked_again_with_another_limit(tmp_path: Path) -> None:
    def limited(body: dict[str, Any], before: int) -> Act:
        if pictures(body)[-1].getpixel((0, 0))[0] < 100 or body["max_completion_tokens"] > 5000:  # type: ignore[index]
            return raw(content=GOOD)
        return raw("length", content=None, reasoning_content="I look at the lamps " * 40)

    with ChatServer(limited) as server:
        asked = judge(server, tmp_path)
        cut, whole = asked.judge([pair(250), pair(3)])
        assert (cut.answer, whole.answer) == ("invalid", "no")
        told = "; 1 response was cut off at the limit of 4096 tokens; give more with -M max_tokens=…"
        assert asked.receipt().endswith(told)
        assert len(server.bodies) == 2  # the same again would be cut off again
        more = judge(server, tmp_path, max_tokens=8192)
        assert [judgement.answer for judgement in more.judge([pair(250), pair(3)])] == ["no", "no"]
        assert "cut off" not in more.receipt()
    assert [body["max_completion_tokens"] for body in server.bodies[2:]] == [8192]
    assert (more.ledger.paid.answers, more.ledger.recalled.answers) == (1, 1)
    assert more.ledger.recalled.input_tokens == 200
    with pytest.raises(InputError, match="max_tokens is 0"):
        judge(server, tmp_path, max_tokens=0)


def test_a_whole_response_at_the_limit_is_kept(tmp_path: Path) -> None:
    with ChatServer(lambda body, before: raw("length", content=BAD)) as server:
        for _ in range(2):
            assert judge(server, tmp_path).judge([pair(3)])[0].answer == "yes"
    assert len(server.bodies) == 1


def two_coloured(red: int) -> Image.Image:
    """Not blank, so that it is judged."""
    image = Image.new("RGB", (32, 24), (red, 90, 160))
    image.paste((0, 0, 0), (16, 0, 32, 24))
    return image


def test_a_cut_off_answer_is_paid_once_although_its_batch_is_asked_again(tmp_path: Path) -> None:
    def mixed(body: dict[str, Any], before: int) -> Act:
        red = pictures(body)[-1].getpixel((0, 0))[0]  # type: ignore[index]
        if red > 200:
            return raw(content=BAD)
        return raw("length", content="<think>Hm") if red < 100 else Act("status", "content policy", status=400)

    with ChatServer(mixed) as server:
        inspector = Inspector(judge(server, tmp_path, concurrency=2), [two_coloured(7)])
        queries = [two_coloured(red) for red in (250, 50, 150)]
        inspector.inspect(queries[0])
        good, cut, refused = inspector.inspect_many(queries)
        assert len(server.bodies) == 4  # only the refused one comes twice
        assert inspector.inspect(queries[1]).answer == "invalid"
        assert len(server.bodies) == 5
    assert (good.answer, cut.answer) == ("yes", "invalid")  # type: ignore[union-attr]
    assert "content policy" in refused.error  # type: ignore[union-attr]


WORDS = {
    402: "Insufficient Balance",
    400: "Your credit balance is too low to access the API.",
    403: "Your credit balance is too low to access the API.",
    429: '"You exceeded your current quota", "code": "insufficient_quota',
}


@pytest.mark.parametrize("status", WORDS)
def test_an_account_that_runs_dry_stops_the_run_and_the_next_start_asks_the_rest(
    tmp_path: Path, lamp: Benchmark, status: int
) -> None:
    paid_up = 5

    def dry(body: dict[str, Any], before: int) -> Act:
        refusal = Act("status", json.dumps({"error": {"message": WORDS[status]}}), status=status)
        return by_colour(body, before) if len(server.bodies) <= paid_up else refusal

    with ChatServer(dry) as server:
        with pytest.raises(MachineError, match=rf"status {status}: the account cannot pay: .*(alance|quota)"):
            list(Run(tmp_path / "run", judge(server, tmp_path), lamp).predict())
        assert all(not line.error for line in _lines(tmp_path / "run"))
        paid_up = 10**6
        list(Run(tmp_path / "run", judge(server, tmp_path), lamp).predict())
    lines = read_run(tmp_path / "run").predictions
    assert len(lines) == server.paid.total() == 40
    assert not any(line.error for line in lines)


def _lines(run: Path) -> list[Prediction]:
    path = run / "predictions.jsonl"
    return list(read_records(path, Prediction)) if path.exists() else []


def test_several_rejected_pairs_in_a_row_stop_the_run(tmp_path: Path, lamp: Benchmark) -> None:
    def closed(body: dict[str, Any], before: int) -> Act:
        closing = Act("status", "this workspace is closed", status=400)
        return by_colour(body, before) if len(server.bodies) <= 5 else closing

    with ChatServer(closed) as server:
        said = r"workspace is closed \(\d+ pairs in a row were rejected; answers are kept\)"
        with pytest.raises(MachineError, match=said):
            list(Run(tmp_path / "run", judge(server, tmp_path), lamp).predict())
    assert all(not line.error for line in _lines(tmp_path / "run"))


def test_rejected_pairs_between_answered_ones_do_not_stop_the_run(tmp_path: Path) -> None:
    def picky(body: dict[str, Any], before: int) -> Act:
        red = pictures(body)[-1].getpixel((0, 0))[0]  # type: ignore[index]
        return Act("status", "policy", status=400) if red % 20 == 0 else by_colour(body, before)

    reds = range(10, 130, 10)  # each second one is rejected: six of one batch
    with ChatServer(picky) as server:
        results = [result for _, result in run_judge(judge(server, tmp_path), reds, pair)]
    assert [isinstance(result, Failure) for result in results] == [red % 20 == 0 for red in reds]


def test_a_request_that_is_given_up_does_not_end_the_patience_of_others(
    tmp_path: Path, lamp: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query fails until its patience is spent, and once more when it is asked again on its own."""
    late = 0

    def act(body: dict[str, Any], before: int) -> Act:
        nonlocal late
        if body != server.bodies[0]:
            return by_colour(body, before)
        late += len(opened) > 1
        return by_colour(body, before) if late > 1 else Act("status", status=500)

    with ChatServer(act) as server:
        asked = judge(server, tmp_path, backoff=0.1, patience=1.2)
        opened: list[object] = []
        open_service = asked._open_service
        monkeypatch.setattr(asked, "_open_service", lambda: opened.append(service := open_service()) or service)
        list(Run(tmp_path / "run", asked, lamp).predict())
    assert late == 2
    assert len(read_run(tmp_path / "run").predictions) == 40


def test_another_model_that_answers_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer(lambda body, before: raw(model="cheap-model", content=GOOD)) as server:
        asked = judge(server, tmp_path)
        asked.judge([pair(3), pair(250)])
        asked.judge([pair(4)])
        judge(server, tmp_path, cache=tmp_path / "other.jsonl").judge([pair(4)])
    assert asked.notes[1:] == ("big was asked, but cheap-model answered.",)
    assert caplog.text.count("but cheap-model answered") == 2


def test_what_is_learned_meanwhile_stands_in_the_run_and_its_report(tmp_path: Path, lamp: Benchmark) -> None:
    with ChatServer(lambda body, before: raw(model="cheap-model", content=GOOD)) as server:
        for limit in (3, 6):  # a resumed run says it once
            run = Run(tmp_path / "run", judge(server, tmp_path), lamp, limit=limit)
            list(run.predict())
            assert read_run(tmp_path / "run").settings.notes.count("big was asked, but cheap-model answered.") == 1
            assert run.settings.notes[-1] == "big was asked, but cheap-model answered."


def test_two_judges_share_the_default_file_of_answers(tmp_path: Path) -> None:
    entered = threading.Barrier(2, timeout=20)

    def both(body: dict[str, Any], before: int) -> Act:
        if len(server.bodies) <= 2:
            entered.wait()  # each holds its file at this moment
        return by_colour(body, before)

    with ChatServer(both) as server:
        judges = [HostedJudge(server.url, "big") for _ in range(2)]
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(lambda one, red: one.judge([pair(red)])[0].response, judges, (3, 250)))
        again = HostedJudge(server.url, "big").judge([pair(3), pair(250)])
    assert said == [GOOD, BAD] == [judgement.response for judgement in again]
    assert len(server.bodies) == 2


def test_nothing_is_paid_twice(tmp_path: Path) -> None:
    prices = Prices(2.0, 10.0)
    with ChatServer(by_colour) as server:
        first = judge(server, tmp_path, prices=prices)
        said = first.judge([pair(3), pair(250), pair(3)])
        second = judge(server, tmp_path, prices=prices)
        again = second.judge([pair(250), pair(3), pair(4)])
        assert server.paid.total() == 3
        changed = [
            judge(server, tmp_path).judge([PicturePair((shade(8),), shade(3))]),
            HostedJudge(server.url, "bigger", cache=tmp_path / "answers.jsonl").judge([pair(3)]),
        ]
        assert (server.paid.total(), len(changed)) == (5, 2)
    assert [one.score for one in again[:2]] == [said[1].score, said[0].score]
    assert (first.ledger.paid.answers, first.ledger.paid.cost) == (2, pytest.approx(2 * (200 + 200) / 1e6))
    assert (second.ledger.paid.answers, second.ledger.recalled.answers) == (1, 2)
    assert second.receipt().startswith("paid: 1 answer (100 input and 20 output tokens, cost 0.0004); already in ")


def refusing(*names: str, words: str = "") -> Any:
    """Refuses requests with these fields."""

    def act(body: dict[str, Any], before: int) -> Act:
        faults = [name for name in names if name in body]
        said = words or f"Unsupported parameter: '{faults[0] if faults else ''}' is not supported with this model."
        return (
            Act("status", json.dumps({"error": {"message": said}}), status=400) if faults else by_colour(body, before)
        )

    return act


@pytest.mark.parametrize(
    ("names", "words", "left"),
    [
        (["logprobs"], "", {"temperature", "max_completion_tokens"}),
        (["temperature"], "", {"max_completion_tokens", "logprobs", "top_logprobs"}),
        (["temperature", "logprobs"], "", {"max_completion_tokens"}),
        (["max_completion_tokens"], "max_tokens is too large: 4096", {"temperature", "logprobs", "top_logprobs"}),
        (["temperature"], "Request contains an invalid argument.", set()),
        (["max_completion_tokens"], "maximum context length is 4096", {"temperature", "logprobs", "top_logprobs"}),
        (["top_logprobs"], "Request contains an invalid argument.", {"temperature"}),
    ],
)
def test_what_the_service_does_not_take_is_left_out(
    tmp_path: Path, names: list[str], words: str, left: set[str]
) -> None:
    with ChatServer(refusing(*names, words=words)) as server:
        asked = judge(server, tmp_path, concurrency=1)
        found = asked.judge([pair(3), pair(250), pair(4)])
    assert [one.response for one in found] == [GOOD, BAD, GOOD]
    assert [one.score is not None for one in found] == ["logprobs" in left] * 3
    assert [set(body) - {"model", "messages"} for body in server.bodies[-2:]] == [left, left]  # learned once
    assert server.paid.total() == 3
    assert set(OPTIONAL) - left == set(asked.receipt().partition("does not take ")[2].split(", "))


def test_fewer_alternatives_where_twenty_are_too_many(tmp_path: Path) -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        many = body.get("top_logprobs", 0) > 5
        return Act("status", "top_logprobs must be at most 5", status=400) if many else by_colour(body, before)

    with ChatServer(act) as server:
        found = judge(server, tmp_path, concurrency=1).judge([pair(3), pair(4)])
    assert all(one.score is not None for one in found)
    assert [body["top_logprobs"] for body in server.bodies] == [20, 5, 5]


def test_a_refused_picture_is_that_pictures_fault(tmp_path: Path) -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        red = pictures(body)[-1].getpixel((0, 0))[0]  # type: ignore[index]
        return Act("status", "content policy", status=400) if red > 240 else by_colour(body, before)

    with ChatServer(act) as server:
        asked = judge(server, tmp_path, concurrency=1)
        with pytest.raises(ServiceError, match=r"status 400: .*content policy \(it has answered nothing so far\)"):
            asked.judge([pair(250)])
        with pytest.raises(InputError, match="status 400: the request is refused: content policy"):
            asked.judge([pair(3), pair(250), pair(5)])
        assert server.paid.total() == 2  # the others were answered, and are kept


FINAL = {
    "wrong key": (Act("status", status=401), "the key in the variable LAD_SERVER_KEY is refused"),
    "no such model": (Act("status", "no", status=404), "no model 'big' there"),
    "out of patience": (Act("status", status=500), "given up after 0 s of patience"),
}


@pytest.mark.parametrize(("act", "said"), FINAL.values(), ids=FINAL)
def test_what_fails_for_all_ends_the_run_and_judges_nothing(
    tmp_path: Path, lamp: Benchmark, act: Act, said: str
) -> None:
    with ChatServer(lambda body, before: act) as server, pytest.raises(MachineError, match=said):
        asked = judge(server, tmp_path, patience=0.2)
        list(Run(tmp_path / "run", asked, lamp).predict())
    assert not (tmp_path / "run/predictions.jsonl").exists()


@pytest.fixture
def lamp(tmp_path: Path) -> Benchmark:
    """Forty queries, no two of the same colour."""
    return open_benchmark("folder", lamps(tmp_path / "lamps", good=20, bad=20))


def test_the_file_of_answers_is_one_runs(tmp_path: Path) -> None:
    with ChatServer(by_colour) as server:
        asked = judge(server, tmp_path)
        with (
            FileLock(tmp_path / "answers.jsonl.lock"),
            pytest.raises(MachineError, match="another process is using it"),
        ):
            asked.judge([pair(3)])
        with pytest.raises(InputError, match=r"^budget: needs prices, "):
            judge(server, tmp_path, budget=1.0)
        with pytest.raises(InputError, match=r"^-M budget: needs -M prices=IN,OUT"):
            load_hosted("big", server=server.url, budget=1.0)
        for budget in (-1.0, math.nan):
            with pytest.raises(InputError, match=f"budget is {budget:g}; give at least 0"):
                judge(server, tmp_path, prices=Prices(1.0, 1.0), budget=budget)
        (tmp_path / "answers.jsonl").write_text("{}\n")
        with pytest.raises(MachineError, match=r"answers.jsonl:1: key"):
            asked.judge([pair(3)])
    assert server.bodies == []
    with pytest.raises(InputError, match="must begin with http"):
        HostedJudge("localhost:8000", "big")
    for concurrency in (0, -1):  # batches without a pair would never end
        with pytest.raises(InputError, match=f"concurrency is {concurrency}; give at least 1"):
            HostedJudge("http://localhost:1/v1", "big", concurrency=concurrency)


def test_a_spent_budget_ends_the_run_and_more_goes_on(tmp_path: Path, lamp: Benchmark) -> None:
    cost = (100 * 2.0 + 20 * 10.0) / 1e6
    with ChatServer(by_colour) as server:
        poor = judge(server, tmp_path, prices=Prices(2.0, 10.0), budget=10.5 * cost, concurrency=1)
        with pytest.raises(MachineError, match=r"the budget of 0.0042 is spent .*give more with -M budget="):
            list(Run(tmp_path / "run", poor, lamp).predict())
        assert server.paid.total() == 11
        rich = judge(server, tmp_path, prices=Prices(2.0, 10.0), budget=1.0)
        list(Run(tmp_path / "run", rich, lamp).predict())
        assert server.paid.total() == 40
    assert max(server.paid.values()) == 1
    assert len(read_run(tmp_path / "run").predictions) == 40


def test_a_budget_covers_what_earlier_starts_of_the_run_paid(tmp_path: Path, lamp: Benchmark) -> None:
    cost = (100 * 2.0 + 20 * 10.0) / 1e6
    with ChatServer(by_colour) as server:
        for _ in range(3):
            poor = judge(server, tmp_path, prices=Prices(2.0, 10.0), budget=10.5 * cost, concurrency=1)
            with pytest.raises(MachineError, match=r"the budget of 0\.0042 is spent \(0\.0044\); give more"):
                list(Run(tmp_path / "run", poor, lamp).predict())
        assert server.paid.total() == 11
        assert "answers.jsonl: 11 answers (1100 input and 220 output tokens, cost 0.0044)" in poor.receipt()


def test_a_service_that_does_not_count_is_paid_by_an_estimate(tmp_path: Path) -> None:
    with ChatServer(by_colour, usage="none") as server:
        poor = judge(server, tmp_path, prices=Prices(1000.0, 1000.0), budget=0.001, concurrency=1)
        with pytest.raises(MachineError, match=r"the budget of 0\.001 is spent"):
            poor.judge([pair(3), pair(4)])
    assert len(server.bodies) == 1
    assert poor.ledger.paid.input_tokens > 20 and poor.ledger.paid.output_tokens == len(GOOD) // 4
    assert "big does not say how many tokens it uses: they are estimated." in poor.notes


def without_seconds(run: Path) -> list[dict[str, Any]]:
    lines = [line.model_dump(exclude={"verdict": {"seconds"}}) for line in read_run(run).predictions]
    return sorted(lines, key=lambda line: str(line["pair"]["query"]))


def test_an_evaluation_with_a_third_of_the_requests_failing_loses_nothing(tmp_path: Path, lamp: Benchmark) -> None:
    with ChatServer(by_colour) as server:
        list(Run(tmp_path / "calm", judge(server, tmp_path), lamp).predict())
    with ChatServer(faulty(by_colour)) as server:
        asked = judge(server, tmp_path, cache=tmp_path / "other.jsonl", timeout=0.4, patience=60.0)
        list(Run(tmp_path / "stormy", asked, lamp).predict())
    assert without_seconds(tmp_path / "stormy") == without_seconds(tmp_path / "calm")
    assert not any(line["error"] for line in without_seconds(tmp_path / "calm"))
    assert len({line["verdict"]["score"] for line in without_seconds(tmp_path / "calm")}) > 20
    assert list(server.paid.values()) == [1] * 40
    assert {"429", "500", "hang"} <= server.acts.keys()
    assert server.acts.total() >= 50
    assert server.most_busy > 1


def test_a_server_that_stops_halfway_is_gone_on_with(tmp_path: Path, lamp: Benchmark) -> None:
    def until_twenty(body: dict[str, Any], before: int) -> Act:
        return by_colour(body, before) if server.paid.total() < 20 else Act("drop")

    with ChatServer(until_twenty) as server:
        asked = judge(server, tmp_path, patience=0.3)
        with pytest.raises(ServiceError, match="given up after"):
            list(Run(tmp_path / "run", asked, lamp).predict())
        paid = server.paid.total()
        kept = {exchange.key for exchange in read_records(tmp_path / "answers.jsonl", Exchange)}
        assert 20 <= paid == len(kept) < 40
        server.behave = by_colour
        run = Run(tmp_path / "run", judge(server, tmp_path), lamp)
        assert 16 <= run.done <= paid  # a batch of sixteen at least
        list(run.predict())
        assert server.paid.total() == 40  # what was answered before is not paid again
    assert len({line.pair.query for line in read_run(tmp_path / "run").predictions}) == 40


def test_a_service_that_was_given_up_is_not_waited_for_again(tmp_path: Path) -> None:
    silent = True

    def act(body: dict[str, Any], before: int) -> Act:
        return Act("drop") if silent else by_colour(body, before)

    with ChatServer(act) as server:
        asked = judge(server, tmp_path, patience=0.5)
        for _ in range(2):
            tried = len(server.bodies)
            with pytest.raises(ServiceError, match="given up after"):
                asked.judge([pair(3)])
        assert len(server.bodies) == tried + 1 > 3
        silent = False
        assert asked.judge([pair(3)])[0].response == GOOD
        silent, tried = True, len(server.bodies)
        with pytest.raises(ServiceError, match="given up after 0 s"):
            asked.judge([pair(4)])
        assert len(server.bodies) > tried + 2  # it was there in between


def test_inspector_and_load_model(tmp_path: Path) -> None:
    with ChatServer(by_colour) as server:
        inspector = Inspector(load_model("big", server=server.url), [Image.linear_gradient("L").resize((32, 24))])
        query = Image.new("RGB", (32, 24), (204, 90, 160))
        query.paste((0, 0, 0), (16, 12, 32, 24))
        verdict = inspector.inspect(query)
        with_boxes = load_model("big", server=server.url, evidence=True)
    assert (verdict.answer, verdict.model, verdict.tokens) == ("yes", "big", 20)
    assert (tmp_path / "cache/lad-reasoner/answers.jsonl").is_file()
    assert with_boxes.notes[-1] == "Map and boxes come from evidence, everything else from big."
    with pytest.raises(InputError, match="--server: say with --model which model of the service; evidence is no such"):
        load_model(server="http://localhost:1/v1")
    assert isinstance(load_model("micro", server="http://localhost:1/v1"), HostedJudge)  # what the service calls so
    with pytest.raises(InputError, match="big: no option votes; it takes server, cache, prices, budget, concurrency"):
        load_model("big", server="http://localhost:1/v1", votes=3)


def test_a_hung_request_has_time_for_a_second_try() -> None:
    defaults = {name: parameter.default for name, parameter in signature(HostedJudge.__init__).parameters.items()}
    assert defaults["patience"] > 2 * defaults["timeout"] > 0


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lad_reasoner.remote.client", raising=False)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e \".+\[hosted\]\""):
        HostedJudge("http://localhost:1/v1", "big")


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, args)], capture_output=True, text=True, env={**os.environ, "COLUMNS": "120", **environment}
    )


def test_the_verbs(tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps")
    options = ["eval", "--benchmark", "folder", "--root", root, "--model", "big", "--out", tmp_path / "run"]
    with ChatServer(by_colour) as server:
        done = call(*options, "--server", server.url, "-M", "prices=2,10", "-M", "concurrency=3")
        assert done.returncode == 0, done.stderr
        assert "paid: 7 answers (700 input and 140 output tokens, cost 0.0028); already in" in done.stderr
        assert len(list(read_records(tmp_path / "run/answers.jsonl", Exchange))) == 7
        assert server.most_busy <= 3
        good = root / "lamp/train/good/000.png"
        asked = ["inspect", "--model", "big", "--server", server.url, "--reference", good, root / "lamp/test", "--json"]
        for paid in (14, 14):
            done = call(*asked)
            assert done.returncode == 0, done.stderr
            assert server.paid.total() == paid
    verdicts = [Verdict.model_validate_json(line) for line in done.stdout.splitlines()]
    assert [verdict.answer for verdict in verdicts] == ["no"] * 7
    assert "paid: 0 answers (0 input and 0 output tokens); already in" in done.stderr
    assert len(read_run(tmp_path / "run").predictions) == 7
    assert read_run(tmp_path / "run").settings.notes[0].startswith(f"big was asked at {server.url};")
    refused = call(*options[:-1], tmp_path / "other", "--server", "http://127.0.0.1:9/v1", "-M", "prices=cheap")
    assert refused.returncode == 1
    assert "prices cheap: give two numbers with a comma" in refused.stderr


@pytest.mark.parametrize("flags", [(), ("--fail-on-anomaly",), ("--json",)], ids=str)
def test_invalid_answers_are_not_judged(tmp_path: Path, flags: tuple[str, ...]) -> None:
    root = lamps(tmp_path / "lamps", good=2, bad=3)
    options = ["--reference", root / "lamp/train/good/000.png", "--out", tmp_path / "out"]
    with ChatServer(lambda body, before: raw("length", content=None, reasoning_content="I look …")) as server:
        done = call("inspect", "--model", "big", "--server", server.url, *options, root / "lamp/test", *flags)
        cut = call("inspect", "--model", "big", "--server", server.url, *options, root / "lamp/test", *flags)
    assert (done.returncode, cut.returncode) == (1, 1)
    assert len(server.bodies) == 10
    assert "5 responses were cut off at the limit of 4096 tokens; give more with -M max_tokens=…" in done.stderr
    if flags == ("--json",):
        assert "5 of 5 queries were not judged: no valid answer" in done.stderr
        assert [Verdict.model_validate_json(line).answer for line in done.stdout.splitlines()] == ["invalid"] * 5
    else:
        assert "0 judged, 0 anomalous, 5 not judged (5 without a valid answer)" in done.stdout
    assert "0 judged, 0 anomalous, 5 not judged" in (tmp_path / "out/report.html").read_text()


def test_an_inspection_that_stops_has_its_receipt_and_what_it_learned(tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps", good=2, bad=2)
    command = ["inspect", "--model", "big", "--reference", root / "lamp/train/good/000.png", "--out", tmp_path / "out"]

    def once(body: dict[str, Any], before: int) -> Act:
        if len(server.bodies) > 1:
            return Act("status", status=402)
        return raw(model="cheap-model", content=GOOD)

    with ChatServer(once) as server:
        done = call(*command, root / "lamp/test", "--server", server.url, "-M", "concurrency=1")
    assert done.returncode == 1
    assert "status 402: the account cannot pay" in done.stderr.splitlines()[-1]
    assert "paid: 1 answer (" in done.stderr
    assert "big was asked, but cheap-model answered." in (tmp_path / "out/report.html").read_text()


def test_seconds_are_an_option_of_the_judge(tmp_path: Path) -> None:
    with ChatServer(lambda body, before: Act("hang", "0.5")) as server:
        late = load_model("big", server=server.url, timeout="0.1", patience="0.2", cache=tmp_path / "a.jsonl")
        with pytest.raises(ServiceError, match=r"no answer within 0\.1 s; given up after 0 s of patience; a slow"):
            late.judge([pair(3)])
    for option in ("timeout", "patience"):
        for seconds in (0, -1, math.nan, math.inf):
            with pytest.raises(InputError, match=f"{option} is {seconds:g}; give seconds above 0, at most 86400"):
                HostedJudge("http://localhost:1/v1", "big", **{option: seconds})


def test_an_evaluation_that_judged_nothing_ends_with_one(tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps", good=1, bad=2)
    options = ["eval", "--benchmark", "folder", "--root", root, "--model", "big", "--out", tmp_path / "run"]
    with ChatServer(lambda body, before: raw("length", content=None)) as server:
        done = call(*options, "--server", server.url)
    assert done.returncode == 1
    assert "3 responses were cut off at the limit of 4096 tokens" in done.stderr
    assert done.stderr.endswith("run: nothing was judged: no response has a valid answer\n")
    assert (tmp_path / "run/report.html").is_file()


@pytest.mark.parametrize("text", ["data: {}\n\ndata: [DONE]\n\n", "<html>Sign in</html>", '{"error": {"code": 502}}'])
def test_an_evaluation_of_what_is_no_completion_ends_soon(tmp_path: Path, text: str) -> None:
    root = lamps(tmp_path / "lamps", good=1, bad=2)
    options = ["eval", "--benchmark", "folder", "--root", root, "--model", "big", "--out", tmp_path / "run"]
    with ChatServer(lambda body, before: Act("raw", text)) as server:
        done = call(*options, "--server", server.url)
    assert done.returncode == 1
    assert len(server.bodies) <= 2 * 3 + 1
    assert text.split()[0] in done.stderr.splitlines()[-1]
    assert "patience" not in done.stderr


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps", good=1, bad=1)
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    with ChatServer(
        lambda body, before: Act("status", "busy", status=429) if not before else raw(content=BAD)
    ) as server:
        options = ["--reference", root / "lamp/train/good/000.png", root / "lamp/test", "--json"]
        done = run("inspect", "--model", "big", "--server", server.url, *options, **proxies)
    assert done.returncode == 0, done.stderr
    assert "status 429: busy; trying again in" in done.stderr


def test_micro_behind_a_failing_server_says_what_it_says_here(tmp_path: Path) -> None:
    benchmark = open_benchmark("miniloco")
    with ChatServer(faulty(by_micro)) as server:
        asked = judge(server, tmp_path, timeout=3.0, patience=60.0, concurrency=2)
        list(Run(tmp_path / "run", asked, benchmark, limit=4).predict())
        shown = {json.dumps(body["messages"]): pictures(body) for body in server.bodies}
    lines = read_run(tmp_path / "run").predictions
    assert len(lines) == len(shown) == len(server.paid) == 4
    assert server.acts.total() > 4
    here = {reply.text: reply.score for reply in micro().respond(list(shown.values()))}
    assert {line.verdict.response for line in lines} == set(here)
    assert all(line.verdict.score == pytest.approx(here[line.verdict.response], abs=1e-4) for line in lines)
    assert all(line.scored and line.verdict.answer != "invalid" for line in lines)


MISSING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"`transformers serve` needs {', '.join(MISSING)}")
def test_transformers_serve_behind_failures_loses_nothing(tmp_path: Path) -> None:
    """`transformers serve` with micro, and a proxy before it that fails a third of the requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script, log = Path(__file__).parents[1] / "helpers/serve_model.py", (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, script, BUILT_IN["micro"], str(port)], stdout=log, stderr=subprocess.STDOUT
    )

    def forward(body: dict[str, Any], before: int) -> Act:
        sent = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return Act("raw", answer.read().decode())

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except (urllib.error.URLError, TimeoutError):
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        with ChatServer(faulty(forward, silence=9.0)) as server:
            asked = HostedJudge(
                server.url,
                str(BUILT_IN["micro"]),
                cache=tmp_path / "a.jsonl",
                timeout=8,
                patience=60,
                backoff=0.05,
                concurrency=2,  # the service answers one after the other: more would only wait, and be asked again
            )
            lines = list(Run(tmp_path / "run", asked, open_benchmark("miniloco"), limit=10).predict())
    finally:
        process.terminate()
        process.wait(20)
        log.close()
    assert len({line.pair.query for line in lines}) == 10
    assert server.acts["raw"] == 10 < server.acts.total()
    assert [line.verdict.answer in ("yes", "no") for line in lines] == [True] * 10
    assert all(line.verdict.reasoning.startswith("Reference to query: ") and line.verdict.tokens > 5 for line in lines)
    assert not any(line.scored for line in lines)  # it ignores the parameter `logprobs`
    assert measure_run(lines, resamples=0).pooled.auroc.value is None
    assert isinstance(lines[0], Prediction)


def test_a_file_of_forms_that_nobody_can_read_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "answers.grammar.json").write_text('{"a": ' * 100_000)
    with ChatServer(by_colour) as server:
        assert judge(server, tmp_path).judge([pair(3)])[0].response == GOOD


def test_the_default_place_of_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert hosted.default_cache() == tmp_path / "cache/lad-reasoner/answers.jsonl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hosted.default_cache() == tmp_path / ".cache/lad-reasoner/answers.jsonl"
