"""From prediction records to metrics, and from two runs to a paired test: pure functions, nothing is read or drawn.

The positive class is "anomalous" (label yes). An invalid answer is a wrong answer in every metric: it stays in the
denominators, and where the score is used it ranks at the wrong end. A metric that is not defined (TPR without anomalous
queries, AUROC of a system without scores) is None, which tables show as "–"; never NaN, never a warning.

Intervals are 95 % percentile bootstraps over the predictions, drawn within each class (category) with a seed: the same
predictions, in any order, give the same intervals. Every metric has one, by defect too, except where it would say
nothing: where all resamples give the same value (5 of 5 right), or half of them do not define it. With some dozens of
predictions they are somewhat too narrow; those of F1-max, a maximum over noise, always.

All resamples are computed at once, as weights of the predictions. scikit-learn takes one weighting at a time and needs
forty times as long for AUROC and average precision alone; the tests compare every metric with scikit-learn's.

Deviations from the paper: it gives accuracy and F1 only (Table 1), its "overall" is pooled over images in five rows and
a mean over classes in two; both are given here, each under its name. The paper leaves structural anomalies out:
`by_kind["logical"]` is its protocol, whatever else was predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from lad_reasoner.errors import InputError
from lad_reasoner.records import LEVEL, Estimate, Pair, Prediction, Record
from lad_reasoner.text import listed

RESAMPLES, SEED = 2000, 0  # of the bootstrap
NAMED = 5  # pairs that are spelled out where two runs differ
UNNAMED = "unnamed"  # the class of pairs without a category
VERDICT_METRICS = ("accuracy", "f1", "precision", "tpr", "tnr", "balanced_accuracy", "mcc")
# These try every threshold on the test labels: a table must not mix them with the metrics of a fixed verdict.
SCORE_METRICS = ("auroc", "average_precision", "f1_max_on_test_labels")
_BLOCK = 200_000  # resamples times predictions at once: what fits the processor's cache is a third faster

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Confusion(Record):
    """Counts. Invalid answers stand on the wrong side, in `fn` and `fp`; `invalid` says how many they are."""

    tp: int
    fn: int
    fp: int
    tn: int
    invalid: int


class Estimates(Record):
    """All metrics of one set of predictions. A mean over classes and a difference have no `confusion`.

    precision: TP / (TP + FP). balanced_accuracy: mean of TPR and TNR. mcc: Matthews' correlation, 0 for one constant
    answer. auroc: share of (anomalous, good) pairs in the right order; a tie counts half. average_precision: mean
    precision at the anomalous queries. f1_max_on_test_labels: the highest F1 of any threshold, chosen on the labels
    that it is measured on.
    """

    confusion: Confusion | None = None
    accuracy: Estimate
    f1: Estimate
    precision: Estimate
    tpr: Estimate
    tnr: Estimate
    balanced_accuracy: Estimate
    mcc: Estimate
    auroc: Estimate
    average_precision: Estimate
    f1_max_on_test_labels: Estimate


class Summary(Record):
    """Both meanings of "overall". The mean over classes of a metric is None if a class does not define it."""

    pooled: Estimates
    mean_over_classes: Estimates


class Metrics(Summary):
    """What `metrics.json` holds.

    The anomalous queries of a kind are measured with all good queries, those of a defect (key `category/defect`) with
    the good ones of their category; a query with two defects counts for both.
    """

    by_class: dict[str, Estimates]
    by_kind: dict[str, Summary]
    by_defect: dict[str, Estimates]
    resamples: int
    seed: int


class PairedTest(Summary):
    """Two runs on the same pairs. The metrics are differences, first minus second, with paired intervals.

    `agreement` is the share of pairs with the same answer; `p_value` is exact McNemar's, two-sided: the probability
    that two equally good runs differ so unevenly in the pairs that only one of them gets right.
    """

    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    agreement: float
    p_value: float
    resamples: int
    seed: int


def compute_metrics(predictions: Sequence[Prediction], *, resamples: int = RESAMPLES) -> Metrics:
    """All metrics of a run; `resamples=0` leaves out the intervals.

    Raises `InputError` for no predictions, a pair without a label, and a pair that was predicted twice.
    """
    run = _Run.of(predictions)
    everything, good = np.ones(len(run.pairs), bool), ~run.anomalous
    overall = _overall(run, everything, resamples)
    by_kind = {}
    for kind in sorted({pair.kind for pair in run.pairs if pair.kind and pair.kind != "good"}):
        members = good | np.array([pair.kind == kind for pair in run.pairs])
        by_kind[kind] = _overall(run, members, resamples).summary()
    by_defect = _bootstrap(run, run.defects(), resamples)
    return Metrics(
        **dict(overall.summary()),
        by_class={name: bootstrap.estimates() for name, bootstrap in overall.by_class.items()},
        by_kind=by_kind,
        by_defect={defect: bootstrap.estimates() for defect, bootstrap in by_defect.items()},
        resamples=resamples,
        seed=SEED,
    )


def estimate_share(
    parts: Sequence[int], wholes: Sequence[int], strata: Sequence[str], *, resamples: int = RESAMPLES
) -> Estimate:
    """The sum of `parts` over the sum of `wholes`, each with one number per prediction.

    The interval is a bootstrap over the predictions, within each of the `strata`.
    """
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    samples = [ratio(weights @ part, weights @ whole) for weights in resample(np.asarray(strata), resamples)]
    value = part.sum() / whole.sum() if whole.sum() else np.nan
    return to_estimate(float(value), np.concatenate([np.empty(0), *samples]))


def compare_predictions(
    first: Sequence[Prediction], second: Sequence[Prediction], *, resamples: int = RESAMPLES
) -> PairedTest:
    """Exact McNemar (McNemar 1947; scipy.stats.binomtest) and a paired bootstrap of two runs, each in any order.

    Raises `InputError` as `compute_metrics` does, and when the runs are not about the same pairs: it says which differ.
    """
    (duel,) = compare_each_two({"first": first, "second": second}, resamples=resamples).values()
    return duel


def compare_each_two(
    predictions: Mapping[str, Sequence[Prediction]], *, resamples: int = RESAMPLES
) -> dict[tuple[str, str], PairedTest]:
    """`compare_predictions` of each two of the runs, by their names; a run is resampled once."""
    runs = {name: _Run.of(lines) for name, lines in predictions.items()}
    for first, second in combinations(runs.values(), 2):
        _refuse_other_pairs(first.pairs, second.pairs)
    # With the same classes all runs see the same resamples: that is what pairs the bootstrap.
    overall = {name: _overall(run, np.ones(len(run.pairs), bool), resamples) for name, run in runs.items()}
    duels = {}
    for one, other in combinations(runs, 2):
        duels[one, other] = _duel(runs[one], runs[other], overall[one], overall[other], resamples)
    return duels


def _duel(one: _Run, other: _Run, overall: _Overall, other_overall: _Overall, resamples: int) -> PairedTest:
    only_first = int((one.right & ~other.right).sum())
    only_second = int((~one.right & other.right).sum())
    unequal = only_first + only_second
    return PairedTest(
        pooled=(overall.pooled - other_overall.pooled).estimates(),
        mean_over_classes=(overall.mean() - other_overall.mean()).estimates(),
        both_right=int((one.right & other.right).sum()),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=int((~one.right & ~other.right).sum()),
        agreement=float(np.mean(one.answer == other.answer)),
        p_value=float(binomtest(only_first, unequal).pvalue) if unequal else 1.0,
        resamples=resamples,
        seed=SEED,
    )


def _refuse_other_pairs(first: Sequence[Pair], second: Sequence[Pair]) -> None:
    """Both are sorted by query; a query may stand there several times, with other references each time."""
    queries, other_queries = (Counter(pair.query for pair in pairs) for pairs in (first, second))
    differences = [f"{query} only in the first run" for query in queries - other_queries]
    differences += [f"{query} only in the second run" for query in other_queries - queries]
    if not differences:  # only now does each pair stand beside the one with the same query
        for pair, other in zip(first, second, strict=True):
            differences += _differing_fields(pair, other)
    if differences:
        raise InputError(f"compare runs on the same pairs: {listed(differences, NAMED, '; ')}")


def _differing_fields(first: Pair, second: Pair) -> Iterator[str]:
    for field in ("references", "label", "kind", "category", "defect"):
        value, other = getattr(first, field), getattr(second, field)
        if value != other:
            value, other = (", ".join(each) if isinstance(each, tuple) else each for each in (value, other))
            yield f"{first.query} has {field} {value} in the first run, {other} in the second"


@dataclass(frozen=True, eq=False)
class _Run:
    """Predictions as columns of one length, sorted by query; `score` is None where a prediction came without one."""

    pairs: list[Pair]
    category: NDArray[np.str_]
    anomalous: Bools
    answer: NDArray[np.str_]
    right: Bools
    score: Floats | None

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Self:
        if not predictions:
            raise InputError("no predictions; there is nothing to measure")
        # The bootstrap draws rows by their number: sorted, it draws the same ones whatever the order of the lines.
        rows = sorted(predictions, key=lambda row: (row.pair.query, row.pair.references))
        pairs = [row.pair for row in rows]
        for before, pair in zip([None, *pairs], pairs, strict=False):
            if pair.label is None:
                raise InputError(f"{pair.query}: no label; only labelled pairs can be measured")
            if before and (before.query, before.references) == (pair.query, pair.references):
                raise InputError(f"{pair.query}: predicted twice with the same references; remove one of the lines")
        answer = np.array([row.verdict.answer for row in rows])
        anomalous = np.array([pair.label == "yes" for pair in pairs])
        score = None
        if all(row.scored or row.verdict.answer == "invalid" for row in rows):
            # An invalid answer on a good query ranks first. One on an anomalous query does so too, but is never
            # counted as a hit, see _score_values.
            score = np.array([row.verdict.score for row in rows]) + np.where(answer == "invalid", np.inf, 0)
        return cls(
            pairs=pairs,
            category=np.array([pair.category or UNNAMED for pair in pairs]),
            anomalous=anomalous,
            answer=answer,
            right=answer == np.where(anomalous, "yes", "no"),
            score=score,
        )

    def defects(self) -> dict[str, Bools]:
        """`category/defect` -> the queries with it, and the good ones of its category."""
        members: dict[str, Bools] = {}
        for row, (pair, category) in enumerate(zip(self.pairs, self.category.tolist(), strict=True)):
            for name in pair.defect_names():
                key = f"{category}/{name}"
                members.setdefault(key, ~self.anomalous & (self.category == category))[row] = True
        return dict(sorted(members.items()))

    def confusion(self, members: Bools) -> Confusion:
        def count(which: Bools) -> int:
            return int((members & which).sum())

        return Confusion(
            tp=count(self.anomalous & self.right),
            fn=count(self.anomalous & ~self.right),
            fp=count(~self.anomalous & ~self.right),
            tn=count(~self.anomalous & self.right),
            invalid=count(self.answer == "invalid"),
        )


@dataclass(frozen=True, eq=False)
class _Bootstrap:
    """The metrics of one set of predictions, and of its resamples; NaN where not defined."""

    point: Floats  # (metrics,)
    samples: Floats  # (resamples, metrics)
    confusion: Confusion | None = None

    def __sub__(self, other: _Bootstrap) -> _Bootstrap:
        return _Bootstrap(self.point - other.point, self.samples - other.samples)

    def estimates(self) -> Estimates:
        names = VERDICT_METRICS + SCORE_METRICS
        columns = {name: to_estimate(float(self.point[i]), self.samples[:, i]) for i, name in enumerate(names)}
        return Estimates(confusion=self.confusion, **columns)


@dataclass(frozen=True, eq=False)
class _Overall:
    pooled: _Bootstrap
    by_class: dict[str, _Bootstrap]

    def mean(self) -> _Bootstrap:
        """Over the classes, for each resample of its own: its interval is that of the mean. NaN if one class is."""
        classes = self.by_class.values()
        point = np.mean([bootstrap.point for bootstrap in classes], axis=0)
        return _Bootstrap(point, np.mean([bootstrap.samples for bootstrap in classes], axis=0))

    def summary(self) -> Summary:
        return Summary(pooled=self.pooled.estimates(), mean_over_classes=self.mean().estimates())


def to_estimate(value: float, samples: Floats) -> Estimate:
    """`samples` (resamples,) give the interval."""
    if np.isnan(value):
        return Estimate(value=None)
    defined = samples[~np.isnan(samples)]
    # An interval from the few resamples that define a metric would be about other data than the rest.
    if 2 * len(defined) <= len(samples) or defined.min() == defined.max():
        return Estimate(value=value)
    low, high = np.quantile(defined, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value=value, interval=(float(low), float(high)))


def _overall(run: _Run, members: Bools, resamples: int) -> _Overall:
    """Of the members: pooled, and each class for itself."""
    classes = {name: members & (run.category == name) for name in sorted(set(run.category.tolist()))}
    by_class = _bootstrap(run, {"": members, **classes}, resamples)
    return _Overall(by_class.pop(""), by_class)


def _bootstrap(run: _Run, sets: dict[str, Bools], resamples: int) -> dict[str, _Bootstrap]:
    """The metrics of each set of predictions; all sets, and all calls, see the same resamples."""
    once = np.ones((1, len(run.pairs)))  # the predictions themselves: each is drawn once
    values: dict[str, list[Floats]] = {name: [_values(run, members, once)] for name, members in sets.items()}
    for weights in resample(run.category, resamples):
        for name, members in sets.items():
            values[name].append(_values(run, members, weights))
    bootstraps = {}
    for name, (point, *blocks) in values.items():
        samples = np.concatenate([point[:0], *blocks])  # (0, metrics) where there are no blocks
        bootstraps[name] = _Bootstrap(point[0], samples, run.confusion(sets[name]))
    return bootstraps


def resample(strata: NDArray[np.str_], resamples: int, *, part: int = 0) -> Iterator[Floats]:
    """Blocks of (resamples, predictions): how often each is drawn, with replacement, from its own stratum.

    Predictions that are drawn in several calls, a class at a time, have another `part` in each.
    """
    rng = np.random.default_rng((SEED, part) if part else SEED)
    block = max(1, _BLOCK // len(strata))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        weights = np.empty((count, len(strata)))
        for stratum in np.unique(strata):
            rows = np.flatnonzero(strata == stratum)
            # Row i of `drawn` (count, rows) lies in a number range of its own, so that one bincount serves all.
            starts = len(rows) * np.arange(count)[:, None]
            drawn = starts + rng.integers(len(rows), size=(count, len(rows)))
            weights[:, rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield weights


def _values(run: _Run, members: Bools, weights: Floats) -> Floats:
    """(resamples, metrics) of the members, each counted as often as (resamples, predictions) `weights` say."""
    rows = np.flatnonzero(members)
    if run.score is not None:
        rows = rows[np.argsort(-run.score[rows])]  # falling, as _score_values needs them
    weights, anomalous, right = weights[:, rows], run.anomalous[rows], run.right[rows]
    found, missed = anomalous & right, anomalous & ~right  # (rows,) each
    false_alarm, passed = ~anomalous & ~right, ~anomalous & right
    cells = np.stack([found, missed, false_alarm, passed], axis=1)  # each row is in one cell of the confusion matrix
    tp, fn, fp, tn = (weights @ cells.astype(float)).T  # (resamples,) each, as all that follow
    positive, negative = tp + fn, fp + tn
    mixed = positive * negative > 0
    tpr, tnr = ratio(tp, positive), ratio(tn, negative)
    spread = np.sqrt(((tp + fp) * (tn + fn)) * (positive * negative))  # in this order it is exact for perfect answers
    correlation = ratio(tp * tn - fp * fn, spread, 0.0)
    verdict = [
        ratio(tp + tn, positive + negative),
        np.where(positive > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan),
        ratio(tp, tp + fp),
        tpr,
        tnr,
        (tpr + tnr) / 2,
        np.where(mixed, correlation, np.nan),
    ]
    if run.score is None or not len(rows):
        return np.stack([*verdict, *(np.full(len(weights), np.nan) for _ in SCORE_METRICS)], axis=1)
    ranked = _score_values(run.score[rows], anomalous, weights)
    return np.stack([*verdict, *(np.where(mixed, values, np.nan) for values in ranked)], axis=1)


def _score_values(score: Floats, anomalous: Bools, weights: Floats) -> list[Floats]:
    """SCORE_METRICS, (resamples,) each, of rows with falling scores: `score` and `anomalous` (rows,).

    A threshold can only lie between groups of equal scores, so that all sums are over groups.
    """
    starts = np.flatnonzero(np.append(True, score[1:] != score[:-1]))  # the first row of each group
    # Anomalous and good queries of each group, (resamples, groups). An infinite score is an invalid answer: no hit.
    hits = np.add.reduceat(weights * (anomalous & np.isfinite(score)), starts, axis=1)
    alarms = np.add.reduceat(weights * ~anomalous, starts, axis=1)
    # The same when all groups down to this one are called anomalous.
    all_hits, all_alarms = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    positive, negative = weights @ anomalous.astype(float), weights @ (~anomalous).astype(float)
    # A hit is in the right order with all good queries below its group, and in half with those within it.
    ordered = (hits * (negative[:, None] - all_alarms + alarms / 2)).sum(axis=1)
    precisions = (hits * ratio(all_hits, all_hits + all_alarms)).sum(axis=1, where=hits > 0)
    # F1 = 2 TP / (TP + FP + positive)
    f1 = ratio(2 * all_hits, all_hits + all_alarms + positive[:, None])
    return [ratio(ordered, positive * negative), ratio(precisions, positive), f1.max(axis=1)]


def ratio(part: Floats, whole: Floats, otherwise: float = np.nan) -> Floats:
    """`part / whole`, and `otherwise` where there is nothing to divide by."""
    result = np.full(whole.shape, otherwise)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
