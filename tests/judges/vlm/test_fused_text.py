"""The fused language part gives what Transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import tiny
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.fused_text import FusedText
from lad_reasoner.judges.vlm.prefix_cache import Rows


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
