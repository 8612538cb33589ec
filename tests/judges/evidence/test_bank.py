"""The search for the nearest patches: as exact as a plain product, in either format."""

import pytest
import torch

from lad_reasoner.judges.evidence import bank as bank_module
from lad_reasoner.judges.evidence.bank import Bank, quick_format, top_count

REFERENCES, ORIENTATIONS, PATCHES, CHANNELS = 3, 4, 120, 23


def unit_vectors(*shape: int, seed: int) -> torch.Tensor:
    vectors = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def bank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.setattr(bank_module, "quick_format", lambda: request.param)
    return Bank(list(unit_vectors(REFERENCES, ORIENTATIONS, PATCHES, CHANNELS, seed=0)))


def test_distances_are_those_of_the_plain_product(bank: Bank) -> None:
    query = unit_vectors(PATCHES, CHANNELS, seed=1)
    nearest, worst = bank.search(query, range(REFERENCES))
    distances = 1 - torch.einsum("qc,rvpc->qrvp", query, torch.stack(bank.features))
    # A wrong view is taken only where two are equally near within the format's precision.
    assert torch.allclose(nearest, distances.amin((1, 2, 3)), atol=1e-3)
    assert (nearest - distances.amin((1, 2, 3))).abs().mean() < 1e-4
    expected = distances.amin(0).topk(top_count(PATCHES)).values.mean(-1)  # (references, orientations)
    assert worst.keys() == {(index, turn) for index in range(REFERENCES) for turn in range(ORIENTATIONS)}
    for view, distance in worst.items():
        assert distance == pytest.approx(float(expected[view]), rel=0.01)


def test_only_the_references_asked_for_count(bank: Bank) -> None:
    query = bank.features[1][2]
    nearest, worst = bank.search(query, [1])
    assert nearest.abs().max() < 1e-3
    assert min(worst, key=lambda view: worst[view]) == (1, 2)
    without, worst = bank.search(query, [0, 2])
    assert without.min() > 0.01
    assert {index for index, _ in worst} == {0, 2}


def test_a_reference_may_be_known_in_one_orientation_only(bank: Bank) -> None:
    mixed = Bank([bank.features[0], bank.features[1][:1]])
    nearest, worst = mixed.search(bank.features[1][0], [0, 1])
    assert nearest.abs().max() < 1e-3
    assert min(worst, key=lambda view: worst[view]) == (1, 0)
    assert len(worst) == ORIENTATIONS + 1


def test_the_format_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_format.cache_clear()
    seconds = {torch.float32: 3.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(bank_module, "_seconds", seconds.pop)
    assert quick_format() is torch.bfloat16 is quick_format()
    quick_format.cache_clear()
    seconds = {torch.float32: 1.0, torch.bfloat16: 0.9}
    monkeypatch.setattr(bank_module, "_seconds", seconds.__getitem__)
    assert quick_format() is torch.float32
    quick_format.cache_clear()
