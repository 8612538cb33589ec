"""The client of a service that speaks the OpenAI chat-completions protocol: vLLM, SGLang, hosted models, Gemini.

The client retries failures that may be temporary: 429, 5xx, timeouts, broken connections, and answers that are not
chat completions (a proxy's page, half a JSON). The waits grow exponentially, are random, and respect `Retry-After`.
Other errors, such as a wrong key, are raised at once.

The key comes from the environment and is sent in one header. It is removed from everything that the service sends back,
so that it cannot reach a file, a log or an error message.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from PIL import Image
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator

from lad_reasoner.errors import InputError, ServiceError
from lad_reasoner.files.pictures import picture_uri
from lad_reasoner.records import Record

RETRIED = frozenset({408, 409, 425, 429})  # statuses that are retried, besides all from 500 on
LONGEST_WAIT = 60.0  # seconds between two tries, unless the service asks for more
LARGEST_ANSWER = 16 * 2**20  # bytes; a chat completion has a few thousand
SHORTEST_SECRET = 12  # characters; a shorter key is a word such as `none` for a server of your own
EXCERPT = 200  # characters of a service's message that are quoted in an error


class Alternative(Record):
    """A token and the logarithm of its probability."""

    token: str
    logprob: float = Field(le=1)  # services round; a value far above 0 is not a log-probability


class Token(Alternative):
    """A token that the model wrote, and the most probable tokens at its place."""

    top_logprobs: tuple[Alternative, ...] = ()


class Completion(Record):
    """A service's answer. Token counts are None if the service gave none; output includes hidden reasoning.

    `reasoning` is the part that the service separated from the text. `written` holds the tokens, if the service gave
    log-probabilities.
    """

    text: str
    finish: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    reasoning: str = ""
    written: tuple[Token, ...] = ()


class RefusedError(ServiceError):
    """The service rejects this request; it may accept others."""


def picture_part(image: Image.Image) -> dict[str, Any]:
    """A picture as a part of a message: a JPEG of high quality, without metadata."""
    return {"type": "image_url", "image_url": {"url": picture_uri(image, "JPEG", quality=95, subsampling=0)}}


class ChatService:
    """One endpoint and one key, for many threads at once; a context manager.

    `url` is the base address (`https://…/v1`). `timeout` is seconds for one try, `patience` seconds for all tries of
    one answer. `backoff` is the longest first wait in seconds; it doubles up to `LONGEST_WAIT`. If the environment
    variable `key_variable` is not set, no key is sent, as for a server of your own.

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
        self._client = httpx2.Client(headers=headers, timeout=timeout, limits=limits)
        self._stopped = threading.Event()

    def __enter__(self) -> ChatService:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Start no further try. Requests that wait for their next try give up; requests under way are finished."""
        self._stopped.set()

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """Send a request's body (model, messages, settings) and return the answer.

        Raises `InputError` if no request can succeed (wrong key, model or address), `RefusedError` if the service
        rejects this one, and `ServiceError` if the service still fails when the patience is spent.
        """
        payload = json.dumps(body).encode()
        start, longest = time.monotonic(), self.backoff
        while not self._stopped.is_set():
            try:
                return self._try(payload, str(body.get("model", "")))
            except _TemporaryError as error:
                wait = error.retry_after + random.uniform(0, min(longest, LONGEST_WAIT))
                if time.monotonic() - start + wait >= self.patience:
                    reason = f"{error}; given up after {self.patience:.0f} s of patience"
                    raise ServiceError(f"{self.url}: {reason}") from None
            longest *= 2
            self._stopped.wait(wait)
        raise ServiceError(f"{self.url}: stopped")

    def _try(self, payload: bytes, model: str) -> Completion:
        end = time.monotonic() + self.timeout
        try:
            with self._client.stream("POST", self.url, content=payload) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise _TemporaryError("the answer is too long")
                    if time.monotonic() > end:
                        raise _TemporaryError(f"no complete answer within {self.timeout:g} s")
        except httpx2.TimeoutException:
            raise _TemporaryError(f"no answer within {self.timeout:g} s") from None
        except httpx2.RequestError as error:
            raise _TemporaryError(self._blank(str(error) or type(error).__name__)) from None
        self._check_status(response, bytes(content), model)
        return self._read(bytes(content))

    def _check_status(self, response: httpx2.Response, content: bytes, model: str) -> None:
        status = response.status_code
        if status == 200:
            return
        excerpt = self._excerpt(content)
        if status in RETRIED or status >= 500:
            retry_after = _seconds(response.headers.get("Retry-After", ""))
            asks = f", it asks to wait {retry_after:.0f} s" if retry_after else ""
            raise _TemporaryError(f"status {status}{asks}{excerpt}", retry_after)
        if status in (401, 403):  # without the service's message, which often quotes a part of the key
            fault = "is refused, or may not use this model" if self._key else "is not set"
            raise InputError(f"{self.url}: status {status}: the key in the variable {self._key_variable} {fault}")
        if status == 404:
            fault = f"no model {model!r} there, or a wrong address (most end in /v1)"
            raise InputError(f"{self.url}: status 404: {fault}{excerpt}")
        if status < 400 or status == 405:
            raise InputError(f"{self.url}: status {status}: not the address of such a service (most end in /v1)")
        raise RefusedError(f"{self.url}: status {status}: the request is refused{excerpt}")

    def _read(self, content: bytes) -> Completion:
        try:
            body = _Body.model_validate_json(content)
        except ValidationError:
            raise _TemporaryError(f"an answer that is not a chat completion{self._excerpt(content)}") from None
        choice, usage = body.choices[0], body.usage
        message = choice.message
        reasoning = message.reasoning_content or message.reasoning
        return Completion(
            text=self._blank(message.content) if isinstance(message.content, str) else "",
            finish=self._blank(choice.finish_reason or ""),
            model=self._blank(body.model or ""),
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens) if usage else None,
            reasoning=self._blank(reasoning) if isinstance(reasoning, str) else "",
            written=choice.logprobs,
        )

    def _excerpt(self, content: bytes) -> str:
        """A colon and the beginning of the service's message on one line; empty if the body is."""
        text = content.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, TypeError, KeyError):
            text = str(json.loads(text)["error"]["message"])
        words = " ".join(self._blank(text).split())
        return f": {words[:EXCERPT]}{'…' if len(words) > EXCERPT else ''}" if words else ""

    def _blank(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_SECRET else text


class _TemporaryError(Exception):
    """A failure after which another try may succeed."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Message(BaseModel):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: tuple[Token, ...] = ()

    @field_validator("logprobs", mode="before")
    @classmethod
    def _forgive(cls, value: Any) -> Any:
        try:
            return TypeAdapter(tuple[Token, ...]).validate_python(value["content"])
        except (TypeError, KeyError, ValidationError):
            return ()


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    total_tokens: int = Field(default=0, ge=0)


class _Body(BaseModel):
    model: str | None = None
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None

    @field_validator("usage", mode="before")
    @classmethod
    def _forgive(cls, value: Any) -> Any:
        # An answer that was paid for is not dropped because its token counts are malformed.
        try:
            return _Usage.model_validate(value)
        except ValidationError:
            return None


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
        except ValueError:
            return 0.0
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < float("inf") else 0.0
