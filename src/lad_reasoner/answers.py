"""THE parser of a response: `<think>reasoning</think><answer>yes|no</answer>` and nothing else.

Rewards, inspection and evaluation all call `parse_response`, so that training and measurement cannot disagree.

Deviation from the paper, which rewards "the predefined format" without defining it (section 4.2): the grammar is
strict, so that neither an empty reasoning nor a second answer nor text around the tags earns a reward. A reasoning
without a visible character is empty: white space, zero-width and control characters, blank letters.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Answer = Literal["yes", "no", "invalid"]

# Letters and symbols without ink: the empty Braille pattern, fillers of Hangul, the null note.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_STRUCTURE = re.compile(r"<think>(.*?)</think>\s*<answer>\s*([Yy][Ee][Ss]|[Nn][Oo])\s*</answer>", re.DOTALL)


@dataclass(frozen=True)
class Response:
    """What a response says. `reasoning` is empty and `answer` is `invalid` unless it is `structured`."""

    reasoning: str
    answer: Answer
    structured: bool


def parse_response(text: str) -> Response:
    """Read a response; never raises. Tags are lower case, the answer may have any case and white space around it."""
    match = _STRUCTURE.fullmatch(text.strip())
    if match is None:
        return Response("", "invalid", False)
    reasoning = match[1].strip()
    if not is_visible(reasoning) or any(text.lower().count(tag) != 1 for tag in TAGS):
        return Response("", "invalid", False)
    return Response(reasoning, "yes" if match[2].lower() == "yes" else "no", True)


def is_visible(text: str) -> bool:
    """Whether a reader sees anything: a letter, digit, sign or symbol that is not blank."""
    return any(unicodedata.category(letter)[0] in "LNPS" and letter not in _BLANKS for letter in text)


def format_response(reasoning: str, anomalous: bool) -> str:
    """The structured response with this reasoning; raises `ValueError` if it is empty or holds a tag."""
    response = f"<think>{reasoning}</think><answer>{'yes' if anomalous else 'no'}</answer>"
    if not parse_response(response).structured:
        raise ValueError("the reasoning is empty or holds a tag of the response grammar")
    return response
