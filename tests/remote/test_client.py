"""The client of a chat service, against a real server on a real socket."""

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from helpers.chat_server import Act, ChatServer
from helpers.plant import WebhookReceiver, certificate
from lad_reasoner.errors import InputError, ServiceError
from lad_reasoner.remote import client
from lad_reasoner.remote.client import ChatService, RefusedError, _seconds
from lad_reasoner.remote.completion import Completion

KEY = "sk-very-secret-0123456789"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "How many screws?"}]}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LAD_TEACHER_KEY", KEY)
    client._last_notice.clear()


def service(url: str, **changes: Any) -> ChatService:
    settings = {"key_variable": "LAD_TEACHER_KEY", "timeout": 5.0, "patience": 5.0, "backoff": 0.01}
    return ChatService(url, **{**settings, **changes})


def ask(server: ChatServer, **changes: Any) -> Completion:
    with service(server.url, **changes) as chat:
        return chat.complete(BODY)


def first(*acts: Act) -> Any:
    """These acts in turn, then an answer."""
    return lambda body, before: acts[before] if before < len(acts) else Act("answer", "two")


def test_a_certificate_that_is_not_trusted_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crt, context = certificate(tmp_path)
    with WebhookReceiver(lambda _: 418, tls=context) as receiver:
        with service(receiver.url) as chat, pytest.raises(InputError, match=r"not trusted .* SSL_CERT_FILE"):
            chat.complete(BODY)
        monkeypatch.setenv("SSL_CERT_FILE", str(crt))
        with service(receiver.url) as chat, pytest.raises(RefusedError, match="status 418"):
            chat.complete(BODY)
    assert not caplog.records
    assert len(receiver.requests) == 1


def test_answer_tokens_and_key() -> None:
    with ChatServer(first(), usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 15}) as server:
        completion = ask(server)
    # 5 tokens of hidden thinking are in the total only, and are charged as output.
    assert completion == Completion(text="two", finish="stop", model="tiny-001", input_tokens=7, output_tokens=8)
    assert server.bodies == [BODY]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("usage", ["none", {}, {"prompt_tokens": -1}, "many", 3, [1]])
def test_an_answer_without_a_usable_bill_is_kept(usage: Any) -> None:
    with ChatServer(first(), usage=usage) as server:
        completion = ask(server)
    assert (completion.text, completion.input_tokens, completion.output_tokens) == ("two", None, None)
    assert server.paid.total() == 1


PASSING = {
    "429": Act("status", status=429),
    "500": Act("status", status=500),
    "503": Act("status", status=503),
    "529": Act("status", status=529),
    "408": Act("status", status=408),
    "dropped": Act("drop"),
    "half a body": Act("half"),
    "a page": Act("raw", "<html>gateway</html>"),
    "nothing": Act("raw", ""),
    "half a JSON": Act("raw", '{"choices": [{"mess'),
    "no choices": Act("raw", '{"choices": []}'),
    "an error as 200": Act("raw", '{"error": {"message": "overloaded"}}'),
    "a list": Act("raw", "[1, 2]"),
}


