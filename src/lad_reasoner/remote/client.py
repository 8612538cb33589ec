"""The client of a service that speaks the OpenAI chat-completions protocol: vLLM, SGLang, hosted models, Gemini.

The client retries failures that may be temporary: 429, 5xx, timeouts, broken connections, empty answers, and answers
that are not chat completions (a proxy's page, half a JSON). The waits grow exponentially, are random, and respect
`Retry-After`. Other errors, such as a wrong key or an empty account, are raised at once; an answer that is not a chat
completion is raised at the second time, if the service has answered nothing yet. Retries are logged.

The key comes from the environment and is sent in one header. It is removed from everything that the service sends back,
so that it cannot reach a file, a log or an error message; from error messages, parts of it are removed, too.
"""

from __future__ import annotations

import codecs
import contextlib
import ipaddress
import json
import logging
import os
import random
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Any

import httpx2
from PIL import Image

from lad_reasoner.errors import InputError, ServiceError
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.pictures import picture_uri
from lad_reasoner.remote.certificates import explain_certificate
from lad_reasoner.remote.completion import Completion, parse_body, read_body

logger = logging.getLogger(__name__)

RETRIED = frozenset({408, 409, 425, 429})  # statuses that are retried, besides all from 500 on
LONGEST_WAIT = 60.0  # seconds between two tries, unless the service asks for more
LARGEST_ANSWER = 16 * 2**20  # bytes; a chat completion has a few thousand
SHORTEST_SECRET = 12  # characters; a shorter key is a word such as `none` for a server of your own
SHORTEST_PART = 6  # characters of a key that an error message must not repeat
EXCERPT = 200  # characters of a service's message that are quoted in an error
QUIET = 10.0  # seconds between two messages about retries

# An account that cannot pay, whatever the status: the words of OpenAI, Anthropic, DeepSeek and OpenRouter.
_EMPTY_ACCOUNT = re.compile(
    r"insufficient[_ ](quota|balance|funds|credits?)|credit balance|(not enough|out of|no|more) credits", re.IGNORECASE
)
_MASKED = re.compile(r"\S*(?:\*{2,}|\.{3}|…|[xX]{4,})\S*")  # a word with a masked middle, as services quote keys
_last_notice: dict[str, float] = {}  # address -> time of the last message about retries


class RefusedError(ServiceError):
    """The service rejects this request; it may accept others."""


class FaultError(ServiceError):
    """The service broke (status 500) as often as the caller bears: this request may be what breaks it."""


def picture_part(image: Image.Image) -> dict[str, Any]:
    """A picture as a part of a message: a JPEG of high quality, without metadata."""
    return {"type": "image_url", "image_url": {"url": picture_uri(image, "JPEG", quality=95, subsampling=0)}}


