"""The built-in network: its features, its folded layers against the published ones, and its graph against torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pack_backbone import COARSE_BLOCK, FINE_BLOCK, STAGES, Graph, fold_network, int8_product, published_weights
from safetensors.torch import load_file
from torch import Tensor

from helpers.scenes import halves
from helpers.shots import shot
from lad_reasoner.errors import InputError
from lad_reasoner.judges.evidence.bank import GRAPH as PRODUCT
from lad_reasoner.judges.evidence.efficientnet import GRAPH, WEIGHTS, EfficientNetLite0


def test_built_in_features() -> None:
    features = EfficientNetLite0().features(halves(), (384, 256))
    assert features.shape == (16, 24, 152)
    assert np.linalg.norm(features, axis=-1) == pytest.approx(np.ones((16, 24)), abs=1e-5)
    # Patches of the same plain colour agree, those across the edge do not.
    likeness = features[8, 4] @ features[8].T
    assert likeness[3] > 0.99
    assert likeness[20] < 0.9


def convolve(x: Tensor, weights: dict[str, Tensor], name: str, *, stride: int = 1, groups: int = 1) -> Tensor:
    """With TensorFlow's "same" padding: at stride 2 nothing comes before the first pixel that a kernel of 3 sees."""
    weight = weights[f"{name}.weight"]
    before, behind = weight.shape[-1] // 2 - (stride - 1), weight.shape[-1] // 2
    x = F.pad(x, (before, behind, before, behind))
    return F.conv2d(x, weight, weights[f"{name}.bias"], stride=stride, groups=groups)


def features_of_torch(pixels: np.ndarray) -> Tensor:
    """The network as the paper writes it, on pixels (height, width, 3)."""
    weights = load_file(WEIGHTS)
    x = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127) / 128
    x = F.relu6(convolve(x, weights, "stem", stride=2))
    maps, number = [], 0
    for blocks, _, stride, expansion in STAGES:
        for i in range(blocks):
            h = F.relu6(convolve(x, weights, f"{number}.expand")) if expansion > 1 else x
            h = F.relu6(convolve(h, weights, f"{number}.filter", stride=stride if i == 0 else 1, groups=h.shape[1]))
            h = convolve(h, weights, f"{number}.project")
            x = h + x if h.shape == x.shape else h
            if number in (FINE_BLOCK, COARSE_BLOCK):
                maps.append(F.normalize(F.avg_pool2d(x, 3, 1, 1), dim=1))
            number += 1
    x = torch.cat([F.avg_pool2d(maps[0], 2), maps[1]], 1)
    return F.normalize(x, dim=1)[0].permute(1, 2, 0)


@pytest.mark.parametrize("size", [(384, 384), (448, 320)])
def test_the_graph_computes_what_torch_computes(size: tuple[int, int]) -> None:
    image = shot("logical", 1).image.resize(size)
    features = EfficientNetLite0().features(image, size)
    assert features == pytest.approx(features_of_torch(np.array(image)).numpy(), abs=1e-5)


def test_folded_network_equals_the_published_one() -> None:
    """The first three operations, computed as the paper writes them: convolution, batch normalisation, ReLU6."""
    weights = published_weights()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = F.conv2d(F.pad(x, (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2)
    names = ("running_mean", "running_var", "weight", "bias")
    plain = F.batch_norm(plain, *(weights[f"_bn0.{name}"] for name in names), eps=1e-3)
    assert torch.allclose(plain, convolve(x, load_file(WEIGHTS), "stem", stride=2), atol=1e-4)


def test_the_file_that_ships_holds_the_published_weights() -> None:
    shipped, published = load_file(WEIGHTS), fold_network(published_weights())
    assert shipped.keys() == published.keys()
    # Processors differ in the last bit of a square root.
    for name, weights in published.items():
        torch.testing.assert_close(shipped[name], weights, rtol=0, atol=3e-7 * weights.abs().max().item())
    assert WEIGHTS.stat().st_size < 4e6


def test_the_graph_that_ships_is_the_one_that_is_packed() -> None:
    pytest.importorskip("onnx", reason="onnx, which only packing needs, is not installed")
    assert Graph(WEIGHTS).to_bytes() == GRAPH.read_bytes()
    assert int8_product() == PRODUCT.read_bytes()


@pytest.mark.parametrize("content", [b"", b"no graph", GRAPH.read_bytes()[:5000]])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network\n.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^.*network.*: not the network of this judge \(.*\)$") as raised:
        EfficientNetLite0(path)
    assert "\n" not in str(raised.value)


def test_a_graph_without_its_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / GRAPH.name
    path.write_bytes(GRAPH.read_bytes())
    with pytest.raises(InputError, match="not the network of this judge"):
        EfficientNetLite0(path)


def test_its_number_of_weights_is_that_of_the_file() -> None:
    assert EfficientNetLite0().parameters == sum(weight.numel() for weight in load_file(WEIGHTS).values())