@pytest.mark.parametrize("act", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(act: Act) -> None:
    def once_answered(body: dict[str, Any], before: int) -> Act:
        return act if body == BODY and before < 2 else Act("answer", "two")

    with ChatServer(once_answered) as server, service(server.url) as chat:
        chat.complete({**BODY, "seed": 1})
        assert chat.complete(BODY).text == "two"
    assert len(server.bodies) == 1 + 3
    assert server.paid.total() == 1 + 1


def test_retries_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer(first(Act("status", "busy", status=429), Act("status", "busy", status=429))) as server:
        ask(server)
    assert caplog.text.count("status 429: busy; trying again in 0 s") == 1  # not again within ten seconds


EVENTS = 'data: {"object": "chat.completion.chunk"}\n\ndata: [DONE]\n\n'
GARBLED = {
    "a stream of events": (EVENTS, "not a chat completion: data: "),
    "a page": ("<html><title>Sign in</title>Company proxy</html>", "not a chat completion: <html>.*Company proxy"),
    "a router's error": (
        '{"error": {"message": "Provider returned error", "code": 502}}',
        "an error with status 200: Provider returned error",
    ),
    "an error without a code": ('{"error": "overloaded"}', "not a chat completion: overloaded"),
}


@pytest.mark.parametrize(("text", "words"), GARBLED.values(), ids=GARBLED)
def test_what_is_no_completion_is_final_at_the_second_time(text: str, words: str) -> None:
    with ChatServer(lambda body, before: Act("raw", text)) as server, pytest.raises(ServiceError, match=words):
        ask(server, patience=60.0)
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("said", "finish"),
    [("MAX_TOKENS", "length"), ("model_length", "length"), ("SAFETY", "content_filter"), ("refusal", "content_filter")],
)
def test_the_end_of_a_response_in_the_words_of_other_services(said: str, finish: str) -> None:
    with ChatServer(lambda body, before: Act("answer", "two", headers={"finish": said})) as server:
        assert ask(server).finish == finish


def test_an_error_in_the_place_of_an_answer_is_tried_again_and_quoted() -> None:
    choice = {"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "Overloaded."}}
    act = Act("raw", json.dumps({"choices": [choice]}))
    with ChatServer(first(act)) as server:
        assert ask(server).text == "two"
    with ChatServer(lambda body, before: act) as server, pytest.raises(ServiceError, match=r"an error: Overloaded\."):
        ask(server)


def test_a_redirect_says_where_it_leads_and_a_large_request_how_to_shrink_it() -> None:
    moved = Act("status", "", status=308, headers={"Location": "/v2/chat/completions"})
    with ChatServer(lambda body, before: moved) as server, pytest.raises(InputError, match="leads to /v2/chat/compl"):
        ask(server)
    large = Act("status", "<html>413 Request Entity Too Large</html>", status=413)
    with (
        ChatServer(lambda body, before: large) as server,
        pytest.raises(ServiceError, match="smaller pictures with --"),
    ):
        ask(server)


def test_an_answer_with_a_byte_order_mark_is_read() -> None:
    answer = {"choices": [{"message": {"content": "two"}, "finish_reason": "stop"}]}
    with ChatServer(lambda body, before: Act("raw", "\ufeff" + json.dumps(answer))) as server:
        assert ask(server).text == "two"


def test_an_error_within_status_200_counts_as_its_code() -> None:
    dry = Act("raw", '{"error": {"message": "More credits are needed", "code": 402}}')
    with ChatServer(lambda body, before: dry) as server, pytest.raises(InputError, match=r"status 402: .* cannot pay"):
        ask(server)
    assert len(server.bodies) == 1


def test_an_empty_answer_is_tried_again_and_its_bill_is_handed_out() -> None:
    discarded: list[Completion] = []
    empty = Act("answer", " \n")
    with ChatServer(first(empty, empty)) as server, service(server.url) as chat:
        assert chat.complete(BODY, discarded.append).text == "two"
    assert [completion.input_tokens for completion in discarded] == [100, 100]


def test_an_empty_answer_at_the_token_limit_is_returned_at_once() -> None:
    with ChatServer(lambda body, before: Act("answer", "", headers={"finish": "length"})) as server:
        assert ask(server).finish == "length"
    assert len(server.bodies) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_for_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ChatServer(first()) as server, service(server.url.replace("127.0.0.1", host)) as chat:
        assert chat.complete(BODY).text == "two"


def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:hush@127.0.0.1:9")
    named = r"\(through the proxy 127.0.0.1:9\)"
    with service("http://models.invalid/v1", patience=0.0) as chat, pytest.raises(ServiceError, match=named) as caught:
        chat.complete(BODY)
    assert "hush" not in str(caught.value)


QUOTES = [KEY[:20], f"{KEY[:5]}***{KEY[-4:]}", f"{KEY[:7]}...", f"Incorrect API key provided: {KEY[:8]}**********6789."]


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 503])
def test_no_part_of_the_key_in_any_message(quote: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    act = Act("status", json.dumps({"error": {"message": f"the key {quote} is wrong"}}), status=status)
    with ChatServer(lambda body, before: act) as server:
        with pytest.raises((InputError, ServiceError)) as caught:
            ask(server, patience=0.0)
        caplog.clear()
        if status == 503:
            with pytest.raises(ServiceError):
                ask(server, patience=0.1)
    for message in (str(caught.value), caplog.text):
        assert not any(KEY[start : start + 5] in message for start in range(len(KEY) - 4))
        assert "6789" not in message
    assert "is wrong" in str(caught.value)


def test_silence_ends_at_the_timeout_and_is_tried_again() -> None:
    with ChatServer(first(Act("hang", "30"))) as server:
        start = time.monotonic()
        assert ask(server, timeout=0.2).text == "two"
        assert time.monotonic() - start < 3


def test_a_header_that_drips_ends_at_the_timeout() -> None:
    with ChatServer(first(Act("drip", "30"))) as server:
        start = time.monotonic()
        assert ask(server, timeout=0.5).text == "two"
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(date: bool) -> None:
    wait = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if date else "0.5"
    with ChatServer(first(Act("status", status=429, headers={"Retry-After": wait}))) as server:
        start = time.monotonic()
        assert ask(server, backoff=0.001).text == "two"
        assert 0.5 <= time.monotonic() - start < 4
    assert len(server.bodies) == 2


def test_retry_after_beyond_the_patience_is_not_waited_for() -> None:
    with ChatServer(first(Act("status", "quota", status=429, headers={"Retry-After": "3600"}))) as server:
        start = time.monotonic()
        with pytest.raises(ServiceError, match="status 429, it asks to wait 3600 s: quota; given up, since"):
            ask(server)
        assert time.monotonic() - start < 2
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-5", "nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"),
        "Mon, 99999999999999999999 Jan 2030 00:00:00 GMT",
    ],
)
def test_retry_after_nonsense_and_past_are_no_wait(text: str) -> None:
    assert _seconds(text) == 0


