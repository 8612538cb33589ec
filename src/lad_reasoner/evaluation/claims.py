"""What a reasoning claims about two pictures, held against MiniLOCO's facts of them.

    checks = check_reasoning("Reference to query: steel nut x2 to x1 less. …", references, query)
    checks["counts"].true, checks["counts"].claims, checks["counts"].told, checks["counts"].facts

    counts        three nuts; steel nut x3              so many of the parts that are called so
    colours       a red cable; the cable is red         a part of this name has this colour
    levels        cereal 6/10; filled to 60 %           within one tenth
    connections   from row 3 on the left to row 1       one joins these two places, either way round

precision = true / claims, recall = told / facts: of all that both pictures show, what is truly claimed. A claim that is
made twice counts once. A sentence is about the picture that it names last, or that the sentences before it were about;
at the beginning that is the query. What is said of what ought to be, of what is missing, or of the number at one place
is no claim about what the picture shows; words that say so are in defect_words.toml, as are other names of parts.

Claims are found by word lists and patterns: what is put otherwise is not found, so that recall is a lower bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lad_reasoner.miniloco.colours import COLOURS
from lad_reasoner.miniloco.words import MANY, count_groups, find_amounts
from lad_reasoner.word_lists import Phrases, clauses, grammar, normalise, sentences, word_lists

SORTS = ("counts", "colours", "levels", "connections")
TENTH = 0.1 + 1e-6
NUMBERS: Sequence[str] = word_lists()["grammar"]["numbers"]  # from zero on

Facts = Mapping[str, Any]

_COUNT = re.compile(rf"(?<![\w.%/-])(?P<number>{'|'.join(NUMBERS)}|a single|\d{{1,2}}) (?P<rest>.+)")
_COLOUR = rf"(?P<colour>{'|'.join(COLOURS)})"
_COLOURED = re.compile(rf"\b{_COLOUR} (?P<rest>.+)")
_IS_COLOURED = re.compile(rf"^ (?:is|are|looks?|appears?) {_COLOUR}(?!\w)")
_LEVEL = re.compile(
    r"(?:full|filled|level|up to|reaches|contains|holds)(?:(?! % ).){0,30}?(?<![\d.])(?P<before>\d{1,3}) ?(?:%|percent)"
    r"|(?<![\d.])(?P<after>\d{1,3}) ?(?:%|percent) (?:full|filled|of the (?:bottle|tube|glass))"
    r"|\b(?P<half>half) (?:full|filled)"
)
_JOINED = re.compile(
    r"\bfrom (?P<one>[^.,]{3,40}?) (?:to|into) (?P<other>[^.,]{3,40})"
    r"|\bbetween (?P<one2>[^.,]{3,40}?) and (?P<other2>[^.,]{3,40})"
    r"|\b(?:connect|join|link)(?:s|ing|ed)? (?P<one3>[^.,]{3,40}?) (?:to|and|with) (?P<other3>[^.,]{3,40})"
)
_ENDS = re.compile(r"\b(?:left|right|upper|lower|\d+)\b")


@dataclass(frozen=True)
class Check:
    """Claims of one sort: how many are true, and how many of the facts were told by a true one."""

    true: int = 0
    claims: int = 0
    told: int = 0
    facts: int = 0

    def __add__(self, other: Check) -> Check:
        return Check(
            self.true + other.true, self.claims + other.claims, self.told + other.told, self.facts + other.facts
        )


@dataclass(frozen=True)
class Claim:
    """`picture` is 0 for the reference, 1 for the query; `what` and `value` as they were said."""

    picture: int
    sort: str
    what: str
    value: str


def check_reasoning(reasoning: str, references: Sequence[Facts], query: Facts) -> dict[str, Check]:
    """The checks by sort; of several references that which suits the reasoning best is meant."""
    found = list(dict.fromkeys(find_claims(reasoning)))
    candidates = [_check(found, reference, query) for reference in references]
    return max(candidates, key=lambda checks: sum(check.true for check in checks.values()))


def _check(found: Sequence[Claim], reference: Facts, query: Facts) -> dict[str, Check]:
    pictures = _Picture(reference), _Picture(query)
    checks = {}
    for sort in SORTS:
        facts = {(at, fact) for at, picture in enumerate(pictures) for fact in picture.facts(sort)}
        told: set[tuple[int, Any]] = set()
        held = [
            (claim, supported)
            for claim in found
            if claim.sort == sort
            and (supported := pictures[claim.picture].hold(claim, pictures[1 - claim.picture])) is not None
        ]
        for claim, supported in held:
            told |= {(claim.picture, fact) for fact in supported}
        true = sum(bool(supported) for _, supported in held)
        checks[sort] = Check(true, len(held), len(told & facts), len(facts))
    return checks


def find_claims(reasoning: str) -> Iterator[Claim]:
    """The claims of a reasoning, in its order; whether they are true is not asked."""
    picture: tuple[int, ...] = (1,)
    for sentence in sentences(normalise(reasoning)):
        silent: set[str] = set()  # what the rest of the sentence says nothing about
        for clause in clauses(sentence):
            picture = _picture_of(clause) or picture
            if grammar("not_contents").find(clause) or grammar("denials").find(clause):
                silent |= {*SORTS}
            if grammar("one_place").find(clause):
                silent |= {"counts"}
            listed = list(_listed(clause, picture))
            yield from listed
            for sort, what, value in () if listed else _told(clause, sentence):
                if sort not in silent:
                    for at in picture:
                        yield Claim(at, sort, what, value)


def _picture_of(clause: str) -> tuple[int, ...]:
    cues = {(0,): grammar("reference"), (1,): grammar("query"), (0, 1): grammar("both")}
    found = [(hit.start, which) for which, cue in cues.items() for hit in cue.find(clause)]
    return max(found)[1] if found else ()


def _listed(clause: str, picture: Sequence[int]) -> Iterator[Claim]:
    """Micro's way to write, see miniloco/words.py; the other claims of a clause are about the named picture."""
    for amount in find_amounts(clause):
        for at in picture if amount.picture is None else (amount.picture,):
            if amount.tenths:
                yield Claim(at, "levels", f"={amount.what}", str(amount.number))
                continue
            yield Claim(at, "counts", f"={amount.what}", f"{amount.number}{'+' if amount.more else ''}")
            colour, _, part = amount.what.partition(" ")
            if colour in COLOURS and part and amount.number:
                yield Claim(at, "colours", f"={part}", colour)


