"""Amounts: as much of everything as in the references, wherever it lies."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment

from helpers.scenes import BLUE, RED
from helpers.shots import shot
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.evidence.amount import FEWEST, LEAST, LIMIT, LIMIT_OF_FEW, Amounts, _pool
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.measurement import MOST_BY_AMOUNT
from lad_reasoner.judges.evidence.wording import write_headline

NORTH, EAST = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def mosaic(share: int, seed: int) -> NDArray[np.float32]:
    """Features (8, 8, 2): of the 16 cells of four patches `share` show one thing, the others another."""
    order = np.random.default_rng(seed).permutation(16)
    cells = np.stack([NORTH if place < share else EAST for place in order]).reshape(4, 4, 2)
    return cells.repeat(2, 0).repeat(2, 1)


def test_places_do_not_matter_and_amounts_do() -> None:
    amounts = Amounts.study(np.stack([mosaic(8, seed) for seed in range(3)]), 3, range(3))
    same = amounts.measure(mosaic(8, 7))
    more = amounts.measure(mosaic(12, 7))
    assert same.ratio == pytest.approx(0, abs=1e-5)
    # Four of sixteen cells must take a counterpart at distance 1, and every one is near to some other cell.
    assert more.ratio * amounts.limit == pytest.approx(4 / 16, abs=1e-5)
    assert int((more.surplus > 0.5).sum()) == 4


def test_references_that_differ_in_amount_allow_it() -> None:
    strict = Amounts.study(np.stack([mosaic(8, seed) for seed in range(3)]), 3, range(3))
    loose = Amounts.study(np.stack([mosaic(share, seed) for seed, share in enumerate((6, 8, 11))]), 3, range(3))
    query = mosaic(12, 7)
    assert strict.measure(query).ratio > 1
    assert loose.measure(query).ratio < 1
    assert loose.limit == pytest.approx(LIMIT * 3 / 16, abs=1e-5)
    # Their excesses are 2, 2 and 3 cells, the query's is 1 over the third.
    assert loose.typical == pytest.approx((2 * 2 * 3) ** (1 / 3) / 16, abs=1e-5)
    assert loose.measure(query).above_typical == 1
    assert loose.measure(mosaic(15, 7)).above_typical == pytest.approx(4 / 12 ** (1 / 3), abs=1e-4)


def test_references_of_one_pose_do_not_show_what_is_typical() -> None:
    strict = Amounts.study(np.stack([mosaic(8, seed) for seed in range(3)]), 3, range(3))
    assert strict.typical == pytest.approx(LEAST)
    assert strict.measure(mosaic(9, 7)).above_typical == pytest.approx(1 / 16 / LEAST, abs=1e-3)


def test_the_least_excess_is_that_of_assigning_to_every_reference() -> None:
    """References that cannot have the least excess are left out: it is the same one."""
    rng = np.random.default_rng(5)
    features = rng.random((9, 8, 8, 6)).astype(np.float32) + 3 * rng.random((9, 1, 1, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    references, query = features[:-1], features[-1]
    measured = Amounts.study(references, 1, ()).measure(query)
    excesses = []
    for cells in _pool(references):
        cost = 1 - _pool(query[None])[0].reshape(-1, 6) @ cells.reshape(-1, 6).T
        paid = cost[linear_sum_assignment(cost)].mean()
        excesses.append(float(paid - (cost.min(0).mean() + cost.min(1).mean()) / 2))
    assert measured.reference == int(np.argmin(excesses))
    assert measured.ratio * LIMIT_OF_FEW == pytest.approx(min(excesses), abs=1e-6)


def test_few_references_have_the_constant() -> None:
    features = np.stack([mosaic(8, seed) for seed in range(FEWEST - 1)])
    amounts = Amounts.study(features, FEWEST - 1, range(FEWEST - 1))
    assert amounts.limit == LIMIT_OF_FEW
    assert amounts.measure(mosaic(8, 7)).ratio == pytest.approx(0, abs=1e-5)
    assert amounts.measure(mosaic(9, 7)).ratio == pytest.approx(1 / 16 / LIMIT_OF_FEW, abs=1e-4)
    assert amounts.measure(mosaic(9, 7)).above_typical == 1


def crowd(blue: int, seed: int) -> Picture:
    """Sixteen squares in a tray, so many of them blue, the others red, in any order."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (384, 384), (150, 150, 150))
    draw = ImageDraw.Draw(image)
    for place, index in enumerate(rng.permutation(16)):
        x, y = 24 + 88 * (place % 4), 24 + 88 * (place // 4)
        draw.rectangle((x, y, x + 71, y + 71), fill=BLUE if index < blue else RED)
    return read_picture(image)


@pytest.mark.parametrize(
    ("appearance", "ratio", "above", "statistic", "speaks"),
    [
        (0.36, 0.5, 1.0, 0.36, False),  # of 0.40: good
        (0.38, 0.9, 1.1, 0.38 * 1.1, True),  # neither alone is too much
        (0.30, 0.9, 1.8, 0.36, True),  # the amount is nearer to its limit, and within it
        (0.44, 0.9, 1.8, 0.44 * MOST_BY_AMOUNT, False),  # the appearance is enough
        (0.36, 2.0, 4.0, 0.80, True),
    ],
)
def test_amount_and_appearance_together(
    one_shot: Matcher, appearance: float, ratio: float, above: float, statistic: float, speaks: bool
) -> None:
    measured = one_shot.compare(one_shot.fit(shot("good", 1)))
    amount = replace(measured.amount, ratio=ratio, above_typical=above)
    measured = replace(measured, appearance=appearance, amount=amount, limit=0.40)
    assert (measured.statistic, measured.amount_speaks) == (pytest.approx(statistic), speaks)


def test_the_verdict_says_what_there_is_more_of(backbone: Backbone) -> None:
    studied = StudiedReferences.study([crowd(8, seed) for seed in range(4)], backbone)
    good, wrong = crowd(8, 9), crowd(14, 9)
    assert describe(measure_query(studied, good), good).answer == "no"
    findings = measure_query(studied, wrong)
    assert findings.measurement.amount_speaks
    judgement = describe(findings, wrong)
    assert judgement.answer == "yes"
    assert judgement.headline == "14 blue parts; the references have 8."
    assert "more blue, less red" in write_headline(replace(findings, counts=()))
    assert "There is more blue and less red than in any reference" in judgement.response
