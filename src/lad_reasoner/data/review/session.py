"""The review of a built data set: the sample that a person sees, the decisions about it, and its pictures.

    review = Review("out", sample=200, seed=0)          # the sample, and the decisions of earlier runs
    review.decide(review.entries[0].id, "accept")       # on disk when this returns
    print(review.summary())

The page is in page.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from lad_reasoner.data.masks import read_mask, read_mask_of
from lad_reasoner.data.review.decisions import (
    ReviewDecision,
    acceptance,
    answer_of,
    append_decision,
    apply,
    read_decisions,
    text_of,
    with_answer,
)
from lad_reasoner.data.sets.built_set import METADATA, Entry, names_outside, read_entries
from lad_reasoner.errors import InputError, RecordError
from lad_reasoner.files.pictures import encode_picture, read_picture
from lad_reasoner.text import printable, shown

OUTLINE = 4  # pixels around the mask
MASK_COLOUR = (255, 0, 200)  # magenta: rare in products
OVERLAY_SIDE = 1024  # pixels


def read_reviewable(folder: Path) -> list[Entry]:
    """The records of a built set.

    InputError if there are none or two have the same id, RecordError (file, line) for a record that cannot be shown.
    """
    path = folder / METADATA
    entries = read_entries(folder)
    if not entries:
        raise InputError(f"{printable(path)}: no records; build the data set again")
    ids: set[str] = set()
    for line, entry in enumerate(entries, 1):
        outside = names_outside(entry, folder)
        problem = f"{printable(outside[0])} leads out of the set" if outside else _find_problem(entry)
        if problem:
            raise RecordError(f"{printable(path)}:{line}: {problem}")
        if entry.id in ids:
            raise InputError(f"{printable(path)}: two records have the id {entry.id!r}; build the data set again")
        ids.add(entry.id)
    return entries


def _find_problem(entry: Entry) -> str | None:
    """Why a record cannot be shown; None if it can."""
    if not entry.id:
        return "id: must not be empty"
    if not 0 <= entry.query < len(entry.images_file_names):
        return f"query: there is no picture {entry.query} among the record's {len(entry.images_file_names)}"
    try:
        complete = question_of(entry) and built_answer(entry)
    except (KeyError, TypeError) as error:
        return f"messages: {error!r} where a role and a text should be"
    return None if complete else "messages: the user's text or the assistant's answer (of a pair: `label`) is missing"


def question_of(entry: Entry) -> str | None:
    """The text of the last user's turn."""
    return text_of(entry.messages, "user")


def built_answer(entry: Entry) -> str | None:
    """The answer as it was built, before any decision."""
    return answer_of(entry.model_dump())


def draw_sample(strata: Mapping[str, Sequence[str]], count: int, seed: int) -> list[str]:
    """`count` ids (all, if there are fewer), each with the same chance; strata: id -> its stratum.

    Each stratum gives its share, rounded up or down, so that the sample's plain rate is an unbiased estimate: the ids
    are ordered by stratum, shuffled within each, and taken at equal distances from a random start (systematic sampling;
    Cochran, Sampling Techniques, chapter 8). The result is shuffled, so that its beginning is a sample too. It depends
    only on ids, strata, count and seed, not on the order of the records.
    """
    chance = {name: _chance(seed, name) for name in strata}
    laid_out = sorted(strata, key=lambda name: (tuple(strata[name]), chance[name], name))
    count = min(count, len(strata))
    start = Fraction(_chance(seed, ""), 2**64)
    taken = [laid_out[int((start + at) * len(strata) / count)] for at in range(count)]
    return sorted(taken, key=lambda name: (_chance(seed, f"order {name}"), name))


