"""The two rewards of the paper's equation 7, as plain functions with TRL's signature: structure and accuracy.

Both ask `parse_response`, as inspection and evaluation do, so that what is rewarded is what is measured. The weights
(0.5 and 0.5 in the paper) are TRL's `reward_weights`; the KL penalty of the same equation is in `policy.py`.
Your own reward is a function of the same signature, named as `package.module:function`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError

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


REWARDS: dict[str, Callable[..., list[float]]] = {"structure": structure_reward, "accuracy": accuracy_reward}


def load_reward(name: str) -> Callable[..., list[float | None]]:
    """The reward of this name: `structure`, `accuracy` or `package.module:function`, its failures told in one line.

    The function that is returned raises InputError, naming the reward and the first record, where yours raises or does
    not return one finite number (or None: does not apply) for each completion.
    """
    reward: Any = REWARDS.get(name)
    if reward is None:
        module, colon, function = name.partition(":")
        if not colon:
            raise InputError(f"rewards: {name}: no such reward; give {', '.join(REWARDS)} or package.module:function")
        try:
            reward = getattr(importlib.import_module(module), function)
        except Exception as error:  # a user's module can fail in any way while it is imported
            raise InputError(f"rewards: {name}: cannot be imported ({type(error).__name__}: {error})") from None
        if not callable(reward):
            raise InputError(f"rewards: {name}: is no function")

    @wraps(reward)
    def told(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        about = f"rewards: {name}, asked about {(columns.get('id') or ['its records'])[0]} and others"
        try:
            values = list(reward(completions=completions, **columns))
        except Exception as error:
            raise InputError(f"{about}, raised {type(error).__name__}: {error}; mend it and --resume") from error
        if len(values) != len(completions):
            raise InputError(f"{about}, returned {len(values)} values for {len(completions)} completions")
        wrong = [value for value in values if value is not None and not _is_finite(value)]
        if wrong:
            raise InputError(f"{about}, returned {wrong[0]!r}; a reward is a finite number, or None")
        return values

    return told


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def response_text(completion: Completion) -> str:
    """The response in a completion; a turn without text (content None, or parts) has none or its parts' text."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""
