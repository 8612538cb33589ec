"""Figures: scikit-learn as the referee, properties, and what is not defined. Table 1 has a file of its own."""

import math
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from helpers.runs import NAMES, answering, from_matrix, noisy_run, prediction, runs, values
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.metrics import (
    SCORE_METRICS,
    VERDICT_METRICS,
    Confusion,
    Metrics,
    _Run,
    _values,
    compare_predictions,
    compute_metrics,
)
from lad_reasoner.records import Estimate, Pair, Prediction

# Against scikit-learn


@given(runs(("yes", "no")), st.randoms(use_true_random=False))
def test_every_figure_is_scikit_learns(run: list[Prediction], rng: random.Random) -> None:
    """With weights, as the resamples have."""
    columns = _Run.of(run)
    weights = np.array([float(rng.randrange(4)) for _ in run])
    assume(weights @ columns.anomalous > 0 and weights @ ~columns.anomalous > 0)
    yes = columns.answer == "yes"
    truth, guess = {"y_true": columns.anomalous, "sample_weight": weights}, {"y_pred": yes}
    score = {"y_score": columns.score}
    precision, recall, _ = sklearn.precision_recall_curve(**truth, **score)
    expected = {
        "accuracy": sklearn.accuracy_score(**truth, **guess),
        "f1": sklearn.f1_score(**truth, **guess, zero_division=0),
        "precision": sklearn.precision_score(**truth, **guess, zero_division=np.nan),
        "tpr": sklearn.recall_score(**truth, **guess),
        "tnr": sklearn.recall_score(**truth, **guess, pos_label=False),
        "balanced_accuracy": sklearn.balanced_accuracy_score(**truth, **guess),
        "mcc": sklearn.matthews_corrcoef(**truth, **guess) if len(set(yes[weights > 0])) == 2 else 0,
        "auroc": sklearn.roc_auc_score(**truth, **score),
        "average_precision": sklearn.average_precision_score(**truth, **score),
        "f1_max_on_test_labels": max(
            2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True)
        ),
    }
    ours = _values(columns, np.ones(len(run), bool), weights[None])
    assert ours.shape == (1, len(NAMES))
    assert dict(zip(NAMES, ours[0], strict=True)) == pytest.approx(expected, nan_ok=True)


def test_intervals_are_those_of_a_plain_stratified_bootstrap() -> None:
    run = noisy_run(150, seed=4)
    ours = compute_metrics(run, resamples=4000).pooled
    rng = np.random.default_rng(9)
    label = np.array([row.pair.label == "yes" for row in run])
    score = np.array([row.verdict.score for row in run])
    yes, category = score > 0.5, np.array([row.pair.category for row in run])
    strata = [np.flatnonzero(category == name) for name in sorted(set(category))]
    assert len(strata) == 3
    drawn = [np.concatenate([rng.choice(rows, len(rows)) for rows in strata]) for _ in range(1000)]
    plain = {
        "auroc": [sklearn.roc_auc_score(label[rows], score[rows]) for rows in drawn],
        "f1": [2 * (label & yes)[rows].sum() / (label[rows].sum() + yes[rows].sum()) for rows in drawn],
    }
    for name, samples in plain.items():
        interval = getattr(ours, name).interval
        assert interval == pytest.approx(tuple(np.quantile(samples, (0.025, 0.975))), abs=0.012)


# Properties


@given(runs(), st.randoms(use_true_random=False))
def test_order_does_not_matter(run: list[Prediction], rng: random.Random) -> None:
    shuffled = run.copy()
    rng.shuffle(shuffled)
    assert compute_metrics(shuffled, resamples=10) == compute_metrics(run, resamples=10)


