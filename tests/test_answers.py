"""The parser: section by section of the grammar, each hole of other parsers closed, and properties on any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.answers import TAGS, format_response, is_visible, parse_response

STRUCTURED = {
    "<think>a scratch</think><answer>yes</answer>": "yes",
    "<think>a scratch</think><answer>no</answer>": "no",
    "  \n<think>a</think>\n\n<answer>no</answer>\n ": "no",
    "<think>a</think><answer>\nno\n</answer>": "no",
    "<think>a</think> <answer> YES </answer>": "yes",
    "<think>a</think><answer>No</answer>": "no",
    "<think>\u200b!</think><answer>no</answer>": "no",
    "<think>缺</think><answer>no</answer>": "no",
    "<think>two\nlines, <b>markup</b> and yes or no</think><answer>yes</answer>": "yes",
}

HOLES = {
    "empty": "",
    "empty reasoning": "<think></think><answer>yes</answer>",
    "blank reasoning": "<think> \n\t</think><answer>yes</answer>",
    "zero-width reasoning": "<think>\u200b\u2060\ufeff</think><answer>yes</answer>",
    "control characters for a reasoning": "<think>\0\x1b</think><answer>yes</answer>",
    "blank letters for a reasoning": "<think>\u2800\u3164\u115f</think><answer>yes</answer>",
    "an accent without a letter": "<think>\u0301</think><answer>yes</answer>",
    "two answers, first one wins": "<think>a</think><answer>yes</answer><answer>no</answer>",
    "two answers inside each other": "<think>a</think><answer><answer>yes</answer></answer>",
    "no tags at all": "yes",
    "no answer tags": "<think>a</think>yes",
    "no think tags": "<answer>yes</answer>",
    "normal read as no": "<think>a</think><answer>normal</answer>",
    "yes or no read as yes": "<think>a</think><answer>yes or no</answer>",
    "yes with a full stop": "<think>a</think><answer>yes.</answer>",
    "empty answer": "<think>a</think><answer></answer>",
    "text before": "Sure! <think>a</think><answer>yes</answer>",
    "text between": "<think>a</think> so <answer>yes</answer>",
    "text after": "<think>a</think><answer>yes</answer> I am sure",
    "answer inside the reasoning": "<think><answer>no</answer></think><answer>yes</answer>",
    "two thoughts": "<think>a</think><think>b</think><answer>yes</answer>",
    "nested thoughts": "<think><think>a</think></think><answer>yes</answer>",
    "tag of ours in capitals": "<think>a <ANSWER>no</ANSWER></think><answer>yes</answer>",
    "capital tags": "<THINK>a</THINK><ANSWER>yes</ANSWER>",
    "unclosed thought": "<think>a<answer>yes</answer>",
    "unclosed answer": "<think>a</think><answer>yes",
    "swapped order": "<answer>yes</answer><think>a</think>",
    "end of text token": "<think>a</think><answer>yes</answer><|im_end|>",
    "answer in other letters": "<think>a</think><answer>yeſ</answer>",
}


@pytest.mark.parametrize(("text", "answer"), STRUCTURED.items())
def test_structured(text: str, answer: str) -> None:
    response = parse_response(text)
    assert response.structured
    assert response.answer == answer
    assert response.reasoning


@pytest.mark.parametrize("text", HOLES.values(), ids=HOLES.keys())
def test_holes_are_closed(text: str) -> None:
    response = parse_response(text)
    assert (response.structured, response.answer, response.reasoning) == (False, "invalid", "")


# With a whole response among the pieces, so that some texts are structured.
PIECES = [*TAGS, "<think>a</think><answer>yes</answer>", "yes", "no", " ", "\n"]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5))).map("".join))
def test_never_raises_and_never_half_an_answer(text: str) -> None:
    response = parse_response(text)
    assert response.structured == (response.answer != "invalid") == bool(response.reasoning)
    if response.structured:
        assert all(text.count(tag) == 1 for tag in TAGS)


@given(st.text(), st.booleans())
def test_structured_responses_round_trip(reasoning: str, anomalous: bool) -> None:
    if not is_visible(reasoning) or any(tag in reasoning.lower() for tag in TAGS):
        with pytest.raises(ValueError, match="reasoning"):
            format_response(reasoning, anomalous)
        return
    response = parse_response(format_response(reasoning, anomalous))
    assert response.reasoning == reasoning.strip()
    assert response.answer == ("yes" if anomalous else "no")


def test_what_a_reader_sees() -> None:
    for text in ("a", "缺", "!", "7", "€", " \u200bx"):
        assert is_visible(text), text
    for text in ("", " \n\t", "\u200b", "\u2800", "\0", "\u0301", "\ufe0f", "\u3164", "\u00ad"):
        assert not is_visible(text), text
