"""The interface of every teacher, and one that writes from facts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from lad_reasoner.data.teachers.teacher import Answered, CostEstimate, Outcome, Request, Teacher, parts_of
from lad_reasoner.prompts import build_messages
from lad_reasoner.remote.prices import Bill


class Count(BaseModel):
    screws: int


class FactTeacher:
    """What a teacher without a service needs: the interface leaves nothing out that it must have."""

    name = "facts"

    def __init__(self) -> None:
        self.paid, self.recalled = Bill(cost=0.0), Bill(cost=0.0)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        return CostEstimate(len(requests), 0, 0, Bill(answers=len(requests), cost=0.0))

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            yield index, Answered(request.schema.model_validate(request.facts), self.name)


def test_a_teacher_that_writes_from_facts_fits_the_interface() -> None:
    teacher: Teacher = FactTeacher()
    requests = [Request([{"role": "user", "content": "How many?"}], [], Count, "v1", {"screws": n}) for n in (2, 5)]
    outcomes = dict(teacher.ask_many(requests))
    assert [outcomes[i].content for i in (0, 1)] == [Count(screws=2), Count(screws=5)]
    assert teacher.estimate(requests).expected.cost == 0


def test_places_and_pictures_must_match() -> None:
    request = Request(build_messages(2), ["a.png", "b.png", Path("c.png")], Count, "v1")
    assert [part["type"] for part in parts_of(request.messages[0])] == ["image", "image", "image", "text"]
    with pytest.raises(ValueError, match="3 places for pictures in the messages, but 1 pictures"):
        Request(build_messages(2), ["a.png"], Count, "v1")
    with pytest.raises(ValueError, match="0 places"):
        Request([{"role": "user", "content": "How many?"}], ["a.png"], Count, "v1")


def test_plain_text_is_one_part() -> None:
    assert parts_of({"role": "user", "content": "How many?"}) == [{"type": "text", "text": "How many?"}]
