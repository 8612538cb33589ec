"""Which weights of others saw MVTec LOCO AD before they are measured on it.

    note_on("runs/AnomalyGPT-train_supervised")     # -> "saw MVTec LOCO AD in training: …"

A row's pattern is looked for in a system's name, of which small letters and digits are left; the first row that is
found holds. A name is all that is known here: whoever trained such a model further knows better. `unknown` stands
wherever nobody who knows has published it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

Seen = Literal["yes", "partly", "no", "unknown"]


class Row(NamedTuple):
    """A system's name as a regular expression, whether it saw the benchmark, why we say so, and the source."""

    pattern: str
    seen: Seen
    why: str
    source: str


ROWS = (
    Row(
        "anomalygpt.*supervised",
        "yes",
        "these weights were trained on MVTec AD, VisA, MVTec LOCO AD and CrackForest",
        "README of CASIA-IVA-Lab/AnomalyGPT",
    ),
    Row(
        "anomalygpt.*train(mvtec|visa)",
        "no",
        "these weights were trained on one other data set",
        "README of CASIA-IVA-Lab/AnomalyGPT",
    ),
    Row(
        "anomalygpt",
        "unknown",
        "its weights train_supervised did, train_mvtec and train_visa did not; the name does not say which these are",
        "README of CASIA-IVA-Lab/AnomalyGPT",
    ),
    Row(
        "aprilgan",
        "no",
        "its layers were trained on MVTec AD or VisA; what CLIP saw on the web is not known",
        "arXiv 2305.17382",
    ),
    Row(
        "logicode",
        "partly",
        "no weights were trained, but its rules, and its annotations of 2,908 pictures, were made for it",
        "arXiv 2406.04687",
    ),
    Row(
        "logsad",
        "partly",
        "no weights were trained, but its settings are made class by class, and it may keep the good training pictures",
        "arXiv 2503.18325, README of zhang0jhon/LogSAD",
    ),
    Row(
        "logicad",
        "unknown",
        "nothing was trained; what the models behind it (GPT-4o, LLaVA) saw is not known",
        "arXiv 2501.01767",
    ),
    Row(
        "anomalyov|anomalyonevision",
        "unknown",
        "it was trained on Anomaly-Instruct-125k, whose parts we could not check",
        "arXiv 2502.07601",
    ),
    Row(
        "myriad",
        "unknown",
        "it reports MVTec AD, VisA and PCB Bank; what its released weights saw we could not check",
        "arXiv 2310.19070",
    ),
    Row(
        "patchcore|padim|efficientad|simplenet|softpatch|draem|uniad",
        "partly",
        "such a method is fitted to the good training pictures of what it judges",
        "their papers",
    ),
    Row(
        "mmad",
        "yes",
        "MMAD's questions are about MVTec LOCO AD among others: whatever was trained on them saw it",
        "dataset/MMAD of jam-cc/MMAD",
    ),
    Row(
        "^evidence",
        "no",
        "its constants come from other photographs; its authors looked at LOCO's pictures",
        "this package's README",
    ),
    Row(
        r"^micro(base)?(\d+votes)?$",
        "no",
        "it was trained on rendered scenes only",
        "src/lad_reasoner/weights/README.md",
    ),
    Row(
        "ladreasoner|^qwen25vl3b(sft|grpo)$",
        "no",
        "not in the paper's two sets; what the base Qwen2.5-VL saw is not published",
        "arXiv 2504.12749, section 4",
    ),
    Row(
        "qwen|internvl|gpt|gemini|claude|grok|glm|kimi|llama|pixtral|gemma",
        "unknown",
        "what such models were trained on is not published in full",
        "their reports",
    ),
)
UNTRAINED = ("alwaysyes", "alwaysno", "random", "pixeldifference", "colourhistogram")

_SAID: dict[Seen, str] = {
    "yes": "saw MVTec LOCO AD in training",
    "partly": "knows MVTec LOCO AD without having been trained on its anomalies",
    "no": "did not see MVTec LOCO AD in training",
    "unknown": "unknown whether it saw MVTec LOCO AD in training",
}


def note_on(name: str) -> str:
    """What is known about a system of this name, in one line; nothing about those that learn nothing."""
    letters = re.sub(r"[^a-z0-9]", "", Path(name).name.lower())
    if letters.startswith(UNTRAINED):
        return ""
    for row in ROWS:
        if re.search(row.pattern, letters):
            return f"{_SAID[row.seen]}: {row.why} ({row.source})"
    return f"{_SAID['unknown']}: nothing is recorded about it here"
