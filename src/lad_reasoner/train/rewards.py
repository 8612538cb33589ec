"""Rewards as plain functions with TRL's signature: structure and accuracy of the paper's equation 7, and three of ours.

    structure     the form, by the parser
    accuracy      the answer equals the label
    faithful      the claims of the reasoning, by the facts of both pictures (MiniLOCO)
    places        the places or boxes that it names, by the mask of the query
    consistent    the answer follows from the reasoning

The last three earn nothing without the form, so that it never pays to leave it, and nothing by saying little or saying
everything: both a missed fact and a false claim cost. What they cannot judge, for want of facts or of a mask, is None.

All call `parse_response`, as inspection and evaluation do, so training rewards exactly what evaluation measures. The
weights (0.5 and 0.5 in the paper) are TRL's `reward_weights`; the KL penalty of the same equation is in `objective.py`.
Your own reward is a function of the same signature, given by name as `package.module:function`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lad_reasoner.answers import parse_response
from lad_reasoner.data.masks import read_mask_of
from lad_reasoner.dotted import import_dotted, is_dotted
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.claims import ClaimScore, check_reasoning
from lad_reasoner.evaluation.explanations import conclude, leaves_open, read_mentions
from lad_reasoner.miniloco.words import concluded
from lad_reasoner.text import nearest_name, place_words
from lad_reasoner.word_lists import normalise, sentences

# TRL's completion: a text, or for chat prompts a conversation whose last turn is the response.
TrlCompletion = str | Sequence[dict[str, Any]]


def structure_reward(completions: Sequence[TrlCompletion], **_: Any) -> list[float]:
    """1 for each response that follows the grammar, else 0 (R_struct)."""
    return [float(parse_response(response_text(completion)).structured) for completion in completions]


def accuracy_reward(completions: Sequence[TrlCompletion], label: Sequence[str], **_: Any) -> list[float]:
    """1 for each response whose answer equals the label, else 0 (R_acc); an invalid answer equals no label.

    `label` holds `yes` or `no` for each completion; ValueError for another word, since every answer would be wrong.
    """
    unknown = sorted({str(word) for word in label} - {"yes", "no"})
    if unknown:
        raise ValueError(f"label {unknown[0]!r}: must be yes or no")
    return [
        float(parse_response(response_text(completion)).answer == word)
        for completion, word in zip(completions, label, strict=True)
    ]


def faithful_reward(
    completions: Sequence[TrlCompletion], facts: Sequence[Sequence[str]], query: Sequence[int], **_: Any
) -> list[float | None]:
    """How well the claims of each reasoning agree with the facts of its pictures, in [0, 1]; None without facts.

    `facts` holds for each completion the facts of its pictures as JSON, `query` the index of the one that is judged.
    With T facts truly told of F and W wrong claims it is 2 T / (2 T + W + (F - T)), the harmonic mean of precision and
    recall. True claims that tell no fact, such as those about parts that are not there, neither help nor harm.
    """
    rewards: list[float | None] = []
    for completion, texts, at in zip(completions, facts, query, strict=True):
        if not all(texts) or not texts:
            rewards.append(None)
            continue
        reasoning = parse_response(response_text(completion)).reasoning
        pictures = [json.loads(text) for text in texts]
        judged = pictures.pop(at)
        scores = check_reasoning(reasoning, pictures, judged) if reasoning else {}
        score = sum(scores.values(), ClaimScore())
        wrong, missed = score.claims - score.true, score.facts - score.told
        rewards.append(_harmonic(score.told, wrong, missed))
    return rewards


def places_reward(
    completions: Sequence[TrlCompletion],
    masks: Sequence[Sequence[str]],
    images: Sequence[Sequence[Any]],
    query: Sequence[int],
    query_file: Sequence[str] | None = None,
    **_: Any,
) -> list[float | None]:
    """How well the places of each reasoning agree with the mask of its query, in [0, 1]; None without a mask.

    `query_file` holds the file of each query: a mask is turned as that is by its orientation tag, and one that does not
    fit it says no place (`read_mask_of`). Without it masks are taken as they are.
    Boxes are `[left, top, right, bottom]` in pixels of the query; their area is compared with that of the boxes around
    the mask's regions. Without boxes the nine places count (`upper left` … `lower right`) in sentences that name a
    change, against the places that the mask touches. Both by the harmonic mean of precision and recall, above what
    naming everything would earn: all nine places, or a box around the whole picture, are worth nothing.
    """
    rewards: list[float | None] = []
    names = query_file or [""] * len(completions)
    for completion, files, pictures, at, name in zip(completions, masks, images, query, names, strict=True):
        mask = read_mask_of(name, files) if files else None
        if mask is None:
            rewards.append(None)
            continue
        reasoning = parse_response(response_text(completion)).reasoning
        boxes = [tuple(map(float, match.groups())) for match in _BOX.finditer(reasoning)]
        if boxes:
            rewards.append(_compare_boxes(mask, boxes, pictures[at].size))
        else:
            named, touched = _named_places(reasoning), touched_places(mask)
            value = _harmonic(len(named & touched), len(named - touched), len(touched - named))
            rewards.append(_above(value, _harmonic(len(touched), 9 - len(touched), 0)))
    return rewards


def consistent_reward(completions: Sequence[TrlCompletion], **_: Any) -> list[float]:
    """1 for each response whose answer is the one that its reasoning concludes; 0 if it concludes another or none.

    A difference that is only named (`It differs in label.`) is one that the rule may allow: `no` follows from it, and
    who says `yes` must say what is wrong. In the form of MiniLOCO's lessons every other sentence after the list is a
    fault, also one that no list of words knows (`concluded`).
    """
    rewards = []
    for completion in completions:
        response = parse_response(response_text(completion))
        conclusion = concluded(response.reasoning) or conclude(response.reasoning)
        if conclusion is None and leaves_open(response.reasoning):
            conclusion = "no"
        rewards.append(float(response.structured and conclusion == response.answer))
    return rewards


_NUMBER = r"\s*(\d{1,5}(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
_PLACE = re.compile(
    r"\b(?:(?P<row>upper|top|middle|lower|bottom)[ -](?P<column>left|middle|centre|right)|(?P<centre>centre|center))\b"
)
_ROWS = {"top": "upper", "bottom": "lower"}
LEAST = 0.1  # share of the anomalous area that makes a place one of the mask's


def _harmonic(right: float, wrong: float, missed: float) -> float:
    """The harmonic mean of precision and recall; 0 where nothing is right."""
    return 2 * right / (2 * right + wrong + missed) if right else 0.0


def _above(value: float, everything: float) -> float:
    """How far a value lies on the way from what naming everything earns, which is worth 0, to 1."""
    return max(0.0, (value - everything) / (1 - everything)) if everything < 1 else value


def _named_places(reasoning: str) -> set[str]:
    """The nine places of `text.place_words` in sentences that name a change: a list of all parts names none."""
    places: set[str] = set()
    for sentence in sentences(normalise(reasoning)):
        if not read_mentions(sentence).changes:
            continue
        for match in _PLACE.finditer(sentence):
            row, column = _ROWS.get(match["row"] or "", match["row"]), match["column"]
            central = match["centre"] or (row == "middle" and column in ("middle", "centre"))
            places.add("centre" if central else f"{row} {'middle' if column == 'centre' else column}")
    return places


def touched_places(mask: NDArray[np.bool_]) -> set[str]:
    """Those of the nine places that hold at least `LEAST` of a mask (height, width)."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    x, y = (columns + 0.5) / width, (rows + 0.5) / height
    names = [place_words(*place) for place in zip(x, y, strict=True)]
    found, counts = np.unique(names, return_counts=True)
    return {str(name) for name, count in zip(found, counts, strict=True) if count >= LEAST * len(names)}