class ChatService:
    """One endpoint and one key, for many threads at once; a context manager.

    `url` is the base address (`https://…/v1`). `timeout` is seconds for one try, `patience` seconds for all tries of
    one answer. `backoff` is the longest first wait in seconds; it doubles up to `LONGEST_WAIT`. If the environment
    variable `key_variable` is not set, no key is sent, as for a server of your own. A server on this machine is reached
    without the proxy of the environment. `answered` says that the service has answered a request before, `lost` that it
    was given up before: then there is one try.

    Raises `InputError` for an address or a key that cannot be used.
    """

    def __init__(self, url: str, *, key_variable: str, timeout: float, patience: float, backoff: float) -> None:
        self.url = _address(url)
        self.timeout, self.patience, self.backoff = timeout, patience, backoff
        self._key_variable = key_variable
        self._key = os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.replace(" ", "x").isprintable()):
            raise InputError(f"{key_variable}: the key holds characters that no key has; copy it again")
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
        local = _is_loopback(httpx2.URL(self.url).host)
        # SSL_CERT_FILE holds for this machine, too; the proxy of the environment does not.
        verify = httpx2.create_ssl_context()
        self._client = httpx2.Client(
            headers=headers, timeout=timeout, limits=limits, verify=verify, trust_env=not local
        )
        self._proxy = "" if local else _find_proxy(self.url)
        self.answered = self.lost = False
        self._stopped = threading.Event()

    def __enter__(self) -> ChatService:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Start no further try. Requests that wait for their next try give up; requests under way are finished."""
        self._stopped.set()

    def describe_connection(self, model: str) -> tuple[str, int | None]:
        """The proxy on the way to the service, if any, and the model's context in tokens, if the service tells."""
        with contextlib.suppress(_TemporaryError, ValueError, TypeError, KeyError, AttributeError):
            _, content = self._exchange("GET", f"{self.url.removesuffix('/chat/completions')}/models")
            for entry in load_json(content)["data"]:
                lengths = [entry.get(name) for name in ("max_model_len", "context_length", "context_window")]
                if entry["id"] == model:
                    return self._proxy, next((length for length in lengths if isinstance(length, int)), None)
        return self._proxy, None

    def complete(
        self,
        body: Mapping[str, Any],
        discard: Callable[[Completion], None] = lambda completion: None,
        *,
        faults: int | None = None,
    ) -> Completion:
        """Send a request's body (model, messages, settings) and return the answer.

        An empty answer may have been paid for: it goes to `discard` before the next try.

        Raises `InputError` if no request can succeed (wrong key, model or address), `RefusedError` if the service
        rejects this one, and `ServiceError` if the service still fails when the patience is spent. With `faults`, a
        `FaultError` once it has answered status 500 so many times.
        """
        payload = json.dumps(body).encode()
        start, longest, garbled, broke = time.monotonic(), self.backoff, 0, 0
        while not self._stopped.is_set():
            try:
                completion = self._try(payload, str(body.get("model", "")))
                if completion.empty:
                    discard(completion)
                    raise _TemporaryError("an empty answer")
                self.answered = True
                return completion
            except _TemporaryError as error:
                garbled, broke = garbled + error.garbled, broke + error.broke
                if broke == faults:
                    raise FaultError(f"{self.url}: {error}") from None
                if not self.answered and (garbled > 1 or (error.garbled and self.lost)):
                    raise ServiceError(f"{self.url}: {error}") from None
                wait = error.retry_after + random.uniform(0, min(longest, LONGEST_WAIT))
                if self.lost or time.monotonic() - start + wait >= self.patience:
                    raise ServiceError(f"{self.url}: {error}; {self._say_patience(error)}") from None
                self._log_retry(error, wait)
            longest *= 2
            self._stopped.wait(wait)
        raise ServiceError(f"{self.url}: stopped")

    def _say_patience(self, error: _TemporaryError) -> str:
        if error.retry_after >= self.patience > 0:
            return f"given up, since that is more than the {self.patience:.0f} s of patience"
        slow = "; a slow server needs a longer timeout, or a lower concurrency" if error.late else ""
        return f"given up after {self.patience:.0f} s of patience{slow}"

    def _log_retry(self, error: _TemporaryError, wait: float) -> None:
        """One message in `QUIET` seconds, whatever number of requests is retried."""
        now = time.monotonic()
        if now - _last_notice.get(self.url, -QUIET) >= QUIET:
            _last_notice[self.url] = now
            logger.warning("%s: %s; trying again in %.0f s", self.url, error, wait)

    def _try(self, payload: bytes, model: str) -> Completion:
        response, content = self._exchange("POST", self.url, payload)
        if response.status_code == 400 and _is_filtered(content):  # Azure's
            return Completion(text="", finish="content_filter", model="", input_tokens=None, output_tokens=None)
        retry_after = _seconds(response.headers.get("Retry-After", ""))
        self._check_status(
            response.status_code, content, model, retry_after, target=response.headers.get("Location", "")
        )
        return self._read(content, model)

    def _exchange(self, method: str, url: str, payload: bytes | None = None) -> tuple[httpx2.Response, bytes]:
        """One request; `_TemporaryError` if there is no whole answer within the timeout."""
        sent: Future[tuple[httpx2.Response, bytes]] = Future()

        def send() -> None:
            try:
                sent.set_result(self._send(method, url, payload))
            except Exception as error:
                sent.set_exception(error)

        # The library's own timeout starts anew with each byte of a header. A thread that is left behind ends with its
        # connection, and does not keep the process alive.
        threading.Thread(target=send, daemon=True).start()
        try:
            return sent.result(self.timeout)
        except TimeoutError:
            raise self._late("answer") from None

    def _send(self, method: str, url: str, payload: bytes | None) -> tuple[httpx2.Response, bytes]:
        end = time.monotonic() + self.timeout
        try:
            with self._client.stream(method, url, content=payload) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise _TemporaryError("the answer is too long")
                    if time.monotonic() > end:
                        raise self._late("complete answer")
        except httpx2.TimeoutException:
            raise self._late("answer") from None
        except httpx2.RequestError as error:
            if reason := explain_certificate(error):
                raise InputError(f"{self.url}: {reason}") from None
            raise _TemporaryError(self._blank_parts(str(error) or type(error).__name__) + self._proxy) from None
        return response, bytes(content)

    def _late(self, what: str) -> _TemporaryError:
        return _TemporaryError(f"no {what} within {self.timeout:g} s{self._proxy}", late=True)

    def _check_status(
        self, status: int, content: bytes, model: str, retry_after: float = 0.0, target: str = ""
    ) -> None:
        if status == 200:
            return
        excerpt = self._excerpt(content)
        if status == 402 or (status < 500 and _EMPTY_ACCOUNT.search(content.decode("utf-8", "replace"))):
            raise InputError(f"{self.url}: status {status}: the account cannot pay{excerpt}")
        if status in RETRIED or status >= 500 or (status < 400 and self.answered):
            asks = f", it asks to wait {retry_after:.0f} s" if retry_after else ""
            raise _TemporaryError(f"status {status}{asks}{excerpt}", retry_after, broke=status == 500)
        if status in (401, 403):
            fault = "is refused, or may not use this model" if self._key else "is not set"
            raise InputError(
                f"{self.url}: status {status}: the key in the variable {self._key_variable} {fault}{excerpt}"
            )
        if status == 404:
            fault = f"no model {model!r} there, or a wrong address (most end in /v1)"
            raise InputError(f"{self.url}: status 404: {fault}{excerpt}")
        if status < 400 or status == 405:
            leads = f"; it leads to {self._blank_parts(target)[:EXCERPT]}" if target else ""
            raise InputError(f"{self.url}: status {status}: not the address of such a service (most end in /v1){leads}")
        if status == 413:
            raise RefusedError(
                f"{self.url}: status 413: the request is too large; send smaller pictures with --max-pixels{excerpt}"
            )
        raise RefusedError(f"{self.url}: status {status}: the request is refused{excerpt}")

    def _read(self, content: bytes, model: str) -> Completion:
        try:
            body = parse_body(content.removeprefix(codecs.BOM_UTF8))
        except ValueError:
            code = _error_in(content).get("code")
            if isinstance(code, int) and 400 <= code < 500:  # a router's error, with the status that it got itself
                self._check_status(code, content, model)
            kind = "an error with status 200" if code else "an answer that is not a chat completion"
            raise _TemporaryError(f"{kind}{self._excerpt(content)}{self._proxy}", garbled=True) from None
        if error := body.choices[0].error:  # of a router: the provider behind it failed
            fault = self._excerpt(json.dumps({"error": error}).encode())
            raise _TemporaryError(f"an answer that holds an error{fault}", garbled=True)
        return read_body(body, self._blank)

    def _excerpt(self, content: bytes) -> str:
        """A colon and the beginning of the service's message on one line; empty if the body is."""
        text = str(_error_in(content).get("message") or content.decode("utf-8", "replace"))
        words = " ".join(self._blank_parts(text).split())
        return f": {words[:EXCERPT]}{'…' if len(words) > EXCERPT else ''}" if words else ""

    def _blank(self, text: str, shortest: int = SHORTEST_SECRET) -> str:
        """The text without any `shortest` characters that follow one another in the key."""
        if len(self._key) < SHORTEST_SECRET:
            return text
        covered = bytearray(len(text))  # 1 at each character of a part of the key
        for start in range(len(self._key) - shortest + 1):
            part = self._key[start : start + shortest]
            position = text.find(part)
            while position >= 0:
                covered[position : position + shortest] = b"\1" * shortest
                position = text.find(part, position + 1)
        if not any(covered):
            return text
        blanked = []
        for secret, run in groupby(zip(covered, text, strict=True), key=lambda pair: pair[0]):
            letters = "".join(letter for _, letter in run)
            blanked.append("[key]" if secret else letters)
        return "".join(blanked)

    def _blank_parts(self, text: str) -> str:
        """For error messages: also without short parts, and without keys that are quoted with a masked middle."""
        if len(self._key) < SHORTEST_SECRET:
            return text
        parts = {self._key[start : start + 3] for start in range(len(self._key) - 2)}
        text = self._blank(text, SHORTEST_PART)
        return _MASKED.sub(lambda word: "[key]" if any(part in word[0] for part in parts) else word[0], text)


