"""Phrases in free text: plurals, longest first, denials, distances."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lad_reasoner.word_lists import Phrases, clauses, denial, distance, is_place, normalise, sentences, word_lists

PARTS = Phrases(
    {"nut": ["nut"], "long": ["long screw", "screw"], "short": ["short screw", "screw"], "wet": ["contaminat*"]}
)


def found(text: str) -> list[tuple[str, list[str]]]:
    return [(text[hit.start : hit.end], sorted(hit.names)) for hit in PARTS.find(text)]


def test_the_longest_phrase_wins_and_a_word_may_have_two_names() -> None:
    assert found("two short screws, a screw and nuts") == [
        ("short screws", ["short"]),
        ("screw", ["long", "short"]),
        ("nuts", ["nut"]),
    ]
    assert found("contaminated contaminations") == [("contaminated", ["wet"]), ("contaminations", ["wet"])]
    assert found("peanut unscrewed nutty screwdriver") == []


def test_texts_are_brought_to_one_spelling() -> None:
    assert normalise("  The COLOR is\tgray,  isn’t it? ") == "the colour is grey, isn't it?"
    assert sentences("one. two! three; four\nfive 1.5 mm") == ["one.", "two!", "three", "four", "five 1.5 mm"]
    assert clauses("a nut, but no screw (here) and b") == ["a nut", "no screw", "here", "b"]


@pytest.mark.parametrize(
    ("sentence", "denied"),
    [
        ("no nut is missing", True),
        ("none of the nuts is missing", True),
        ("it is not missing", True),
        ("the nut is missing", False),
        ("there is no washer, the nut is missing", False),
        ("nothing of all that which we wanted to have there is missing", False),  # too far away
        ("another nut is missing", False),
    ],
)
def test_denials_reach_a_few_words_within_their_clause(sentence: str, denied: bool) -> None:
    assert (denial(sentence, sentence.index("missing")) is not None) == denied


def test_distances_and_places() -> None:
    text = "the nut on the bag is wet, the screw too"
    phrases = Phrases({name: [name] for name in ("nut", "bag", "wet", "screw")})
    nut, bag, wet, screw = phrases.find(text)
    assert (distance(text, nut, wet), distance(text, wet, nut), distance(text, wet, bag)) == (4, 4, 1)
    assert distance(text, wet, screw) > distance(text, nut, wet)  # a comma lies between
    assert [is_place(text, hit) for hit in (nut, bag, screw)] == [False, True, False]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    text = normalise(text)
    assert all(0 <= hit.start < hit.end <= len(text) for hit in PARTS.find(text))
    assert all(part in text for sentence in sentences(text) for part in clauses(sentence))


def test_every_defect_is_told_in_words_that_there_are() -> None:
    lists = word_lists()
    for defects in lists["defects"].values():
        for words in defects.values():
            objects, changes = ([one.strip() for one in part.split(",")] for part in words.split(":"))
            assert set(objects) <= {*lists["objects"], "any"}, words
            assert set(changes) <= {*lists["changes"]}, words
    used = " ".join(words for defects in lists["defects"].values() for words in defects.values())
    for section in ("objects", "changes"):
        assert all(name in used for name in lists[section]), section  # none is there for nothing