def _told(clause: str, sentence: str) -> Iterator[tuple[str, str, str]]:
    yield from _levels(clause)
    yield from _colours(clause)
    yield from _counts(clause)
    yield from _connections(clause, sentence)


def _counts(clause: str) -> Iterator[tuple[str, str, str]]:
    for match in _each(_COUNT, clause):
        before = clause[: match.start()].split()[-1:]
        found = _part_within(match["rest"], 3)
        if found and not set(before) & set(word_lists()["grammar"]["numbered"]):
            number = 1 if match["number"] == "a single" else _number(match["number"])
            adjectives = found[1]
            colour = next((word for word in adjectives if word in COLOURS), "")
            yield "counts", f"{colour} {found[0]}".strip(), str(number)


def _colours(clause: str) -> Iterator[tuple[str, str, str]]:
    parts = _parts().find(clause)
    for match in _each(_COLOURED, clause):
        found = _part_within(match["rest"], 1)
        if found and match.start() not in {hit.start for hit in parts}:  # orange juice need not be orange
            yield "colours", found[0], match["colour"]
    for hit in parts:
        said = _IS_COLOURED.match(clause[hit.end :])
        if said:
            yield "colours", clause[hit.start : hit.end], said["colour"]


def _levels(clause: str) -> Iterator[tuple[str, str, str]]:
    for match in _LEVEL.finditer(clause):
        percent = 50 if match["half"] else int(match["before"] or match["after"])
        whats = [clause[hit.start : hit.end] for hit in _parts().find(clause)]
        if percent <= 100:
            yield "levels", whats[0] if whats else "", str(percent / 10)


def _connections(clause: str, sentence: str) -> Iterator[tuple[str, str, str]]:
    """`between A and B` lies across two clauses: it is looked for in the sentence, from where its clause begins."""
    joint = grammar("joints").find(clause)
    if not joint:
        return
    start = sentence.index(clause)
    for match in _JOINED.finditer(sentence, start + joint[0].start):
        if match.start() > start + len(clause):
            return
        ends = [" ".join(_ENDS.findall(text)) for text in match.groups() if text]
        if all(ends):
            yield "connections", "", " - ".join(ends)


