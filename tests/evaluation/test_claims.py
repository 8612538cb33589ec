"""Claims: found in micro's words and in plain ones, and held against the facts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.loco_sentences import DENIALS, SENTENCES
from lad_reasoner.answers import parse_response
from lad_reasoner.data.teachers.offline import describe_parts
from lad_reasoner.evaluation.claims import (
    SORTS,
    Claim,
    ClaimScore,
    Colour,
    Count,
    Join,
    Level,
    PartName,
    check_reasoning,
    find_claims,
)
from lad_reasoner.miniloco import CATALOGUE, PRODUCTS, draw_picture
from lad_reasoner.miniloco.words import HEAD, check_claims, describe, write_response

REFERENCE: dict[str, Any] = {
    "items": [{"what": "nut", "colour": "steel"}] * 2
    + [{"what": "long screw", "colour": "steel"}, {"what": "short screw", "colour": "brass"}],
    "fills": [{"what": "orange juice", "colour": "yellow", "level": 0.8, "place": "bottle"}],
    "connections": [{"what": "cable", "colour": "red", "start": "left row 3", "end": "right row 3"}],
}
QUERY: dict[str, Any] = {
    "items": [{"what": "nut", "colour": "steel"}, {"what": "washer", "colour": "red"}],
    "fills": [{"what": "orange juice", "colour": "yellow", "level": 0.5, "place": "bottle"}],
    "connections": [{"what": "cable", "colour": "blue", "start": "left row 3", "end": "right row 1"}],
}


def check(reasoning: str) -> dict[str, tuple[int, int]]:
    """Sort -> (true claims, claims), of the sorts that anything is claimed of."""
    checks = check_reasoning(reasoning, [REFERENCE], QUERY)
    return {sort: (one.true, one.claims) for sort, one in checks.items() if one.claims}


CASES: list[tuple[str, dict[str, tuple[int, int]]]] = [
    ("There is one nut.", {"counts": (1, 1)}),
    ("There are two nuts.", {"counts": (0, 1)}),
    ("The reference shows two nuts.", {"counts": (1, 1)}),
    ("In the reference there are two nuts, in the query there is only one nut.", {"counts": (2, 2)}),
    (
        "In the first image I see 2 nuts. There are two screws. The second image has no more than that.",
        {"counts": (2, 2)},
    ),
    ("Reference to query: steel nut x2 to x1 less.", {"counts": (2, 2), "colours": (2, 2)}),
    ("Reference to query: nut x1 to x2 more, orange juice 8/10 to 5/10 less", {"counts": (0, 2), "levels": (2, 2)}),
    ("Reference to query: orange juice 8/10 to 5/10 less, juice in all less", {"levels": (2, 2)}),
    ("Reference: two screws. Query: 3 pushpins.", {"counts": (1, 2)}),
    ("The reference has a single long screw.", {"counts": (1, 1)}),
    ("Both images show one nut.", {"counts": (1, 2)}),
    ("The washer is red.", {"colours": (1, 1)}),
    ("A steel washer lies there.", {"colours": (0, 1)}),
    ("There are two red washers.", {"counts": (0, 1), "colours": (1, 1)}),
    ("The reference has one brass short screw.", {"counts": (1, 1), "colours": (1, 1)}),
    ("The bottle is filled to 50 % with juice.", {"levels": (1, 1)}),
    ("The orange juice is half full.", {"levels": (1, 1)}),
    ("The juice reaches up to 80 percent.", {"levels": (0, 1)}),
    ("The reference bottle holds yellow orange juice up to 82 %.", {"levels": (1, 1), "colours": (1, 1)}),
    ("The cable runs from row 3 on the left to row 1 on the right.", {"connections": (1, 1)}),
    ("The cable runs from row 1 on the right to row 3 on the left.", {"connections": (1, 1)}),
    ("The cable runs from row 1 on the left to row 1 on the right.", {"connections": (0, 1)}),
    ("The blue wire connects left row 3 with right row 1.", {"connections": (1, 1), "colours": (1, 1)}),
    ("A cable lies between row 3 on the left and row 2 on the right.", {"connections": (0, 1)}),
    # What ought to be, what is missing, and the number at one place are no claims about the picture.
    ("There should be two nuts.", {}),
    ("One nut is missing and two washers are extra.", {}),
    ("The left compartment holds 3 nuts and 2 washers.", {}),
    ("There is no red washer.", {}),
    ("The nut in row 2 lies there; region 1 covers 12.3 % of the picture.", {}),
    ("48 % from the left and 40 % from the top.", {}),
    ("", {}),
]
PLAIN = [said for said, _ in CASES]


@pytest.mark.parametrize(("said", "expected"), CASES)
def test_claims_in_plain_words(said: str, expected: dict[str, tuple[int, int]]) -> None:
    assert check(said) == expected


def test_a_claim_made_twice_counts_once() -> None:
    assert check("There is one nut. There is one nut. The query has one nut.") == {"counts": (1, 1)}


@pytest.mark.parametrize(
    "listed",
    ["Reference to query: steel nut x2 to x1 less.", "Reference: steel nut x2. Query: steel nut x1 less."],
)
def test_recall_is_of_both_pictures(listed: str) -> None:
    checks = check_reasoning(f"{listed} One nut is missing.", [REFERENCE], QUERY)
    assert checks["counts"] == ClaimScore(true=2, claims=2, told=2, facts=5)
    assert checks["colours"] == ClaimScore(true=2, claims=2, told=2, facts=5)
    assert (checks["levels"].facts, checks["connections"].facts) == (2, 2)
    several = check_reasoning("The reference has two screws.", [REFERENCE], QUERY)["counts"]
    assert (several.true, several.told) == (1, 0)  # true, but neither number is told


def test_of_several_references_the_best_is_meant() -> None:
    said = "Reference: steel nut x1, red washer x1. Query: steel nut x1 same."
    assert check_reasoning(said, [REFERENCE], QUERY)["counts"].true == 1
    assert check_reasoning(said, [REFERENCE, QUERY], QUERY)["counts"].true == 3


def test_claims_are_values() -> None:
    said = "Reference: steel nut x10+. The query has two red washers. A cable goes from left row 3 to right row 1."
    assert list(find_claims(said)) == [
        Claim(0, Count(PartName("steel nut", whole=True), 10, at_least=True)),
        Claim(0, Colour(PartName("nut", whole=True), "steel")),
        Claim(1, Colour(PartName("washers"), "red")),
        Claim(1, Count(PartName("washers"), 2, "red")),
        Claim(1, Join((("left", "3"), ("right", "1")))),
    ]
    assert list(find_claims("The juice is half full.")) == [Claim(1, Level(PartName("juice"), 5.0))]


# Sort -> true, claims, told, facts over all of `many_checks`, and a digest of each one.
TOTALS = {
    "counts": (1154, 1674, 973, 3166),
    "colours": (1320, 1424, 1252, 3102),
    "levels": (217, 256, 163, 723),
    "connections": (19, 42, 19, 946),
}
DIGEST = "1e6cd5907383354b"


def many_checks() -> Iterator[tuple[str, dict[str, ClaimScore]]]:
    """Reasonings that are true, about other pictures, changed, or written by people, each held against the facts."""
    products = sorted(PRODUCTS)
    for at, product in enumerate(products):
        reference, query, other = (
            draw_picture(name, split, kind, at % 7, size=48).facts  # type: ignore[arg-type]
            for name, split, kind in (
                (product, "train", "good"),
                (product, "test", "logical"),
                (products[at - 1], "test", "logical"),
            )
        )
        reasoning = parse_response(write_response(reference, query)).reasoning
        plain = f"Reference: {describe_parts(reference)}. The query shows {describe_parts(query)}."
        reasonings = [
            *(reasoning, reasoning.replace(" x1", " x2"), reasoning.replace("to x", "to x1"), plain),
            *(f"Reference: {describe(reference)}. Query: {describe(query)}.", plain.replace("one ", "seven ")),
            parse_response(write_response(reference, other)).reasoning,
        ]
        for join in query.get("connections", ()):
            reasonings.append(f"The {join['colour']} {join['what']} runs from {join['start']} to {join['end']}.")
            reasonings.append(f"A {join['what']} connects {join['end']} with {join['end']}.")
        fills = [(fill["what"], 100 * fill["level"]) for fill in (*reference["fills"], *query["fills"])]
        reasonings += [f"The {what} is filled to {level:.0f} %, both show it half full." for what, level in fills]
        for said in reasonings:
            yield said, check_reasoning(said, [reference], query)
            yield said, check_reasoning(said, [other, reference], query)
    written = [said for sentences in SENTENCES.values() for said in sentences.values()]
    for said in (*written, *DENIALS.values(), *PLAIN):
        yield said, check_reasoning(said, [REFERENCE, QUERY], QUERY)
        yield said, check_reasoning(f"The reference: {said}", [REFERENCE], QUERY)


def test_checks_of_many_reasonings_stay_as_they_are() -> None:
    totals = {sort: ClaimScore() for sort in SORTS}
    digest = hashlib.sha256()
    for said, checks in many_checks():
        for sort in SORTS:
            totals[sort] += checks[sort]
            digest.update(f"{said}\t{sort}\t{astuple(checks[sort])}\n".encode())
    assert {sort: astuple(total) for sort, total in totals.items()} == TOTALS
    assert digest.hexdigest()[:16] == DIGEST


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_written_about_products_is_true_in_both_ways(product: str) -> None:
    for index in range(min(4, len(CATALOGUE[product].defects))):
        reference = draw_picture(product, "train", "good", index, size=48).facts
        query = draw_picture(product, "test", "logical", index, size=48).facts
        micros = parse_response(write_response(reference, query)).reasoning
        listed = micros[: micros.index(". ", micros.index(HEAD))]
        checks = check_reasoning(listed, [reference], query)
        true, claims = check_claims(listed, reference, query)
        assert (checks["counts"].true + checks["levels"].true, checks["counts"].claims + checks["levels"].claims) == (
            true,
            claims,
        )
        assert all(one.true == one.claims for one in checks.values())
        assert all(checks[sort].told == checks[sort].facts for sort in ("counts", "colours", "levels"))
        plain = f"The reference shows {describe_parts(reference)}. The query shows {describe_parts(query)}."
        checks = check_reasoning(plain, [reference], query)
        assert all(one.true >= 0.95 * one.claims for one in checks.values()), plain
        assert sum(one.told for one in checks.values()) >= 0.75 * sum(checks[s].facts for s in SORTS[:3]), plain
        lie = check_reasoning(f"The query shows {describe_parts(query)}.".replace("one ", "seven "), [reference], query)
        if lie["counts"].claims and " one " in describe_parts(query):
            assert lie["counts"].true < lie["counts"].claims


@settings(deadline=None)
@given(st.text(alphabet="abcnut x1230/%.,: \n", max_size=80))
def test_no_reasoning_is_too_strange(reasoning: str) -> None:
    for one in check_reasoning(reasoning, [REFERENCE], QUERY).values():
        assert 0 <= one.true <= one.claims
        assert 0 <= one.told <= one.facts
    assert all(isinstance(claim.statement, Count | Colour | Level | Join) for claim in find_claims(reasoning))
