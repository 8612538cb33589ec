"""Tone: what is darker, lighter or of another tint than its like, where a network sees the same thing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.colours import colour_vectors, colours_of, lab_colours
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.tone import (
    LIMITS,
    STEADY,
    Tone,
    _most_alike,
    change_of_tone,
    find_limits,
)

SIDE, CELL = 360, 60  # pixels of a panel and of each of its cells


Light = tuple[float, float, float]  # shares of red, green and blue
DARK, TINTED, WARM = (0.6, 0.6, 0.6), (1.0, 1.12, 0.85), (1.05, 1.0, 0.95)
DIM = 50  # level of grey at which the network does not see a tint


def panel(
    seed: int, other: tuple[int, int] | None = None, light: Light = DARK, gain: Light = (1, 1, 1), level: float = 150
) -> Image.Image:
    """Grey cells in a grid; the one at `other`, a row and a column, has this light alone, all of them the gain."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((SIDE, SIDE, 3))
    for row in range(0, SIDE, CELL):
        for column in range(0, SIDE, CELL):
            pixels[row : row + CELL, column : column + CELL] = level + rng.uniform(-7.5, 7.5)
    if other:
        row, column = (CELL * at for at in other)
        pixels[row : row + CELL, column : column + CELL] *= light
    pixels[::CELL], pixels[:, ::CELL] = 40, 40
    pixels[:, 20::CELL], pixels[:, 40::CELL] = 210, 210
    grain = rng.normal(0, 4, (SIDE, SIDE, 1))
    return Image.fromarray(((pixels + grain) * gain).clip(0, 255).astype(np.uint8))


def study(number: int, backbone: Backbone, level: float = 150) -> StudiedReferences:
    panels = [read_picture(panel(100 + index, level=level)) for index in range(number)]
    return StudiedReferences.study(panels, backbone)


@pytest.fixture(scope="module")
def studied(backbone: Backbone) -> StudiedReferences:
    return study(3, backbone)


@pytest.fixture(scope="module")
def dim(backbone: Backbone) -> StudiedReferences:
    return study(3, backbone, DIM)


@pytest.mark.parametrize("light", [DARK, TINTED])
@pytest.mark.parametrize("other", [(1, 4), (2, 2), (5, 1)])
def test_a_dark_or_tinted_cell_is_found_at_its_place(
    studied: StudiedReferences, dim: StudiedReferences, other: tuple[int, int], light: Light
) -> None:
    query = read_picture(panel(1, other) if light == DARK else panel(1, other, light, level=DIM))
    findings = measure_query(studied if light == DARK else dim, query)
    judgement = describe(findings, query)
    assert findings.measurement.tone_speaks and not findings.measurement.amount_speaks
    assert judgement.answer == "yes"
    words = "dark grey instead of grey" if light == DARK else ""
    assert judgement.headline is not None and judgement.headline.endswith(
        f"{words}. {findings.measurement.tone.ratio:.2f} times the limit."
    )
    box = judgement.boxes[0]
    middle = (box.x + box.width / 2, box.y + box.height / 2)
    assert middle == pytest.approx((CELL * (other[1] + 0.5), CELL * (other[0] + 0.5)), abs=16)
    assert judgement.heat is not None and judgement.heat.max() > 1


@pytest.mark.parametrize("gain", [(0.8,) * 3, (1.0,) * 3, (1.2,) * 3, WARM])
def test_another_light_on_all_of_it_is_no_change(studied: StudiedReferences, gain: Light) -> None:
    findings = measure_query(studied, read_picture(panel(1, gain=gain)))
    assert findings.measurement.tone.ratio < 0.8
    assert findings.score < 0.5
    # Nor does it show in the map.
    measured = findings.measurement
    assert measured.differences.tolist() == np.maximum(measured.added, measured.missing_in_query).tolist()


def test_two_references_do_not_show_how_much_is_normal(backbone: Backbone) -> None:
    findings = measure_query(study(2, backbone), read_picture(panel(1, (2, 2))))
    assert np.isinf(findings.measurement.tone.limits).all()
    assert findings.measurement.tone.ratio == 0
    assert not findings.measurement.tone.change.any()  # nor is it measured, which takes time
    assert not findings.measurement.tone_speaks


