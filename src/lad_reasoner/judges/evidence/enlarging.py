"""Values of patches on a finer grid, between which they are interpolated.

enlarge(distances, 96, 128, "cubic")             # (rows, columns) -> float32 (96, 128)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from lad_reasoner.judges.evidence.registration import Floats

CUBIC = -0.75  # the free parameter of the cubic convolution (Keys 1981): its slope one cell away
Kind = Literal["linear", "cubic"]


def enlarge(values: Floats, rows: int, columns: int, kind: Kind) -> Floats:
    """Values (…, …) at the centres of the cells -> (rows, columns); beyond the outermost centres their values go on."""
    return _weights(values.shape[0], rows, kind) @ values @ _weights(values.shape[1], columns, kind).T


@lru_cache(32)
def _weights(cells: int, wanted: int, kind: Kind) -> Floats:
    """What each of the cells counts at each of the wanted places, (wanted, cells)."""
    places = (np.arange(wanted) + 0.5) * cells / wanted - 0.5  # in cells, from the centre of the first
    weights = np.zeros((wanted, cells))
    for neighbour in range(-1, 3):
        cell = np.floor(places).astype(int) + neighbour
        away = np.abs(places - cell)
        share = _cubic(away) if kind == "cubic" else np.maximum(0.0, 1 - away)
        np.add.at(weights, (np.arange(wanted), cell.clip(0, cells - 1)), share)
    return weights.astype(np.float32)


def _cubic(away: Floats) -> Floats:
    near = ((CUBIC + 2) * away - (CUBIC + 3)) * away**2 + 1
    far = CUBIC * (((away - 5) * away + 8) * away - 4)
    return np.where(away <= 1, near, far)  # away is below 2
