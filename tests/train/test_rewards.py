"""The rewards on responses by hand; every hole that others left open stays closed."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lad_reasoner
from lad_reasoner.answers import format_response, parse_response
from lad_reasoner.train.rewards import accuracy_reward, response_text, structure_reward

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
