"""Not one claim that was not measured: each sentence is read back and compared with the arrays it came from."""

import re
from dataclasses import replace

import pytest
from PIL import ImageEnhance
from true_claims import Evidence, check_query

from helpers.scenes import BOTH, scene
from helpers.shots import shot
from lad_reasoner.answers import parse_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.parts import Miscount, Parts, Place, Rule
from lad_reasoner.judges.evidence.regions import Region
from lad_reasoner.judges.evidence.whole_picture import measure_look
from lad_reasoner.judges.evidence.wording import write_details, write_headline, write_response
from lad_reasoner.text import place_words


def studied(matcher: Matcher) -> StudiedReferences:
    """The matcher of a fixture with the looks of its references."""
    looks = [measure_look(shot("good", index, split="train")) for index in range(len(matcher.views))]
    return StudiedReferences(matcher, tuple(looks), Parts.study([views[0] for views in matcher.views]))


@pytest.fixture(scope="module")
def discs(backbone: Backbone) -> StudiedReferences:
    return StudiedReferences.study([scene(*BOTH)], backbone)


def judge_query(references: StudiedReferences, query: Picture) -> Judgement:
    return describe(measure_query(references, query), query)


@pytest.mark.parametrize("references", [1, 4])
@pytest.mark.parametrize(("kind", "index"), [("good", 0), ("good", 3), *(("logical", i) for i in range(7))])
def test_every_claim_is_true(kind: str, index: int, references: int, matcher: Matcher, one_shot: Matcher) -> None:
    checked = Evidence(studied(one_shot if references == 1 else matcher), shot(kind, index))
    response = parse_response(checked.judgement.response)
    assert response.structured
    assert response.answer == ("yes" if checked.anomalous else "no")
    claims = list(checked.claims())
    assert [claim for claim in claims if not claim.true] == []
    respects = {claim.respect for claim in claims}
    # So many at least, so that a sentence that is not taken apart is seen.
    wanted = {"length", "ratio", "answer", "number", "place", "shift", "turn", "scale", "singular", "limit"}
    if checked.anomalous:
        wanted |= {"kind", "colour", "size", "strength"}
    assert respects >= (wanted | {"nearest"} if references > 1 else wanted)


def test_claims_about_amounts_are_checked(backbone: Backbone) -> None:
    good = [shot("good", index, "splicing_connectors", "train") for index in range(2)]
    claims = check_query(StudiedReferences.study(good, backbone), shot("good", 1, "splicing_connectors"))
    assert "amount" in {claim.respect for claim in claims}
    assert [claim for claim in claims if not claim.true] == []


RULE = Rule(0, 0, 0, kinds=(0.01,), numbers=(15,), parts=(0,), shown=((240, 150, 20),))
COUNTED = Miscount(15, 16, 0.75, (240, 150, 20), RULE, 0)


def test_another_number_of_parts_is_said_beside_the_rest(one_shot: Matcher) -> None:
    good, bad = (measure_query(studied(one_shot), shot(kind, 4)) for kind in ("good", "logical"))
    alone = replace(good, counts=(COUNTED, Miscount(2, 1, 0.5, (40, 160, 60), RULE, 0)))
    assert alone.anomalous
    assert write_headline(alone) == "16 orange parts (+1); the reference has 15."
    response = parse_response(write_response(alone))
    assert response.answer == "yes"
    assert response.reasoning == (
        "The query has 16 orange parts and the reference 15: 1 too many. The query has 1 green part and the reference "
        f"2: 1 too few. Apart from that the difference is {good.ratio:.2f} times the limit."
    )
    assert write_headline(replace(alone, looks=alone.looks * 2, counts=(COUNTED,))) == (
        "16 orange parts; the references have 15."
    )
    both = replace(bad, counts=(replace(COUNTED, agreement=1.0),))
    assert write_headline(both) == write_headline(bad)  # which names a place
    reasoning = parse_response(write_response(both)).reasoning
    assert "stands out" in reasoning
    assert "The query has 16 orange parts and the reference 15: 1 too many." in reasoning
    assert reasoning.endswith("more than normal variation explains.")