@given(runs())
def test_swapping_the_two_answers(run: list[Prediction]) -> None:
    """What is good becomes anomalous and the other way round."""
    other = {"yes": "no", "no": "yes", "invalid": "invalid"}
    swapped = [
        prediction(
            row.pair.query,
            row.pair.label == "no",
            other[row.verdict.answer],
            1 - row.verdict.score,
            category=row.pair.category,
        )
        for row in run
    ]
    before, after = compute_metrics(run, resamples=0).pooled, compute_metrics(swapped, resamples=0).pooled
    for name in ("accuracy", "balanced_accuracy", "mcc", "auroc"):
        assert getattr(after, name).value == pytest.approx(getattr(before, name).value)
    assert (after.tpr, after.tnr) == (before.tnr, before.tpr)


@given(runs())
def test_bounds(run: list[Prediction]) -> None:
    result = compute_metrics(run, resamples=20)
    text = result.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Metrics.model_validate_json(text) == result
    kinds = result.by_kind.values()
    for figures in (
        result.pooled,
        result.mean_over_classes,
        *result.by_class.values(),
        *result.by_defect.values(),
        *(kind.pooled for kind in kinds),
        *(kind.mean_over_classes for kind in kinds),
    ):
        for name, value in values(figures).items():
            low, high = getattr(figures, name).interval or (0, 0)
            assert (-1 if name == "mcc" else 0) <= low <= high <= 1
            assert value is None or (-1 if name == "mcc" else 0) <= value <= 1
    assert result.pooled.confusion is not None
    assert sum(result.pooled.confusion.model_dump(exclude={"invalid"}).values()) == len(run)


@given(runs())
def test_auroc_is_the_share_of_pairs_in_the_right_order(run: list[Prediction]) -> None:
    """A tie is half; a pair with an invalid answer is in the wrong order."""
    shares = [
        0.0
        if "invalid" in (bad.verdict.answer, good.verdict.answer)
        else (bad.verdict.score > good.verdict.score) + 0.5 * (bad.verdict.score == good.verdict.score)
        for bad in run
        for good in run
        if bad.pair.label == "yes" and good.pair.label == "no"
    ]
    ours = compute_metrics(run, resamples=0).pooled.auroc.value
    assert ours == (pytest.approx(np.mean(shares)) if shares else None)


@given(runs(), st.data())
def test_an_invalid_answer_helps_no_figure(run: list[Prediction], data: st.DataObject) -> None:
    """But MCC, which is not monotone in the number of right answers below chance."""
    place = data.draw(st.integers(0, len(run) - 1))
    worse = run.copy()
    verdict = run[place].verdict.model_copy(update={"answer": "invalid", "anomalous": False})
    worse[place] = run[place].model_copy(update={"verdict": verdict})
    before, after = values(compute_metrics(run, resamples=0).pooled), values(compute_metrics(worse, resamples=0).pooled)
    for name in set(NAMES) - {"mcc"}:
        was, now = before[name], after[name]
        if now is not None:
            assert was is None or now <= was + 1e-12, name


@given(st.integers(0, 10_000))
def test_the_interval_contains_the_point(seed: int) -> None:
    result = compute_metrics(noisy_run(90, seed), resamples=100).pooled
    for name in set(NAMES) - {"f1_max_on_test_labels"}:
        figure = getattr(result, name)
        assert figure.interval[0] < figure.value < figure.interval[1], name


def test_classes_are_drawn_apart() -> None:
    """One class all right, one all wrong: drawn apart, the share of right answers is always the same."""
    run = from_matrix("easy", 5, 0, 0, 5) + from_matrix("hard", 0, 3, 3, 0)
    result = compute_metrics(run, resamples=200)
    assert result.pooled.accuracy == Estimate(value=10 / 16)
    assert result.mean_over_classes.accuracy == Estimate(value=0.5)
    together = compute_metrics(
        [row.model_copy(update={"pair": _in_class(row.pair, "one")}) for row in run], resamples=200
    )
    assert together.pooled.accuracy.interval is not None