def _each(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """All matches, also those that begin within another."""
    match = pattern.search(text)
    while match:
        yield match
        match = pattern.search(text, match.start() + 1)


def _part_within(rest: str, words: int) -> tuple[str, list[str]] | None:
    """The part that begins within so many words, and the words before it; None where another phrase begins first."""
    for hit in _parts().find(rest):
        adjectives = rest[: hit.start].split()
        if len(adjectives) < words and not set(adjectives) & set(word_lists()["grammar"]["links"]):
            return rest[hit.start : hit.end], adjectives
        return None
    return None


def _number(text: str) -> int:
    return NUMBERS.index(text) if text in NUMBERS else int(text)


@cache
def _parts() -> Phrases:
    named: Mapping[str, Sequence[str]] = word_lists()["parts"]
    return Phrases({name: [name, *others] for name, others in named.items()})


class _Picture:
    """The facts of one picture, ready to be asked."""

    def __init__(self, facts: Facts) -> None:
        self.groups = count_groups(facts)
        things = [*facts["items"], *facts.get("sights", ())]
        self.things = [(str(thing["what"]), str(thing.get("colour", ""))) for thing in things]
        self.items = [(str(item["what"]), str(item.get("colour", ""))) for item in facts["items"]]
        self.fills = [(str(fill["what"]), float(fill["level"]), str(fill.get("colour", ""))) for fill in facts["fills"]]
        self.joins = [
            (str(join["what"]), str(join["colour"]), str(join["start"]), str(join["end"]))
            for join in facts.get("connections", ())
        ]
        self.coloured = {
            (what, colour)
            for what, colour in (
                *self.things,
                *((what, colour) for what, _, colour in self.fills),
                *((what, colour) for what, colour, _, _ in self.joins),
            )
            if colour
        }

    def facts(self, sort: str) -> set[Any]:
        """All that could truly be claimed of this sort; sights, such as an empty compartment, need not be."""
        if sort == "counts":
            said = {f"{colour} {what}".strip() for what, colour in self.items}
            return {group for group in self.groups if group in said}
        if sort == "colours":
            return {(what, colour) for what, colour in self.coloured if f"{colour} {what}" in self.groups}
        if sort == "levels":
            return {(what, round(10 * level)) for what, level, _ in self.fills}
        return set(self.joins)

    def hold(self, claim: Claim, other: _Picture) -> set[Any] | None:
        """The facts that make it true, none where it is false; None where it cannot be checked."""
        if claim.sort == "counts":
            return self._hold_count(claim)
        if claim.sort == "colours":
            return {fact for fact in self.coloured if _is_called(fact[0], claim.what) and fact[1] == claim.value}
        if claim.sort == "levels":
            return self._hold_level(claim, other)
        if not (self.joins or other.joins):
            return None
        ends = [set(end.split()) for end in claim.value.split(" - ")]
        return {join for join in self.joins if _joins(join[2:], ends) or _joins(join[2:], ends[::-1])}

    def _hold_count(self, claim: Claim) -> set[Any]:
        listed, what = claim.what.startswith("="), claim.what.removeprefix("=")
        many, number = claim.value.endswith("+"), int(claim.value.removesuffix("+"))
        if listed:
            there, groups = self.groups.get(what, 0), {what}
        else:
            colour, _, part = what.partition(" ") if what.partition(" ")[0] in COLOURS else ("", "", what)
            called = [
                thing for thing in self.items if _is_called(thing[0], part) and (not colour or colour == thing[1])
            ]
            there, groups = len(called), {f"{colour} {what}".strip() for what, colour in called}
        if there != number and not (many and there >= MANY):
            return set()
        # "Five screws" is true of three long and two short ones, but tells neither number.
        return groups if len(groups) == 1 else {"several"}

    def _hold_level(self, claim: Claim, other: _Picture) -> set[Any] | None:
        tenths = float(claim.value)
        meant = [fill for fill in self.fills if _is_called(fill[0], claim.what)]
        if not meant and not any(_is_called(fill[0], claim.what) for fill in other.fills):
            if not claim.what:
                return None
            meant = []
        if not meant:
            return {"nothing"} if tenths == 0 else set()
        return {(what, round(10 * level)) for what, level, _ in meant if abs(level - tenths / 10) <= TENTH}


def _is_called(what: str, said: str) -> bool:
    """Whether a part of the facts may be called so: its whole name, the first or last words of it, or another name.

    A listed name (with `=`) is the whole one; nothing said means all.
    """
    if said.startswith("="):
        return what == said[1:]
    if not said:
        return True
    for hit in _parts().find(said):
        return any(what == name or what.endswith(f" {name}") or what.startswith(f"{name} ") for name in hit.names)
    return what == said


def _joins(ends: Sequence[str], said: Sequence[set[str]]) -> bool:
    return all(words <= set(end.split()) for end, words in zip(ends, said, strict=True))
