"""Lightness: what is darker or lighter than its like, where a network sees the same thing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.colours import lab_colours
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.lightness import (
    LIMIT,
    STEADY,
    Lightness,
    _most_alike,
    change_of_lightness,
    find_limit,
)
from lad_reasoner.judges.evidence.matching import _lightness, colour_vectors

SIDE, CELL = 360, 60  # pixels of a panel and of each of its cells


def panel(seed: int, dark: tuple[int, int] | None = None, gain: float = 1.0) -> Image.Image:
    """Grey cells in a grid; the one at `dark`, a row and a column, has 60 % of its light."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((SIDE, SIDE, 3))
    for row in range(0, SIDE, CELL):
        for column in range(0, SIDE, CELL):
            pixels[row : row + CELL, column : column + CELL] = 150 * rng.uniform(0.95, 1.05)
    if dark:
        row, column = (CELL * at for at in dark)
        pixels[row : row + CELL, column : column + CELL] *= 0.6
    pixels[::CELL], pixels[:, ::CELL] = 40, 40
    pixels[:, 20::CELL], pixels[:, 40::CELL] = 210, 210
    grain = rng.normal(0, 4, (SIDE, SIDE, 1))
    return Image.fromarray(((pixels + grain) * gain).clip(0, 255).astype(np.uint8))


def study(number: int, backbone: Backbone) -> StudiedReferences:
    return StudiedReferences.study([read_picture(panel(100 + index)) for index in range(number)], backbone)


@pytest.fixture(scope="module")
def studied(backbone: Backbone) -> StudiedReferences:
    return study(3, backbone)


@pytest.mark.parametrize("dark", [(1, 4), (2, 2), (5, 1)])
def test_a_dark_cell_is_found_at_its_place(studied: StudiedReferences, dark: tuple[int, int]) -> None:
    query = read_picture(panel(1, dark))
    findings = measure_query(studied, query)
    judgement = describe(findings, query)
    assert findings.measurement.lightness_speaks and not findings.measurement.amount_speaks
    assert judgement.answer == "yes"
    assert judgement.headline is not None and judgement.headline.endswith(
        f"dark grey instead of grey. {findings.measurement.lightness.ratio:.2f} times the limit."
    )
    box = judgement.boxes[0]
    middle = (box.x + box.width / 2, box.y + box.height / 2)
    assert middle == pytest.approx((CELL * (dark[1] + 0.5), CELL * (dark[0] + 0.5)), abs=16)
    assert judgement.heat is not None and judgement.heat.max() > 1


@pytest.mark.parametrize("gain", [0.8, 1.0, 1.2])
def test_more_or_less_light_on_all_of_it_is_no_change(studied: StudiedReferences, gain: float) -> None:
    findings = measure_query(studied, read_picture(panel(1, gain=gain)))
    assert findings.measurement.lightness.ratio < 0.8
    assert findings.score < 0.5
    # Nor does it show in the map.
    measured = findings.measurement
    assert measured.differences.tolist() == np.maximum(measured.added, measured.missing_in_query).tolist()


def test_two_references_do_not_show_how_much_is_normal(backbone: Backbone) -> None:
    findings = measure_query(study(2, backbone), read_picture(panel(1, (2, 2))))
    assert math.isinf(findings.measurement.lightness.limit)
    assert findings.measurement.lightness.ratio == 0
    assert not findings.measurement.lightness.change.any()  # nor is it measured, which takes time
    assert not findings.measurement.lightness_speaks


def test_a_change_counts_with_the_limit_of_all_distances(studied: StudiedReferences) -> None:
    measured = measure_query(studied, read_picture(panel(1))).measurement
    change = np.zeros_like(measured.added)
    change[0, 0] = -3 * measured.lightness.limit * change.size * 0.02
    measured = replace(measured, lightness=Lightness(change, measured.lightness.limit))
    assert measured.lightness.ratio == pytest.approx(3**0.5, rel=0.05)  # of a whole number of patches
    assert measured.statistic == pytest.approx(measured.lightness.ratio * measured.limit)
    assert measured.differences[0, 0] / measured.limit == pytest.approx(3 * change.size * 0.02)


def test_the_like_with_the_nearest_lightness_counts() -> None:
    likeness = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.0, 0.9]], np.float32)  # (reference's, query's patches)
    of_reference = np.array([34, 24, 44, 64], np.float32)
    of_query = np.array([48, 64], np.float32)
    # The median of the nearest ones, log(64 / 50) and log(80 / 80), is taken off both.
    common = math.log(64 / 50) / 2
    # For the first patch it is then the third of its like.
    first, second = math.log(64 / 60) - common, 0 - common
    # And the mean with its neighbours, of which there is the other one; beyond the edge stands the patch itself.
    expected = [[(2 * first + second) / 3, (first + 2 * second) / 3]]
    change = change_of_lightness(likeness, of_reference, of_query, (1, 2))
    assert change.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


def test_one_patch_is_enough() -> None:
    one = np.ones(1, np.float32)
    assert change_of_lightness(one[None], one, one, (1, 1)).tolist() == [[0]]


def test_the_limit_rises_where_the_light_is_not_steady() -> None:
    changes = [np.full((10, 10), value, np.float32) for value in (0.07, -0.06, 0.08)]
    assert find_limit(changes, 3) == LIMIT
    assert find_limit(changes[:2], 2) == math.inf
    unsteady = [np.full((10, 10), 2 * STEADY, np.float32)] * 3
    assert find_limit(unsteady, 3) == pytest.approx(4 * LIMIT)
    # The mean of the largest of 2 % of the patches counts.
    one = np.zeros((10, 10), np.float32)
    one[3, 7] = 6 * STEADY
    assert find_limit([one] * 3, 3) == pytest.approx(9 * LIMIT)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(3, 9))
def test_the_most_alike_are_the_first_of_all_in_order(seed: int, rows: int, columns: int) -> None:
    likeness = np.random.default_rng(seed).permuted(np.arange(rows * columns, dtype=np.float32)).reshape(rows, columns)
    in_order = np.argsort(-likeness, axis=1)[:, :3].T
    assert _most_alike(likeness, 3).tolist() == in_order.tolist()


def test_features_know_the_lightness_of_their_patches() -> None:
    image = panel(1, (2, 2)).resize((48, 48))
    vectors = colour_vectors(image, (6, 6)).reshape(-1, 4)
    features = np.concatenate([np.zeros((36, 5), np.float32), 0.4 * vectors], -1)
    lab = lab_colours(np.asarray(image.resize((6, 6), Image.Resampling.BOX)))
    assert _lightness(features) == pytest.approx(lab[..., 0].ravel(), abs=1e-3)
