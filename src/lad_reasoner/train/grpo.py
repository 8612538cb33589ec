"""Stage two of the paper: GRPO on pairs with the answer as the only label (section 4.2).

    lad-reasoner train grpo configs/micro/grpo.yaml

Reads from top to bottom: settings, model, data, trainer, the run, its curves, the finished model. The formulas are in
objective.py and docs/training.md, the rollouts in rollouts.py, our additions to TRL's trainer in trainer.py.

**Deviations.** The paper trains with EasyR1 and gives steps, learning rate, batch size and weights (section 5.2). It
does not give the responses per pair, the clipping and the coefficient of the KL; configs/paper/grpo.yaml states ours.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lad_reasoner.errors import InputError, require
from lad_reasoner.progress import ProgressDisplay, Track, silent
from lad_reasoner.report.curves import draw_curves
from lad_reasoner.text import counted
from lad_reasoner.train.dataset import load_set, read_task
from lad_reasoner.train.fields import field_names
from lad_reasoner.train.monitor import CollapseGuard, Sample, Samples
from lad_reasoner.train.publish import publish
from lad_reasoner.train.rewards import NEEDS, load_reward
from lad_reasoner.train.rollouts import Rollouts
from lad_reasoner.train.run_record import SAMPLES, check_out, hash_weights, write_run_record
from lad_reasoner.train.session import first_process, run_folder, run_trainer
from lad_reasoner.train.settings import TRL, Recipe, TrainSettings, check_early, check_packages, read_recipe
from lad_reasoner.train.trainee import adapter, check_frozen, load_trainee

logger = logging.getLogger(__name__)

UNREAD: dict[str, str] = TRL["without_effect"]["grpo"]
CURVES = "curves.png"


class GrpoSettings(TrainSettings):
    """Our own keys in this stage. The KL's coefficient is TRL's `beta`, the weights of rewards its `reward_weights`."""

    rewards: list[str] = Field(
        ["structure", "accuracy"],
        min_length=1,
        description="also faithful, places, consistent, or your own package.module:function",
    )
    kl: Literal["reward", "loss", "none"] = Field(
        "reward", description="where the KL to the frozen model counts: reward, loss or none"
    )
    importance: Literal["token", "sequence"] = Field(
        "token", description="level of the importance weights: token or sequence"
    )
    structured: bool = Field(True, description="sample under the response grammar; false: the reward teaches the form")
    skip_flat_groups: bool = Field(False, description="learn nothing from pairs that are all right or all wrong")
    resample_flat_groups: int = Field(0, ge=0, description="times that such pairs are replaced by others first")
    rollout_batch_size: int = Field(64, ge=1, description="responses per batch of a process, without vLLM")
    sample_steps: int = Field(10, ge=1, description="steps between two tables of sampled responses")
    guard_steps: int = Field(5, ge=1, description="logged steps of a collapse before the warning")
    stop_on_collapse: bool = Field(False, description="stop at this warning")


def train_grpo(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    track: Track = silent,
    progress: ProgressDisplay | None = None,
    show_samples: Callable[[int, Sequence[Sample]], None] | None = None,
) -> Path:
    """Train with the settings of a YAML file, overrides first; returns the folder of the finished model.

    `track` follows the checks of the data, `progress` shows the training (without it its notes are logged), and
    `show_samples` takes a step and its sampled responses. InputError for settings, data or rewards that cannot be used,
    or a collapse with `stop_on_collapse`; `StoppedError` after a signal; MachineError if the machine is too small.
    """
    check_early(path, overrides, ours=GrpoSettings, theirs="GRPOConfig")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the rollout function is pinned with TRL
    trl = require("trl", "train")
    others = {*field_names(trl.SFTConfig)} - {*field_names(trl.GRPOConfig)}
    unread = dict.fromkeys(others, "it is a key of `train sft`") | UNREAD
    recipe = read_recipe(path, overrides, ours=GrpoSettings, theirs=trl.GRPOConfig, unread=unread)
    check_stage(recipe)
    arguments = make_arguments(recipe)
    check_packages(recipe, arguments)
    rewards = _load_rewards(recipe)
    check_out(recipe, resume=resume)
    read_task(recipe.ours.data, "pair")
    checkpoint = load_trainee(recipe)
    rollouts = Rollouts(
        checkpoint,
        tokens=arguments.max_completion_length,
        at_once=recipe.ours.rollout_batch_size,
        structured=recipe.ours.structured,
        device=arguments.device,
        about=recipe.where("max_completion_length"),
    )
    data = load_set(
        recipe.ours.data,
        kind="pair",
        checkpoint=checkpoint,
        room=arguments.max_completion_length,
        leave_out_long=recipe.ours.leave_out_long,
        track=track,
    )
    check_columns(recipe, data)
    check_size(recipe, arguments, len(data))
    facts: dict[str, Any] = {"stage": "grpo", "weights": hash_weights(recipe.ours.model)}
    facts |= {"records": len(data), "labels": dict(sorted(Counter(data["label"]).items()))}
    with run_folder(recipe):
        run = write_run_record(recipe, arguments, facts, resume=resume)

        # Importing it needs TRL, whose absence `require` has reported by now.
        from lad_reasoner.train.trainer import GRPOMonitor, StructuredGRPOTrainer

        with recipe.translated_errors():
            trainer = StructuredGRPOTrainer(
                checkpoint,
                kl=recipe.ours.kl,
                rollouts=rollouts,
                spread_of="accuracy_reward" if recipe.ours.skip_flat_groups else None,
                resample=recipe.ours.resample_flat_groups,
                args=arguments,
                reward_funcs=rewards,
                train_dataset=data,
                peft_config=adapter(recipe, checkpoint.model),
            )
            check_frozen(recipe, trainer.model)
        samples = Samples(recipe.out / SAMPLES, recipe.ours.sample_steps, show_samples)
        watch = GRPOMonitor(trainer, samples, CollapseGuard(recipe.ours.guard_steps), stop=recipe.ours.stop_on_collapse)
        trainer.add_callback(watch)
        run_trainer(trainer, recipe, resume=resume, progress=progress)
        curves = recipe.out / CURVES
        if trainer.is_world_process_zero():
            draw_curves({recipe.out.name: trainer.state.log_history}, curves)
        if watch.stopped:
            raise InputError(f"{watch.stopped}; its checkpoints and {curves} are kept")
        return publish(trainer, recipe, run, data, pictures=[curves])


def check_columns(recipe: Recipe[GrpoSettings], data: Any) -> None:
    """InputError if a reward has nothing to judge any record by."""
    for name in recipe.ours.rewards:
        column = NEEDS.get(name)
        if column and not any(data.with_format(None)[column]):
            raise InputError(
                f"{recipe.where('rewards')}: {name} needs {column}, and no record of {recipe.ours.data} has any; "
                "build the pairs from pictures with them, such as MiniLOCO's"
            )


def _load_rewards(recipe: Recipe[GrpoSettings]) -> list[Callable[..., Any]]:
    rewards = [load_reward(name, recipe.where("rewards")) for name in recipe.ours.rewards]
    names = Counter(reward.__name__ for reward in rewards)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise InputError(
            f"{recipe.where('rewards')}: two have the name {twice[0]}, by which they are logged; rename one"
        )
    return rewards


def check_stage(recipe: Recipe[GrpoSettings]) -> None:
    """InputError for a config without any key of this stage: one of `train sft`."""
    both = {*TrainSettings.model_fields, *field_names(require("trl", "train").SFTConfig)}
    if {*recipe.ours.model_fields_set, *recipe.theirs} <= both:
        raise InputError(
            f"{recipe.path}: has no key of GRPO, so it is a config of `train sft`; run that, or give one with beta, "
            "such as configs/micro/grpo.yaml"
        )


def check_size(recipe: Recipe[GrpoSettings], arguments: Any, pairs: int) -> None:
    """InputError if the set has too few pairs for one round of sampling: TRL would end without a step.

    What an epoch's rounds leave over is in none of them; in an order that stays the same these are always the same
    pairs, which the log says.
    """
    wanted = arguments.generation_batch_size // arguments.num_generations
    if pairs < wanted:
        raise InputError(
            f"{recipe.path}: a round samples responses to {wanted} pairs (per_device_train_batch_size x processes x "
            f"steps_per_generation / num_generations), and {recipe.ours.data} has {pairs}; build more, or lower "
            "per_device_train_batch_size"
        )
    left = pairs % wanted
    if left and not arguments.shuffle_dataset and first_process():
        logger.warning(
            "%s: its last %d pairs are in no round of %d pairs, in any epoch", recipe.ours.data, left, wanted
        )


def make_arguments(recipe: Recipe[GrpoSettings]) -> Any:
    """TRL's GRPOConfig from a recipe, with our keys under TRL's names. InputError for settings that contradict."""
    ours, theirs, where = recipe.ours, recipe.theirs, recipe.where
    if ours.kl == "none" and theirs.get("beta"):
        raise InputError(f"{where('beta')}: has no effect with kl: none; set kl: reward or kl: loss")
    if ours.kl != "none" and not theirs.get("beta", 0) > 0:
        raise InputError(f"{where('beta')}: the coefficient of the KL must be above 0; or set kl: none")
    if ours.kl == "reward" and theirs.get("multi_objective_aggregation") == "normalize_then_sum":
        key = where("multi_objective_aggregation")
        raise InputError(f"{key}: kl: reward needs multi_objective_aggregation: sum_then_normalize; or set kl: loss")
    weights = theirs.get("reward_weights")
    if weights is not None and len(weights) != len(ours.rewards):
        raise InputError(
            f"{where('reward_weights')}: must be {counted(len(ours.rewards), 'number')}, one for each of "
            f"{', '.join(ours.rewards)}; not {len(weights)}"
        )
    if weights is not None and not all(map(math.isfinite, weights)):
        raise InputError(f"{where('reward_weights')}: must be finite numbers, not {weights}")
    if weights is not None and not any(weights):
        raise InputError(f"{where('reward_weights')}: all are 0, so that nothing would be learned; raise one")
    own_weights = weights or [1] * len(ours.rewards)
    counting = {name for name, weight in zip(ours.rewards, own_weights, strict=True) if weight}
    if counting == {"structure"} and ours.structured and not theirs.get("use_vllm"):  # vLLM may cut a response off
        raise InputError(
            f"{where('rewards')}: structure alone teaches nothing with structured: true, where each response has the "
            "form; add accuracy, or set structured: false"
        )
    if ours.skip_flat_groups and "accuracy" not in ours.rewards:
        raise InputError(f"{where('skip_flat_groups')}: looks at the reward accuracy; add it to rewards")
    if ours.resample_flat_groups and theirs.get("use_vllm"):
        raise InputError(
            f"{where('resample_flat_groups')}: samples in this process; set use_vllm: false, or leave it out"
        )
    if ours.structured and theirs.get("mask_truncated_completions"):
        raise InputError(
            f"{where('mask_truncated_completions')}: has no effect with structured: true, where each response ends; "
            "leave it out, or set structured: false"
        )
    theirs["importance_sampling_level"] = ours.importance
    return recipe.arguments(require("trl", "train").GRPOConfig)
