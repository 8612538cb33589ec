"""Backbones of Transformers: a vision model, or the vision tower of a vision-language model; see backbone.py."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import InputError, require
from lad_reasoner.judges.evidence.threads import limit_torch
from lad_reasoner.judges.vlm.checkpoint import find_folder, load_checkpoint


class TransformersBackbone:
    """Patch tokens of a Transformers vision model (DINOv2, DINOv3, SigLIP, CLIP's vision part …).

    InputError for a model without patch tokens.
    """

    def __init__(self, name: str) -> None:
        transformers = require("transformers", "hf")
        limit_torch()
        self.name = name
        folder = find_folder(name)
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # a damaged folder fails in more ways than can be listed
            raise InputError(f"backbone {name}: cannot be loaded ({' '.join(str(error).split())[:200]})") from None
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
    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
        x = torch.from_numpy((pixels - self.mean) / self.std).permute(2, 0, 1)[None].float()
        tokens = self.model(pixel_values=x, **self.options).last_hidden_state[0]
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        # (tokens, channels); class and register tokens, where a model has them, come before the patches.
        return F.normalize(tokens[-rows * columns :].float(), dim=1).reshape(rows, columns, -1).numpy()


class VisionTower:
    """The vision part of a vision-language model that takes pictures of any size: its tokens, as the model sees them.

    InputError for a model whose processor does not give the rows and columns of its tokens.
    """

    def __init__(self, name: str) -> None:
        limit_torch()
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
    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        resized = image.resize(size, Image.Resampling.BICUBIC)
        inputs = self.processor(images=[resized], do_resize=False, return_tensors="pt").to(self.model.device)
        (tokens,) = self.model.get_image_features(**inputs).pooler_output  # (rows * columns, channels)
        rows, columns = size[1] // self.multiple, size[0] // self.multiple
        return F.normalize(tokens.float().cpu(), dim=1).reshape(rows, columns, -1).numpy()


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
