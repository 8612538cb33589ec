"""Baselines: their scores exactly, and that a judge's responses go through the one parser."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from helpers import tiny
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.inspector import load_model
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges.trivial import (
    BASELINES,
    COLOUR_LIMIT,
    PIXEL_LIMIT,
    JudgePredictor,
    Opinion,
    colour_difference,
    load_baseline,
    pixel_difference,
)
from lad_reasoner.records import Box


def plain(value: int, name: str = "q") -> Picture:
    return Picture(name, Image.new("RGB", (40, 30), (value, value, value)), 40, 30)


PAIR = PicturePair([plain(100)], plain(130))


@pytest.mark.parametrize(("name", "answer", "score"), [("always-yes", "yes", 1.0), ("always-no", "no", 0.0)])
def test_constants(name: str, answer: str, score: float) -> None:
    baseline = load_baseline(name)
    assert baseline.name == name
    assert baseline.predict([PAIR, PAIR]) == [Opinion(answer, score)] * 2  # type: ignore[arg-type]


def test_random_hangs_on_seed_and_query_alone() -> None:
    pairs = [PicturePair([plain(0)], plain(0, str(i))) for i in range(200)]
    opinions = load_baseline("random", seed=1).predict(pairs)
    assert load_baseline("random", seed=1).predict(pairs[::-1]) == opinions[::-1]
    assert load_baseline("random", seed=2).predict(pairs) != opinions
    assert 60 < sum(opinion.answer == "yes" for opinion in opinions) < 140
    assert all((opinion.answer == "yes") == (opinion.score >= 0.5) for opinion in opinions if opinion.score is not None)


def test_pixel_difference_is_a_mean_in_grey_values() -> None:
    assert pixel_difference(plain(100).image, plain(130).image) == 30
    half = Image.fromarray(np.repeat(np.array([[0, 200]], np.uint8), [96, 96], axis=1).repeat(96, axis=0))
    assert pixel_difference(Image.new("L", (192, 96)), half) == pytest.approx(100, abs=1.5)
    assert pixel_difference(Image.new("RGB", (50, 80)), Image.new("RGB", (500, 20))) == 0  # any two sizes
    (opinion,) = load_baseline("pixel-difference").predict([PAIR])
    assert opinion == Opinion("yes", 30 / (30 + PIXEL_LIMIT))


def test_colour_difference_sums_over_the_bins() -> None:
    quarter = plain(0).image.copy()
    quarter.paste((255, 0, 0), (0, 0, 20, 15))
    assert colour_difference(plain(0).image, quarter) == pytest.approx(0.5)
    assert colour_difference(plain(0).image, quarter.rotate(180)) == pytest.approx(0.5)  # wherever they are
    assert colour_difference(plain(0).image, plain(255).image) == 2
    (opinion,) = load_baseline("colour-histogram").predict([PAIR])
    assert opinion == Opinion("yes", 2 / (2 + COLOUR_LIMIT))


def test_the_most_similar_reference_counts() -> None:
    predictor = load_baseline("pixel-difference")
    alone, joined = predictor.predict([PAIR, PicturePair([plain(0), plain(129), plain(255)], plain(130))])
    assert joined.score == 1 / (1 + PIXEL_LIMIT)
    assert alone.score
    assert joined.score < alone.score
    assert joined.answer == "no"


def test_unknown_names_are_explained() -> None:
    with pytest.raises(InputError, match="sometimes: no such baseline; give one of always-yes, always-no, random"):
        load_baseline("sometimes")
    for name in BASELINES:
        if not name.startswith("april-gan"):  # see test_april_gan.py
            assert load_baseline(name).name == name


def test_a_judge_that_only_answers_gives_no_score() -> None:
    judge = Saying("<think>All there.</think><answer>no</answer>", scored=False)
    (opinion,) = JudgePredictor(judge).predict([PAIR])
    assert (opinion.answer, opinion.score) == ("no", None)


class Saying:
    """A judge with these responses."""

    name, prompt_version, batch_size, notes = "saying", "test-1", 7, ("a note",)

    def __init__(self, *responses: str, scored: bool = True) -> None:
        self.responses, self.scored = responses, scored

    def study(self, references: Sequence[Picture]) -> None: ...

    def judge_many(self, queries: Sequence[Picture]) -> list[Judgement]:
        return []

    def judge_pairs(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        box = Box(x=1, y=2, width=3, height=4, strength=1.5)
        return [
            Judgement(text, 0.7, boxes=(box,), boxes_from="other", tokens=9, scored=self.scored)
            for text in self.responses
        ]


def test_a_judges_responses_are_parsed() -> None:
    good = "<think>All there.</think><answer>no</answer>"
    predictor = JudgePredictor(Saying(good, "yes"))
    assert (predictor.name, predictor.prompt_version, predictor.batch_size) == ("saying", "test-1", 7)
    assert predictor.notes == ("a note",)
    said, invalid = predictor.predict([PAIR, PAIR])
    assert (said.answer, said.score, said.reasoning, said.response) == ("no", 0.7, "All there.", good)
    assert (said.boxes[0].height, said.boxes_from, said.tokens) == (4, "other", 9)
    assert (invalid.answer, invalid.reasoning, invalid.response) == ("invalid", "", "yes")


def test_evidence_judges_each_pair_with_its_own_references() -> None:
    pictures = [read_picture(tiny.picture(seed, 64, 64)) for seed in range(3)]
    pairs = [PicturePair(pictures[:1], pictures[2]), PicturePair(pictures[1:2], pictures[2])]
    judge = load_model("evidence")
    together = judge.judge_pairs(pairs)
    assert together[0].score != together[1].score  # the reference matters, so that the next lines can fail
    judge.study(pictures[:1])
    (alone,) = judge.judge_many(pictures[2:])
    assert (together[0].score, together[0].response) == (alone.score, alone.response)
    (opinion,) = load_baseline("evidence").predict(pairs[:1])
    assert (opinion.score, opinion.response) == (alone.score, alone.response)
