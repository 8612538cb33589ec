"""How much alike two pictures are as a whole, by the features of the packaged network: the same product, or another?

    likeness(embed(query), embed(reference))     # 0.95 for two good products, 0.3 for two different ones

The mean of the features over the picture is compared, so that place, size and number of parts hardly count. It says
nothing about defects. The network is that of the `evidence` judge, here for all judges.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.packaged import open_network

GRAPH = Path(__file__).parent / "weights/efficientnet-lite0.onnx"
SIDE = 192  # pixels: enough to tell products apart, and a fifth of the time of what the judge looks at

_loading = threading.Lock()


def likeness(query: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Cosine of two vectors of `embed`."""
    return float(query @ reference)


def embed(image: Image.Image) -> NDArray[np.float32]:
    """The picture as one unit vector (152,)."""
    with _loading:
        session = _network()
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
    (features,) = session.run(None, {"pixels": pixels[None]})  # (1, 12, 12, 152)
    mean: NDArray[np.float32] = features[0].mean(axis=(0, 1))
    return mean / max(1e-6, float(np.linalg.norm(mean)))


@cache
def _network() -> Any:
    return open_network(GRAPH)
