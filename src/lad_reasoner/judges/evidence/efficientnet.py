"""EfficientNet-Lite0, the built-in backbone: features for the evidence judge without a download.

    features = EfficientNetLite0().features(picture, (384, 256))     # unit vectors, tensor (16, 24, 152)

The first eleven blocks of the network (Tan & Le 2019, the "lite" variant: no squeeze-and-excite, ReLU6), with ImageNet
weights that `benchmarks/pack_backbone.py` made of the published ones: batch normalisation is folded into the
convolutions, which are all that is left to compute. Licence and origin are in weights/README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = Path(__file__).parents[2] / "weights/efficientnet-lite0.safetensors"

Layer = tuple[Tensor, Tensor]  # weight (out, in / groups, kernel, kernel) and bias (out,) of a convolution

# (blocks, kernel, stride of the first block, expansion) of the first five stages: MnasNet's grid, as in the paper.
STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6))
FINE_BLOCK, COARSE_BLOCK = 4, 10  # strides 8 and 16: parts and texture, objects and their neighbourhood


class EfficientNetLite0:
    """Blocks 0 to 10 of EfficientNet-Lite0; features of stride 16 that mix blocks 4 (40 channels) and 10 (112).

    See `backbone.Backbone`. Nothing is written after `__init__`, so several threads may share one.
    """

    name = "efficientnet-lite0"
    multiple = 32

    def __init__(self) -> None:
        weights = load_file(WEIGHTS)
        self.stem = _layer(weights, "stem", stride=2)
        self.blocks: list[_Block] = []
        for blocks, kernel, stride, expansion in STAGES:
            for i in range(blocks):
                name = str(len(self.blocks))
                self.blocks.append(_Block(weights, name, kernel, stride if i == 0 else 1, expansion > 1))
        self.parameters = sum(weight.numel() for weight in weights.values())

    @torch.inference_mode()
    def features(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """Unit vectors (height / 16, width / 16, 152) of the picture stretched to `size` = (width, height) pixels."""
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        x = ((torch.from_numpy(pixels).permute(2, 0, 1) - 127) / 128)[None]  # (1, 3, height, width), as in training
        # Channels last is the layout for which processors have the fastest convolutions.
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu6(_convolve(x, self.stem, kernel=3, stride=2), inplace=True)
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in (FINE_BLOCK, COARSE_BLOCK):
                # Averaging over 3x3 neighbours makes a patch see its surroundings, as in PatchCore (Roth et al. 2022).
                maps.append(F.normalize(F.avg_pool2d(x, 3, 1, 1), dim=1))
        fine, coarse = maps
        fine = F.adaptive_avg_pool2d(fine, (coarse.shape[2], coarse.shape[3]))
        return F.normalize(torch.cat([fine, coarse], 1), dim=1)[0].permute(1, 2, 0).contiguous()


class _Block:
    """An inverted residual: expand, filter each channel, project; the input is added where shapes allow."""

    def __init__(self, weights: dict[str, Tensor], name: str, kernel: int, stride: int, expand: bool) -> None:
        self.kernel, self.stride = kernel, stride
        self.expand = _layer(weights, f"{name}.expand") if expand else None
        self.filter = _layer(weights, f"{name}.filter", stride)
        self.project = _layer(weights, f"{name}.project")

    def __call__(self, x: Tensor) -> Tensor:
        # In place, since a new large array costs more than the arithmetic.
        h = x if self.expand is None else F.relu6(_convolve(x, self.expand, kernel=1), inplace=True)
        h = _convolve(h, self.filter, kernel=self.kernel, stride=self.stride, groups=h.shape[1])
        h = F.relu6(h, inplace=True)
        h = _convolve(h, self.project, kernel=1)  # without ReLU6, which would lose too much of so few channels
        return h + x if h.shape == x.shape else h


def _layer(weights: dict[str, Tensor], name: str, stride: int = 1) -> Layer:
    """Weight and bias. The weights were trained with TensorFlow's "same" padding, which is lopsided at stride 2.

    A row and a column of zeros in front of the kernel make it the even padding of `_convolve`.
    """
    weight = weights[f"{name}.weight"]
    if stride == 2:
        weight = F.pad(weight, (1, 0, 1, 0))
    return weight.contiguous(memory_format=torch.channels_last), weights[f"{name}.bias"]


def _convolve(x: Tensor, layer: Layer, *, kernel: int, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution whose output is 1 / stride as large; `kernel` is the side without the zeros of `_layer`."""
    return F.conv2d(x, *layer, stride=stride, padding=kernel // 2, groups=groups)
