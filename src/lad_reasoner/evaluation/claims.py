"""What a reasoning claims about two pictures, checked against MiniLOCO's facts about them.

    scores = check_reasoning("Reference to query: steel nut x2 to x1 less. …", references, query)
    scores["counts"].true, scores["counts"].claims, scores["counts"].told, scores["counts"].facts

    counts        three nuts; steel nut x3              so many of the parts that are called so
    colours       a red cable; the cable is red         a part of this name has this colour
    levels        cereal 6/10; filled to 60 %           within one tenth
    connections   from row 3 on the left to row 1       one joins these two places, either way round

precision = true / claims, recall = told / facts: of all that both pictures show, the share that is truly claimed. A
claim that is made twice counts once. A sentence is about the picture that it names last, or that the sentences before
it were about; at the beginning that is the query. Sentences about what ought to be, what is missing, or the number at
one place claim nothing about what the picture shows; words that say so are in defect_words.toml, as are other names of
parts.

Claims are found by word lists and patterns. A claim in other words is not found, so that recall is a lower bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from lad_reasoner.miniloco.colours import COLOURS
from lad_reasoner.miniloco.words import MANY, count_groups, find_amounts
from lad_reasoner.text import NUMBER_WORDS
from lad_reasoner.word_lists import Phrases, clauses, grammar, normalise, sentences, word_lists

TENTH = 0.1 + 1e-6
NUMBERS = ("zero", *NUMBER_WORDS[1:])
CACHED = 4096  # reasonings: metrics, and then the report, ask for those of a whole run

Facts = Mapping[str, Any]
# A count is (group,), a colour (part, colour), a level (part, tenths), a connection (part, colour, start, end).
Fact = tuple[str | int, ...]

# Not within `12.5`, `x3` or `3-4`, and not the denominator of `6/10`.
_COUNT = re.compile(rf"(?<![\w.%/-])(?P<number>{'|'.join(NUMBERS)}|a single|\d{{1,2}}) (?P<rest>.+)")
_COLOUR = rf"(?P<colour>{'|'.join(COLOURS)})"
_COLOURED = re.compile(rf"\b{_COLOUR} (?P<rest>.+)")
_IS_COLOURED = re.compile(rf"^ (?:is|are|looks?|appears?) {_COLOUR}(?!\w)")
# A percentage is a level if a word for filling stands near it: "region 1 covers 12 %" is none.
_LEVEL = re.compile(
    r"(?:full|filled|level|up to|reaches|contains|holds)(?:(?! % ).){0,30}?(?<![\d.])(?P<before>\d{1,3}) ?(?:%|percent)"
    r"|(?<![\d.])(?P<after>\d{1,3}) ?(?:%|percent) (?:full|filled|of the (?:bottle|tube|glass))"
    r"|\b(?P<half>half) (?:full|filled)"
)
# The two ends, in one of three forms.
_JOINED = re.compile(
    r"\bfrom (?P<one>[^.,]{3,40}?) (?:to|into) (?P<other>[^.,]{3,40})"
    r"|\bbetween (?P<one2>[^.,]{3,40}?) and (?P<other2>[^.,]{3,40})"
    r"|\b(?:connect|join|link)(?:s|ing|ed)? (?P<one3>[^.,]{3,40}?) (?:to|and|with) (?P<other3>[^.,]{3,40})"
)
# What tells places apart in MiniLOCO's facts: `left row 3`.
_ENDS = re.compile(r"\b(?:left|right|upper|lower|\d+)\b")


@dataclass(frozen=True)
class ClaimScore:
    """Claims of one sort: how many there are and are true, and how many of the facts the true ones tell."""

    true: int = 0
    claims: int = 0
    told: int = 0
    facts: int = 0

    def __add__(self, other: ClaimScore) -> ClaimScore:
        return ClaimScore(
            self.true + other.true, self.claims + other.claims, self.told + other.told, self.facts + other.facts
        )


@dataclass(frozen=True)
class Support:
    """Whether a claim is true, and the facts that it then tells."""

    true: bool
    facts: frozenset[Fact] = frozenset()


@dataclass(frozen=True)
class PartName:
    """A part as a reasoning calls it; no words mean every part.

    `whole`: in micro's form a name is written in full. In free text it may be the first or last words, or another name.
    """

    words: str
    whole: bool = False

    def fits(self, part: str) -> bool:
        """Whether the `part` of the facts may be called so."""
        if self.whole:
            return part == self.words
        if not self.words:
            return True
        # The first known phrase decides. The names of a hit are the parts that it may mean: {wire, cable} of "wires".
        for hit in _parts().find(self.words):
            spaced = f" {part} "  # a name is found at its beginning or end, as whole words
            return any(spaced.startswith(f" {name} ") or spaced.endswith(f" {name} ") for name in hit.names)
        return part == self.words


# The four sorts of statements. `check` holds one against the picture that it is about, `scene`, and returns None if it
# cannot be checked; `other` is the other picture of the pair. `facts` are all facts that could be stated.


@dataclass(frozen=True)
class Count:
    """`number` parts, or so many and more. The whole name of a group holds its colour: `steel nut`."""

    name: PartName
    number: int
    colour: str = ""
    at_least: bool = False

    def check(self, scene: _Scene, other: _Scene) -> Support | None:
        if self.name.whole:
            there, groups = scene.groups.get(self.name.words, 0), {self.name.words}
        else:
            fitting = [
                (part, colour) for part, colour in scene.items if self.name.fits(part) and self.colour in ("", colour)
            ]
            there, groups = len(fitting), {_group(part, colour) for part, colour in fitting}
        # MANY and more are one number: nobody is expected to count that far.
        if there != self.number and not (self.at_least and there >= MANY):
            return Support(False)
        # "Five screws" is true of three long and two short ones, but tells neither number.
        return Support(True, frozenset((group,) for group in groups) if len(groups) == 1 else frozenset())

    @staticmethod
    def facts(scene: _Scene) -> set[Fact]:
        # A sight, such as an empty compartment, may be counted but need not be: only items are facts to tell.
        items = {_group(part, colour) for part, colour in scene.items}
        return {(group,) for group in scene.groups if group in items}


@dataclass(frozen=True)
class Colour:
    """Some part of this name has this colour."""

    name: PartName
    colour: str

    def check(self, scene: _Scene, other: _Scene) -> Support | None:
        of_colour = {(part, colour) for part, colour in scene.coloured if colour == self.colour}
        return _supported({(part, colour) for part, colour in of_colour if self.name.fits(part)})

    @staticmethod
    def facts(scene: _Scene) -> set[Fact]:
        return {(part, colour) for part, colour in scene.coloured if _group(part, colour) in scene.groups}


@dataclass(frozen=True)
class Level:
    """Something is filled to so many tenths, give or take one."""

    name: PartName
    tenths: float

    def check(self, scene: _Scene, other: _Scene) -> Support | None:
        fills = [(part, level) for part, level in scene.fills if self.name.fits(part)]
        if not fills:
            # A filling that is not there may be said to be at 0. But "60 %" of no named part, where neither picture
            # shows any filling, is about something else.
            return Support(self.tenths == 0) if self.name.words or other.fills else None
        near = [(part, level) for part, level in fills if abs(level - self.tenths / 10) <= TENTH]
        return _supported({(part, round(10 * level)) for part, level in near})

    @staticmethod
    def facts(scene: _Scene) -> set[Fact]:
        return {(part, round(10 * level)) for part, level in scene.fills}


@dataclass(frozen=True)
class Join:
    """Something joins two places; of each `end` the words are kept that say where: ("left", "3")."""

    ends: tuple[tuple[str, ...], ...]

    def check(self, scene: _Scene, other: _Scene) -> Support | None:
        if not (scene.joins or other.joins):  # nothing that could be joined: it is about something else
            return None
        joining = set()
        for join in scene.joins:
            _, _, start, end = join
            if self._fits(start, end) or self._fits(end, start):
                joining.add(join)
        return _supported(joining)

    def _fits(self, *places: str) -> bool:
        return all({*words} <= {*place.split()} for words, place in zip(self.ends, places, strict=True))

    @staticmethod
    def facts(scene: _Scene) -> set[Fact]:
        return {*scene.joins}


Statement = Count | Colour | Level | Join
_CLASSES: dict[str, type[Statement]] = {"counts": Count, "colours": Colour, "levels": Level, "connections": Join}
SORTS = tuple(_CLASSES)


@dataclass(frozen=True)
class Claim:
    """`picture` is 0 for the reference, 1 for the query."""

    picture: int
    statement: Statement


class _Scene:
    """The facts about one picture, ready to be asked."""

    def __init__(self, facts: Facts) -> None:
        self.groups = count_groups(facts)
        self.items = _parts_and_colours(facts["items"])
        self.fills = [(str(fill["what"]), float(fill["level"])) for fill in facts["fills"]]
        self.joins = {
            (str(join["what"]), str(join["colour"]), str(join["start"]), str(join["end"]))
            for join in facts.get("connections", ())
        }
        things = [*facts["items"], *facts.get("sights", ()), *facts["fills"], *facts.get("connections", ())]
        self.coloured = {(part, colour) for part, colour in _parts_and_colours(things) if colour}


def _parts_and_colours(things: Sequence[Facts]) -> list[tuple[str, str]]:
    return [(str(thing["what"]), str(thing.get("colour", ""))) for thing in things]


def _group(part: str, colour: str) -> str:
    """The name under which MiniLOCO counts a part: `steel nut`."""
    return f"{colour} {part}".strip()


def _supported(facts: Iterable[Fact]) -> Support:
    """By these facts; without any the claim is false."""
    supporting = frozenset(facts)
    return Support(bool(supporting), supporting)


def check_reasoning(reasoning: str, references: Sequence[Facts], query: Facts) -> dict[str, ClaimScore]:
    """The score of each sort. Of several references that counts which makes the most claims true."""
    claims = list(dict.fromkeys(find_claims(reasoning)))  # a claim made twice counts once
    query_scene = _Scene(query)
    candidates = []
    for reference in references:
        scenes = _Scene(reference), query_scene
        candidates.append({sort: _check_sort(kind, claims, scenes) for sort, kind in _CLASSES.items()})
    return max(candidates, key=lambda scores: sum(score.true for score in scores.values()))


def _check_sort(kind: type[Statement], claims: Sequence[Claim], scenes: tuple[_Scene, _Scene]) -> ClaimScore:
    facts = {(picture, fact) for picture, scene in enumerate(scenes) for fact in kind.facts(scene)}
    told: set[tuple[int, Fact]] = set()  # (picture, fact)
    true = checked = 0
    for claim in claims:
        if not isinstance(claim.statement, kind):
            continue
        support = claim.statement.check(scenes[claim.picture], scenes[1 - claim.picture])
        if support is None:  # it cannot be checked, and does not count as a claim
            continue
        checked += 1
        true += support.true
        told |= {(claim.picture, fact) for fact in support.facts}
    return ClaimScore(true, checked, len(told & facts), len(facts))


@lru_cache(CACHED)
def find_claims(reasoning: str) -> tuple[Claim, ...]:
    """The claims of a reasoning, true or not, in its order."""
    return tuple(_read_claims(reasoning))


def _read_claims(reasoning: str) -> Iterator[Claim]:
    pictures: tuple[int, ...] = (1,)
    for sentence in sentences(normalise(reasoning)):
        # Sorts that the rest of the sentence claims nothing about: "one nut is missing and two washers are extra".
        silent: set[type[Statement]] = set()
        for clause in clauses(sentence):
            pictures = _pictures_of(clause) or pictures
            if grammar("not_contents").find(clause) or grammar("denials").find(clause):
                silent |= {*_CLASSES.values()}
            if grammar("one_place").find(clause):
                silent.add(Count)
            listed = list(_listed_claims(clause, pictures))
            yield from listed
            if listed:  # micro's form, which says all that it says in this clause
                continue
            for statement in _free_statements(clause, sentence):
                if type(statement) not in silent:
                    yield from (Claim(picture, statement) for picture in pictures)


def _pictures_of(clause: str) -> tuple[int, ...]:
    """The pictures that a clause names last; none where it names no picture."""
    cues = {(0,): grammar("reference"), (1,): grammar("query"), (0, 1): grammar("both")}
    named = [(hit.start, pictures) for pictures, cue in cues.items() for hit in cue.find(clause)]
    return max(named)[1] if named else ()


def _listed_claims(clause: str, pictures: Sequence[int]) -> Iterator[Claim]:
    """Micro's form, see miniloco/words.py: `steel nut x2 to x1 less`, `cereal 6/10`."""
    for amount in find_amounts(clause):
        name = PartName(amount.what, whole=True)
        for picture in pictures if amount.picture is None else (amount.picture,):
            if amount.tenths:
                yield Claim(picture, Level(name, amount.number))
                continue
            yield Claim(picture, Count(name, amount.number, at_least=amount.more))
            colour, part = _split_colour(amount.what)
            if colour and amount.number:
                yield Claim(picture, Colour(PartName(part, whole=True), colour))


