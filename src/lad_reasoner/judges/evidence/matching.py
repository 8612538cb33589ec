"""Two-way patch matching: what differs between references and query, without training.

Dense features of a pretrained network are compared by cosine distance, patch by patch:

- query -> references: each patch of the query and its nearest patch of any reference, in any of eight orientations
  (PatchCore, Roth et al. 2022; orientations as in AnomalyDINO, Damm et al. 2025). Large where something was added or
  changed.
- references -> query: each patch of that reference and orientation which the query explains best, and its nearest patch
  of the query. Large where something is missing.
- Where the product keeps its layout, a patch that is found only far from its place is also suspicious (two labels
  swapped): after bringing the query into register, the distance within a window is mixed in. A product whose parts lie
  about freely shows itself by many such patches, and the place then does not count.

The statistic is the mean of the largest TOP_SHARE distances of either direction; `spread.py` turns it into a score.
This is not part of the paper, which asks a language model alone; it is the judge that needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.registration import Similarity, in_view, isotropic_grid, register, sample

WORKING_AREA = 384 * 384  # pixels: the picture that the network sees, in the first reference's aspect
ORIENTATIONS = 8  # multiples of 45 degrees in which a reference is known
COLOUR_SHARE = 0.2  # of the cosine distance; the network's features make up the rest
UPRIGHT = 0.85  # a turned reference must be nearer than the upright one by this factor
TOP_SHARE = 0.01  # of the patches: few enough for a small defect, enough to even out single odd patches
WINDOW = 0.12  # of the long side: how far from its place a part of a fixed layout may be
FREE_SHARE = 0.10  # of the patches found only elsewhere: from here on the layout is free and places do not count
ELSEWHERE = 0.05  # a patch is found only elsewhere when its place costs this much cosine distance more
PLACE_WEIGHT = 0.5  # how much of that extra distance counts
AUGMENTED = 8  # copies of the references for the first guess of normal variation

RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured between one query and the references.

    `added` (rows, columns) lies on the query's patches, `missing` (rows, columns) on those of `view`: the reference in
    the orientation that the query explains best. `similarity` leads from the view to the query.
    """

    added: torch.Tensor
    missing: torch.Tensor
    reference: int
    degrees: int
    view: Image.Image
    similarity: Similarity
    free_share: float
    statistic: float

    @cached_property
    def missing_in_query(self) -> torch.Tensor:
        """`missing` moved to where it should be in the query, tensor (rows, columns); nothing where out of view."""
        grid = isotropic_grid(*self.added.shape)
        where = self.similarity.inverse.apply(grid)
        return torch.where(in_view(where, *self.missing.shape), sample(self.missing[None], where)[0], 0.0)

    @property
    def differences(self) -> torch.Tensor:
        """The larger of both directions at each patch of the query, tensor (rows, columns)."""
        return torch.maximum(self.added, self.missing_in_query)

    def anomaly_map(self, width: int, height: int) -> NDArray[np.float32]:
        """`differences` at every pixel of a picture of this size, float32 (height, width)."""
        small = self.differences[None, None]
        full = torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)
        return np.asarray(full[0, 0].clamp(min=0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Match:
    """Distances of one query against every reference in every orientation."""

    added: torch.Tensor  # (patches,)
    missing: torch.Tensor  # (references, orientations, patches)


class Matcher:
    """References, paid for once, and the comparison of a query with them."""

    def __init__(self, references: Sequence[Picture], backbone: Backbone) -> None:
        self.backbone = backbone
        self.size = working_size(references[0], self.backbone.multiple)
        self.views = [orientations(self.fit(picture)) for picture in references]
        features = [torch.stack([self._features(view) for view in views]) for views in self.views]
        self.bank = torch.stack(features)  # (references, orientations, patches, channels)
        self.place_weight: float | None = None
        self.spread = self._estimate_spread()

    def _features(self, image: Image.Image) -> torch.Tensor:
        """Unit vectors (patches, channels): the network's and the mean colour, which networks care little for."""
        features = self.backbone.features(image, self.size)
        self.grid = (features.shape[0], features.shape[1])
        colour = colour_vectors(image, self.grid)
        weighted = [features * (1 - COLOUR_SHARE) ** 0.5, colour * COLOUR_SHARE**0.5]
        return torch.cat(weighted, -1).flatten(0, 1)

    def fit(self, picture: Picture) -> Image.Image:
        """The picture stretched to the working size; one of another aspect is stretched too, as data sets do."""
        return picture.image.resize(self.size, Image.Resampling.BICUBIC, reducing_gap=2.0)

    def compare(self, query: Image.Image) -> Comparison:
        """Measure a query, at working size, against all references."""
        return self._compare(query, range(len(self.views)))

    def _compare(self, query: Image.Image, references: Sequence[int]) -> Comparison:
        features = self._features(query)
        match = _match(features, self.bank[list(references)])
        reference, orientation = _best(match.missing)
        view = self.views[references[reference]][orientation]
        similarity = register(view, query)
        added, missing = match.added, match.missing[reference, orientation]
        at_place_added, at_place_missing = self._match_at_place(
            features, self.bank[references[reference], orientation], similarity
        )
        extra_added = (at_place_added - added).clamp(min=0)
        extra_missing = (at_place_missing - missing).clamp(min=0)
        share = float((torch.cat([extra_added, extra_missing]) > ELSEWHERE).float().mean())
        weight = _place_weight(share) if self.place_weight is None else self.place_weight
        added, missing = added + weight * extra_added, missing + weight * extra_missing
        # What only one of the two pictures shows, because the camera moved, cannot be compared.
        places = isotropic_grid(*self.grid).flatten(0, 1)
        added = torch.where(in_view(similarity.inverse.apply(places), *self.grid), added, 0.0)
        missing = torch.where(in_view(similarity.apply(places), *self.grid), missing, 0.0)
        return Comparison(
            added=added.reshape(self.grid),
            missing=missing.reshape(self.grid),
            reference=references[reference],
            degrees=orientation * 360 // ORIENTATIONS,
            view=view,
            similarity=similarity,
            free_share=share,
            statistic=(_top(added) + _top(missing)) / 2,
        )

    def _match_at_place(
        self, query: torch.Tensor, reference: torch.Tensor, similarity: Similarity
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances (patches,) of both directions within the window; zero where the other picture has no such place."""
        places = isotropic_grid(*self.grid).flatten(0, 1)
        expected = similarity.apply(places)
        near = (expected[:, None] - places[None]).abs().amax(-1) <= 2 * WINDOW  # (reference, query)
        likeness = (reference @ query.T).masked_fill(~near, -1.0)
        missing, added = 1 - likeness.amax(1), 1 - likeness.amax(0)
        return torch.where(near.any(0), added, 0.0), torch.where(near.any(1), missing, 0.0)

    def _estimate_spread(self) -> NormalSpread:
        """From augmented copies and, with several references, from each against the others."""
        count = len(self.views)
        rng = np.random.default_rng(0)
        augmented = []
        for i in range(AUGMENTED):
            copy, seen_copy, seen_reference = augment(self.views[i % count][0], rng, self.grid)
            match = _match(self._features(copy), self.bank[[i % count]])
            added, missing = match.added[seen_copy], match.missing[0, 0][seen_reference]
            augmented.append((_top(added) + _top(missing)) / 2)
        if count == 1:
            return NormalSpread.estimate(augmented, [])
        others = [[j for j in range(count) if j != i] for i in range(count)]
        shares = [self._compare(self.views[i][0], others[i]).free_share for i in range(count)]
        self.place_weight = _place_weight(float(np.median(shares)))
        observed = [self._compare(self.views[i][0], others[i]).statistic for i in range(count)]
        # Two references give one distance, seen from both ends.
        return NormalSpread.estimate(augmented, observed, weight=count - 1)


def _match(query: torch.Tensor, bank: torch.Tensor) -> _Match:
    likeness = torch.einsum("qc,rvpc->qrvp", query, bank)
    return _Match(1 - likeness.amax((1, 2, 3)), 1 - likeness.amax(0))


def _best(missing: torch.Tensor) -> tuple[int, int]:
    """The reference and the orientation which the query explains best; upright unless turned is clearly better."""
    tops = missing.topk(_top_count(missing.shape[2])).values.mean(-1)
    tops[:, 0] *= UPRIGHT
    return divmod(int(tops.argmin()), tops.shape[1])


def _place_weight(share: float) -> float:
    return PLACE_WEIGHT * max(0.0, 1 - share / FREE_SHARE)


def _top_count(patches: int) -> int:
    return max(1, round(patches * TOP_SHARE))


def _top(distances: torch.Tensor) -> float:
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
    rgb = np.asarray(image.resize((grid[1], grid[0]), Image.Resampling.BOX), dtype=np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness, a, b = 116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    vectors = np.stack([lightness / 80, a / 30, b / 30, np.ones_like(lightness)], -1).astype(np.float32)
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)


def orientations(image: Image.Image) -> list[Image.Image]:
    """The picture turned clockwise by 0, 45, …, 315 degrees, mirrored at its edges where nothing is known."""
    width, height = image.size
    margin = max(width, height) // 2
    padded = Image.fromarray(np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
    left, top = (padded.width - width) // 2, (padded.height - height) // 2
    turned = [
        padded.rotate(-i * 360 / ORIENTATIONS, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))
        for i in range(1, ORIENTATIONS)
    ]
    return [image, *turned]


def augment(
    image: Image.Image, rng: np.random.Generator, grid: tuple[int, int]
) -> tuple[Image.Image, torch.Tensor, torch.Tensor]:
    """A copy as another shot of the product might look: shifted, turned, scaled, lit and focused a little otherwise.

    Returns the copy and two masks (patches,): of the copy's patches that the original shows, and the other way round.
    """
    width, height = image.size
    radians = np.radians(rng.uniform(-5, 5))
    scale = rng.uniform(0.96, 1.04)
    shift = rng.uniform(-0.08, 0.08, 2)
    move = Similarity(np.cos(radians) * scale, np.sin(radians) * scale, *shift)
    points = isotropic_grid(height, width)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)
    moved = sample(pixels, move.inverse.apply(points)).permute(1, 2, 0).clamp(0, 255).byte().numpy()
    copy = ImageEnhance.Brightness(Image.fromarray(moved)).enhance(rng.uniform(0.85, 1.15))
    copy = ImageEnhance.Contrast(copy).enhance(rng.uniform(0.9, 1.1))
    if rng.random() < 0.5:
        copy = copy.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2) * max(width, height) / 384))
    places = isotropic_grid(*grid)
    extent = torch.tensor([grid[1], grid[0]]) / max(grid)
    inside = extent - 1 / max(grid)  # whole patches only
    seen = [(step.apply(places).abs() <= inside).all(-1).flatten() for step in (move.inverse, move)]
    return copy, seen[0], seen[1]
