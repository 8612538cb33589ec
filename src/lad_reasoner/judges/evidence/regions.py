"""From distances to things one can say: regions, where they are, how large, what kind, which colours, which shape.

    strongest, *others = find_regions(measurement, query, matcher.spread.limit)
    strongest.kind, strongest.shape                  # ("missing", "round")
    name_colour(strongest.query_rgb)                 # "dark green"

Everything here is measured; `wording.py` only puts it into words. Regions are found whatever the verdict: their
`strength` says how far above or below the limit they are.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.judges.evidence.colours import lab_colours
from lad_reasoner.judges.evidence.enlarging import enlarge
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.registration import Floats, in_view, isotropic_grid, sample

Change = Literal["missing", "added", "changed"]
RGB = tuple[int, int, int]
Numbers = TypeVar("Numbers", np.uint8, np.int_)

MAP_STEP = 4  # pixels of the working picture for one cell of the map in which regions are found
FINER = 2  # cells for colours on a cell of that map: strokes of a label are thinner than a cell
CORE = 0.5  # of a region's peak: weaker cells are the halo of overlapping patches
ONE_SIDED = 1.2  # one direction's mean must be this much larger for "missing" or "added"
RIM, RING = 1, 5  # cells: a region's surroundings begin beyond the first and end with the second
STANDS_OUT = 5.0  # CIELAB distance from the surroundings: a part, not their ground
CLEARLY = 2.0  # times as far from them stands what is missing or added, against what is there instead
GRAINS = 2.0  # times the grain of the surroundings: a part by itself; a weaker contrast may be the grain of a surface
EDGE = 0.05  # of a picture's side: the rim that shows the ground on which the product lies
PLAIN = 0.6  # of the rim has one colour, in both pictures: there is such a ground
GROUND, OFF_GROUND = 12.0, 24.0  # CIELAB distance from its colour: below, the ground itself; above, something on it
SMALLEST_REGION = 1 / 600  # of the picture: about one patch; smaller ones are the fringe of larger ones
MAX_REGIONS = 6
DEVIATING = 0.5  # of a region's largest colour difference: cells below are ground that both pictures share
VOTERS = 1000  # cells that name the colours of a region
ELONGATED, ROUND = 3.0, 1.3  # ratio of a region's principal axes

# Name -> hue in degrees at which the next one begins; after pink comes red again.
HUES = {"red": 12, "orange": 42, "yellow": 68, "green": 165, "turquoise": 185, "blue": 255, "purple": 300, "pink": 340}
# Of these hues light, glass and metal have a tinge, so that the eye calls more of them grey or white.
TINGES = ("orange", "yellow", "green", "turquoise")


@dataclass(frozen=True)
class Region:
    """One connected difference. Lengths are fractions of the picture's width or height, distances are cosine."""

    left: float
    top: float
    width: float
    height: float
    centre_x: float
    centre_y: float
    area: float  # fraction of the picture's area
    added: float  # mean distance
    missing: float  # mean distance
    strength: float  # largest distance, in units of the limit of normal variation
    elongation: float  # ratio of the principal axes
    reference_rgb: RGB | None  # where the colours differ; None where the reference shows too little of it
    query_rgb: RGB  # at the same cells
    contrasts: tuple[float, float]  # CIELAB distance from its surroundings, in reference and query; zero if not known
    grain: float  # CIELAB distance of the surroundings from their own colour, where they are plainer
    from_ground: tuple[float, float]  # CIELAB distance of both colours from the ground; zero without a plain ground
    by_tone: bool = False  # nothing else of it is beyond the limit

    @property
    def kind(self) -> Change:
        """`missing`: the query lacks what the reference shows; `added`: the query shows what no reference does.

        Where one picture shows the ground on which the product lies, and the other something else, that is a part. So
        is what stands out from its surroundings in one of the pictures alone; if no more than their grain does, the
        distances must say so, too. They do not tell by themselves: where one of four bolts is missing, its patches are
        found in the other three, and the hole is what no reference shows. What only has another tone is there.
        """
        if self.by_tone:
            return "changed"
        before, now = self.from_ground
        if max(before, now) >= OFF_GROUND and min(before, now) < GROUND:
            return "missing" if before > now else "added"
        before, now = self.contrasts
        one_sided = self._one_sided
        if max(before, now) >= max(STANDS_OUT, CLEARLY * min(before, now)):
            part: Change = "missing" if before > now else "added"
            return part if max(before, now) >= GRAINS * self.grain or one_sided == part else "changed"
        if one_sided == "missing":
            # Most of it lies where the reference shows nothing that could be missing.
            return "missing" if self.reference_rgb is not None else "changed"
        if one_sided == "added" and before < STANDS_OUT:
            return "added"
        return "changed"  # also where something stands in place of a part

    @property
    def _one_sided(self) -> Change:
        """The kind by the distances alone."""
        if self.missing > ONE_SIDED * self.added:
            return "missing"
        return "added" if self.added > ONE_SIDED * self.missing else "changed"

    @property
    def shape(self) -> str | None:
        """`elongated` or `round` where the principal axes tell, else None."""
        if self.elongation >= ELONGATED:
            return "elongated"
        return "round" if self.elongation <= ROUND else None