def test_no_interval_from_the_few_resamples_that_define_a_figure() -> None:
    """A class of one good and two anomalous queries keeps both in two of three resamples, three classes in 30 %."""
    run = [
        prediction(f"{name}/{i}.png", anomalous, "yes", score, category=name)
        for name in "abc"
        for i, (anomalous, score) in enumerate([(False, 0.5), (True, 0.9), (True, 0.1)])
    ]
    result = compute_metrics(run, resamples=200)
    assert result.by_class["a"].auroc.interval == (0, 1)
    assert result.pooled.auroc.interval is not None
    assert result.mean_over_classes.auroc == Estimate(value=0.5)


def _in_class(pair: Pair, name: str) -> Pair:
    return pair.model_copy(update={"category": name})


def test_fast_enough_for_loco() -> None:
    run = noisy_run(1136, seed=1)
    start = time.process_time()
    result = compute_metrics(run)
    seconds = time.process_time() - start
    assert result.resamples == 2000
    assert result.pooled.auroc.interval is not None
    assert seconds < 5, "it takes about half a second on one core"


# By kind and by defect


def test_kinds_and_defects_by_hand() -> None:
    run = [
        prediction("a/g0", False, "no", 0.1, category="a"),
        prediction("a/g1", False, "yes", 0.6, category="a"),
        prediction("b/g0", False, "invalid", 0.0, category="b"),
        prediction("a/l0", True, "yes", 0.9, category="a", defect="missing"),
        prediction("a/l1", True, "no", 0.3, category="a", defect="missing;bent"),
        prediction("b/s0", True, "yes", 0.7, category="b", kind="structural", defect="missing"),
    ]
    result = compute_metrics(run, resamples=0)
    assert list(result.by_class) == ["a", "b"]
    assert list(result.by_kind) == ["logical", "structural"]
    assert list(result.by_defect) == ["a/bent", "a/missing", "b/missing"]
    logical, structural = result.by_kind["logical"], result.by_kind["structural"]
    assert logical.pooled.confusion == Confusion(tp=1, fn=1, fp=2, tn=1, invalid=1)
    assert structural.pooled.confusion == Confusion(tp=1, fn=0, fp=2, tn=1, invalid=1)
    assert logical.pooled.auroc.value == 3 / 6
    assert logical.mean_over_classes.accuracy.value == (2 / 4 + 0) / 2
    assert logical.mean_over_classes.tpr.value is None, "class b has no logical anomaly"
    assert result.by_defect["a/missing"].confusion == Confusion(tp=1, fn=1, fp=1, tn=1, invalid=0)
    assert result.by_defect["a/bent"].tpr.value == 0
    assert result.by_defect["b/missing"].auroc.value == 0


def test_keys_of_metrics_json() -> None:
    """Others read these names."""
    written = compute_metrics(noisy_run(9, seed=0), resamples=5).model_dump(mode="json")
    assert list(written) == [
        *("pooled", "mean_over_classes", "by_class", "by_kind", "by_defect", "resamples", "seed"),
    ]
    assert list(written["pooled"]) == ["confusion", *NAMES]
    assert list(written["pooled"]["confusion"]) == ["tp", "fn", "fp", "tn", "invalid"]
    assert list(written["pooled"]["accuracy"]) == ["value", "interval"]


# What is not defined


