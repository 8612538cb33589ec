"""From prediction records to figures, and from two runs to a paired test: pure functions, nothing is read or drawn.

The positive class is "anomalous" (label yes). An invalid answer is a wrong answer in every figure: it stays in the
denominators, and where the score is used it ranks at the wrong end. What is not defined (TPR without anomalous
queries, AUROC of a system without scores) is None, which tables show as "–"; never NaN, never a warning.

Intervals are 95 % percentile bootstraps over the predictions, drawn within each class (category) with a seed: the same
predictions, in any order, give the same intervals. Every figure gets one, by defect too, except where it would say
nothing: a figure that all resamples repeat (5 of 5 right), or that half of them do not define. Of few predictions (some
dozens) they are somewhat too narrow; those of F1-max, a maximum over noise, always.

All resamples are computed at once, as weights of the predictions. scikit-learn takes one weighting at a time and needs
forty times as long for AUROC and average precision alone; the tests hold every figure here to scikit-learn's.

Deviations from the paper: it gives accuracy and F1 only (Table 1), its "overall" is pooled over images in five rows and
a mean over classes in two; both are given here, each under its name. The paper leaves structural anomalies out:
`by_kind["logical"]` is its protocol, whatever else was predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from lad_reasoner.errors import InputError
from lad_reasoner.estimate import LEVEL, Estimate
from lad_reasoner.records import Pair, Prediction, Record

RESAMPLES = 2000
NAMED = 5  # pairs that are spelled out where two runs differ
UNNAMED = "unnamed"  # the class of pairs without a category
VERDICT_METRICS = ("accuracy", "f1", "precision", "tpr", "tnr", "balanced_accuracy", "mcc")
# These look at every threshold, with the test labels in hand: never in one column with those of a fixed verdict.
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
    """All figures of one set of predictions. A mean over classes and a difference have no `confusion`.

    precision: TP / (TP + FP). balanced_accuracy: mean of TPR and TNR. mcc: Matthews' correlation, 0 for one constant
    answer. auroc: share of (anomalous, good) pairs in the right order, a tie is half. average_precision: mean precision
    at the anomalous queries. f1_max_on_test_labels: the highest F1 of any threshold, chosen on the labels that it is
    measured on.
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
    """Both meanings of "overall". The mean over classes is None where a class lacks the figure."""

    pooled: Estimates
    mean_over_classes: Estimates


class Metrics(Summary):
    """What `metrics.json` holds.

    A kind is measured against all good queries, a defect (key `category/defect`) against the good ones of its
    category; a query with two defects counts for both.
    """

    by_class: dict[str, Estimates]
    by_kind: dict[str, Summary]
    by_defect: dict[str, Estimates]
    resamples: int
    seed: int


class PairedTest(Summary):
    """Two runs on the same pairs. The figures are differences, first minus second, with paired intervals.

    `agreement` is the share of pairs with the same answer; `p_value` is exact McNemar's, two-sided: how likely it is
    that right answers which only one run has fall so unevenly between two equal runs.
    """

    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    agreement: float
    p_value: float
    resamples: int
    seed: int


def compute_metrics(predictions: Sequence[Prediction], *, resamples: int = RESAMPLES, seed: int = 0) -> Metrics:
    """All figures of a run; `resamples=0` leaves out the intervals.

    Raises `InputError` for no predictions, a pair without a label, and a pair that was predicted twice.
    """
    run = _Run.of(predictions)
    everything, good = np.ones(len(run.pairs), bool), ~run.anomalous
    pooled, by_class = _overall(run, everything, resamples, seed)
    by_kind = {}
    for kind in sorted({pair.kind for pair in run.pairs if pair.kind and pair.kind != "good"}):
        members = good | np.array([pair.kind == kind for pair in run.pairs])
        of_kind, classes = _overall(run, members, resamples, seed)
        by_kind[kind] = Summary(pooled=of_kind.figures(), mean_over_classes=_mean(classes.values()).figures())
    return Metrics(
        pooled=pooled.figures(),
        mean_over_classes=_mean(by_class.values()).figures(),
        by_class={name: estimate.figures() for name, estimate in by_class.items()},
        by_kind=by_kind,
        by_defect={
            defect: estimate.figures() for defect, estimate in _estimate(run, run.defects(), resamples, seed).items()
        },
        resamples=resamples,
        seed=seed,
    )