def _chance(seed: int, name: str) -> int:
    """A number below 2**64, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "big")


class Review:
    """A sample by class and label, its decisions and its pictures. Safe to use from several threads.

    InputError if the folder holds no data set.
    """

    def __init__(self, folder: str | Path, *, sample: int, seed: int = 0) -> None:
        self.folder = Path(folder)
        entries = {entry.id: entry for entry in read_reviewable(self.folder)}
        strata = {name: [e.dataset, e.category, e.label] for name, e in entries.items()}
        self.entries = [entries[name] for name in draw_sample(strata, sample, seed)]
        self.numbers = {entry.id: number for number, entry in enumerate(self.entries)}
        self.total = len(entries)
        decisions = read_decisions(self.folder)  # also of records outside of this sample
        self.decisions = {name: decision for name, decision in decisions.items() if name in self.numbers}
        self.lock = threading.Lock()
        self.picture = lru_cache(maxsize=16)(self._picture)  # the page asks for the size, the browser for the rest
        self.overlay = lru_cache(maxsize=4)(self._overlay)

    def decide(self, name: str, word: str, answer: str = "") -> None:
        """Append a decision; an edit that changes nothing accepts. InputError if the decision is not possible."""
        if name not in self.numbers:
            raise InputError("this record is not in the sample; reload the page")
        entry = self.entries[self.numbers[name]]
        if word == "edit":
            answer = answer.replace("\r\n", "\n").strip()
            if not answer:
                raise InputError("an edited answer must not be empty; reject the record instead")
            if shown(answer, lines=True) != answer:
                raise InputError("an edited answer holds a control character; remove it")
            with_answer(entry.model_dump(), answer)  # raises InputError if it does not fit
            if answer == (built_answer(entry) or "").strip():
                word = "accept"
        elif word not in ("accept", "reject"):
            raise InputError("a decision is accept, reject or edit")
        self._append(
            ReviewDecision.model_validate({"id": name, "decision": word, "answer": answer if word == "edit" else None})
        )

    def undo(self) -> int | None:
        """Take back the last decision; returns the record's number, None if nothing is decided."""
        with self.lock:
            last = next(reversed(self.decisions), None)
        if last is None:
            return None
        self._append(ReviewDecision(id=last, decision="undo"))
        return self.numbers[last]

    def _append(self, decision: ReviewDecision) -> None:
        with self.lock:
            append_decision(self.folder, decision)
            apply(self.decisions, decision)

    def next_open(self, after: int = -1) -> int | None:
        """The number of the next undecided record; after the last record, from the start. None if all are decided."""
        numbers = range(len(self.entries))
        order = [*numbers[after + 1 :], *numbers[: after + 1]]
        return next((number for number in order if self.entries[number].id not in self.decisions), None)

    @property
    def counts(self) -> dict[str, int]:
        with self.lock:
            words = [decision.decision for decision in self.decisions.values()]
        return {"accepted": words.count("accept"), "edited": words.count("edit"), "rejected": words.count("reject")}

    def tally(self) -> str:
        """`9 accepted, 0 edited, 1 rejected`."""
        return ", ".join(f"{number} {name}" for name, number in self.counts.items())

    def rate(self) -> str:
        """The acceptance rate with its interval, as a sentence."""
        with self.lock:
            share = acceptance(list(self.decisions.values()))
        if share.value is None:
            return "no acceptance rate yet"
        return f"accepted without an edit: {share.percent()} % {share.percent_interval()} (95 % interval, Wilson's)"

    def summary(self) -> str:
        """Two lines: the progress of the review and its result."""
        done, size = sum(self.counts.values()), len(self.entries)
        return f"{done} of {size} decided, a sample of {self.total} records: {self.tally()}\n{self.rate()}"

    def _picture(self, number: int, at: int) -> tuple[bytes, int, int]:
        """PNG, width and height of a record's picture. ImageError if it cannot be read."""
        picture = read_picture(self._inside(self.entries[number].images_file_names[at])).image
        return encode_picture(picture, compress_level=1), picture.width, picture.height

    def _overlay(self, number: int) -> bytes | None:
        """A transparent PNG of the query's shape with its masks; None if it has none. ImageError as above."""
        entry = self.entries[number]
        if not entry.masks:
            return None
        picture = self._inside(entry.images_file_names[entry.query])
        masks = [self._inside(name) for name in entry.masks]
        mask = read_mask_of(picture, masks)
        if mask is None:  # the reviewer sees whether it lies where it should
            mask = read_mask(masks)
        _, width, height = self.picture(number, entry.query)
        scale = OVERLAY_SIDE / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # A single pixel of the mask must survive the scaling, so the mask is widened by the scale first.
        step = max(1, max(mask.shape) // OVERLAY_SIDE)
        wide = ndimage.maximum_filter(mask, size=step) if step > 1 else mask
        inside = np.asarray(Image.fromarray(wide).resize(size, Image.Resampling.NEAREST))
        outline = ndimage.binary_dilation(inside, iterations=OUTLINE) & ~inside
        rgba = np.zeros((*inside.shape, 4), np.uint8)
        rgba[inside] = (*MASK_COLOUR, 50)
        rgba[outline] = (*MASK_COLOUR, 255)
        return encode_picture(Image.fromarray(rgba), compress_level=1)

    def _inside(self, name: str) -> Path:
        """A file of the data set. InputError if metadata.jsonl or a link leads outside of the folder."""
        root = self.folder.resolve()
        try:
            path = (root / name).resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, a NUL byte
            raise InputError(f"{printable(name)}: no such file; build the data set again") from None
        if not path.is_relative_to(root):
            raise InputError(f"{printable(name)}: lies outside of {printable(self.folder)}; build the data set again")
        return path