def test_a_service_that_was_given_up_gets_one_try_and_its_patience_is_told() -> None:
    with ChatServer(lambda body, before: Act("status", status=500)) as server, service(server.url) as chat:
        chat.lost = True
        with pytest.raises(ServiceError, match=r"given up after 5 s of patience$"):
            chat.complete(BODY)
    assert len(server.bodies) == 1


def test_what_helps_a_slow_server_is_told() -> None:
    said = (
        "no answer within 0.1 s; given up after 0 s of patience; a slow server needs a longer timeout, or a lower conc"
    )
    with ChatServer(first(Act("hang", "1"))) as server, pytest.raises(ServiceError, match=said):
        ask(server, timeout=0.1, patience=0.05)


def test_waits_grow_and_patience_ends() -> None:
    with ChatServer(lambda body, before: Act("status", status=500)) as server:
        start = time.monotonic()
        with pytest.raises(ServiceError, match=r"status 500: .*Bad gateway.*; given up after 1 s"):
            ask(server, patience=1.0, backoff=0.02)
        assert time.monotonic() - start < 2
    assert 3 <= len(server.bodies) <= 60  # 0.02 s at first; without growing, about a hundred


FINAL = {
    "401": (Act("status", f"bad key {KEY}", status=401), InputError, "key in the variable LAD_TEACHER_KEY is refused"),
    "403": (Act("status", f"bad key {KEY}", status=403), InputError, "key in the variable LAD_TEACHER_KEY is refused"),
    "404": (
        Act("status", '{"error": {"message": "tiny?\\nunknown"}}', status=404),
        InputError,
        "no model 'tiny' there, or a wrong address .*: tiny\\? unknown",
    ),
    "400": (Act("status", f"key {KEY}: no pictures", status=400), ServiceError, r"refused: key \[key\]: no pictures"),
    "302": (Act("status", status=302, headers={"Location": "https://x.test"}), InputError, "not the address"),
}