@pytest.mark.parametrize(
    ("rows", "defined"),
    [
        ([(True, "yes", 0.9), (True, "no", 0.2)], {"accuracy": 0.5, "f1": 2 / 3, "precision": 1, "tpr": 0.5}),
        ([(False, "yes", 0.9), (False, "no", 0.2)], {"accuracy": 0.5, "precision": 0, "tnr": 0.5}),
        ([(False, "no", 0.2)], {"accuracy": 1, "tnr": 1}),
        (
            [(True, "no", 0.2), (False, "no", 0.1)],
            {"accuracy": 0.5, "f1": 0, "tpr": 0, "tnr": 1, "balanced_accuracy": 0.5, "mcc": 0}
            | dict.fromkeys(SCORE_METRICS, 1),
        ),
        (
            [(True, "invalid", 0.9), (False, "invalid", 0.1)],
            dict.fromkeys(NAMES, 0) | {"mcc": -1},
        ),
        (
            [(True, "yes", 0.5), (False, "no", 0.5)],
            dict.fromkeys(NAMES, 1) | {"auroc": 0.5, "average_precision": 0.5, "f1_max_on_test_labels": 2 / 3},
        ),
    ],
    ids=["anomalous only", "good only", "one good", "always no", "all invalid", "all scores tied"],
)
def test_edges(rows: Sequence[tuple[bool, str, float]], defined: dict[str, float]) -> None:
    result = compute_metrics([prediction(f"{i}.png", *row) for i, row in enumerate(rows)], resamples=50)
    assert values(result.pooled) == dict.fromkeys(NAMES) | defined
    assert result.by_class == {"unnamed": result.pooled}
    for name in set(NAMES) - set(defined):
        assert getattr(result.pooled, name).percent() == "–"


def test_a_system_without_scores_has_no_ranking() -> None:
    run = [row.model_copy(update={"scored": False}) for row in noisy_run(20, seed=2)]
    result = compute_metrics(run, resamples=20).pooled
    assert all(getattr(result, name) == Estimate(value=None) for name in SCORE_METRICS)
    assert all(getattr(result, name).value is not None for name in VERDICT_METRICS)
    invalid = [prediction("x.png", True, "invalid", scored=False)]
    assert compute_metrics(noisy_run(20, seed=2) + invalid, resamples=0).pooled.auroc.value is not None


def test_what_cannot_be_measured_is_refused() -> None:
    row = prediction("a.png", True, "yes")
    unlabelled = row.model_copy(update={"pair": row.pair.model_copy(update={"label": None})})
    with pytest.raises(InputError, match="no predictions"):
        compute_metrics([])
    with pytest.raises(InputError, match=r"a\.png: no label"):
        compute_metrics([unlabelled])
    with pytest.raises(InputError, match=r"a\.png: predicted twice"):
        compute_metrics([row, prediction("b.png", False, "no"), row])
    other_reference = prediction("a.png", True, "no", references=("s.png",))
    assert compute_metrics([row, other_reference], resamples=0).pooled.accuracy.value == 0.5


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.5625, "56.3"), (0.39459459, "39.5"), (1, "100.0"), (-0.0001, "0.0"), (-0.5625, "-56.3")],
)
def test_percent(value: float | None, shown: str) -> None:
    assert Estimate(value=value).percent() == shown
    assert Estimate(value=value).percent_interval() == "–"
    assert Estimate(value=0.5, interval=(0.25, 0.61)).percent_interval() == "[25.0, 61.0]"


# Two runs


@given(runs(), st.data())
def test_mcnemar_by_hand(run: list[Prediction], data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.sampled_from(["yes", "no", "invalid"]), min_size=len(run), max_size=len(run)))
    other = [answering(row, answer) for row, answer in zip(run, answers, strict=True)]
    result = compare_predictions(run, other, resamples=10)

    def right(row: Prediction) -> bool:
        return row.verdict.answer == row.pair.label

    only_first = sum(right(a) and not right(b) for a, b in zip(run, other, strict=True))
    only_second = sum(right(b) and not right(a) for a, b in zip(run, other, strict=True))
    unequal = only_first + only_second
    tail = sum(math.comb(unequal, k) for k in range(min(only_first, only_second) + 1)) / 2**unequal
    assert result.p_value == pytest.approx(min(1, 2 * tail))
    assert (result.only_first_right, result.only_second_right) == (only_first, only_second)
    assert result.both_right + result.both_wrong == len(run) - unequal
    assert result.agreement == np.mean([a.verdict.answer == b.verdict.answer for a, b in zip(run, other, strict=True)])


