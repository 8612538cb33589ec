"""A remote teacher, questions for it, and a form for its answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from helpers.chat_server import Act
from lad_reasoner.data.teachers.remote import RemoteTeacher
from lad_reasoner.data.teachers.teacher import Outcome, Request
from lad_reasoner.remote.prices import Prices

KEY = "sk-very-secret-0123456789"

GOOD = json.dumps({"anomalous": True, "description": "A screw is missing."})


class Description(BaseModel):
    model_config = ConfigDict(extra="forbid")
    anomalous: bool
    description: str

    @field_validator("anomalous")
    @classmethod
    def _agree(cls, value: bool, info: ValidationInfo) -> bool:
        if info.context and info.context.get("label") not in (None, value):
            raise ValueError("it contradicts the label")
        return value


def teacher(url: str, folder: Path, **changes: Any) -> RemoteTeacher:
    settings = {"cache": folder / "teacher.jsonl", "timeout": 5.0, "patience": 5.0, "backoff": 0.01}
    return RemoteTeacher(url, "tiny", **{**settings, **changes})


def question(picture: Path | None, text: str = "What is wrong?", **changes: Any) -> Request:
    places = [] if picture is None else [{"type": "image"}]
    messages = [{"role": "user", "content": [*places, {"type": "text", "text": text}]}]
    settings = {"schema": Description, "prompt_version": "sft-1"}
    return Request(messages, [] if picture is None else [picture], **{**settings, **changes})


def answers(asked: RemoteTeacher, requests: Sequence[Request]) -> list[Outcome]:
    """In the order of the requests; each must have come once."""
    outcomes = list(asked.ask_many(requests))
    assert sorted(index for index, _ in outcomes) == list(range(len(requests)))
    return [outcome for _, outcome in sorted(outcomes, key=lambda pair: pair[0])]


def always(text: str) -> Any:
    return lambda body, before: Act("answer", text)


THOUSAND = 1000


def thousand(url: str, folder: Path) -> RemoteTeacher:
    return teacher(
        url, folder, concurrency=8, attempts=8, timeout=0.5, patience=30.0, backoff=0.005, prices=Prices(1, 1)
    )


def thousand_questions(folder: Path) -> list[Request]:
    return [question(folder / f"{i % 7}.png", f"Question {i}") for i in range(THOUSAND)]
