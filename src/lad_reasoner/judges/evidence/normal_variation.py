"""How much good pictures of a product differ among themselves, and what that makes of a new difference.

    spread = NormalSpread.estimate([0.31, 0.28, 0.33, 0.30], references=4)
    spread.limit                                     # 0.37, the statistic at which the score is 0.5
    spread.score(0.50)                               # 0.92

The statistic of a comparison is a relative distance, see `matching.py`. Its limit lies between what good pictures show
and what anomalies show, and both are known in part only:

- Anomalies of all products lie at much the same statistic, so without any other knowledge the limit is a constant. It
  is lower with more references, since the statistic is.
- Good pictures of one product lie where the references lie that are compared with each other, leave-one-out. The limit
  goes from that constant towards their mean and a margin, in logarithms: half the way with three references, more with
  more of them, up to TRUST. Even if good pictures are very much alike, an anomaly is not a smaller thing for that. The
  margin grows alike: a few references have one less to be compared with, which takes a part of it up. It also covers
  what unusual amounts make of a good picture; those of the references do not count here.

A reference that is a copy of another one shows no variation and does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Measured with the default backbone on seven sets of photographs.
LIMIT = -0.48  # log(statistic) of a typical product, with one reference
DROP = 0.66  # how much lower that is with very many references
MARGIN = 0.35  # between the mean of good pictures and their limit, were the references trusted wholly
HALF_WAY = 3  # references that count as much as what is known of typical products
TRUST = 0.75  # how far the limit goes at most from the typical one to that of the references
WIDTH = 0.12  # of log(statistic): how fast the score rises
SMALLEST = 1e-9  # a copy has the distance 0, which has no logarithm


@dataclass(frozen=True)
class NormalSpread:
    """The limit of normal variation."""

    limit: float  # the statistic at which the score is 0.5
    observed: int = 0  # good pictures that it was measured on; 0 for the constant
    typical: float = 0.0  # the statistic of good pictures: their geometric mean

    @classmethod
    def estimate(cls, observed: Sequence[float], references: int) -> NormalSpread:
        """From the statistics of references against the others, without copies; `references` are distinct ones."""
        typical = LIMIT - DROP * (1 - 1 / references)
        if not observed:
            return cls(math.exp(typical))
        logs = [math.log(max(SMALLEST, value)) for value in observed]
        mean = sum(logs) / len(logs)
        trust = min(TRUST, references / (references + HALF_WAY))
        limit = math.exp((1 - trust) * typical + trust * (mean + trust * MARGIN))
        return cls(limit, len(logs), math.exp(mean))

    def score(self, statistic: float) -> float:
        """In (0, 1), 0.5 at the limit of normal variation."""
        # Clamped, since the exponential of large numbers overflows.
        z = (math.log(max(statistic, SMALLEST)) - math.log(self.limit)) / WIDTH
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, z))))
