"""The search for the nearest patches: as exact as a plain product."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lad_reasoner.judges.evidence.bank import Bank, mean_of_largest

REFERENCES, ORIENTATIONS, PATCHES, CHANNELS = 3, 4, 120, 23


def unit_vectors(*shape: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank(list(unit_vectors(REFERENCES, ORIENTATIONS, PATCHES, CHANNELS, seed=0)))


def test_distances_are_those_of_the_plain_product(bank: Bank) -> None:
    query = unit_vectors(PATCHES, CHANNELS, seed=1)
    nearest, worst = bank.search(query, range(REFERENCES))
    distances = 1 - np.einsum("qc,rvpc->qrvp", query, np.stack(bank.features))
    assert nearest == pytest.approx(distances.min((1, 2, 3)), abs=1e-5)
    expected = np.sort(distances.min(0), axis=-1)[..., -1]  # (references, orientations): 1 % of 120 patches is one
    assert worst.keys() == {(index, turn) for index in range(REFERENCES) for turn in range(ORIENTATIONS)}
    for view, distance in worst.items():
        assert distance == pytest.approx(float(expected[view]), abs=1e-5)


def test_only_the_references_asked_for_count(bank: Bank) -> None:
    query = bank.features[1][2]
    nearest, worst = bank.search(query, [1])
    assert np.abs(nearest).max() < 1e-5
    assert min(worst, key=lambda view: worst[view]) == (1, 2)
    without, worst = bank.search(query, [0, 2])
    assert without.min() > 0.01
    assert {index for index, _ in worst} == {0, 2}


def test_a_reference_may_be_known_in_one_orientation_only(bank: Bank) -> None:
    mixed = Bank([bank.features[0], bank.features[1][:1]])
    nearest, worst = mixed.search(bank.features[1][0], [0, 1])
    assert np.abs(nearest).max() < 1e-5
    assert min(worst, key=lambda view: worst[view]) == (1, 0)
    assert len(worst) == ORIENTATIONS + 1


def test_the_largest_percent_counts_and_at_least_one() -> None:
    distances = np.random.default_rng(0).permutation(np.arange(300, dtype=np.float32)).reshape(2, 150)
    ordered = np.sort(distances, axis=-1)
    assert mean_of_largest(distances) == pytest.approx(ordered[:, -2:].mean(-1))
    assert float(mean_of_largest(distances[0, :10])) == distances[0, :10].max()
