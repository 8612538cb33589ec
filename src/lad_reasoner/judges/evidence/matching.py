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

Light, compression and noise move all patches alike, an anomaly moves a few. So the median distance of the picture is
subtracted from all of them. The statistic is the mean of the largest TOP_SHARE of the rest in either direction;
`normal_variation.py` turns it into a score. This is not part of the paper, which asks a language model alone; it is
the judge that needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.registration import Similarity, half_extent, in_view, isotropic_grid, register, sample

WORKING_AREA = 384 * 384  # pixels: the picture that the network sees, in the first reference's aspect
ORIENTATIONS = 8  # multiples of 45 degrees in which a reference is known
COLOUR_SHARE = 0.2  # of the cosine distance; the network's features make up the rest
UPRIGHT = 0.85  # a turned reference must be nearer than the upright one by this factor
TOP_SHARE = 0.01  # of the patches: few enough for a small defect, enough to even out single odd patches
WINDOW = 0.12  # of the long side: how far from its place a part of a fixed layout may be
FREE_SHARE = 0.10  # of the patches found only elsewhere: from here on the layout is free and places do not count
ELSEWHERE = 0.05  # a patch is found only elsewhere when its place costs this much cosine distance more
PLACE_WEIGHT = 0.5  # how much of that extra distance counts
LEFT_OUT = 24  # references that are compared with the others: all of a few, enough of many to estimate their spread
AUGMENTED = 8  # copies of the references, which show how near a copy is
MOST_COMMON = 0.25  # more in common than light or noise explain: another scene, which must not pass
FEWER = 0.17  # distances of good pictures fall with this power of the number of references (six real products)

RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured between one query and the references."""

    added: torch.Tensor  # (rows, columns), distances of the query's patches above `common`
    missing: torch.Tensor  # (rows, columns), distances of the patches of `view` above `common`
    common: float  # median distance, which the whole picture has in common
    reference: int  # index of the reference that the query explains best
    degrees: int  # by which `view` is turned clockwise against that reference
    view: Image.Image  # that reference in the orientation that the query explains best, at working size
    similarity: Similarity  # leads from the view to the query
    free_share: float  # of the patches that are found only far from their places
    statistic: float  # one number for the whole picture, a cosine distance

    @cached_property
    def missing_in_query(self) -> torch.Tensor:
        """`missing` moved to where it should be in the query, tensor (rows, columns); zero where out of view."""
        points = self.similarity.inverse.apply(isotropic_grid(*self.added.shape))
        return torch.where(in_view(points, *self.missing.shape), sample(self.missing[None], points)[0], 0.0)

    @property
    def differences(self) -> torch.Tensor:
        """The larger of both directions at each patch of the query, tensor (rows, columns)."""
        return torch.maximum(self.added, self.missing_in_query)

    def anomaly_map(self, width: int, height: int) -> NDArray[np.float32]:
        """`differences` at every pixel of a picture of this size, float32 (height, width)."""
        patches = self.differences[None, None]
        pixels = torch.nn.functional.interpolate(patches, size=(height, width), mode="bicubic", align_corners=False)
        return np.asarray(pixels[0, 0].clamp(min=0), dtype=np.float32)  # bicubic curves dip below zero at edges


@dataclass(frozen=True, eq=False)
class _Distances:
    """Of a query and the view that it explains best, before it is known how much places count."""

    added: torch.Tensor  # (patches,), to the nearest patch anywhere in any reference
    missing: torch.Tensor  # (patches,), to the nearest patch anywhere in the query
    extra_added: torch.Tensor  # (patches,), how much more it is where only patches within the window may be taken
    extra_missing: torch.Tensor  # (patches,)
    reference: int
    orientation: int
    similarity: Similarity

    @property
    def free_share(self) -> float:
        """Share of the patches, of both pictures together, that are found only elsewhere."""
        extra = torch.cat([self.extra_added, self.extra_missing])
        return float((extra > ELSEWHERE).float().mean())


class Matcher:
    """References, studied once, and the comparison of queries with them.

    Nothing is written after `__init__`, so several threads may share one. With the default backbone it takes about 8 MB
    a reference, and a second or so to study one. `references` must not be empty; the first gives the working size.
    """

    def __init__(self, references: Sequence[Picture], backbone: Backbone) -> None:
        self.backbone: Final = backbone
        self.size: Final = working_size(references[0], backbone.multiple)  # (width, height)
        self.views: Final = [orientations(self.fit(picture)) for picture in references]
        features = [torch.stack([self._features(view) for view in views]) for views in self.views]
        bank = torch.stack(features)  # (references, orientations, rows, columns, channels)
        self.grid: Final = (bank.shape[2], bank.shape[3])  # (rows, columns) of the patches
        self.bank: Final = bank.flatten(2, 3)  # (references, orientations, patches, channels)
        left_out = self._leave_one_out()
        shares = [distances.free_share for distances in left_out]
        # One reference does not show whether its layout is fixed: each query then decides for itself.
        self.place_weight: Final = _place_weight(float(np.median(shares))) if shares else None
        self.spread: Final = self._estimate_spread(left_out)

    def fit(self, picture: Picture) -> Image.Image:
        """The picture stretched to the working size; one of another aspect is stretched too, as data sets do."""
        return picture.image.resize(self.size, Image.Resampling.BICUBIC, reducing_gap=2.0)

    def compare(self, query: Image.Image) -> Measurement:
        """Measure a query, an RGB picture at working size (see `fit`), against all references."""
        return self._measure(self._distances(query, range(len(self.views))))

    def _features(self, image: Image.Image) -> torch.Tensor:
        """Unit vectors (rows, columns, channels): the network's and the mean colour, which networks care little for."""
        features = self.backbone.features(image, self.size)
        colour = colour_vectors(image, (features.shape[0], features.shape[1]))
        # Roots, since the dot product of two such vectors then weighs the two likenesses by these shares.
        return torch.cat([features * (1 - COLOUR_SHARE) ** 0.5, colour * COLOUR_SHARE**0.5], -1)

    def _distances(self, query: Image.Image, references: Sequence[int]) -> _Distances:
        """Of a query at working size to the references with these indices."""
        features = self._features(query).flatten(0, 1)  # (patches, channels)
        added, missing = _match(features, self.bank[list(references)])
        nearest, orientation = _best_explained(missing)
        reference, missing = references[nearest], missing[nearest, orientation]
        similarity = register(self.views[reference][orientation], query)
        added_at_place, missing_at_place = self._match_at_place(features, self.bank[reference, orientation], similarity)
        return _Distances(
            added=added,
            missing=missing,
            # Negative where the other picture has no such place, which is no reason to suspect a patch less.
            extra_added=(added_at_place - added).clamp(min=0),
            extra_missing=(missing_at_place - missing).clamp(min=0),
            reference=reference,
            orientation=orientation,
            similarity=similarity,
        )

    def _measure(self, distances: _Distances) -> Measurement:
        """Mix in the places, and leave out what only one of the two pictures can show."""
        share, similarity = distances.free_share, distances.similarity
        weight = _place_weight(share) if self.place_weight is None else self.place_weight
        added = distances.added + weight * distances.extra_added
        missing = distances.missing + weight * distances.extra_missing
        # Where the camera moved, a strip of either picture has no counterpart and says nothing about the product.
        places = isotropic_grid(*self.grid).flatten(0, 1)  # (patches, 2)
        seen_added = in_view(similarity.inverse.apply(places), *self.grid)
        seen_missing = in_view(similarity.apply(places), *self.grid)
        common = _common(added[seen_added], missing[seen_missing])
        added = torch.where(seen_added, (added - common).clamp(min=0), 0.0)
        missing = torch.where(seen_missing, (missing - common).clamp(min=0), 0.0)
        return Measurement(
            added=added.reshape(self.grid),
            missing=missing.reshape(self.grid),
            common=common,
            reference=distances.reference,
            degrees=distances.orientation * 360 // ORIENTATIONS,
            view=self.views[distances.reference][distances.orientation],
            similarity=similarity,
            free_share=share,
            statistic=(_top(added) + _top(missing)) / 2,
        )

    def _match_at_place(
        self, query: torch.Tensor, reference: torch.Tensor, similarity: Similarity
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances (patches,) of both directions within the window; zero where the other picture has no such place.

        `query` and `reference` are features (patches, channels).
        """
        places = isotropic_grid(*self.grid).flatten(0, 1)  # (patches, 2)
        expected = similarity.apply(places)  # (patches, 2), where the query should show the reference's patches
        # Twice, since the long side is 2 in isotropic coordinates.
        near = (expected[:, None] - places[None]).abs().amax(-1) <= 2 * WINDOW  # (reference's patches, query's patches)
        likeness = (reference @ query.T).masked_fill(~near, -1.0)  # (reference's patches, query's patches)
        missing, added = 1 - likeness.amax(1), 1 - likeness.amax(0)
        return torch.where(near.any(0), added, 0.0), torch.where(near.any(1), missing, 0.0)

    def _leave_one_out(self) -> list[_Distances]:
        """Of each reference to the others, of `LEFT_OUT` at most; empty for a single one."""
        distances = []
        for index in left_out_indices(len(self.views)):
            others = [other for other in range(len(self.views)) if other != index]
            if others:
                distances.append(self._distances(self.views[index][0], others))
        return distances

    def _estimate_spread(self, left_out: Sequence[_Distances]) -> NormalSpread:
        """From each reference against the others; augmented copies show which of them are copies."""
        count = len(self.views)
        rng = np.random.default_rng(0)  # of its own, so that a verdict does not depend on what was drawn before
        augmented = []
        for index in range(AUGMENTED):
            copy, seen_copy, seen_reference = augment_shot(self.views[index % count][0], rng, self.grid)
            added, missing = _match(self._features(copy).flatten(0, 1), self.bank[[index % count]])
            # Only the upright view: copies are turned by a few degrees at most.
            added, missing = added[seen_copy], missing[0, 0][seen_reference]
            augmented.append((_top(added) + _top(missing)) / 2 - _common(added, missing))
        # A query has one reference more than each of these had, and so is nearer.
        nearer = (1 - 1 / count) ** FEWER
        observed = [nearer * self._measure(distances).statistic for distances in left_out]
        # Two references give one distance, seen from both ends.
        return NormalSpread.estimate(augmented, observed, weight=count - 1)


def left_out_indices(references: int) -> list[int]:
    """Which references are left out in turn: evenly spread, so that the time grows in line with their number."""
    number = min(references, LEFT_OUT)
    return [at * references // number for at in range(number)]


def _match(query: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each patch and its nearest one of the other side.

    Features (patches, channels) of a query and (references, orientations, patches, channels) -> distances added
    (patches,), to any reference in any orientation, and missing (references, orientations, patches).
    """
    likeness = torch.einsum("qc,rvpc->qrvp", query, bank)
    return 1 - likeness.amax((1, 2, 3)), 1 - likeness.amax(0)


def _best_explained(missing: torch.Tensor) -> tuple[int, int]:
    """The reference and the orientation which the query explains best; upright unless turned is clearly better.

    `missing` is (references, orientations, patches).
    """
    tops = missing.topk(_top_count(missing.shape[2])).values.mean(-1)  # (references, orientations)
    tops[:, 0] *= UPRIGHT
    return divmod(int(tops.argmin()), tops.shape[1])


def _place_weight(share: float) -> float:
    """How much of the extra distance counts: the less, the more patches are found only elsewhere."""
    return PLACE_WEIGHT * max(0.0, 1 - share / FREE_SHARE)


def _common(added: torch.Tensor, missing: torch.Tensor) -> float:
    """Median of all distances, tensors (patches,), one of each direction; at most MOST_COMMON."""
    return min(MOST_COMMON, float(torch.cat([added, missing]).median()))


def _top_count(patches: int) -> int:
    return max(1, round(patches * TOP_SHARE))


def _top(distances: torch.Tensor) -> float:
    """Mean of the largest of the distances (patches,)."""
    return float(distances.topk(_top_count(len(distances))).values.mean())


def working_size(picture: Picture, multiple: int) -> tuple[int, int]:
    """(width, height) near WORKING_AREA pixels in the picture's aspect; at most 4 to 1."""
    aspect = min(4.0, max(0.25, picture.width / picture.height))
    width, height = (WORKING_AREA * aspect) ** 0.5, (WORKING_AREA / aspect) ** 0.5
    return max(1, round(width / multiple)) * multiple, max(1, round(height / multiple)) * multiple


def colour_vectors(image: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """Mean CIELAB colours of the patches as unit vectors (rows, columns, 4).

    They are (L/80, a/30, b/30, 1) before normalisation: red and blue are some 90 degrees apart, black and white 50, and
    what light and white balance usually change stays within a few degrees.
    """
    # A box filter of this size takes the mean over each patch.
    rgb = np.asarray(image.resize((grid[1], grid[0]), Image.Resampling.BOX), dtype=np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # sRGB's gamma undone
    xyz = linear @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(1)  # (rows, columns, 3), white is (1, 1, 1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)  # CIELAB's lightness curve
    lightness, a, b = 116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    vectors = np.stack([lightness / 80, a / 30, b / 30, np.ones_like(lightness)], -1).astype(np.float32)
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)


def orientations(image: Image.Image) -> list[Image.Image]:
    """The picture turned clockwise by 0, 45, …, 315 degrees, mirrored at its edges where nothing is known."""
    width, height = image.size
    # Mirrored and not black: a black corner would be a part that the query lacks.
    margin = max(width, height) // 2
    padded = Image.fromarray(np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
    left, top = (padded.width - width) // 2, (padded.height - height) // 2
    views = [image]
    for step in range(1, ORIENTATIONS):
        turned = padded.rotate(-step * 360 / ORIENTATIONS, Image.Resampling.BICUBIC)  # Pillow turns anticlockwise
        views.append(turned.crop((left, top, left + width, top + height)))
    return views


def augment_shot(
    image: Image.Image, rng: np.random.Generator, grid: tuple[int, int]
) -> tuple[Image.Image, torch.Tensor, torch.Tensor]:
    """A copy as another shot of the product might look: shifted, turned, scaled, lit and focused a little otherwise.

    Returns the copy and two masks, bool (patches,): of the copy's patches that the original shows, and of the
    original's patches that the copy shows.
    """
    width, height = image.size
    radians = np.radians(rng.uniform(-5, 5))
    scale = rng.uniform(0.96, 1.04)
    shift = rng.uniform(-0.08, 0.08, 2)
    move = Similarity(np.cos(radians) * scale, np.sin(radians) * scale, *shift)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)  # (3, height, width)
    # Each pixel of the copy is looked up in the original, which leaves no holes.
    moved = sample(pixels, move.inverse.apply(isotropic_grid(height, width)))
    copy = Image.fromarray(moved.permute(1, 2, 0).clamp(0, 255).byte().numpy())
    copy = ImageEnhance.Brightness(copy).enhance(rng.uniform(0.85, 1.15))
    copy = ImageEnhance.Contrast(copy).enhance(rng.uniform(0.9, 1.1))
    if rng.random() < 0.5:
        copy = copy.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2) * max(width, height) / 384))
    places = isotropic_grid(*grid).flatten(0, 1)  # (patches, 2)
    inside = half_extent(*grid) - 1 / max(grid)  # half a patch from the edges, so that whole patches are seen
    seen_copy = (move.inverse.apply(places).abs() <= inside).all(-1)
    seen_original = (move.apply(places).abs() <= inside).all(-1)
    return copy, seen_copy, seen_original
