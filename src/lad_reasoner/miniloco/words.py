"""MiniLOCO's facts in words: the responses that micro learns to write, and how true their claims are.

A response names part by part how many of it the reference and the query show and whether that is the same, more or
less; then the fault:

    Reference to query: steel bolt x1 to x1 same, steel nut x2 to x1 less. One nut is missing.

or, in a good picture, what differs although nothing is wrong (`It differs in cable and connector.`).

A part comes before its numbers, because what is counted must be known first. Both numbers stand side by side: a small
model that lists both pictures and compares at the end learns the lists quickly and the comparison hardly at all, and
one that lists the reference first often looks up the wrong line. Numbers above nine are `x10+`: nobody counts that far
at a glance, and neither does micro. Where one sort of a kind has become one other, they are one line
(`red cable x1 to blue cable x2 more`); otherwise a kind of several sorts is summed up (`cable in all same`). Fill
levels are tenths (`cereal 6/10`), the same within one tenth. The place of labels and of what lies in compartments
follows (`steel nut x2 to x2 same, at left to right moved`): numbers do not tell that two labels are exchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lad_reasoner.answers import format_response
from lad_reasoner.word_lists import sentences

Facts = Mapping[str, Any]
# Where each part or filling is, and its levels in tenths, by its name.
Places = Mapping[str, str]
Levels = Mapping[str, Sequence[int]]

HEAD = "Reference to query:"
GOOD = "Everything is in order."
ALLOWED = "It differs in"
MANY = 10
# Walls belong to the box; the filling of a compartment is named with its level.
_NOT_COUNTED = re.compile(r"separator|holding \d+|level \d+|juice \w+|cereal|banana chips|almonds")
_LABEL_PLACE = re.compile(r"(?:vessel \d+, )?(upper|middle|lower|left|right|too high|too low)")
_COMPARTMENT = re.compile(r"([a-z ]+) compartment")
_AMOUNT = r"(?:x(?P<number{0}>\d+)(?P<more{0}>\+?)|(?P<level{0}>\d+)/10)(?!\d)"
_WHAT = "(?P<what{0}>[a-z0-9% ]+?)"
_AMOUNTS = re.compile(rf"{_WHAT.format(1)} {_AMOUNT.format(1)}(?: to (?:{_WHAT.format(2)} )?{_AMOUNT.format(2)})?")


@dataclass(frozen=True)
class Amount:
    """A claim: so much of something is in the reference (0), in the query (1), or in the only picture (None)."""

    picture: int | None
    what: str
    number: int  # of parts, or tenths
    more: bool = False  # or more than that
    tenths: bool = False


def group_of(item: Mapping[str, Any]) -> str:
    """The name under which a part is counted: its colour, if it has one, and what it is."""
    return f"{item.get('colour', '')} {item['what']}".strip()


def signs_in(facts: Facts) -> set[str]:
    """The sights that tell of a defect, such as an empty compartment."""
    return {thing["what"] for thing in facts.get("sights", ()) if not _NOT_COUNTED.fullmatch(thing["what"])}


def count_groups(facts: Facts) -> dict[str, int]:
    """The number of parts and other sights of each name in a picture, ordered by kind and then by colour."""
    counts: Counter[tuple[str, str]] = Counter()
    for thing in (*facts["items"], *facts.get("sights", ())):
        if not _NOT_COUNTED.fullmatch(thing["what"]):
            counts[thing["what"], group_of(thing)] += 1
    return {group: counts[what, group] for what, group in sorted(counts)}


def describe(facts: Facts) -> str:
    """The content of a picture in one line."""
    places = _places(facts)
    amounts = [(group, f"{group} {_say_number(number)}") for group, number in count_groups(facts).items()]
    for what, levels in _tenths(facts).items():
        amounts += [(what, f"{what} {level}/10") for level in levels]
    listed = [f"{amount} at {places[name]}" if name in places else amount for name, amount in amounts]
    return ", ".join(listed) or "nothing"


@dataclass(frozen=True)
class _Line:
    """A line on one sort of a kind, or on all its sorts, and whether the pictures differ in it."""

    kind: str
    text: str
    differs: bool
    change: str = ""


def compare(reference: Facts, query: Facts) -> str:
    """One line on all that either picture has: how much of it in the reference, how much in the query, and the change.

    A kind of several sorts (cables of two colours) is summed up after them, in a word: a model that has to sum up in
    numbers says those that it saw most often. Where one sort has become one other nothing is summed up: a model that
    had written `blue cable x1 to x0 less, red cable x0 to x2 more` went on with `cable in all same`.
    """
    return ", ".join(line.text for line in _compared(reference, query)) or "nothing"


def differing(reference: Facts, query: Facts) -> list[str]:
    """The kinds of which the pictures show other sorts, or other amounts: `cable`, `juice`."""
    return list(dict.fromkeys(line.kind for line in _compared(reference, query) if line.differs))


def _compared(reference: Facts, query: Facts) -> list[_Line]:
    """The parts by what they are and then by their colour, and after them the fill levels."""
    places = _places(reference), _places(query)
    return _compare_parts(reference, query, places) + _compare_fills(reference, query, places)


def _compare_parts(reference: Facts, query: Facts, places: tuple[Places, Places]) -> list[_Line]:
    before, now = count_groups(reference), count_groups(query)
    whats = {group: _what_of(group, reference, query) for group in {**before, **now}}
    lines: list[_Line] = []
    for kind, groups in _by_kind({group: _kind_of(what) for group, what in whats.items()}):
        pairs = _pair_sorts(sorted(groups, key=lambda group: (whats[group], group)), before, now)
        for old, new in pairs:
            lines.append(_say_numbers(kind, (old, new), before.get(old, 0), now.get(new, 0)))
            lines += _say_places(kind, (old, new), *places)
        if len(pairs) > 1 and kind not in whats:
            change = sum(now.get(group, 0) - before.get(group, 0) for group in groups)
            lines.append(_Line(kind, f"{kind} in all {_say_change(change)}", change != 0))
    return lines


def _compare_fills(reference: Facts, query: Facts, places: tuple[Places, Places]) -> list[_Line]:
    before, now = _tenths(reference), _tenths(query)
    lines: list[_Line] = []
    for kind, fills in _by_kind({what: _filling_of(what) for what in {**before, **now}}):
        pairs = _pair_sorts(fills, before, now)
        for old, new in pairs:
            # An empty bottle holds no juice of any sort.
            if (old, new) != (kind, kind) or len(pairs) == 1:
                lines += _say_levels(kind, (old, new), before.get(old, []), now.get(new, []))
                lines += _say_places(kind, (old, new), *places)
        if len(pairs) > 1:
            lines.append(_sum_up_levels(kind, fills, before, now))
    return lines


def _sum_up_levels(kind: str, fills: Sequence[str], before: Levels, now: Levels) -> _Line:
    old = [level for fill in fills for level in before.get(fill, [])]
    new = [level for fill in fills for level in now.get(fill, [])]
    changes = {line.change for line in _say_levels(kind, (kind, kind), old, new)} - {"same"}
    return _Line(kind, f"{kind} in all {' and '.join(sorted(changes)) or 'same'}", bool(changes))


def _pair_sorts(sorts: Sequence[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each sort with itself, but the only one that is gone with the only one that is new."""
    gone = [sort for sort in sorts if sort not in now]
    new = [sort for sort in sorts if sort not in before]
    if len(gone) != 1 or len(new) != 1:
        return [(sort, sort) for sort in sorts]
    partners = {gone[0]: new[0]}
    return [(sort, partners.get(sort, sort)) for sort in sorts if sort != new[0]]


