"""How sure a model may sound: one temperature for the logit of its answer, fitted on answers whose labels are known.

    temperature = fit_temperature([0.999, 0.98, 0.03], ["yes", "no", "no"])    # above 1: it was too sure
    soften(0.999, temperature)                                                 # nearer to 0.5

A checkpoint keeps it in its config.json as `score_temperature`; `python benchmarks/calibration.py` fits and writes it.
One number for all answers (Guo et al. 2017, "On Calibration of Modern Neural Networks") changes neither an answer nor
the order of scores, since 0.5 stays 0.5; the mean of several votes is softened as a single score is.

Deviation from the paper, which reports answers and no scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logit

LARGEST = 100.0  # beyond, all scores are 0.5


def fit_temperature(scores: Sequence[float], labels: Sequence[str]) -> float:
    """The temperature, between 1 / `LARGEST` and `LARGEST`, with the least mean log loss on these answers.

    `labels` are yes or no. ValueError for one label alone, which no temperature fits.
    """
    if len(set(labels)) != 2:
        raise ValueError("answers of both labels are needed")
    # A score of exactly 0 or 1 has no logit, and no temperature would save one that is wrong.
    logits = logit(np.clip(np.asarray(scores, float), 1e-9, 1 - 1e-9))
    signed = np.where(np.asarray(labels) == "yes", logits, -logits)  # above 0 where the answer is right

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    limit = np.log(LARGEST)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))


def calibration_error(scores: Sequence[float], labels: Sequence[str], *, bins: int = 10) -> float:
    """The mean distance between score and share of yes, over bins with as many answers each (adaptive ECE)."""
    order = np.argsort(scores, kind="stable")
    score, yes = np.asarray(scores, float)[order], (np.asarray(labels) == "yes")[order]
    total = 0.0
    for part in np.array_split(np.arange(len(score)), bins):
        if len(part):
            total += len(part) * abs(score[part].mean() - yes[part].mean())
    return float(total / len(score))
