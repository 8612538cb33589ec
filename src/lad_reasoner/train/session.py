"""A training run that can be stopped and resumed without losing work; both stages use it.

    with run_folder(recipe):
        run_trainer(trainer, recipe, resume=resume, progress=progress)

After SIGTERM or SIGINT the current step ends (in GRPO the round of steps that share their responses), a checkpoint is
saved and the process exits; a second signal exits at once. `resume` continues from the newest complete checkpoint; one
that a kill cut off is removed. The Trainer restores the optimizer, the schedule, the random numbers and the place in
the data; checkpoints.py restores the weights.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lad_reasoner.errors import ImageError, InputError, MachineError, StoppedError, require
from lad_reasoner.files.whole import own_folder
from lad_reasoner.judges.vlm.checkpoint import saving
from lad_reasoner.progress import ProgressDisplay
from lad_reasoner.train.checkpoints import newest_checkpoint, restore_weights, rotate, seal
from lad_reasoner.train.settings import Recipe

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

SMALLEST, USUAL = 28 * 28, 512 * 28 * 28  # pixels of a picture: one token of the Qwen-VL family, and 512
RESUMED = "run the same command with --resume"
DIVERGED = "its weights are not finite any more, since the training diverged; lower learning_rate, and train anew"
SHOWN = ("loss", "reward")  # logged values shown in the terminal and in the model card


def first_process() -> bool:
    """Whether this process writes and prints, of those that a launcher started for one run."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def run_folder(recipe: Recipe[Any]) -> Iterator[None]:
    """Hold the run's folder from before its first file to the finished model; of several processes the first does.

    InputError if another process trains in it.
    """
    with own_folder(recipe.out, "--output_dir") if first_process() else nullcontext():
        yield


def run_trainer(trainer: Any, recipe: Recipe[Any], *, resume: bool, progress: ProgressDisplay | None = None) -> None:
    """Train to the end, with `resume` from the newest complete checkpoint; without `progress` its notes are logged.

    The caller holds the `run_folder`. Raises `StoppedError` after a signal; MachineError if memory ran out, with what
    to lower and to which value, or if a checkpoint cannot be written; InputError for settings that do not work, a
    training that diverged and a picture that became unreadable.
    """
    main = trainer.is_world_process_zero()
    progress = progress if main else None
    start = _find_start(recipe) if resume else None
    if resume and start is None and main:
        logger.warning("%s: no complete checkpoint found; training starts at the first step", recipe.out)
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # their checkpoints have the model's own names
    if not sharded and not hasattr(trainer.model, "peft_config"):
        trainer._load_from_checkpoint = partial(restore_weights, trainer.model)
    trainer.create_model_card = lambda **_: None  # publish.py writes our card, not TRL's
    watch = watcher(trainer, progress)
    keep, trainer.args.save_total_limit = trainer.args.save_total_limit, None  # see `rotate`
    save = trainer._save_checkpoint
    trainer._save_checkpoint = partial(_save_whole, trainer, recipe.out, save, keep)
    trainer.remove_callback(require("transformers", "train").PrinterCallback)  # it writes to stdout
    trainer.add_callback(watch)
    try:
        with progress or nullcontext(), catch_signals(watch), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TRL's calls of what Transformers is about to rename
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
    except _NothingLeft:
        return
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(out_of_memory(trainer, recipe, error)) from None
    except MachineError as error:
        if "not a number" in str(error):  # structured decoding's words, with a mend for inspection
            raise InputError(f"{recipe.out}: {DIVERGED}") from None
        raise
    except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
        if "can't allocate memory" in str(error):
            raise MachineError(out_of_memory(trainer, recipe, error)) from None
        if "probability tensor contains" in str(error):  # PyTorch's words where it samples from such weights
            raise InputError(f"{recipe.out}: {DIVERGED}") from None
        if watch.stepped:
            raise
        with recipe.translated_errors():  # an error before the end of the first step comes from the settings
            raise
    except pickle.UnpicklingError as error:
        raise InputError(f"{start}: holds more than numbers, which is never opened ({_first_words(error)})") from None
    except ImageError as error:  # a worker process adds its traceback before the message
        problem = str(error).strip().splitlines()[-1].removeprefix("lad_reasoner.errors.ImageError: ")
        kept = f"the checkpoints in {recipe.out} are kept: repair it, then run the same command with --resume"
        raise InputError(f"{problem}; {kept}") from None
    finally:
        trainer.remove_callback(watch)
        trainer.args.save_total_limit, trainer._save_checkpoint = keep, save
    if watch.number and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps} and saved in {recipe.out}; "
            "run the same command with --resume to continue",
            watch.number,
        )