@pytest.mark.parametrize("aspect", [0, 1])
def test_a_change_counts_with_the_limit_of_all_distances(studied: StudiedReferences, aspect: int) -> None:
    measured = measure_query(studied, read_picture(panel(1))).measurement
    change = np.zeros((2, *measured.added.shape), np.float32)
    top = measured.added.size * 0.02
    change[aspect, 0, 0] = 3 * measured.tone.limits[aspect] * top
    measured = replace(measured, tone=Tone(change, measured.tone.limits))
    assert measured.tone.ratio == pytest.approx(3**0.5, rel=0.05)  # of a whole number of patches
    assert measured.statistic == pytest.approx(measured.tone.ratio * measured.limit)
    assert measured.differences[0, 0] / measured.limit == pytest.approx(3 * top)


def test_the_like_with_the_nearest_lightness_and_the_nearest_tint_count() -> None:
    likeness = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.0, 0.9]], np.float32)  # (reference's, query's patches)
    of_reference = np.array([[34, 6.4, 0], [24, 0, 5.4], [44, 37, 0], [64, 9.4, 0]], np.float32)
    of_query = np.array([[48, 7.8, 0], [64, 9.4, 9.4]], np.float32)
    change = change_of_tone(likeness, of_reference, of_query, (1, 2))
    assert change.shape == (2, 1, 2)
    # The median of the nearest ones, log(64 / 50) and log(80 / 80), is taken off both.
    common = math.log(64 / 50) / 2
    # For the first patch it is then the third of its like.
    first, second = math.log(64 / 60) - common, 0 - common
    # And the mean with its neighbours, of which there is the other one; beyond the edge stands the patch itself.
    expected = [abs(2 * first + second) / 3, abs(first + 2 * second) / 3]
    assert change[0].tolist() == [pytest.approx(expected, abs=1e-6)]
    # Tints are 0.1 and nothing in the query less 0.1 and nothing in the nearest, and 0.1 and 0.1 less 0.1 and nothing.
    common_b = 0.1 / 2
    first_tint, second_tint = np.array([0, -common_b]), np.array([0, common_b])
    expected = [np.linalg.norm(2 * first_tint + second_tint) / 3, np.linalg.norm(first_tint + 2 * second_tint) / 3]
    assert change[1].tolist() == [pytest.approx(expected, abs=1e-6)]


def test_one_patch_is_enough() -> None:
    one = np.ones((1, 3), np.float32)
    assert change_of_tone(one[:, :1], one, one, (1, 1)).tolist() == [[[0]], [[0]]]


def test_limits_rise_where_the_light_is_not_steady() -> None:
    changes = [np.full((2, 10, 10), value, np.float32) for value in (0.03, 0.04, 0.05)]
    assert find_limits(changes, 3).tolist() == LIMITS.tolist()
    assert find_limits(changes[:2], 2).tolist() == [math.inf, math.inf]
    # Each by itself: here only one of the two is not steady.
    for aspect in (0, 1):
        unsteady = np.zeros((2, 10, 10), np.float32)
        unsteady[aspect] = 2 * STEADY[aspect]
        expected = [limit * (4 if each == aspect else 1) for each, limit in enumerate(LIMITS)]
        assert find_limits([unsteady] * 3, 3).tolist() == pytest.approx(expected)
    # The mean of the largest of 2 % of the patches counts.
    one = np.zeros((2, 10, 10), np.float32)
    one[:, 3, 7] = 6 * STEADY
    assert find_limits([one] * 3, 3).tolist() == pytest.approx((9 * LIMITS).tolist())


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(3, 9))
def test_the_most_alike_are_the_first_of_all_in_order(seed: int, rows: int, columns: int) -> None:
    likeness = np.random.default_rng(seed).permuted(np.arange(rows * columns, dtype=np.float32)).reshape(rows, columns)
    in_order = np.argsort(-likeness, axis=1)[:, :3].T
    assert _most_alike(likeness, 3).tolist() == in_order.tolist()


def test_features_know_the_colours_of_their_patches() -> None:
    image = panel(1, (2, 2), TINTED).resize((48, 48))
    vectors = colour_vectors(image, (6, 6)).reshape(-1, 4)
    features = np.concatenate([np.zeros((36, 5), np.float32), 0.4 * vectors], -1)
    lab = lab_colours(np.asarray(image.resize((6, 6), Image.Resampling.BOX)))
    assert colours_of(features) == pytest.approx(lab.reshape(-1, 3), abs=1e-3)
