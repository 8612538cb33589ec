"""Amount: does the query show as much of everything as the references do?

    amounts = Amounts.study(features)                # (references, rows, columns, channels)
    measured = amounts.measure(query)                # (rows, columns, channels)
    measured.ratio                                   # 2.3: that many times the limit
    measured.above_typical                           # 3.1: that many times what good pictures show

Matching patch by patch takes any number of tangerines for one: each finds a tangerine in the reference. So patches of
query and reference are also assigned one to one, at the least total distance. What a patch must pay above its nearest
counterpart, because others have taken that, is the excess; its mean is the statistic. Three references or more show
how large it is among good pictures: twice the largest excess of one of them against the others is the limit. With
fewer, the limit is a constant that only a large change of the amounts reaches.

Below that limit an excess above that of good pictures still counts, with the appearance: where both are nearly too
much, that is a reason, though neither is one alone; see `matching.py`.

The excess does not depend on where things lie, and hardly on how they look; where the amounts of a product vary, the
references' own excess is large, and the limit with it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lad_reasoner.judges.evidence.registration import Floats

CELL = 2  # patches on a cell's side: fewer cells, since an assignment costs the cube of their number
FEWEST = 3  # references
LIMIT = 2.0  # times the largest excess among the references; no good picture of seven real sets reached it
LIMIT_OF_FEW = 0.034  # excess (cosine distance), with fewer; no good picture of seven real sets reached it
LEAST = 0.008  # excess (cosine distance) that is never unusual: references of one pose show less than there is
ROUNDING = 1e-6  # of a mean of float32
NEAREST = 10  # references that a query is assigned to, by their nearest patches


@dataclass(frozen=True, eq=False)
class Amount:
    """The excess of one query over the reference where it is least."""

    ratio: float  # in units of the limit
    above_typical: float  # in units of what good pictures show; 1 if it is less, or if that is not known
    surplus: Floats  # (rows, columns) of cells, the excess of the query's cells
    reference: int  # index of that reference
    counterparts: NDArray[np.intp]  # (rows, columns), index of the reference's cell that each cell is assigned to


@dataclass(frozen=True, eq=False)
class Amounts:
    """The cells of the references, and the largest excess among them."""

    cells: Floats  # (references, rows, columns, channels)
    limit: float  # a mean cosine distance
    typical: float = math.inf  # what good pictures show; infinite with few references

    @classmethod
    def study(cls, features: Floats, distinct: int, left_out: Sequence[int]) -> Amounts:
        """From features (references, rows, columns, channels), of which `distinct` are no copies of another.

        `left_out` are the references that are compared with all others.
        """
        cells = _pool(features)
        if distinct < FEWEST:
            return cls(cells, LIMIT_OF_FEW)
        excesses = []
        for index in left_out:
            others = [other for other in range(len(cells)) if other != index]
            excesses.append(_least_excess(cells[index], cells, others)[0])
        typical = statistics.geometric_mean(max(LEAST, excess) for excess in excesses)
        return cls(cells, LIMIT * max(LEAST, *excesses), typical)

    def measure(self, features: Floats) -> Amount:
        """The excess of a query's features (rows, columns, channels)."""
        query = _pool(features[None])[0]
        excess, reference, surplus, counterparts = _least_excess(query, self.cells, range(len(self.cells)))
        shape = query.shape[:2]
        above_typical = max(1.0, excess / self.typical)
        return Amount(
            excess / self.limit, above_typical, surplus.reshape(shape), reference, counterparts.reshape(shape)
        )


def _pool(features: Floats) -> Floats:
    """Means over CELL x CELL patches: (pictures, rows, columns, channels) -> fewer rows and columns."""
    pictures, rows, columns, channels = features.shape
    rows, columns = rows // CELL, columns // CELL
    cells = features[:, : rows * CELL, : columns * CELL].reshape(pictures, rows, CELL, columns, CELL, channels)
    means: Floats = cells.mean((2, 4))
    return means


def _least_excess(
    query: Floats, cells: Floats, references: Sequence[int]
) -> tuple[float, int, Floats, NDArray[np.intp]]:
    """The mean excess, the reference, the excess of the query's cells (cells,) and their counterparts (cells,).

    `query` is (rows, columns, channels), `cells` (references, rows, columns, channels).
    """
    channels = query.shape[-1]
    flat = query.reshape(-1, channels)  # (cells, channels)
    # (query's cells, reference's cells) each
    costs = {index: 1 - flat @ cells[index].reshape(-1, channels).T for index in references}
    nearest = {index: float(cost.min(1).mean() + cost.min(0).mean()) for index, cost in costs.items()}
    # An assignment costs at least what is left when each column, and then each row, is reduced by its least.
    reduced, bounds = {}, {}
    for index in sorted(nearest, key=lambda index: nearest[index])[:NEAREST]:
        of_columns = costs[index].min(0)
        by_column = costs[index] - of_columns
        of_rows = by_column.min(1)
        reduced[index] = by_column - of_rows[:, None]
        bounds[index] = float(of_columns.mean() + of_rows.mean()) - nearest[index] / 2
    best = None
    for index in sorted(bounds, key=lambda index: bounds[index]):
        if best is not None and bounds[index] > best[0] + ROUNDING:
            break
        # The same assignment is the best of the reduced costs, and is found there in less time.
        rows, columns = linear_sum_assignment(reduced[index])
        paid = costs[index][rows, columns]  # (cells,), rows are in order
        excess = float(paid.mean()) - nearest[index] / 2
        if best is None or (excess, nearest[index]) < (best[0], nearest[best[1]]):
            best = excess, index, paid - costs[index].min(1), columns
    assert best is not None
    return best
