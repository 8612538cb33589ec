"""The rewards on responses by hand; every hole that others left open stays closed."""

import asyncio
import json
import subprocess
import sys
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lad_reasoner
from lad_reasoner.answers import format_response, parse_response
from lad_reasoner.errors import InputError
from lad_reasoner.miniloco import CATALOGUE, PRODUCTS, make_scene
from lad_reasoner.miniloco.words import write_response
from lad_reasoner.train.rewards import (
    accuracy_reward,
    consistent_reward,
    faithful_reward,
    load_reward,
    places_reward,
    response_text,
    structure_reward,
)

YES, NO = "<think>One screw is missing.</think><answer>yes</answer>", "<think>All there.</think><answer>no</answer>"
VALID = {
    YES: "yes",
    NO: "no",
    " \n<think>a</think>\n<answer>\nno\n</answer>\n": "no",
    "<think>a < b > c</think> <answer> YES </answer>": "yes",
}
# What earns nothing, whatever the label: DESIGN, the holes of other implementations.
INVALID = [
    "",
    "yes",
    "There is no anomaly, so no.",
    "<think></think><answer>yes</answer>",
    "<think> \n </think><answer>yes</answer>",
    "<answer>yes</answer>",
    "<think>a</think>",
    "<think>a</think><answer></answer>",
    "<think>a</think><answer>normal</answer>",
    "<think>a</think><answer>yes or no</answer>",
    "<think>a</think><answer>yes</answer><answer>no</answer>",
    "<think>a</think><think>b</think><answer>yes</answer>",
    "<think>a<answer>no</answer></think><answer>yes</answer>",
    "<think>a</think><answer>yes</answer> because",
    "Well: <think>a</think><answer>yes</answer>",
    "<think>a</think>so<answer>yes</answer>",
    "<THINK>a</THINK><ANSWER>yes</ANSWER>",
]


@pytest.mark.parametrize(("text", "answer"), VALID.items())
def test_a_structured_response_is_rewarded(text: str, answer: str) -> None:
    other = {"yes": "no", "no": "yes"}[answer]
    assert structure_reward([text]) == [1.0]
    assert accuracy_reward([text, text], [answer, other]) == [1.0, 0.0]


@pytest.mark.parametrize("text", INVALID)
def test_anything_else_earns_nothing(text: str) -> None:
    assert structure_reward([text]) == [0.0]
    assert accuracy_reward([text, text], ["yes", "no"]) == [0.0, 0.0]


def test_what_trl_passes_is_understood() -> None:
    turns = [[{"role": "assistant", "content": YES}], [{"role": "assistant", "content": NO}]]
    columns: dict[str, Any] = {
        "prompts": [[], []],
        "completion_ids": [[1], [2]],
        "trainer_state": None,
        "id": ["a", "b"],
    }
    assert structure_reward(completions=turns, label=["yes", "yes"], **columns) == [1.0, 1.0]
    assert accuracy_reward(completions=turns, label=["yes", "yes"], **columns) == [1.0, 0.0]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": YES[:9]}, {"type": "text", "text": YES[9:]}]}]
    assert accuracy_reward([parts, [], [{"role": "assistant", "content": None}]], ["yes"] * 3) == [1.0, 0.0, 0.0]


def test_a_label_of_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'anomalous': must be yes or no"):
        accuracy_reward([YES], ["anomalous"])
    with pytest.raises(ValueError, match="shorter"):
        accuracy_reward([YES, NO], ["yes"])


@given(st.text(), st.sampled_from(["yes", "no"]))
def test_reward_and_parser_agree(text: str, label: str) -> None:
    response = parse_response(text)
    assert structure_reward([text]) == [float(response.structured)]
    assert accuracy_reward([text], [label]) == [float(response.answer == label)]
    assert accuracy_reward([text], [label])[0] <= structure_reward([text])[0]


@given(st.text(alphabet="ab <>/\n", min_size=1).filter(str.strip), st.booleans())
def test_what_we_write_is_rewarded(reasoning: str, anomalous: bool) -> None:
    text = format_response(reasoning, anomalous)
    assert response_text(text) == text
    assert accuracy_reward([text], ["yes" if anomalous else "no"]) == structure_reward([text]) == [1.0]


