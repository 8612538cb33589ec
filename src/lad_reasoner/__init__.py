"""LAD-Reasoner: logical anomaly detection that reasons in plain words.

from lad_reasoner import Inspector
verdict = Inspector(references=["good.png"]).inspect("query.png")
print(verdict.answer, verdict.score, verdict.reasoning, verdict.boxes)
"""

import os
from typing import TYPE_CHECKING, Any

from lad_reasoner.answers import Response, parse_response
from lad_reasoner.errors import LadError
from lad_reasoner.version import __version__ as __version__

# Threads that spin long while they wait make PyTorch twenty times slower as soon as another program wants a core.
# OpenMP reads this when PyTorch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Nothing leaves the machine unless you ask: these libraries would report each start to their makers. They read it when
# they are first imported; whoever wants to report sets the variable before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__all__ = [
    "Box",
    "Failure",
    "Inspector",
    "Judge",
    "Judgement",
    "LadError",
    "Pair",
    "PicturePair",
    "Response",
    "Verdict",
    "__version__",
    "accuracy_reward",
    "compare",
    "compare_over_seeds",
    "evaluate",
    "load_model",
    "parse_response",
    "structure_reward",
]

if TYPE_CHECKING:
    from lad_reasoner.api import compare, compare_over_seeds, evaluate
    from lad_reasoner.inspector import Inspector, load_model
    from lad_reasoner.judge import Judge, Judgement, PicturePair
    from lad_reasoner.records import Box, Failure, Pair, Verdict
    from lad_reasoner.rewards import accuracy_reward, structure_reward

# Pydantic and Pillow load only when asked for, so that `lad-reasoner --help` answers at once.
_HOME = {
    **dict.fromkeys(("compare", "compare_over_seeds", "evaluate"), "api"),
    **dict.fromkeys(("Judge", "Judgement", "PicturePair"), "judge"),
    **dict.fromkeys(("Box", "Failure", "Pair", "Verdict"), "records"),
    **dict.fromkeys(("Inspector", "load_model"), "inspector"),
    **dict.fromkeys(("accuracy_reward", "structure_reward"), "rewards"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lad_reasoner' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lad_reasoner.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
