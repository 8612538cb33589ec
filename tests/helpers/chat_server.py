"""A local server that speaks the OpenAI chat-completions protocol over a real socket, and misbehaves on demand."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from lad_reasoner.judges.served_grammar import PROBE

PAGE = b"<!doctype html><html><body><h1>Bad gateway</h1></body></html>"


class Act:
    """What the server does with one request. `kind`: answer, status, raw, hang, drip, drop or half.

    An answer may have a `reasoning` beside its text, and `written`: (token, {token: log-probability}) for each token.
    """

    def __init__(
        self,
        kind: str,
        text: str = "",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        reasoning: str = "",
        written: Sequence[tuple[str, dict[str, float]]] = (),
    ) -> None:
        self.kind, self.text, self.status, self.headers = kind, text, status, headers or {}
        self.reasoning, self.written = reasoning, written


Behaviour = Callable[[dict[str, Any], int], Act]  # body, how often the same body came before
ECHO = PROBE.partition(": ")[2]  # what a model that decodes freely says to the question for the grammar


def ignore_grammar(body: dict[str, Any], before: int) -> Act:
    """Fields that the server does not know change nothing."""
    return Act("answer", ECHO)


class ChatServer:
    """Serves on a free port until the end of its `with` block.

    `paid` counts, for each body's fingerprint, the whole completions that were sent; `came` all requests; `bodies` and
    `headers` hold them in their order. `usage` is what each completion says that it used. `probe` answers the requests
    that ask for the grammar, which cost nothing and are in `probes` only. `models` is what is done with a request for
    the list of models: raw or drip, or None where there is no such list.
    """

    def __init__(self, behave: Behaviour, usage: Any = None, probe: Behaviour = ignore_grammar) -> None:
        self.behave, self.probe = behave, probe
        self.probes: list[dict[str, Any]] = []
        self.models: Act | None = None
        self.usage = usage if usage is not None else {"prompt_tokens": 100, "completion_tokens": 20}
        self.paid: Counter[str] = Counter()
        self.came: Counter[str] = Counter()
        self.acts: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.reached = threading.Event()  # set when `paid` reaches `stop_at`
        self.stop_at = -1

    def __enter__(self) -> ChatServer:
        owner = self

        class Handler(_Handler):
            chat = owner

        self._http = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def faulty(behave: Behaviour, share: float = 0.3, silence: float = 5.0) -> Behaviour:
    """The same, but this share of the requests ends in 429, 500 or silence, whatever came of the same body before."""

    def act(body: dict[str, Any], before: int) -> Act:
        chance = random.Random(f"{fingerprint(body)}/{before}")
        if chance.random() >= share:
            return behave(body, before)
        return chance.choice([Act("status", status=429), Act("status", status=500), Act("hang", str(silence))])

    return act


def pictures(body: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a request."""
    parts = [part for message in body["messages"] for part in message["content"] if part["type"] == "image_url"]
    data = [base64.b64decode(part["image_url"]["url"].partition(";base64,")[2]) for part in parts]
    return [Image.open(io.BytesIO(content)).convert("RGB") for content in data]


def fingerprint(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _token(token: str, others: dict[str, float]) -> dict[str, Any]:
    alternatives = [{"token": other, "logprob": logprob, "bytes": None} for other, logprob in others.items()]
    return {"token": token, "logprob": others.get(token, 0.0), "bytes": None, "top_logprobs": alternatives}


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # header and body leave in one packet
    chat: ChatServer

    def do_GET(self) -> None:
        if self.chat.models is None:
            self._send(404, b"", {})
        else:
            self._raw(self.chat.models) if self.chat.models.kind == "raw" else self._drip(self.chat.models)

    def do_POST(self) -> None:
        chat = self.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["messages"][0]["content"] == PROBE:
            with chat.lock:
                chat.probes.append(body)
            act = chat.probe(body, len(chat.probes) - 1)
            getattr(self, f"_{act.kind}")(act, body, "")
            return
        mark = fingerprint(body)
        with chat.lock:
            before = chat.came[mark]
            chat.came[mark] += 1
            chat.bodies.append(body)
            chat.headers.append(dict(self.headers.items()))
            chat.busy += 1
            chat.most_busy = max(chat.most_busy, chat.busy)
        try:
            if self.path != "/v1/chat/completions":
                self._send(404, b'{"error": {"message": "no such path"}}', {})
                return
            act = chat.behave(body, before)
            with chat.lock:
                chat.acts[act.kind if act.kind != "status" else str(act.status)] += 1
            getattr(self, f"_{act.kind}")(act, body, mark)
        finally:
            with chat.lock:
                chat.busy -= 1

    def _answer(self, act: Act, body: dict[str, Any], mark: str) -> None:
        finish = act.headers.pop("finish", "stop")
        message = {"role": "assistant", "content": act.text}
        message |= {"reasoning_content": act.reasoning} if act.reasoning else {}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
        if act.written and body.get("logprobs"):
            choice["logprobs"] = {"content": [_token(token, others) for token, others in act.written]}
        completion = {"object": "chat.completion", "model": f"{body['model']}-001", "choices": [choice]}
        if self.chat.usage != "none" and mark:
            completion["usage"] = self.chat.usage
        self._send(200, json.dumps(completion).encode(), act.headers)
        if not mark:
            return
        with self.chat.lock:
            self.chat.paid[mark] += 1
            if self.chat.paid.total() == self.chat.stop_at:
                self.chat.reached.set()

    def _status(self, act: Act, *_: object) -> None:
        self._send(act.status, act.text.encode() or PAGE, act.headers)

    def _raw(self, act: Act, *_: object) -> None:
        self._send(200, act.text.encode(), act.headers)

    def _hang(self, act: Act, *_: object) -> None:
        self.chat.closing.wait(float(act.text))
        self._drop(act)

    def _drip(self, act: Act, *_: object) -> None:
        """A header of which a byte comes every tenth of a second, for so many seconds."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(round(10 * float(act.text))):
            self.wfile.write(b"a")
            self.wfile.flush()
            if self.chat.closing.wait(0.1):
                return

    def _drop(self, *_: object) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _half(self, act: Act, *_: object) -> None:
        """Announces a longer body than it sends."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.wfile.flush()
        self._drop()

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Silent."""