@pytest.mark.parametrize(("act", "kind", "words"), FINAL.values(), ids=FINAL)
def test_what_will_not_pass_is_one_line_at_once(act: Act, kind: type[Exception], words: str) -> None:
    with ChatServer(lambda body, before: act) as server, pytest.raises(kind, match=words) as caught:
        ask(server)
    assert len(server.bodies) == 1
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAD_TEACHER_KEY")
    with ChatServer(first(Act("status", status=401))) as server:
        with pytest.raises(InputError, match="the variable LAD_TEACHER_KEY is not set"):
            ask(server)
        assert ask(server).text == "two"
    assert "Authorization" not in server.headers[0]


def test_nobody_listens() -> None:
    with ChatServer(first()) as server:
        pass
    with pytest.raises(ServiceError, match=r"refused.*; given up after 0 s"):
        ask(server, patience=0.3)


@pytest.mark.parametrize("ending", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_address_may_be_written_in_any_usual_way(ending: str) -> None:
    with ChatServer(first()) as server, service(server.url + ending) as chat:
        assert chat.complete(BODY).text == "two"


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "ftp://host", "http://", "http://host:port", f"https://u:{KEY}@h/v1", f"https://h/v1?key={KEY}"],
)
def test_addresses_that_cannot_be_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(InputError, match="the service's URL") as caught:
        service(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-\u201cquoted\u201d", "sk-two\nlines"])
def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(InputError, match="MY_KEY: the key holds characters") as caught:
        service("http://127.0.0.1/v1", key_variable="MY_KEY")
    assert "sk-" not in str(caught.value)


def test_the_key_reaches_no_log_no_error_and_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = lambda body, before: Act("answer", f"you sent {KEY}")  # noqa: E731
    with ChatServer(echo) as server, service(server.url) as chat:
        completion = chat.complete(BODY)
        assert KEY not in repr(chat) + repr(chat._client.headers)
    assert completion.text == "you sent [key]"
    assert caplog.records  # the library does log
    assert KEY not in caplog.text


def test_a_word_in_the_place_of_a_key_does_not_change_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAD_TEACHER_KEY", "none")
    with ChatServer(lambda body, before: Act("answer", "none of them")) as server:
        assert ask(server).text == "none of them"
    assert server.headers[0]["Authorization"] == "Bearer none"


def test_an_endless_answer_is_cut_off() -> None:
    page = Act("raw", json.dumps({"choices": [{"message": {"content": "a" * 17 * 2**20}}]}))
    with ChatServer(first(page)) as server:
        assert ask(server).text == "two"
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "act",
    [
        Act("raw", "[" * 200_000),
        Act("raw", '{"data": ' * 200_000),
        Act("raw", '{"data": ["tiny", null, 3]}'),
        Act("raw", json.dumps({"data": [], "more": "a" * 17 * 2**20})),
        Act("drip", "30"),
    ],
    ids=["brackets", "objects", "others", "endless", "slow"],
)
def test_a_list_of_models_that_is_none_tells_nothing(act: Act) -> None:
    with ChatServer(first()) as server, service(server.url, timeout=2.0) as chat:
        server.models, start = act, time.monotonic()
        assert chat.describe_connection("tiny") == ("", None)
        assert time.monotonic() - start < 20
        server.models = Act("raw", '{"data": [{"id": "big"}, {"id": "tiny", "max_model_len": 4096}]}')
        assert chat.describe_connection("tiny") == ("", 4096)


def test_stopped_while_waiting() -> None:
    with ChatServer(first(Act("status", status=500))) as server, service(server.url) as chat:
        chat.stop()
        with pytest.raises(ServiceError, match="stopped"):
            chat.complete(BODY)
    assert server.bodies == []
