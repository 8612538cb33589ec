"""The paper's Table 1 to the digit, from the only integer confusion matrices that fit its cells."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from helpers.paper import MEAN_ROWS, POOLED_ROWS
from helpers.runs import from_matrix
from lad_reasoner.evaluation.metrics import Confusion, compute_metrics
from lad_reasoner.records import Prediction

DATA = Path(os.environ.get("LAD_DATA", Path(__file__).parents[3] / "shared/data"))
# MVTec LOCO AD's test split without structural anomalies: class -> good, logical.
SIZES = {"JB": (94, 142), "BB": (102, 83), "SB": (122, 137), "SC": (119, 108), "PP": (138, 91)}


def paper_rows() -> dict[str, dict[str, tuple[str, str]]]:
    """Model -> class -> accuracy and F1 as printed, with one decimal."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    with (DATA / "paper_table1.csv").open() as file:
        for line in csv.DictReader(file):
            printed = f"{float(line['accuracy']):.1f}", f"{float(line['f1']):.1f}"
            rows.setdefault(line["model"], {})[line["class"]] = printed
    return rows


def matrices(good: int, anomalous: int, accuracy: str, f1: str) -> list[tuple[int, int, int, int]]:
    """Every integer confusion matrix (tp, fn, fp, tn) of these class sizes that rounds to the two printed numbers."""
    tp, fp = np.mgrid[: anomalous + 1, : good + 1]
    exact_accuracy = 100 * (tp + good - fp) / (good + anomalous)
    exact_f1 = 200 * tp / (tp + fp + anomalous)
    half = 0.05 + 1e-9
    fits = (abs(exact_accuracy - float(accuracy)) <= half) & (abs(exact_f1 - float(f1)) <= half)
    return [(int(t), anomalous - int(t), int(f), good - int(f)) for t, f in np.argwhere(fits)]


@pytest.mark.skipif(
    not (DATA / "paper_table1.csv").is_file(), reason=f"no paper_table1.csv in {DATA}; set LAD_DATA to its folder"
)
@pytest.mark.parametrize("model", MEAN_ROWS + POOLED_ROWS)
def test_table_1_to_the_digit(model: str) -> None:
    printed = paper_rows()[model]
    run: list[Prediction] = []
    for name, (good, anomalous) in SIZES.items():
        (matrix,) = matrices(good, anomalous, *printed[name])
        run += from_matrix(name, *matrix)
    assert len(run) == 1136
    result = compute_metrics(run, resamples=0)
    assert set(printed) == {"Overall", *result.by_class}
    for name, figures in result.by_class.items():
        assert (figures.accuracy.percent(), figures.f1.percent()) == printed[name]
    pooled, mean = (
        (figures.accuracy.percent(), figures.f1.percent()) for figures in (result.pooled, result.mean_over_classes)
    )
    assert pooled != mean
    assert printed["Overall"] == (mean if model in MEAN_ROWS else pooled)
    assert result.by_kind["logical"].pooled == result.pooled


def test_always_yes_on_the_papers_images() -> None:
    run = [row for name, (good, bad) in SIZES.items() for row in from_matrix(name, bad, 0, good, 0)]
    result = compute_metrics(run, resamples=200).pooled
    assert result.confusion == Confusion(tp=561, fn=0, fp=575, tn=0, invalid=0)
    assert (result.accuracy.percent(), result.f1.percent()) == ("49.4", "66.1")
    assert (result.tpr.value, result.tnr.value, result.balanced_accuracy.value) == (1, 0, 0.5)
    assert (result.mcc.value, result.auroc.value) == (0, 0.5)
    assert result.f1_max_on_test_labels == result.f1
    assert result.tpr.interval is None, "what never varies has no interval"
