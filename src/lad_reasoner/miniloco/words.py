"""What MiniLOCO's facts are called in words: the responses that micro learns to write, and how true their claims are.

A response names what is in the reference, what is in the query, and what is wrong:

    Reference: steel long screw x1, steel nut x2. Query: steel long screw x1, steel nut x1. One nut is missing.

A part comes before its number, because what is counted must be known first. Numbers above nine are `x10+`: nobody
counts that far at a glance, and neither does micro. Fill levels are tenths (`cereal 6/10`).
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
# Walls of a box belong to the box; what fills a compartment is said by its level.
_UNSAID = re.compile(r"separator|level \d+|juice \w+|cereal|banana chips|almonds")
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
    parts = [f"{group} x{number if number < MANY else f'{MANY}+'}" for group, number in count_groups(facts).items()]
    levels = sorted({(fill["what"], round(fill["level"] * 10)) for fill in facts["fills"]})
    parts += [f"{what} {level}/10" for what, level in levels]
    return ", ".join(parts) or "nothing"


def write_response(reference: Facts, query: Facts) -> str:
    """The response to a pair whose facts are known; the query is judged by its own kind."""
    wrong = query["defect_words"]
    verdict = f"{wrong[0].upper()}{wrong[1:]}." if wrong else GOOD
    reasoning = f"Reference: {describe(reference)}. Query: {describe(query)}. {verdict}"
    return format_response(reasoning, anomalous=bool(wrong))


def check_claims(reasoning: str, reference: Facts, query: Facts) -> tuple[int, int]:
    """(true claims, claims) about numbers, colours and fill levels in a reasoning of the form above.

    A number or colour is true if exactly so many parts of this name are there; a level may be off by one tenth.
    """
    true = claims = 0
    head, _, tail = reasoning.partition("Query:")
    for text, facts in ((head.partition("Reference:")[2], reference), (tail, query)):
        counts, levels = count_groups(facts), _levels(facts)
        for claim in _CLAIM.finditer(text.partition(". ")[0]):
            claims += 1
            what = claim["what"].strip()
            if claim["level"] is not None:
                true += any(abs(level - int(claim["level"]) / 10) <= 0.1 + 1e-6 for level in levels.get(what, ()))
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
