"""Registration finds the transform that was applied; similarities compose with their inverses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lad_reasoner.judges.evidence.registration import (
    FEWEST_PAIRS,
    Similarity,
    align,
    find_turn,
    in_view,
    isotropic_grid,
    register,
    sample,
)
from lad_reasoner.miniloco import draw_picture

SIZE = (384, 288)


@pytest.fixture(scope="module")
def board() -> Image.Image:
    return draw_picture("circuit_board", "train", "good", 0, size=384).image.resize(SIZE)


def moved(image: Image.Image, move: Similarity) -> Image.Image:
    """The picture as the camera would see it after the move."""
    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    where = move.inverse.apply(isotropic_grid(image.height, image.width))
    return Image.fromarray(sample(pixels, where).transpose(1, 2, 0).astype(np.uint8))


@pytest.mark.parametrize(("degrees", "scale", "dx", "dy"), [(0, 1, 0, 0), (5, 1, 0.05, -0.1), (-8, 0.93, 0.1, 0.02)])
def test_recovers_a_known_move(board: Image.Image, degrees: float, scale: float, dx: float, dy: float) -> None:
    radians = math.radians(degrees)
    move = Similarity(scale * math.cos(radians), scale * math.sin(radians), dx, dy)
    found = register(board, moved(board, move))
    assert found.degrees == pytest.approx(degrees, abs=0.3)
    assert found.scale == pytest.approx(scale, abs=0.01)
    assert (found.dx, found.dy) == pytest.approx((dx, dy), abs=0.01)


def test_ignores_light_and_a_large_defect(board: Image.Image) -> None:
    values = np.array(moved(board, Similarity(dx=0.08))).astype(float) * 0.7 + 20
    values[:120, :120] = 255
    found = register(board, Image.fromarray(values.astype(np.uint8)))
    assert (found.dx, found.dy) == pytest.approx((0.08, 0), abs=0.01)


def test_plain_pictures_stay_where_they_are() -> None:
    plain = Image.new("RGB", SIZE, (90, 90, 90))
    found = register(plain, plain)
    assert (found.a, found.b, found.dx, found.dy) == pytest.approx((1, 0, 0, 0), abs=1e-3)


def test_a_start_finds_what_is_turned_too_far(board: Image.Image) -> None:
    radians = math.radians(40)
    query = moved(board, Similarity(math.cos(radians), math.sin(radians), 0.05, 0))
    assert abs(register(board, query).degrees - 40) > 5
    start = Similarity(math.cos(radians - 0.1), math.sin(radians - 0.1))
    assert register(board, query, start).degrees == pytest.approx(40, abs=0.5)
    wrong = Similarity(-1, 0, 0.3, 0.3)
    assert register(board, board, wrong).degrees == pytest.approx(0, abs=0.3)


@given(st.floats(-math.pi, math.pi), st.floats(0.8, 1.25), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_alignment_ignores_wrong_pairs(angle: float, scale: float, dx: float, dy: float) -> None:
    move = Similarity(scale * math.cos(angle), scale * math.sin(angle), dx, dy)
    places = isotropic_grid(8, 10).reshape(-1, 2)
    chance = np.random.default_rng(0)
    counterparts = move.apply(places) + 0.005 * chance.normal(size=places.shape).astype(np.float32)
    wrong = chance.random(len(places)) < 0.4
    counterparts[wrong] = chance.random((int(wrong.sum()), 2)) * 2 - 1
    found = align(places, counterparts)
    assert found is not None
    assert (found.a, found.b, found.dx, found.dy) == pytest.approx((move.a, move.b, dx, dy), abs=0.03)


def test_no_alignment_of_too_few_or_of_one_place() -> None:
    places = isotropic_grid(4, 4).reshape(-1, 2)
    few = places[: FEWEST_PAIRS - 1]
    assert align(few, few) is None
    assert align(places, np.zeros_like(places)) is None


numbers = st.floats(-0.5, 0.5)


@given(st.floats(-math.pi, math.pi), st.floats(0.5, 2), numbers, numbers, numbers, numbers)
def test_inverse_undoes(angle: float, scale: float, dx: float, dy: float, x: float, y: float) -> None:
    move = Similarity(scale * math.cos(angle), scale * math.sin(angle), dx, dy)
    point = np.array([x, y], np.float32)
    assert move.inverse.apply(move.apply(point)).tolist() == pytest.approx([x, y], abs=1e-4)
    assert move.inverse.scale == pytest.approx(1 / scale)


def test_grid_and_sampling_agree() -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    grid = isotropic_grid(3, 4)
    assert sample(values, grid) == pytest.approx(values, abs=1e-5)
    assert in_view(grid, 3, 4).all()
    assert not in_view(grid + np.array([0.0, 0.6]), 3, 4)[-1].any()


@pytest.mark.parametrize("degrees", [-175, -130, -90, -40, -12, 0, 7, 30, 60, 120, 180])
def test_any_turn_is_found(board: Image.Image, degrees: int) -> None:
    radians = math.radians(degrees)
    turned = moved(board, Similarity(math.cos(radians), math.sin(radians), 0.03, -0.02))
    wrong = find_turn(board, turned) - degrees
    assert abs((wrong + 180) % 360 - 180) < 2


def test_what_looks_the_same_from_several_sides_is_not_turned() -> None:
    """A plate of four like quarters, seen with the noise of two shots."""
    rng = np.random.default_rng(0)
    quarter = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)  # (96, 96, 3)
    top = np.concatenate([quarter, np.rot90(quarter, -1)], 1)
    plate = np.concatenate([top, np.rot90(top, 2)], 0)  # as it is after any quarter turn

    def shot() -> Image.Image:
        return Image.fromarray((plate + rng.normal(0, 12, plate.shape)).clip(0, 255).astype(np.uint8))

    for turns in range(4):
        assert abs(find_turn(shot(), shot().rotate(90 * turns))) < 2
