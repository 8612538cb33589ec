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
rounded values, in memory that grows by 32 kB with a picture of a class. A query leaves some kilobytes on the disk.

Intervals are those of metrics.py: 95 % percentile bootstraps over the pictures, drawn within each class. Resamples take
no more than BINS thresholds, so that an interval may differ by some hundredths of a percent from that of all.

Deviations: the authors' script for MVTec LOCO AD chooses thresholds until the points of the curve are near each other,
here every value is one. Classes are never pooled: a value means another thing in each.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.data.masks import GroundTruth
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.metrics import RESAMPLES, UNNAMED, ratio, resample, to_estimate
from lad_reasoner.evaluation.thumbnails import hashed_path
from lad_reasoner.files.whole import write_whole
from lad_reasoner.records import UNKNOWN_KIND, Estimate, Prediction, Record
from lad_reasoner.text import printable

LOCALISATION = "localisation"  # folder of a run
AUPRO_LIMIT, AU_SPRO_LIMIT = 0.3, 0.05  # false positive rates up to which curves are integrated
LEVELS = 1 << 16  # of half precision
BINS = 1000  # of these, in resamples
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
    """Of the maps of `pictures` queries, `anomalous` of which have a mask. None where not defined."""

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
            self.pointed += _pointed(counts)

    def measure(self) -> Floats:
        """(LOCALISATION_METRICS,) of the queries so far; NaN where not defined."""
        totals = np.array([self.regions, self.channels], np.float64)
        au_roc, aupro, au_spro = _areas(self.outside, self.inside, self.pro, self.spro, totals)
        pointing = self.pointed / self.anomalous if self.anomalous else np.nan
        return np.array([au_roc, aupro, np.nan if self.unsaturated else au_spro, pointing])

    def estimates(self) -> LocalisationEstimates:
        """All measures of the queries so far, without intervals."""
        return _Measured.of(self).estimates()

    def bins(self) -> Counts:
        """(LEVELS,): level -> its place among at most BINS, for resamples. Each value has its own where they are few.

        Otherwise they are dense where the curves are steep: the false positive rates at their ends are (i / BINS)**4.
        """
        places: Counts
        present = (self.outside > 0) | (self.inside > 0)
        if present.sum() <= BINS:
            places = present.cumsum() - present
            return places
        above = self.outside[::-1].cumsum()[::-1] - self.outside  # pixels outside the masks at higher values
        false_positive_rate = above / max(1, self.outside.sum())
        from_end = np.minimum(BINS * false_positive_rate**0.25, BINS - 1).astype(np.int64)
        places = BINS - 1 - from_end
        return places


class PixelRows:
    """The counts of the queries of a class, in few bins, to be resampled: (queries, BINS), the values rise."""

    def __init__(self, counts: Iterable[PixelCounts], bins: Counts) -> None:
        rows, totals, pointed = [], [], []
        for each in counts:
            columns = (each.outside, each.inside, each.pro, each.spro)
            rows.append([np.bincount(bins[each.levels], column, minlength=BINS) for column in columns])
            totals.append((each.regions, each.channels))
            pointed.append(_pointed(each) if each.regions else 0.0)
        self.outside, self.inside, self.pro, self.spro = np.array(rows).swapaxes(0, 1)
        self.totals = np.array(totals, np.float64)  # (queries, 2)
        self.pointed = np.array(pointed)  # (queries,), as all that follow
        self.anomalous = (self.totals[:, 0] > 0).astype(float)
        self.unsaturated = self.anomalous * (self.totals[:, 1] == 0)

    def measure(self, weights: Floats) -> Floats:
        """(resamples, LOCALISATION_METRICS) of the queries, each counted as often as (resamples, queries) `weights`
        say; NaN where not defined.
        """
        parts = []
        for start in range(0, len(weights), 200):  # some megabytes at a time
            some = weights[start : start + 200]
            sums = [some @ column for column in (self.outside, self.inside, self.pro, self.spro, self.totals)]
            parts.append(_areas(*sums))
        au_roc, aupro, au_spro = np.concatenate(parts, axis=1)
        pointing = ratio(weights @ self.pointed, weights @ self.anomalous)
        return np.stack([au_roc, aupro, np.where(weights @ self.unsaturated, np.nan, au_spro), pointing], axis=-1)


def _pointed(counts: PixelCounts) -> float:
    """The share of the pixels with the highest value that lie in the mask."""
    return float(counts.inside[-1] / (counts.inside[-1] + counts.outside[-1]))


def _areas(
    outside: Counts | Floats, inside: Counts | Floats, pro: Floats, spro: Floats, totals: Floats
) -> tuple[Floats, Floats, Floats]:
    """Pixel AUROC, AUPRO and AU-sPRO, (…) each, NaN where not defined, of (…, values), and of the number of regions
    and channels (…, 2).
    """
    fpr = _curve(outside, outside.sum(axis=-1))
    return (
        _area(fpr, _curve(inside, inside.sum(axis=-1)), 1),
        _area(fpr, _curve(pro, totals[..., 0]), AUPRO_LIMIT),
        _area(fpr, _curve(spro, totals[..., 1]), AU_SPRO_LIMIT),
    )


