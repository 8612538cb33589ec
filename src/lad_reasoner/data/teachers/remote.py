"""The teacher behind a service: any OpenAI-compatible endpoint that takes pictures.

The ledger (`remote/ledger.py`) keeps every paid answer, so a killed run resumes, and nothing is paid twice. An empty or
cut-off answer counts as a failure of the service: the next run asks again. What a content filter stops, a refusal and a
function call are final: another try would bring the same, and cost the same.

If the service rejects `response_format`, it is dropped for all later requests: the schema stands in the question, too.

If an answer does not fit the request's schema, the teacher gets it back with a complaint and answers again. This is a
new question with a line of its own in the ledger, so the rejected answers are kept too.

Deviations from the paper:
- The paper names Gemini, and does not say how Gemini was asked. All of this is ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from lad_reasoner.data.teachers.teacher import Answered, CostEstimate, Outcome, Request, Unanswered, parts_of
from lad_reasoner.errors import ImageError, ServiceError, require
from lad_reasoner.files.bit_depth import DEEP
from lad_reasoner.files.opening import open_picture
from lad_reasoner.files.pictures import KEPT_SIDE, read_picture
from lad_reasoner.remote.completion import is_same_model
from lad_reasoner.remote.ledger import FINAL, UNFINISHED, BudgetSpentError, Exchange, Ledger
from lad_reasoner.remote.prices import Bill, Prices, estimate_tokens
from lad_reasoner.text import first_problem, printable

if TYPE_CHECKING:
    from lad_reasoner.remote.client import ChatService
    from lad_reasoner.remote.completion import Completion

logger = logging.getLogger(__name__)

KEY_VARIABLE = "LAD_TEACHER_KEY"
GIVE_UP_AFTER = 10  # failed requests in a row: the service will fail the others too

FORM = "Answer with one JSON object and nothing else. It must fit this JSON schema: "
AGAIN = "That answer cannot be used: {}. Answer the question again, with the JSON object only."
QUOTED = 2000  # characters of a rejected answer that the teacher gets back

ANSWER_TOKENS = 500  # expected of an answer, until the service has counted

# (key, request, turns so far) -> the answer, or None if there is none yet
Obtain = Callable[[str, Request, list[dict[str, Any]]], Exchange | None]


class RemoteTeacher:
    """Any OpenAI-compatible service that takes pictures.

    `cache` is a file of JSON lines; use one file for each service, even if their `model` names are equal. `settings`
    are more fields of the request's body, such as `{"temperature": 0.7}`; None removes a field, such as
    `response_format`. `budget`, in the currency of `prices`, covers all answers to the requests, including those of
    earlier runs; requests under way when it is reached are still paid. Pictures are sent upright, as JPEG, at most
    `pictures.KEPT_SIDE` pixels wide and high, without metadata.

    `attempts` is the number of times that one question is asked in a run until an answer fits its schema; the next run
    resumes the conversations that were given up. With `in_total`, the answers on disk count as attempts. `max_tokens`
    is the limit of an answer; with another one, only what was cut off is asked again. For `timeout`, `patience` and
    `backoff` see `client.ChatService`.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: str | Path,
        prices: Prices | None = None,
        budget: float | None = None,
        settings: Mapping[str, Any] | None = None,
        key_variable: str = KEY_VARIABLE,
        concurrency: int = 8,
        attempts: int = 3,
        in_total: bool = False,
        max_tokens: int | None = None,
        timeout: float = 120.0,
        patience: float = 300.0,
        backoff: float = 1.0,
    ) -> None:
        self.url, self.name = url, model
        self.ledger = Ledger(cache, prices=prices, budget=budget)
        self.paid, self.recalled = self.ledger.paid, self.ledger.recalled
        self.settings = dict(settings or {})
        self.concurrency, self.attempts, self.max_tokens = concurrency, attempts, max_tokens
        self.in_total = in_total
        self._times = {"timeout": timeout, "patience": patience, "backoff": backoff}
        self._key_variable = key_variable
        self._dropped: set[str] = set()  # fields that the service rejects
        self._remarks: set[str] = set()  # that were made
        self._lock = threading.Lock()

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """The expected cost of `ask_many`; reads the cache and the pictures' sizes, asks nothing, writes nothing."""
        self.ledger.load()
        prices, answer_tokens = self.ledger.prices, ANSWER_TOKENS
        if self.ledger.known:
            written = sum(exchange.output_tokens for exchange in self.ledger.known.values())
            answer_tokens = written // len(self.ledger.known)
        on_disk = unreadable = 0
        expected = Bill(cost=None if prices is None else 0.0)
        with ThreadPoolExecutor(self.concurrency) as pool:
            outcomes = pool.map(lambda request: self._converse(request, self._look_up), requests)
            for request, outcome in zip(requests, outcomes, strict=True):
                if outcome is not None:
                    no_picture = isinstance(outcome, Unanswered) and outcome.reason == "picture"
                    unreadable += no_picture
                    on_disk += not no_picture
                elif (input_tokens := _count_input(request, [])) is None:
                    unreadable += 1
                else:
                    expected.add(input_tokens, answer_tokens, prices)
        return CostEstimate(len(requests), on_disk, unreadable, expected)

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """The outcomes on disk first, then the others as the service answers; each request's index once.

        If the caller stops early, answers under way are waited for and kept. Raises `InputError` for a wrong key, model
        or address and for a cache that another process uses, `MachineError` for a full disk, and `ServiceError` after
        `GIVE_UP_AFTER` failed requests in a row.
        """
        with self._open_service() as service, self.ledger.hold(), ThreadPoolExecutor(self.concurrency) as pool:
            waiting: list[int] = []
            known = pool.map(lambda request: self._converse(request, self._recall), requests)
            for index, outcome in enumerate(known):
                if outcome is None:
                    waiting.append(index)
                else:
                    yield index, outcome
            ask = partial(self._ask, service)
            futures = {pool.submit(self._converse, requests[index], ask): index for index in waiting}
            failed, last_error = 0, ""
            try:
                for future in as_completed(futures):
                    outcome = future.result()
                    assert outcome is not None
                    yield futures[future], outcome
                    if not isinstance(outcome, Unanswered) or outcome.reason != "service":
                        failed = 0
                        continue
                    failed, last_error = failed + 1, outcome.error
                    if failed == GIVE_UP_AFTER:
                        last_error = ""  # the error says it
                        raise ServiceError(f"{outcome.error} ({failed} requests in a row failed; answers are kept)")
            finally:
                if last_error:
                    logger.warning("%s", last_error)
                service.stop()
                pool.shutdown(cancel_futures=True)

    def _open_service(self) -> ChatService:
        require("httpx2", "teacher")
        from lad_reasoner.remote.client import ChatService

        return ChatService(self.url, key_variable=self._key_variable, **self._times)

    def _converse(self, request: Request, obtain: Obtain) -> Outcome | None:
        """Question, answer, complaint, answer … until one fits; None if `obtain` has no answer."""
        turns: list[dict[str, Any]] = []
        complaints: list[str] = []
        asked = 0
        try:
            digests = [_digest(path) for path in request.pictures]
            while True:
                key = self._key(request, digests, turns)
                known = key in self.ledger.known
                if asked >= self.attempts and not known:
                    break
                asked += self.in_total or not known
                exchange = obtain(key, request, turns)
                if exchange is None:
                    return None
                if not exchange.usable:
                    error = f"{self.url}: {UNFINISHED['length']}; give more with --teacher-tokens"
                    return Unanswered("service", error, tuple(complaints))
                answer = _check(exchange, request)
                if not isinstance(answer, str):
                    return Answered(answer, exchange.model or self.name, tuple(complaints))
                if exchange.finish in FINAL:
                    why = UNFINISHED[exchange.finish]
                    return Unanswered("malformed", why, (*complaints, why))
                complaints.append(answer)
                turns += [
                    {"role": "assistant", "content": exchange.text[:QUOTED] or "(nothing)"},
                    {"role": "user", "content": AGAIN.format(answer)},
                ]
        except ImageError as error:
            return Unanswered("picture", str(error), tuple(complaints))
        except ServiceError as error:
            return Unanswered("service", str(error), tuple(complaints))
        except BudgetSpentError as error:
            return Unanswered("budget", str(error), tuple(complaints))
        return Unanswered("malformed", complaints[-1], tuple(complaints))

    def _look_up(self, key: str, *_: object) -> Exchange | None:
        return self.ledger.known.get(key)

    def _recall(self, key: str, *_: object) -> Exchange | None:
        return self.ledger.recall(key)

    def _ask(self, service: ChatService, key: str, request: Request, turns: list[dict[str, Any]]) -> Exchange:
        def read(completion: Completion) -> Exchange:
            size, answer = completion.input_tokens, completion.output_tokens
            if size is None and completion.finish != "content_filter":
                self._remark(f"{self.name} does not say how many tokens it uses: they are estimated")
            # Some reasoning parsers take a JSON object for reasoning.
            text = completion.text if completion.text.strip() else completion.reasoning
            exchange = Exchange(
                key=key,
                text=text,
                finish=completion.finish,
                model=completion.model,
                input_tokens=_count_input(request, turns) or 0 if size is None else size,
                output_tokens=estimate_tokens(len(text)) if answer is None else answer,
            )
            whole = completion.finish != "length" or not isinstance(_check(exchange, request), str)
            return exchange.model_copy(update={"usable": whole and (bool(text.strip()) or completion.finish in FINAL)})

        def discard(completion: Completion) -> None:
            self.ledger.discard(read(completion))
            self.ledger.check_means()

        def ask() -> Exchange:
            body = self._body(request, turns, [_encode(path, request.depth) for path in request.pictures])
            # Not part of the key: an answer that was whole does not depend on it.
            if self.max_tokens is not None:
                body["max_completion_tokens"] = self.max_tokens
            return read(self._complete(service, body, discard))

        exchange = self.ledger.obtain(key, ask)
        if not is_same_model(self.name, exchange.model):
            self._remark(f"{self.name} was asked, but {exchange.model} answered")
        return exchange

    def _complete(
        self, service: ChatService, body: dict[str, Any], discard: Callable[[Completion], None]
    ) -> Completion:
        """The answer, if need be without `response_format`."""
        from lad_reasoner.remote.client import RefusedError

        sent = {name: value for name, value in body.items() if value is not None and name not in self._dropped}
        try:
            return service.complete(sent, discard)
        except RefusedError as error:
            words = str(error).casefold()
            named = any(word in words for word in ("response_format", "response format", "json_schema", "json schema"))
            if "response_format" not in sent or (service.answered and not named):
                raise
        completion = service.complete({name: sent[name] for name in sent if name != "response_format"}, discard)
        self._dropped.add("response_format")
        return completion

    def _remark(self, note: str) -> None:
        """Say something once."""
        with self._lock:
            known = note in self._remarks
            self._remarks.add(note)
        if not known:
            logger.warning("%s: %s", self.url, note)

    def _key(self, request: Request, digests: Sequence[str], turns: Sequence[Mapping[str, Any]]) -> str:
        """The hash of the request as it is sent, with the hash of each picture's file in the picture's place."""
        body = self._body(request, turns, [{"sha256": digest} for digest in digests])
        body["prompt_version"] = request.prompt_version
        if request.depth is not None and request.depth < DEEP:  # other pixels of the same file
            body["depth"] = request.depth
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def _body(self, request: Request, turns: Sequence[Mapping[str, Any]], pictures: Sequence[Any]) -> dict[str, Any]:
        schema = request.schema.model_json_schema()
        next_picture = iter(pictures)
        messages = []
        for message in request.messages:
            content = [next(next_picture) if part.get("type") == "image" else part for part in parts_of(message)]
            messages.append({**message, "content": content})
        described = {"type": "text", "text": FORM + json.dumps(schema)}
        messages[-1]["content"] = [*messages[-1]["content"], described]
        form = {"type": "json_schema", "json_schema": {"name": request.schema.__name__, "schema": schema}}
        return {"model": self.name, "messages": [*messages, *turns], "response_format": form, **self.settings}


