"""The two rewards of the paper's equation 7, as plain functions with TRL's signature: structure and accuracy.

Both ask `parse_response`, as inspection and evaluation do, so that what is rewarded is what is measured. The weights
(0.5 and 0.5 in the paper) are TRL's `reward_weights`; the KL penalty of the same equation is in `policy.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lad_reasoner.answers import parse_response

# A completion is a text, or a conversation whose last turn is the response: what TRL passes for chat prompts.
Completion = str | Sequence[dict[str, Any]]


def structure_reward(completions: Sequence[Completion], **_: Any) -> list[float]:
    """1 for each response that follows the grammar, else 0 (R_struct)."""
    return [float(parse_response(response_text(completion)).structured) for completion in completions]


def accuracy_reward(completions: Sequence[Completion], label: Sequence[str], **_: Any) -> list[float]:
    """1 for each response whose answer equals the label, else 0 (R_acc); an invalid answer equals no label.

    `label` holds `yes` or `no` for each completion; ValueError for another word, since every answer would be wrong.
    """
    strange = sorted({str(word) for word in label} - {"yes", "no"})
    if strange:
        raise ValueError(f"label {strange[0]!r}: must be yes or no")
    return [
        float(parse_response(response_text(completion)).answer == word)
        for completion, word in zip(completions, label, strict=True)
    ]


def response_text(completion: Completion) -> str:
    """The response in a completion; a turn without text (content None, or parts) has none or its parts' text."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""