@given(runs(), st.randoms(use_true_random=False))
def test_differences(run: list[Prediction], rng: random.Random) -> None:
    other = [answering(row, rng.choice(["yes", "no"])) for row in run]
    rng.shuffle(other)
    there, back = compare_predictions(run, other, resamples=10), compare_predictions(other, run, resamples=10)
    assert there.p_value == back.p_value
    for what in ("pooled", "mean_over_classes"):
        one, two = (values(getattr(compute_metrics(rows, resamples=0), what)) for rows in (run, other))
        for name in NAMES:
            figure, opposite = (getattr(getattr(result, what), name) for result in (there, back))
            if one[name] is None or two[name] is None:
                assert figure == Estimate(value=None)
            else:
                assert figure.value == pytest.approx(one[name] - two[name])  # type: ignore[operator]
                assert opposite.value == -figure.value
                if figure.interval:
                    assert opposite.interval == pytest.approx((-figure.interval[1], -figure.interval[0]))


def test_a_run_equals_itself() -> None:
    run = noisy_run(40, seed=3)
    result = compare_predictions(run, run[::-1], resamples=50)
    assert (result.p_value, result.agreement, result.only_first_right, result.only_second_right) == (1, 1, 0, 0)
    assert set(values(result.pooled).values()) == {0}


def test_pairing_narrows_the_interval() -> None:
    """Runs that part in few answers: the difference is known far better than either accuracy."""
    run = noisy_run(200, seed=5)
    other = [answering(row, "yes") if i % 20 == 0 else row for i, row in enumerate(run)]
    low, high = compare_predictions(run, other, resamples=500).pooled.accuracy.interval or (0, 1)
    alone = compute_metrics(run, resamples=500).pooled.accuracy.interval or (0, 0)
    assert 0 < high - low < 0.6 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda rows: rows[:2], r": c\.png only in the first run$"),
        (lambda rows: rows[1:], r": a\.png only in the first run$"),
        (lambda rows: [*rows, prediction("aa.png", True, "no")], r": aa\.png only in the second run$"),
        (lambda rows: [*rows, prediction("d.png", True, "no")], r": d\.png only in the second run$"),
        (
            lambda rows: [rows[0], prediction("b.png", True, "no", references=("s.png",)), rows[2]],
            r": b\.png has references r\.png in the first run, s\.png in the second",
        ),
        (
            lambda rows: [rows[0], rows[1], prediction("c.png", False, "no", kind="logical")],
            r": c\.png has label yes in the first run, no in the second",
        ),
        (
            lambda rows: [rows[0], rows[1], prediction("c.png", True, "no", kind="structural")],
            r": c\.png has kind logical in the first run, structural in the second",
        ),
    ],
)
def test_runs_on_other_pairs_are_refused(changed: Any, message: str) -> None:
    rows = [prediction(name, True, "yes") for name in ("a.png", "b.png", "c.png")]
    with pytest.raises(InputError, match=message):
        compare_predictions(rows, changed(rows), resamples=0)


def test_all_references_are_said_where_only_the_last_one_differs() -> None:
    """Both ended with `and 1 more`, the same words twice."""
    one, other = ([prediction("a.png", True, "yes", references=(*"rst", last))] for last in "uv")
    with pytest.raises(InputError, match="references r, s, t, u in the first run, r, s, t, v in the second"):
        compare_predictions(one, other, resamples=0)


def test_all_pairs_that_differ_are_said_up_to_five() -> None:
    first = [prediction(f"{i}.png", True, "yes") for i in range(9)]
    second = [prediction(f"{i}.png", True, "yes") for i in range(6, 10)]
    with pytest.raises(InputError) as caught:
        compare_predictions(first, second)
    names = "; ".join(f"{i}.png only in the first run" for i in range(5))
    assert str(caught.value) == f"compare runs on the same pairs: {names} and 2 more"
    twice = [prediction("0.png", True, "yes", references=("s.png",)), prediction("0.png", True, "yes")]
    with pytest.raises(InputError, match=r"same pairs: 0\.png only in the second run$"):
        compare_predictions(twice[:1], twice)
