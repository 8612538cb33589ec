"""The teacher behind a service: cache, budget, estimate, malformed answers; against a real server on a real socket."""

import base64
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from pydantic import BaseModel

from helpers.chat_server import PAGE, Act, ChatServer
from helpers.teaching import (
    GOOD,
    KEY,
    THOUSAND,
    Description,
    always,
    answers,
    question,
    teacher,
    thousand,
    thousand_questions,
)
from lad_reasoner.data.sets.answer_check import reason_of
from lad_reasoner.data.teachers import remote as remote_teacher
from lad_reasoner.data.teachers.teacher import Answered, Teacher, Unanswered
from lad_reasoner.errors import InputError, MachineError, MissingExtraError, ServiceError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.remote import ledger
from lad_reasoner.remote.ledger import UNFINISHED, Exchange
from lad_reasoner.remote.prices import Bill, Prices


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LAD_TEACHER_KEY", KEY)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "screw.png"
    Image.new("RGB", (300, 250), "orange").save(path)
    return path


def test_reply_bill_and_what_is_sent(tmp_path: Path, picture: Path) -> None:
    with ChatServer(always(GOOD)) as server:
        asked: Teacher = teacher(server.url, tmp_path, prices=Prices(2.0, 10.0), settings={"temperature": 0.5})
        ((index, reply),) = asked.ask_many([question(picture)])
    assert index == 0
    assert isinstance(reply, Answered)
    assert reply.content == Description(anomalous=True, description="A screw is missing.")
    assert (reply.model, reply.complaints) == ("tiny-001", ())
    assert asked.paid == Bill(answers=1, input_tokens=100, output_tokens=20, cost=pytest.approx(0.0004))
    assert asked.recalled == Bill(cost=0.0)
    (body,) = server.bodies
    assert (body["model"], body["temperature"]) == ("tiny", 0.5)
    assert body["response_format"]["json_schema"]["schema"] == Description.model_json_schema()
    image, text, form = body["messages"][0]["content"]
    assert image["type"] == "image_url"
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text["text"] == "What is wrong?"
    assert json.dumps(Description.model_json_schema()) in form["text"]


def test_pictures_are_sent_upright_and_without_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    exif[0x010E] = "workshop of a customer"
    Image.new("RGB", (60, 30), "red").save(tmp_path / "turned.jpg", exif=exif)
    part = remote_teacher._encode(tmp_path / "turned.jpg")
    with Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1]))) as image:
        assert image.size == (30, 60)
        assert not image.getexif()


def test_values_of_twelve_bits_are_sent_as_inspection_sees_them(tmp_path: Path) -> None:
    grey = np.full((32, 32), 2048, np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    with ChatServer(always(GOOD)) as server:
        asked = [question(tmp_path / "deep.png", depth=depth) for depth in (None, 12)]
        answers(teacher(server.url, tmp_path, concurrency=1), asked)
    assert len(server.bodies) == 2  # an answer about the dark picture is not taken for the other
    values = []
    for body in server.bodies:
        data = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
        values.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).max())
    assert values == [pytest.approx(8, abs=2), pytest.approx(128, abs=2)]


def test_nothing_is_paid_twice(tmp_path: Path, picture: Path) -> None:
    requests = [question(picture, f"Question {i % 5}") for i in range(20)]  # each of five comes four times
    with ChatServer(always(GOOD)) as server:
        first, second = (teacher(server.url, tmp_path, prices=Prices(1, 1)) for _ in range(2))
        assert all(isinstance(outcome, Answered) for outcome in answers(first, requests))
        assert all(isinstance(outcome, Answered) for outcome in answers(second, requests))
        assert all(isinstance(outcome, Answered) for outcome in answers(second, requests))
    assert set(server.paid.values()) == {1}
    assert (first.paid.answers, first.recalled.answers) == (5, 0)
    assert (second.paid.answers, second.recalled.answers) == (0, 5)
    assert second.recalled.cost == pytest.approx(first.paid.cost)