def estimate_share(
    parts: Sequence[int], wholes: Sequence[int], strata: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The sum of `parts` over that of `wholes`, one of each a prediction, with an interval stratified by `strata`."""
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    samples = [_ratio(w @ part, w @ whole) for w in _resample(np.asarray(strata), resamples, seed)]
    value = part.sum() / whole.sum() if whole.sum() else np.nan
    return _figure(float(value), np.concatenate([np.empty(0), *samples]))


def compare_predictions(
    first: Sequence[Prediction], second: Sequence[Prediction], *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedTest:
    """Exact McNemar (McNemar 1947; scipy.stats.binomtest) and a paired bootstrap of two runs, whatever their order.

    Raises `InputError` as `compute_metrics` does, and when the runs are not about the same pairs: it says which differ.
    """
    one, other = _Run.of(first), _Run.of(second)
    _refuse_other_pairs(one.pairs, other.pairs)
    everything = np.ones(len(one.pairs), bool)
    # The same seed and the same classes: the two runs are drawn alike.
    pooled, by_class = _overall(one, everything, resamples, seed)
    other_pooled, other_by_class = _overall(other, everything, resamples, seed)
    only_first, only_second = int((one.right & ~other.right).sum()), int((~one.right & other.right).sum())
    unequal = only_first + only_second
    return PairedTest(
        pooled=(pooled - other_pooled).figures(),
        mean_over_classes=(_mean(by_class.values()) - _mean(other_by_class.values())).figures(),
        both_right=int((one.right & other.right).sum()),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=int((~one.right & ~other.right).sum()),
        agreement=float(np.mean(one.answer == other.answer)),
        p_value=float(binomtest(only_first, unequal).pvalue) if unequal else 1.0,
        resamples=resamples,
        seed=seed,
    )


def _refuse_other_pairs(first: Sequence[Pair], second: Sequence[Pair]) -> None:
    """Both are sorted by query; a query may stand there several times, with other references each time."""
    differences = [
        f"{query} only in the {where} run"
        for where, names in (
            ("first", Counter(pair.query for pair in first) - Counter(pair.query for pair in second)),
            ("second", Counter(pair.query for pair in second) - Counter(pair.query for pair in first)),
        )
        for query in names
    ]
    if not differences:
        differences = [
            f"{mine.query} has {field} {ours!r} in the first run, {other!r} in the second"
            for mine, theirs in zip(first, second, strict=True)
            for field in ("references", "label", "kind", "category", "defect")
            if (ours := getattr(mine, field)) != (other := getattr(theirs, field))
        ]
    if differences:
        rest = f"; and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        raise InputError(f"compare runs on the same pairs: {'; '.join(differences[:NAMED])}{rest}")


@dataclass(frozen=True, eq=False)
class _Run:
    """Predictions as columns, sorted by query; `score` is None where a prediction came without one."""

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
        rows = sorted(predictions, key=lambda row: (row.pair.query, row.pair.references))
        pairs = [row.pair for row in rows]
        for before, pair in zip([None, *pairs], pairs, strict=False):
            if pair.label is None:
                raise InputError(f"{pair.query}: no label; only labelled pairs can be measured")
            if before and (before.query, before.references) == (pair.query, pair.references):
                raise InputError(f"{pair.query}: predicted twice with the same references; remove one of the lines")
        answer = np.array([row.verdict.answer for row in rows])
        anomalous = np.array([pair.label == "yes" for pair in pairs])
        scored = all(row.scored or row.verdict.answer == "invalid" for row in rows)
        return cls(
            pairs=pairs,
            category=np.array([pair.category or UNNAMED for pair in pairs]),
            anomalous=anomalous,
            answer=answer,
            right=answer == np.where(anomalous, "yes", "no"),
            # An invalid answer on a good query ranks first; one on an anomalous query is never found, see _values.
            score=np.array([row.verdict.score for row in rows]) + np.where(answer == "invalid", np.inf, 0)
            if scored
            else None,
        )

    def defects(self) -> dict[str, Bools]:
        """`category/defect` -> the queries with it, and the good ones of its category."""
        found: dict[str, Bools] = {}
        for row, (pair, category) in enumerate(zip(self.pairs, self.category.tolist(), strict=True)):
            for name in pair.defect_names():
                key = f"{category}/{name}"
                found.setdefault(key, ~self.anomalous & (self.category == category))[row] = True
        return dict(sorted(found.items()))

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
class _Estimate:
    """`point` (figures,) and `samples` (resamples, figures), NaN where not defined."""

    point: Floats
    samples: Floats
    confusion: Confusion | None = None

    def __sub__(self, other: _Estimate) -> _Estimate:
        return _Estimate(self.point - other.point, self.samples - other.samples)

    def figures(self) -> Estimates:
        names = VERDICT_METRICS + SCORE_METRICS
        figures = {name: _figure(float(self.point[i]), self.samples[:, i]) for i, name in enumerate(names)}
        return Estimates(confusion=self.confusion, **figures)


def _figure(value: float, samples: Floats) -> Estimate:
    if np.isnan(value):
        return Estimate(value=None)
    defined = samples[~np.isnan(samples)]
    if 2 * len(defined) <= len(samples) or defined.min() == defined.max():
        return Estimate(value=value)
    low, high = np.quantile(defined, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value=value, interval=(float(low), float(high)))


def _mean(estimates: Iterable[_Estimate]) -> _Estimate:
    points, samples = zip(*((estimate.point, estimate.samples) for estimate in estimates), strict=True)
    return _Estimate(np.mean(points, axis=0), np.mean(samples, axis=0))


def _overall(run: _Run, members: Bools, resamples: int, seed: int) -> tuple[_Estimate, dict[str, _Estimate]]:
    """Of the members: pooled, and each class for itself."""
    classes = {name: members & (run.category == name) for name in sorted(set(run.category.tolist()))}
    by_class = _estimate(run, {"": members, **classes}, resamples, seed)
    return by_class.pop(""), by_class


def _estimate(run: _Run, sets: dict[str, Bools], resamples: int, seed: int) -> dict[str, _Estimate]:
    """The figures of each set of predictions; all sets, and all calls with one seed, see the same resamples."""
    whole = np.ones((1, len(run.pairs)))
    samples: dict[str, list[Floats]] = {name: [_values(run, members, whole)] for name, members in sets.items()}
    for weights in _resample(run.category, resamples, seed):
        for name, members in sets.items():
            samples[name].append(_values(run, members, weights))
    return {
        name: _Estimate(point[0], np.concatenate([point[:0], *blocks]), run.confusion(sets[name]))
        for name, (point, *blocks) in samples.items()
    }


def _resample(strata: NDArray[np.str_], resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of (resamples, predictions): how often each is drawn, with replacement, from its own stratum."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(strata))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        weights = np.empty((count, len(strata)))
        for stratum in np.unique(strata):
            rows = np.flatnonzero(strata == stratum)
            drawn = rng.integers(len(rows), size=(count, len(rows))) + len(rows) * np.arange(count)[:, None]
            weights[:, rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield weights


def _values(run: _Run, members: Bools, weights: Floats) -> Floats:
    """(resamples, figures) of the members, each counted as often as (resamples, predictions) `weights` say."""
    rows = np.flatnonzero(members)
    if run.score is not None:
        rows = rows[np.argsort(-run.score[rows])]
    weights, anomalous, right = weights[:, rows], run.anomalous[rows], run.right[rows]
    cells = np.stack([anomalous & right, anomalous & ~right, ~anomalous & ~right, ~anomalous & right], axis=1)
    tp, fn, fp, tn = (weights @ cells.astype(float)).T
    positive, negative = tp + fn, fp + tn
    mixed = positive * negative > 0
    tpr, tnr = _ratio(tp, positive), _ratio(tn, negative)
    spread = np.sqrt(((tp + fp) * (tn + fn)) * (positive * negative))  # in this order it is exact for perfect answers
    correlation = _ratio(tp * tn - fp * fn, spread, 0.0)
    verdict = [
        _ratio(tp + tn, positive + negative),
        np.where(positive > 0, _ratio(2 * tp, 2 * tp + fp + fn), np.nan),
        _ratio(tp, tp + fp),
        tpr,
        tnr,
        (tpr + tnr) / 2,
        np.where(mixed, correlation, np.nan),
    ]
    if run.score is None or not len(rows):
        return np.stack([*verdict, *(np.full(len(weights), np.nan) for _ in SCORE_METRICS)], axis=1)
    score = run.score[rows]
    starts = np.flatnonzero(np.append(True, score[1:] != score[:-1]))  # of each group of equal scores, falling
    hits = np.add.reduceat(weights * (anomalous & np.isfinite(score)), starts, axis=1)
    alarms = np.add.reduceat(weights * ~anomalous, starts, axis=1)
    all_hits, all_alarms = hits.cumsum(axis=1), alarms.cumsum(axis=1)  # when all down to here are called anomalous
    ordered = (hits * (negative[:, None] - all_alarms + alarms / 2)).sum(axis=1)
    found = (hits * _ratio(all_hits, all_hits + all_alarms)).sum(axis=1, where=hits > 0)
    f1_max = _ratio(2 * all_hits, all_hits + all_alarms + positive[:, None]).max(axis=1)
    ranked = [_ratio(ordered, positive * negative), _ratio(found, positive), f1_max]
    return np.stack([*verdict, *(np.where(mixed, values, np.nan) for values in ranked)], axis=1)


def _ratio(part: Floats, whole: Floats, otherwise: float = np.nan) -> Floats:
    """`part / whole`, and `otherwise` where there is nothing to divide by."""
    result = np.full(whole.shape, otherwise)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
