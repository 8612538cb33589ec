"""What a service can do as a judge, measured with some twenty small requests.

    for finding in check_server("http://localhost:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct"):
        print(finding.name, finding.result)

The pictures are drawn anew for each check, so that nothing is in the service's caches from an earlier one.
"""

from __future__ import annotations

import math
import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import ServiceError
from lad_reasoner.judges.completions import answer_position, join_reasoning, score_answer
from lad_reasoner.judges.hosted import HostedJudge
from lad_reasoner.judges.served_grammar import FORMS

if TYPE_CHECKING:
    from lad_reasoner.remote.completion import Completion

SIDE = 336  # pixels
PAIRS = 3  # on which the grammar is checked
ROUNDS = 3  # of the measurement of time
REUSED = 0.8  # of the time of a new reference: a faster answer means that the prefix was reused
MANY = 5  # pictures in one request
TWO_PICTURES = "two pictures"
COLOUR_PROMPT = "What is the colour of the first image, and what is that of the second? Name the two colours in order."
COLOURS = {"red": (210, 30, 30), "blue": (30, 50, 210)}


@dataclass(frozen=True)
class Finding:
    """One property of a service; `good` is None if it could not be measured."""

    name: str
    result: str
    good: bool | None = None


def check_server(url: str, model: str, *, patience: float = 60.0) -> Iterator[Finding]:
    """The findings as they come; the only one if the service does not take two pictures.

    ServiceError if the service does not answer for `patience` seconds.
    """
    judge = HostedJudge(url, model, patience=patience)
    for finding in _check_pictures(judge):
        yield finding
        if finding.name == TWO_PICTURES and finding.good is False:
            return
    form = judge.find_form()
    asked = [_draw_pair() for _ in range(PAIRS)]
    completions = [judge.request(pair) for pair in asked]
    yield _check_grammar(form, completions)
    yield _check_logprobs(completions)
    yield _check_agreement(completions[0], judge.request(asked[0]))
    yield _check_prefix(HostedJudge(url, model, max_tokens=1, patience=patience))
    dropped = ", ".join(judge.dropped_parameters())
    yield Finding("parameters", f"rejected: {dropped}" if dropped else "all are taken", not dropped)
    yield _check_limits(judge)
    proxy, context = judge.describe_connection()
    yield Finding("proxy", proxy or "none")
    yield Finding("context", f"{context} tokens" if context else "the service does not say how long")


def _check_pictures(judge: HostedJudge) -> Iterator[Finding]:
    pictures = [Image.new("RGB", (SIDE, SIDE), colour) for colour in COLOURS.values()]
    alone = judge.request(pictures[:1], COLOUR_PROMPT)
    try:
        both = judge.request(pictures, COLOUR_PROMPT)
    except ServiceError as error:
        yield Finding(TWO_PICTURES, str(error), good=False)
        return
    # The last mention of each colour: a reasoning may name them before.
    places = [both.text.casefold().rfind(colour) for colour in COLOURS]
    named = min(places) >= 0
    sizes = alone.input_tokens, both.input_tokens
    if None in sizes:
        yield Finding(TWO_PICTURES, "taken" if named else "not told: the service counts no tokens", good=named or None)
    else:
        counted = f"{sizes[0]} tokens with one, {sizes[1]} with two"
        taken = named or sizes[0] != sizes[1]
        yield Finding(TWO_PICTURES, f"{'taken' if taken else 'one is dropped'}: {counted}", good=taken)
    if not named:
        yield Finding("order", "not told by the answer")
    else:
        kept = places[0] < places[1]
        yield Finding("order", "as sent: the first picture is the reference" if kept else "reversed", good=kept)


def _check_grammar(form: str, completions: Sequence[Completion]) -> Finding:
    texts = [join_reasoning(completion.text, completion.reasoning) for completion in completions]
    structured = sum(parse_response(text).structured for text in texts)
    cut = sum(completion.finish == "length" for completion in completions)
    apart = ", reasoning apart from the text" if any(completion.reasoning for completion in completions) else ""
    sent = f"sent as `{form}`" if form in FORMS else f"sent, but {form}"
    result = f"{sent}: {structured} of {len(texts)} responses{apart}{f', {cut} cut off' if cut else ''}"
    return Finding("grammar", result, good=structured == len(texts))


def _check_logprobs(completions: Sequence[Completion]) -> Finding:
    """Unmasked ones hold other words beside yes and no at the answer, if only with a small probability."""
    if not any(completion.written for completion in completions):
        return Finding("log-probabilities", "none: there is no score", good=False)
    scores = [score_answer(completion.written) for completion in completions]
    if None in scores:
        return Finding("log-probabilities", "none at the answer: there is no score", good=False)
    others = 0
    for completion in completions:
        token, before = answer_position(completion.written) or (completion.written[-1], "")
        for alternative in token.top_logprobs:
            word = alternative.token.removeprefix(before).strip().casefold()
            others += math.exp(alternative.logprob) > 0 and re.match(r"y|n", word) is None
    return Finding(
        "log-probabilities", "there, unmasked" if others else "there, but masked to yes and no", bool(others)
    )


def _check_agreement(first: Completion, second: Completion) -> Finding:
    score, other_score = score_answer(first.written), score_answer(second.written)
    same = first.text == second.text
    apart = 0.0 if score is None or other_score is None else abs(score - other_score)
    result = "the same text twice" if same else "two texts for the same question"
    return Finding("identical queries", result + (f", scores {apart:.2g} apart" if apart else ""), good=same)


def _check_prefix(judge: HostedJudge) -> Finding:
    """Time to the first token: of a second query with the same reference, and with a new reference."""
    same, new, cached = [], [], 0
    for _ in range(ROUNDS):
        reference, query = _draw_pair()
        judge.request([reference, query])
        seconds, completion = _measure(judge, [reference, _draw_pair()[1]])
        same.append(seconds)
        cached += completion.cached_tokens or 0
        new.append(_measure(judge, _draw_pair())[0])
    fast, slow = statistics.median(same), statistics.median(new)
    times = f"first token after {fast:.2f} s with the same reference, {slow:.2f} s with a new one"
    if cached:
        return Finding("prefix", f"reused ({cached} tokens in {ROUNDS} queries): {times}", good=True)
    return Finding(
        "prefix", f"{'reused' if fast < REUSED * slow else 'not reused'}: {times}", good=fast < REUSED * slow
    )


def _check_limits(judge: HostedJudge) -> Finding:
    try:
        judge.request([_draw_pair()[0] for _ in range(MANY)])
    except ServiceError as error:
        return Finding("limits", f"{MANY} pictures: {error}", good=False)
    return Finding("limits", f"{MANY} pictures are taken", good=True)


def _measure(judge: HostedJudge, pictures: Sequence[Image.Image]) -> tuple[float, Completion]:
    start = time.perf_counter()
    completion = judge.request(pictures)
    return time.perf_counter() - start, completion


def _draw_pair() -> tuple[Image.Image, Image.Image]:
    """Four discs on a ground of a random colour, and the same with one of them missing."""
    ground = tuple(random.randint(150, 230) for _ in range(3))
    places = [(80, 80), (250, 80), (80, 250), (250, 250)]
    pictures = []
    for number in (4, 3):
        picture = Image.new("RGB", (SIDE, SIDE), ground)
        for x, y in places[:number]:
            ImageDraw.Draw(picture).ellipse((x - 40, y - 40, x + 40, y + 40), (60, 60, 70))
        pictures.append(picture)
    return pictures[0], pictures[1]
