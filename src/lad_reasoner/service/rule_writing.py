"""Writes the rules of a station: what all of its good pictures agree on.

    sheet = write_rules(good, first)

A rule is written if the same rule, made from all pictures but one, holds on that one. `rules.py` checks them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lad_reasoner.errors import InputError, MissingExtraError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.labels import CONFIDENT, LabelReader, Text
from lad_reasoner.progress import Track, silent
from lad_reasoner.prompts import FORMAT
from lad_reasoner.service.everyday_colours import ColourCells
from lad_reasoner.service.rule_sheet import (
    COLOURS,
    AmountCheck,
    Check,
    CountCheck,
    PlaceCheck,
    QuestionCheck,
    RuleSheet,
    TextCheck,
    TurnCheck,
)
from lad_reasoner.service.rules import RuleChecker, ask, letters_missing
from lad_reasoner.text import printable

logger = logging.getLogger(__name__)

FEWEST = 3  # good pictures: two agree too easily
MOST_READ = 24  # good pictures that rules are written from
LEAST_AMOUNT = 0.005  # of the picture: less of a colour is not counted on
LEAST_AREA, MOST_AREA = 0.004, 0.15  # of the picture: what is a place
MOST_PLACES = 8
MOST_COUNTED = 40
LEAST_COUNTED = 0.0005  # of the picture: smaller areas tell nothing of the typical one
SPECK = 0.3  # of the typical area: smaller ones do not count
LEAST_TURN, MOST_TURN = 10.0, 40.0  # degrees: what a rule allows at least, and at most
MOST_QUESTIONS, MOST_ANSWERED = 8, 8  # questions, and good pictures that each of them is tried on

QUESTIONS = (
    "These are pictures of good parts of one product. Write questions that an inspector asks of each picture to find "
    "a part that is wrong: how many of what there are, which colour, where, joined to what, which text. Each must be "
    "answered with yes for every good part. Write at most {most} questions, one a line, each with a question mark."
)


def write_rules(
    good: Sequence[Picture],
    first: Picture,
    *,
    model: str = "",
    server: str = "",
    track: Track = silent,
) -> RuleSheet:
    """The rules that all `good` pictures agree on, the first reference `first` among them.

    A rule is kept if the same rule, made from all pictures but one, holds on that one, whichever it is. With `model`
    and `server` questions are written, too, and those kept that are answered with yes for each picture. InputError for
    fewer than FEWEST pictures.
    """
    if len(good) < FEWEST:
        raise InputError(f"rules need {FEWEST} good pictures, references and normals together; there are {len(good)}")
    good = list(good)[:MOST_READ]
    checker = RuleChecker(RuleSheet(), first)
    seen, placed, turns, texts = [], [], list[float](), list[tuple[Text, ...]]()
    try:
        reader: LabelReader | None = LabelReader()
    except MissingExtraError as error:
        logger.warning("no rules of texts: %s", error)
        reader = None
    for picture in track(good, len(good), "Looking for rules"):
        seen.append(ColourCells.of(picture.image))
        placed.append(seen[-1].moved(checker.locate(picture), checker.shape))
        turns.append(checker.turn(picture))
        if reader is not None:
            texts.append(reader.read(picture))
    checks: list[Check] = [*_amounts(seen), *_counts(seen), *_places(np.stack(placed), first), *_turns(turns)]
    checks += _texts(texts)
    if model:
        checks += _questions(good, model, server, track)
    return RuleSheet(model=model, server=server, checks=tuple(checks))


def _left_out(values: Sequence[float], rule: Callable[[Sequence[float]], Any]) -> Iterator[tuple[float, Any]]:
    """Each value, and the rule that all others make."""
    for index, value in enumerate(values):
        yield value, rule([*values[:index], *values[index + 1 :]])


def _amounts(seen: Sequence[ColourCells]) -> list[Check]:
    checks: list[Check] = []
    for colour in COLOURS:
        values = [each.amount(colour) for each in seen]
        if np.mean(values) < LEAST_AMOUNT or max(values) - min(values) > np.mean(values):
            continue
        if all(low <= left <= high for left, (low, high) in _left_out(values, _range)):
            low, high = _range(values)
            checks.append(AmountCheck(kind="amount", colour=colour, least=round(low, 4), most=round(high, 4)))  # type: ignore[arg-type]
    return checks


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.5 * (high - low), 0.15 * float(np.mean(values)), 0.002)
    return max(0.0, low - margin), min(1.0, high + margin)


def _counts(seen: Sequence[ColourCells]) -> list[Check]:
    """Counts that are the same in all pictures, also if smaller and if only larger areas count."""
    checks: list[Check] = []
    for colour in COLOURS:
        areas = [each.areas(colour) for each in seen]
        large = np.concatenate([each[each >= LEAST_COUNTED] for each in areas])
        if not len(large):
            continue
        smallest = SPECK * float(np.median(large))
        counts = {int((each >= factor * smallest).sum()) for each in areas for factor in (0.6, 1.0, 1.5)}
        if len(counts) == 1 and 2 <= (number := counts.pop()) <= MOST_COUNTED:
            checks.append(CountCheck(kind="count", colour=colour, number=number, smallest=round(smallest, 6)))  # type: ignore[arg-type]
    return checks


def _places(placed: NDArray[np.uint8], first: Picture) -> list[Check]:
    """Boxes around connected cells that have one colour in all pictures; `placed` is (pictures, rows, columns)."""
    rows, columns = placed.shape[1:]
    agreed = (placed == placed[0]).all(0)
    found: list[tuple[float, Check]] = []
    for index, colour in enumerate(COLOURS):
        labels, _ = ndimage.label(agreed & (placed[0] == index))
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            area = float((labels[box] == number).mean()) * (labels[box].size / labels.size)
            if not LEAST_AREA <= area <= MOST_AREA:
                continue
            inside = placed[:, box[0], box[1]] == index  # (pictures, rows, columns)
            shares = [float(share) for share in inside.mean((1, 2))]
            if min(shares) < 0.5 or not all(left >= least for left, least in _left_out(shares, _least)):
                continue
            x = box[1].start / columns * first.width
            y = box[0].start / rows * first.height
            width = (box[1].stop - box[1].start) / columns * first.width
            height = (box[0].stop - box[0].start) / rows * first.height
            sides = tuple(round(float(side), 1) for side in (x, y, width, height))
            check = PlaceCheck(kind="place", colour=colour, box=sides, least=round(_least(shares), 3))  # type: ignore[arg-type]
            found.append((area, check))
    return [check for _, check in sorted(found, key=lambda pair: -pair[0])[:MOST_PLACES]]


def _least(shares: Sequence[float]) -> float:
    return max(0.0, min(shares) - max(0.5 * (max(shares) - min(shares)), 0.1))


def _turns(turns: Sequence[float]) -> list[Check]:
    """No rule for a product that may lie at any angle, nor for one that looks the same from several sides."""
    sizes = np.abs(turns).tolist()
    most = _most_turn(sizes)
    if most > MOST_TURN or any(left > allowed for left, allowed in _left_out(sizes, _most_turn)):
        return []
    return [TurnCheck(kind="turn", most=round(most, 1))]


def _most_turn(sizes: Sequence[float]) -> float:
    return max(LEAST_TURN, 2 * max(sizes))


def _texts(texts: Sequence[tuple[Text, ...]]) -> list[Check]:
    """The texts of the first picture that all pictures show."""
    if not texts:
        return []
    sure = [text.words for text in texts[0] if text.confidence >= CONFIDENT]
    shown = [words for words in sure if not any(letters_missing(words, others) for others in texts)]
    return [TextCheck(kind="text", words=printable(words)) for words in shown]


def _questions(good: Sequence[Picture], model: str, server: str, track: Track) -> list[Check]:
    from lad_reasoner.judges.hosted import HostedJudge

    judge = HostedJudge(server, model)
    pictures = [picture.image for picture in good[:MOST_ANSWERED]]
    completion = judge.request(pictures[:4], QUESTIONS.format(most=MOST_QUESTIONS))
    lines = [line.strip(" \t-*0123456789.)") for line in completion.text.splitlines()]
    questions = [printable(line) for line in lines if line.endswith("?") and 3 < len(line) <= 300][:MOST_QUESTIONS]
    if not questions:
        logger.warning("%s wrote no question", printable(model))

    def holds(question: str) -> bool:
        return all(ask(judge, [image], f"{question} {FORMAT}").answer == "yes" for image in pictures)

    asked = track(questions, len(questions), "Asking")
    return [QuestionCheck(kind="question", question=question) for question in asked if holds(question)]
