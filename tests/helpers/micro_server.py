"""A real model behind the protocol: pictures in, its own words and probabilities out."""

from __future__ import annotations

import math
import threading
from functools import cache
from typing import Any

from helpers.chat_server import Act, pictures
from lad_reasoner.answers import parse_response
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine

_ONE_AT_A_TIME = threading.Lock()


@cache
def micro() -> TransformersEngine:
    return TransformersEngine(load_checkpoint("micro"))


def by_micro(body: dict[str, Any], before: int) -> Act:
    """The behaviour of a chat server."""
    with _ONE_AT_A_TIME:
        (reply,) = micro().respond([pictures(body)])
    word = parse_response(reply.text).answer
    begins = reply.text.rindex(f"{word}</answer>")
    told = {"yes": math.log(reply.score), "no": math.log1p(-reply.score)}
    return Act("answer", reply.text, written=[(reply.text[:begins], {}), (word, told), ("</answer>", {})])
