"""Two-way matching: what is the same, added, missing, moved, turned, or out of view."""

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers.scenes import BLUE, BOTH, RED, scene
from helpers.shots import shot
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.matching import (
    LEFT_OUT,
    ORIENTATIONS,
    TURNED,
    Matcher,
    _numbers_of_orientations,
    _top,
    spread_evenly,
)


def peak(distances: NDArray[np.float32]) -> tuple[float, float]:
    """Place of the largest value in fractions from the left and from the top."""
    row, column = divmod(int(distances.argmax()), distances.shape[1])
    return (column + 0.5) / distances.shape[1], (row + 0.5) / distances.shape[0]


def test_the_same_picture_differs_in_nothing(backbone: Backbone) -> None:
    matcher = Matcher([scene(*BOTH)], backbone)
    comparison = matcher.compare(matcher.fit(scene(*BOTH)))
    assert comparison.statistic < 1e-4
    assert matcher.spread.score(comparison.statistic) < 0.01


def test_equal_patches_that_are_rounded_below_zero_have_the_distance_zero() -> None:
    assert _top(np.full(200, -1e-7, np.float32)) == 0


def test_added_and_missing_are_told_apart_and_placed(backbone: Backbone) -> None:
    matcher = Matcher([scene(BOTH[0])], backbone)
    added = matcher.compare(matcher.fit(scene(*BOTH)))
    assert added.added.max() > 2 * added.missing.max()
    assert peak(added.added) == pytest.approx((280 / 384, 200 / 384), abs=0.1)
    matcher = Matcher([scene(*BOTH)], backbone)
    missing = matcher.compare(matcher.fit(scene(BOTH[0])))
    assert missing.missing.max() > 2 * missing.added.max()
    assert peak(missing.missing_in_query) == pytest.approx((280 / 384, 200 / 384), abs=0.1)
    heat = missing.anomaly_map(384, 384)
    assert heat.shape == (384, 384)
    assert heat.argmax() % 384 == pytest.approx(280, abs=40)


def test_swapped_parts_show_only_by_their_places(backbone: Backbone) -> None:
    """Every patch of the swapped picture is found somewhere in the reference; the places give it away."""
    matcher = Matcher([scene(*BOTH)], backbone)
    swapped = matcher.fit(scene((110, 200, BLUE), (280, 200, RED)))
    comparison = matcher.compare(swapped)
    assert 0 < comparison.free_share < 0.1
    without_places = copy(matcher)
    without_places.place_weight = 0.0  # type: ignore[misc]
    without = without_places.compare(swapped)
    assert comparison.statistic > 2 * without.statistic


def test_a_turned_product_is_known(backbone: Backbone) -> None:
    matcher = Matcher([scene(*BOTH)], backbone)
    turned = matcher.fit(read_picture(scene(*BOTH).image.rotate(-90)))
    comparison = matcher.compare(turned)
    assert comparison.degrees == 90
    assert matcher.spread.score(comparison.statistic) < 0.5


def test_references_that_are_found_in_each_other_without_turning_are_upright(
    backbone: Backbone, matcher: Matcher, one_shot: Matcher
) -> None:
    assert matcher.upright
    assert not one_shot.upright  # nobody knows
    bag = [shot("good", index, "screw_bag", "train") for index in range(4)]
    assert not Matcher(bag, backbone).upright  # its screws lie in any direction
    assert not Matcher([scene(*BOTH), scene(*BOTH)], backbone).upright  # a copy shows nothing
    board = shot("good", 0, split="train")
    turned = read_picture(board.image.rotate(-90, expand=True).resize(board.image.size))
    assert not Matcher([board, turned], backbone).upright


def test_what_is_found_only_turned_is_suspicious_where_references_are_upright(matcher: Matcher) -> None:
    query = matcher.fit(shot("good", 1))
    box = (220, 70, 320, 170)
    changed = query.copy()
    changed.paste(query.crop(box).rotate(90), box[:2])
    turnable = copy(matcher)
    turnable.upright = False
    assert matcher.compare(changed).statistic > 1.3 * turnable.compare(changed).statistic
    assert matcher.compare(query).statistic == pytest.approx(turnable.compare(query).statistic, rel=0.1)


def test_a_product_that_is_turned_as_a_whole_is_known_where_references_are_upright(matcher: Matcher) -> None:
    turnable = copy(matcher)
    turnable.upright = False
    turned = matcher.fit(shot("good", 1)).rotate(180)
    comparison = matcher.compare(turned)
    assert comparison.degrees == 180
    assert comparison.statistic == pytest.approx(turnable.compare(turned).statistic, rel=0.05)