def test_a_number_of_parts_is_said_with_the_places_of_those_that_are_missing_or_too_many(one_shot: Matcher) -> None:
    good, bad = (measure_query(studied(one_shot), shot(kind, 4)) for kind in ("good", "logical"))
    left, right = Place(0.1, 0.8, 0.1, 0.1), Place(0.8, 0.0, 0.2, 0.1)
    surplus = replace(good, counts=(replace(COUNTED, places=(left,)),))
    assert write_headline(surplus) == "16 orange parts; the reference has 15: surplus at lower left."
    assert "15: 1 too many, at lower left." in write_response(surplus)
    missing = replace(good, counts=(replace(COUNTED, found=13, places=(left, right)),))
    assert write_headline(missing) == "13 orange parts; the reference has 15."  # two places are too long for a headline
    assert "15: 2 too few, at lower left and upper right." in write_response(missing)
    same = replace(missing, counts=(replace(missing.counts[0], places=(left, left)),))
    assert write_headline(same) == "13 orange parts; the reference has 15: missing at lower left."
    query = shot("good", 4)
    boxes = describe(missing, query).boxes  # what made the verdict comes first, and in units of its limit
    assert [box.strength for box in boxes[:2]] == [1.75, 1.75]
    assert (boxes[0].x, boxes[0].y) == (round(0.1 * query.width), round(0.8 * query.height))
    assert len(boxes) == 2 + len(good.regions)
    beside = describe(replace(bad, counts=missing.counts), query).boxes  # regions are numbered in the response
    assert [box.strength for box in beside[-2:]] == [1.75, 1.75]


@pytest.mark.parametrize(
    ("told", "lie", "respect"),
    [
        (
            "of the reference is missing, and the query is dark green there",
            "is there that the reference does not show",
            "kind",
        ),
        ("a red part", "a blue part", "colour"),
        ("lower left", "upper right", "place"),
        ("covers 1.", "covers 3.", "size"),
        ("1 region stands out", "2 regions stand out", "number"),
        ("reaches 1.", "reaches 2.", "strength"),
        ("Overall the difference is 1.", "Overall the difference is 2.", "ratio"),
        ("Overall", "It is Monday. Overall", "unknown text"),
    ],
)
def test_a_lie_is_found(told: str, lie: str, respect: str, one_shot: Matcher) -> None:
    checked = Evidence(studied(one_shot), shot("logical", 4))
    assert told in checked.judgement.reasoning
    reasoning = checked.judgement.reasoning.replace(told, lie)
    checked.judgement = replace(checked.judgement, reasoning=reasoning)
    assert respect in {claim.respect for claim in checked.claims() if not claim.true}


def test_a_region_has_two_sentences_of_one_kind_and_one_pair_of_colours(discs: StudiedReferences) -> None:
    missing = judge_query(discs, scene(BOTH[0]))
    assert re.fullmatch(
        r"1 region stands out\. Region 1, [a-z ]+: a blue (round )?part of the reference is missing, and the query is "
        r"grey there\. It covers [\d.]+ % of the picture, \d+ % from the left and \d+ % from the top, and reaches "
        r"[\d.]+ times the limit\. The query has 1 black part and the reference 2: 1 too few, at middle right\. "
        r"Overall the difference is [\d.]+ times the limit: more than normal variation explains\.",
        missing.reasoning,
    )
    repainted = judge_query(discs, scene(BOTH[0], (280, 200, (30, 160, 30))))
    assert "the query is green where the reference is blue" in repainted.reasoning
    assert "missing" not in repainted.reasoning
    assert ": green instead of blue. " in repainted.headline


