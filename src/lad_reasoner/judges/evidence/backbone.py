"""Dense features of a pretrained vision network: what the evidence judge compares.

    backbone = load_backbone()                       # or load_backbone("facebook/dinov2-small")
    backbone.features(picture, (384, 256))           # (rows, columns, channels), unit vectors

The default is EfficientNet-Lite0 (see `efficientnet.py`), which comes with the package, so nothing is downloaded at run
time. Any vision model of Transformers can take its place, or the vision tower of a vision-language model (micro and the
Qwen-VL family): what the model has to go by, without its words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.judges.evidence.efficientnet import EfficientNetLite0

DEFAULT_BACKBONE = EfficientNetLite0.name


class Backbone(Protocol):
    """What the evidence judge needs of a network."""

    name: str
    multiple: int  # sides of the picture in pixels must be multiples of this
    parameters: int  # number of weights

    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        """Unit vectors (rows, columns, channels) of the RGB picture stretched to `size` = (width, height) pixels."""


def load_backbone(name: str = DEFAULT_BACKBONE) -> Backbone:
    """The default network, `micro`, or a vision or vision-language model of Transformers by hub name or folder.

    InputError for a model that is not there or has no patches in rows and columns, MissingExtraError without
    Transformers.
    """
    if name == DEFAULT_BACKBONE:
        return EfficientNetLite0()
    require("torch", "hf")  # which the default network does without
    from lad_reasoner.judges.evidence.vision_models import TransformersBackbone, VisionTower
    from lad_reasoner.judges.vlm.checkpoint import check_folder, find_folder

    folder = find_folder(name)
    check_folder(folder, name)
    return VisionTower(name) if _can_write(folder) else TransformersBackbone(name)


def _can_write(folder: Path) -> bool:
    """Whether a folder's model answers in words."""
    known = require("transformers.models.auto.modeling_auto", "hf").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    try:
        return load_json((folder / "config.json").read_text(encoding="utf-8")).get("model_type") in known
    except (ValueError, AttributeError):
        return False  # loading it will raise with the reason
