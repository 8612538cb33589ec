"""The faster vision steps give what Transformers gives, with windows and pictures of several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import tiny
from lad_reasoner.judges.vlm import checkpoint as model_module
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.qwen_speedups import speed_up


def look(folder: Path, sizes: list[tuple[int, int]]) -> torch.Tensor:
    """The vision tower's tokens for pictures of these sizes."""
    checkpoint = load_checkpoint(folder, device="cpu")
    pictures = [Image.effect_noise(size, 60).convert("RGB") for size in sizes]
    torch.manual_seed(0)
    inputs: Any = checkpoint.processor.image_processor(images=pictures, return_tensors="pt")
    noise = torch.randn(inputs["pixel_values"].shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = checkpoint.model.model.visual(noise, grid_thw=inputs["image_grid_thw"])
    tokens: torch.Tensor = found.pooler_output
    return tokens


@pytest.mark.parametrize("build", [tiny.save_qwen, tiny.save_qwen3])
def test_tokens_are_those_of_transformers(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "model")
    sizes = [(112, 84), (140, 140), (56, 196), (112, 84)]
    fast = look(folder, sizes)
    monkeypatch.setattr(model_module, "speed_up", lambda model: False)
    slow = look(folder, sizes)
    assert fast.shape == slow.shape
    assert torch.allclose(fast, slow, atol=1e-5)


def test_towers_of_other_families_stay_as_they_are(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny.save_llava(tmp_path / "model"))
    assert not speed_up(checkpoint.model)


@pytest.mark.parametrize("build", [tiny.save_qwen, tiny.save_qwen3])
def test_gradients_are_those_of_transformers(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "model")
    gradients: list[dict[str, torch.Tensor]] = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(model_module, "speed_up", lambda model: False)
        checkpoint = load_checkpoint(folder, device="cpu")
        pictures = [Image.effect_noise(size, 60).convert("RGB") for size in ((112, 84), (56, 196), (112, 84))]
        grids = checkpoint.processor.image_processor(images=pictures, return_tensors="pt")["image_grid_thw"]
        tower = checkpoint.model.model.visual
        width = tower.patch_embed.proj.weight[0].numel()
        noise = torch.randn(int(grids.prod(-1).sum()), width, generator=torch.Generator().manual_seed(1))
        tower(noise, grid_thw=grids).pooler_output.square().mean().backward()
        gradients.append({name: weight.grad for name, weight in tower.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        scale = gradients[1][name].abs().max().item()
        assert gradient == pytest.approx(gradients[1][name], abs=1e-5 * max(scale, 1.0)), name


@pytest.mark.parametrize("build", [tiny.save_qwen, tiny.save_qwen3])
def test_every_module_with_weights_is_called(build: Any, tmp_path: Path) -> None:
    """DeepSpeed's ZeRO-3 gathers the weights of a module when it is called, and at no other time."""
    checkpoint = load_checkpoint(build(tmp_path / "model"), device="cpu")
    tower = checkpoint.model.model.visual
    owners = {name: module for name, module in tower.named_modules() if list(module.parameters(recurse=False))}
    called: set[str] = set()
    for name, module in owners.items():
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
    grids = torch.tensor([[1, 8, 12]])
    tower(torch.zeros(96, tower.patch_embed.proj.weight[0].numel()), grid_thw=grids)
    assert called == owners.keys()