def test_what_is_out_of_view_does_not_count(backbone: Backbone) -> None:
    wide = shot("good", 0, split="train").image
    left, right = (read_picture(wide.crop((x, 0, x + 340, wide.height))) for x in (0, 40))
    matcher = Matcher([left], backbone)
    comparison = matcher.compare(matcher.fit(right))
    assert comparison.similarity.dx == pytest.approx(-80 / 340, abs=0.02)
    assert comparison.added[:, -2:].max() == 0  # the reference does not show this strip
    assert matcher.spread.score(comparison.statistic) < 0.5


def test_several_references_measure_normal_variation(matcher: Matcher, one_shot: Matcher) -> None:
    assert [len(views) for views in matcher.bank.features] == [ORIENTATIONS] * 4
    assert matcher.place_weight is not None  # the layout's rigidity is known from the references
    assert one_shot.place_weight is None
    assert matcher.spread.limit < one_shot.spread.limit  # these good pictures are more alike than is usual
    for i in range(4):
        comparison = matcher.compare(matcher.fit(shot("good", i)))
        assert matcher.spread.score(comparison.statistic) < 0.5
        assert comparison.reference in range(4)


def test_noise_all_over_a_good_picture_is_no_anomaly(matcher: Matcher) -> None:
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = np.asarray(shot("good", i).image, dtype=np.float32)
        noisy = Image.fromarray((pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8))
        measurement = matcher.compare(matcher.fit(read_picture(noisy)))
        assert measurement.common > 0.02  # all patches are off
        assert matcher.spread.score(measurement.statistic) < 0.3  # 0.78 and 0.56 before this was subtracted


def test_another_scene_has_not_merely_much_in_common(one_shot: Matcher) -> None:
    other = shot("good", 0, "screw_bag").image
    measurement = one_shot.compare(one_shot.fit(read_picture(other)))
    assert one_shot.spread.score(measurement.statistic) > 0.9


def test_results_do_not_depend_on_what_came_before(one_shot: Matcher) -> None:
    query = one_shot.fit(shot("logical", 1))
    first = one_shot.compare(query).statistic
    one_shot.compare(one_shot.fit(shot("good", 1)))
    assert one_shot.compare(query).statistic == first


def test_threads_that_share_a_matcher_get_the_answers_of_one(matcher: Matcher) -> None:
    queries = [matcher.fit(shot(kind, index)) for kind in ("good", "logical") for index in range(3)]
    before = dict(vars(matcher))
    alone = [matcher.compare(query) for query in queries]
    with ThreadPoolExecutor(2) as pool:
        shared = list(pool.map(matcher.compare, queries))
    for expected, measurement in zip(alone, shared, strict=True):
        # Threads of the pool may split sums otherwise, which moves the last digit.
        assert measurement.statistic == pytest.approx(expected.statistic, abs=1e-6)
        assert measurement.differences == pytest.approx(expected.differences, abs=1e-5)
        assert (measurement.reference, measurement.degrees) == (expected.reference, expected.degrees)
    assert all(value is before[name] for name, value in vars(matcher).items())


def test_the_time_of_many_references_grows_in_line_with_their_number() -> None:
    assert spread_evenly(1, LEFT_OUT) == [0]
    assert spread_evenly(10, LEFT_OUT) == list(range(10))
    for references in (40, 200):
        indices = spread_evenly(references, LEFT_OUT)
        assert len(set(indices)) == LEFT_OUT
        assert indices[-1] >= references * 0.9
        numbers = _numbers_of_orientations(references)
        assert numbers.count(ORIENTATIONS) == TURNED
        assert numbers.count(1) == references - TURNED


def test_the_grain_of_a_jpeg_or_a_sensor_is_no_difference(backbone: Backbone) -> None:
    """On a plain ground the network would take it for a texture."""
    matcher = Matcher([scene(*BOTH)], backbone)
    rng = np.random.default_rng(1)
    pixels = np.asarray(scene(*BOTH).image, dtype=np.float32)
    noisy = Image.fromarray((pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8))
    buffer = BytesIO()
    scene(*BOTH).image.save(buffer, "JPEG", quality=75)
    for image in (noisy, Image.open(buffer).convert("RGB")):
        measurement = matcher.compare(matcher.fit(read_picture(image)))
        assert matcher.spread.score(measurement.statistic) < 0.1


def test_a_copy_of_a_reference_is_not_another_shot(backbone: Backbone) -> None:
    """Whereas equal parts in other places are one."""
    first, other = scene(*BOTH), scene((110, 120, RED), (280, 250, BLUE))
    assert Matcher([first, first], backbone).spread == Matcher([first], backbone).spread
    assert Matcher([first, other], backbone).distinct == 2
    assert Matcher([first, first, other], backbone).distinct == 2
