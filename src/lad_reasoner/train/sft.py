"""Stage one of the paper: supervised fine-tuning on questions and answers about products (section 4.1.1).

    lad-reasoner train sft configs/micro/sft.yaml

Reads from top to bottom: settings, model, data, TRL's trainer, the run, the finished model. The loss is the mean over
the answers' tokens of the negative log-likelihood; the question and its picture only condition it.

**Deviations.** The paper trains with LLaMA-Factory and gives epochs, learning rate and batch size (section 5.2);
everything else is TRL's default or stated in configs/paper/sft.yaml. The paper does not say whether its vision tower
was trained; here it is, unless `freeze_vision` is set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.progress import ProgressDisplay, Track, silent
from lad_reasoner.train.dataset import load_set, read_task
from lad_reasoner.train.fields import field_names
from lad_reasoner.train.publish import publish
from lad_reasoner.train.run_record import check_out, hash_weights, write_run_record
from lad_reasoner.train.session import run_folder, run_trainer
from lad_reasoner.train.settings import TRL, TrainSettings, check_early, check_packages, read_recipe
from lad_reasoner.train.trainee import adapter, check_frozen, load_trainee

UNREAD: dict[str, str] = TRL["without_effect"]["sft"]


def train_sft(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    track: Track = silent,
    progress: ProgressDisplay | None = None,
) -> Path:
    """Train with the settings of a YAML file, overrides first; returns the folder of the finished model.

    `track` follows the checks of the data, `progress` shows the training; without it its notes are logged. InputError
    for settings or data that cannot be used, `StoppedError` after a signal, MachineError if the machine is too small.
    """
    from lad_reasoner.train.grpo import GrpoSettings  # for the names of its keys alone

    others = GrpoSettings.model_fields
    check_early(path, overrides, ours=TrainSettings, theirs="SFTConfig", others=others)
    trl = require("trl", "train")
    foreign = {*others, *field_names(trl.GRPOConfig)} - {*TrainSettings.model_fields, *field_names(trl.SFTConfig)}
    unread = dict.fromkeys(foreign, "it is a key of `train grpo`") | UNREAD
    recipe = read_recipe(path, overrides, ours=TrainSettings, theirs=trl.SFTConfig, unread=unread)
    arguments = recipe.arguments(trl.SFTConfig)
    check_packages(recipe, arguments)
    check_out(recipe, resume=resume)
    read_task(recipe.ours.data, "sft")
    checkpoint = load_trainee(recipe)
    data = load_set(
        recipe.ours.data,
        kind="sft",
        checkpoint=checkpoint,
        max_length=recipe.theirs.get("max_length"),
        leave_out_long=recipe.ours.leave_out_long,
        track=track,
    )
    batch = arguments.per_device_train_batch_size * arguments.world_size
    if arguments.dataloader_drop_last and len(data) < batch:
        raise InputError(
            f"{recipe.where('dataloader_drop_last')}: a batch takes {batch} records and {recipe.ours.data} has "
            f"{len(data)}, so that nothing would be trained; lower per_device_train_batch_size, or leave it out"
        )
    facts: dict[str, Any] = {"stage": "sft", "weights": hash_weights(recipe.ours.model)}
    facts |= {"records": len(data), "labels": dict(sorted(Counter(data["label"]).items()))}
    with run_folder(recipe):
        run = write_run_record(recipe, arguments, facts, resume=resume)
        arguments.max_length = None  # every record fits, so none may be cut
        with recipe.translated_errors():
            trainer = trl.SFTTrainer(
                model=checkpoint.model,
                args=arguments,
                train_dataset=data,
                processing_class=checkpoint.processor,
                peft_config=adapter(recipe, checkpoint.model),
            )
            check_frozen(recipe, trainer.model)
        run_trainer(trainer, recipe, resume=resume, progress=progress)
        return publish(trainer, recipe, run, data)