def _compare_boxes(mask: NDArray[np.bool_], boxes: Sequence[tuple[float, ...]], size: tuple[int, int]) -> float:
    """Boxes in pixels of a picture of this (width, height) against the boxes around the regions of its mask."""
    height, width = mask.shape
    across, down = width / size[0], height / size[1]  # a mask may be smaller than its picture
    named, true = np.zeros_like(mask), np.zeros_like(mask)
    for left, top, right, bottom in boxes:
        rows = slice(round(top * down), round(bottom * down))
        columns = slice(round(left * across), round(right * across))
        named[rows, columns] = True
    for region in ndimage.find_objects(ndimage.label(mask, structure=np.ones((3, 3)))[0]):
        true[region] = True
    both, only_named, only_true = named & true, named & ~true, true & ~named
    value = _harmonic(int(both.sum()), int(only_named.sum()), int(only_true.sum()))
    whole_picture = _harmonic(int(true.sum()), int((~true).sum()), 0)  # of a box around everything
    return _above(value, whole_picture)


REWARDS: dict[str, Callable[..., Sequence[float | None]]] = {
    "structure": structure_reward,
    "accuracy": accuracy_reward,
    "faithful": faithful_reward,
    "places": places_reward,
    "consistent": consistent_reward,
}
# Reward -> the column that it judges by.
NEEDS = {"faithful": "facts", "places": "masks"}


