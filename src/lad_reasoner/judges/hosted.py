"""A model behind an OpenAI-compatible service as a judge: vLLM, SGLang, hosted models, Gemini's endpoint for it.

    judge = HostedJudge("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-72B-Instruct")

It gets the prompt that every model gets, with the pictures as JPEG, several pairs at a time. Nothing makes its
responses structured, as decoding in this process does: those that are not stay invalid. A service that takes the
reasoning out of the text (a "reasoning parser") gets it put back.

The score is P(yes) / (P(yes) + P(no)) at the answer from the service's log-probabilities, where it gives them; of a
token that is not among the likeliest ones that it tells, the probability is taken as 0. Elsewhere there is no score.

Every answer that was paid for is kept (`ledger.py`). What fails for all pairs (network, key, budget) is a
`MachineError`, so that an evaluation ends and can be resumed; a pair that the service refuses is an `InputError`.

Of the `WISHES` a service may refuse some: what its refusal names is left out from then on. Where it names none, and
nothing was answered so far, one after the other is tried without.
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

from lad_reasoner.errors import InputError, MachineError, MissingExtraError, ServiceError
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.prompts import PROMPT_VERSION, build_messages
from lad_reasoner.remote.ledger import BudgetSpentError, Exchange, Ledger
from lad_reasoner.remote.prices import Bill, Prices, parse_prices

if TYPE_CHECKING:
    from lad_reasoner.remote.client import ChatService, Completion, Token

KEY_VARIABLE = "LAD_SERVER_KEY"
# Ended somewhere, with as many alternatives at the answer as services give, and greedy; what is dearest comes last.
WISHES: dict[str, Any] = {"max_completion_tokens": 4096, "logprobs": True, "top_logprobs": 20, "temperature": 0}
FEWER_ALTERNATIVES = 5

_ANSWER = re.compile(r"<answer>\s*(yes|no)\s*</answer>", re.IGNORECASE)
_MEANS_YES, _MEANS_NO = re.compile(r"(y|ye|yes)(\W|\Z)"), re.compile(r"(n|no)(\W|\Z)")


class HostedJudge:
    """See `judge.Judge` and the module's docstring.

    `url` is the base address (`https://…/v1`); the key comes from the environment variable LAD_SERVER_KEY. `cache` is a
    file of JSON lines, by default one in the user's cache folder. For `prices` and `budget` see `ledger.Ledger`, for
    `timeout`, `patience` and `backoff` `client.ChatService`.
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
        self.name, self.concurrency = model, concurrency
        self.batch_size = 2 * concurrency  # so that a slow answer does not leave all others idle
        self.ledger = Ledger(cache or default_cache(), prices=prices, budget=budget)
        self._lost = False
        self._url, self._times = url, {"timeout": timeout, "patience": patience, "backoff": backoff}
        with self._open_service() as service:  # refuses a wrong address or key at once
            self._url = service.url
        self.notes: tuple[str, ...] = (
            f"{model} was asked at {self._url.removesuffix('/chat/completions')}; its responses are as it wrote them.",
        )
        self._wishes, self._answered = dict(WISHES), False
        self._lock, self._one_batch = threading.Lock(), threading.Lock()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge several at a time. When one fails, the others are still asked, and their answers kept for later."""
        with self._one_batch:  # the ledger's lock is one process's, not one thread's
            try:
                with self.ledger.hold(), self._open_service() as service, ThreadPoolExecutor(self.concurrency) as pool:
                    try:
                        futures = [pool.submit(self._judge, service, pair) for pair in pairs]
                        wait(futures)
                    finally:  # only Ctrl-C leaves some waiting
                        service.stop()
                        pool.shutdown(cancel_futures=True)
            except InputError as error:  # the file of answers: no pair is at fault
                raise MachineError(str(error)) from None
        return [future.result() for future in futures]

    def receipt(self) -> str:
        """What was paid, and what was there already, in one line."""
        paid, recalled = self.ledger.paid, self.ledger.recalled
        left_out = [name for name in WISHES if name not in self._wishes]
        lines = [f"paid: {_told(paid)}", f"already in {self.ledger.path}: {_told(recalled)}"]
        lines += [f"the service does not take {', '.join(left_out)}"] if left_out else []
        return "; ".join(lines)

    def _open_service(self) -> ChatService:
        try:
            from lad_reasoner.remote.client import ChatService
        except ImportError as error:
            raise MissingExtraError(error.name or "httpx2", "hosted") from None
        # A service that was just given up gets one try, when the pairs are asked again one by one.
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
        """The hash of the request as it is wished, with each picture's pixels in the picture's place."""
        shown = [{"size": image.size, "sha256": hashlib.sha256(image.tobytes()).hexdigest()} for image in pictures]
        asked = {"url": self._url, "prompt_version": PROMPT_VERSION, **self._body(shown), **WISHES}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

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
        except InputError as error:  # key, model or address: no other pair would be answered either
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

        wishes = self._wishes
        while True:
            try:
                completion = service.complete({**body, **wishes})
            except RefusedError as error:
                fewer = _fewer(wishes, str(error), anything=self._answered)
                if fewer == wishes:
                    raise
                wishes = fewer
            else:
                with self._lock:  # what was granted to one pair is asked for all
                    self._wishes = {name: wishes[name] for name in self._wishes if name in wishes}
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
    """A model behind an OpenAI-compatible service; `prices` for a million input and output tokens, such as 0.1,0.4."""
    costs = None if prices is None else parse_prices(prices)
    return HostedJudge(server, name, cache=cache, prices=costs, budget=budget, concurrency=concurrency)


def default_cache() -> Path:
    """Where answers are kept when no run folder is there to keep them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lad-reasoner/answers.jsonl"


def score_answer(written: Sequence[Token]) -> float | None:
    """P(yes) / (P(yes) + P(no)) where the answer begins, or None where the tokens do not tell.

    A token may begin before the answer (`>yes`), hold only a part of it (`y`) or go on after it (`yes</`).
    """
    found = list(_ANSWER.finditer("".join(token.token for token in written)))
    if not found:
        return None
    begins, at = found[-1].start(1), 0
    for token in written:
        if at + len(token.token) > begins:
            break
        at += len(token.token)
    before = token.token[: begins - at]
    yes = no = 0.0
    for text, logprob in {one.token: one.logprob for one in (*token.top_logprobs, token)}.items():
        if not before.strip():
            word = text.lstrip().lower()
        elif text.startswith(before):
            word = text[len(before) :].lower()
        else:
            continue
        yes += math.exp(logprob) if _MEANS_YES.match(word) else 0.0
        no += math.exp(logprob) if _MEANS_NO.match(word) else 0.0
    return yes / (yes + no) if yes + no > 0 else None


def _fewer(wishes: dict[str, Any], refusal: str, *, anything: bool) -> dict[str, Any]:
    """The wishes without those that the refusal names; the same where it is not about them."""
    words = refusal.casefold().replace("max_tokens", "max_completion_tokens")
    if "logprobs" in words and wishes.get("top_logprobs", 0) > FEWER_ALTERNATIVES:
        return {**wishes, "top_logprobs": FEWER_ALTERNATIVES}
    named = {name for name in wishes if name in words}
    if not named and not anything:
        named = set(list(wishes)[:1])
    if "logprobs" in named:
        named.add("top_logprobs")  # which is refused without it
    return {name: value for name, value in wishes.items() if name not in named}


def _told(bill: Bill) -> str:
    cost = "" if bill.cost is None else f", cost {bill.cost:.4g}"
    return f"{bill.answers} answers ({bill.input_tokens} input and {bill.output_tokens} output tokens{cost})"
