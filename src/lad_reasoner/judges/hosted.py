"""A model behind an OpenAI-compatible service as a judge: vLLM, SGLang, hosted models, Gemini.

    judge = HostedJudge("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-72B-Instruct")

The model gets the same prompt as every other model, with the pictures as JPEG; several pairs are asked at a time.

If the service obeys the response grammar in one of the forms of served_grammar.py, it is sent with each request. Which
form is found once for each service and model, with at most five small requests, and kept in a file beside the answers.
Otherwise the service decodes freely, and a response may be invalid.

If the service moves the reasoning out of the text (a "reasoning parser"), or its chat template opens it, it is put
back; a tag of the grammar that is quoted in such a reasoning gets other brackets.

The score is P(yes) / (P(yes) + P(no)) at the answer, from the service's log-probabilities; a token that is not among
the alternatives has probability 0. A service without log-probabilities gives no score.

Every paid answer is kept (`remote/ledger.py`), except for empty ones and those that were cut off: the next run asks
them again, but not what a content filter stopped, a refusal or a function call. A failure that concerns all pairs
(network, key, account, budget, `GIVE_UP_AFTER` rejected pairs in a row) is a `MachineError`: an evaluation ends and can
be resumed. A pair that the service rejects is an `InputError`.

Some services reject optional parameters; one named in the error is dropped for all later requests. If the error names
none and nothing has been answered yet, the optional parameters are dropped one after the other.

Some servers break (status 500) when they are asked for log-probabilities under a grammar, which gives minus infinity to
the words that it forbids: no number in JSON. If such a request fails where the same one without them is answered, they
are not asked for any more, and there is no score.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError, MachineError, ServiceError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.pictures import within_budget
from lad_reasoner.files.whole import write_whole
from lad_reasoner.judge import Judgement, PicturePair, refuse_copy
from lad_reasoner.judges.completions import join_reasoning, score_answer
from lad_reasoner.judges.served_grammar import (
    FORMS,
    IGNORED,
    JSON,
    PROBE,
    PROBE_FORMS,
    REFUSED,
    describe_form,
    find_form,
    read_json,
)
from lad_reasoner.prompts import PROMPT_VERSION, build_messages, build_prompt
from lad_reasoner.remote.completion import is_same_model
from lad_reasoner.remote.ledger import FINAL, UNFINISHED, BudgetSpentError, Exchange, Ledger
from lad_reasoner.remote.prices import Prices, budget_needs_prices, estimate_tokens, parse_prices

if TYPE_CHECKING:
    from lad_reasoner.remote.client import ChatService
    from lad_reasoner.remote.completion import Completion

logger = logging.getLogger(__name__)

KEY_VARIABLE = "LAD_SERVER_KEY"
# A length limit, as many alternatives at the answer as services give, and greedy decoding. The parameter that matters
# most comes last, since they are dropped in this order. The limit is not the budget of prompts.py: a service forces no
# end of a reasoning, and its models may think at length before the response; what is cut off has no answer.
OPTIONAL: dict[str, Any] = {"max_completion_tokens": 4096, "logprobs": True, "top_logprobs": 20, "temperature": 0}
FEWER_ALTERNATIVES = 5
FAULTS = 2  # a server that broke once may have been busy
GIVE_UP_AFTER = 5  # rejected pairs in a row: the service will reject the others, too

# What no answer depends on: a bulk run may be resumed with others.
NEUTRAL = frozenset({"cache", "prices", "budget", "concurrency", "max_tokens", "timeout", "patience"})
TIMEOUT, PATIENCE = 120.0, 300.0  # seconds for one request, and with its retries: one that hangs gets a second try
LONGEST = 86_400  # seconds that may be given for either
FREE = "free"  # no grammar is sent
_FINGERPRINT = hashlib.sha256(json.dumps([FORMS, PROBE_FORMS]).encode()).hexdigest()[:8]
PROBE_TOKENS = 256


class HostedJudge:
    """See `judge.Judge` and the module's docstring.

    `url` is the base address (`https://…/v1`); the key comes from the environment variable LAD_SERVER_KEY. `cache` is a
    file of JSON lines, by default one in the user's cache folder. `prices` and `budget` are those of
    `remote.ledger.Ledger`; `timeout`, `patience` and `backoff` those of `remote.client.ChatService`. `max_tokens` is
    the limit of a response with its reasoning; with a higher one, only what was cut off is asked again. `max_pixels` is
    the budget of a picture; larger ones are scaled down. `grammar` is one of `FORMS`, or `FREE` for no grammar; without
    it the service is asked. InputError for an address, a key, a number or a form that cannot be used.
    """

    parameters: int | None = None

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: str | Path | None = None,
        prices: Prices | None = None,
        budget: float | None = None,
        concurrency: int = 8,
        max_tokens: int = OPTIONAL["max_completion_tokens"],
        max_pixels: int | None = None,
        grammar: str | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        backoff: float = 1.0,
    ) -> None:
        for option, number in (("concurrency", concurrency), ("max_tokens", max_tokens), ("max_pixels", max_pixels)):
            if number is not None and number < 1:
                raise InputError(f"{option} is {number}; give at least 1")
        for option, seconds in (("timeout", timeout), ("patience", patience)):
            if not 0 < seconds <= LONGEST:  # also true for nan
                raise InputError(f"{option} is {seconds:g}; give seconds above 0, at most {LONGEST}")
        if grammar not in (None, FREE, *FORMS):
            raise InputError(f"grammar is {grammar}; give {FREE} or one of {', '.join(FORMS)}")
        self.max_pixels = max_pixels
        # Runs with another budget are not mixed. That of tokens may grow: what was cut off is asked again.
        self.prompt_version = PROMPT_VERSION if max_pixels is None else f"{PROMPT_VERSION}, max_pixels {max_pixels}"
        self._form = grammar  # None until the service was asked
        self.name, self.concurrency = model, concurrency
        self.batch_size = 2 * concurrency  # so that one slow answer does not leave the other connections idle
        self.ledger = Ledger(
            cache or default_cache(),
            prices=prices,
            budget=budget,
            flag="-M cache=FILE",
            shared=cache is None,
            whole=cache is not None,  # an evaluation that is resumed asks for none of its earlier answers again
        )
        self._lost, self._replies = False, 0
        self._rejected: set[str] = set()  # pairs since the last reply
        self._at_fault: set[str] = set()  # rejected pairs with a reply behind them: the runner asks each once more
        self._cut_off: set[str] = set()
        self._unusable: dict[str, Exchange] = {}  # of a batch that failed, until the runner asks its pairs one by one
        self._url, self._times = url, {"timeout": timeout, "patience": patience, "backoff": backoff}
        with self._open_service() as service:  # rejects an unusable address or key at once
            self._url = service.url
        self.address = self._url.removesuffix("/chat/completions")
        self.notes: tuple[str, ...] = ()
        self._describe_form()
        self._accepted, self._answered = OPTIONAL | {"max_completion_tokens": max_tokens}, False
        self._bears_both = False  # it has answered a request for log-probabilities under a grammar
        self._lock, self._one_batch, self._one_search = threading.Lock(), threading.Lock(), threading.Lock()

    def __reduce__(self) -> NoReturn:
        refuse_copy(self, "the answers of a service")

    def prepare(self) -> None:
        """Ask the service for the form of the grammar, unless that is known; see `judge.Judge`."""
        with self._one_batch:
            try:
                with self.ledger.hold():
                    self._settle_form()
            except InputError as error:  # from the file of answers
                raise MachineError(str(error)) from None

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge several pairs at a time. When one fails, the others are still asked and their answers kept."""
        with self._one_batch:  # the ledger's lock keeps out other processes, not other threads
            replies = self._replies
            unusable: dict[str, Exchange] = {}
            try:
                with self.ledger.hold(), self._open_service() as service, ThreadPoolExecutor(self.concurrency) as pool:
                    self._settle_form()
                    try:
                        futures = [pool.submit(self._judge, service, pair, unusable) for pair in pairs]
                        wait(futures)
                    finally:  # after Ctrl-C some requests are still waiting
                        service.stop()
                        pool.shutdown(cancel_futures=True)
            except InputError as error:  # from the file of answers, not from a pair
                raise MachineError(str(error)) from None
            failed = any(isinstance(future.exception(), ServiceError) for future in futures)
            self._lost = replies == self._replies and (failed or self._lost)
            if any(future.exception() for future in futures):
                self._unusable |= unusable
            return [future.result() for future in futures]

    def request(self, pictures: Sequence[Image.Image], prompt: str | None = None) -> Completion:
        """One completion, past the ledger; with `prompt` instead of the prompt that all models get.

        ServiceError if the service rejects it or fails.
        """
        from lad_reasoner.remote.client import picture_part

        parts = [picture_part(image) for image in pictures]
        if prompt is None:
            body = self._body(parts)
        else:
            content = [*parts, {"type": "text", "text": prompt}]
            body = {"model": self.name, "messages": [{"role": "user", "content": content}]}
        with self._open_service() as service:
            completion = self._complete(service, body, lambda empty: None)
        self._answered = True
        return completion

    def find_form(self) -> str:
        """Ask, past the ledger, in which form the service obeys the grammar, and use it; see served_grammar.py."""
        self._form = self._ask_for_form(lambda completion: None)
        return self._form

    def dropped_parameters(self) -> list[str]:
        """The optional parameters that the service rejected so far."""
        return [name for name in OPTIONAL if name not in self._accepted]

    def describe_connection(self) -> tuple[str, int | None]:
        """See `ChatService.describe_connection`."""
        with self._open_service() as service:
            return service.describe_connection(self.name)

    def receipt(self) -> str:
        """Answers paid now, answers found in the cache, and dropped parameters, in one line."""
        dropped = self.dropped_parameters()
        parts = [
            f"paid: {self.ledger.paid.describe()}",
            f"already in {self.ledger.path}: {self.ledger.recalled.describe()}",
        ]
        if dropped:
            parts.append(f"the service does not take {', '.join(dropped)}")
        if self._cut_off:
            limit = self._accepted.get("max_completion_tokens")
            at = f"the limit of {limit} tokens; give more with -M max_tokens=…" if limit else "the service's own limit"
            were = "response was" if len(self._cut_off) == 1 else "responses were"
            parts.append(f"{len(self._cut_off)} {were} cut off at {at}")
        return "; ".join(parts)

    def _open_service(self) -> ChatService:
        require("httpx2", "hosted")
        from lad_reasoner.remote.client import ChatService

        service = ChatService(self._url, key_variable=KEY_VARIABLE, **self._times)
        # After a failed batch the runner asks pair by pair: a service that did not answer gets one try then.
        service.answered, service.lost = self._replies > 0, self._lost
        return service

    def _settle_form(self) -> None:
        """Know the form: given, kept in the file beside the answers, or found and kept now."""
        if self._form is not None:
            return
        path = self.ledger.path.with_suffix(".grammar.json")
        kept = _read_forms(path)
        mark = f"{self.name} at {self._url}, grammar {_FINGERPRINT}"
        if mark not in kept:
            try:
                kept[mark] = self._ask_for_form(lambda completion: self._bill_probe(mark, completion))
            except BudgetSpentError as error:
                raise MachineError(f"{error}; give more with -M budget=…, answers are kept") from None
            except ServiceError:
                self._lost = True
                raise
            except InputError as error:  # key, account, model or address
                raise ServiceError(str(error)) from None
            try:
                write_whole(path, json.dumps(kept, indent=2) + "\n")
            except OSError as error:
                raise MachineError(f"{path}: {error.strerror}; what was found could not be saved") from None
        else:
            self.ledger.recall(mark)
        self._form = kept[mark]
        self._describe_form()

    def _describe_form(self) -> None:
        asked = f"{self.name} was asked at {self.address}"
        if self._form:
            asked += f"; {describe_form(self._form)}"
        self.notes = (f"{asked}.", *self.notes[1:])

    def _ask_for_form(self, bill: Callable[[Completion], None]) -> str:
        with self._open_service() as service:
            return find_form(lambda fields: self._probe(service, fields, bill))

    def _probe(self, service: ChatService, fields: dict[str, Any], bill: Callable[[Completion], None]) -> str | None:
        """The response to `PROBE` with these fields; None if the service rejects them."""
        from lad_reasoner.remote.client import RefusedError

        body = {"model": self.name, "messages": [{"role": "user", "content": PROBE}], **fields}
        limits: dict[str, Any] = {"max_completion_tokens": PROBE_TOKENS, "temperature": 0}
        while True:
            try:
                completion = service.complete({**body, **limits}, bill)
            except RefusedError as error:
                fewer = _drop_rejected(limits, str(error), answered=True)
                if fewer == limits:
                    return None
                limits = fewer
            else:
                bill(completion)
                return join_reasoning(completion.text, completion.reasoning)

    def _bill_probe(self, mark: str, completion: Completion) -> None:
        """It costs, but is no answer."""
        if completion.input_tokens or completion.output_tokens:
            self.ledger.discard(_read_completion(mark, completion))
        self.ledger.check_means()

    def _judge(self, service: ChatService, pair: PicturePair, unusable: dict[str, Exchange]) -> Judgement:
        pictures = [within_budget(picture.image, self.max_pixels) for picture in (*pair.references, pair.query)]
        key = self._key(pictures)
        exchange = self._unusable.pop(key, None)
        if exchange is None:
            try:
                exchange = self.ledger.obtain(key, lambda: self._ask(service, key, pictures))
            except BudgetSpentError as error:
                raise MachineError(f"{error}; give more with -M budget=…, answers are kept") from None
            if not exchange.usable:
                unusable[key] = exchange
        self._answered = True
        if not is_same_model(self.name, exchange.model):
            self._remark(f"{self.name} was asked, but {exchange.model} answered.")
        judgement = Judgement.of(
            exchange.text, exchange.score, tokens=exchange.output_tokens, cut_off=not exchange.usable
        )
        if judgement.answer == "invalid" and exchange.finish in UNFINISHED:
            return replace(judgement, reason=UNFINISHED[exchange.finish])
        if judgement.answer == "invalid" and self._fields():
            self._remark(f"{self.name} was sent the response grammar as {self._form}, but does not always keep to it.")
        return judgement

    def _key(self, pictures: Sequence[Image.Image]) -> str:
        """The hash of the request with all optional parameters, and with hashes of the pixels for the pictures."""
        hashes = [{"size": image.size, "sha256": hashlib.sha256(image.tobytes()).hexdigest()} for image in pictures]
        request = {"url": self._url, "prompt_version": PROMPT_VERSION, **self._body(hashes), **OPTIONAL}
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

    def _body(self, pictures: Sequence[Any]) -> dict[str, Any]:
        following = iter(pictures)
        (message,) = build_messages(len(pictures) - 1)
        content = [next(following) if part["type"] == "image" else part for part in message["content"]]
        return {"model": self.name, "messages": [{**message, "content": content}], **self._fields()}

    def _fields(self) -> dict[str, Any]:
        return FORMS.get(self._form or "", {})

    def _remark(self, note: str) -> None:
        """Say something once."""
        with self._lock:
            if note not in self.notes:
                self.notes += (note,)
                logger.warning("%s: %s", self._url, note)

    def _ask(self, service: ChatService, key: str, pictures: Sequence[Image.Image]) -> Exchange:
        from lad_reasoner.remote.client import RefusedError, picture_part

        def read(completion: Completion) -> Exchange:
            exchange = _read_completion(key, completion)
            if completion.input_tokens is not None or completion.finish == "content_filter":
                return exchange
            self._remark(f"{self.name} does not say how many tokens it uses: they are estimated.")
            written = estimate_tokens(len(completion.text) + len(completion.reasoning))
            sent = estimate_tokens(len(build_prompt(len(pictures) - 1)), sum(map(_pixels, pictures)))
            return exchange.model_copy(update={"input_tokens": sent, "output_tokens": written})

        def discard(completion: Completion) -> None:
            self.ledger.discard(read(completion))
            self.ledger.check_means()

        try:
            completion = self._complete(service, self._body([picture_part(image) for image in pictures]), discard)
        except RefusedError as error:
            with self._lock:
                self._rejected |= {key} - self._at_fault
            if not self._answered:
                raise ServiceError(f"{error} (it has answered nothing so far)") from None
            if len(self._rejected) >= GIVE_UP_AFTER:
                reason = f"{len(self._rejected)} pairs in a row were rejected; answers are kept"
                raise ServiceError(f"{error} ({reason})") from None
            raise InputError(str(error)) from None
        except InputError as error:  # key, account, model or address: every other pair would fail, too
            raise ServiceError(str(error)) from None
        exchange = read(completion)
        with self._lock:
            self._replies += 1
            self._at_fault |= self._rejected
            self._rejected.clear()
            if completion.finish == "length" and not exchange.usable:
                self._cut_off.add(key)
        return exchange

    def _complete(
        self, service: ChatService, body: dict[str, Any], discard: Callable[[Completion], None]
    ) -> Completion:
        from lad_reasoner.remote.client import FaultError, RefusedError

        parameters, searched = self._accepted, False
        while True:
            doubtful = "logprobs" in parameters and bool(self._fields()) and not (self._bears_both or searched)
            try:
                completion = service.complete({**body, **parameters}, discard, faults=FAULTS if doubtful else None)
            except FaultError:
                searched = True
                parameters = self._find_breaking(service, body, parameters, discard)
            except RefusedError as error:
                remaining = _drop_rejected(parameters, str(error), answered=self._answered)
                if remaining == parameters:
                    raise
                parameters = remaining
            else:
                self._bears_both = self._bears_both or ("logprobs" in parameters and bool(self._fields()))
                with self._lock:  # other threads may have dropped others meanwhile
                    self._accepted = {name: parameters[name] for name in self._accepted if name in parameters}
                if JSON in body:
                    return completion.model_copy(update={"text": read_json(completion.text)})
                return completion

    def _find_breaking(
        self,
        service: ChatService,
        body: dict[str, Any],
        parameters: dict[str, Any],
        discard: Callable[[Completion], None],
    ) -> dict[str, Any]:
        """The parameters of a request that broke the service, without log-probabilities if they are what breaks it."""
        from lad_reasoner.remote.client import FaultError, RefusedError

        without = {name: value for name, value in parameters.items() if name not in ("logprobs", "top_logprobs")}
        with self._one_search:  # the other threads wait for what this one finds
            if "logprobs" not in self._accepted:
                return without
            if self._bears_both:
                return parameters
            try:
                discard(service.complete({**body, **without}, discard, faults=1))
            except (FaultError, RefusedError):
                return parameters  # it breaks all the same, and is asked until the patience is spent
            try:
                # Once more: what broke it may have passed meanwhile.
                discard(service.complete({**body, **parameters}, discard, faults=1))
            except FaultError:
                with self._lock:
                    self._accepted = {name: value for name, value in self._accepted.items() if name in without}
            else:
                return parameters
        self._remark(
            f"{self.name} breaks (status 500) where log-probabilities are asked for under the response grammar: they "
            "are left out, and there is no score."
        )
        return without


