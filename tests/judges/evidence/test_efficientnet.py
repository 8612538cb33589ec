"""The built-in network: its features, and its folded layers against the published ones."""

import torch
from pack_backbone import fold_network, published_weights
from safetensors.torch import load_file

from helpers.scenes import halves
from lad_reasoner.judges.evidence.efficientnet import WEIGHTS, EfficientNetLite0, _convolve, _layer


def test_built_in_features() -> None:
    features = EfficientNetLite0().features(halves(), (384, 256))
    assert features.shape == (16, 24, 152)
    assert torch.allclose(features.norm(dim=-1), torch.ones(16, 24), atol=1e-5)
    # Patches of the same plain colour agree, those across the edge do not.
    likeness = features[8, 4] @ features[8].T
    assert likeness[3] > 0.99
    assert likeness[20] < 0.9


def test_folded_network_equals_the_published_one() -> None:
    """The first three operations, computed as the paper writes them: convolution, batch normalisation, ReLU6."""
    weights = published_weights()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2)
    names = ("running_mean", "running_var", "weight", "bias")
    plain = torch.nn.functional.batch_norm(plain, *(weights[f"_bn0.{name}"] for name in names), eps=1e-3)
    folded = _convolve(x, _layer(load_file(WEIGHTS), "stem", stride=2), kernel=3, stride=2)
    assert torch.allclose(plain, folded, atol=1e-4)


def test_the_file_that_ships_holds_the_published_weights() -> None:
    shipped, published = load_file(WEIGHTS), fold_network(published_weights())
    assert shipped.keys() == published.keys()
    assert all(torch.equal(shipped[name], published[name]) for name in shipped)
    assert WEIGHTS.stat().st_size < 4e6