def _check(exchange: Exchange, request: Request) -> BaseModel | str:
    """The answer in the request's schema, or the complaint about it. Text around the JSON is ignored."""
    text = exchange.text[max(exchange.text.find("{"), 0) : exchange.text.rfind("}") + 1]
    if not text:
        return "it was cut off" if exchange.finish == "length" else "it holds no JSON object"
    try:
        return request.schema.model_validate_json(text, context=dict(request.facts))
    except ValidationError as error:
        return "it was cut off" if exchange.finish == "length" else first_problem(error)


def _digest(path: str | Path) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(f"{printable(path)}: {error.strerror}") from None


def _encode(path: str | Path, depth: int | None = None) -> dict[str, Any]:
    """A picture as the part of a message; raises `ImageError`."""
    from lad_reasoner.remote.client import picture_part

    return picture_part(read_picture(path, depth).image)


def _count_input(request: Request, turns: Sequence[Mapping[str, Any]]) -> int | None:
    """A request's tokens, estimated from its characters and pixels; None if a picture cannot be read."""
    characters = len(json.dumps(request.schema.model_json_schema()))
    for message in (*request.messages, *turns):
        characters += sum(len(part.get("text", "")) for part in parts_of(message))
    pixels = 0
    for path in request.pictures:
        try:
            with open_picture(path) as image:
                width, height = image.size
        except ImageError:
            return None
        scale = min(1.0, KEPT_SIDE / max(width, height))
        pixels += round(width * scale * height * scale)
    return estimate_tokens(characters, pixels)
