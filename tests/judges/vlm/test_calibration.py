"""The temperature of scores: what is fitted, and that it makes scores true."""

from __future__ import annotations

import numpy as np
import pytest

from lad_reasoner.judges.vlm.calibration import calibration_error, fit_temperature
from lad_reasoner.judges.vlm.decoding import soften


def answers(temperature: float, number: int = 4000) -> tuple[list[float], list[str]]:
    """Scores of a model whose logits are `temperature` times too large, and labels drawn by the true ones."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, number)
    labels = np.where(rng.random(number) < 1 / (1 + np.exp(-logits)), "yes", "no")
    return (1 / (1 + np.exp(-temperature * logits))).tolist(), labels.tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    scores, labels = answers(temperature)
    fitted = fit_temperature(scores, labels)
    assert fitted == pytest.approx(temperature, rel=0.08)
    softened = [soften(score, fitted) for score in scores]
    assert calibration_error(softened, labels) < 0.025
    if temperature == 3:
        assert calibration_error(scores, labels) > 0.05
    assert np.array_equal(np.argsort(scores), np.argsort(softened))


def test_a_score_keeps_its_side_and_its_ends() -> None:
    for temperature in (0.2, 1.0, 50.0):
        assert soften(0.5, temperature) == 0.5
        assert (soften(0.0, temperature), soften(1.0, temperature)) == (0, 1)
        assert soften(0.4999, temperature) < 0.5 < soften(0.5001, temperature)
    assert soften(0.8, 1e9) == pytest.approx(0.5)


def test_certain_and_wrong_answers_have_a_finite_temperature() -> None:
    assert 1 < fit_temperature([1.0, 1.0, 0.0, 0.0], ["yes", "no", "no", "yes"]) <= 100
    with pytest.raises(ValueError, match="both labels"):
        fit_temperature([0.3, 0.4], ["yes", "yes"])


def test_the_calibration_error_by_hand() -> None:
    assert calibration_error([0.9, 0.9, 0.1, 0.1], ["yes", "no", "no", "no"], bins=2) == pytest.approx(0.25)
