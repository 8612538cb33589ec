"""What is read of a service's answer, from a real server on a real socket."""

import json
from typing import Any

import pytest

from helpers.chat_server import Act, ChatServer
from lad_reasoner.remote.client import ChatService
from lad_reasoner.remote.completion import Completion, is_same_model


def ask(server: ChatServer) -> Completion:
    with ChatService(server.url, key_variable="LAD_TEACHER_KEY", timeout=5.0, patience=5.0, backoff=0.01) as chat:
        return chat.complete({"model": "tiny", "messages": [{"role": "user", "content": "How many screws?"}]})


def first(act: Act) -> Any:
    """This act, then an answer."""
    return lambda body, before: Act("answer", "two") if before else act


OTHER_FORMS: dict[str, tuple[Any, tuple[str, str, str, int | None]]] = {  # text, reasoning, finish, output tokens
    "Responses": (
        {
            "object": "response",
            "model": "m",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "A lid is off."}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
            ],
            "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12},
        },
        ("yes", "A lid is off.", "stop", 5),
    ),
    "Responses, cut off": (
        {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "ye"}]}],
        },
        ("ye", "", "length", None),
    ),
    "Responses, a function": (
        {"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        ("", "", "tool_calls", None),
    ),
    "Messages": (
        {
            "type": "message",
            "content": [{"type": "thinking", "thinking": "A lid is off."}, {"type": "text", "text": "yes"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 7, "output_tokens": 5},
        },
        ("yes", "A lid is off.", "stop", 5),
    ),
    "Messages, a tool": (
        {"type": "message", "content": [{"type": "tool_use", "name": "f", "input": {}}], "stop_reason": "tool_use"},
        ("", "", "tool_calls", None),
    ),
    "Gemini": (
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": "A lid is off.", "thought": True}, {"text": "ye"}, {"text": "s"}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12},
            "modelVersion": "m",
        },
        ("yes", "A lid is off.", "stop", 5),
    ),
    "Gemini, at its limit": (
        {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]},
        ("", "", "length", None),
    ),
    "Gemini, blocked": ({"promptFeedback": {"blockReason": "SAFETY"}}, ("", "", "content_filter", None)),
    "Ollama": (
        {
            "message": {"role": "assistant", "content": "yes", "thinking": "A lid is off."},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 7,
            "eval_count": 5,
        },
        ("yes", "A lid is off.", "stop", 5),
    ),
    "Ollama, generate": ({"response": "yes", "done": True, "done_reason": "length"}, ("yes", "", "length", None)),
    "text completion": ({"choices": [{"text": "yes", "finish_reason": "stop"}]}, ("yes", "", "stop", None)),
    "a list of one": (
        [{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}],
        ("yes", "", "stop", None),
    ),
}


@pytest.mark.parametrize(("body", "expected"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_answers_in_the_forms_of_other_interfaces(body: Any, expected: tuple[str, str, str, int | None]) -> None:
    with ChatServer(first(Act("raw", json.dumps(body)))) as server:
        found = ask(server)
    assert (found.text, found.reasoning, found.finish, found.output_tokens) == expected
    assert len(server.bodies) == 1


def test_log_probabilities_in_the_form_of_responses() -> None:
    tokens = [{"token": "no", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -0.1}]}]
    part = {"type": "output_text", "text": "no", "logprobs": tokens}
    body = {"output": [{"type": "message", "content": [part]}]}
    with ChatServer(first(Act("raw", json.dumps(body)))) as server:
        assert [token.token for token in ask(server).written] == ["no"]


def test_half_a_character_costs_a_letter_not_the_answer() -> None:
    choice = {"message": {"content": "a \ud83d b"}, "finish_reason": "stop"}
    with ChatServer(first(Act("raw", json.dumps({"choices": [choice]})))) as server:
        assert ask(server).text == "a ? b"
    assert server.came.total() == 1


MODELS = [
    ("big", "big", True),
    ("big", "", True),
    ("big", "big-001", True),
    ("gpt-4o", "gpt-4o-2024-08-06", True),
    ("gpt-4o-latest", "gpt-4o-2024-08-06", True),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "/models/qwen2.5-vl-7b-instruct", True),
    ("models/gemini-2.5-flash", "gemini-2.5-flash", True),
    ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
    ("big", "cheap-model", False),
    ("llama-3", "llama-2", False),
]


@pytest.mark.parametrize(("asked", "answered", "same"), MODELS)
def test_which_names_are_of_the_same_model(asked: str, answered: str, same: bool) -> None:
    assert is_same_model(asked, answered) is same
