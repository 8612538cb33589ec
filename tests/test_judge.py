"""The contract: a response becomes a judgement through the one parser."""

from lad_reasoner.judge import Judgement
from lad_reasoner.records import Box


def test_a_response_is_parsed() -> None:
    good = "<think>All there.</think><answer>no</answer>"
    box = Box(x=1, y=2, width=3, height=4, strength=1.5)
    said = Judgement.of(good, 0.7, boxes=(box,), boxes_from="other", tokens=9)
    assert (said.answer, said.score, said.reasoning, said.response) == ("no", 0.7, "All there.", good)
    assert (said.boxes[0].height, said.boxes_from, said.tokens) == (4, "other", 9)
    invalid = Judgement.of("yes", 0.7)
    assert (invalid.answer, invalid.score, invalid.reasoning, invalid.response) == ("invalid", 0.7, "", "yes")


def test_a_judge_that_only_answers_gives_no_score() -> None:
    judgement = Judgement.of("<think>All there.</think><answer>no</answer>")
    assert (judgement.answer, judgement.score) == ("no", None)
