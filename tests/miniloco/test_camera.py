"""The camera: wherever it stands, it sees what has been painted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lad_reasoner.miniloco.camera import Camera
from lad_reasoner.miniloco.painting.paint import MARGIN


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(1.0, 0.8), (0.5, 1.0), (1.0, 0.4)]))
def test_the_camera_never_looks_past_the_canvas(seed: int, shape: tuple[float, float]) -> None:
    back = Camera.draw(*shape, np.random.default_rng(seed)).backward()
    for corner in ((0.0, 0.0), (shape[0], 0.0), (0.0, shape[1]), shape):
        x, y = back @ np.array([*corner, 1.0])
        assert -MARGIN < x < shape[0] + MARGIN
        assert -MARGIN < y < shape[1] + MARGIN
