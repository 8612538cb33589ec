"""Words of lists found in free text: the lists of defect_words.toml, plurals, denials, sentences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

DENIED_WITHIN = 6  # words between a denial and what it denies
_LETTERS = 3
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+")
_CLAUSE = re.compile(r"[,;:()]|\b(?:but|while|whereas|however|although|though|and|except)\b")
_SPELLINGS = {"color": "colour", "gray": "grey", "’": "'", "centered": "centred"}


@cache
def word_lists() -> Mapping[str, Any]:
    """defect_words.toml, as it stands."""
    return tomllib.loads(files("lad_reasoner").joinpath("defect_words.toml").read_text(encoding="utf-8"))


def normalise(text: str) -> str:
    """Lower case, British spelling, single spaces."""
    text = re.sub(r"[^\S\n]+", " ", text.lower())
    for other, ours in _SPELLINGS.items():
        text = text.replace(other, ours)
    return text.strip()


def sentences(text: str) -> list[str]:
    """The sentences of a normalised text."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def clauses(sentence: str) -> list[str]:
    """The parts of a sentence between commas, colons and conjunctions."""
    return [part.strip() for part in _CLAUSE.split(sentence) if part.strip()]


@dataclass(frozen=True)
class PhraseHit:
    """A phrase in a text: from where to where, and the names of the lists that hold it."""

    start: int
    end: int
    names: frozenset[str]


class Phrases:
    """Lists of phrases by name. A star stands for the rest of a word; a plural `s` or `es` is understood."""

    def __init__(self, lists: Mapping[str, Sequence[str]]) -> None:
        names: dict[str, set[str]] = {}
        for name, phrases in lists.items():
            for phrase in phrases:
                names.setdefault(phrase, set()).add(name)
        # By the first letters of a phrase, so that most words of a text are passed over at once.
        self._starting: dict[str, list[tuple[re.Pattern[str], frozenset[str]]]] = {}
        for phrase in sorted(names, key=len, reverse=True):  # at one place the longest wins
            entry = re.compile(_pattern(phrase)), frozenset(names[phrase])
            self._starting.setdefault(phrase[:_LETTERS], []).append(entry)

    def find(self, text: str) -> list[PhraseHit]:
        """All phrases in a normalised text, none of them within another."""
        hits: list[PhraseHit] = []
        for word in _WORD.finditer(text):
            start = word.start()
            if hits and start < hits[-1].end:
                continue
            for length in range(_LETTERS, 0, -1):  # phrases shorter than that stand under all their letters
                for pattern, names in self._starting.get(text[start : start + length], ()):
                    match = pattern.match(text, start)
                    if match:
                        hits.append(PhraseHit(start, match.end(), names))
                        break
                else:
                    continue
                break
        return hits


def _pattern(phrase: str) -> str:
    escaped = re.escape(phrase).replace(r"\*", r"\w*").replace(r"\ ", r"\s+")
    return rf"{escaped}(?:e?s)?(?!\w)"


@cache
def grammar(name: str) -> Phrases:
    """A list of the section `grammar`."""
    return Phrases({name: word_lists()["grammar"][name]})


def denial(sentence: str, start: int) -> int | None:
    """Where the word stands that denies what begins at `start`: in the same clause, a few words before; or None."""
    begin = max((end.end() for end in _CLAUSE.finditer(sentence, 0, start)), default=0)
    for hit in reversed(grammar("denials").find(sentence[begin:start])):
        between = sentence[begin + hit.end : start]
        if len(between.split()) <= DENIED_WITHIN:
            return begin + hit.start
    return None


def distance(sentence: str, one: PhraseHit, other: PhraseHit) -> int:
    """Words between two hits; a comma or a conjunction counts as four more."""
    between = sentence[min(one.end, other.end) : max(one.start, other.start)]
    return len(between.split()) + 4 * sum(1 for _ in _CLAUSE.finditer(between))


def is_place(sentence: str, hit: PhraseHit) -> bool:
    """Whether it follows a preposition of place, with up to two words between."""
    return any(
        len(sentence[place.end : hit.start].split()) <= 2 and not _CLAUSE.search(sentence[place.end : hit.start])
        for place in grammar("places").find(sentence[: hit.start])
    )
