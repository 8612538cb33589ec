"""How much good pictures of a product differ among themselves, and what that makes of a new difference.

    spread = NormalSpread.estimate(augmented=[0.11, 0.13], observed=[])
    spread.limit                                     # 0.17, the statistic at which the score is 0.5
    spread.score(0.30)                               # 0.98

The statistic of a comparison (see `matching.py`) is a cosine distance s > 0 whose logarithm is close to normally
distributed among good pictures. Its centre and width are estimated from what there is:

- One reference alone shows no variation: centre and width are then those of a typical product. Neither altered copies
  of the reference nor the query's own distances foretell them better (tried on products that were left out).
- Every statistic of a good picture that is really observed (leave-one-out among several references, or normal
  pictures) counts as much as that first guess; copies of one shot, which are nearer than altered copies are, do not.

The limit of normal variation lies LIMIT_WIDTHS widths above the centre, and the score is the logistic function of the
distance to the limit in widths: 0.5 at the limit, whatever the product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Measured with the default backbone on six real products, rigid and flexible ones, in fixed and in changing light.
PRIOR_CENTRE = -1.975  # of log(statistic) among good pictures of a typical product
CENTRE_WEIGHT = 1.0  # the prior centre counts as one observed good picture
PRIOR_WIDTH = 0.15
WIDTH_WEIGHT = 4.0  # counts as so many degrees of freedom: a spread needs many pictures to show itself
LIMIT_WIDTHS = 1.5
COPY = 1 / 3  # of m: a reference nearer than this to the others is a copy of one of them, not another shot


@dataclass(frozen=True)
class NormalSpread:
    """Centre and width of log(statistic) among good pictures."""

    centre: float
    width: float
    observed: int = 0  # good pictures that it was measured on; 0 for the first guess

    @classmethod
    def estimate(
        cls, augmented: Sequence[float], observed: Sequence[float], weight: float | None = None
    ) -> NormalSpread:
        """From statistics (cosine distances) of augmented copies, and of good pictures that were really observed.

        `augmented` must not be empty. `weight` is how many independent pictures the observed ones are worth; their
        number by default.
        """
        typical = max(1e-6, sum(augmented) / len(augmented))
        logs = [math.log(value) for value in observed if value > COPY * typical]
        worth = len(observed) if weight is None else weight
        count = worth * len(logs) / max(1, len(observed))  # less the share of the copies, which are no pictures
        mean = sum(logs) / len(logs) if logs else PRIOR_CENTRE
        centre = (CENTRE_WEIGHT * PRIOR_CENTRE + count * mean) / (CENTRE_WEIGHT + count)
        # As in a conjugate normal model: the prior width and the observed one, each by its degrees of freedom.
        freedom = max(0.0, count - 1)
        variance = 0.0
        if freedom and len(logs) > 1:
            variance = sum((value - mean) ** 2 for value in logs) / (len(logs) - 1)
        spread = (WIDTH_WEIGHT * PRIOR_WIDTH**2 + freedom * variance) / (WIDTH_WEIGHT + freedom)
        return cls(centre, math.sqrt(spread), len(logs))

    @property
    def limit(self) -> float:
        """The statistic at which the score is 0.5."""
        return math.exp(self.centre + LIMIT_WIDTHS * self.width)

    def score(self, statistic: float) -> float:
        """In (0, 1), 0.5 at the limit of normal variation."""
        # Clamped, since identical pictures have a distance of 0 and the exponential of large numbers overflows.
        z = (math.log(max(statistic, 1e-9)) - math.log(self.limit)) / self.width
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, z))))