def _find_start(recipe: Recipe[Any]) -> Path | None:
    """The checkpoint to resume from, which the first process finds for all: hashing is slow, and it removes others."""
    found = [newest_checkpoint(recipe.out, remove_halves=True) if first_process() else None]
    require("accelerate.utils", "train").broadcast_object_list(found)
    return found[0]


def _save_whole(
    trainer: Any, out: Path, save: Callable[..., None], keep: int | None, model: Any, trial: Any = None
) -> None:
    """The Trainer's saving, then the seal, then the end of older checkpoints. MachineError if it cannot be written."""
    checkpoint = out / f"checkpoint-{trainer.state.global_step}"
    with saving(checkpoint, RESUMED):
        save(model, trial)
        trainer.accelerator.wait_for_everyone()
        if trainer.args.should_save:
            seal(checkpoint)
            rotate(out, keep)


def _first_words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


class _NothingLeft(Exception):  # noqa: N818
    """Everything is restored and no step is left; the Trainer would still do one more."""


def watcher(trainer: Any, progress: ProgressDisplay | None) -> Any:
    """A TrainerCallback that shows progress and, once its `number` is that of a signal, saves and ends the training.

    Both wait for a step from which a run can be resumed: where `trainer.between_rounds` is false, GRPO has responses in
    memory that later steps use, and a resumed run would sample others.
    """
    note = logger.info if progress is None else progress.note

    class Watcher(require("transformers", "train").TrainerCallback):  # type: ignore[misc]
        number = 0
        stepped = False
        due = False  # a checkpoint that waits for the end of its round

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                progress.stage("training", state.global_step, state.max_steps)
            elif state.is_world_process_zero:
                logger.info("training: %d of %d done", state.global_step, state.max_steps)
            if state.global_step >= state.max_steps:
                raise _NothingLeft

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if state.is_world_process_zero and logs and "loss" in logs:
                shown = ", ".join(f"{name} {float(logs[name]):.4f}" for name in SHOWN if name in logs)
                note(f"step {state.global_step} of {state.max_steps}: {shown}")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.stepped = True
            if progress is not None:
                progress.advance(1)
            self.number = agree(self.number, args)
            # The Trainer saves after the last step, but not if `save_strategy` is no.
            self.due = self.due or control.should_save or bool(self.number)
            if getattr(trainer, "between_rounds", True) or state.global_step >= state.max_steps:
                control.should_save, self.due = self.due, False
                control.should_training_stop = control.should_training_stop or bool(self.number)
            else:
                control.should_save = False

    return Watcher()


def agree(number: int, args: Any) -> int:
    """The signal that any process received: all must stop after the same step."""
    if args.world_size == 1:
        return number
    shared = torch.tensor(number, device=args.device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return int(shared)


@contextmanager
def catch_signals(watch: Any) -> Iterator[None]:
    """SIGTERM and SIGINT set `watch.number`; a second signal has its usual effect. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        watch.number = number
        restore()
        logger.warning("stopping after this step; send the signal again to stop at once")

    for number in before:
        signal.signal(number, catch)
    try:
        yield
    finally:
        restore()


def out_of_memory(trainer: Any, recipe: Recipe[Any], error: BaseException) -> str:
    """The message for memory that ran out: what to lower, and to which value, to train as similarly as possible."""
    args = trainer.args
    batch, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
    remedies = []
    if not args.gradient_checkpointing:
        remedies.append("--gradient_checkpointing true")
    if batch > 1:
        remedies.append(
            f"--per_device_train_batch_size {batch // 2} --gradient_accumulation_steps {steps * batch // (batch // 2)} "
            f"instead of {batch} and {steps} (the same steps in smaller parts)"
        )
    at_once = getattr(recipe.ours, "rollout_batch_size", None)
    if at_once and not args.use_vllm:
        at_once = min(at_once, batch * args.steps_per_generation)
        remedies += [f"--rollout_batch_size {at_once // 2} (responses sampled at a time)"] if at_once > 1 else []
    if hasattr(trainer, "rollouts"):
        tokens = args.max_completion_length
        if tokens // 2 > tokens - trainer.rollouts.budget:  # else the tags alone would fill it
            remedies.append(f"--max_completion_length {tokens // 2} instead of {tokens}")
    pictures = trainer.processing_class.image_processor
    if "image_grid_thw" in pictures.model_input_names:  # a processor with a pixel budget, see judges/vlm/checkpoint.py
        budget = int(pictures.size["longest_edge"])
        remedies.append(f"--max_pixels {max(SMALLEST, min(USUAL, budget // 2))} instead of {budget}")
    if recipe.ours.lora is None:
        remedies.append("--lora.r 16 (an adapter instead of all weights)")
    where = f"{args.device}" if str(args.device) != "cpu" else "this machine"
    return f"not enough memory on {where} ({' '.join(str(error).split())[:120]}); try {', or '.join(remedies)}"