def load_hosted(
    name: str,
    *,
    server: str,
    cache: Path | None = None,
    prices: str | None = None,
    budget: float | None = None,
    concurrency: int = 8,
    max_tokens: int = OPTIONAL["max_completion_tokens"],
    max_pixels: int | None = None,
    grammar: str | None = None,
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
) -> HostedJudge:
    """A model behind an OpenAI-compatible service; `prices` of a million input and output tokens, such as 0.1,0.4.

    `grammar` is the field in which the response grammar is sent, or free for none; without it the service is asked.
    `timeout` is the time limit of a request in seconds, `patience` that of a request with its retries.
    """
    if budget is not None and prices is None:
        raise InputError(budget_needs_prices("-M budget", "-M prices=IN,OUT"))
    costs = None if prices is None else parse_prices(prices)
    return HostedJudge(
        server,
        name,
        cache=cache,
        prices=costs,
        budget=budget,
        concurrency=concurrency,
        max_tokens=max_tokens,
        max_pixels=max_pixels,
        grammar=grammar,
        timeout=timeout,
        patience=patience,
    )


def _read_forms(path: Path) -> dict[str, str]:
    """Service and model -> form; nothing of a file that cannot be read, since the service can be asked again."""
    with contextlib.suppress(OSError, ValueError):
        kept = load_json(path.read_bytes())
        if isinstance(kept, dict):
            return {str(mark): form for mark, form in kept.items() if form in (*FORMS, IGNORED, REFUSED)}
    return {}


