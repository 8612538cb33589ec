"""Trivial judges: their scores exactly; and judges by name."""

import numpy as np
import pytest
from PIL import Image

from helpers import tiny
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges import JUDGES, load_judge
from lad_reasoner.judges.trivial import COLOUR_LIMIT, PIXEL_LIMIT, ScoreJudge, colour_difference, pixel_difference


def plain(value: int, name: str = "q") -> Picture:
    return Picture(name, Image.new("RGB", (40, 30), (value, value, value)), 40, 30)


PAIR = PicturePair((plain(100),), plain(130))


def load(name: str, **options: object) -> ScoreJudge:
    judge = load_judge(name, **options)
    assert isinstance(judge, ScoreJudge)
    return judge


def said(judgements: list[Judgement]) -> list[tuple[str, float | None]]:
    return [(judgement.answer, judgement.score) for judgement in judgements]


@pytest.mark.parametrize(("name", "answer", "score"), [("always-yes", "yes", 1.0), ("always-no", "no", 0.0)])
def test_constants(name: str, answer: str, score: float) -> None:
    judge = load(name)
    assert judge.name == name
    assert said(judge.judge([PAIR, PAIR])) == [(answer, score)] * 2


def test_random_hangs_on_seed_and_query_alone() -> None:
    pairs = [PicturePair((plain(0),), plain(0, str(i))) for i in range(200)]
    judgements = said(load("random", seed=1).judge(pairs))
    assert said(load("random", seed=1).judge(pairs[::-1])) == judgements[::-1]
    assert said(load("random", seed="2").judge(pairs)) != judgements  # as the command line gives it
    assert 60 < sum(answer == "yes" for answer, _ in judgements) < 140
    assert all((answer == "yes") == (score >= 0.5) for answer, score in judgements if score is not None)
    assert all(score is not None for _, score in judgements)


def test_pixel_difference_is_a_mean_in_grey_values() -> None:
    assert pixel_difference(plain(100).image, plain(130).image) == 30
    half = Image.fromarray(np.repeat(np.array([[0, 200]], np.uint8), [96, 96], axis=1).repeat(96, axis=0))
    assert pixel_difference(Image.new("L", (192, 96)), half) == pytest.approx(100, abs=1.5)
    assert pixel_difference(Image.new("RGB", (50, 80)), Image.new("RGB", (500, 20))) == 0  # any two sizes
    assert said(load("pixel-difference").judge([PAIR])) == [("yes", 30 / (30 + PIXEL_LIMIT))]


def test_colour_difference_sums_over_the_bins() -> None:
    quarter = plain(0).image.copy()
    quarter.paste((255, 0, 0), (0, 0, 20, 15))
    assert colour_difference(plain(0).image, quarter) == pytest.approx(0.5)
    assert colour_difference(plain(0).image, quarter.rotate(180)) == pytest.approx(0.5)  # wherever they are
    assert colour_difference(plain(0).image, plain(255).image) == 2
    assert said(load("colour-histogram").judge([PAIR])) == [("yes", 2 / (2 + COLOUR_LIMIT))]


def test_the_most_similar_reference_counts() -> None:
    judge = load("pixel-difference")
    alone, joined = judge.judge([PAIR, PicturePair((plain(0), plain(129), plain(255)), plain(130))])
    assert joined.score == 1 / (1 + PIXEL_LIMIT)
    assert alone.score
    assert joined.score < alone.score
    assert joined.answer == "no"


def test_unknown_names_are_explained() -> None:
    with pytest.raises(InputError, match="sometimes: no such model; give evidence, micro, micro-base, always-yes"):
        load_judge("sometimes")
    for name in JUDGES:
        if not name.startswith("april-gan"):  # see test_april_gan.py
            assert load_judge(name).name == name


def test_evidence_judges_each_pair_with_its_own_references() -> None:
    pictures = [read_picture(tiny.picture(seed, 64, 64)) for seed in range(3)]
    pairs = [PicturePair((pictures[0],), pictures[2]), PicturePair((pictures[1],), pictures[2])]
    judge = load_judge("evidence")
    together = judge.judge(pairs)
    assert together[0].score != together[1].score  # the reference matters, so that the next lines can fail
    (alone,) = load_judge("evidence").judge(pairs[:1])
    assert (together[0].score, together[0].response) == (alone.score, alone.response)
