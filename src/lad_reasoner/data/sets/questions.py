"""The questions of the SFT set, and how the teacher is asked them; the texts are in questions.toml.

Every question fits a good picture as well as a bad one, so that the question does not give the answer away. The teacher
gets the artifact type, the hint and the instruction to look beyond it (paper, section 4.1.1); the student gets the
question alone.

Deviations: the paper prints neither its questions nor its prompt. These are ours.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Label

Question = Literal["describe", "where", "kind", "function", "anomaly"]
QUESTIONS: tuple[Question, ...] = get_args(Question)

QUESTIONS_VERSION = "sft-1"  # goes up with every change of a word that the student or the teacher reads

_TEXTS = read_packaged(__file__, "questions.toml")
WORDINGS: dict[Question, list[str]] = _TEXTS["wordings"]


def wording(question: Question, product: str, turn: int) -> str:
    """One of the wordings of a question, in turn."""
    choices = WORDINGS[question]
    return choices[turn % len(choices)].format(product=product)


def product_of(category: str) -> str:
    """The name of a class in a sentence: `metal_nut` -> `metal nut`, `pcb3` -> `pcb`, `wiring-7` -> `wiring`.

    `tubes` are a `set of tubes`.
    """
    name = category.rpartition("/")[2].replace("_", " ").strip()
    name = name.rstrip("-0123456789").strip() or name
    return f"set of {name}" if name.endswith("s") and not name.endswith(("ss", "us", "is", "ens")) else name


def artifact_type(label: Label, kind: str | None, defect: str | None) -> str:
    """What the picture shows, for the teacher: `logical anomaly (cable swap)`."""
    if label == "no":
        return "none, a good product"
    anomaly = f"{kind} anomaly" if kind else "anomaly"
    return f"{anomaly} ({defect.replace('_', ' ')})" if defect else anomaly


def ask_teacher(question: Question, text: str, *, artifact: str, hint: str) -> list[dict[str, Any]]:
    """The conversation that the teacher gets: a place for the picture, then the prompt."""
    teacher = _TEXTS["teacher"]
    begin = teacher["begin"] if question == "anomaly" else ""
    prompt = teacher["instructions"].format(artifact=artifact, hint=hint, begin=begin, question=text)
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


def teach_student(text: str, answer: str) -> list[dict[str, Any]]:
    """The conversation that the student learns from."""
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