def test_everything_that_an_answer_depends_on_is_in_the_key(tmp_path: Path, picture: Path) -> None:
    class Other(BaseModel):
        description: str

    with ChatServer(always(GOOD)) as server:
        answers(teacher(server.url, tmp_path), [question(picture)])
        same = shutil.copy(picture, tmp_path / "another_name.png")
        answers(teacher(server.url, tmp_path), [question(Path(same))])
        assert len(server.bodies) == 1
        answers(teacher(server.url, tmp_path), [question(picture, "What else?")])
        answers(teacher(server.url, tmp_path), [question(picture, prompt_version="sft-2")])
        answers(teacher(server.url, tmp_path), [question(picture, schema=Other)])
        answers(teacher(server.url, tmp_path, settings={"temperature": 1}), [question(picture)])
        Image.new("RGB", (300, 250), "blue").save(picture)
        answers(teacher(server.url, tmp_path), [question(picture)])
    assert len(server.bodies) == 6


MALFORMED = {
    "HTML": (PAGE.decode(), "it holds no JSON object"),
    "no JSON": ("I see a screw.", "it holds no JSON object"),
    "cut off": ('{"anomalous": true, "descr', "it holds no JSON object"),
    "a field is missing": ('{"anomalous": true}', "description: Field required"),
    "a field too many": (GOOD[:-1] + ', "hint": 1}', "hint: Extra inputs are not permitted"),
    "a list": ("[1]", "it holds no JSON object"),
    "wrong kind": (
        GOOD.replace("true", '"perhaps"'),
        "anomalous: Input should be a valid boolean, unable to interpret",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_asked_for_again_with_the_complaint(
    tmp_path: Path, picture: Path, text: str, complaint: str
) -> None:
    with ChatServer(lambda body, before: Act("answer", GOOD if len(body["messages"]) > 1 else text)) as server:
        (reply,) = answers(teacher(server.url, tmp_path), [question(picture)])
    assert isinstance(reply, Answered)
    assert reply.complaints[0].startswith(complaint)
    _, said, again = server.bodies[1]["messages"]
    assert said == {"role": "assistant", "content": text or "(nothing)"}
    assert reply.complaints[0] in again["content"]


def test_an_answer_that_reached_the_token_limit_is_called_cut_off(tmp_path: Path, picture: Path) -> None:
    limit = lambda body, before: Act("answer", GOOD[:-1] + ", {}", headers={"finish": "length"})  # noqa: E731
    with ChatServer(limit) as server:
        (outcome,) = answers(teacher(server.url, tmp_path, attempts=1), [question(picture)])
    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "service"
    assert outcome.error == (
        f"{server.url}: the response was cut off at the token limit; give more with --teacher-tokens"
    )


@pytest.mark.parametrize("finish", ["content_filter", "tool_calls", "refusal"])
def test_what_is_final_is_paid_once_and_counted(tmp_path: Path, picture: Path, finish: str) -> None:
    message = {"content": None, **({"refusal": "I cannot help."} if finish == "refusal" else {})}
    choice = {"message": message, "finish_reason": "stop" if finish == "refusal" else finish}
    body = {"model": "tiny", "choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 3}}
    with ChatServer(lambda asked, before: Act("raw", json.dumps(body))) as server:
        (outcome,) = answers(teacher(server.url, tmp_path), [question(picture)])
        again = teacher(server.url, tmp_path)
        (later,) = answers(again, [question(picture)])
    assert isinstance(outcome, Unanswered) and isinstance(later, Unanswered)
    assert outcome.reason == later.reason == "malformed", "nothing is left to ask"
    assert outcome.error == later.error == reason_of(outcome.complaints[0]) == UNFINISHED[finish]
    assert len(server.bodies) == 1
    assert (again.paid.input_tokens, again.recalled.input_tokens) == (0, 100)


def test_a_cut_off_answer_is_asked_again_by_the_next_run(tmp_path: Path, picture: Path) -> None:
    cut = Act("answer", GOOD[:-9], headers={"finish": "length"})
    with ChatServer(lambda body, before: cut if before == 0 else Act("answer", GOOD)) as server:
        (outcome,) = answers(teacher(server.url, tmp_path), [question(picture)])
        again = teacher(server.url, tmp_path)
        (reply,) = answers(again, [question(picture)])
    assert isinstance(outcome, Unanswered) and isinstance(reply, Answered)
    assert (again.paid.answers, again.paid.output_tokens, again.recalled.answers) == (1, 20, 0)
    assert again.recalled.output_tokens == 20


def test_an_empty_answer_is_tried_again_and_is_not_lost(tmp_path: Path, picture: Path) -> None:
    with ChatServer(lambda body, before: Act("answer", "" if before < 2 else GOOD)) as server:
        (reply,) = answers(teacher(server.url, tmp_path), [question(picture)])
    assert isinstance(reply, Answered)
    assert reply.complaints == ()
    assert server.bodies[0] == server.bodies[2]


def test_a_service_that_only_gives_empty_answers_fails(tmp_path: Path) -> None:
    requests = [question(None, str(i)) for i in range(3)]
    with ChatServer(always("")) as server:
        outcomes = answers(teacher(server.url, tmp_path, patience=0.2), requests)
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Unanswered)} == {"service"}
        server.behave = always(GOOD)
        assert all(isinstance(outcome, Answered) for outcome in answers(teacher(server.url, tmp_path), requests))


@pytest.mark.parametrize("words", ["This response_format type is unavailable now", "invalid argument"])
def test_a_service_that_rejects_the_response_format_is_asked_without(tmp_path: Path, words: str) -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        refusal = Act("status", json.dumps({"error": {"message": words}}), status=400)
        return refusal if "response_format" in body else Act("answer", GOOD)

    with ChatServer(act) as server:
        requests = [question(None, str(i)) for i in range(4)]
        assert all(isinstance(o, Answered) for o in answers(teacher(server.url, tmp_path, concurrency=1), requests))
        assert ["response_format" in body for body in server.bodies] == [True, False, False, False, False]
        assert all(isinstance(o, Answered) for o in answers(teacher(server.url, tmp_path), requests))
    assert server.paid.total() == 4


def test_the_last_words_of_a_failing_service_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer(lambda body, before: Act("status", "no pictures today", status=400)) as server:
        answers(teacher(server.url, tmp_path), [question(None, str(i)) for i in range(5)])
    assert caplog.text.count("no pictures today") == 1


def test_an_empty_account_stops_the_teacher_and_the_next_start_asks_the_rest(tmp_path: Path) -> None:
    requests = [question(None, str(i)) for i in range(20)]
    dry = Act("status", '{"error": {"message": "Insufficient Balance"}}', status=402)
    with ChatServer(lambda body, before: Act("answer", GOOD) if len(server.bodies) <= 5 else dry) as server:
        with pytest.raises(InputError, match="status 402: the account cannot pay: Insufficient Balance"):
            answers(teacher(server.url, tmp_path), requests)
        server.behave = always(GOOD)
        assert all(isinstance(outcome, Answered) for outcome in answers(teacher(server.url, tmp_path), requests))
    assert server.paid.total() == 20


def test_another_model_that_answers_the_teachers_questions_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"model": "cheap", "choices": [{"message": {"content": GOOD}}]}
    with ChatServer(lambda asked, before: Act("raw", json.dumps(body))) as server:
        answers(teacher(server.url, tmp_path), [question(None, str(i)) for i in range(5)])
    assert caplog.text.count("tiny was asked, but cheap answered") == 1


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"Here it is:\n{GOOD}", f"<think>hm</think>{GOOD}\n"])
def test_text_around_the_json_is_let_pass(tmp_path: Path, picture: Path, text: str) -> None:
    with ChatServer(always(text)) as server:
        (reply,) = answers(teacher(server.url, tmp_path), [question(picture)])
    assert isinstance(reply, Answered)
    assert reply.complaints == ()


