"""Two-way patch matching: what differs between references and query, without training.

    matcher = Matcher(references, load_backbone())
    query = matcher.fit(picture)                     # at working size
    measurement = matcher.compare(query)
    matcher.spread.score(measurement.statistic)      # 0.93: an anomaly, since 0.5 is the limit of normal variation
    measurement.anomaly_map(640, 480)                # where; float32 (480, 640)

Dense features of a pretrained network are compared by cosine distance, patch by patch:

- query -> references: each patch of the query and its nearest patch of any reference, in any of eight orientations
  (PatchCore, Roth et al. 2022; orientations as in AnomalyDINO, Damm et al. 2025). Large where something was added or
  changed.
- references -> query: each patch of that reference and orientation which the query explains best, and its nearest patch
  of the query. Large where something is missing.
- Where the product keeps its layout, a patch that is found only far from its place is also suspicious (two labels
  swapped): after bringing the query into register, the distance within a window is mixed in. A product whose parts lie
  about freely shows itself by many such patches, and the place then does not count.
- So is a patch that is found only turned, where the references are found in each other as well without turning any
  (`upright`): then it has its like in references of the query's own orientation alone.

The statistic is a mean of the largest TOP_SHARE of the distances in either direction, divided by a power of what the
picture's patches otherwise show (their 90 % quantile): light, pose and texture move many patches, an anomaly moves a
few. With more references, which are compared with each other, that power is smaller, since their variation is then
known. `amount.py` measures besides how many of the patches there are; where that is unusual, the statistic is larger.
`tone.py` measures how far they are from their like in lightness and tint, with limits of their own.
`normal_variation.py` turns the statistic into a score. This is not part of the paper, which asks a language model
alone; it is the judge that needs no training.

Tried and left out, since it did not help on seven sets of photographs: to subtract from a distance what the references
show at that patch among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.amount import Amounts
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.bank import ORIENTATIONS, Bank, Found, mean_of_largest
from lad_reasoner.judges.evidence.colours import colour_vectors, colours_of
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.registration import (
    Floats,
    Similarity,
    align,
    in_view,
    isotropic_grid,
    register,
)
from lad_reasoner.judges.evidence.threads import in_parallel
from lad_reasoner.judges.evidence.tone import FEWEST, Tone, change_of_tone, find_limits
from lad_reasoner.judges.evidence.views import dither, fit_to, orientations, working_size
from lad_reasoner.progress import Track, silent
from lad_reasoner.text import counted

TURNED = 12  # references that are known in all of them; further ones upright, since they differ in pose by themselves
UPRIGHT = (0,)  # the orientation in which a reference was taken
NOT_TURNED = 1.10  # how much larger distances may be where no reference is turned: 1.00 to 1.09, or from 1.12 on
COLOUR_SHARE = 0.2  # of the cosine distance; the network's features make up the rest
WINDOW = 0.12  # of the long side: how far from its place a part of a fixed layout may be
FREE_SHARE = 0.10  # of the patches found only elsewhere: from here on the layout is free and places do not count
ELSEWHERE = 0.05  # a patch is found only elsewhere when its place costs this much cosine distance more
PLACE_WEIGHT = 0.5  # how much of that extra distance counts
LEFT_OUT = 24  # references that are compared with the others: all of a few, enough of many to estimate their spread
ADDED_WEIGHT = 0.75  # of the added direction in the statistic, a geometric mean of both
ALONE = 0.7  # how much one direction counts if the other shows nothing
LEVEL = 0.90  # the quantile of the distances that stands for what the picture otherwise shows
LEVEL_FLOOR, LEVEL_CEILING = 0.01, 0.3  # of that level; another scene must not pass as much variation
LEVEL_POWER, LEVEL_POWER_OF_ONE = 0.2, 0.3  # the statistic is divided by level ** (the first + the second / references)
COPY = 0.03  # a reference whose largest distances at their places are below this is a copy, not another shot
MOST_COMMON = 0.8  # of the limit: what is drawn of a map begins below it


@dataclass(frozen=True, eq=False)
class Imitation:
    """A reference in one orientation, changed to look as the query was taken; see `imitation.py`."""

    reference: int
    degrees: int  # clockwise, a multiple of 45
    view: Image.Image  # at working size
    kinds: tuple[str, ...]  # of the changes that it shows


@dataclass(frozen=True, eq=False)
class _Distances:
    """Of a query and the view that it explains best, before it is known how much places count."""

    added: Floats  # (patches,), to the nearest patch anywhere in any reference
    missing: Floats  # (patches,), to the nearest patch anywhere in the query
    extra_added: Floats  # (patches,), how much more it is where only patches within the window may be taken
    extra_missing: Floats  # (patches,)
    change_of_tone: Floats  # (2, rows, columns) of the query's patches
    reference: int
    orientation: int
    similarity: Similarity

    @property
    def free_share(self) -> float:
        """Share of the patches, of both pictures together, that are found only elsewhere."""
        return float((np.concatenate([self.extra_added, self.extra_missing]) > ELSEWHERE).mean())

    @property
    def of_a_copy(self) -> bool:
        """Whether every patch is found again at its place: no other shot of a product is as near as that."""
        return max(_top(self.added + self.extra_added), _top(self.missing + self.extra_missing)) < COPY


@dataclass(frozen=True, eq=False)
class _Placed:
    """Distances with the places mixed in; zero where only one of the two pictures shows a patch."""

    added: Floats  # (patches,)
    missing: Floats  # (patches,)
    level: float  # quantile LEVEL of both, where both pictures show the patch
    common: float  # their median

    @property
    def top(self) -> float:
        """The largest distances of both directions as one number."""
        added, missing = _top(self.added), _top(self.missing)
        both = float(added**ADDED_WEIGHT * missing ** (1 - ADDED_WEIGHT))
        # A part that is missing on a plain ground shows in one direction alone.
        return max(both, ALONE * added, ALONE * missing)


class Matcher:
    """References, studied once, and the comparison of queries with them.

    Nothing is written after `__init__`, so several threads may share one. With the default backbone it takes about 8 MB
    for each of the first TURNED references and 1 MB for further ones. `references` must not be empty; the first gives
    the working size.
    """

    def __init__(
        self,
        references: Sequence[Picture],
        backbone: Backbone,
        *,
        features: Sequence[Floats] | None = None,  # (orientations, rows, columns, channels) each, if known
        track: Track = silent,
    ) -> None:
        self.backbone: Final = backbone
        self.size: Final = working_size(references[0], backbone.multiple)  # (width, height)
        numbers = _numbers_of_orientations(len(references)) if features is None else [len(each) for each in features]
        fitted = list(zip(references, numbers, strict=True))
        self.views: Final = in_parallel(lambda each: orientations(self.fit(each[0]), each[1]), fitted)
        work = f"studying {counted(len(references), 'reference')}"
        if features is None:
            views = [view for views in self.views for view in views]
            each = in_parallel(self._features, views, lambda each: track(each, len(views), work))
            features = np.split(np.stack(each), np.cumsum(numbers)[:-1])
        self.grid: Final = (features[0].shape[1], features[0].shape[2])  # (rows, columns) of the patches
        self.bank: Final = Bank(
            [of_reference.reshape(len(of_reference), -1, of_reference.shape[-1]) for of_reference in features]
        )
        left_out, self.upright = self._leave_one_out(track, f"{work}: how much they differ")
        shares = [distances.free_share for distances in left_out]
        # One reference does not show whether its layout is fixed: each query then decides for itself.
        self.place_weight: Final = _place_weight(float(np.median(shares))) if shares else None
        distinct = [distances for distances in left_out if not distances.of_a_copy]
        shots = [self._place(distances) for distances in distinct]
        # With copies A, A and another shot B, only B has a distance to the others, and there are two shots.
        self.distinct: Final = min(len(self.views), len(shots) + 1)
        self.limits_of_tone: Final = find_limits([each.change_of_tone for each in distinct], self.distinct)
        self.spread: Final = NormalSpread.estimate([self._appearance(each) for each in shots], self.distinct)
        upright = np.stack([of_reference[0] for of_reference in features])
        self.amounts: Final = Amounts.study(upright, self.distinct, spread_evenly(len(references), LEFT_OUT))

    def fit(self, picture: Picture) -> Image.Image:
        """The picture at working size."""
        return fit_to(picture, self.size)

    def compare(
        self, query: Image.Image, imitation: Imitation | None = None, before: Measurement | None = None
    ) -> Measurement:
        """Measure a query, an RGB picture at working size (see `fit`), against all references.

        An imitation takes the place of the view that the query explains best. What a measurement of the same query
        `before` and this one have in common is taken from there; how usual its amounts are is not known then, since
        light and noise change them, too.
        """
        features = self._features(query) if before is None else before.features
        distances = self._compare(query, features.reshape(-1, features.shape[-1]), imitation)
        placed = self._place(distances)
        limit, scale = self.spread.limit, self._scale(placed)
        common = placed.common / scale
        drawn_from = min(common, MOST_COMMON * limit)
        stretch = limit / (limit - drawn_from)
        added, missing = (
            np.maximum((each.reshape(self.grid) / scale - drawn_from) * stretch, np.float32(0))
            for each in (placed.added, placed.missing)
        )
        return Measurement(
            added=added,
            missing=missing,
            common=common,
            reference=distances.reference,
            degrees=distances.orientation * 360 // ORIENTATIONS,
            view=self.views[distances.reference][distances.orientation],
            imitated=imitation.kinds if imitation else (),
            similarity=distances.similarity,
            free_share=distances.free_share,
            appearance=placed.top / scale,
            amount=self.amounts.measure(features) if before is None else replace(before.amount, above_typical=1.0),
            tone=Tone(distances.change_of_tone, self.limits_of_tone),
            limit=limit,
            features=features,
        )

    def _features(self, image: Image.Image) -> Floats:
        """Unit vectors (rows, columns, channels): the network's and the mean colour, which networks care little for."""
        features = self.backbone.features(dither(image), self.size)
        colour = colour_vectors(image, (features.shape[0], features.shape[1]))
        # Roots, since the dot product of two such vectors then weighs the two likenesses by these shares.
        return np.concatenate([features * (1 - COLOUR_SHARE) ** 0.5, colour * COLOUR_SHARE**0.5], -1)

    def _compare(self, query: Image.Image, features: Floats, imitation: Imitation | None) -> _Distances:
        """Of a query at working size, with its features (patches, channels), to all references."""

        def among(turns: Sequence[int]) -> _Distances:
            found = self.bank.search(features, references, turns)
            return self._distances(query, features, found, imitation, tone=self.distinct >= FEWEST)

        references = range(len(self.views))
        # Light and focus move many patches, some of them nearer to turned ones: no reason to suspect these.
        if not self.upright or imitation is not None:
            return among(range(ORIENTATIONS))
        distances = among(UPRIGHT)
        if self._appearance(self._place(distances)) < self.spread.limit:
            return distances
        # Perhaps the picture is turned as a whole.
        _, orientation = self.bank.best_view(features, references)
        return among([orientation]) if orientation else distances

    def _distances(
        self,
        query: Image.Image,
        features: Floats,
        found: Found,
        imitation: Imitation | None = None,
        *,
        tone: bool = True,
    ) -> _Distances:
        """Of a query at working size, with its features (patches, channels), from what the bank found of it.

        The change of tone is zero where it is not asked for, since it has no limit.
        """
        added, (reference, orientation) = found
        explained, view = self.bank.features[reference][orientation], self.views[reference][orientation]
        if imitation is not None:
            reference, view = imitation.reference, imitation.view
            orientation = _orientation(imitation.degrees)
            explained = self._features(view).reshape(features.shape)
        likeness = explained @ features.T  # (reference's patches, query's patches)
        missing = 1 - likeness.max(1)
        added = np.minimum(added, 1 - likeness.max(0))  # exactly zero for the same picture
        start = align(*self._matches(likeness))
        similarity = register(view, query, start)
        added_at_place, missing_at_place = self._match_at_place(likeness, similarity)
        change = np.zeros((2, *self.grid), np.float32)
        if tone:
            change = change_of_tone(likeness, colours_of(explained), colours_of(features), self.grid)
        return _Distances(
            added=added,
            missing=missing,
            # Negative where the other picture has no such place, which is no reason to suspect a patch less.
            extra_added=np.maximum(added_at_place - added, np.float32(0)),
            extra_missing=np.maximum(missing_at_place - missing, np.float32(0)),
            change_of_tone=change,
            reference=reference,
            orientation=orientation,
            similarity=similarity,
        )

    def _place(self, distances: _Distances) -> _Placed:
        """Mix in the places, and leave out what only one of the two pictures can show."""
        similarity = distances.similarity
        weight = _place_weight(distances.free_share) if self.place_weight is None else self.place_weight
        added = distances.added + weight * distances.extra_added
        missing = distances.missing + weight * distances.extra_missing
        # Where the camera moved, a strip of either picture has no counterpart and says nothing about the product.
        places = isotropic_grid(*self.grid).reshape(-1, 2)  # (patches, 2)
        seen_added = in_view(similarity.inverse.apply(places), *self.grid)
        seen_missing = in_view(similarity.apply(places), *self.grid)
        both = np.concatenate([added[seen_added], missing[seen_missing]])
        return _Placed(
            added=added * seen_added,
            missing=missing * seen_missing,
            level=float(np.quantile(both, LEVEL)),
            common=float(np.median(both)),
        )

    def _scale(self, placed: _Placed) -> float:
        """What distances are divided by: the less, the more references show how much is normal."""
        power = LEVEL_POWER + LEVEL_POWER_OF_ONE / self.distinct
        return float((min(placed.level, LEVEL_CEILING) + LEVEL_FLOOR) ** power)

    def _appearance(self, placed: _Placed) -> float:
        return placed.top / self._scale(placed)

    def _matches(self, likeness: Floats) -> tuple[Floats, Floats]:
        """Places (pairs, 2) of patches in reference and query that are each other's nearest.

        `likeness` is (reference's patches, query's patches).
        """
        places = isotropic_grid(*self.grid).reshape(-1, 2)  # (patches, 2)
        of_reference, of_query = likeness.argmax(1), likeness.argmax(0)  # (patches,) each
        mutual = of_query[of_reference] == np.arange(len(of_reference))
        return places[mutual], places[of_reference[mutual]]

    def _match_at_place(self, likeness: Floats, similarity: Similarity) -> tuple[Floats, Floats]:
        """Distances (patches,) of both directions within the window; zero where the other picture has no such place.

        `likeness` is (reference's patches, query's patches).
        """
        places = isotropic_grid(*self.grid)  # (rows, columns, 2)
        expected = similarity.apply(places).reshape(-1, 2)  # (patches, 2), where the query should show them
        # Twice, since the long side is 2 in isotropic coordinates.
        in_columns = np.abs(expected[:, :1] - places[0, :, 0]) <= 2 * WINDOW  # (reference's patches, columns)
        in_rows = np.abs(expected[:, 1:] - places[:, 0, 1]) <= 2 * WINDOW  # (reference's patches, rows)
        near = (in_rows[:, :, None] & in_columns[:, None]).reshape(likeness.shape)
        likeness = np.where(near, likeness, np.float32(-1))
        missing, added = 1 - likeness.max(1), 1 - likeness.max(0)
        # No likeness is as small as -1, which stands for no place.
        return added * (added < 2), missing * (missing < 2)

    def _leave_one_out(self, track: Track, work: str) -> tuple[list[_Distances], bool]:
        """Of each reference to the others, of `LEFT_OUT` at most; empty for a single one. Whether they are upright."""
        if len(self.views) == 1:
            return [], False

        def find(index: int) -> tuple[Found, Found]:
            others = [each for each in range(len(self.views)) if each != index]
            return self.bank.search_both(self.bank.features[index][0], others)

        def compare_with_others(index: int) -> _Distances:
            return self._distances(self.views[index][0], self.bank.features[index][0], found[index])

        indices = spread_evenly(len(self.views), LEFT_OUT)
        both = in_parallel(find, indices)
        upright = _are_upright(both)
        found = {index: each[upright] for index, each in zip(indices, both, strict=True)}
        return in_parallel(compare_with_others, indices, lambda each: track(each, len(indices), work)), upright


