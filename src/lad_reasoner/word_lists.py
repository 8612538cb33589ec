"""Finds the words of lists in free text: the lists of defect_words.toml, plurals, denials, sentences.

hits = Phrases({"nut": ["nut", "hex nut"]}).find(normalise("Two hex nuts."))
hits[0].start, hits[0].end, hits[0].names           # 4, 12, {"nut"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lad_reasoner.packaged import read_packaged

DENIED_WITHIN = 6  # words between a denial and what it denies
_ACROSS_CLAUSES = 4  # words by which a comma or a conjunction separates
_PREFIX = 3  # letters by which phrases are looked up
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+")
_CLAUSE = re.compile(r"[,;:()]|\b(?:but|while|whereas|however|although|though|and|except)\b")
_SPELLINGS = {"color": "colour", "gray": "grey", "’": "'", "centered": "centred"}


@cache
def word_lists() -> Mapping[str, Any]:
    """defect_words.toml, parsed."""
    return read_packaged(__file__, "defect_words.toml")


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
    """A phrase in a text, `text[start:end]`, and the names of the lists that hold it."""

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
        # By the first letters of a phrase, so that most words of a text are skipped at once.
        self._by_prefix: dict[str, list[tuple[re.Pattern[str], frozenset[str]]]] = {}
        for phrase in sorted(names, key=len, reverse=True):  # at one place the longest wins
            entry = re.compile(_pattern(phrase)), frozenset(names[phrase])
            self._by_prefix.setdefault(phrase[:_PREFIX], []).append(entry)

    def find(self, text: str) -> list[PhraseHit]:
        """All phrases in a normalised text, from left to right, none of them within another."""
        hits: list[PhraseHit] = []
        for word in _WORD.finditer(text):
            if hits and word.start() < hits[-1].end:
                continue
            hit = self._find_at(text, word.start())
            if hit:
                hits.append(hit)
        return hits

    def _find_at(self, text: str, start: int) -> PhraseHit | None:
        for length in range(_PREFIX, 0, -1):  # a phrase shorter than the prefix is its own
            for pattern, names in self._by_prefix.get(text[start : start + length], ()):
                match = pattern.match(text, start)
                if match:
                    return PhraseHit(start, match.end(), names)
        return None


def _pattern(phrase: str) -> str:
    # In a phrase of several words any white space may stand between them.
    escaped = re.escape(phrase).replace(r"\*", r"\w*").replace(r"\ ", r"\s+")
    return rf"{escaped}(?:e?s)?(?!\w)"


@cache
def grammar(name: str) -> Phrases:
    """The list `name` of the section `grammar`."""
    return Phrases({name: word_lists()["grammar"][name]})


def denial(sentence: str, start: int) -> int | None:
    """Where the word begins that denies the phrase at `start`; None if none does.

    It stands before it in the same clause, at most `DENIED_WITHIN` words away.
    """
    clause_start = max((end.end() for end in _CLAUSE.finditer(sentence, 0, start)), default=0)
    for hit in reversed(grammar("denials").find(sentence[clause_start:start])):
        between = sentence[clause_start + hit.end : start]
        if len(between.split()) <= DENIED_WITHIN:
            return clause_start + hit.start
    return None


def distance(sentence: str, one: PhraseHit, other: PhraseHit) -> int:
    """Words between two hits, in either order; a comma or a conjunction counts as `_ACROSS_CLAUSES` more."""
    between = sentence[min(one.end, other.end) : max(one.start, other.start)]
    return len(between.split()) + _ACROSS_CLAUSES * len(_CLAUSE.findall(between))


def is_place(sentence: str, hit: PhraseHit) -> bool:
    """Whether a preposition of place stands before it, with up to two words between: `on the right gear`."""
    for place in grammar("places").find(sentence[: hit.start]):
        between = sentence[place.end : hit.start]
        if len(between.split()) <= 2 and not _CLAUSE.search(between):
            return True
    return False