def test_malformed_answers_are_bounded_counted_and_paid_once(tmp_path: Path, picture: Path) -> None:
    with ChatServer(always("no idea")) as server:
        first = teacher(server.url, tmp_path)
        (outcome,) = answers(first, [question(picture)])
        assert isinstance(outcome, Unanswered)
        assert outcome.reason == "malformed"
        assert outcome.complaints == ("it holds no JSON object",) * 3
        assert (len(server.bodies), first.paid.answers) == (3, 3)
        more = teacher(server.url, tmp_path, attempts=4)
        assert more.estimate([question(picture)]).expected.answers == 1
        never = teacher(server.url, tmp_path, attempts=3, in_total=True)
        assert never.estimate([question(picture)]).expected.answers == 0
        (outcome,) = answers(never, [question(picture)])
        assert isinstance(outcome, Unanswered) and len(outcome.complaints) == 3
        assert (len(server.bodies), never.paid.answers, never.recalled.answers) == (3, 0, 3)
        (other,) = answers(never, [question(picture, "another question")])
        assert isinstance(other, Unanswered) and len(server.bodies) == 3 + 3


def test_a_question_that_was_given_up_is_asked_again_by_the_next_run(tmp_path: Path, picture: Path) -> None:
    with ChatServer(always("no idea")) as server:
        answers(teacher(server.url, tmp_path, attempts=2), [question(picture)])
        again = teacher(server.url, tmp_path, attempts=2)
        (outcome,) = answers(again, [question(picture)])
        assert isinstance(outcome, Unanswered)
        assert len(outcome.complaints) == 4
        assert (again.recalled.answers, again.paid.answers) == (2, 2)  # nothing is paid twice
        server.behave = always(GOOD)
        third = teacher(server.url, tmp_path, attempts=2)
        (reply,) = answers(third, [question(picture)])
        assert isinstance(reply, Answered)
        assert (third.recalled.answers, third.paid.answers) == (4, 1)
        last = teacher(server.url, tmp_path, attempts=2)
        assert isinstance(answers(last, [question(picture)])[0], Answered)
        assert (last.recalled.answers, last.paid.answers) == (5, 0)


