"""Predictors: what `eval` can put a number on. Judges, and the baselines that every judge has to beat.

A predictor has a `name`, a `prompt_version`, a `batch_size`, `notes` (as a judge has them, see judge.py) and
`predict(pairs)`, which gives an `Opinion` for each pair: an answer and, where it can, a score. It gives a pair the same
opinion alone and among others, today and tomorrow.

    always-yes  always-no  random        what no look at the pictures is worth
    pixel-difference                     mean absolute difference of the pictures, made small
    colour-histogram                     difference of their colours, wherever these are
    evidence                             the built-in judge; `evidence:NAME` with the vision tower of another model
    april-gan  april-gan-zero            CLIP and words, with references and without (april_gan.py)

With several references, pixel difference and colour histogram take the most similar one. Their limit is the median
difference of two good pictures of MiniLOCO's training products, so that their verdicts mean little; of interest is the
ranking by their score. The paper has none of these rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.answers import Answer, parse_response
from lad_reasoner.errors import InputError
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.records import Box

# Medians over 144 pairs of good pictures, 16 of each training product.
PIXEL_LIMIT = 28.5  # grey values
COLOUR_LIMIT = 0.75  # 0 to 2
SMALL = 96  # pixels of the long side for the pixel difference


@dataclass(frozen=True)
class Opinion:
    """What a predictor says about a pair; `score` is None where it only answers. See `records.Verdict`."""

    answer: Answer
    score: float | None
    reasoning: str = ""
    response: str = ""
    boxes: tuple[Box, ...] = ()
    boxes_from: str = ""
    tokens: int = 0


class Predictor(Protocol):
    """See the module's docstring."""

    name: str
    prompt_version: str
    batch_size: int
    notes: tuple[str, ...]

    def predict(self, pairs: Sequence[PicturePair]) -> list[Opinion]: ...


class JudgePredictor:
    """A judge as a predictor: its responses go through the one parser."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.name, self.prompt_version = judge, judge.name, judge.prompt_version
        self.batch_size, self.notes = judge.batch_size, judge.notes
        self.parameters: int | None = getattr(judge, "parameters", None)

    def predict(self, pairs: Sequence[PicturePair]) -> list[Opinion]:
        """The judge's opinions, in the order of the pairs."""
        opinions = []
        for judgement in self.judge.judge_pairs(pairs):
            said = parse_response(judgement.response)
            opinions.append(
                Opinion(
                    answer=said.answer,
                    score=judgement.score if judgement.scored else None,
                    reasoning=said.reasoning,
                    response=judgement.response,
                    boxes=judgement.boxes,
                    boxes_from=judgement.boxes_from,
                    tokens=judgement.tokens,
                )
            )
        return opinions


class ScorePredictor:
    """A function of one pair that gives a score, as a predictor; it answers yes from 0.5 on."""

    prompt_version = "none"
    batch_size = 1
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, score: Callable[[PicturePair], float]) -> None:
        self.name, self.score = name, score

    def predict(self, pairs: Sequence[PicturePair]) -> list[Opinion]:
        """Score pair after pair."""
        scores = [self.score(pair) for pair in pairs]
        return [Opinion("yes" if score >= 0.5 else "no", score) for score in scores]


def load_baseline(name: str, *, seed: int = 0, clip: str | None = None, layers: str | Path | None = None) -> Predictor:
    """The baseline of this name, one of `BASELINES` or `evidence:` and a model's folder or hub name.

    `seed` is for `random`, `clip` (folder or hub name) and `layers` (file) are for APRIL-GAN. InputError for another
    name, and for what APRIL-GAN lacks.
    """
    if name.partition(":")[0] == "evidence":
        from lad_reasoner.judges.evidence.judge import Evidence

        return JudgePredictor(Evidence(name.partition(":")[2] or None))
    if name in ("april-gan", "april-gan-zero"):
        if clip is None:
            raise InputError(f"{name}: give CLIP's folder or hub name with --clip")
        if (name == "april-gan") != (layers is not None):
            raise InputError(
                "april-gan needs its authors' linear layers, --layers FILE; april-gan-zero has no use for them"
            )
        from lad_reasoner.judges.april_gan import AprilGan

        return AprilGan(clip, layers)
    scores: dict[str, Callable[[PicturePair], float]] = {
        "always-yes": lambda _: 1.0,
        "always-no": lambda _: 0.0,
        "random": lambda pair: random.Random(f"{seed}/{pair.query.name}").random(),
        "pixel-difference": lambda pair: _score(pixel_difference, pair, PIXEL_LIMIT),
        "colour-histogram": lambda pair: _score(colour_difference, pair, COLOUR_LIMIT),
    }
    if name not in scores:
        raise InputError(f"{name}: no such baseline; give one of {', '.join(BASELINES)}")
    return ScorePredictor(name, scores[name])


BASELINES = (
    *("always-yes", "always-no", "random", "pixel-difference", "colour-histogram", "evidence"),
    *("april-gan", "april-gan-zero"),
)


def pixel_difference(reference: Image.Image, query: Image.Image) -> float:
    """Mean absolute difference in grey values (0 to 255) of the two pictures, brought to one small size."""
    scale = SMALL / max(query.size)
    width, height = (max(1, round(side * scale)) for side in query.size)
    small = [np.asarray(image.convert("RGB").resize((width, height)), np.float64) for image in (reference, query)]
    return float(np.abs(small[0] - small[1]).mean())


def colour_difference(reference: Image.Image, query: Image.Image) -> float:
    """Sum of absolute differences (0 to 2) of the two colour histograms, eight steps a channel."""
    return float(np.abs(_histogram(reference) - _histogram(query)).sum())


def _histogram(image: Image.Image) -> NDArray[np.float64]:
    bins = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(np.int64) // 32
    return np.bincount((bins[:, 0] * 8 + bins[:, 1]) * 8 + bins[:, 2], minlength=512) / len(bins)


def _score(difference: Callable[[Image.Image, Image.Image], float], pair: PicturePair, limit: float) -> float:
    """In [0, 1), 0.5 at the limit."""
    least = min(difference(reference.image, pair.query.image) for reference in pair.references)
    return least / (least + limit)
