"""The prompt that every vision-language model gets, in training and in use alike.

The question is the paper's, word for word (section 4.1.2, one reference). Of its format the paper shows only a
"predefined template" (section 4.2), `<think> think process </think><answer> yes or no </answer>`, and no instruction:
the last sentence is ours, and so is the first, which says which picture is which. The whole prompt is in the user's
turn, because the chat templates of several models reject a system turn.
"""

from __future__ import annotations

from typing import Any

PROMPT_VERSION = "rlad-1"  # must change with every word below, since answers depend on it

# The budget of a reasoning, in inspection unless the checkpoint states its own, and that of a response with its tags,
# in the training configs and in exports. The paper does not say; its reasonings have about a hundred words.
REASONING_TOKENS, RESPONSE_TOKENS = 256, 320

QUESTION = "Can you find any anomaly in the query image compared to the reference?"
FORMAT = "Respond with <think>your reasoning</think><answer>yes or no</answer>."


def build_prompt(references: int, *, query_first: bool = False) -> str:
    """The text of the user's turn for this many references; raises `ValueError` for fewer than one.

    The query comes last, except in training sets that are built with shuffled pictures.
    """
    if references < 1:
        raise ValueError("a prompt needs at least one reference")
    question = QUESTION if references == 1 else QUESTION.replace("reference?", "references?")
    if query_first:
        rest = "the second is the reference" if references == 1 else f"the last {references} images are references"
        return f"The first image is the query, {rest}. {question} {FORMAT}"
    if references == 1:
        return f"The first image is the reference, the second is the query. {question} {FORMAT}"
    return f"The first {references} images are references, the last is the query. {question} {FORMAT}"


def build_messages(references: int, *, query_first: bool = False) -> list[dict[str, Any]]:
    """The conversation for a chat template: placeholders for the references and the query, then the text."""
    places: list[dict[str, Any]] = [{"type": "image"} for _ in range(references + 1)]
    question = {"type": "text", "text": build_prompt(references, query_first=query_first)}
    return [{"role": "user", "content": [*places, question]}]