def _split_colour(name: str) -> tuple[str, str]:
    """("steel", "nut") of `steel nut`; ("", name) of one without a colour before it."""
    first, _, rest = name.partition(" ")
    return (first, rest) if first in COLOURS and rest else ("", name)


def _free_statements(clause: str, sentence: str) -> Iterator[Statement]:
    yield from _find_levels(clause)
    yield from _find_colours(clause)
    yield from _find_counts(clause)
    yield from _find_joins(clause, sentence)


def _find_counts(clause: str) -> Iterator[Count]:
    """`two long screws`, `3 red washers`."""
    for match in _each_match(_COUNT, clause):
        words_before = clause[: match.start()].split()
        part = _part_within(match["rest"], 3)
        # In "row 3 nut" the number is that of the row.
        if part is None or (words_before and words_before[-1] in word_lists()["grammar"]["numbered"]):
            continue
        name, adjectives = part
        colour = next((word for word in adjectives if word in COLOURS), "")
        colour, name = _split_colour(_group(name, colour))
        yield Count(PartName(name), 1 if match["number"] == "a single" else _to_number(match["number"]), colour)


def _find_colours(clause: str) -> Iterator[Colour]:
    """`red washer`, `the washer is red`."""
    hits = _parts().find(clause)
    starts = {hit.start for hit in hits}
    for match in _each_match(_COLOURED, clause):
        part = _part_within(match["rest"], 1)
        if part and match.start() not in starts:  # orange juice need not be orange
            yield Colour(PartName(part[0]), match["colour"])
    for hit in hits:
        predicate = _IS_COLOURED.match(clause[hit.end :])
        if predicate:
            yield Colour(PartName(clause[hit.start : hit.end]), predicate["colour"])


