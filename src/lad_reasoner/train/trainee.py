"""The model that is trained: its weights in their precision, the vision tower frozen or not, an adapter or none.

    checkpoint = load_trainee(recipe)
    trainer = trl.SFTTrainer(checkpoint.model, peft_config=adapter(recipe, checkpoint.model), …)

**Deviations.** The paper does not say in which precision its weights were kept. All weights are trained in float32
(with bfloat16 arithmetic on a GPU) unless `dtype` says otherwise: at the paper's learning rate of 1e-6 most steps are
smaller than half the distance of two bfloat16 numbers and would be lost.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from lad_reasoner.errors import InputError, require
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.train.settings import Recipe


def load_trainee(recipe: Recipe[Any]) -> Checkpoint:
    """The checkpoint to train, on the CPU; the trainer moves it to its device.

    InputError, with the flag or the line of the file, if `model` cannot be used, if `max_pixels` is given and the
    processor has no pixel budget, since the finished model could not keep it, or if `freeze_vision` is set and the
    model has no vision tower.
    """
    settings = recipe.ours
    dtype = settings.dtype or ("bfloat16" if settings.lora is not None and torch.cuda.is_available() else "float32")
    try:
        checkpoint = load_checkpoint(settings.model, max_pixels=settings.max_pixels, device="cpu", dtype=dtype)
    except InputError as error:
        raise InputError(f"{recipe.where('model')}: {error}") from None
    if checkpoint.max_pixels is not None:
        place = recipe.where("max_pixels")
        raise InputError(f"{place}: the processor of {settings.model} has no pixel budget; remove the key")
    if settings.freeze_vision:
        vision_tower(recipe, checkpoint.model).requires_grad_(False)
    return checkpoint


def vision_tower(recipe: Recipe[Any], model: Any) -> Any:
    """The module that encodes pictures, which `freeze_vision` needs; InputError if the model has none of its own."""
    tower = model.get_encoder(modality="image")
    # Transformers returns the model itself, or its base, where it knows no encoder.
    if not any(tower is module for module in list(model.modules())[1:]) or tower is model.base_model:
        place = recipe.where("freeze_vision")
        raise InputError(f"{place}: {type(model).__name__} has no separate vision tower; remove the key")
    return tower


def adapter(recipe: Recipe[Any], model: Any) -> Any:
    """PEFT's LoraConfig for `lora`, by default on every linear layer; None without `lora`.

    With `freeze_vision` the vision tower gets no adapter, beside what `lora.exclude_modules` leaves out.
    """
    settings = recipe.ours
    if settings.lora is None:
        return None
    wanted = {"task_type": "CAUSAL_LM", "target_modules": "all-linear", **settings.lora}
    if settings.freeze_vision:
        tower = vision_tower(recipe, model)
        name = next(name for name, module in model.named_modules() if module is tower)
        excluded = wanted.get("exclude_modules") or []
        # PEFT takes one regular expression of whole names, or a list of the ends of names.
        ends = [rf"(?:.*\.)?{re.escape(str(end))}" for end in excluded] if not isinstance(excluded, str) else [excluded]
        wanted["exclude_modules"] = "|".join(f"(?:{pattern})" for pattern in (rf"{re.escape(name)}\..*", *ends))
    try:
        return require("peft", "train").LoraConfig(**wanted)
    except (ValueError, TypeError) as error:
        raise InputError(f"{recipe.where('lora')}: {' '.join(str(error).split())}") from None


def check_frozen(recipe: Recipe[Any], model: Any) -> None:
    """Raise InputError if a weight of the vision tower would be trained in spite of `freeze_vision`.

    `model` is the trainer's: PEFT has wrapped it, and keys of `lora` such as `modules_to_save` have taken effect.
    """
    if not recipe.ours.freeze_vision:
        return
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    trained = [name for name, weight in vision_tower(recipe, base).named_parameters() if weight.requires_grad]
    if trained:
        raise InputError(
            f"{recipe.where('freeze_vision')}: the keys of lora train {len(trained)} tensors of the vision tower, such "
            f"as {trained[0]}; change them, or remove freeze_vision"
        )