def test_the_package_offers_them_without_loading_torch() -> None:
    assert lad_reasoner.structure_reward is structure_reward
    assert lad_reasoner.accuracy_reward is accuracy_reward
    assert {"structure_reward", "accuracy_reward", "parse_response"} <= set(lad_reasoner.__all__)
    code = "import lad_reasoner, sys; lad_reasoner.accuracy_reward; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def scene(**counts: int) -> dict[str, Any]:
    """Facts of a picture with so many nuts, bolts …, all of steel."""
    items = [{"what": what, "colour": "steel"} for what, number in counts.items() for _ in range(number)]
    return {"items": items, "fills": [], "sights": [], "connections": [], "defect_words": "one nut is missing"}


FACTS = scene(nut=2, bolt=1), scene(nut=1, bolt=1)


def faithful(reasoning: str) -> float | None:
    text = reasoning if reasoning.startswith("<") else format_response(reasoning, True)
    return faithful_reward([text], facts=[[json.dumps(picture) for picture in FACTS]], query=[1])[0]


TRUE = "Reference to query: steel bolt x1 to x1 same, steel nut x2 to x1 less. One nut is missing."
EVERYTHING = ", ".join(f"steel nut x{a} to x{b} same, steel bolt x{a} to x{b} same" for a in range(6) for b in range(6))
ABSENT = ", ".join(f"{colour} gear x0 to x0 same" for colour in ("red", "blue", "green", "white", "black", "yellow"))


def test_a_true_and_complete_reasoning_is_faithful() -> None:
    assert faithful(TRUE) == 1
    assert faithful(write_response(*FACTS)) == 1
    some = faithful("The reference shows two steel nuts and one steel bolt. The query has one steel nut.")
    assert some is not None and 0.5 < some < 1


@pytest.mark.parametrize(
    ("reasoning", "at_most"),
    [
        ("Something is wrong.", 0.0),  # claims nothing
        ("Reference to query: nothing.", 0.0),
        (f"Reference to query: {ABSENT}.", 0.0),  # true, and tells nothing
        (f"Reference to query: {EVERYTHING}.", 0.5),  # less than half of the truth earns
        ("Reference to query: steel bolt x1 to x1 same.", 0.7),  # half of what there is to tell
        ("Reference to query: steel nut x5 to x6 more, steel bolt x3 to x3 same.", 0.7),  # only the colours are true
        (f"<answer>yes</answer>{TRUE}", 0.0),  # without the form
        (f"<think>{TRUE}</think>", 0.0),
    ],
)
def test_hacks_of_the_faithful_reward(reasoning: str, at_most: float) -> None:
    value = faithful(reasoning)
    assert value is not None and value <= at_most


def test_saying_more_of_the_same_does_not_pay() -> None:
    half = faithful("Reference to query: steel bolt x1 to x1 same.")
    assert half is not None and 0 < half < 1
    assert faithful("Reference to query: steel bolt x1 to x1 same, steel bolt x1 to x1 same.") == half
    assert faithful(f"Reference to query: steel bolt x1 to x1 same, {ABSENT}.") == half
    wrong = faithful("Reference to query: steel bolt x1 to x1 same, steel nut x7 to x7 same, steel nut x9 to x9 same.")
    complete = faithful(TRUE)
    assert wrong is not None and complete is not None and wrong < complete


def test_without_facts_it_does_not_apply() -> None:
    assert faithful_reward([YES, YES], facts=[[], ["", ""]], query=[1, 1]) == [None, None]


@pytest.fixture
def mask(tmp_path: Path) -> list[str]:
    """60 by 60, anomalous from (42, 2) to (54, 14): in the upper right."""
    values = np.zeros((60, 60), np.uint8)
    values[2:14, 42:54] = 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    return [str(tmp_path / "mask.png")]


@pytest.mark.parametrize(
    ("reasoning", "low", "high"),
    [
        ("The bolt in the upper right hole is missing.", 1, 1),
        ("The bolt at the top right is missing.", 1, 1),
        ("A nut is missing: box [84, 4, 108, 28].", 1, 1),  # the picture is twice as large as its mask
        ("A nut is missing: [90, 4, 114, 28].", 0.7, 0.8),
        ("The bolt in the lower left hole is missing.", 0, 0),
        ("The label is at the upper right. The bolt is missing.", 0, 0),  # no place of a change
        ("The bolt is missing.", 0, 0),
        ("A nut is missing: [0, 0, 120, 120].", 0, 0),  # everything
        ("Missing at upper left and upper right.", 0.5, 0.6),  # half of what is named is right: 2/3, and 0.2 is nothing
        ("A nut is missing: [84, 4, 84, 4].", 0, 0),
        ("A nut is missing: [108, 28, 84, 4].", 0, 0),
        (
            "Missing at upper left, upper middle, upper right, middle left, centre, middle right, lower left, "
            "lower middle and lower right.",
            0,
            0,
        ),
    ],
)
def test_places_are_held_against_the_mask(mask: list[str], reasoning: str, low: float, high: float) -> None:
    picture = Image.new("RGB", (120, 120))
    columns: dict[str, Any] = {"masks": [mask], "images": [[picture, picture]], "query": [1]}
    [value] = places_reward([format_response(reasoning, True)], **columns)
    assert value is not None and low <= value <= high
    assert places_reward([reasoning], **columns) == [0.0]  # without the form


