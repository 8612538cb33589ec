"""Judges that every other judge has to beat.

    always-yes  always-no  random        answers without a look at the pictures
    pixel-difference                     mean absolute difference of the pictures at a small size
    colour-histogram                     difference of their colours, regardless of place

With several references, pixel difference and colour histogram use the most similar one. Their limit is the median
difference of two good pictures of MiniLOCO's training products, so their verdicts mean little; their ranking by score
is the baseline. The paper has no such rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.judge import Judgement, PicturePair

# Medians over 144 pairs of good pictures, 16 of each training product.
PIXEL_LIMIT = 28.5  # grey values
COLOUR_LIMIT = 0.75  # 0 to 2
SMALL = 96  # pixels of the long side for the pixel difference


class ScoreJudge:
    """A judge made of a function that scores one pair; it answers yes from 0.5 on."""

    prompt_version = "none"
    batch_size = 1
    notes: tuple[str, ...] = ()
    parameters: int | None = None

    def __init__(self, name: str, score: Callable[[PicturePair], float], *, looks_at_pictures: bool = True) -> None:
        self.name, self.score, self.looks_at_pictures = name, score, looks_at_pictures

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Score pair after pair."""
        scores = [self.score(pair) for pair in pairs]
        return [Judgement("yes" if score >= 0.5 else "no", score) for score in scores]


def always_yes() -> ScoreJudge:
    """Calls every query anomalous: its answer is always yes."""
    return ScoreJudge("always-yes", partial(_fixed, 1.0), looks_at_pictures=False)


def always_no() -> ScoreJudge:
    """Calls every query good: its answer is always no."""
    return ScoreJudge("always-no", partial(_fixed, 0.0), looks_at_pictures=False)


def answer_at_random(seed: int = 0) -> ScoreJudge:
    """A random score, drawn from the seed and the query's name."""
    return ScoreJudge("random", partial(_draw, seed), looks_at_pictures=False)


def compare_pixels() -> ScoreJudge:
    """Mean pixel difference from the most similar reference, at a small size."""
    return ScoreJudge("pixel-difference", partial(_score, pixel_difference, PIXEL_LIMIT))


def compare_colours() -> ScoreJudge:
    """Difference of the colour histograms from the most similar reference."""
    return ScoreJudge("colour-histogram", partial(_score, colour_difference, COLOUR_LIMIT))


def pixel_difference(reference: Image.Image, query: Image.Image) -> float:
    """Mean absolute difference in grey values (0 to 255) of the two pictures, resized to one small size."""
    scale = SMALL / max(query.size)
    width, height = (max(1, round(side * scale)) for side in query.size)
    small = [np.asarray(image.convert("RGB").resize((width, height)), np.float64) for image in (reference, query)]
    return float(np.abs(small[0] - small[1]).mean())


def colour_difference(reference: Image.Image, query: Image.Image) -> float:
    """Sum of absolute differences (0 to 2) of the two colour histograms, eight steps a channel."""
    return float(np.abs(_histogram(reference) - _histogram(query)).sum())


def _histogram(image: Image.Image) -> NDArray[np.float64]:
    steps = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(np.int64) // 32
    red, green, blue = steps.T
    return np.bincount((red * 8 + green) * 8 + blue, minlength=512) / len(steps)


def _fixed(score: float, _: PicturePair) -> float:
    return score


def _draw(seed: int, pair: PicturePair) -> float:
    return random.Random(f"{seed}/{pair.query.name}").random()


def _score(difference: Callable[[Image.Image, Image.Image], float], limit: float, pair: PicturePair) -> float:
    """In [0, 1), 0.5 at the limit."""
    least = min(difference(reference.image, pair.query.image) for reference in pair.references)
    return least / (least + limit)