def _curve(counts: Counts | Floats, total: Counts | Floats) -> Floats:
    """(…, values + 1): the share that is above each threshold, from above all values to below all; NaN of nothing."""
    total = np.where(total > 0, total, np.nan)[..., None]
    above = counts[..., ::-1].cumsum(axis=-1) / total
    shares: Floats = np.concatenate([0 * total, above], axis=-1)
    return shares


def _area(x: Floats, y: Floats, limit: float) -> Floats:
    """(…): the area below y over x from 0 to `limit`, divided by `limit`; x rises from 0 to 1."""
    step = np.diff(np.minimum(x, limit))
    share = ratio(step, np.diff(x), 0.0)  # of each line, the part up to the limit
    middle = y[..., :-1] + share * np.diff(y) / 2  # the height in the middle of that part
    area: Floats = (step * middle).sum(axis=-1) / limit
    return area


def measure_localisation(
    folder: Path, predictions: Sequence[Prediction], *, resamples: int = RESAMPLES
) -> Localisation | None:
    """Measure the counts that are kept in `folder` of these predictions; None if no anomalous one has any.

    InputError for counts that cannot be read.
    """
    by_class: dict[str, _Measured] = {}
    by_kind: dict[str, list[_Measured]] = defaultdict(list)
    classes: dict[str, list[Prediction]] = defaultdict(list)
    for line in sorted(predictions, key=lambda line: line.pair.query):
        if not line.error:
            classes[line.pair.category or UNNAMED].append(line)
    for number, (name, lines) in enumerate(sorted(classes.items())):
        # One class at a time, so that memory does not grow with their number.
        measured = _measure_class(folder, lines, resamples, number)
        if measured is None:
            continue
        by_class[name], kinds = measured
        for kind, values in kinds.items():
            by_kind[kind].append(values)
    if not any(measured.anomalous for measured in by_class.values()):
        return None
    overall = _mean(by_class.values())
    kinds_measured = {kind: _mean(classes_of_kind) for kind, classes_of_kind in sorted(by_kind.items())}
    # The good pictures are in all kinds.
    over_kinds = replace(_mean(kinds_measured.values()), pictures=overall.pictures, anomalous=overall.anomalous)
    return Localisation(
        mean_over_classes=overall.estimates(),
        mean_over_kinds=over_kinds.estimates(),
        by_class={name: measured.estimates() for name, measured in by_class.items()},
        by_kind={kind: measured.estimates() for kind, measured in kinds_measured.items()},
        queries=len(predictions),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """LOCALISATION_METRICS of some queries, NaN where not defined."""

    pictures: int
    anomalous: int
    point: Floats  # (metrics,)
    samples: Floats  # (resamples, metrics)

    @classmethod
    def of(cls, sums: PixelSums, samples: Sequence[Floats] = ()) -> Self:
        point = sums.measure()
        none = np.empty((0, len(point)))  # (resamples, metrics) where there are no blocks
        return cls(sums.pictures, sums.anomalous, point, np.concatenate([none, *samples]))

    def estimates(self) -> LocalisationEstimates:
        columns = {
            name: to_estimate(float(self.point[i]), self.samples[:, i]) for i, name in enumerate(LOCALISATION_METRICS)
        }
        return LocalisationEstimates(pictures=self.pictures, anomalous=self.anomalous, **columns)


def _measure_class(
    folder: Path, lines: Sequence[Prediction], resamples: int, number: int
) -> tuple[_Measured, dict[str, _Measured]] | None:
    """All queries of a class, and those of each kind of anomaly with all good queries; None if none has counts."""
    kinds = sorted({line.pair.kind or UNKNOWN_KIND for line in lines if line.pair.label == "yes"})
    sums = {name: PixelSums() for name in ("", *kinds)}
    kept = []
    for line in lines:
        counts = read_counts(folder, line.pair.query)
        if counts is not None:
            kept.append(line)
            for name in ("", *_kinds_of(line, kinds)):
                sums[name].add(counts)
    if not kept:
        return None
    samples: dict[str, list[Floats]] = {name: [] for name in sums}
    if resamples:
        # Read again, since all values of all maps are not kept in memory at once.
        again = (read_counts(folder, line.pair.query) for line in kept)
        rows = PixelRows((counts for counts in again if counts is not None), sums[""].bins())
        kinds_of = [_kinds_of(line, kinds) for line in kept]
        members = {kind: np.array([kind in each for each in kinds_of]) for kind in kinds}
        for weights in resample(np.full(len(kept), "class"), resamples, part=number):
            for name, values in samples.items():
                values.append(rows.measure(weights * members.get(name, True)))
    measured = {name: _Measured.of(pixels, samples[name]) for name, pixels in sums.items()}
    return measured.pop(""), measured


def _kinds_of(line: Prediction, kinds: Sequence[str]) -> Sequence[str]:
    """The kinds of anomaly that a query is measured with: a good one with all."""
    return kinds if line.pair.label == "no" else (line.pair.kind or UNKNOWN_KIND,)


def _mean(measured: Iterable[_Measured]) -> _Measured:
    """Over classes or kinds, for each resample of its own; NaN if one of them is."""
    each = list(measured)
    return _Measured(
        pictures=sum(one.pictures for one in each),
        anomalous=sum(one.anomalous for one in each),
        point=np.mean([one.point for one in each], axis=0),
        samples=np.mean([one.samples for one in each], axis=0),
    )
