"""With `structured: false` the structure reward teaches the form to a model that writes it only some of the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from helpers import tiny
from helpers.tutored import build, write_recipe
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.train import grpo
from lad_reasoner.train.dataset import load_set

pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

FORMS = ["<think>ok</think><answer>yes</answer>", "<think>ok</think>yes", "ok: yes", "<answer>yes</answer>"]


def teach_forms(folder: Path) -> None:
    """Train folder/model until each of FORMS is about as probable as the others; one of them is structured."""
    checkpoint = load_checkpoint(folder / "model")
    processor, row = checkpoint.processor, load_set(folder / "data", kind="pair")[0]
    prompt = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    texts = [f"{prompt}{form}<|im_end|>" for form in FORMS]
    inputs = dict(processor(text=texts, images=[row["images"]] * len(FORMS), padding=True, return_tensors="pt"))
    start = processor(text=[prompt], images=[row["images"]], return_tensors="pt")["input_ids"].shape[1]
    targets = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)[:, start:]
    optimizer = torch.optim.Adam(checkpoint.model.parameters(), lr=5e-3)
    for _ in range(70):
        logits = checkpoint.model(**inputs).logits[:, start - 1 : -1]
        loss = cross_entropy(logits.transpose(1, 2), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    checkpoint.model.save_pretrained(folder / "model")


@pytest.mark.slow  # twelve steps of sampling
def test_the_structure_reward_teaches_the_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.save_qwen(tmp_path / "model")
    build(tmp_path / "data", task="pair", records=6)
    teach_forms(tmp_path)
    history: list[dict[str, Any]] = []

    def keep(trainer: Any, recipe: Any, *_: Any, **__: Any) -> Path:
        history.extend(trainer.state.log_history)
        return Path(recipe.out)

    monkeypatch.setattr(grpo, "publish", keep)
    path = write_recipe(
        tmp_path,
        structured="false",
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=24,
        learning_rate="4e-4",
        beta=0.001,
        scale_rewards="batch",
        max_steps=12,
        save_strategy="'no'",
        use_cpu="true",
        bf16="false",
    )
    grpo.train_grpo(path)
    shares = [line["rewards/structure_reward/mean"] for line in history if "reward" in line]
    first, last = sum(shares[:3]) / 3, sum(shares[-3:]) / 3
    assert first < 0.5, shares
    assert last > first + 0.3, shares
