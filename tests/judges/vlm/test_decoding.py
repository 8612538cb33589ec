"""Structured decoding over random and over scripted logits, for tokenizers of several kinds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import tiny
from lad_reasoner.answers import TAGS, parse_response
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.judges.served_grammar import REGEX, VISIBLE
from lad_reasoner.judges.vlm.decoding import Reply, StructuredDecoding
from lad_reasoner.judges.vlm.grammar import Grammar

PADDED = 9  # logits are often wider than the vocabulary
MAKERS: dict[str, Callable[[], Any]] = {
    "byte-level": tiny.byte_level_tokenizer,
    "byte-level, cut as Qwen does": lambda: tiny.byte_level_tokenizer(split=tiny.QWEN_SPLIT),
    "byte-level, merging across words": lambda: tiny.byte_level_tokenizer(600, split=r"[\s\S]+"),
    "byte-level, single characters": lambda: tiny.byte_level_tokenizer(264),
    "tags as added tokens": tiny.tag_token_tokenizer,
    "SentencePiece BPE": tiny.sentencepiece_tokenizer,
    "SentencePiece BPE, tags in bytes": lambda: tiny.sentencepiece_tokenizer(bytes_for_tags=True),
    "SentencePiece Unigram": lambda: tiny.sentencepiece_tokenizer("unigram"),
}
KINDS = list(MAKERS)


@cache
def grammar(kind: str) -> Grammar:
    tokenizer = MAKERS[kind]()
    placeholders = (
        [tokenizer.convert_tokens_to_ids("<|image_pad|>")] if "<|image_pad|>" in tokenizer.get_vocab() else []
    )
    return Grammar(
        tokenizer,
        size=len(tokenizer) + PADDED,
        ends=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        placeholders=placeholders,
    )


Logits = Callable[[int, list[list[int]]], torch.Tensor]


def generate(
    decoding: StructuredDecoding, rows: int, logits: Logits, *, sample: bool, seed: int = 0
) -> list[list[int]]:
    """What `generate` does: rows that have ended are padded, and it stops when all have. Returns the ids it wrote."""
    randomness = torch.Generator().manual_seed(seed)
    ends = decoding.grammar.ends
    ids = torch.zeros(rows, 3, dtype=torch.long)  # a prompt
    finished = torch.zeros(rows, dtype=torch.bool)
    for step in range(decoding.max_new_tokens):
        scores = decoding(ids, logits(step, ids[:, 3:].tolist()))
        drawn = torch.multinomial(scores.softmax(-1), 1, generator=randomness)[:, 0]
        tokens = drawn if sample else scores.argmax(-1)
        tokens[finished] = 0
        finished |= torch.isin(tokens, torch.tensor(ends))
        ids = torch.cat([ids, tokens[:, None]], 1)
        if finished.all():
            return ids[:, 3:].tolist()
    raise AssertionError(f"not finished after {decoding.max_new_tokens} tokens: {decoding.replies()}")


def check_replies(decoding: StructuredDecoding, written: list[list[int]], never: set[int]) -> list[Reply]:
    """Every reply is structured, is what was written, and agrees with it."""
    replies = decoding.replies()
    for reply, ids in zip(replies, written, strict=True):
        response = parse_response(reply.text)
        assert response.structured, reply.text
        # What services are sent allows the same, if a character of a common script is there.
        assert re.fullmatch(REGEX, reply.text) or not re.search(f"[<{VISIBLE}]", response.reasoning), reply.text
        assert 0 <= reply.score <= 1
        assert decoding.grammar.decode(ids[: reply.tokens]) == reply.text
        assert ids[reply.tokens] == decoding.grammar.ends[0]
        assert not never & set(ids[: reply.tokens])
        assert reply.tokens < decoding.max_new_tokens
    return replies


def forbidden_everywhere(kind: str) -> set[int]:
    tokenizer = grammar(kind).tokenizer
    names = [*tiny.QWEN_SPECIAL, "<unk>", "<s>", "</s>", "<pad>", "<image>"]
    return {tokenizer.get_vocab()[name] for name in names if name in tokenizer.get_vocab()}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_logits_give_structured_responses(kind: str, data: st.DataObject) -> None:
    rules = grammar(kind)
    rows = data.draw(st.integers(1, 4), label="rows")
    budget = data.draw(st.integers(1, 24), label="budget")
    sample = data.draw(st.booleans(), label="sample")
    scale = data.draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]), label="scale")
    favour = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]), label="favour") * max(scale, 1.0)
    seed = data.draw(st.integers(0, 2**31), label="seed")
    # Pieces of tags, blanks, halves of characters, ends and placeholders are what can go wrong: they come more often.
    wanted = data.draw(st.lists(st.sampled_from(suspects(kind)), max_size=12), label="favoured")
    randomness = torch.Generator().manual_seed(seed)

    def logits(step: int, written: list[list[int]]) -> torch.Tensor:
        noise = torch.randn(rows, rules.size, generator=randomness) * scale
        if wanted:
            noise[:, wanted] += favour * torch.rand(rows, len(wanted), generator=randomness) * 4
        return noise

    decoding = StructuredDecoding(rules, budget)
    check_replies(decoding, generate(decoding, rows, logits, sample=sample, seed=seed), forbidden_everywhere(kind))


@cache
def suspects(kind: str) -> list[int]:
    rules = grammar(kind)
    texts = {token: rules.text(token) for token in range(len(rules.tokenizer))}
    parts = {tag[start:end] for tag in TAGS for start in range(len(tag)) for end in range(start + 1, len(tag) + 1)}
    tokens = [
        token
        for token, text in texts.items()
        if text.lower() in parts or not text.strip() or "\ufffd" in text or any(letter in text for letter in "<>/")
    ]
    return sorted({*tokens, *rules.ends, *forbidden_everywhere(kind)})


def spelling(kind: str, text: str, *, characters: bool = False) -> list[int]:
    """Ids that write this text, as the tokenizer would or character by character."""
    tokenizer = grammar(kind).tokenizer
    parts = list(text) if characters else [text]
    return [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]


def scripted(kind: str, scripts: list[list[int]], answer: str = "yes") -> Logits:
    """Row by row a model that wants to write this script after `<think>`, then would go on with `x` for ever."""
    rules = grammar(kind)
    lead = len(rules.start)
    filler = spelling(kind, "x")[-1]

    def logits(step: int, written: list[list[int]]) -> torch.Tensor:
        scores = torch.zeros(len(scripts), rules.size)
        for row, script in enumerate(scripts):
            place = step - lead
            scores[row, script[place] if 0 <= place < len(script) else filler] += 20
            for ending in (rules.full, rules.short):
                scores[row, (ending.yes if answer == "yes" else ending.no).first] += 5
        return scores

    return logits


def check_run(kind: str, scripts: list[list[int]], *, budget: int = 40, answer: str = "yes") -> list[Reply]:
    decoding = StructuredDecoding(grammar(kind), budget)
    written = generate(decoding, len(scripts), scripted(kind, scripts, answer), sample=False)
    return check_replies(decoding, written, forbidden_everywhere(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ["yes", "no"])
def test_reasoning_is_kept_and_the_answer_is_the_models(kind: str, answer: str) -> None:
    text = "One screw is missing."
    (reply,) = check_run(kind, [spelling(kind, text + "</think>")], answer=answer)
    response = parse_response(reply.text)
    assert (response.reasoning, response.answer, reply.forced) == (text, answer, False)
    assert (reply.score > 0.5) == (answer == "yes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("characters", [False, True])
def test_the_end_tag_in_any_pieces_ends_the_reasoning(kind: str, characters: bool) -> None:
    ids = spelling(kind, "No. All items</think>", characters=characters)
    if characters and "SentencePiece" in kind:
        # Encoding a character alone puts a space before it; the pieces themselves have none.
        vocabulary = grammar(kind).tokenizer.get_vocab()
        ids = [vocabulary.get(c, vocabulary.get(f"<0x{ord(c):02X}>")) for c in "Noitems</think>"]
        if None in ids:
            pytest.skip("this vocabulary cannot write single characters")
    (reply,) = check_run(kind, [ids])
    assert not reply.forced
    assert parse_response(reply.text).reasoning.endswith("items")


@pytest.mark.parametrize("kind", KINDS)
def test_budget_cuts_the_reasoning(kind: str) -> None:
    long = spelling(kind, "The query shows one red screw. " * 10)
    for budget in (1, 2, 5):
        (reply,) = check_run(kind, [long], budget=budget)
        assert reply.forced
        expected = grammar(kind).decode([*grammar(kind).start, *long[:budget]])
        assert reply.text.startswith(expected.rstrip())


@pytest.mark.parametrize("kind", KINDS)
def test_end_of_text_ends_the_reasoning(kind: str) -> None:
    for end in grammar(kind).ends:
        (reply,) = check_run(kind, [[*spelling(kind, "Nothing is missing"), end]])
        assert parse_response(reply.text).reasoning == "Nothing is missing"
        assert not reply.forced


@pytest.mark.parametrize("kind", KINDS)
def test_empty_reasoning_is_impossible(kind: str) -> None:
    end = grammar(kind).ends[0]
    blank = spelling(kind, " \n \n ") or spelling(kind, "x y")[:1]
    for script in ([end] * 30, spelling(kind, "</think>") * 6, (blank * 40)[:40], [*blank, end, *blank, end]):
        check_run(kind, [script], budget=12)


def test_a_reasoning_of_white_space_alone_is_filled() -> None:
    blank = spelling("byte-level", " ") * 20
    (reply,) = check_run("byte-level", [blank], budget=5)
    assert reply.forced
    assert parse_response(reply.text).reasoning == "..."


@pytest.mark.parametrize("letter", ["\u200b", "\u2800", "\0", "\u0301"])
def test_a_reasoning_of_which_nothing_is_visible_is_not_ended_but_filled(letter: str) -> None:
    begun = spelling("byte-level", letter)
    (ended,) = check_run("byte-level", [begun + spelling("byte-level", "</think>")], budget=40)
    assert "x" in parse_response(ended.text).reasoning
    (cut,) = check_run("byte-level", [begun * 5], budget=len(begun) * 5)
    assert parse_response(cut.text).reasoning == letter * 5 + "..."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tag", ["<think>", "<answer>", "</answer>", "</THINK>", "<Answer>yes", "</thin\u212a>"])
def test_tags_inside_the_reasoning_are_impossible(kind: str, tag: str) -> None:
    for characters in (False, True):
        check_run(kind, [spelling(kind, f"items {tag} match", characters=characters)], budget=60)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_independent_of_their_neighbours(kind: str) -> None:
    scripts = [
        spelling(kind, "Yes.</think>"),
        spelling(kind, "One screw is missing. " * 9),
        [*spelling(kind, "All items match"), grammar(kind).ends[0]],
        spelling(kind, "the <think> tag </think>\n\n<answer>no"),
    ]
    assert check_run(kind, scripts) == [check_run(kind, [script])[0] for script in scripts]


def test_half_a_character_glued_to_the_end_of_a_tag_is_impossible() -> None:
    """The Kelvin sign counts as a k where case is ignored; here its last byte and `>` are one token."""
    tokenizer = tiny.glued_tokenizer()
    rules = Grammar(tokenizer, size=len(tokenizer), ends=[tokenizer.eos_token_id])
    glued = tokenizer.convert_tokens_to_ids(["â", "Ħ", "ª>"])
    script = [*tokenizer.encode("items </thin"), *glued]
    assert rules.decode(script) == "items </thin\u212a>"

    def logits(step: int, written: list[list[int]]) -> torch.Tensor:
        scores = torch.zeros(1, rules.size)
        scores[0, script[min(max(step - len(rules.start), 0), len(script) - 1)]] = 20
        return scores

    decoding = StructuredDecoding(rules, 30)
    check_replies(decoding, generate(decoding, 1, logits, sample=False), set())


def test_what_follows_a_merged_end_tag_is_led_on() -> None:
    """`><` is one token of this vocabulary: the model that writes it has begun the answer tag."""
    kind = "byte-level"
    ids = spelling(kind, "Nothing is missing</think><answer>")
    assert "><" in grammar(kind).tokenizer.convert_ids_to_tokens(ids)
    (reply,) = check_run(kind, [ids])
    assert reply.text == "<think>Nothing is missing</think><answer>yes</answer>"
    assert grammar(kind).tokenizer.encode(reply.text) == spelling(kind, reply.text)


@pytest.mark.parametrize("kind", KINDS)
def test_score_sums_the_spellings_and_ignores_the_mask(kind: str) -> None:
    rules = grammar(kind)
    torch.manual_seed(5)
    fixed = torch.randn(1, rules.size) * 3
    decoding = StructuredDecoding(rules, 3)
    generate(decoding, 1, lambda step, written: fixed, sample=False)
    (row,) = decoding.rows
    assert row.ending is not None
    odds = fixed[0].double().exp()
    yes, no = (sum(odds[token].item() for token in choice.variants) for choice in (row.ending.yes, row.ending.no))
    assert decoding.replies()[0].score == pytest.approx(yes / (yes + no), abs=1e-5)
    assert (parse_response(decoding.replies()[0].text).answer == "yes") == (yes > no)
    # Cut as Qwen does, `>yes` is one token, and the only one of this small vocabulary.
    merged = kind == "byte-level, cut as Qwen does"
    pieces = [rules.text(token.item()).strip().lower() for token in row.ending.yes.variants]
    assert all(piece.startswith(">y" if merged else "y") for piece in pieces)
    assert len(pieces) >= (1 if merged else 2)


def test_a_tie_is_a_yes_as_a_score_of_one_half_is() -> None:
    rules = grammar("byte-level")
    assert len(rules.full.yes.variants) == len(rules.full.no.variants)
    decoding = StructuredDecoding(rules, 3)
    generate(decoding, 1, lambda step, written: torch.zeros(1, rules.size), sample=False)
    (reply,) = decoding.replies()
    assert (reply.score, parse_response(reply.text).answer) == (0.5, "yes")


def test_numbers_that_are_none_are_refused() -> None:
    decoding = StructuredDecoding(grammar("byte-level"), 2)
    with pytest.raises(MachineError, match="not a number"):
        generate(decoding, 1, lambda step, written: torch.full((1, decoding.grammar.size), math.nan), sample=False)


def test_a_tokenizer_that_cannot_write_the_tags_is_refused() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1, "no": 2, "x": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="x")
    with pytest.raises(InputError, match="cannot write"):
        Grammar(tokenizer, size=4, ends=[3])


def test_no_end_of_text_and_no_budget_are_refused() -> None:
    with pytest.raises(InputError, match="end-of-text"):
        Grammar(tiny.byte_level_tokenizer(), size=420, ends=[])
    with pytest.raises(ValueError, match="at least one token"):
        StructuredDecoding(grammar("byte-level"), 0)