def load_reward(name: str, about: str = "rewards") -> Callable[..., Any]:
    """The reward of this name in `REWARDS`, or of `package.module:function`; InputError if there is none.

    Its messages begin with `about`: the flag or the line of a file that names the reward.

    The returned function raises InputError, naming the reward and the first record, if yours raises or does not return
    one finite number (or None: does not apply) for each completion. It is asynchronous if yours is: TRL runs all such
    rewards at the same time.
    """
    reward: Callable[..., Any] = REWARDS.get(name) or _import_reward(name, about)

    @wraps(reward)
    def checked(completions: Sequence[TrlCompletion], **columns: Any) -> list[float | None]:
        with _checking(f"{about}: {name}", completions, columns) as values:
            values.extend(reward(completions=completions, **columns))
        return values

    @wraps(reward)
    async def checked_later(completions: Sequence[TrlCompletion], **columns: Any) -> list[float | None]:
        with _checking(f"{about}: {name}", completions, columns) as values:
            values.extend(await reward(completions=completions, **columns))
        return values

    return checked_later if iscoroutinefunction(reward) else checked


@contextmanager
def _checking(reward: str, completions: Sequence[Any], columns: Mapping[str, Any]) -> Iterator[list[float | None]]:
    """A list for what the reward returns, which is checked at the end; see `load_reward`."""
    about = f"{reward}, asked about {(columns.get('id') or ['its records'])[0]} and others"
    values: list[float | None] = []
    try:
        yield values
    except Exception as error:
        raise InputError(f"{about}, raised {type(error).__name__}: {error}; fix it and --resume") from error
    # TRL fails on another length without naming the reward, takes nan for None, and trains on inf.
    if len(values) != len(completions):
        raise InputError(f"{about}, returned {len(values)} values for {len(completions)} completions")
    wrong = [value for value in values if value is not None and not _is_finite(value)]
    if wrong:
        raise InputError(f"{about}, returned {wrong[0]!r}; a reward is a finite number, or None")


def _import_reward(name: str, about: str) -> Callable[..., Any]:
    """The function `package.module:function`; InputError if it cannot be imported or is not a function."""
    if not is_dotted(name):
        near = nearest_name(name, REWARDS)
        hint = f"did you mean {near}?" if near else f"give {', '.join(REWARDS)} or package.module:function"
        raise InputError(f"{about}: {name}: no such reward; {hint}")
    reward: Any = import_dotted(name, f"{about}: ")
    if not callable(reward):
        raise InputError(f"{about}: {name}: not a function")
    return reward  # type: ignore[no-any-return]


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def response_text(completion: TrlCompletion) -> str:
    """The response in a completion: the text of its last turn, or of that turn's parts; empty if there is none."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""
