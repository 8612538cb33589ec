"""Results as signed requests, against a receiver on loopback."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from helpers.plant import NOWHERE, WebhookReceiver, certificate, free_port, part_result
from lad_reasoner.errors import InputError
from lad_reasoner.service.sinks import open_sink, webhook
from lad_reasoner.service.sinks.sink import RejectedResultError, UndeliveredError
from lad_reasoner.service.sinks.webhook import SECRET, sign


def test_a_request_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    key = b"0123456789abcdef01234567"
    monkeypatch.setenv(SECRET, f"whsec_{base64.b64encode(key).decode()}")
    with WebhookReceiver() as receiver:
        sink = open_sink(f"{receiver.url}?line=1")
        sink.open()
        sink.deliver(part_result(4), NOWHERE)
        sink.close()
    ((headers, body),) = receiver.requests
    assert headers["webhook-id"] == "bottle-4-20260504T030201000000Z"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
    assert json.loads(body)["part"] == "part-4"


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "any text"])
def test_the_page_says_how_to_check_a_signature(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs/watch.md").read_text(encoding="utf-8")
    code: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], code)
    monkeypatch.setenv(SECRET, secret)
    with WebhookReceiver() as receiver:
        sink = open_sink(receiver.url)
        sink.deliver(part_result(4), NOWHERE)
        sink.close()
    ((headers, body),) = receiver.requests
    is_genuine = code["is_genuine"]
    assert is_genuine(headers, body, secret)
    assert not is_genuine(headers, body + b" ", secret)
    assert not is_genuine(headers, body, "another")
    assert not is_genuine(headers | {"webhook-timestamp": "1614265330"}, body, secret)
    assert not is_genuine(headers | {"webhook-signature": ""}, body, secret)


def test_a_result_has_a_name_of_its_own_and_keeps_it() -> None:
    """The numbers of two watched folders, and of a journal that was begun anew, are the same."""
    again = part_result(1, time=datetime(2026, 5, 4, 3, 2, 2, 1, tzinfo=UTC))
    with WebhookReceiver() as receiver:
        sink = open_sink(receiver.url)
        for result in (part_result(1), part_result(1), again):
            sink.deliver(result, NOWHERE)
        sink.close()
    first, second, third = (headers["webhook-id"] for headers, _ in receiver.requests)
    assert first == second != third


def test_the_signature_of_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of standardwebhooks.com."""
    monkeypatch.setattr("time.time", lambda: 1614265330.5)
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_key_there_is_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    with WebhookReceiver() as receiver:
        sink = open_sink(receiver.url)
        sink.deliver(part_result(1, station="Prüfplatz"), NOWHERE)
        sink.close()
    assert "webhook-signature" not in receiver.requests[0][0]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *[(status, UndeliveredError) for status in (302, 401, 404, 429, 500, 503)],
        *[(status, RejectedResultError) for status in (400, 413, 422)],
    ],
)
def test_what_a_status_means(status: int, error: type[Exception]) -> None:
    with WebhookReceiver(lambda _: status) as receiver:
        sink = open_sink(receiver.url)
        with pytest.raises(error, match=f"status {status}"):
            sink.deliver(part_result(), NOWHERE)
        sink.close()
    assert len(receiver.requests) == 1, "a redirect is not followed"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_signature_names_its_key(status: int) -> None:
    with WebhookReceiver(lambda _: status) as receiver:
        sink = open_sink(receiver.url)
        with pytest.raises(UndeliveredError, match=f"status {status}: check {SECRET}, here and at the receiver"):
            sink.deliver(part_result(), NOWHERE)
        sink.close()


def test_certificates_of_ones_own_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crt, context = certificate(tmp_path)

    def deliver(address: str) -> None:
        sink = open_sink(address)
        try:
            sink.deliver(part_result(), NOWHERE)
        finally:
            sink.close()

    with WebhookReceiver(tls=context) as receiver:
        with pytest.raises(UndeliveredError, match=r"not trusted .*; name the file .* SSL_CERT_FILE"):
            deliver(receiver.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(crt))
        with pytest.raises(UndeliveredError, match=r"not trusted .*; give the host as the certificate names it"):
            deliver(receiver.url.replace("localhost", "127.0.0.1"))
        deliver(receiver.url)
    assert len(receiver.requests) == 1
    with WebhookReceiver() as plain, pytest.raises(UndeliveredError, match="if its port has no TLS, write http://"):
        deliver(plain.url.replace("http:", "https:"))


def deliver_to_a_dripping_receiver(head: bytes, drop: bytes) -> list[Exception]:
    """What `deliver` raised, of a receiver that sends `head` at once and then `drop` again and again."""
    raised: list[Exception] = []
    ended = threading.Event()

    def deliver() -> None:
        try:
            sink.deliver(part_result(), NOWHERE)
        except UndeliveredError as error:
            raised.append(error)

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        with contextlib.suppress(OSError):  # the sink has left
            connection.sendall(head)
            while not ended.wait(0.05):
                connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = open_sink(f"http://127.0.0.1:{server.getsockname()[1]}/events")
        delivering = threading.Thread(target=deliver, daemon=True)
        delivering.start()
        connection, _ = server.accept()
        with connection:
            dripping = threading.Thread(target=drip, args=(connection,))
            dripping.start()
            delivering.join(5)
            held_up = delivering.is_alive()
            ended.set()
            dripping.join()
        delivering.join(5)
        sink.close()
    assert not held_up
    return raised


def test_an_answer_that_never_ends_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.3)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    assert deliver_to_a_dripping_receiver(head, b":\n") == [], "the status came: it is delivered"


def test_a_head_that_never_ends_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One deadline for the whole exchange: each byte gave the head another ten seconds."""
    monkeypatch.setattr(webhook, "TIMEOUT", 0.3)
    (error,) = deliver_to_a_dripping_receiver(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x")
    assert str(error) == "no answer within 0.3 s"


@pytest.mark.parametrize("body", ["Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_a_status_counts_though_its_body_breaks_off(body: str) -> None:
    """The same result was sent for ever, and none after it."""
    received = []

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            received.append(connection.recv(65536))
            connection.sendall(f"HTTP/1.1 200 OK\r\n{body}".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=answer)
        answering.start()
        sink = open_sink(f"http://127.0.0.1:{server.getsockname()[1]}/")
        sink.deliver(part_result(), NOWHERE)  # raises nothing: it is delivered
        answering.join()
        sink.close()
    assert [request.split(b"\r\n")[0] for request in received] == [b"POST / HTTP/1.1"]


def test_nobody_there() -> None:
    sink = open_sink(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(UndeliveredError):
        sink.deliver(part_result(), NOWHERE)
    sink.close()


def test_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="user"):
        open_sink("https://user@host/hook")
    with pytest.raises(InputError, match="no sink for ftp://"):
        open_sink("ftp://host/")
    monkeypatch.setenv(SECRET, "whsec_!")
    with pytest.raises(InputError, match="not Base64"):
        open_sink("https://host/hook")
