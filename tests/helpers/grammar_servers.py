"""Servers that obey the response grammar in one form, as vLLM, SGLang, llama.cpp and others do, or in none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from helpers.chat_server import ECHO, Act, Behaviour
from lad_reasoner.judges.served_grammar import FORMS

USUAL = {"model", "messages", "max_completion_tokens", "temperature", "logprobs", "top_logprobs"}
THINKABLE = (ECHO, ECHO.replace("maybe", "yes"), json.dumps({"reasoning": "hello", "yes_or_no": "yes"}))


def decode(body: dict[str, Any], form: str, texts: Sequence[str]) -> str:
    """The first of the texts that a server with this form may write; the first of all if no form is sent."""
    if form not in body:
        return texts[0]
    sent = body[form]
    if form == "response_format":
        schema = sent["json_schema"]["schema"]
        assert sent["type"] == "json_schema" and schema["additionalProperties"] is False
        return next(text for text in texts if fits_schema(text, schema))
    pattern = gbnf_as_regex(sent) if form == "grammar" else sent["regex"] if form == "structured_outputs" else sent
    return next(text for text in texts if re.fullmatch(pattern, text))


def obeying(form: str, *, strict: bool = False) -> Behaviour:
    """Answers to the question for the grammar; a `strict` server rejects all fields that it does not know."""

    def act(body: dict[str, Any], before: int) -> Act:
        unknown = sorted(body.keys() - USUAL - {form})
        if strict and unknown:
            return refusal(f"Extra inputs are not permitted: {unknown[0]}")
        return Act("answer", decode(body, form, THINKABLE))

    return act


def refusal(words: str) -> Act:
    """Status 400 with these words."""
    return Act("status", json.dumps({"error": {"message": words}}), status=400)


def refuse_unknown(body: dict[str, Any], before: int) -> Act:
    """A server that takes no form."""
    unknown = sorted(body.keys() - USUAL)
    return refusal(f"Unknown name {unknown[0]!r}: Cannot find field.") if unknown else Act("answer", ECHO)


def sent_form(body: dict[str, Any]) -> str:
    """The field with the grammar in a request, empty if there is none."""
    return next((form for form in FORMS if form in body), "")


def gbnf_as_regex(grammar: str) -> str:
    """Rules of GBNF without recursion as a regular expression: literals, classes, groups and `| * ? {0,9}` only."""
    rules = dict(line.split(" ::= ") for line in grammar.strip().splitlines())
    assert next(iter(rules)) == "root"
    token = re.compile(r'"[^"]*"|\[(?:\\.|[^\]])*\]|[a-z]+|[()|*?]|\{0,9\}|\s+')

    def translate(rule: str) -> str:
        assert "".join(token.findall(rule)) == rule
        parts = []
        for part in token.findall(rule):
            if part[0] == '"':
                parts.append(f"(?:{re.escape(part[1:-1])})")
            elif part in rules:
                parts.append(f"(?:{translate(rules[part])})")
            else:
                parts.append(part.strip())
        return "".join(parts)

    return translate(rules["root"])


def fits_schema(text: str, schema: dict[str, Any]) -> bool:
    """Whether a text is an object with exactly these strings, in this order."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    names = list(schema["properties"])
    if not isinstance(found, dict) or list(found) != names or schema["required"] != names:
        return False
    choices = [allowed.get("enum") for allowed in schema["properties"].values()]
    return all(
        isinstance(value, str) and (allowed is None or value in allowed)
        for value, allowed in zip(found.values(), choices, strict=True)
    )
