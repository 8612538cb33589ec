"""A model behind an OpenAI-compatible service as a judge: vLLM, SGLang, hosted models, Gemini.

    judge = HostedJudge("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-72B-Instruct")

The model gets the same prompt as every other model, with the pictures as JPEG; several pairs are asked at a time. The
service decodes freely, without the structured decoding of this process, so a response may be invalid. If the service
moves the reasoning out of the text (a "reasoning parser"), it is put back.

The score is P(yes) / (P(yes) + P(no)) at the answer, from the service's log-probabilities; a token that is not among
the alternatives has probability 0. A service without log-probabilities gives no score.

Every paid answer is kept (`remote/ledger.py`). A failure that concerns all pairs (network, key, budget) is a
`MachineError`: an evaluation ends and can be resumed. A pair that the service rejects is an `InputError`.

Some services reject optional parameters; one named in the error is dropped for all later requests. If the error names
none and nothing has been answered yet, the optional parameters are dropped one after the other.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lad_reasoner.errors import InputError, MachineError, ServiceError, require
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.prompts import PROMPT_VERSION, build_messages
from lad_reasoner.remote.ledger import BudgetSpentError, Exchange, Ledger
from lad_reasoner.remote.prices import Bill, Prices, parse_prices

if TYPE_CHECKING:
    from lad_reasoner.remote.client import ChatService, Completion, Token

KEY_VARIABLE = "LAD_SERVER_KEY"
# A length limit, as many alternatives at the answer as services give, and greedy decoding. The parameter that matters
# most comes last, since they are dropped in this order.
OPTIONAL: dict[str, Any] = {"max_completion_tokens": 4096, "logprobs": True, "top_logprobs": 20, "temperature": 0}
FEWER_ALTERNATIVES = 5

_ANSWER = re.compile(r"<answer>\s*(yes|no)\s*</answer>", re.IGNORECASE)
_MEANS_YES, _MEANS_NO = re.compile(r"(y|ye|yes)(\W|\Z)"), re.compile(r"(n|no)(\W|\Z)")


class HostedJudge:
    """See `judge.Judge` and the module's docstring.

    `url` is the base address (`https://…/v1`); the key comes from the environment variable LAD_SERVER_KEY. `cache` is a
    file of JSON lines, by default one in the user's cache folder. `prices` and `budget` are those of
    `remote.ledger.Ledger`; `timeout`, `patience` and `backoff` those of `remote.client.ChatService`. InputError for an
    address, a key or a number that cannot be used.
    """

    prompt_version = PROMPT_VERSION
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
        timeout: float = 120.0,
        patience: float = 120.0,
        backoff: float = 1.0,
    ) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency is {concurrency}; give at least 1")
        self.name, self.concurrency = model, concurrency
        self.batch_size = 2 * concurrency  # so that one slow answer does not leave the other connections idle
        self.ledger = Ledger(cache or default_cache(), prices=prices, budget=budget)
        self._lost = False
        self._url, self._times = url, {"timeout": timeout, "patience": patience, "backoff": backoff}
        with self._open_service() as service:  # rejects an unusable address or key at once
            self._url = service.url
        self.notes: tuple[str, ...] = (
            f"{model} was asked at {self._url.removesuffix('/chat/completions')}; its responses are unchanged.",
        )
        self._accepted, self._answered = dict(OPTIONAL), False
        self._lock, self._one_batch = threading.Lock(), threading.Lock()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge several pairs at a time. When one fails, the others are still asked and their answers kept."""
        with self._one_batch:  # the ledger's lock keeps out other processes, not other threads
            try:
                with self.ledger.hold(), self._open_service() as service, ThreadPoolExecutor(self.concurrency) as pool:
                    try:
                        futures = [pool.submit(self._judge, service, pair) for pair in pairs]
                        wait(futures)
                    finally:  # after Ctrl-C some requests are still waiting
                        service.stop()
                        pool.shutdown(cancel_futures=True)
            except InputError as error:  # from the file of answers, not from a pair
                raise MachineError(str(error)) from None
        return [future.result() for future in futures]

    def receipt(self) -> str:
        """Answers paid now, answers found in the cache, and dropped parameters, in one line."""
        dropped = [name for name in OPTIONAL if name not in self._accepted]
        parts = [
            f"paid: {_describe(self.ledger.paid)}",
            f"already in {self.ledger.path}: {_describe(self.ledger.recalled)}",
        ]
        if dropped:
            parts.append(f"the service does not take {', '.join(dropped)}")
        return "; ".join(parts)

    def _open_service(self) -> ChatService:
        require("httpx2", "hosted")
        from lad_reasoner.remote.client import ChatService

        # After a failed batch the runner asks pair by pair: a service that did not answer gets one try then.
        times = self._times | ({"patience": 0.0} if self._lost else {})
        return ChatService(self._url, key_variable=KEY_VARIABLE, **times)

    def _judge(self, service: ChatService, pair: PicturePair) -> Judgement:
        pictures = [*(reference.image for reference in pair.references), pair.query.image]
        key = self._key(pictures)
        try:
            exchange = self.ledger.obtain(key, lambda: self._ask(service, key, pictures))
        except BudgetSpentError as error:
            raise MachineError(f"{error}; give more with -M budget=…, answers are kept") from None
        self._answered = True
        return Judgement.of(exchange.text, exchange.score, tokens=exchange.output_tokens)

    def _key(self, pictures: Sequence[Image.Image]) -> str:
        """The hash of the request with all optional parameters, and with hashes of the pixels for the pictures."""
        hashes = [{"size": image.size, "sha256": hashlib.sha256(image.tobytes()).hexdigest()} for image in pictures]
        request = {"url": self._url, "prompt_version": PROMPT_VERSION, **self._body(hashes), **OPTIONAL}
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

    def _body(self, pictures: Sequence[Any]) -> dict[str, Any]:
        following = iter(pictures)
        (message,) = build_messages(len(pictures) - 1)
        content = [next(following) if part["type"] == "image" else part for part in message["content"]]
        return {"model": self.name, "messages": [{**message, "content": content}]}

    def _ask(self, service: ChatService, key: str, pictures: Sequence[Image.Image]) -> Exchange:
        from lad_reasoner.remote.client import RefusedError, picture_part

        try:
            completion = self._complete(service, self._body([picture_part(image) for image in pictures]))
        except RefusedError as error:
            if self._answered:
                raise InputError(str(error)) from None
            raise ServiceError(f"{error} (it has answered nothing so far)") from None
        except ServiceError:
            self._lost = True
            raise
        except InputError as error:  # key, model or address: every other pair would fail, too
            raise ServiceError(str(error)) from None
        self._lost = False
        text = completion.text
        if completion.reasoning and "<think>" not in text:
            text = f"<think>{completion.reasoning}</think>{text}"
        return Exchange(
            key=key,
            text=text,
            finish=completion.finish,
            model=completion.model,
            input_tokens=completion.input_tokens or 0,
            output_tokens=completion.output_tokens or 0,
            score=None if Judgement.of(text).answer == "invalid" else score_answer(completion.written),
        )

    def _complete(self, service: ChatService, body: dict[str, Any]) -> Completion:
        from lad_reasoner.remote.client import RefusedError

        parameters = self._accepted
        while True:
            try:
                completion = service.complete({**body, **parameters})
            except RefusedError as error:
                remaining = _drop_rejected(parameters, str(error), answered=self._answered)
                if remaining == parameters:
                    raise
                parameters = remaining
            else:
                with self._lock:  # other threads may have dropped others meanwhile
                    self._accepted = {name: parameters[name] for name in self._accepted if name in parameters}
                return completion


