"""The model that is trained: vision tower, pixel budget, precision, adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.train.settings import Recipe, TrainSettings
from lad_reasoner.train.trainee import adapter, check_frozen, load_trainee, vision_tower

pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def settings(folder: Path, **more: Any) -> Recipe[TrainSettings]:
    flags = {"max_pixels": "--max_pixels", "lora": "--lora"}
    return Recipe(Path("recipe.yaml"), TrainSettings(model=str(folder), data=folder, **more), {}, flags)


@pytest.mark.parametrize("save", [tiny.save_qwen, tiny.save_qwen3, tiny.save_llava, tiny.save_idefics])
def test_the_vision_tower_of_every_family(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    folder = save(tmp_path / "model")
    model = load_trainee(settings(folder, freeze_vision=True)).model
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} <= {"visual", "vision_tower", "vision_model"}
    assert frozen
    assert len(frozen) == len(list(vision_tower(settings(folder), model).parameters()))
    assert all(parameter.requires_grad for parameter in load_trainee(settings(folder)).model.parameters())


def test_a_model_without_a_vision_tower(tmp_path: Path) -> None:
    blind = torch.nn.Linear(2, 2)
    blind.get_encoder = lambda modality: blind  # type: ignore[assignment]
    blind.base_model = blind
    with pytest.raises(InputError, match=r"^recipe\.yaml: freeze_vision: Linear has no separate vision tower"):
        vision_tower(settings(tmp_path), blind)


def test_the_pixel_budget_must_be_one_that_the_model_can_carry(tmp_path: Path) -> None:
    qwen, llava = tiny.save_qwen(tmp_path / "qwen"), tiny.save_llava(tmp_path / "llava")
    assert load_trainee(settings(qwen, max_pixels=2000)).processor.image_processor.size["longest_edge"] == 2000
    with pytest.raises(InputError, match=r"^--max_pixels: the processor of .* has no pixel budget; remove the key"):
        load_trainee(settings(llava, max_pixels=2000))


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^recipe\.yaml: model: .*empty: no config\.json in it; give the folder of"):
        (tmp_path / "empty").mkdir()
        load_trainee(settings(tmp_path / "empty"))


def test_weights_are_trained_in_float32_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_trainee(settings(Path("micro-base"))).model.dtype is torch.float32  # bfloat16 on the disk
    assert load_trainee(settings(Path("micro-base"), dtype="bfloat16")).model.dtype is torch.bfloat16
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert load_trainee(settings(Path("micro-base"), lora={"r": 2})).model.dtype is torch.bfloat16


def test_adapters_keep_off_a_frozen_tower(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = tiny.save_qwen(tmp_path / "model")
    touched = {}
    for frozen in (True, False):
        wanted = settings(folder, lora={"r": 2}, freeze_vision=frozen)
        model = load_checkpoint(folder).model
        model = peft.get_peft_model(model, adapter(wanted, model))
        touched[frozen] = {name for name, _ in model.named_parameters() if "lora_A" in name}
    assert touched[True]
    assert not any("visual" in name for name in touched[True])
    assert any("visual" in name for name in touched[False])
    assert not any("lm_head" in name for name in touched[False])
    assert adapter(settings(folder), load_checkpoint(folder).model) is None
    with pytest.raises(InputError, match=r"^--lora: "):
        adapter(settings(folder, lora={"r": 2, "init_lora_weights": "loftq"}), load_checkpoint(folder).model)


@pytest.mark.parametrize("excluded", [["lm_head"], ["q_proj", "k_proj"], r".*\.q_proj", []])
def test_modules_that_the_user_excludes_join_the_frozen_tower(tmp_path: Path, excluded: list[str] | str) -> None:
    peft = pytest.importorskip("peft")
    folder = tiny.save_qwen(tmp_path / "model")
    wanted = settings(folder, lora={"r": 2, "exclude_modules": excluded}, freeze_vision=True)
    model = load_trainee(wanted).model
    model = peft.get_peft_model(model, adapter(wanted, model))
    touched = {name for name, _ in model.named_parameters() if "lora_A" in name}
    assert touched
    assert not any("visual" in name for name in touched)
    assert any("q_proj" in name for name in touched) == ("q_proj" not in str(excluded))
    check_frozen(wanted, model)


@pytest.mark.parametrize("key", ["modules_to_save", "whole tower"])
def test_a_frozen_tower_that_would_be_trained_is_refused(tmp_path: Path, key: str) -> None:
    peft = pytest.importorskip("peft")
    folder = tiny.save_qwen(tmp_path / "model")
    lora = {"r": 2, "modules_to_save": ["visual.merger"]} if key == "modules_to_save" else {"r": 2}
    wanted = settings(folder, lora=lora, freeze_vision=True)
    model = load_trainee(wanted).model
    model = peft.get_peft_model(model, adapter(wanted, model))
    if key == "whole tower":
        vision_tower(wanted, model.get_base_model()).requires_grad_(True)
    with pytest.raises(
        InputError, match=r"^recipe\.yaml: freeze_vision: the keys of lora train \d+ tensors of the vision tower"
    ):
        check_frozen(wanted, model)
    check_frozen(settings(folder, lora=lora), model)