def find_regions(measurement: Measurement, query: Image.Image, limit: float) -> list[Region]:
    """Connected regions in which the distance exceeds `limit`, strongest first.

    `query` is the picture at working size. Where the peak is below the limit, the threshold is 80 % of the peak, so
    that every verdict has a place.
    """
    width, height = query.width // MAP_STEP, query.height // MAP_STEP
    distances = measurement.anomaly_map(width, height)
    largest = distances.max()
    beyond = distances > min(limit, 0.8 * float(largest))
    # Cells that touch at a corner belong together: a thin slanted part is one region.
    labels, count = ndimage.label(beyond, structure=np.ones((3, 3)))
    added = enlarge(measurement.added, height, width, "linear")  # (height, width)
    missing = enlarge(measurement.missing_in_query, height, width, "linear")
    colours = _Colours(measurement, query, width, height)
    regions = []
    for label in range(1, count + 1):
        inside = labels == label  # (height, width)
        peak = distances[inside].max()
        inside &= distances >= CORE * peak
        # The strongest region stays however small it is, so that there always is one.
        if inside.mean() < SMALLEST_REGION and peak < largest:
            continue
        patches_differ = max(added[inside].max(), missing[inside].max()) >= limit
        region = _describe(
            inside,
            added,
            missing,
            colours,
            strength=float(peak) / limit,
            by_tone=measurement.tone_counts and not patches_differ,
        )
        regions.append(region)
    return sorted(regions, key=lambda region: -region.strength)


def _describe(
    inside: NDArray[np.bool_], added: Floats, missing: Floats, colours: _Colours, *, strength: float, by_tone: bool
) -> Region:
    """All are (height, width) of the map."""
    height, width = inside.shape
    rows, columns = np.nonzero(inside)
    left, right = columns.min(), columns.max() + 1
    top, bottom = rows.min(), rows.max() + 1
    of_reference, of_query = colours.where_they_differ(inside)
    reference_rgb = None
    before = now = grain = 0.0
    from_ground = (0.0, 0.0)
    if of_reference is not None:
        reference_rgb = _typical(of_reference)
        before, now, grain = colours.contrasts(inside)
        from_ground = colours.from_ground(of_reference, of_query)
    return Region(
        left=left / width,
        top=top / height,
        width=(right - left) / width,
        height=(bottom - top) / height,
        centre_x=(columns.mean() + 0.5) / width,
        centre_y=(rows.mean() + 0.5) / height,
        area=float(inside.mean()),
        added=float(added[inside].mean()),
        missing=float(missing[inside].mean()),
        strength=strength,
        elongation=_elongation(rows, columns),
        reference_rgb=reference_rgb,
        query_rgb=_typical(of_query),
        contrasts=(before, now),
        grain=grain,
        from_ground=from_ground,
        by_tone=by_tone,
    )