def test_the_limit_of_an_answer_is_sent_and_asks_nothing_again(tmp_path: Path, picture: Path) -> None:
    with ChatServer(always(GOOD)) as server:
        answers(teacher(server.url, tmp_path, max_tokens=700), [question(picture)])
        answers(teacher(server.url, tmp_path, max_tokens=900), [question(picture)])
    (body,) = server.bodies
    assert body["max_completion_tokens"] == 700


def test_facts_are_the_context_of_the_schema_and_never_sent(tmp_path: Path, picture: Path) -> None:
    request = question(picture, facts={"label": False, "hint": "broken_large"})
    calm = json.dumps({"anomalous": False, "description": "All is there."})
    with ChatServer(lambda body, before: Act("answer", calm if len(body["messages"]) > 1 else GOOD)) as server:
        (reply,) = answers(teacher(server.url, tmp_path), [request])
    assert isinstance(reply, Answered)
    assert reply.complaints == ("anomalous: it contradicts the label",)
    assert "broken_large" not in json.dumps(server.bodies)


def test_a_picture_that_cannot_be_read_fails_alone_and_costs_nothing(tmp_path: Path, picture: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:-40])
    requests = [question(tmp_path / "none.png"), question(picture), question(cut)]
    with ChatServer(always(GOOD)) as server:
        absent, reply, damaged = answers(teacher(server.url, tmp_path), requests)
    assert isinstance(reply, Answered)
    assert isinstance(absent, Unanswered) and isinstance(damaged, Unanswered)
    assert (absent.reason, damaged.reason) == ("picture", "picture")
    assert "none.png: No such file" in absent.error
    assert "cut.png" in damaged.error
    assert len(server.bodies) == 1


def test_concurrency_is_limited(tmp_path: Path) -> None:
    def slow(body: dict[str, Any], before: int) -> Act:
        time.sleep(0.02)
        return Act("answer", GOOD)

    with ChatServer(slow) as server:
        answers(teacher(server.url, tmp_path, concurrency=3), [question(None, str(i)) for i in range(30)])
    assert server.most_busy == 3


