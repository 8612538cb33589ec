"""Words for MiniLOCO's facts: what is said is true, and what is false is noticed."""

from __future__ import annotations

import pytest

from lad_reasoner.answers import parse_response
from lad_reasoner.miniloco import CATALOGUE, PRODUCTS, draw_picture
from lad_reasoner.miniloco.families.free import FAMILIES, draw_product
from lad_reasoner.miniloco.render import make_scene, render
from lad_reasoner.miniloco.words import check_claims, compare, count_groups, describe, differing, write_response

SCREWS = {
    "items": [{"what": "nut", "colour": "steel"}] * 2 + [{"what": "pushpin", "colour": "yellow"}] * 12,
    "sights": [{"what": "empty compartment"}, {"what": "level 6"}, {"what": "almonds"}],
    "fills": [{"what": "cereal", "level": 0.57, "place": "left"}, {"what": "almonds", "level": 0.2, "place": "left"}],
    "defect_words": None,
}


def test_a_description_names_parts_sights_and_levels() -> None:
    assert describe(SCREWS) == "empty compartment x1, steel nut x2, yellow pushpin x10+, almonds 2/10, cereal 6/10"


def test_an_empty_picture_is_said_to_be_empty() -> None:
    assert describe({"items": [], "fills": []}) == "nothing"


def test_walls_are_not_counted() -> None:
    assert count_groups({"items": [{"what": "separator", "colour": ""}], "fills": []}) == {}


def test_a_good_response_says_what_differs_all_the_same() -> None:
    red = {"what": "cable", "colour": "red"}
    one = {"items": [red], "fills": [{"what": "cherry juice", "level": 0.8}], "defect_words": None}
    other = {
        "items": [{**red, "colour": "blue"}],
        "fills": [{"what": "orange juice", "level": 0.8}],
        "defect_words": None,
    }
    assert differing(one, one) == []
    assert write_response(one, one).endswith(" same. Everything is in order.</think><answer>no</answer>")
    assert differing(one, other) == ["cable", "juice"]
    assert write_response(one, other).endswith(" same. It differs in cable and juice.</think><answer>no</answer>")
    wrong = {**other, "defect_words": "a label is missing"}
    assert write_response(one, wrong).endswith(" same. A label is missing.</think><answer>yes</answer>")


def test_a_comparison_names_all_that_either_picture_has() -> None:
    query = {
        "items": [{"what": "nut", "colour": "brass"}, {"what": "pushpin", "colour": "yellow"}],
        "fills": [{"what": "cereal", "level": 0.49, "place": ""}, {"what": "almonds", "level": 0.5, "place": ""}],
        "defect_words": None,
    }
    assert compare(SCREWS, query) == (
        "empty compartment x1 to x0 less, steel nut x2 to brass nut x1 less, yellow pushpin x10+ to x1 less, "
        "almonds 2/10 to 5/10 more, cereal 6/10 to 5/10 same"
    )
    assert compare(query, SCREWS).startswith(
        "empty compartment x0 to x1 more, brass nut x1 to steel nut x2 more, yellow"
    )


def cables(**numbers: int) -> dict[str, object]:
    items = [{"what": "cable", "colour": colour} for colour, number in numbers.items() for _ in range(number)]
    return {"items": items, "fills": [], "defect_words": None}


def test_one_sort_that_has_become_another_is_one_line() -> None:
    one = {"items": [{"what": "connector with 2 clamps", "colour": "orange"}] * 2, "fills": []}
    other = {"items": [{"what": "connector with 3 clamps", "colour": "orange"}] * 2, "fills": []}
    assert compare(one, other) == "orange connector with 2 clamps x2 to orange connector with 3 clamps x2 same"
    assert compare(one, one) == "orange connector with 2 clamps x2 to x2 same"
    assert differing(one, other) == ["connector"]
    assert compare(cables(blue=1), cables(red=2)) == "blue cable x1 to red cable x2 more"
    said = f"Reference to query: {compare(cables(blue=1), cables(red=2))}. It is wrong."
    assert check_claims(said, cables(blue=1), cables(red=2)) == (2, 2)
    assert check_claims(said, cables(red=1), cables(blue=2)) == (0, 2)