def default_cache() -> Path:
    """The file of answers for judges without a run folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lad-reasoner/answers.jsonl"


def _read_completion(key: str, completion: Completion) -> Exchange:
    """A completion as a line of the ledger; a cut-off one is usable if its response is whole all the same."""
    text = join_reasoning(completion.text, completion.reasoning)
    structured = parse_response(text).structured
    return Exchange(
        key=key,
        text=text,
        finish=completion.finish,
        model=completion.model,
        input_tokens=completion.input_tokens or 0,
        output_tokens=completion.output_tokens or 0,
        score=score_answer(completion.written) if structured else None,
        usable=structured
        or completion.finish in FINAL
        or (completion.finish != "length" and bool(completion.text.strip())),
    )


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def _drop_rejected(parameters: dict[str, Any], message: str, *, answered: bool) -> dict[str, Any]:
    """The parameters without those that the error message names.

    If it names none, the first one is dropped as long as the service has not `answered` any pair: after that the pair
    itself is at fault.
    """
    words = message.casefold().replace("max_tokens", "max_completion_tokens")
    if "logprobs" in words and parameters.get("top_logprobs", 0) > FEWER_ALTERNATIVES:
        return {**parameters, "top_logprobs": FEWER_ALTERNATIVES}
    rejected = {name for name in parameters if name in words}
    if not rejected and not answered:
        rejected = set(list(parameters)[:1])
    if "logprobs" in rejected:
        rejected.add("top_logprobs")  # services reject it without `logprobs`
    return {name: value for name, value in parameters.items() if name not in rejected}
