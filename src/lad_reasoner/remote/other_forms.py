"""Answers in the forms of other interfaces, as chat completions: routers and adapters pass them on as they get them.

    as_completion({"candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}]})
    # {"choices": [{"message": {"content": [...]}, "finish_reason": "STOP"}], ...}

Known are OpenAI's Responses and text completions, Anthropic's Messages, Gemini's generateContent, and Ollama's own chat
and generate. Anything else is returned as it is.
"""

from __future__ import annotations

from typing import Any


def as_completion(body: Any) -> Any:
    """The decoded JSON of an answer in the form of a chat completion, if it is in one of the known forms."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict) or body.get("error"):
        return body
    for read in (_no_choices, _text_completion, _responses, _messages, _gemini, _ollama):
        found = read(body)
        if found is not None:
            return found
    return body


def _completion(body: dict[str, Any], content: Any, finish: Any, *, usage: tuple[Any, Any], **choice: Any) -> Any:
    prompt, written = usage
    message = {"content": content, **choice.pop("message", {})}
    return {
        "model": body.get("model") or body.get("modelVersion"),
        "choices": [{"message": message, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": written or 0},
    }


def _no_choices(body: dict[str, Any]) -> Any:
    """`{"choices": [], "usage": {…}}`: an empty answer, which was paid for."""
    if body.get("choices", "") not in ([], None) or not _dict(body.get("usage")):
        return None
    return {**body, "choices": [{"message": {}}]}


def _text_completion(body: dict[str, Any]) -> Any:
    """`{"choices": [{"text": "…"}]}`."""
    first = body["choices"][0] if isinstance(body.get("choices"), list) and body["choices"] else None
    if not isinstance(first, dict) or "message" in first or not isinstance(first.get("text"), str):
        return None
    choice = {"message": {"content": first["text"]}, "finish_reason": first.get("finish_reason")}
    return {**body, "choices": [choice]}


def _responses(body: dict[str, Any]) -> Any:
    """`{"output": [{"type": "reasoning", …}, {"type": "message", "content": [{"type": "output_text", …}]}]}`."""
    if not isinstance(body.get("output"), list):
        return None
    items = [item for item in body["output"] if isinstance(item, dict)]
    messages = [item for item in items if item.get("type") == "message"]
    texts = [part for message in messages for part in _dicts(message.get("content"))]
    thoughts = [item.get("summary") or item.get("content") for item in items if item.get("type") == "reasoning"]
    written = [token for part in texts for token in _dicts(part.get("logprobs"))]
    calls = [item for item in items if str(item.get("type")).endswith("_call")]
    finish = "tool_calls" if calls and not texts else "stop"
    usage = _dict(body.get("usage"))
    return _completion(
        body,
        texts,
        _dict(body.get("incomplete_details")).get("reason") or finish,
        usage=(usage.get("input_tokens"), usage.get("output_tokens")),
        message={"reasoning_content": [part for thought in thoughts for part in _dicts(thought)]},
        logprobs={"content": written} if written else None,
    )


def _messages(body: dict[str, Any]) -> Any:
    """`{"type": "message", "content": [{"type": "text", "text": "…"}], "stop_reason": "end_turn"}`."""
    if body.get("type") != "message" or "stop_reason" not in body:
        return None
    finish = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"}
    usage, reason = _dict(body.get("usage")), body["stop_reason"]
    counts = usage.get("input_tokens"), usage.get("output_tokens")
    return _completion(body, body.get("content"), finish.get(str(reason), reason), usage=counts)


def _gemini(body: dict[str, Any]) -> Any:
    """`{"candidates": [{"content": {"parts": [{"text": "…"}]}, "finishReason": "STOP"}]}`."""
    usage = _dict(body.get("usageMetadata"))
    counts = usage.get("promptTokenCount"), usage.get("candidatesTokenCount")
    candidates = _dicts(body.get("candidates"))
    if not candidates:
        blocked = _dict(body.get("promptFeedback")).get("blockReason")
        return _completion(body, "", "content_filter", usage=counts) if blocked else None
    parts = _dicts(_dict(candidates[0].get("content")).get("parts"))
    typed = [{"type": "thinking", "thinking": part.get("text")} if part.get("thought") else part for part in parts]
    return _completion(body, typed, str(candidates[0].get("finishReason", "stop")).lower(), usage=counts)


def _ollama(body: dict[str, Any]) -> Any:
    """`{"message": {"content": "…", "thinking": "…"}, "done": true}`, or `response` in the place of the message."""
    if body.get("done") is not True:
        return None
    message = _dict(body.get("message")) or {"content": body.get("response"), "thinking": body.get("thinking")}
    return _completion(
        body,
        message.get("content"),
        body.get("done_reason") or "stop",
        usage=(body.get("prompt_eval_count"), body.get("eval_count")),
        message={"reasoning_content": message.get("thinking")},
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
