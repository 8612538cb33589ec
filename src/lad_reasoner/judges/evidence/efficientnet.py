"""EfficientNet-Lite0, the built-in backbone: features for the evidence judge without a download.

    features = EfficientNetLite0().features(picture, (384, 256))     # unit vectors (16, 24, 152)

The first eleven blocks of the network (Tan & Le 2019, the "lite" variant: no squeeze-and-excite, ReLU6), with ImageNet
weights that `benchmarks/pack_backbone.py` made of the published ones. ONNX Runtime computes it, which starts in a tenth
of the time of torch. Licence and origin are in weights/README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.packaged import open_network
from lad_reasoner.text import shown

GRAPH = Path(__file__).parents[2] / "weights/efficientnet-lite0.onnx"
WEIGHTS = GRAPH.with_suffix(".safetensors")  # what the graph refers to, by this name and in its folder


class EfficientNetLite0:
    """Blocks 0 to 10 of EfficientNet-Lite0; features of stride 16 that mix blocks 4 (40 channels) and 10 (112).

    See `backbone.Backbone`. Nothing is written after `__init__`, so several threads may share one. InputError for a
    `graph` that is not such a network.
    """

    name = "efficientnet-lite0"
    multiple = 32

    def __init__(self, graph: Path = GRAPH) -> None:
        try:
            self._session = open_network(graph)
            self.parameters = int(self._session.get_modelmeta().custom_metadata_map["parameters"])
        except Exception as error:  # ONNX Runtime's have no class of their own
            reason = str(error).splitlines()[0]
            raise InputError(f"{shown(graph)}: not the network of this judge ({reason})") from None

    def features(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        """Unit vectors (height / 16, width / 16, 152) of the picture stretched to `size` = (width, height) pixels."""
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        (features,) = self._session.run(None, {"pixels": pixels[None]})
        return features[0]  # type: ignore[no-any-return]
