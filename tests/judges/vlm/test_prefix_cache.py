"""References are read once, and the answers are those of the plain path, which reads them for every query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import tiny
from lad_reasoner import Inspector, load_model
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.judges.vlm.decoding import Reply
from lad_reasoner.judges.vlm.generation import why_not
from lad_reasoner.judges.vlm.prefix_cache import MOST, Prefix, PrefixCache, Rows
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine

READ_ONCE: dict[str, Callable[[Path], Path]] = {"qwen2.5-vl": tiny.save_qwen, "qwen3-vl": tiny.save_qwen3}
READ_AGAIN: dict[str, Callable[[Path], Path]] = {"llava": tiny.save_llava, "idefics3": tiny.save_idefics}
# Pictures of several sizes: rows have lengths of their own, and pictures take more places in width than in height.
SIZES = [(96, 64), (40, 120), (64, 64), (150, 90), (33, 31)]
QUERIES = [tiny.picture(seed, *size) for seed, size in enumerate(SIZES, 1)]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    makers = READ_ONCE | READ_AGAIN

    def load(name: str) -> Checkpoint:
        return load_checkpoint(makers[name](tmp_path_factory.mktemp(name)) if name in makers else name)

    return cache(load)


def make_references(count: int) -> list[Image.Image]:
    return [tiny.picture(100 + number, 70 + 30 * number, 90) for number in range(count)]


def plainly(engine: TransformersEngine, pairs: Sequence[Sequence[Image.Image]]) -> list[Reply]:
    """The replies by Transformers' own loop, which reads all of a prompt for each pair."""
    own, engine.generator = engine.generator, None
    try:
        return engine.respond(pairs)
    finally:
        engine.generator = own


