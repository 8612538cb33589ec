"""The patches of all references in all orientations, and the nearest of them for each patch of a query.

    bank = Bank(features)                            # of each reference (orientations, patches, channels)
    nearest, worst = bank.search(query, [0, 1, 3])   # distances (patches,); (reference, orientation) -> distance

Most of the judge's arithmetic is here: a query has some 576 patches, each reference eight times as many. Where the
processor multiplies bfloat16 much faster, that format finds the nearest view of each patch, and the distance to that
view is computed again in float32: it is exact unless two views are equally near, within 0.4 %.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, cached_property

import torch

TOP_SHARE = 0.01  # of the patches: few enough for a small defect, enough to even out single odd patches
PADDED = 32  # channels of the quick format are a multiple of this
TRIALS = 5  # of which the fastest counts, since other processes may be busy
FASTER = 1.5  # how much faster bfloat16 must be to be used
View = tuple[int, int]  # reference, and orientation in which it is known
BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


class Bank:
    """Unit vectors of each reference (orientations, patches, channels); it may be known in one orientation only."""

    def __init__(self, features: Sequence[torch.Tensor]) -> None:
        self.features = tuple(features)

    @cached_property
    def quick(self) -> tuple[torch.Tensor, ...]:
        """The same, extended, in the format of the search: (orientations, patches, padded channels) each."""
        return tuple(_extend(views).to(quick_format()) for views in self.features)

    def search(self, query: torch.Tensor, references: Sequence[int]) -> tuple[torch.Tensor, dict[View, float]]:
        """Where a query's patches (patches, channels) have their like, and which view the query explains best.

        Returns the distance (patches,) of each patch to the nearest one of any view of these references; and of each
        view the mean distance of the TOP_SHARE of its patches that the query explains worst.
        """
        views = [(index, turn) for index in references for turn in range(len(self.features[index]))]
        extended = _extend(query, -1.0).to(quick_format()).T  # (padded channels, patches)
        # View by view into one small array, which the processor's cache holds.
        distances = torch.empty((len(query), len(query)), dtype=extended.dtype)
        # Floats that are not negative are in the order of their bits, and whole numbers are compared faster.
        bits = distances.view(BITS[distances.dtype])
        of_query = torch.empty((len(views), len(query)), dtype=bits.dtype)
        of_view = torch.empty((len(views), len(query)), dtype=bits.dtype)
        for number, (index, turn) in enumerate(views):
            torch.mm(self.quick[index][turn], extended, out=distances)
            torch.amin(bits, 0, out=of_query[number])
            torch.amin(bits, 1, out=of_view[number])
        nearest = torch.empty(len(query))
        chosen = of_query.argmin(0)  # (patches,), the nearest view of each
        for number in sorted(set(chosen.tolist())):
            index, turn = views[number]
            those = chosen == number
            nearest[those] = 1 - (query[those] @ self.features[index][turn].T).amax(1)
        worst = of_view.view(distances.dtype).float().topk(top_count(len(query))).values.mean(-1)  # (views,)
        return nearest, dict(zip(views, worst.tolist(), strict=True))


def top_count(patches: int) -> int:
    """How many patches TOP_SHARE of them are."""
    return max(1, round(patches * TOP_SHARE))


def _extend(vectors: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
    """Vectors (..., channels) -> (..., padded channels), with a one behind them and zeros up to a multiple of PADDED.

    The product of two such vectors, one of them with the other sign, is 1 - likeness: a small number, which the few
    digits of bfloat16 hold more exactly than a likeness near 1.
    """
    *rest, channels = vectors.shape
    extended = vectors.new_zeros(*rest, -(-(channels + 1) // PADDED) * PADDED)
    extended[..., :channels] = sign * vectors
    extended[..., channels] = 1.0
    return extended


@cache
def quick_format() -> torch.dtype:
    """bfloat16 on a processor that multiplies it much faster, else float32: measured once, in some milliseconds."""
    plain, short = _seconds(torch.float32), _seconds(torch.bfloat16)
    return torch.bfloat16 if plain > FASTER * short else torch.float32


def _seconds(dtype: torch.dtype) -> float:
    left = torch.ones((576, 160), dtype=dtype)
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        left @ left.T
        times.append(time.perf_counter() - start)
    return min(times)