def spread_evenly(references: int, most: int) -> list[int]:
    """Indices of all references, or of `most` of them evenly spread: the time grows in line with their number."""
    number = min(references, most)
    return [at * references // number for at in range(number)]


def _numbers_of_orientations(references: int) -> list[int]:
    """In how many orientations each of the references is known."""
    turned = set(spread_evenly(references, TURNED))
    return [ORIENTATIONS if index in turned else 1 for index in range(references)]


def _are_upright(both: Sequence[tuple[Found, Found]]) -> bool:
    """Whether references have their like in the others as well where these are not turned, from both searches."""
    tops = [(_top(nearest), _top(upright)) for (nearest, _), (upright, _) in both]
    ratios = [upright / nearest for nearest, upright in tops if nearest >= COPY]  # copies show nothing
    none_turned = all(orientation == 0 for (_, (_, orientation)), _ in both)
    return none_turned and bool(ratios) and sum(ratios) / len(ratios) < NOT_TURNED


def _orientation(degrees: int) -> int:
    """The number of an orientation that is a multiple of 45 degrees."""
    return degrees * ORIENTATIONS // 360


def _place_weight(share: float) -> float:
    """How much of the extra distance counts: the less, the more patches are found only elsewhere."""
    return PLACE_WEIGHT * max(0.0, 1 - share / FREE_SHARE)


def _top(distances: Floats) -> float:
    """Mean of the largest of the distances (patches,); those of equal patches may be rounded below zero."""
    return max(0.0, float(mean_of_largest(distances)))
