"""What was measured between one query and the references, from which score, places and wording are made.

    measurement = matcher.compare(query)
    measurement.statistic                            # one relative distance for the whole picture
    measurement.anomaly_map(640, 480)                # where; float32 (480, 640)

`matching.py` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from lad_reasoner.judges.evidence.amount import Amount
from lad_reasoner.judges.evidence.enlarging import enlarge
from lad_reasoner.judges.evidence.registration import Floats, Similarity, in_view, isotropic_grid, sample
from lad_reasoner.judges.evidence.tone import Tone

MOST_BY_AMOUNT = 1.1  # times larger unusual amounts make the statistic at most: they tip the scale, no more


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured between one query and the references."""

    # Relative distances above `common`, stretched so that the limit stays where it is.
    added: Floats  # (rows, columns) of the query's patches
    missing: Floats  # (rows, columns) of the patches of `view`
    common: float  # median relative distance, which the whole picture has in common
    reference: int  # index of the reference that the query explains best
    degrees: int  # by which `view` is turned clockwise against that reference
    view: Image.Image  # that reference in the orientation that the query explains best, at working size
    similarity: Similarity  # leads from the view to the query
    free_share: float  # of the patches that are found only far from their places
    appearance: float  # one relative distance for the whole picture
    amount: Amount
    tone: Tone
    limit: float  # of `appearance`
    imitated: tuple[str, ...]  # kinds of change with which an imitation took the place of `view`; see `imitation.py`
    features: Floats  # (rows, columns, channels) of the query's patches

    @property
    def statistic(self) -> float:
        """What the score is made of: the appearance, more of it with unusual amounts; amount or tone if larger."""
        with_amount = self.appearance * min(MOST_BY_AMOUNT, self.amount.above_typical)
        return max(with_amount, self.amount.ratio * self.limit, self.tone.ratio * self.limit)

    @property
    def amount_speaks(self) -> bool:
        """Whether the amount made the verdict: it is further from its limit, or the appearance is within its own."""
        if self.tone_speaks:
            return False
        return self.amount.ratio * self.limit > self.appearance or self.appearance < self.limit <= self.statistic

    @property
    def tone_speaks(self) -> bool:
        """Whether the tone made the verdict: nothing is further from its limit."""
        return self.tone.ratio * self.limit == self.statistic

    @property
    def tone_counts(self) -> bool:
        """Whether the tone has places: it made the verdict, or is beyond its limit as well."""
        return self.tone_speaks or self.tone.ratio >= 1

    @cached_property
    def missing_in_query(self) -> Floats:
        """`missing` moved to where it should be in the query, (rows, columns); zero where out of view."""
        points = self.similarity.inverse.apply(isotropic_grid(*self.added.shape))
        moved: Floats = sample(self.missing[None], points)[0] * in_view(points, *self.missing.shape)
        return moved

    @property
    def differences(self) -> Floats:
        """The largest of both directions, and of the change of tone if it counts, at each patch of the query.

        (rows, columns), all of them with the same limit.
        """
        larger = np.maximum(self.added, self.missing_in_query)
        if not self.tone_counts:
            return larger
        differences: Floats = np.maximum(larger, self.tone.levels * np.float32(self.limit))
        return differences

    def anomaly_map(self, width: int, height: int) -> Floats:
        """`differences` at every pixel of a picture of this size, float32 (height, width)."""
        # Cubic curves dip below zero at edges.
        return np.maximum(enlarge(self.differences, height, width, "cubic"), np.float32(0))
