"""How many tokens a record takes in a model of the Qwen2-VL family, without loading one: for budgets and limits.

A picture is resized so that both sides are multiples of `PATCH` pixels, and that the area, after rounding, stays within
the pixel budget; each such square is a token (Qwen2.5-VL's image processor; 14-pixel patches, merged 2x2). Text is
counted generously, at `CHARACTERS` a token, because the tokenizer is not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lad_reasoner.data.teachers.teacher import parts_of

PATCH = 28  # pixels, both ways, that become one token
MIN_PIXELS = 4 * PATCH * PATCH
CHARACTERS = 3  # a token; English text has about four
FRAME = 32  # tokens of the chat template's own, and two for each picture


def picture_tokens(width: int, height: int, max_pixels: int | None = None) -> int:
    """Tokens of a picture of this size, within the budget."""
    rows, columns = (max(1, round(side / PATCH)) for side in (height, width))
    pixels = rows * columns * PATCH**2
    if max_pixels is not None and pixels > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / PATCH)) for side in (height, width))
    elif pixels < MIN_PIXELS:
        grow = math.sqrt(MIN_PIXELS / (width * height))
        rows, columns = (math.ceil(side * grow / PATCH) for side in (height, width))
    return rows * columns


def needed_pixels(width: int, height: int) -> int:
    """The smallest budget with which a picture of this size is not reduced."""
    return max(width * height, picture_tokens(width, height) * PATCH**2)


def record_tokens(
    messages: Sequence[dict[str, Any]], sizes: Sequence[tuple[int, int]], max_pixels: int | None = None
) -> tuple[int, int]:
    """(tokens of the prompt, tokens of the answers) of a conversation; `sizes` are (width, height) of its pictures."""
    texts = {"user": 0, "assistant": 0}
    for message in messages:
        characters = sum(len(part.get("text") or "") for part in parts_of(message))
        texts["assistant" if message["role"] == "assistant" else "user"] += math.ceil(characters / CHARACTERS)
    pictures = sum(picture_tokens(*size, max_pixels) + 2 for size in sizes)
    return FRAME + pictures + texts["user"], texts["assistant"]