def _by_kind(kinds: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The names of each kind, from the kind of each name."""
    names: dict[str, list[str]] = {}
    for name, kind in sorted(kinds.items()):
        names.setdefault(kind, []).append(name)
    return sorted(names.items())


def _kind_of(what: str) -> str:
    """The kind of a part: `connector` of a `connector with 3 clamps`."""
    return what.partition(" with ")[0]


def _filling_of(what: str) -> str:
    """The kind of what fills something: `juice` of `orange juice`."""
    return what.rpartition(" ")[2]


def _what_of(group: str, *pictures: Facts) -> str:
    """What the parts of a group are, without their colour."""
    for facts in pictures:
        for thing in (*facts["items"], *facts.get("sights", ())):
            if group_of(thing) == group:
                return str(thing["what"])
    raise KeyError(group)


def _say_numbers(kind: str, names: tuple[str, str], before: int, now: int) -> _Line:
    change = min(now, MANY) - min(before, MANY)
    text = f"{names[0]} {_say_number(before)} to {_second(names)}{_say_number(now)} {_say_change(change)}"
    return _Line(kind, text, change != 0 or names[0] != names[1])


def _second(names: tuple[str, str]) -> str:
    """The second name, if it is another one."""
    return f"{names[1]} " if names[0] != names[1] else ""


def _say_levels(kind: str, names: tuple[str, str], before: Sequence[int], now: Sequence[int]) -> list[_Line]:
    """Each level of either picture beside the nearest one of the other, in tenths."""
    tolerance = 1 if before and now else 0
    before, now = before or [0], now or [0]
    pairs = {(_nearest(level, before), level) for level in now} | {(old, _nearest(old, now)) for old in before}
    lines = []
    for old, new in sorted(pairs):
        change = _say_change(new - old, tolerance)
        text = f"{names[0]} {old}/10 to {_second(names)}{new}/10 {change}"
        lines.append(_Line(kind, text, change != "same" or names[0] != names[1], change))
    return lines


def _nearest(level: int, others: Sequence[int]) -> int:
    return min(others, key=lambda other: abs(other - level))


def _say_number(number: int) -> str:
    return f"x{number if number < MANY else f'{MANY}+'}"


def _say_change(change: int, tolerance: int = 0) -> str:
    if abs(change) <= tolerance:
        return "same"
    return "more" if change > 0 else "less"


def _places(facts: Facts) -> dict[str, str]:
    """Where on its vessel or plate each label is, and in which compartment each part or filling, by name."""
    named = [(group_of(item), item) for item in facts["items"]]
    named += [(fill["what"], fill) for fill in facts["fills"]]
    places: dict[str, set[str]] = {}
    for name, thing in named:
        pattern = _LABEL_PLACE if thing["what"].endswith("label") else _COMPARTMENT
        match = pattern.fullmatch(thing.get("place") or "")
        if match:
            places.setdefault(name, set()).add(match[1])
    return {name: " and ".join(sorted(several)) for name, several in places.items()}


def _say_places(kind: str, names: tuple[str, str], before: Places, now: Places) -> list[_Line]:
    """The place of a thing that both pictures show, if it has one."""
    old, new = before.get(names[0]), now.get(names[1])
    if old is None or new is None:
        return []
    return [_Line(kind, f"at {old} to {new} {'same' if old == new else 'moved'}", old != new)]


def _tenths(facts: Facts) -> dict[str, list[int]]:
    """The different levels of each thing that fills something, in tenths, by name."""
    tenths: dict[str, set[int]] = {}
    for fill in facts["fills"]:
        tenths.setdefault(fill["what"], set()).add(round(fill["level"] * 10))
    return {what: sorted(levels) for what, levels in sorted(tenths.items())}


def write_response(reference: Facts, query: Facts) -> str:
    """The response to a pair whose facts are known; the query is judged by its own kind."""
    wrong, others = query["defect_words"], differing(reference, query)
    if wrong:
        conclusion = f"{wrong[0].upper()}{wrong[1:]}."
    elif others:
        conclusion = f"{ALLOWED} {' and '.join(others)}."
    else:
        conclusion = GOOD
    return format_response(f"{HEAD} {compare(reference, query)}. {conclusion}", anomalous=bool(wrong))


def concluded(reasoning: str) -> Literal["yes", "no"] | None:
    """The answer that a reasoning of the form above concludes; None in another form, or without a conclusion.

    A fault is often no more than a fact that breaks the rule (`A cable runs from row 2 to row 1.`), which no list of
    words knows. So every sentence that neither calls the query good nor names what it differs in is a fault.
    """
    if not reasoning.startswith(HEAD):
        return None
    _, *conclusion = sentences(reasoning)
    if not conclusion:
        return None
    return "no" if all(sentence == GOOD or sentence.startswith(ALLOWED) for sentence in conclusion) else "yes"


def find_amounts(text: str) -> Iterator[Amount]:
    """The amounts of a text in the form above, of one picture or of both."""
    for match in _AMOUNTS.finditer(text):
        is_pair = bool(match["number2"] or match["level2"])
        for side in (1, 2) if is_pair else (1,):
            number, level = match[f"number{side}"], match[f"level{side}"]
            what = match[f"what{side}"] or match["what1"]
            yield Amount(
                picture=side - 1 if is_pair else None,
                what=what.strip(),
                number=int(number or level),
                more=bool(match[f"more{side}"]),
                tenths=level is not None,
            )


def check_claims(reasoning: str, reference: Facts, query: Facts) -> tuple[int, int]:
    """(true claims, claims) about numbers, colours and fill levels in a reasoning of the form above.

    A number or colour is true if exactly so many parts of this name are there. A level may be off by one tenth; it is 0
    for a filling that is not there. A repeated claim counts once. The words `same`, `more` and `less` do not count, as
    they repeat the numbers.
    """
    pictures = reference, query
    counts = [count_groups(facts) for facts in pictures]
    levels = [_levels(facts) for facts in pictures]
    comparison = reasoning.partition(HEAD)[2].partition(". ")[0]
    true = claims = 0
    for amount in dict.fromkeys(find_amounts(comparison)):
        if amount.picture is None:
            continue
        claims += 1
        if amount.tenths:
            shown = levels[amount.picture].get(amount.what, [0.0])
            true += any(abs(level - amount.number / 10) <= 0.1 + 1e-6 for level in shown)
            continue
        number = counts[amount.picture].get(amount.what, 0)
        true += number >= amount.number if amount.more else number == amount.number
    return true, claims


def _levels(facts: Facts) -> dict[str, list[float]]:
    levels: dict[str, list[float]] = {}
    for fill in facts["fills"]:
        levels.setdefault(fill["what"], []).append(fill["level"])
    return levels
