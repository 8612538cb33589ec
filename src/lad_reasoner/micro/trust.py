"""Stage three of micro's pretraining: the language part reads its own responses, and learns how far to trust them.

Until then it only ever judged lists that are true. Its own are not: they are about pictures that it learned nothing
from, and some are misread. Each of its responses to a pair of such fresh pictures gives three lessons: the true verdict
after its own list; the true answer after its own reasoning, which makes a score of the answer; and the true response,
lest it forget how to write one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lad_reasoner.engines import load_judge
from lad_reasoner.images import Picture, read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.micro.lessons import Example
from lad_reasoner.micro.pool import Shot
from lad_reasoner.miniloco.words import HEAD
from lad_reasoner.records import Record, append_record, read_records, repair_records

BATCH = 64
ANSWER = "<answer>"


class OwnResponse(Record):
    """What the model said to a pair of fresh pictures, by their numbers."""

    pictures: tuple[int, int]
    response: str


def respond(
    model: Path, shots: Sequence[Shot], examples: Sequence[Example], file: Path
) -> Iterator[tuple[Example, str]]:
    """Each example and the response of the checkpoint in the folder `model` to it; `file` keeps what was said."""
    said: list[OwnResponse] = []
    if file.is_file():
        repair_records(file)
        said = list(read_records(file, OwnResponse))
    yield from zip(examples, (own.response for own in said), strict=False)
    if len(said) >= len(examples):
        return
    judge = load_judge(str(model))
    for start in range(len(said), len(examples), BATCH):
        batch = examples[start : start + BATCH]
        shown = [[_picture(shots[number]) for number in example.pictures] for example in batch]
        judgements = judge.judge_pairs([PicturePair(references, query) for *references, query in shown])
        for example, judgement in zip(batch, judgements, strict=True):
            one, other = example.pictures
            append_record(file, OwnResponse(pictures=(one, other), response=judgement.response))
            yield example, judgement.response


def _picture(shot: Shot) -> Picture:
    return read_picture(Image.fromarray(np.array(shot.pixels)))


def lessons_of(example: Example, response: str) -> list[Example]:
    """What is to be learned from a response to the example; a response without a list or an answer teaches less."""
    lessons = [example]
    assert example.verdict is not None
    end = response.find(". ", response.find(HEAD) + 1)
    if HEAD in response and end >= 0:
        own = response[: end + 1]
        lessons.append(replace(example, answer=own + example.answer[example.verdict :], verdict=len(own), given=True))
    if ANSWER in response:
        own = response.partition(ANSWER)[0] + ANSWER
        answer = example.answer.partition(ANSWER)[2]
        lessons.append(replace(example, answer=own + answer, verdict=len(own), given=True))
    return lessons