def test_a_kind_of_several_sorts_is_summed_up() -> None:
    assert compare(cables(blue=1, red=1), cables(red=2, yellow=1)) == (
        "blue cable x1 to yellow cable x1 same, red cable x1 to x2 more, cable in all more"
    )
    assert compare(cables(blue=2), cables(blue=1, red=1)) == (
        "blue cable x2 to x1 less, red cable x0 to x1 more, cable in all same"
    )
    assert compare(cables(blue=1), cables(red=1, yellow=1)) == (
        "blue cable x1 to x0 less, red cable x0 to x1 more, yellow cable x0 to x1 more, cable in all more"
    )
    assert differing(cables(blue=2), cables(blue=1, red=1)) == ["cable"]


def bottles(*fills: tuple[str, float]) -> dict[str, object]:
    return {"items": [], "fills": [{"what": what, "level": level, "place": ""} for what, level in fills]}


def test_another_filling_is_held_against_the_one_before() -> None:
    full, low, empty = bottles(("banana juice", 0.8)), bottles(("orange juice", 0.5)), bottles(("juice", 0.0))
    said = "banana juice 8/10 to orange juice 5/10 less"
    assert compare(full, low) == said
    assert check_claims(f"Reference to query: {said}. It is low.", full, low) == (2, 2)
    assert check_claims(f"Reference to query: {said}. It is low.", low, full) == (0, 2)
    assert compare(full, empty) == "banana juice 8/10 to juice 0/10 less"
    assert compare(empty, empty) == "juice 0/10 to 0/10 same"
    assert differing(full, bottles(("orange juice", 0.8))) == ["juice"]


def test_fillings_of_several_sorts_are_summed_up() -> None:
    full = bottles(("banana juice", 0.8))
    low = bottles(("orange juice", 0.5), ("cherry juice", 0.5))
    said = (
        "banana juice 8/10 to 0/10 less, cherry juice 0/10 to 5/10 more, orange juice 0/10 to 5/10 more, "
        "juice in all less"
    )
    assert compare(full, low) == said
    assert check_claims(f"Reference to query: {said}. It is low.", full, low) == (6, 6)
    assert check_claims(f"Reference to query: {said}. It is low.", low, full) == (0, 6)
    assert compare(
        bottles(("banana juice", 0.8), ("orange juice", 0.8)), bottles(("orange juice", 0.8), ("juice", 0.0))
    ) == ("banana juice 8/10 to juice 0/10 less, orange juice 8/10 to 8/10 same, juice in all less")


def test_labels_and_what_lies_in_compartments_have_places() -> None:
    def labels(fruit: str, text: str) -> dict[str, object]:
        items = [{"what": "fruit label", "place": fruit}, {"what": "text label", "place": text}]
        return {"items": items, "fills": [], "defect_words": None}

    good, swapped = labels("upper", "vessel 2, lower"), labels("lower", "upper")
    assert describe(good) == "fruit label x1 at upper, text label x1 at lower"
    assert compare(good, swapped) == (
        "fruit label x1 to x1 same, at upper to lower moved, text label x1 to x1 same, at lower to upper moved"
    )
    assert check_claims(write_response(good, swapped), good, swapped) == (4, 4)
    assert differing(good, swapped) == ["fruit label", "text label"]
    assert compare(good, {"items": [], "fills": []}) == "fruit label x1 to x0 less, text label x1 to x0 less"

    def box(fruit: str, cereal: str) -> dict[str, object]:
        items = [{"what": "tangerine", "place": f"{fruit} compartment"}] * 2
        return {"items": items, "fills": [{"what": "cereal", "level": 0.5, "place": f"{cereal} compartment"}]}

    assert describe(box("left", "upper right")) == "tangerine x2 at left, cereal 5/10 at upper right"
    assert compare(box("left", "right"), box("right", "left")) == (
        "tangerine x2 to x2 same, at left to right moved, cereal 5/10 to 5/10 same, at right to left moved"
    )
    spread = [{"what": "tangerine", "place": f"{side} compartment"} for side in ("left", "right")] * 2
    both = {**box("left", "right"), "items": spread}
    assert compare(both, box("left", "right")).startswith("tangerine x4 to x2 less, at left and right to left moved,")
    assert compare({"items": [{"what": "nut", "place": "left"}], "fills": []}, both).startswith("nut x1 to x0 less")


