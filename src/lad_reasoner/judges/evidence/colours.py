"""Colours as an eye weighs them: CIELAB, from sRGB pixels in daylight (D65)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)

_LEVELS = np.arange(256) / 255
# sRGB's gamma undone, for each of the 256 levels.
LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def lab_colours(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Lightness 0 to 100, a and b of the pixels (…, 3): float32 of the same shape."""
    xyz = LINEAR[pixels] @ (RGB_TO_XYZ / RGB_TO_XYZ.sum(1, keepdims=True)).T  # white is (1, 1, 1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)  # CIELAB's lightness curve
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
    return np.asarray(lab, np.float32)
