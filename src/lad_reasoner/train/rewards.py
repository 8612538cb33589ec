"""The two rewards of the paper's equation 7, as plain functions with TRL's signature: structure and accuracy.

Both call `parse_response`, as inspection and evaluation do, so training rewards exactly what evaluation measures. The
weights (0.5 and 0.5 in the paper) are TRL's `reward_weights`; the KL penalty of the same equation is in `objective.py`.
Your own reward is a function of the same signature, given by name as `package.module:function`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from lad_reasoner.answers import parse_response
from lad_reasoner.dotted import import_dotted, is_dotted
from lad_reasoner.errors import InputError

# TRL's completion: a text, or for chat prompts a conversation whose last turn is the response.
TrlCompletion = str | Sequence[dict[str, Any]]


def structure_reward(completions: Sequence[TrlCompletion], **_: Any) -> list[float]:
    """1 for each response that follows the grammar, else 0 (R_struct)."""
    return [float(parse_response(response_text(completion)).structured) for completion in completions]


def accuracy_reward(completions: Sequence[TrlCompletion], label: Sequence[str], **_: Any) -> list[float]:
    """1 for each response whose answer equals the label, else 0 (R_acc); an invalid answer equals no label.

    `label` holds `yes` or `no` for each completion; ValueError for another word, since every answer would be wrong.
    """
    unknown = sorted({str(word) for word in label} - {"yes", "no"})
    if unknown:
        raise ValueError(f"label {unknown[0]!r}: must be yes or no")
    return [
        float(parse_response(response_text(completion)).answer == word)
        for completion, word in zip(completions, label, strict=True)
    ]


REWARDS: dict[str, Callable[..., list[float]]] = {"structure": structure_reward, "accuracy": accuracy_reward}


def load_reward(name: str) -> Callable[..., list[float | None]]:
    """The reward of this name: `structure`, `accuracy` or `package.module:function`; InputError if there is none.

    The returned function raises InputError, naming the reward and the first record, if yours raises or does not return
    one finite number (or None: does not apply) for each completion.
    """
    reward = REWARDS.get(name) or _import_reward(name)

    @wraps(reward)
    def checked(completions: Sequence[TrlCompletion], **columns: Any) -> list[float | None]:
        about = f"rewards: {name}, asked about {(columns.get('id') or ['its records'])[0]} and others"
        try:
            values = list(reward(completions=completions, **columns))
        except Exception as error:
            raise InputError(f"{about}, raised {type(error).__name__}: {error}; fix it and --resume") from error
        # TRL fails on another length without naming the reward, takes nan for None, and trains on inf.
        if len(values) != len(completions):
            raise InputError(f"{about}, returned {len(values)} values for {len(completions)} completions")
        wrong = [value for value in values if value is not None and not _is_finite(value)]
        if wrong:
            raise InputError(f"{about}, returned {wrong[0]!r}; a reward is a finite number, or None")
        return values

    return checked


def _import_reward(name: str) -> Callable[..., Any]:
    """The function `package.module:function`; InputError if it cannot be imported or is not a function."""
    if not is_dotted(name):
        raise InputError(f"rewards: {name}: no such reward; give {', '.join(REWARDS)} or package.module:function")
    reward: Any = import_dotted(name, "rewards: ")
    if not callable(reward):
        raise InputError(f"rewards: {name}: not a function")
    return reward  # type: ignore[no-any-return]


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def response_text(completion: TrlCompletion) -> str:
    """The response in a completion: the text of its last turn, or of that turn's parts; empty if there is none."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""