def test_each_level_of_either_picture_is_compared_with_the_nearest_one() -> None:
    def tubes(*levels: float) -> dict[str, object]:
        return {"items": [], "fills": [{"what": "liquid", "level": level, "place": ""} for level in levels]}

    assert compare(tubes(0.3, 0.8), tubes(0.3)) == "liquid 3/10 to 3/10 same, liquid 8/10 to 3/10 less"
    assert compare(tubes(0.3), tubes(0.35, 0.8)) == "liquid 3/10 to 4/10 same, liquid 3/10 to 8/10 more"
    assert compare(tubes(0.1), tubes()) == "liquid 1/10 to 0/10 less"  # none at all is less than a little


def test_a_picture_compared_with_itself_is_the_same() -> None:
    assert {part.split()[-1] for part in compare(SCREWS, SCREWS).split(", ")} == {"same"}


@pytest.mark.parametrize(
    ("what", "amount", "true"),
    [
        ("steel nut", "x2", 1),
        ("steel nut", "x3", 0),
        ("brass nut", "x2", 0),
        ("nut", "x2", 0),
        ("brass nut", "x0", 1),
        ("steel nut", "x0", 0),
        ("nut", "x0", 1),
        ("orange juice", "0/10", 1),
        ("cereal", "0/10", 0),
        ("yellow pushpin", "x10+", 1),
        ("yellow pushpin", "x9", 0),
        ("steel nut", "x10+", 0),
        ("cereal", "6/10", 1),
        ("cereal", "5/10", 1),
        ("cereal", "4/10", 0),
        ("orange juice", "6/10", 0),
    ],
)
def test_each_claim_is_held_against_the_facts(what: str, amount: str, true: int) -> None:
    for change in ("same", "less", "more"):  # repeats the numbers
        said = f"Reference to query: {what} {amount} to {amount} {change}. All is well."
        assert check_claims(said, SCREWS, SCREWS) == (2 * true, 2)


def test_claims_about_the_reference_are_not_held_against_the_query() -> None:
    other = {**SCREWS, "items": SCREWS["items"][:1]}
    reasoning = "Reference to query: steel nut x2 to x1 less. One nut is missing."
    assert check_claims(reasoning, SCREWS, other) == (2, 2)
    assert check_claims(reasoning, other, SCREWS) == (0, 2)


def test_words_without_claims_hold_none() -> None:
    assert check_claims("The 2 nuts of 10/10 quality are there.", SCREWS, SCREWS)[0] == 0
    assert check_claims("", SCREWS, SCREWS) == (0, 0)
    assert check_claims("Reference to query: steel nut x2. Steel nut x2 to x2.", SCREWS, SCREWS) == (0, 0)


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_written_about_a_product_is_true_and_structured(product: str) -> None:
    for index in range(len(CATALOGUE[product].defects)):
        reference = draw_picture(product, "train", "good", index, size=64).facts
        for kind in ("good", "logical"):
            query = draw_picture(product, "test", kind, index, size=64).facts
            response = parse_response(write_response(reference, query))
            assert response.structured
            assert response.answer == ("yes" if kind == "logical" else "no")
            true, claims = check_claims(response.reasoning, reference, query)
            assert true == claims > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_about_free_scenes_is_true(family: str) -> None:
    for seed in range(8):
        product = draw_product(family, seed=seed)
        pictures = [
            render(make_scene(product, seed=[seed, i], kind=kind), size=64, paint=product.paint).facts
            for i, kind in enumerate(("good", "logical"))
        ]
        response = parse_response(write_response(*pictures))
        true, claims = check_claims(response.reasoning, *pictures)
        assert response.answer == "yes"
        assert true == claims