def test_how_it_was_measured_stands_apart(one_shot: Matcher) -> None:
    judgement = judge_query(studied(one_shot), shot("logical", 4))
    assert "Compared patch by patch" not in judgement.response
    assert "shifted" not in judgement.response
    assert judgement.details.startswith("Compared patch by patch in both directions with the reference; ")
    assert judgement.details.endswith("since one reference shows no variation.")


def weak(region: Region) -> Region:
    return replace(region, strength=0.9)


def test_nothing_is_missing_on_a_weak_score(discs: StudiedReferences) -> None:
    """Neither in a good picture, nor in a region below the limit of an anomalous one."""
    found = replace(measure_query(discs, scene(BOTH[0])), counts=())
    assert "missing" in write_response(found)
    below = replace(found, regions=tuple(map(weak, found.regions)))
    assert below.anomalous
    assert "missing" not in write_response(below)
    assert write_headline(below).startswith("Changed at ")
    good = replace(found, measurement=replace(found.measurement, appearance=0.9 * found.spread.limit))
    assert "missing" not in write_response(good)
    assert write_headline(good) == "Nothing stands out. 0.90 times the limit."
    assert good.regions
    assert write_response(good).startswith("<think>Nothing stands out. The largest difference is at middle right, ")


def test_a_good_picture_has_boxes_with_their_strength(one_shot: Matcher) -> None:
    judgement = judge_query(studied(one_shot), shot("good", 2))
    assert judgement.answer == "no"
    assert judgement.headline.startswith("Nothing stands out")
    assert judgement.boxes
    assert judgement.boxes[0].strength < 1


def test_one_is_singular(discs: StudiedReferences) -> None:
    found = measure_query(discs, scene(*BOTH))
    half = max(found.measurement.view.size) / 2
    for right, down, words in (
        (0, 0, "the query is not shifted, "),
        (1, 0, "is shifted 1 pixel right, "),
        (2, -1, "is shifted 2 pixels right and 1 pixel up, "),
        (0, 2, "is shifted 2 pixels down, "),
    ):
        moved = replace(found.measurement.similarity, dx=right / half, dy=down / half)
        text = write_details(replace(found, measurement=replace(found.measurement, similarity=moved)), scene(*BOTH))
        assert words in text
    turned = replace(found.measurement, similarity=replace(found.measurement.similarity, a=1.0, b=0.0175))
    assert "turned 1 degree clockwise" in write_details(replace(found, measurement=turned), scene(*BOTH))
    same = replace(found.measurement, similarity=replace(found.measurement.similarity, a=1.0, b=0.0))
    assert ", not turned, and as large. " in write_details(replace(found, measurement=same), scene(*BOTH))
    large = replace(found.measurement, similarity=replace(found.measurement.similarity, a=1.1, b=0.0))
    assert ", and 1.10 times as large. " in write_details(replace(found, measurement=large), scene(*BOTH))


def test_regions_below_the_limit_do_not_stand_out(discs: StudiedReferences) -> None:
    """They are found since a station may have a lower limit."""
    found = replace(measure_query(discs, scene(BOTH[0])), counts=())
    weaker = replace(found, regions=(*found.regions, weak(found.regions[0])))
    assert weaker.anomalous
    assert write_response(weaker) == write_response(found)
    assert write_headline(weaker) == write_headline(found)
    below = replace(found, regions=tuple(map(weak, found.regions)))
    assert parse_response(write_response(below)).reasoning.startswith("No region by itself stands out. Overall")


@pytest.mark.parametrize(
    ("ratio", "words"), [(0.998, "0.998"), (1.004, "1.004"), (0.99993, "0.9999"), (1.0, "1.00"), (1.25, "1.25")]
)
def test_a_ratio_near_the_limit_says_on_which_side(ratio: float, words: str, discs: StudiedReferences) -> None:
    """A good picture of 1.00 times the limit, and another one that is anomalous, contradict each other."""
    found = replace(measure_query(discs, scene(*BOTH)), counts=())
    near = replace(found, measurement=replace(found.measurement, appearance=ratio * found.spread.limit))
    assert near.anomalous == (ratio >= 1)
    assert write_headline(near).endswith(f" {words} times the limit.")
    assert f"the difference is {words} times the limit: " in write_response(near)