def count_looks(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of pictures that go through the vision tower, pass by pass."""
    model, looks = engine.checkpoint.model.model, []
    get_image_features = model.get_image_features

    def look(pixels: Any, grids: Any, **options: Any) -> Any:
        looks.append(len(grids))
        return get_image_features(pixels, grids, **options)

    monkeypatch.setattr(model, "get_image_features", look)
    return looks


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", ["micro", *READ_ONCE])
def test_scores_and_texts_are_those_of_the_plain_path(
    name: str, count: int, load: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(load(name), reasoning_tokens=24, batch_size=3)
    references = make_references(count)
    pairs = [[*references, query] for query in QUERIES]
    expected = plainly(engine, pairs)
    looks = count_looks(engine, monkeypatch)
    for replies in (engine.respond(pairs), engine.respond(pairs)):
        assert [reply.text for reply in replies] == [reply.text for reply in expected]
        assert [reply.score for reply in replies] == pytest.approx([reply.score for reply in expected], abs=1e-3)
        assert [reply.tokens for reply in replies] == [reply.tokens for reply in expected]
    # Each query in two runs, each reference once.
    assert sum(looks) == 2 * len(QUERIES) + count


@pytest.mark.parametrize(
    ("name", "change"), [("qwen2.5-vl", {"hidden_act": "gelu"}), ("qwen3-vl", {"attention_bias": True})]
)
def test_a_language_part_that_is_not_the_usual_one(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder = READ_ONCE[name](tmp_path / name)
    config = AutoConfig.from_pretrained(folder)
    for field, value in change.items():
        setattr(config.text_config, field, value)
    model = AutoModelForImageTextToText.from_config(config)
    for weight_name, weight in model.named_parameters():
        if weight_name.endswith("o_proj.bias"):
            torch.nn.init.normal_(weight)
    model.save_pretrained(folder)
    engine = TransformersEngine(load_checkpoint(folder), reasoning_tokens=6)
    pairs = [[*make_references(1), query] for query in QUERIES[:2]]
    expected = [reply.score for reply in plainly(engine, pairs)]
    assert [reply.score for reply in engine.respond(pairs)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", list(READ_ONCE))
def test_a_batch_may_hold_known_and_new_references(name: str, load: Callable[[str], Checkpoint]) -> None:
    engine = TransformersEngine(load(name), reasoning_tokens=12, batch_size=6)
    first, second, third = make_references(3)
    engine.respond([[first, QUERIES[0]]])
    pairs = [[first, QUERIES[1]], [second, third, QUERIES[2]], [second, QUERIES[3]], [first, QUERIES[4]]]
    for reply, expected in zip(engine.respond(pairs), plainly(engine, pairs), strict=True):
        assert reply.text == expected.text
        assert reply.score == pytest.approx(expected.score, abs=1e-3)


def test_rotary_positions_continue_behind_the_references(load: Callable[[str], Checkpoint]) -> None:
    """The ids and positions of the split prompt are those that Transformers makes of the whole."""
    for name in READ_ONCE:
        engine = TransformersEngine(load(name))
        generator = engine.generator
        assert generator is not None
        pair = [*make_references(2), QUERIES[1]]
        inputs = engine._prepare([pair])
        layout = generator._lay_out(tuple(generator.prepare(image).grid for image in pair), engine._prompt)
        assert layout.ids.tolist() == inputs["input_ids"][0].tolist()
        model = engine.checkpoint.model.model
        positions, shift = model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=inputs["attention_mask"],
        )
        assert torch.equal(layout.positions, positions[:, 0])
        assert layout.shift == shift.item() < 0  # a picture takes fewer positions than tokens
        query = model.config.image_token_id
        assert layout.ids[layout.prefix].item() == query
        assert (layout.ids[: layout.prefix] == query).sum() == (layout.ids == query).sum() - _tokens(generator, pair[2])


def _tokens(generator: Any, image: Image.Image) -> int:
    return len(generator.prepare(image).patches) // int(generator.merged)


@pytest.mark.parametrize("name", list(READ_AGAIN))
def test_other_models_read_them_again_and_say_so_once(name: str, load: Callable[[str], Checkpoint]) -> None:
    engine = TransformersEngine(load(name), reasoning_tokens=12)
    assert why_not(engine.checkpoint.model)
    assert engine.generator is None
    (note,) = engine.notes
    assert "the references are read again for every query" in note
    (reply,) = engine.respond([[*make_references(1), QUERIES[0]]])
    assert reply.text


def test_models_that_read_them_once_say_nothing(load: Callable[[str], Checkpoint]) -> None:
    for name in READ_ONCE:
        assert TransformersEngine(load(name)).notes == ()
    sliding = load("qwen2.5-vl").model
    text = sliding.config.get_text_config()
    kept, text.layer_types = text.layer_types, ["full_attention", "sliding_attention"]
    assert why_not(sliding) == "attention in a sliding window"
    text.layer_types = kept
    assert why_not(sliding) == ""


def test_two_inspectors_on_one_judge_in_two_threads(load: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    judge = load_model(load("qwen2.5-vl").name, reasoning_tokens=12)
    inspectors = [Inspector(judge, [reference]) for reference in make_references(2)]
    alone = [[inspector.inspect(query).response for query in QUERIES] for inspector in inspectors]
    judge.engine.generator.cache = PrefixCache()  # type: ignore[attr-defined]
    together: dict[int, list[str]] = {}

    def inspect(number: int) -> None:
        together[number] = [inspectors[number].inspect(query).response for query in QUERIES]

    threads = [Thread(target=inspect, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone


def make_prefix(reference: Image.Image, tokens: int) -> Prefix:
    layer = torch.zeros(tokens, 1, 1)
    return Prefix((reference,), ((1, 2, 2),), ((layer, layer),))


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest() -> None:
    references = make_references(4)
    kept = PrefixCache(most_bytes=2 * 8 * 10)
    for reference in references[:2]:
        kept.put(make_prefix(reference, 10))
    assert kept.get(references[:1]) is not None  # used: the other one goes first
    kept.put(make_prefix(references[2], 10))
    assert [kept.get([reference]) is not None for reference in references] == [True, False, True, False]
    assert kept.bytes == 160
    kept.put(make_prefix(references[3], 30))  # larger than all room: the others stay
    assert len(kept) == 2
    kept.put(make_prefix(references[2], 10))
    assert (len(kept), kept.bytes) == (2, 160)


def test_the_cache_keeps_few_references_however_small() -> None:
    kept = PrefixCache()
    references = [tiny.picture(seed, 8, 8) for seed in range(MOST + 3)]
    for reference in references:
        kept.put(make_prefix(reference, 1))
    assert len(kept) == MOST
    assert kept.get(references[:1]) is None
    assert kept.get(references[-1:]) is not None


def test_rows_of_several_lengths_do_not_see_what_fills_them_up() -> None:
    rows = Rows(2, 4)
    places = torch.tensor([[0, 1, 2], [0, 4, 4]])  # the second row has one token
    mask = rows.place(places, 3)
    assert mask[:, 0].int().tolist()[0] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert mask[1, 0, 0].int().tolist() == [1, 0, 0]
    states = torch.arange(1.0, 7.0).reshape(2, 1, 3, 1)
    keys, _ = rows.update(states, states, 0)
    assert keys[:, 0, :, 0].tolist() == [[1, 2, 3], [4, 0, 0]]
    rows.place(torch.tensor([[3], [1]]), 4)
    keys, _ = rows.update(torch.tensor([[[[7.0]]], [[[8.0]]]]), torch.zeros(2, 1, 1, 1), 0)
    assert keys[:, 0, :, 0].tolist() == [[1, 2, 3, 7], [4, 8, 0, 0]]
    rows.keep(torch.tensor([1]))
    assert rows.take(0, 2)[0][0][:, 0, 0].tolist() == [4, 8]
