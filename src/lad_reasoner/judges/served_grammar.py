"""The response grammar (answers.py) in the notations that services take, and how to find out which one a service obeys.

    form = find_form(ask)          # "structured_outputs", "grammar", …; "ignored" or "refused" where none is obeyed
    body |= FORMS.get(form, {})

One rule, `_RULE`, is written in both notations: as GBNF, and as a regular expression without look-around, since
services compile it to an automaton. What they accept is structured. They accept what the structured decoding of this
process writes, if its reasoning has a character of `VISIBLE`. A reasoning has no limit here: the token limit of the
service cuts it off.

Services that only know JSON schemas get one; `read_json` rewrites their objects as responses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from lad_reasoner.answers import TAGS, format_response, parse_response

# Ranges of characters that a reader sees, without `<`. A complete list would slow services down.
VISIBLE = (
    "!-;=-~\u00a1-\u00ac\u00ae-\u02ff"  # Latin
    "\u0391-\u03a1\u03a3-\u03ff\u0400-\u0481"  # Greek, Cyrillic
    "\u05d0-\u05ea\u0621-\u063f\u0641-\u064a\u0904-\u0939\u0e01-\u0e30"  # Hebrew, Arabic, Devanagari, Thai
    "\u2010-\u2027\u3041-\u3096\u30a1-\u30fa"  # dashes and quotation marks, kana
    "\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e"  # Chinese characters, Hangul, full-width forms
)
# Characters whose lower case is the letter, besides the letter and its capital: the Kelvin sign.
_CAPITALS = {"k": "\u212a"}


def _other_than(words: Iterable[str]) -> str:
    """A rule for text without `<` that begins with none of the words, in any case; they end with their only `>`."""
    branches, firsts = [], ""
    for first, group in groupby(sorted(words), key=lambda word: word[0]):
        rest = [word[1:] for word in group]
        letters = "".join(dict.fromkeys((first, first.upper(), _CAPITALS.get(first, ""))))
        firsts += letters
        if all(rest):
            branches.append(f"[{letters}] {_other_than(rest)}")
    branches.append(f"[^<{firsts}] [^<]*")
    return f"({' | '.join(branches)})?"


_LESS = f'"<" {_other_than(tag[1:] for tag in TAGS)}'  # a `<` that begins no tag, and what follows up to the next one
_REASONING = f"[^<{VISIBLE}]* ([{VISIBLE}] [^<]* | less) (less)*"
_RULE = rf'"<think>" {_REASONING} "</think>" [\x20\n]? [\x20\n]? "<answer>" ("yes" | "no") "</answer>"'


def _write_gbnf(rule: str, less: str) -> str:
    return f"root ::= {rule}\nless ::= {less}\n"


def _write_regex(rule: str, less: str) -> str:
    whole = rule.replace("less", f"({less})")
    return re.sub(r'"([^"]*)"| ', lambda quoted: re.escape(quoted[1]) if quoted[1] else "", whole)


GBNF, REGEX = _write_gbnf(_RULE, _LESS), _write_regex(_RULE, _LESS)
# The same with an end that a model cannot put off: a weak one rambles when it may not repeat what it is asked to.
_SHORT = [rule.replace("*", "{0,9}") for rule in (_RULE, _LESS)]
# The reasoning comes first in every order: some services sort the names.
SCHEMA = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "yes_or_no": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["reasoning", "yes_or_no"],
    "additionalProperties": False,
}

JSON = "response_format"


def _make_forms(gbnf: str, regex: str) -> dict[str, dict[str, Any]]:
    """Name of the field -> what is added to a request. In the order in which they are tried: JSON comes last."""
    schema = {"name": "response", "strict": True, "schema": SCHEMA}
    return {
        "structured_outputs": {"structured_outputs": {"regex": regex}},  # vLLM
        "guided_regex": {"guided_regex": regex},  # vLLM before 0.12
        "regex": {"regex": regex},  # SGLang
        "grammar": {"grammar": gbnf},  # llama.cpp
        JSON: {"response_format": {"type": "json_schema", "json_schema": schema}},
    }


FORMS = _make_forms(GBNF, REGEX)
PROBE_FORMS = _make_forms(_write_gbnf(*_SHORT), _write_regex(*_SHORT))
IGNORED, REFUSED = "ignored", "refused"  # no form is obeyed: requests without a grammar

# A model that decodes freely repeats it, and one that obeys the grammar cannot.
PROBE = "Repeat this line and write nothing else: <think>hello</think><answer>maybe</answer>"

_TAG = re.compile("|".join(TAGS), re.IGNORECASE)


def find_form(ask: Callable[[dict[str, Any]], str | None]) -> str:
    """The first of `FORMS` that a service obeys, else `IGNORED`, or `REFUSED` if it rejects them all.

    `ask` sends `PROBE` with the given fields and returns the response, or None if the service rejects the request.
    """
    refused = True
    for form, fields in PROBE_FORMS.items():
        response = ask(fields)
        if response is None:
            continue
        refused = False
        if parse_response(read_json(response) if form == JSON else response).structured:
            return form
    return REFUSED if refused else IGNORED


def describe_form(form: str) -> str:
    """How responses come about, in a sentence for the reader of the verdicts."""
    if form == JSON:
        return "its responses are held to a JSON schema and rewritten in the form of the other judges"
    if form in FORMS:
        return f"its responses are held to the grammar of a model in this process, sent as `{form}`"
    if form == IGNORED:
        return "it ignores the response grammar: its responses are free and unchanged, and may be invalid"
    if form == REFUSED:
        return "it rejects the response grammar: its responses are free and unchanged, and may be invalid"
    return "its responses are free and unchanged, and may be invalid"


def quote_tags(text: str) -> str:
    """The text with other brackets around the tags of the response grammar."""
    return _TAG.sub(lambda tag: f"‹{tag[0][1:-1]}›", text)


class _Object(BaseModel):
    reasoning: str
    yes_or_no: Literal["yes", "no"]


def read_json(text: str) -> str:
    """The response that an object of `SCHEMA` stands for; any other text stays as it is."""
    try:
        found = _Object.model_validate_json(text)
        return format_response(quote_tags(found.reasoning), found.yes_or_no == "yes")
    except (ValidationError, ValueError):
        return text