def test_of_one_colour_the_headline_says_what_tone_the_query_has(discs: StudiedReferences) -> None:
    found = replace(measure_query(discs, scene(BOTH[0])), counts=())
    grey = (140, 140, 140)
    changed = replace(
        found.regions[0], from_ground=(0.0, 0.0), contrasts=(0.0, 0.0), added=1.0, missing=1.0, reference_rgb=grey
    )
    tones = {
        (110, 110, 112): "darker",
        (162, 162, 162): "lighter",
        (150, 134, 140): "redder",
        (132, 145, 137): "greener",
        (144, 143, 130): "yellower",
        (136, 138, 150): "bluer",
        # The larger of two changes, in units of what one sees.
        (118, 110, 112): "darker",
    }
    expected = {query: f": both grey, the query {tone}. " for query, tone in tones.items()}
    for query, words in (*expected.items(), ((135, 135, 135), ": a grey ")):
        headline = write_headline(replace(found, regions=(replace(changed, query_rgb=query),)))
        assert headline.startswith("Changed at ")
        assert words in headline


def test_the_headline_says_what_happened_to_the_whole_picture(one_shot: Matcher) -> None:
    references = studied(one_shot)
    for kind, index in (("good", 2), ("logical", 4)):
        image = ImageEnhance.Brightness(shot(kind, index).image).enhance(0.7)
        query = Picture("dark", image, image.width, image.height)
        judgement = judge_query(references, query)
        assert re.match(r"The picture is \d+ % darker than the reference\. Compared", judgement.details)
        assert "darker" not in judgement.reasoning
        assert [claim for claim in check_query(references, query) if not claim.true] == []
        if judgement.answer == "no":
            assert re.fullmatch(
                r"Nothing stands out; the picture is \d+ % darker\. [\d.]+ times the limit\.", judgement.headline
            )
        found = measure_query(references, query)
        # In an anomalous picture only where more is common to the whole picture than stands out of it.
        loud = replace(found.measurement, appearance=2 * found.spread.limit, common=3 * found.spread.limit)
        strong = tuple(replace(region, strength=2.0) for region in found.regions)
        headline = write_headline(replace(found, measurement=loud, regions=strong))
        assert re.fullmatch(r"The picture is \d+ % darker \(\+\d+\)\. 2\.00 times the limit\.", headline)
        quiet = replace(loud, common=0.9 * found.spread.limit)
        assert not write_headline(replace(found, measurement=quiet)).startswith("The picture is")


def test_a_stretched_query_says_so_and_is_measured_in_its_own_pixels(one_shot: Matcher) -> None:
    good = shot("good", 1)
    tall = Picture("tall", good.image.resize((384, 576)), 384, 576)  # half as high again
    references = studied(one_shot)
    text = judge_query(references, tall).details
    assert "was stretched to that of the reference. " in text
    moved = re.search(r"shifted (?:\d+ pixels? (?:left|right) and )?(\d+) pixels? (?:up|down)", text)
    assert moved
    comparison = one_shot.compare(one_shot.fit(tall))
    half = max(comparison.view.size) / 2
    assert int(moved[1]) == pytest.approx(abs(comparison.similarity.dy) * half * 576 / comparison.view.height, abs=0.51)


def test_places_in_words() -> None:
    assert [place_words(x, y) for y in (0.1, 0.5, 0.99) for x in (0, 0.5, 1)] == [
        "upper left",
        "upper middle",
        "upper right",
        "middle left",
        "centre",
        "middle right",
        "lower left",
        "lower middle",
        "lower right",
    ]