def _elongation(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> float:
    """Ratio of the principal axes (standard deviations, each cell counted as a square of side 1)."""
    cells = np.stack([rows, columns]).astype(float)  # (2, cells)
    covariance = np.cov(cells, bias=True) + np.eye(2) / 12  # 1/12 is the variance of a square's points
    low, high = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(high / low))


class _Colours:
    """Both pictures on cells of MAP_STEP / FINER pixels, the reference brought into register."""

    def __init__(self, measurement: Measurement, query: Image.Image, width: int, height: int) -> None:
        width, height = width * FINER, height * FINER
        view = np.asarray(measurement.view.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
        self._view = np.ascontiguousarray(view.transpose(2, 0, 1))  # (3, height, width)
        self._points = measurement.similarity.inverse.apply(isotropic_grid(height, width))  # (height, width, 2)
        self.query = np.asarray(query.resize((width, height), Image.Resampling.BOX))  # uint8 (height, width, 3)
        self.shown = in_view(self._points, height, width)  # (height, width), what the reference shows
        self._ground = _find_ground(view.round().astype(np.uint8), self.query)

    def _reference(self, cells: NDArray[np.bool_], step: int = 1) -> NDArray[np.uint8]:
        """The reference's colours (cells, 3) at some of the cells (height, width), or of every `step`-th of them.

        Of these alone: regions are small.
        """
        moved = sample(self._view, self._points[::step, ::step][cells])  # (3, cells)
        return moved.T.round().astype(np.uint8)

    def where_they_differ(self, inside: NDArray[np.bool_]) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]]:
        """The colours (cells, 3) of reference and query that a region, cells of the map, shows where the two deviate.

        A mean or median would hide red print on white. So every cell that deviates votes, by how much it deviates, for
        its pair of named colours, and those of the winning pair are returned. Only cells that the reference shows
        count; where it shows less than half of the region, it has no colour, and the query's is the most common one.
        """
        inside = inside.repeat(FINER, 0).repeat(FINER, 1)
        comparable = inside & self.shown
        if 2 * comparable.sum() < inside.sum():
            query = _thin_out(self.query[inside])
            common, _ = Counter(map(_name, query)).most_common(1)[0]
            return None, query[[_name(colour) == common for colour in query]]
        both = np.concatenate([self._reference(comparable), self.query[comparable]], 1)  # (cells, 6)
        deviation = np.abs(both[:, :3].astype(int) - both[:, 3:]).sum(1)
        deviating = deviation >= DEVIATING * deviation.max()
        both, deviation = _thin_out(both[deviating]), _thin_out(deviation[deviating])
        pairs = [
            (name_colour((r, g, b)), name_colour((red, green, blue))) for r, g, b, red, green, blue in both.tolist()
        ]
        votes: Counter[tuple[str, str]] = Counter()
        # A vote more for every cell, since nothing deviates in equal pictures.
        for pair, votes_of_cell in zip(pairs, (deviation + 1).tolist(), strict=True):
            votes[pair] += votes_of_cell
        winner, _ = votes.most_common(1)[0]
        chosen = both[[pair == winner for pair in pairs]]
        return chosen[:, :3], chosen[:, 3:]

    def contrasts(self, inside: NDArray[np.bool_]) -> tuple[float, float, float]:
        """How far a region, cells of the map, stands out from its surroundings in reference and query, and their grain.

        CIELAB distances of the median colours; zero where the surroundings are out of view. The grain is the median
        distance of the surroundings from their median colour, in the picture where it is smaller.
        """
        steps = ndimage.distance_transform_cdt(~inside, metric="taxicab")
        shown = self.shown[::FINER, ::FINER]
        around = (steps > RIM) & (steps <= RING) & shown
        inside = inside & shown
        if not around.any() or not inside.any():
            return 0.0, 0.0, 0.0
        query = self.query[::FINER, ::FINER]
        pictures = [
            (self._reference(inside, FINER), self._reference(around, FINER)),
            (query[inside], query[around]),
        ]
        contrasts, grains = [], []
        for within, surroundings in pictures:  # (cells, 3)
            medians = np.stack([np.median(cells, axis=0) for cells in (within, surroundings)])
            part, ground = lab_colours(medians.round().astype(np.uint8)[None])[0]
            contrasts.append(float(np.linalg.norm(part - ground)))
            from_ground = np.linalg.norm(lab_colours(surroundings[None])[0] - ground, axis=-1)  # (cells,)
            grains.append(float(np.median(from_ground)))
        return contrasts[0], contrasts[1], min(grains)

    def from_ground(self, reference: NDArray[np.uint8], query: NDArray[np.uint8]) -> tuple[float, float]:
        """CIELAB distances of the median colours (of cells, 3) from the ground of their pictures.

        Zero if these have none.
        """
        if self._ground is None:
            return 0.0, 0.0
        medians = np.stack([np.median(cells, axis=0) for cells in (reference, query)])
        lab = lab_colours(medians.round().astype(np.uint8)[None])[0]  # (pictures, 3)
        before, now = np.linalg.norm(lab - self._ground, axis=-1).tolist()
        return before, now


