"""A service's answer: a chat completion, as OpenAI and, a little otherwise, other services write it.

    body = parse_body(content)
    completion = read_body(body, blank_key)          # text, reasoning, why it ended, token counts, log-probabilities
    is_same_model("rlad-1", completion.model)

What is missing or malformed beside the text does not cost the answer, which was paid for. `other_forms.py` reads the
forms of other interfaces.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator

from lad_reasoner.files.jsonl import load_json
from lad_reasoner.records import Record
from lad_reasoner.remote.other_forms import as_completion

# Why a response ended, in the words of other services -> OpenAI's.
_FINISHES = {
    **dict.fromkeys(("max_tokens", "max_output_tokens", "model_length", "token_limit"), "length"),
    **dict.fromkeys(("safety", "refusal", "blocked", "recitation", "prohibited_content"), "content_filter"),
    "function_call": "tool_calls",
}
REFUSAL = "refusal"  # why a response ended that is the model's refusal, in a field of its own
# With these, an answer without text is final: another try would bring the same, and cost the same.
_FINAL = ("length", "content_filter", "tool_calls", REFUSAL)
_REASONING_PARTS = ("thinking", "reasoning", "reasoning_text")
_VERSION = re.compile(r"(?:[-@:](?:\d[\d.-]*|v\d+|latest|preview|free))*")


class Alternative(Record):
    """A token and the logarithm of its probability; minus infinity where the service says null."""

    token: str
    logprob: float = Field(le=1)  # services round; a value far above 0 is not a log-probability

    @field_validator("logprob", mode="before")
    @classmethod
    def _read_null(cls, value: Any) -> Any:
        # JSON has no number for what SGLang gives the words that a grammar forbids.
        return -math.inf if value is None else value


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
    cached_tokens: int | None = None

    @property
    def empty(self) -> bool:
        """Neither text nor reasoning, for no reason that the service gives: the next try may bring an answer."""
        return self.finish not in _FINAL and not (self.text.strip() or self.reasoning.strip())


class _Message(BaseModel):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(BaseModel):
    message: _Message
    error: Any = None
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
    prompt_tokens: int = Field(gt=0)  # 0 of a question with a picture is no count
    completion_tokens: int = Field(default=0, ge=0)
    total_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: dict[str, int | None] = {}

    @field_validator("prompt_tokens_details", mode="before")
    @classmethod
    def _forgive(cls, value: Any) -> Any:
        counts = value.items() if isinstance(value, dict) else ()
        return {name: count for name, count in counts if isinstance(count, int)}


class Body(BaseModel):
    """The fields of an answer that are read."""

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


def read_body(body: Body, clean: Callable[[str], str]) -> Completion:
    """The first choice of an answer; `clean` removes the key from its texts."""
    choice, usage = body.choices[0], body.usage
    message, finish = choice.message, choice.finish_reason or ""
    finish = _FINISHES.get(finish.lower(), clean(finish))
    text, reasoning = _join_parts(message.content)
    separate, _ = _join_parts(message.reasoning_content or message.reasoning or message.reasoning_details)
    refusal = "" if text.strip() else _find_refusal(message)
    if refusal:
        text, finish = refusal, REFUSAL
    elif finish == "stop" and (message.tool_calls or message.function_call):
        finish = "tool_calls"
    return Completion(
        text=clean(text),
        finish=finish,
        model=clean(body.model or ""),
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens) if usage else None,
        reasoning=clean(separate or reasoning),
        written=choice.logprobs,
        cached_tokens=usage.prompt_tokens_details.get("cached_tokens") if usage else None,
    )


def parse_body(content: bytes) -> Body:
    """An answer, also one in another interface's form; ValueError for anything else."""
    try:
        return Body.model_validate_json(content)
    except ValidationError:
        # Bytes that are not UTF-8, and half of a character that is written as two, cost one letter, not the answer.
        body = as_completion(load_json(content.decode("utf-8", "replace")))
        return Body.model_validate_json(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))


def is_same_model(asked: str, answered: str) -> bool:
    """True if the answering model is the one asked for, perhaps under another path or with its version."""
    wanted, name = (text.lower().rpartition("/")[2] for text in (asked, answered))
    wanted = wanted.removesuffix("-latest")
    return not name or (name.startswith(wanted) and _VERSION.fullmatch(name[len(wanted) :]) is not None)


def _join_parts(content: Any) -> tuple[str, str]:
    """Text and reasoning of a message's content: a string, or typed parts, which may hold parts again."""
    if isinstance(content, str):
        return content, ""
    text = reasoning = ""
    parts = [content] if isinstance(content, dict) else content
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            text += part if isinstance(part, str) else ""
        elif part.get("type") in _REASONING_PARTS or "thinking" in part:
            thought = next((part[name] for name in (*_REASONING_PARTS, "text", "content") if part.get(name)), "")
            reasoning += "".join(_join_parts(thought))
        else:
            text += _join_parts(part.get("text") or part.get("content"))[0]
    return text, reasoning


def _find_refusal(message: _Message) -> str:
    """The model's refusal, in a field or among the parts of the content."""
    parts = message.content if isinstance(message.content, list) else []
    refusals = [part.get("refusal") for part in parts if isinstance(part, dict)]
    return "".join(_join_parts(refusal)[0] for refusal in (message.refusal, *refusals))
