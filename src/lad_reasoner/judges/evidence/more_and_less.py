"""What the query shows more of, and what less, where the amounts differ; see `amount.py`.

amounts = find_more_and_less(amount, query, reference)
amounts.more, amounts.less, amounts.place     # ("orange", "light grey", "lower left")
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.judges.evidence.amount import Amount
from lad_reasoner.judges.evidence.colours import lab_colours
from lad_reasoner.judges.evidence.regions import name_colour
from lad_reasoner.text import place_words

MOST = 0.5  # of the largest excess: cells below are pushed aside by those above


@dataclass(frozen=True)
class MoreAndLess:
    """Colours by name, and the place of most of it in the query."""

    more: str
    less: str
    place: str


def find_more_and_less(amount: Amount, query: Image.Image, reference: Image.Image) -> MoreAndLess:
    """The colours of the query's cells with the largest excess, against those of their counterparts.

    Both are RGB pictures at working size. Each cell votes for its pair of named colours, with its excess and by how far
    these are from each other; a pair of two colours wins over any of one.
    """
    surplus = amount.surplus  # (rows, columns)
    rows, columns = surplus.shape
    now, shown = (np.asarray(each.resize((columns, rows), Image.Resampling.BOX)) for each in (query, reference))
    before = shown.reshape(-1, 3)[amount.counterparts]  # (rows, columns, 3)
    votes: defaultdict[tuple[str, str], float] = defaultdict(float)
    chosen = surplus >= MOST * surplus.max()
    apart = np.linalg.norm(lab_colours(now) - lab_colours(before), axis=-1)  # (rows, columns)
    for row, column in np.argwhere(chosen):
        vote = surplus[row, column] * apart[row, column]
        votes[_name(now[row, column]), _name(before[row, column])] += float(vote)
    more, less = max(votes, key=lambda pair: (pair[0] != pair[1], votes[pair]))
    # The centre of mass of the excess, as fractions of the picture.
    inside = np.where(chosen, surplus, 0.0)
    down = (inside.sum(1) * (np.arange(rows) + 0.5)).sum()
    across = (inside.sum(0) * (np.arange(columns) + 0.5)).sum()
    y = float(down / inside.sum() / rows)
    x = float(across / inside.sum() / columns)
    return MoreAndLess(more, less, place_words(x, y))


def _name(colour: NDArray[np.uint8]) -> str:
    red, green, blue = colour.tolist()
    return name_colour((red, green, blue))
