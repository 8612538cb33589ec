"""What a service wrote -> the response and its score.

response = join_reasoning(completion.text, completion.reasoning)
score = score_answer(completion.written)                          # P(yes) at the answer, None if it is unknown
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lad_reasoner.answers import parse_response
from lad_reasoner.judges.served_grammar import quote_tags

if TYPE_CHECKING:
    from lad_reasoner.remote.completion import Token

# In tags, or in an object of the JSON schema.
_ANSWER = re.compile(r'(?:<answer>\s*|"yes_or_no"\s*:\s*")(yes|no)(?:\s*</answer>|")', re.IGNORECASE)
_MEANS_YES, _MEANS_NO = re.compile(r"(y|ye|yes)(\W|\Z)"), re.compile(r"(n|no)(\W|\Z)")


def join_reasoning(text: str, reasoning: str) -> str:
    """The response that the model wrote, from the text and the reasoning that the service separated from it.

    If the chat template opens the reasoning, the text holds `</think>` without `<think>`. Only a reasoning that is put
    back loses its quoted tags: of one that stands in the text, nobody knows where it ends.
    """
    if not text.strip() and parse_response(reasoning).structured:
        return reasoning
    if "<think>" in text:
        return text
    if text.count("</think>") == 1:
        before, _, text = text.partition("</think>")
        reasoning += before
    elif not reasoning.strip():
        return text
    return f"<think>{quote_tags(reasoning)}</think>{text}"


def answer_position(written: Sequence[Token]) -> tuple[Token, str] | None:
    """The token in which the last answer begins, and what it holds before the answer; None if there is no answer."""
    answers = list(_ANSWER.finditer("".join(token.token for token in written)))
    if not answers:
        return None
    answer_start, token_start = answers[-1].start(1), 0
    for token in written:
        if token_start + len(token.token) > answer_start:
            break
        token_start += len(token.token)
    return token, token.token[: answer_start - token_start]


def score_answer(written: Sequence[Token]) -> float | None:
    """P(yes) / (P(yes) + P(no)) where the answer begins; None if there is no answer or neither word is an alternative.

    None as well if the service gives no alternatives: then P(no) is unknown beside `yes`, not 0.

    A token may begin before the answer (`>yes`), hold only a part of it (`y`) or end after it (`yes</`).
    """
    position = answer_position(written)
    if position is None:
        return None
    token, before = position
    if not token.top_logprobs or token.logprob == -math.inf:  # what was written is not impossible: it is not told
        return None
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
