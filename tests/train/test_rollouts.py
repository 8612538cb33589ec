"""Which tokens of a sampled response were forced, and what vLLM is asked for."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import tiny
from lad_reasoner.answers import is_visible, parse_response
from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.judges.vlm.decoding import StructuredDecoding, Written
from lad_reasoner.judges.vlm.grammar import make_grammar, response_regex
from lad_reasoner.train.rollouts import Rollouts, find_chosen

pytest.importorskip("trl")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(tiny.save_qwen(tmp_path_factory.mktemp("rollouts") / "model"))


def write(checkpoint: Checkpoint, wishes: list[str], budget: int) -> Written:
    """A response whose model always wants the next of these texts most, then to end the text, and answers yes."""
    grammar = make_grammar(checkpoint)
    ids = [token for text in wishes for token in grammar.tokenizer.encode(text, add_special_tokens=False)]
    decoding = StructuredDecoding(grammar, budget)
    sequence = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(200):
        scores = torch.zeros(1, grammar.size)
        step = decoding.rows[0].reasoned + int(not decoding.rows[0].queue) if decoding.rows else 0
        wanted = ids[step] if step < len(ids) else grammar.ends[0]
        scores[0, wanted] = 9.0
        scores[0, grammar.full.yes.first] += 5.0
        token = decoding(sequence, scores).argmax(-1)
        sequence = torch.cat([sequence, token[None]], 1)
        if token.item() == grammar.ends[0]:
            break
    [written] = decoding.written()
    assert list(written.ids) == sequence[0, 1:].tolist()
    return written


def parts(checkpoint: Checkpoint, written: Written) -> tuple[str, str]:
    """The text of the chosen tokens and of the forced ones."""
    decode = checkpoint.processor.tokenizer.decode
    chosen = [token for token, choice in zip(written.ids, written.chosen, strict=True) if choice]
    forced = [token for token, choice in zip(written.ids, written.chosen, strict=True) if not choice]
    return decode(chosen), decode(forced)


def test_tags_are_forced_and_reasoning_and_answer_chosen(checkpoint: Checkpoint) -> None:
    written = write(checkpoint, ["One screw is missing."], 60)
    assert not written.forced
    chosen, forced = parts(checkpoint, written)
    assert chosen.startswith("One screw is missing.")
    assert chosen.endswith("yes")
    assert "missing" not in forced
    assert forced.startswith("<think>")
    assert forced.endswith("</answer><|im_end|>")


def test_a_reasoning_that_is_cut_off_ends_without_a_choice(checkpoint: Checkpoint) -> None:
    written = write(checkpoint, ["One screw is missing. " * 9], 12)
    assert written.forced
    chosen, forced = parts(checkpoint, written)
    assert sum(written.chosen) == 13  # twelve of the reasoning, and the answer
    assert chosen.endswith("yes")
    assert "</think>" in forced


def test_a_frame_that_leaves_no_room(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"^--max_completion_length: must be at least 17, not 16: the tags take 16"):
        Rollouts(checkpoint, tokens=16, at_once=4, about="--max_completion_length")
    assert Rollouts(checkpoint, tokens=17, at_once=4).budget == 1
    rollouts = Rollouts(checkpoint, tokens=64, at_once=4)
    assert StructuredDecoding(rollouts.grammar, rollouts.budget).max_new_tokens == 64


def test_a_template_that_opens_the_tag_is_refused(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    template = checkpoint.processor.tokenizer.chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
    monkeypatch.setattr(checkpoint.processor, "chat_template", template)
    with pytest.raises(InputError, match="opens <think> itself"):
        Rollouts(checkpoint, tokens=64, at_once=4)


def test_a_free_response_ends_where_the_model_ends_it(checkpoint: Checkpoint) -> None:
    """And is not cut off there; what stands for pictures is never sampled."""
    rollouts = Rollouts(checkpoint, tokens=64, at_once=4, structured=False)
    end = rollouts.grammar.ends[0]
    scores = torch.zeros(1, rollouts.grammar.size)
    scores[0, end] = 9.0
    assert rollouts._forbid_placeholders(torch.zeros(1, 1), scores).argmax().item() == end
    image = checkpoint.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert rollouts._forbid_placeholders(torch.zeros(1, 1), scores)[0, image] == -torch.inf
    assert rollouts._cut([5, 6, end, 0]) == Written((5, 6, end), (True,) * 3, forced=False)
    assert rollouts._cut([5, 6]) == Written((5, 6), (True,) * 2, forced=True)


@given(st.from_regex(response_regex(20), fullmatch=True))
def test_what_vllm_may_write_is_structured_where_the_reasoning_is_visible(text: str) -> None:
    reasoning = text.removeprefix("<think>").partition("</think>")[0]
    assert parse_response(text).structured == is_visible(reasoning)
    assert len(reasoning) <= 80


@given(
    st.text(alphabet="ab >/\n.", min_size=1, max_size=20),
    st.sampled_from(["yes", "no"]),
    st.lists(st.integers(1, 70), max_size=30),
)
def test_chosen_tokens_are_found_however_the_text_is_cut(reasoning: str, word: str, cuts: list[int]) -> None:
    text = f"<think>{reasoning}</think><answer>{word}</answer>"
    places = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    tokens = [text[start:end] for start, end in pairwise(places)]
    needed = {*range(7, 8 + len(reasoning)), text.rindex("<answer>") + 8}  # reasoning, `<` of its end, the answer
    for token, start, choice in zip(
        [*tokens, "<|im_end|>"], [*places], [*find_chosen([*tokens, "<|im_end|>"], 64)], strict=True
    ):
        assert choice == any(start <= place < start + len(token) for place in needed)


def test_all_of_a_cut_off_response_is_chosen() -> None:
    assert find_chosen(["<think>", "a", " b", "<"], 64) == [False, True, True, True]
    assert find_chosen(["<thi"], 64) == [False]


def test_both_ways_of_finding_forced_tokens_agree(checkpoint: Checkpoint) -> None:
    grammar: Any = make_grammar(checkpoint)
    written = write(checkpoint, ["One screw is missing."], 60)
    texts = [grammar.text(token) for token in written.ids]
    assert re.fullmatch(response_regex(60), "".join(texts[:-1]))
    assert find_chosen(texts, 60) == list(written.chosen)


def test_an_end_that_the_bound_forced_is_not_chosen() -> None:
    """Four tokens of four characters: nothing but the end tag could follow."""
    for last, choice in (("dddd", False), ("ddd", True)):
        texts = ["<think>", "aaaa", "bbbb", "cccc", last, "</", "think", "><answer>", "no", "</answer>", "<|im_end|>"]
        chosen = [False, True, True, True, True, choice, False, False, True, False, False]
        assert find_chosen(texts, 4) == chosen
        assert re.fullmatch(response_regex(4), "".join(texts[:-1]))
    glued = ["<think>", "aaaa", "bbbb", "cccc", "dddd</", "think><answer>", "no", "</answer>"]
    assert find_chosen(glued, 4) == [False, True, True, True, True, False, True, False]


def test_the_reasoning_of_vllm_is_bounded_in_characters() -> None:
    """As long as decoding in this process allows, at four characters a token."""
    assert re.compile(response_regex(256)).fullmatch("<think>" + "x" * 1024 + "</think><answer>no</answer>")
    assert not re.compile(response_regex(256)).fullmatch("<think>" + "x" * 1025 + "</think><answer>no</answer>")
