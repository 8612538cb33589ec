"""A second look: a query near the limit is shown again, as crops of what differs, to a vision-language judge.

    second = SecondLook(load_judge("micro"))
    judged = second.look(judged, limit=0.5)          # the same, unless its score is near the limit
    judged.verdict.second_look                       # who was asked, what it answered, whether that decides

Each of the strongest boxes is cut out of the query, with what lies around it, and the same place out of each reference,
brought into register. The judge gets reference crops and query crop as it gets any pair. Both verdicts stand in the
record. The second answer decides; if none of its answers is valid, the first verdict stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from lad_reasoner.answers import Answer
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.inspector import notes_of
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges.evidence.registration import Similarity, half_extent, register, sample
from lad_reasoner.records import Box, Outcome, SecondOpinion
from lad_reasoner.runner import Judged

WITHIN = 2.0  # factor of the odds of the score: so near the limit a second judge is asked
MOST_PLACES = 3  # the strongest boxes
AROUND = 0.5  # of a box's size, shown on each side of it
LEAST_SIDE = 96  # pixels of a crop: less shows no context
REGISTERED_SIDE = 256  # pixels: what registration needs


class SecondLook:
    """Asks `judge` about queries whose odds are within this factor of the limit's, or that lie in the unsure zone."""

    def __init__(self, judge: Judge, within: float = WITHIN) -> None:
        if not within >= 1:
            raise InputError(f"within is {within:g}; give a factor of 1 or more")
        self.judge, self.within = judge, within

    def notes(self, references: tuple[Picture, ...]) -> tuple[str, ...]:
        """What a reader should know of the second judge."""
        return tuple(f"second look by {self.judge.name}: {note}" for note in notes_of(self.judge, references))

    def is_near(self, score: float, limit: float, unsure_from: float | None = None) -> bool:
        """Whether a second judge is asked."""
        if unsure_from is not None and unsure_from < score <= limit:
            return True
        return abs(_log_odds(score) - _log_odds(limit)) <= math.log(self.within)

    def look(self, judged: Judged, *, limit: float, unsure_from: float | None = None) -> Judged:
        """The verdict after a second look; the same if the score is not near the limit, or there is no answer."""
        verdict, pair = judged.verdict, judged.pair
        if verdict.answer == "invalid" or not self.is_near(verdict.score, limit, unsure_from):
            return judged
        pairs = cut_places(pair, verdict.boxes)
        opinion = self._ask(pairs, verdict.score, limit)
        answer: Answer = verdict.answer
        anomalous = verdict.anomalous
        outcome: Outcome | None = verdict.outcome
        headline = verdict.headline
        if opinion.decides:
            answer, anomalous = opinion.answer, opinion.answer == "yes"
            outcome = outcome and ("anomalous" if anomalous else "good")
            if (answer, outcome) != (verdict.answer, verdict.outcome):
                headline = f"{'Anomalous' if anomalous else 'Good'} at a second look, by {self.judge.name}."
        reasoning = f"{verdict.reasoning} {opinion.statement}".strip()
        changed = {
            "answer": answer,
            "anomalous": anomalous,
            "outcome": outcome,
            "headline": headline,
            "reasoning": reasoning,
            "second_look": opinion,
        }
        judgement = replace(judged.judgement, answer=answer, headline=headline, reasoning=reasoning)
        return Judged(verdict.model_copy(update=changed), pair, judgement)

    def _ask(self, pairs: Sequence[PicturePair], score: float, limit: float) -> SecondOpinion:
        problem = ""
        try:
            judgements = self.judge.judge(pairs)
        except InputError as error:  # of this query alone: a service that rejects its pictures
            judgements, problem = [Judgement("invalid")], f" ({error})"
        valid = [judgement for judgement in judgements if judgement.answer != "invalid"]
        worst = max(valid, key=_anomaly, default=judgements[0])
        places = f"{len(pairs)} place{'' if len(pairs) == 1 else 's'}"
        near = f"the first score, {score:.4f}, is near the limit of {limit:.4f}"
        if valid:
            scored = "" if worst.score is None else f" ({worst.score:.4f})"
            statement = (
                f"Second look by {self.judge.name} at {places}: {worst.answer}{scored}. It decides, since {near}."
            )
        else:
            statement = (
                f"Second look by {self.judge.name} at {places}: no valid answer{problem}. The first verdict stands."
            )
        return SecondOpinion(
            model=self.judge.name,
            prompt_version=self.judge.prompt_version,
            places=len(pairs),
            answer=worst.answer,
            score=worst.score,
            reasoning=worst.reasoning,
            decides=bool(valid),
            statement=statement,
        )


def cut_places(pair: PicturePair, boxes: Sequence[Box]) -> list[PicturePair]:
    """A pair of crops for each of the strongest boxes; the whole pictures if there are none."""
    strongest = sorted(boxes, key=lambda box: -box.strength)[:MOST_PLACES]
    if not strongest:
        return [pair]
    moves = [_find_move(reference, pair.query) for reference in pair.references]
    pairs = []
    for box in strongest:
        place = _widen(box, pair.query)
        references = tuple(
            _cut(reference, place, move.inverse) for reference, move in zip(pair.references, moves, strict=True)
        )
        pairs.append(PicturePair(references, _cut(pair.query, place, Similarity()), pair.category))
    return pairs


def _find_move(reference: Picture, query: Picture) -> Similarity:
    """Leads from the reference to the query; both at the query's aspect, in which boxes are given."""
    factor = REGISTERED_SIDE / max(query.image.size)
    width, height = (max(16, round(side * factor)) for side in query.image.size)
    before, now = (picture.image.resize((width, height), Image.Resampling.BOX) for picture in (reference, query))
    return register(before, now)


def _widen(box: Box, query: Picture) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in fractions of the query, with what lies around the box."""
    sides = []
    for start, length, whole, kept in (
        (box.x, box.width, query.width, query.image.width),
        (box.y, box.height, query.height, query.image.height),
    ):
        half = max((0.5 + AROUND) * length / whole, min(1.0, LEAST_SIDE / kept) / 2)
        middle = min(max((start + length / 2) / whole, half), max(half, 1 - half))
        sides.append((max(0.0, middle - half), min(1.0, middle + half)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def _cut(picture: Picture, place: tuple[float, float, float, float], move: Similarity) -> Picture:
    """The place of the query as this picture shows it; `move` leads from the query to the picture."""
    left, top, right, bottom = place
    width, height = picture.image.size
    columns = max(16, round((right - left) * width))
    rows = max(16, round((bottom - top) * height))
    x = left + (right - left) * (np.arange(columns) + 0.5) / columns
    y = top + (bottom - top) * (np.arange(rows) + 0.5) / rows
    fractions = np.stack(np.meshgrid(x, y), -1).astype(np.float32)  # (rows, columns, 2)
    points = move.apply((fractions * 2 - 1) * half_extent(height, width))
    pixels = np.asarray(picture.image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
    made = sample(pixels, points).transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8)
    return Picture(picture.name, Image.fromarray(made), columns, rows)


def _anomaly(judgement: Judgement) -> tuple[bool, float]:
    return judgement.answer == "yes", judgement.score if judgement.score is not None else 0.0


def _log_odds(score: float) -> float:
    score = min(max(score, 1e-9), 1 - 1e-9)
    return math.log(score / (1 - score))
