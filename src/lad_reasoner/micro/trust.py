"""The last stage of micro's pretraining: the language part learns how far to trust its own reasoning.

In the lessons before, the reasoning is always true. Its own is not: it is about new pictures, and some are misread. So
it learns the right answer after its own reasoning about fresh pictures. Only the answer is learned, so that its
probability becomes a score. In trials that also taught the true verdict after its own list, or the true response, micro
reported defects in good pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.micro.lessons import Exercise
from lad_reasoner.micro.pool import Shot
from lad_reasoner.records import Record

BATCH = 256 if torch.cuda.is_available() else 64
ANSWER = "<answer>"


class OwnResponse(Record):
    """The model's response to a pair of fresh pictures, given by their numbers."""

    pictures: tuple[int, int]
    response: str


def own_responses(
    model: Path, shots: Sequence[Shot], exercises: Sequence[Exercise], file: Path
) -> Iterator[tuple[Exercise, str]]:
    """Each exercise with the response of the checkpoint in the folder `model`; `file` keeps the responses."""
    kept: list[OwnResponse] = []
    if file.is_file():
        repair_records(file)
        kept = list(read_records(file, OwnResponse))
    yield from zip(exercises, (own.response for own in kept), strict=False)
    if len(kept) >= len(exercises):
        return
    judge = load_judge(str(model))
    for start in range(len(kept), len(exercises), BATCH):
        batch = exercises[start : start + BATCH]
        pictures = [[_picture(shots[number]) for number in exercise.pictures] for exercise in batch]
        judgements = judge.judge([PicturePair(tuple(references), query) for *references, query in pictures])
        for exercise, judgement in zip(batch, judgements, strict=True):
            reference, query = exercise.pictures
            append_record(file, OwnResponse(pictures=(reference, query), response=judgement.response))
            yield exercise, judgement.response


def _picture(shot: Shot) -> Picture:
    return read_picture(Image.fromarray(np.array(shot.pixels)))


def lesson_of(exercise: Exercise, response: str) -> Exercise:
    """The exercise with the reasoning of the response before its answer; unchanged if the response has no answer."""
    if ANSWER not in response:
        return exercise
    own = response.partition(ANSWER)[0] + ANSWER
    return replace(exercise, answer=own + exercise.answer.partition(ANSWER)[2], verdict=len(own), given=True)