def load_hosted(
    name: str,
    *,
    server: str,
    cache: Path | None = None,
    prices: str | None = None,
    budget: float | None = None,
    concurrency: int = 8,
) -> HostedJudge:
    """A model behind an OpenAI-compatible service; `prices` of a million input and output tokens, such as 0.1,0.4."""
    costs = None if prices is None else parse_prices(prices)
    return HostedJudge(server, name, cache=cache, prices=costs, budget=budget, concurrency=concurrency)


def default_cache() -> Path:
    """The file of answers for judges without a run folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lad-reasoner/answers.jsonl"


def score_answer(written: Sequence[Token]) -> float | None:
    """P(yes) / (P(yes) + P(no)) where the answer begins; None if there is no answer or neither word is an alternative.

    A token may begin before the answer (`>yes`), hold only a part of it (`y`) or end after it (`yes</`).
    """
    answers = list(_ANSWER.finditer("".join(token.token for token in written)))
    if not answers:
        return None
    answer_start, token_start = answers[-1].start(1), 0
    for token in written:
        if token_start + len(token.token) > answer_start:
            break
        token_start += len(token.token)
    before = token.token[: answer_start - token_start]  # what the token holds before the answer
    logprobs = {alternative.token: alternative.logprob for alternative in (*token.top_logprobs, token)}
    yes = no = 0.0
    for text, logprob in logprobs.items():
        if not before.strip():
            word = text.lstrip().lower()
        elif text.startswith(before):
            word = text[len(before) :].lower()
        else:
            continue
        yes += math.exp(logprob) if _MEANS_YES.match(word) else 0.0
        no += math.exp(logprob) if _MEANS_NO.match(word) else 0.0
    return yes / (yes + no) if yes + no > 0 else None


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


def _describe(bill: Bill) -> str:
    cost = "" if bill.cost is None else f", cost {bill.cost:.4g}"
    return f"{bill.answers} answers ({bill.input_tokens} input and {bill.output_tokens} output tokens{cost})"