def test_the_budget_covers_earlier_runs_and_is_passed_only_by_what_is_under_way(tmp_path: Path) -> None:
    requests = [question(None, str(i)) for i in range(40)]
    prices = Prices(1e4, 0.0)  # 100 tokens in: an answer costs 1
    with ChatServer(always(GOOD)) as server:
        answers(teacher(server.url, tmp_path), requests[:5])
        limited = teacher(server.url, tmp_path, prices=prices, budget=12, concurrency=4)
        outcomes = answers(limited, requests)
        done = sum(isinstance(outcome, Answered) for outcome in outcomes)
        assert 12 <= done <= 12 + 3
        assert server.paid.total() == done
        left = [outcome for outcome in outcomes if isinstance(outcome, Unanswered)]
        assert {outcome.reason for outcome in left} == {"budget"}
        assert "the budget of 12 is spent (1" in left[0].error
        more = teacher(server.url, tmp_path, prices=prices, budget=100)
        assert all(isinstance(outcome, Answered) for outcome in answers(more, requests))
    assert (more.paid.answers, more.recalled.answers) == (40 - done, done)
    assert set(server.paid.values()) == {1}


def test_a_budget_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^budget: needs prices, "):
        teacher("http://127.0.0.1/v1", tmp_path, budget=1.0)


def test_estimate_asks_nothing_and_learns_from_the_cache(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "fake.png").write_text("no picture")
    requests = [question(picture, f"Question {i}") for i in range(10)]
    requests += [question(tmp_path / "none.png"), question(tmp_path / "fake.png")]
    with ChatServer(always(GOOD)) as server:
        asked = teacher(server.url, tmp_path / "new", prices=Prices(1.0, 2.0))
        before = asked.estimate(requests)
        assert (before.requests, before.on_disk, before.unreadable, before.expected.answers) == (12, 0, 2, 10)
        assert server.bodies == [] and not (tmp_path / "new").exists()
        assert before.expected.output_tokens == 10 * remote_teacher.ANSWER_TOKENS
        # A picture of 300 x 250 is 100 tokens; the words and the schema come on top.
        assert 1000 < before.expected.input_tokens < 3000
        money = before.expected.input_tokens + 2 * before.expected.output_tokens
        assert before.expected.cost == pytest.approx(money / 1e6)
        answers(asked, requests[:4])
        after = asked.estimate(requests)
    assert (after.on_disk, after.unreadable, after.expected.answers) == (4, 2, 6)
    assert after.expected.output_tokens == 6 * 20  # what answers on disk took
    assert asked.recalled.answers == 0
    assert teacher(server.url, tmp_path / "new").estimate(requests).expected.cost is None


