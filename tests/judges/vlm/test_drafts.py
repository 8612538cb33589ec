"""Drafts save passes of the model and change nothing of what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import tiny
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.drafts import MOST_AHEAD, MOST_KEPT, Drafts, Follower
from lad_reasoner.judges.vlm.fused_text import FusedText
from lad_reasoner.judges.vlm.prefix_cache import Rows
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine
from lad_reasoner.miniloco import draw_picture


def write(follower: Follower, text: list[int]) -> tuple[int, int]:
    """Let a model write this text: how many passes it takes, and how many proposals are wrong."""
    passes = wrong = 0
    written: list[int] = []
    while len(written) < len(text):
        proposed = follower.propose(len(text) - len(written) - 1)
        count = 1
        while count <= len(proposed) and proposed[count - 1] == text[len(written) + count - 1]:
            count += 1
        written += text[len(written) : len(written) + count]
        follower.follow(written, count, len(proposed))
        passes, wrong = passes + 1, wrong + len(proposed) + 1 - count
    assert written == text
    return passes, wrong


def test_the_same_text_takes_few_passes() -> None:
    text = list(range(100))
    drafts = Drafts()
    drafts.add(text)
    assert write(Follower(drafts), text) == (5, 0)  # 8, 16, 32 and 32 proposals, and what is left


def test_one_other_token_costs_one_pass_more() -> None:
    drafts = Drafts()
    drafts.add(list(range(100)))
    text = list(range(100))
    text[50] = 777
    passes, wrong = write(Follower(drafts), text)
    assert passes <= 7
    assert wrong <= MOST_AHEAD


def test_a_text_that_has_left_the_draft_finds_it_again() -> None:
    drafts = Drafts()
    drafts.add([*range(30), *range(500, 530)])
    text = [*range(10), *range(900, 905), *range(500, 530)]
    passes, _ = write(Follower(drafts), text)
    assert passes < 20


def test_without_drafts_nothing_is_proposed() -> None:
    follower = Follower(Drafts())
    assert write(follower, list(range(20))) == (20, 0)


def test_drafts_are_bounded() -> None:
    drafts = Drafts()
    for number in range(100):
        drafts.add(list(range(number, number + 70)))
        assert len(drafts.ids) <= MOST_KEPT
        assert drafts.ids[drafts.begin :] == list(range(number, number + 70))


def test_responses_are_the_same_and_take_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = draw_picture("screw_bag", "train", "good", 0, size=224, seed=3).image
    pairs = [
        [reference, draw_picture("screw_bag", "test", kind, index, size=224, seed=3).image]  # type: ignore[arg-type]
        for index in range(2)
        for kind in ("good", "logical")
    ]
    engine = TransformersEngine(load_checkpoint("micro"), batch_size=4)
    generator = engine.generator
    assert generator is not None
    step, passes = generator.step, []
    monkeypatch.setattr(generator, "step", lambda *given, **named: passes.append(1) or step(*given, **named))
    first = engine.respond(pairs)
    without = len(passes)
    again = engine.respond(pairs)
    assert [reply.text for reply in again] == [reply.text for reply in first]
    assert [reply.score for reply in again] == pytest.approx([reply.score for reply in first], abs=1e-3)
    assert len(passes) - without < 0.7 * without


@pytest.mark.parametrize("build", [tiny.save_qwen, tiny.save_qwen3])
def test_the_fused_language_part_gives_the_same_hidden_states(build: object, tmp_path: Path) -> None:
    text = load_checkpoint(build(tmp_path / "model")).model.model.language_model  # type: ignore[operator]
    fused = FusedText(text, torch.float32)
    torch.manual_seed(0)
    embedded = torch.randn(20, 40, 64)  # more than are read in one pass
    places = torch.arange(40).expand(20, -1)
    positions = torch.stack([places, places // 2, places // 3])
    deeper = [0.1 * torch.randn(20, 40, 64)] if build is tiny.save_qwen3 else []
    named = {}
    if deeper:
        named = {
            "visual_pos_masks": torch.ones(20, 40, dtype=torch.bool),
            "deepstack_visual_embeds": [deeper[0].flatten(0, 1)],
        }
    with torch.inference_mode():
        plain = text(inputs_embeds=embedded, position_ids=positions, **named).last_hidden_state
        rows = Rows(20, 44)
        rows.allocate(len(fused.layers), embedded, fused.shared, fused.width)
        # In two passes: the second attends to what the first has kept.
        first = fused(
            embedded[:, :25], positions[..., :25], rows, places[:, :25], 25, [part[:, :25] for part in deeper]
        )
        last = fused(embedded[:, 25:], positions[..., 25:], rows, places[:, 25:], 40, [part[:, 25:] for part in deeper])
    assert torch.allclose(torch.cat([first, last], 1), plain, atol=1e-5 * float(plain.abs().max()))