def _find_ground(*pictures: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The colour in CIELAB (pictures, 3) that most of the rim of each picture (height, width, 3) has, if it is one."""
    grounds = []
    for picture in pictures:
        rows, columns = (max(1, round(EDGE * side)) for side in picture.shape[:2])
        rim = np.ones(picture.shape[:2], bool)
        rim[rows:-rows, columns:-columns] = False
        colours = lab_colours(picture[rim][None])[0]  # (cells, 3)
        ground = np.median(colours, axis=0)
        if (np.linalg.norm(colours - ground, axis=-1) < GROUND).mean() < PLAIN:
            return None
        grounds.append(ground)
    alike = np.linalg.norm(grounds[0] - grounds[-1]) < GROUND
    return np.stack(grounds) if alike else None


def _thin_out(cells: NDArray[Numbers]) -> NDArray[Numbers]:
    """Evenly spaced ones of the cells (cells, …), at most VOTERS or so."""
    return cells[:: max(1, len(cells) // VOTERS)]


def _typical(colours: NDArray[np.uint8]) -> RGB:
    """The one of the colours (cells, 3) nearest to their median, which itself may have another name."""
    distance = np.abs(colours - np.median(colours, axis=0)).sum(1)
    red, green, blue = colours[distance.argmin()].tolist()
    return red, green, blue


def _name(colour: NDArray[np.uint8]) -> str:
    red, green, blue = colour.tolist()
    return name_colour((red, green, blue))


@lru_cache(65536)
def name_colour(rgb: RGB) -> str:
    """The everyday English name of a colour: `dark green`, `light grey`, `brown`."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
    name = next((name for name, end in HUES.items() if hue * 360 < end), "red")
    # What the eye calls grey depends on how dark it is.
    if value < 0.16:
        return "black"
    if saturation < (0.2 if name in TINGES else 0.14) or saturation * value < 0.09:
        if value > 0.9:
            return "white"
        if value > 0.38:
            return "light grey" if value > 0.7 else "grey"
        return "dark grey"
    match name:
        case "red" if saturation < 0.45 and value > 0.7:
            return "pink"
        # Brown is what a dark orange is called, and a dull dark red.
        case "red" if value < 0.5 and saturation < 0.75:
            return "brown" if value > 0.32 else "dark brown"
        case "red" if 8 <= hue * 360 < 12 and value < 0.72 and saturation < 0.6:
            return "brown"
        case "orange" if hue * 360 < 16 and value < 0.75 and saturation >= 0.65:
            return "red" if value >= 0.42 else "dark red"  # rust, the dark side of a peach
        case "orange" if saturation < 0.4 and value > 0.7:
            return "beige"
        case "orange" if saturation < 0.55 and 0.6 < value < 0.9:
            return "light brown"
        case "orange" if value < 0.72:
            return "brown" if value > 0.32 else "dark brown"
        case "yellow" if value < 0.62:
            return "olive" if value > 0.42 else "dark olive"
    if value < 0.42:
        return f"dark {name}"
    return f"light {name}" if saturation < 0.4 and value > 0.7 else name