@pytest.mark.parametrize("usage", ["none", {"prompt_tokens": 0, "completion_tokens": 0}])
def test_tokens_are_estimated_where_the_service_does_not_count(
    tmp_path: Path, picture: Path, usage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with ChatServer(always(GOOD), usage=usage) as server:
        asked = teacher(server.url, tmp_path, prices=Prices(1.0, 1.0))
        answers(asked, [question(picture)])
    assert caplog.text.count("tiny does not say how many tokens it uses: they are estimated") == 1
    assert asked.paid.output_tokens == len(GOOD) // 4
    assert 100 < asked.paid.input_tokens < 300
    assert asked.paid.cost == pytest.approx((asked.paid.input_tokens + asked.paid.output_tokens) / 1e6)


def test_a_wrong_key_stops_everything_at_once(tmp_path: Path) -> None:
    with ChatServer(lambda body, before: Act("status", status=401)) as server:
        with pytest.raises(InputError, match="LAD_TEACHER_KEY is refused"):
            answers(teacher(server.url, tmp_path, concurrency=4), [question(None, str(i)) for i in range(200)])
        assert len(server.bodies) < 100


def test_a_service_that_fails_all_is_given_up_and_one_that_fails_some_is_not(tmp_path: Path) -> None:
    def behave(body: dict[str, Any], before: int) -> Act:
        number = int(body["messages"][0]["content"][0]["text"])
        return Act("answer", GOOD) if number < 60 and number % 3 == 0 else Act("status", status=400)

    requests = [question(None, str(i)) for i in range(300)]
    with ChatServer(behave) as server:
        some = teacher(server.url, tmp_path, concurrency=1)
        outcomes = answers(some, requests[:60])
        assert [isinstance(outcome, Answered) for outcome in outcomes] == [i % 3 == 0 for i in range(60)]
        asked = teacher(server.url, tmp_path, concurrency=1)
        with pytest.raises(ServiceError, match=r"status 400.*\(10 requests in a row failed; answers are kept\)"):
            answers(asked, requests)
        assert len(server.bodies) < 150
    assert (asked.recalled.answers, asked.paid.answers) == (20, 0)


def test_when_the_caller_stops_answers_under_way_are_kept(tmp_path: Path) -> None:
    gate = threading.Event()

    def behave(body: dict[str, Any], before: int) -> Act:
        if '"0"' not in json.dumps(body):
            gate.wait(10)
        return Act("answer", GOOD)

    with ChatServer(behave) as server:
        asked = teacher(server.url, tmp_path, concurrency=3)
        running = asked.ask_many([question(None, str(i)) for i in range(50)])
        next(running)
        threading.Timer(0.2, gate.set).start()
        running.close()
        kept = list(read_records(tmp_path / "teacher.jsonl", Exchange))
    assert 1 < len(kept) == server.paid.total() < 10


def test_when_the_caller_stops_nothing_waits_for_another_try(tmp_path: Path) -> None:
    busy = Act("status", status=429, headers={"Retry-After": "20"})
    with ChatServer(lambda body, before: Act("answer", GOOD) if '"0"' in json.dumps(body) else busy) as server:
        running = teacher(server.url, tmp_path, patience=60.0).ask_many([question(None, str(i)) for i in range(50)])
        next(running)
        start = time.monotonic()
        running.close()
        assert time.monotonic() - start < 5
        assert 1 <= len(server.bodies) <= 20


def test_a_second_run_on_the_same_cache_is_refused(tmp_path: Path) -> None:
    with ChatServer(always(GOOD)) as server:
        with (
            FileLock(tmp_path / "teacher.jsonl.lock"),
            pytest.raises(InputError, match=r"teacher\.jsonl: another process is using it"),
        ):
            answers(teacher(server.url, tmp_path), [question(None)])
        assert server.bodies == []
        assert isinstance(answers(teacher(server.url, tmp_path), [question(None)])[0], Answered)


def test_half_a_line_from_a_crash_is_asked_again(tmp_path: Path) -> None:
    with ChatServer(always(GOOD)) as server:
        answers(teacher(server.url, tmp_path), [question(None, str(i)) for i in range(3)])
        path = tmp_path / "teacher.jsonl"
        path.write_bytes(path.read_bytes()[:-30])
        asked = teacher(server.url, tmp_path)
        assert all(isinstance(o, Answered) for o in answers(asked, [question(None, str(i)) for i in range(3)]))
    assert (asked.recalled.answers, asked.paid.answers) == (2, 1)
    assert len(list(read_records(path, Exchange))) == 3


def test_a_full_disk_is_noticed_before_paying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOM", 2**70)
    with ChatServer(always(GOOD)) as server:
        with pytest.raises(MachineError, match=r"teacher\.jsonl: the disk is full"):
            answers(teacher(server.url, tmp_path), [question(None)])
        assert server.bodies == []


FILE_LIMIT = """
import resource, sys
from pathlib import Path
from helpers.teaching import *
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
answers(teacher(sys.argv[1], Path(sys.argv[2]), concurrency=4), [question(None, str(i)) for i in range(40)])
"""


def test_a_write_that_fails_stops_the_run_and_leaves_whole_lines(tmp_path: Path) -> None:
    with ChatServer(always(GOOD)) as server:
        command = [sys.executable, "-c", FILE_LIMIT, server.url, str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        assert "teacher.jsonl: File too large; an answer could not be saved" in ended.stderr
        assert len(server.bodies) < 20
        content = (tmp_path / "teacher.jsonl").read_bytes()
        assert content.endswith(b"\n") and 1 <= content.count(b"\n") < 10
        asked = teacher(server.url, tmp_path)
        assert all(isinstance(o, Answered) for o in answers(asked, [question(None, str(i)) for i in range(40)]))
    assert asked.recalled.answers == content.count(b"\n")


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from helpers.teaching import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the suite runs in the background
for _ in teacher(sys.argv[1], Path(sys.argv[2]), concurrency=4).ask_many([question(None, str(i)) for i in range(400)]):
    pass
"""


@pytest.mark.posix
def test_ctrl_c_keeps_what_is_under_way(tmp_path: Path) -> None:
    def slow(body: dict[str, Any], before: int) -> Act:
        time.sleep(0.1)
        return Act("answer", GOOD) if before else Act("status", status=500)

    with ChatServer(slow) as server:
        server.stop_at = 6
        command = [sys.executable, "-c", INTERRUPTED, server.url, str(tmp_path)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=_environment()) as process:
            assert server.reached.wait(30)
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(5) != 0
            finally:
                process.kill()
        kept = list(read_records(tmp_path / "teacher.jsonl", Exchange))
        assert 6 <= len(kept) == server.paid.total() < 20


def test_the_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lad_reasoner.remote.client", raising=False)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=r"httpx2 is not installed; run: pip install -e \".+\[teacher\]\""):
        answers(teacher("http://127.0.0.1/v1", tmp_path), [question(None)])


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


RUN = """
import sys
from pathlib import Path
from helpers.teaching import *
folder = Path(sys.argv[2])
for _ in thousand(sys.argv[1], folder).ask_many(thousand_questions(folder)):
    pass
"""


def troubled(body: dict[str, Any], before: int, draw: random.Random) -> Act:
    """30 % of the requests go wrong, each in one of nine ways; the draw is the server's own."""
    if draw.random() >= 0.3:
        return Act("answer", GOOD)
    return draw.choices(
        [
            Act("status", status=429, headers={"Retry-After": "0.02"}),
            Act("status", status=500),
            Act("status", status=503),
            Act("drop"),
            Act("half"),
            Act("raw", PAGE.decode()),
            Act("hang", "5"),
            Act("answer", PAGE.decode()),
            Act("answer", GOOD[:30]),
        ],
        [4, 4, 2, 3, 2, 2, 0.4, 2, 2],
    )[0]


@pytest.mark.posix
def test_a_thousand_requests_with_trouble_killed_and_resumed(tmp_path: Path) -> None:
    """None lost, none paid twice: what was on disk when the process was killed is never asked for again."""
    for i in range(7):
        Image.new("RGB", (40, 40), (30 * i, 90, 200 - 20 * i)).save(tmp_path / f"{i}.png")
    draw = random.Random(0)
    with ChatServer(lambda body, before: troubled(body, before, draw)) as server:
        server.stop_at = THOUSAND // 2
        process = subprocess.Popen([sys.executable, "-c", RUN, server.url, str(tmp_path)], env=_environment())
        assert server.reached.wait(200)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        came = -1
        while server.busy or came != server.came.total():  # what was under way comes to its end
            came = server.came.total()
            time.sleep(1.5)
        kept = list(read_records(tmp_path / "teacher.jsonl", Exchange))
        paid_by_then = server.paid.total()
        assert paid_by_then - 8 <= len(kept) <= paid_by_then

        resumed = thousand(server.url, tmp_path)
        outcomes = answers(resumed, thousand_questions(tmp_path))

    assert all(isinstance(outcome, Answered) for outcome in outcomes)  # none lost
    assert resumed.recalled.answers == len(kept)
    assert resumed.paid.answers == server.paid.total() - paid_by_then
    # Paid twice can only be what the kill cut off between the server's last byte and the disk.
    twice = [mark for mark, count in server.paid.items() if count > 1]
    assert len(twice) <= paid_by_then - len(kept) <= 8
    assert max(server.paid.values()) <= 2
    lines = list(read_records(tmp_path / "teacher.jsonl", Exchange))
    assert len({line.key for line in lines}) == len(lines) == len(server.paid)
    wrong = server.acts.total() - server.acts["answer"] + sum(len(outcome.complaints) for outcome in outcomes)
    assert 0.25 < wrong / server.acts.total() < 0.35
    assert {"429", "500", "503", "drop", "half", "raw", "hang"} <= set(server.acts)
    everything = b"".join(path.read_bytes() for path in tmp_path.glob("teacher*"))
    assert KEY.encode() not in everything