class _TemporaryError(Exception):
    """A failure after which another try may succeed."""

    def __init__(
        self,
        message: str,
        retry_after: float = 0.0,
        *,
        garbled: bool = False,
        late: bool = False,
        broke: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after, self.late, self.broke = retry_after, late, broke
        self.garbled = garbled  # it came with status 200


def _is_filtered(content: bytes) -> bool:
    """Whether the error is that of a content filter, which concerns this request alone."""
    error = _error_in(content)
    return error.get("code") == "content_filter" or error.get("type") == "content_filter"


def _error_in(content: bytes) -> dict[str, Any]:
    """The error object of a JSON body, in any of the usual forms; empty if there is none."""
    with contextlib.suppress(ValueError):
        body = load_json(content)
        if isinstance(body, dict):
            error = body.get("error") or {"message": body.get("message") or body.get("detail")}
            return error if isinstance(error, dict) else {"message": error, "code": body.get("code")}
    return {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _find_proxy(url: str) -> str:
    """`" (through the proxy host:port)"` if the environment names one for this address; without its password."""
    address = httpx2.URL(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(address.host):
        return ""
    return f" (through the proxy {proxy.rpartition('@')[2].rpartition('//')[2]})"


def _address(url: str) -> str:
    """The full address. Errors do not repeat it, because the unusable part may be a key."""
    try:
        parsed = httpx2.URL(url.strip())
    except httpx2.InvalidURL:
        raise InputError("the service's URL is not an address; it looks like https://host/v1") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError("the service's URL must begin with http:// or https:// and a host, as in https://host/v1")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise InputError("the service's URL must not hold a key, a user or a ?query; keys belong in the environment")
    return str(parsed).rstrip("/").removesuffix("/chat/completions").rstrip("/") + "/chat/completions"


def _seconds(retry_after: str) -> float:
    """The header's seconds or date, in seconds from now; 0 if it is neither, or is past."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):  # the second for a day or a year of many digits
            return 0.0
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < float("inf") else 0.0
