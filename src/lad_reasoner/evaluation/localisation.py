"""How well the maps of a judge show the place: pixel AUROC, AUPRO, AU-sPRO, and the pointing game.

    save_counts(folder, query, count_pixels(heat, truth))      of each query, when it is judged
    localisation = measure_localisation(folder, predictions)   later, from what was kept, without the data set

With P(t) the pixels whose value is at least t, over the pictures of one class:

    FPR(t)  = |P(t) outside the masks| / |all outside the masks|         good pictures included
    PRO(t)  = mean over regions A of |A and P(t)| / |A|                  A: connected part of a mask (8 neighbours)
    sPRO(t) = mean over regions A of min(|A and P(t)| / s(A), 1)         A: mask file, s(A): its saturation area

    AUPRO   = area below PRO over FPR from 0 to 0.3, divided by 0.3      Bergmann et al. 2021, IJCV 129, 1038-1059
    AU-sPRO = area below sPRO over FPR from 0 to 0.05, divided by 0.05   Bergmann et al. 2022, IJCV 130, 947-969
    pixel AUROC = area below TPR over FPR of the pixels
    pointing game = share of anomalous pictures whose highest value lies in the mask; a tie counts by its pixels

Curves begin at (0, 0) and are straight between thresholds. s(A) is that of defects_config.json, at most |A|: without it
there is no AU-sPRO.

A map of another size is brought to the mask's by bilinear interpolation; a good picture has its own size. Values are
rounded to half precision (11 bits), so that a histogram has all of them as thresholds: everything is exact for the
rounded values, in memory that does not grow with the number of pictures. A query leaves some kilobytes on the disk.

Deviations: the authors' script for MVTec LOCO AD chooses thresholds until the points of the curve are near each other,
here every value is one. Classes are never pooled: a value means another thing in each. There are no intervals.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.data.masks import GroundTruth
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.metrics import UNNAMED
from lad_reasoner.evaluation.thumbnails import hashed_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import UNKNOWN_KIND, Estimate, Prediction, Record
from lad_reasoner.text import printable

LOCALISATION = "localisation"  # folder of a run
AUPRO_LIMIT, AU_SPRO_LIMIT = 0.3, 0.05  # false positive rates up to which curves are integrated
LEVELS = 1 << 16  # of half precision
SIGN = 0x8000
LOCALISATION_METRICS = ("pixel_auroc", "aupro", "au_spro", "pointing")

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """The pixels of one query by the value of its map. All arrays are (values,), the values rise.

    `levels` are the values as places in the order of all half-precision numbers. `outside` and `inside` count pixels
    outside and inside the mask. `pro` is what falls into PRO's sum over `regions` between one threshold and the next,
    `spro` the same of sPRO over `channels`.
    """

    levels: Counts
    outside: Counts
    inside: Counts
    pro: Floats
    spro: Floats
    regions: int
    channels: int


class LocalisationEstimates(Record):
    """Of the maps of `pictures` queries, `anomalous` of which have a mask. None where not defined; no intervals."""

    pictures: int
    anomalous: int
    pixel_auroc: Estimate
    aupro: Estimate
    au_spro: Estimate
    pointing: Estimate


class Localisation(Record):
    """`mean_over_classes` of a metric is None if a class does not define it. Each kind is measured with all good
    queries, as a mean over classes; `mean_over_kinds` is what is printed for MVTec LOCO AD. Of `queries` judged ones
    `mean_over_classes.pictures` are measured.
    """

    mean_over_classes: LocalisationEstimates
    mean_over_kinds: LocalisationEstimates
    by_class: dict[str, LocalisationEstimates]
    by_kind: dict[str, LocalisationEstimates]
    queries: int


def count_pixels(heat: NDArray[np.float32], truth: GroundTruth) -> PixelCounts:
    """Count the pixels of a map (rows, columns); InputError for a map with values that are no numbers."""
    levels = _levels(_resize(heat, truth.mask.shape))
    present = np.flatnonzero(np.bincount(levels.ravel(), minlength=LEVELS))
    place = np.zeros(LEVELS, np.int64)
    place[present] = np.arange(len(present))
    values = place[levels]  # (height, width), index of each pixel's value in `present`

    labels, regions = ndimage.label(truth.mask, structure=np.ones((3, 3)))
    in_region = labels[truth.mask]
    shares = 1 / np.maximum(np.bincount(in_region, minlength=regions + 1), 1)  # (regions + 1,), of one pixel
    inside = values[truth.mask]
    spro = np.zeros(len(present))
    for channel, saturation in truth.channels:
        found = np.bincount(values[channel], minlength=len(present))[::-1].cumsum()  # by falling thresholds
        saturated = np.minimum(found / saturation, 1)
        spro += np.diff(saturated, prepend=0)[::-1]
    return PixelCounts(
        levels=present,
        outside=np.bincount(values[~truth.mask], minlength=len(present)),
        inside=np.bincount(inside, minlength=len(present)),
        pro=np.bincount(inside, weights=shares[in_region], minlength=len(present)).astype(np.float64),
        spro=spro,
        regions=regions,
        channels=len(truth.channels),
    )


def _resize(heat: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if heat.shape == shape:
        return heat
    height, width = shape
    image = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _levels(heat: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Values -> their places among all half-precision numbers, in rising order."""
    if np.isnan(heat).any():
        raise InputError("its map holds values that are no numbers")
    largest = np.finfo(np.float16).max
    bits = (np.clip(heat, -largest, largest).astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0: -0 is 0
    return np.where(bits & SIGN, ~bits, bits | SIGN).astype(np.uint16)


def save_counts(folder: Path, query: str, counts: PixelCounts) -> None:
    """Keep the counts of a query in a run's folder `localisation`, in place of earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    columns = {name: getattr(counts, name).astype(np.uint32) for name in ("levels", "outside", "inside")}
    totals = np.array([counts.regions, counts.channels])
    np.savez_compressed(content, pro=counts.pro, spro=counts.spro, totals=totals, **columns)
    write_whole(hashed_path(folder, query, "npz"), content.getvalue())


def read_counts(folder: Path, query: str) -> PixelCounts | None:
    """The counts of a query, None where there are none; InputError if they cannot be read."""
    path = hashed_path(folder, query, "npz")
    if not path.is_file():
        return None
    damaged = InputError(f"{printable(path)}: damaged; remove it, {printable(query)} is then left out")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            levels, outside, inside = (file[name].astype(np.int64) for name in ("levels", "outside", "inside"))
            pro, spro = file["pro"].astype(np.float64), file["spro"].astype(np.float64)
            regions, channels = map(int, file["totals"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError):
        raise damaged from None
    shapes = {column.shape for column in (levels, outside, inside, pro, spro)}
    if shapes != {(len(levels),)} or not len(levels) or not (levels[0] >= 0 and levels[-1] < LEVELS):
        raise damaged
    if (np.diff(levels) <= 0).any():
        raise damaged
    return PixelCounts(levels, outside, inside, pro, spro, regions, channels)


class PixelSums:
    """The sum of the counts of several queries, (LEVELS,) each."""

    def __init__(self) -> None:
        self.outside, self.inside = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
        self.pro, self.spro = np.zeros(LEVELS), np.zeros(LEVELS)
        self.regions = self.channels = self.pictures = self.anomalous = self.unsaturated = 0
        self.pointed = 0.0

    def add(self, counts: PixelCounts) -> None:
        """Add a query."""
        self.outside[counts.levels] += counts.outside
        self.inside[counts.levels] += counts.inside
        self.pro[counts.levels] += counts.pro
        self.spro[counts.levels] += counts.spro
        self.regions += counts.regions
        self.channels += counts.channels
        self.pictures += 1
        if counts.regions:
            self.anomalous += 1
            self.unsaturated += not counts.channels
            self.pointed += float(counts.inside[-1] / (counts.inside[-1] + counts.outside[-1]))

    def estimates(self) -> LocalisationEstimates:
        """All measures of the queries so far."""
        values: dict[str, float | None] = dict.fromkeys(LOCALISATION_METRICS)
        if self.anomalous and self.outside.any():
            fpr = _curve(self.outside, int(self.outside.sum()))
            values["pixel_auroc"] = _area(fpr, _curve(self.inside, int(self.inside.sum())), 1)
            values["aupro"] = _area(fpr, _curve(self.pro, self.regions), AUPRO_LIMIT)
            if not self.unsaturated:
                values["au_spro"] = _area(fpr, _curve(self.spro, self.channels), AU_SPRO_LIMIT)
        if self.anomalous:
            values["pointing"] = self.pointed / self.anomalous
        estimates = {name: Estimate(value=value) for name, value in values.items()}
        return LocalisationEstimates(pictures=self.pictures, anomalous=self.anomalous, **estimates)


def _curve(counts: NDArray[np.int64] | Floats, total: int) -> Floats:
    """(LEVELS + 1,): the share that is above each threshold, from above all values to below all."""
    shares: Floats = np.append(0.0, counts[::-1].cumsum() / total)
    return shares


def _area(x: Floats, y: Floats, limit: float) -> float:
    """The area below y over x from 0 to `limit`, divided by `limit`; x rises from 0 to 1."""
    end = int(np.searchsorted(x, limit, "right"))  # x[end - 1] <= limit < x[end]
    if end < len(x):
        part = (limit - x[end - 1]) / (x[end] - x[end - 1])
        x, y = np.append(x[:end], limit), np.append(y[:end], y[end - 1] + part * (y[end] - y[end - 1]))
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2 / limit)


def measure_localisation(folder: Path, predictions: Sequence[Prediction]) -> Localisation | None:
    """Measure the counts that are kept in `folder` of these predictions; None if no anomalous one has any.

    InputError for counts that cannot be read.
    """
    by_class: dict[str, LocalisationEstimates] = {}
    by_kind: dict[str, list[LocalisationEstimates]] = defaultdict(list)
    classes: dict[str, list[Prediction]] = defaultdict(list)
    for line in sorted(predictions, key=lambda line: line.pair.query):
        if not line.error:
            classes[line.pair.category or UNNAMED].append(line)
    for name, lines in sorted(classes.items()):
        # One class at a time, so that memory does not grow with their number.
        everything, kinds = _add_up(folder, lines)
        if not everything.pictures:
            continue
        by_class[name] = everything.estimates()
        for kind, pixels in kinds.items():
            by_kind[kind].append(pixels.estimates())
    if not any(estimates.anomalous for estimates in by_class.values()):
        return None
    overall = _mean(by_class.values())
    kinds_measured = {kind: _mean(estimates) for kind, estimates in sorted(by_kind.items())}
    pictures = {"pictures": overall.pictures, "anomalous": overall.anomalous}  # the good ones are in all kinds
    return Localisation(
        mean_over_classes=overall,
        mean_over_kinds=_mean(kinds_measured.values()).model_copy(update=pictures),
        by_class=by_class,
        by_kind=kinds_measured,
        queries=len(predictions),
    )


def _add_up(folder: Path, lines: Sequence[Prediction]) -> tuple[PixelSums, dict[str, PixelSums]]:
    """The pixels of all queries of a class, and those of each kind of anomaly with all good queries."""
    everything = PixelSums()
    kinds = {line.pair.kind or UNKNOWN_KIND: PixelSums() for line in lines if line.pair.label == "yes"}
    for line in lines:
        counts = read_counts(folder, line.pair.query)
        if counts is None:
            continue
        everything.add(counts)
        for kind, pixels in kinds.items():
            if line.pair.label == "no" or kind == (line.pair.kind or UNKNOWN_KIND):
                pixels.add(counts)
    return everything, kinds


def _mean(estimates: Iterable[LocalisationEstimates]) -> LocalisationEstimates:
    classes = list(estimates)
    means = {}
    for name in LOCALISATION_METRICS:
        values = [getattr(each, name).value for each in classes]
        means[name] = Estimate(value=None if None in values else float(np.mean(values)))
    return LocalisationEstimates(
        pictures=sum(each.pictures for each in classes), anomalous=sum(each.anomalous for each in classes), **means
    )
