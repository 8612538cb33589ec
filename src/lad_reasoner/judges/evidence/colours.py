"""Colours as an eye weighs them: CIELAB, from sRGB pixels in daylight (D65)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
COLOUR_UNITS = np.array([80, 30, 30], np.float32)  # of CIELAB, see `colour_vectors`

_LEVELS = np.arange(256) / 255
# sRGB's gamma undone, for each of the 256 levels.
LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def lab_colours(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Lightness 0 to 100, a and b of the pixels (…, 3): float32 of the same shape."""
    xyz = LINEAR[pixels] @ (RGB_TO_XYZ / RGB_TO_XYZ.sum(1, keepdims=True)).T  # white is (1, 1, 1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)  # CIELAB's lightness curve
    lightness = 116 * f[..., 1] - 16
    a = 500 * (f[..., 0] - f[..., 1])  # from green to red
    b = 200 * (f[..., 1] - f[..., 2])  # from blue to yellow
    return np.asarray(np.stack([lightness, a, b], -1), np.float32)


def colour_vectors(image: Image.Image, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Mean CIELAB colours of the patches as unit vectors (rows, columns, 4).

    They are (L/80, a/30, b/30, 1) before normalisation: red and blue are some 90 degrees apart, black and white 50, and
    what light and white balance usually change stays within a few degrees.
    """
    # A box filter of this size takes the mean over each patch.
    lab = lab_colours(np.asarray(image.resize((grid[1], grid[0]), Image.Resampling.BOX)))
    scaled = lab / COLOUR_UNITS
    vectors = np.concatenate([scaled, np.ones_like(scaled[..., :1])], -1)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def colours_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """CIELAB colours (patches, 3), from features (patches, channels) that end with `colour_vectors`."""
    colours: NDArray[np.float32] = COLOUR_UNITS * features[:, -4:-1] / features[:, -1:]
    return colours
