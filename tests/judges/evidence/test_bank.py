"""The search for the nearest patches: as exact as a plain product where it counts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lad_reasoner.judges.evidence.bank import DOUBT, UPRIGHT, Bank, _product, mean_of_largest

REFERENCES, ORIENTATIONS, PATCHES, CHANNELS = 3, 4, 120, 23


def unit_vectors(*shape: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank(list(unit_vectors(REFERENCES, ORIENTATIONS, PATCHES, CHANNELS, seed=0)))


def test_the_product_of_integers_is_exact() -> None:
    rng = np.random.default_rng(2)
    views = rng.integers(1, 256, (PATCHES, CHANNELS), np.uint8)
    query = rng.integers(-127, 128, (CHANNELS, PATCHES), np.int8)
    (products,) = _product().run(None, {"views": views, "query": query})
    assert (products == (views.astype(int) - 128) @ query.astype(int)).all()


def test_distances_are_those_of_the_plain_product(bank: Bank) -> None:
    query = unit_vectors(PATCHES, CHANNELS, seed=1)
    nearest, view = bank.search(query, range(REFERENCES))
    distances = 1 - np.einsum("qc,rvpc->qrvp", query, np.stack(bank.features))
    exact = distances.min((1, 2, 3))
    # Of twelve views of mere noise three are searched exactly, and the right one is nearly always among these.
    assert (nearest >= exact - 1e-5).all()
    assert np.abs(nearest - exact).max() < DOUBT
    assert np.abs(nearest - exact).mean() < DOUBT / 100
    worst = np.sort(distances.min(0), axis=-1)[..., -1]  # (references, orientations): 1 % of 120 patches is one
    favoured = worst * np.where(np.arange(ORIENTATIONS) == 0, UPRIGHT, 1)
    assert view == np.unravel_index(favoured.argmin(), favoured.shape)


def test_three_views_are_searched_exactly(bank: Bank) -> None:
    few = Bank([of_reference[:1] for of_reference in bank.features])
    query = unit_vectors(PATCHES, CHANNELS, seed=1)
    nearest, view = few.search(query, range(REFERENCES))
    distances = 1 - np.einsum("qc,rpc->qrp", query, np.stack(few.features)[:, 0])
    assert nearest == pytest.approx(distances.min((1, 2)), abs=1e-6)
    assert view == (np.sort(distances.min(0), axis=-1)[:, -1].argmin(), 0)


def test_views_that_8_bits_cannot_tell_apart_are_told_apart() -> None:
    base = unit_vectors(PATCHES, CHANNELS, seed=3)
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 1e-3, (4, PATCHES, CHANNELS)).astype(np.float32)
        views = base + noise
        views /= np.linalg.norm(views, axis=-1, keepdims=True)
        bank = Bank(list(views[:, None]))
        exact = [mean_of_largest(1 - (view @ base.T).max(1)) for view in views]
        assert bank.search(base, range(4))[1] == (int(np.argmin(exact)), 0)


def test_the_best_view_is_that_of_the_search(bank: Bank) -> None:
    views = set()
    for seed in range(40):
        # Each time mostly one of the views, so that the others are given up early.
        reference, turn = seed % REFERENCES, seed // REFERENCES % ORIENTATIONS
        query = bank.features[reference][turn] + 0.3 * unit_vectors(PATCHES, CHANNELS, seed=seed)
        query /= np.linalg.norm(query, axis=-1, keepdims=True)
        view = bank.best_view(query, range(REFERENCES))
        assert view == bank.search(query, range(REFERENCES))[1]
        views.add(view)
        assert bank.best_view(query, [2, 0], [1, 3]) == bank.search(query, [2, 0], [1, 3])[1]
        noise = unit_vectors(PATCHES, CHANNELS, seed=100 + seed)  # explains no view better than the others
        assert bank.best_view(noise, range(REFERENCES)) == bank.search(noise, range(REFERENCES))[1]
    assert len(views) == REFERENCES * ORIENTATIONS


def test_both_searches_are_the_two_searches(bank: Bank) -> None:
    for seed in range(10):
        query = unit_vectors(PATCHES, CHANNELS, seed=seed)
        both = bank.search_both(query, [0, 2])
        for (nearest, view), alone in zip(
            both, (bank.search(query, [0, 2]), bank.search(query, [0, 2], [0])), strict=True
        ):
            assert (nearest == alone[0]).all()
            assert view == alone[1]


def test_only_the_references_asked_for_count(bank: Bank) -> None:
    query = bank.features[1][2]
    nearest, view = bank.search(query, [1])
    assert np.abs(nearest).max() < 1e-5
    assert view == (1, 2)
    without, view = bank.search(query, [0, 2])
    assert without.min() > 0.01
    assert view[0] in (0, 2)


def test_only_the_orientations_asked_for_count(bank: Bank) -> None:
    query = bank.features[1][2]
    nearest, view = bank.search(query, [0, 1], [2])
    assert np.abs(nearest).max() < 1e-5
    assert view == (1, 2)
    upright, view = bank.search(query, [0, 1], [0])
    assert upright.min() > 0.01
    assert view[1] == 0
    mixed = Bank([bank.features[0], bank.features[1][:1]])
    assert mixed.search(query, [0, 1], [2])[1] == (0, 2)  # the other one is not known so


def test_a_reference_may_be_known_in_one_orientation_only(bank: Bank) -> None:
    mixed = Bank([bank.features[0], bank.features[1][:1]])
    nearest, view = mixed.search(bank.features[1][0], [0, 1])
    assert np.abs(nearest).max() < 1e-5
    assert view == (1, 0)


def test_the_largest_percent_counts_and_at_least_one() -> None:
    distances = np.random.default_rng(0).permutation(np.arange(300, dtype=np.float32)).reshape(2, 150)
    ordered = np.sort(distances, axis=-1)
    assert mean_of_largest(distances) == pytest.approx(ordered[:, -2:].mean(-1))
    assert float(mean_of_largest(distances[0, :10])) == distances[0, :10].max()