def test_a_mask_is_turned_as_its_query(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # what is stored in the upper left is seen in the upper right
    Image.new("RGB", (60, 40)).save(tmp_path / "query.jpg", exif=exif)
    values = np.zeros((40, 60), np.uint8)
    values[2:10, 2:14] = 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    response = format_response("The bolt in the upper right hole is missing.", True)
    columns: dict[str, Any] = {"masks": [[str(tmp_path / "mask.png")]], "images": [[Image.new("RGB", (40, 60))]]}
    assert places_reward([response], **columns, query=[0], query_file=[str(tmp_path / "query.jpg")]) == [1.0]
    assert places_reward([response], **columns, query=[0]) == [0.0]  # nothing says how it is turned
    Image.new("RGB", (60, 60)).save(tmp_path / "square.jpg", exif=exif)  # does not fit: says no place
    assert places_reward([response], **columns, query=[0], query_file=[str(tmp_path / "square.jpg")]) == [None]


def test_a_reward_may_be_asynchronous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL awaits what is a coroutine function, and nothing else."""
    (tmp_path / "own_later.py").write_text(
        "import asyncio\n\n\nasync def reward(completions, values, **columns):\n"
        "    await asyncio.sleep(0)\n    return values[0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reward = load_reward("own_later:reward")
    assert iscoroutinefunction(reward) and not iscoroutinefunction(load_reward("structure"))
    assert asyncio.run(reward(["a", "b"], values=[[0.5, None]])) == [0.5, None]
    with pytest.raises(
        InputError, match="own_later:reward, asked about its records and others, returned 1 values for 2"
    ):
        asyncio.run(reward(["a", "b"], values=[[0.5]]))
    with pytest.raises(InputError, match="raised IndexError"):
        asyncio.run(reward(["a", "b"], values=[]))


def test_places_of_a_good_query_do_not_apply() -> None:
    assert places_reward([NO], masks=[[]], images=[[]], query=[0]) == [None]


@pytest.mark.parametrize(
    ("response", "value"),
    [
        (YES, 1),
        (format_response("Everything is in order.", False), 1),
        (format_response("Everything is in order.", True), 0),
        (format_response("One nut is missing.", False), 0),
        (format_response("The picture shows a plate.", True), 0),  # concludes nothing
        (format_response("It is wrong. No, everything is in order.", False), 1),  # the last one counts
        (format_response("No anomaly. One nut is missing.", False), 0),
        # What micro writes of a difference that the rule may allow: no follows, yes needs a fault.
        (format_response("Reference to query: red cable x1 to x2 more. It differs in cable.", False), 1),
        (format_response("Reference to query: red cable x1 to x2 more. It differs in cable.", True), 0),
        (format_response("It differs in nut. One nut is missing.", True), 1),
        (format_response("It differs in nut: one is missing.", True), 1),
        (format_response("One nut is missing. It differs in nut.", False), 0),
        (format_response("Reference to query: nothing.", True), 0),
        (format_response("Reference to query: nothing. Everything is in order. A cable is cut in two.", False), 0),
        (format_response("A cable is cut in two. Reference to query: nothing. Everything is in order.", False), 1),
        ("One nut is missing. yes", 0),
        ("<think>One nut is missing.</think>yes", 0),
    ],
)
def test_the_answer_follows_from_the_reasoning(response: str, value: float) -> None:
    assert consistent_reward([response]) == [value]


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_the_lessons_write_earns_everything(product: str) -> None:
    """Good pairs that differ in what the rule allows, and every logical defect of the product."""
    reference = make_scene(product, seed=1).facts()
    goods = [make_scene(product, seed=seed).facts() for seed in range(2, 8)]
    bads = [make_scene(product, seed=9, kind="logical", defect=name).facts() for name in CATALOGUE[product].defects]
    responses = [write_response(reference, query) for query in (*goods, *bads)]
    assert consistent_reward(responses) == [1.0] * len(responses)
