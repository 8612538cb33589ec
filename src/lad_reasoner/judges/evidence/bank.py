"""The patches of all references in all orientations, and the nearest of them for each patch of a query.

    bank = Bank(features)                            # of each reference (orientations, patches, channels)
    nearest, worst = bank.search(query, [0, 1, 3])   # distances (patches,); (reference, orientation) -> distance

Most of the judge's arithmetic is here: a query has some 576 patches, each reference eight times as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lad_reasoner.judges.evidence.registration import Floats

TOP_SHARE = 0.01  # of the patches: few enough for a small defect, enough to even out single odd patches
View = tuple[int, int]  # reference, and orientation in which it is known


class Bank:
    """Unit vectors of each reference (orientations, patches, channels); it may be known in one orientation only."""

    def __init__(self, features: Sequence[Floats]) -> None:
        self.features = tuple(features)

    def search(self, query: Floats, references: Sequence[int]) -> tuple[Floats, dict[View, float]]:
        """Where a query's patches (patches, channels) have their like, and which view the query explains best.

        Returns the distance (patches,) of each patch to the nearest one of any view of these references; and of each
        view the mean distance of the TOP_SHARE of its patches that the query explains worst.
        """
        views = [(index, turn) for index in references for turn in range(len(self.features[index]))]
        # View by view into one small array, which the processor's cache holds.
        likeness = np.empty((len(query), len(query)), np.float32)
        of_query = np.full(len(query), -1, np.float32)
        of_view = np.empty((len(views), len(query)), np.float32)
        for number, (index, turn) in enumerate(views):
            np.matmul(self.features[index][turn], query.T, out=likeness)  # (view's patches, query's patches)
            np.maximum(of_query, likeness.max(0), out=of_query)
            likeness.max(1, out=of_view[number])
        worst = mean_of_largest(1 - of_view)  # (views,)
        return 1 - of_query, dict(zip(views, worst.tolist(), strict=True))


def mean_of_largest(distances: Floats) -> Floats:
    """The mean of the TOP_SHARE largest distances: (…, patches) -> (…)."""
    number = max(1, round(distances.shape[-1] * TOP_SHARE))
    means: Floats = np.partition(distances, -number, axis=-1)[..., -number:].mean(-1)
    return means