def _find_levels(clause: str) -> Iterator[Level]:
    """`the juice reaches up to 80 percent`, `half full`; of the part that the clause names first, if it names one."""
    for match in _LEVEL.finditer(clause):
        percent = 50 if match["half"] else int(match["before"] or match["after"])
        names = [clause[hit.start : hit.end] for hit in _parts().find(clause)]
        if percent <= 100:
            yield Level(PartName(names[0] if names else ""), percent / 10)


def _find_joins(clause: str, sentence: str) -> Iterator[Join]:
    """`from A to B`, after a word for what joins.

    `between A and B` lies across two clauses: it is looked for in the sentence, from where its clause begins.
    """
    joint = grammar("joints").find(clause)
    if not joint:
        return
    start = sentence.index(clause)
    for match in _JOINED.finditer(sentence, start + joint[0].start):
        if match.start() > start + len(clause):
            return
        # The pattern has three forms of two ends each; the groups of the other two forms are None.
        ends = tuple(tuple(_ENDS.findall(text)) for text in match.groups() if text)
        if all(ends):
            yield Join(ends)


def _each_match(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """All matches, also those that begin within another."""
    match = pattern.search(text)
    while match:
        yield match
        match = pattern.search(text, match.start() + 1)


def _part_within(rest: str, words: int) -> tuple[str, list[str]] | None:
    """The part that begins within so many words, and the words before it.

    None where no part does, or where a word such as `of` shows that another phrase begins first.
    """
    hits = _parts().find(rest)
    if not hits:
        return None
    adjectives = rest[: hits[0].start].split()
    if len(adjectives) >= words or set(adjectives) & set(word_lists()["grammar"]["links"]):
        return None
    return rest[hits[0].start : hits[0].end], adjectives


def _to_number(text: str) -> int:
    return NUMBERS.index(text) if text in NUMBERS else int(text)


@cache
def _parts() -> Phrases:
    """All names of MiniLOCO's parts; a hit's names are the parts that may be called so."""
    synonyms: Mapping[str, Sequence[str]] = word_lists()["parts"]
    return Phrases({name: [name, *others] for name, others in synonyms.items()})
