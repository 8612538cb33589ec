"""The last stage of micro's pretraining: the language part reads its own responses, and learns how far to trust them.

Until then it only ever answered after a reasoning that is true. Its own is not always: it is about pictures that it
learned nothing from, and some are misread. So it learns the answer of the lesson after its own reasoning about fresh
pictures, and the answer only, which makes a score of its probability. To learn the true verdict after its own list, and
the true response, too, made it see signs of defects where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.micro.lessons import Exercise
from lad_reasoner.micro.pool import Shot
from lad_reasoner.records import Record

BATCH = 64
ANSWER = "<answer>"


class OwnResponse(Record):
    """What the model said to a pair of fresh pictures, by their numbers."""

    pictures: tuple[int, int]
    response: str


def own_responses(
    model: Path, shots: Sequence[Shot], exercises: Sequence[Exercise], file: Path
) -> Iterator[tuple[Exercise, str]]:
    """Each exercise and the response of the checkpoint in the folder `model` to it; `file` keeps what was said."""
    said: list[OwnResponse] = []
    if file.is_file():
        repair_records(file)
        said = list(read_records(file, OwnResponse))
    yield from zip(exercises, (own.response for own in said), strict=False)
    if len(said) >= len(exercises):
        return
    judge = load_judge(str(model))
    for start in range(len(said), len(exercises), BATCH):
        batch = exercises[start : start + BATCH]
        shown = [[_picture(shots[number]) for number in exercise.pictures] for exercise in batch]
        judgements = judge.judge([PicturePair(tuple(references), query) for *references, query in shown])
        for exercise, judgement in zip(batch, judgements, strict=True):
            reference, query = exercise.pictures
            append_record(file, OwnResponse(pictures=(reference, query), response=judgement.response))
            yield exercise, judgement.response


def _picture(shot: Shot) -> Picture:
    return read_picture(Image.fromarray(np.array(shot.pixels)))


def lesson_of(exercise: Exercise, response: str) -> Exercise:
    """The answer of the exercise after the reasoning of a response to it; the exercise itself if there is no answer."""
    if ANSWER not in response:
        return exercise
    own = response.partition(ANSWER)[0] + ANSWER
    return replace(exercise, answer=own + exercise.answer.partition(ANSWER)[2], verdict=len(own), given=True)
