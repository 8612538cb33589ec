"""The patches of all references in all orientations, and the nearest of them for each patch of a query.

    bank = Bank(features)                            # of each reference (orientations, patches, channels)
    nearest, view = bank.search(query, [0, 1, 3])    # distances (patches,); (reference, orientation) explained best
    view = bank.best_view(query, [0, 1, 3])          # that view alone, in a fraction of the time

Most of the judge's arithmetic is here: a query has some 576 patches, each reference eight times as many. So products
are taken of vectors rounded to 8 bits first, at a third of the time; what these leave open is computed in full: for
each patch those of the CLOSEST views that may be the nearest, and all views that may be the one that is explained best.
A distance is then either exact, or too large by what 8 bits cannot tell: where more views than that show the same plain
ground. The largest distances, which the verdict is made of, are not such ones. Where only the view is asked for, most
views are known to be worse by a part of their patches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.judges.evidence.registration import Floats
from lad_reasoner.packaged import open_network

ORIENTATIONS = 8  # multiples of 45 degrees in which a reference is known
TOP_SHARE = 0.01  # of the patches: few enough for a small defect, enough to even out single odd patches
UPRIGHT = 0.85  # a turned reference must be nearer than the upright one by this factor
CLOSEST = 3  # views in which the nearest patch is looked for exactly
DOUBT = 0.006  # cosine distance: what 8 bits may err by, of a view
PART = 8  # one patch of so many is looked at first
GRAPH = Path(__file__).parents[2] / "weights/product-int8.onnx"  # made by benchmarks/pack_backbone.py
View = tuple[int, int]  # reference, and orientation in which it is known
Found = tuple[Floats, View]  # what `Bank.search` returns


class Bank:
    """Unit vectors of each reference (orientations, patches, channels); it may be known in one orientation only."""

    def __init__(self, features: Sequence[Floats]) -> None:
        self.features = tuple(features)
        self.scale = 127 / max(float(np.abs(each).max()) for each in features)  # from a component to 8 bits
        # Unsigned, from 1 to 255, which is how the fastest product wants one side.
        self.rough = tuple((_round(each, self.scale).view(np.uint8) ^ 128) for each in features)

    def search(self, query: Floats, references: Sequence[int], turns: Collection[int] = range(ORIENTATIONS)) -> Found:
        """Where a query's patches (patches, channels) have their like, and which view the query explains best.

        Only views of these references in these orientations count, of which there must be one. Returns the distance
        (patches,) of each patch to the nearest one of any such view; and the view with the smallest mean distance of
        the TOP_SHARE of its patches that the query explains worst.
        """
        views = self._views(references, turns)
        return self._find(query, views, *self._likenesses(query, views))

    def search_both(self, query: Floats, references: Sequence[int]) -> tuple[Found, Found]:
        """What `search` returns in all orientations and in the upright one alone; their products are the same."""
        views = self._views(references, range(ORIENTATIONS))
        of_query, of_view = self._likenesses(query, views)
        upright = [number for number, (_, turn) in enumerate(views) if turn == 0]
        of_upright = [views[number] for number in upright], of_query[upright], of_view[upright]
        return self._find(query, views, of_query, of_view), self._find(query, *of_upright)

    def _likenesses(self, query: Floats, views: Sequence[View]) -> tuple[Floats, Floats]:
        """The largest rough likenesses, of the query's patches and of the views', (views, patches) each."""
        rough, unit = self._round_query(query)
        # The largest products, as integers.
        of_query = np.empty((len(views), len(query)), np.int32)
        of_view = np.empty((len(views), len(query)), np.int32)
        for number, (index, turn) in enumerate(views):
            (products,) = _product().run(None, {"views": self.rough[index][turn], "query": rough})
            products.max(0, out=of_query[number])  # of (view's patches, query's patches)
            products.max(1, out=of_view[number])
        return of_query * unit, of_view * unit

    def _find(self, query: Floats, views: Sequence[View], of_query: Floats, of_view: Floats) -> Found:
        """What `search` returns, from the rough likenesses."""
        return 1 - self._nearest(query, views, of_query), self._explained_best(query, views, 1 - of_view)

    def best_view(self, query: Floats, references: Sequence[int], turns: Collection[int] = range(ORIENTATIONS)) -> View:
        """The view that `search` returns."""
        views = self._views(references, turns)
        rough, unit = self._round_query(query)

        def measure(patches: NDArray[np.uint8]) -> Floats:
            (products,) = _product().run(None, {"views": patches, "query": rough})
            distances: Floats = 1 - products.max(1) * unit  # (patches,)
            return distances

        top = _number_of_largest(len(query))
        seen: dict[int, Floats] = {}  # number of a view that may be the best -> distances (patches,)
        limit = np.inf
        # Upright ones first: they are favoured, and others are the sooner given up.
        for number in sorted(range(len(views)), key=lambda number: views[number][1] != 0):
            index, turn = views[number]
            patches, favour = self.rough[index][turn], _favour(turn)
            # The mean of the largest distances of a part of the patches is at most that of all.
            if mean_of_largest(measure(patches[::PART]), top) * favour > limit:
                continue
            seen[number] = measure(patches)
            limit = min(limit, float(mean_of_largest(seen[number], top)) * favour + 2 * DOUBT)
        kept = sorted(seen)
        return self._explained_best(query, [views[each] for each in kept], np.stack([seen[each] for each in kept]))

    def _views(self, references: Sequence[int], turns: Collection[int]) -> list[View]:
        views: list[View] = []
        for index in references:
            known = range(len(self.features[index]))
            views += [(index, turn) for turn in known if turn in turns]
        return views

    def _round_query(self, query: Floats) -> tuple[NDArray[np.int8], np.float32]:
        """The query (channels, patches) in 8 bits, and what a product with it is to be multiplied by."""
        scale = 127 / float(np.abs(query).max())
        return np.ascontiguousarray(_round(query, scale).T), np.float32(1 / (scale * self.scale))

    def _nearest(self, query: Floats, views: Sequence[View], rough: Floats) -> Floats:
        """The largest likeness (patches,) of each of the query's patches, from the rough ones (views, patches)."""
        closest = np.argpartition(rough, -min(CLOSEST, len(views)), axis=0)[-CLOSEST:]  # (CLOSEST, patches)
        # Most of these are clearly less alike than the best one.
        in_doubt = np.take_along_axis(rough, closest, 0) >= rough.max(0) - 2 * DOUBT
        likeness = np.full(len(query), -1, np.float32)
        for number in np.unique(closest[in_doubt]):
            patches = ((closest == number) & in_doubt).any(0)
            index, turn = views[number]
            of_view = (self.features[index][turn] @ query[patches].T).max(0)
            likeness[patches] = np.maximum(likeness[patches], of_view)
        return likeness

    def _explained_best(self, query: Floats, views: Sequence[View], distances: Floats) -> View:
        """From the rough distances (views, patches) of the views' patches; upright unless turned is clearly better."""
        favour = np.array([_favour(turn) for _, turn in views], np.float32)
        rough = mean_of_largest(distances) * favour  # (views,)
        in_doubt = np.flatnonzero(rough <= rough.min() + 2 * DOUBT).tolist()
        if len(in_doubt) == 1:
            return views[in_doubt[0]]

        largest = _number_of_largest(distances.shape[1])

        def exact(number: int) -> float:
            index, turn = views[number]
            # Only patches that may be among those with the largest distances.
            least = np.partition(distances[number], -largest)[-largest] - 2 * DOUBT
            patches = self.features[index][turn][distances[number] >= least]
            return float(mean_of_largest(1 - (patches @ query.T).max(1), largest) * favour[number])

        return views[min(in_doubt, key=exact)]


def _round(vectors: Floats, scale: float) -> NDArray[np.int8]:
    rounded: NDArray[np.int8] = np.rint(vectors * np.float32(scale)).clip(-127, 127).astype(np.int8)
    return rounded


@cache
def _product() -> Any:
    """`views` (patches, channels), uint8 with zero at 128, times `query` (channels, patches), int8: in int32."""
    return open_network(GRAPH)


def _favour(turn: int) -> float:
    """What a view's mean of the largest distances is multiplied by."""
    return UPRIGHT if turn == 0 else 1.0


def mean_of_largest(distances: Floats, number: int | None = None) -> Floats:
    """The mean of the TOP_SHARE largest distances, or of so many: (…, patches) -> (…)."""
    number = number or _number_of_largest(distances.shape[-1])
    means: Floats = np.partition(distances, -number, axis=-1)[..., -number:].mean(-1)
    return means


def _number_of_largest(patches: int) -> int:
    return max(1, round(patches * TOP_SHARE))
