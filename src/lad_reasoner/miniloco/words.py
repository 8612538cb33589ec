"""What MiniLOCO's facts are called in words: the responses that micro learns to write, and how true their claims are.

A response names what is in the reference; then, part by part, how many of it the query shows and whether that is the
same, more or less; then what is wrong:

    Reference: steel bolt x1, steel nut x2. Query: steel bolt x1 same, steel nut x1 less. One nut is missing.

A part comes before its number, because what is counted must be known first. Each part is compared where it is named: a
small model that lists both pictures and compares at the end learns the lists quickly and the comparison hardly at all.
Numbers above nine are `x10+`: nobody counts that far at a glance, and neither does micro. Fill levels are tenths
(`cereal 6/10`), the same within one tenth.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lad_reasoner.answers import format_response

Facts = Mapping[str, Any]

GOOD = "Everything is in order."
MANY = 10
# Walls of a box belong to the box; what fills a compartment is said by its level or by the parts in it.
_UNSAID = re.compile(r"separator|holding \d+|level \d+|juice \w+|cereal|banana chips|almonds")
_CLAIM = re.compile(r"(?P<what>[a-z0-9% ]+?) (?:x(?P<number>\d+)(?P<more>\+?)|(?P<level>\d+)/10)")


def group_of(item: Mapping[str, Any]) -> str:
    """The name under which a part is counted: its colour, if it has one, and what it is."""
    return f"{item.get('colour', '')} {item['what']}".strip()


def count_groups(facts: Facts) -> dict[str, int]:
    """How many parts and other sights of each name a picture shows, ordered by what they are."""
    seen = [*facts["items"], *facts.get("sights", ())]
    said = [thing for thing in seen if not _UNSAID.fullmatch(thing["what"])]
    counts = Counter((thing["what"], group_of(thing)) for thing in said)
    return {group: number for (_, group), number in sorted(counts.items())}


def describe(facts: Facts) -> str:
    """One line on what a picture shows."""
    parts = [_say_number(group, number) for group, number in count_groups(facts).items()]
    parts += [_say_level(what, level) for what, levels in _tenths(facts).items() for level in levels]
    return ", ".join(parts) or "nothing"


def compare(reference: Facts, query: Facts) -> str:
    """One line on what the query shows of all that either picture has: the same, more or less of it."""
    before, now = count_groups(reference), count_groups(query)
    parts = []
    # In the order of a description: by what a part is, then by its colour.
    for group in sorted({**before, **now}, key=lambda group: (_what_of(group, reference, query), group)):
        number, wanted = now.get(group, 0), before.get(group, 0)
        change = min(number, MANY) - min(wanted, MANY)
        parts.append(f"{_say_number(group, number)} {_say_change(change)}")
    levels, wanted_levels = _tenths(query), _tenths(reference)
    for what in sorted({**levels, **wanted_levels}):
        for level in levels.get(what, [0]):
            nearest = min(wanted_levels.get(what, [0]), key=lambda other: abs(other - level))
            change = level - nearest
            parts.append(f"{_say_level(what, level)} {_say_change(0 if abs(change) <= 1 else change)}")
    return ", ".join(parts) or "nothing"


def _what_of(group: str, *pictures: Facts) -> str:
    things = [thing for facts in pictures for thing in (*facts["items"], *facts.get("sights", ()))]
    return next(str(thing["what"]) for thing in things if group_of(thing) == group)


def _say_number(group: str, number: int) -> str:
    return f"{group} x{number if number < MANY else f'{MANY}+'}"


def _say_level(what: str, tenths: int) -> str:
    return f"{what} {tenths}/10"


def _say_change(change: int) -> str:
    return "more" if change > 0 else "less" if change < 0 else "same"


def _tenths(facts: Facts) -> dict[str, list[int]]:
    """The different levels of each thing that fills something, in tenths, by name."""
    tenths: dict[str, set[int]] = {}
    for fill in facts["fills"]:
        tenths.setdefault(fill["what"], set()).add(round(fill["level"] * 10))
    return {what: sorted(levels) for what, levels in sorted(tenths.items())}


def write_response(reference: Facts, query: Facts) -> str:
    """The response to a pair whose facts are known; the query is judged by its own kind."""
    wrong = query["defect_words"]
    verdict = f"{wrong[0].upper()}{wrong[1:]}." if wrong else GOOD
    reasoning = f"Reference: {describe(reference)}. Query: {compare(reference, query)}. {verdict}"
    return format_response(reasoning, anomalous=bool(wrong))


def check_claims(reasoning: str, reference: Facts, query: Facts) -> tuple[int, int]:
    """(true claims, claims) about numbers, colours and fill levels in a reasoning of the form above.

    A number or colour is true if exactly so many parts of this name are there; a level may be off by one tenth, and is
    0 for what is not there. The words `same`, `more` and `less` are not counted: they repeat the numbers.
    """
    true = claims = 0
    head, _, tail = reasoning.partition("Query:")
    for text, facts in ((head.partition("Reference:")[2], reference), (tail, query)):
        counts, levels = count_groups(facts), _levels(facts)
        for claim in _CLAIM.finditer(text.partition(". ")[0]):
            claims += 1
            what = claim["what"].strip()
            if claim["level"] is not None:
                true += any(abs(level - int(claim["level"]) / 10) <= 0.1 + 1e-6 for level in levels.get(what, [0.0]))
            elif claim["more"]:
                true += counts.get(what, 0) >= int(claim["number"])
            else:
                true += counts.get(what, 0) == int(claim["number"])
    return true, claims


def _levels(facts: Facts) -> dict[str, list[float]]:
    levels: dict[str, list[float]] = {}
    for fill in facts["fills"]:
        levels.setdefault(fill["what"], []).append(fill["level"])
    return levels
