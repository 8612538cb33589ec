"""Dense features of a pretrained vision network: what the evidence judge compares.

    backbone = load_backbone()                       # or load_backbone("facebook/dinov2-small")
    backbone.features(picture, (384, 256))           # (rows, columns, channels), unit vectors

The default is EfficientNet-Lite0 (see `efficientnet.py`), which comes with the package, so nothing is downloaded at run
time. Any vision model of Transformers can take its place, or the vision tower of a vision-language model (micro and the
Qwen-VL family): what the model has to go by, without its words.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.judges.evidence.efficientnet import EfficientNetLite0
from lad_reasoner.judges.vlm.checkpoint import check_weights, find_folder, load_checkpoint

DEFAULT_BACKBONE = EfficientNetLite0.name


class Backbone(Protocol):
    """What the evidence judge needs of a network."""

    name: str
    multiple: int  # sides of the picture in pixels must be multiples of this
    parameters: int  # number of weights

    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        """Unit vectors (rows, columns, channels) of the RGB picture stretched to `size` = (width, height) pixels."""


def load_backbone(name: str = DEFAULT_BACKBONE) -> Backbone:
    """The default network, `micro`, or a vision or vision-language model of Transformers by hub name or folder.

    InputError for a model that is not there or has no patches in rows and columns, MissingExtraError without
    Transformers.
    """
    if name == DEFAULT_BACKBONE:
        return EfficientNetLite0()
    folder = find_folder(name)
    check_weights(folder, name)
    return VisionTower(name) if _can_write(folder) else TransformersBackbone(name)


class TransformersBackbone:
    """Patch tokens of a Transformers vision model (DINOv2, DINOv3, SigLIP, CLIP's vision part …).

    InputError for a model without patch tokens.
    """

    def __init__(self, name: str) -> None:
        transformers = require("transformers", "hf")
        self.name = name
        folder = find_folder(name)
        config = transformers.AutoConfig.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True)
        # CLIP and SigLIP hold a text tower as well.
        self.model = getattr(model, "vision_model", model).eval()
        vision = getattr(config, "vision_config", config)
        patch = getattr(vision, "patch_size", None)
        if not isinstance(patch, int):
            raise InputError(f"backbone {name}: a {config.model_type} has no patch tokens; choose a vision transformer")
        self.multiple = patch
        self.parameters = sum(weight.numel() for weight in self.model.parameters())
        self.mean, self.std = pixel_statistics(folder)
        # Position embeddings are learned for one size: have the model interpolate them for another, where it can.
        self.options: dict[str, Any] = {}
        if "interpolate_pos_encoding" in signature(self.model.forward).parameters:
            self.options["interpolate_pos_encoding"] = True

    @torch.inference_mode()
    def features(self, image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
        x = torch.from_numpy((pixels - self.mean) / self.std).permute(2, 0, 1)[None].float()
        tokens = self.model(pixel_values=x, **self.options).last_hidden_state[0]
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        # (tokens, channels); class and register tokens, where a model has them, come before the patches.
        return F.normalize(tokens[-rows * columns :].float(), dim=1).reshape(rows, columns, -1)


class VisionTower:
    """The vision part of a vision-language model that takes pictures of any size: its tokens, as the model sees them.

    InputError for a model whose processor does not give the rows and columns of its tokens.
    """

    def __init__(self, name: str) -> None:
        checkpoint = load_checkpoint(name)
        self.name, self.model, self.processor = name, checkpoint.model, checkpoint.processor.image_processor
        if "image_grid_thw" not in self.processor.model_input_names:
            raise InputError(
                f"backbone {name}: a {self.model.config.model_type} has no rows and columns of tokens; "
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
        (tokens,) = self.model.get_image_features(**inputs).pooler_output  # (rows * columns, channels)
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        return F.normalize(tokens.float().cpu(), dim=1).reshape(rows, columns, -1)


def _can_write(folder: Path) -> bool:
    """Whether a folder's model answers in words."""
    known = require("transformers.models.auto.modeling_auto", "hf").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    try:
        return load_json((folder / "config.json").read_text(encoding="utf-8")).get("model_type") in known
    except (ValueError, AttributeError):
        return False  # loading it will raise with the reason


def pixel_statistics(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of the pixels that the model was trained with; ImageNet's where not stated."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder)
    except OSError:
        settings = {}
    mean = settings.get("image_mean") or (0.485, 0.456, 0.406)
    std = settings.get("image_std") or (0.229, 0.224, 0.225)
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)
