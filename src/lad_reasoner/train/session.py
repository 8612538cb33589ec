"""What both stages of training share: the model that is trained, and a run that stops and goes on without losing work.

    checkpoint = load_trainee(recipe.ours)                          # weights in their dtype, vision tower frozen or not
    trainer = trl.SFTTrainer(checkpoint.model, peft_config=adapter(recipe.ours, checkpoint.model), …)
    run_trainer(trainer, recipe, resume=resume)

SIGTERM and SIGINT let the step in hand end, save a checkpoint and leave; a second one leaves at once. `resume` goes on
from the newest whole checkpoint: one that a kill cut off while it was written is removed. The Trainer restores
optimizer, schedule, random numbers and the place in the data. Weights are restored here: Transformers 5 saves those of
several families under other names than the model has, and its Trainer looks for these, finds none, and goes on with the
weights that training began with.

**Deviations.** The paper does not say in what precision its weights were kept. All weights are trained in float32 (with
bfloat16 arithmetic on a GPU) unless `dtype` says otherwise: at the paper's learning rate of 1e-6 most steps are smaller
than half the distance of two bfloat16 numbers and would be lost.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lad_reasoner.errors import ImageError, InputError, MachineError, StoppedError
from lad_reasoner.files.whole import lock
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_checkpoint
from lad_reasoner.report.terminal import TrainingProgress
from lad_reasoner.train.settings import Recipe, Settings, library

if TYPE_CHECKING:
    from types import FrameType

STATE = "trainer_state.json"  # what the Trainer writes last
SMALLEST, USUAL = 28 * 28, 512 * 28 * 28  # pixels of a picture: one token of the Qwen-VL family, and 512
SHOWN = ("loss", "reward")  # of what is logged, in the terminal and in the card


def load_trainee(settings: Settings) -> Checkpoint:
    """The checkpoint that is to be trained, on the CPU: the trainer puts it where it belongs.

    InputError where `max_pixels` is given and the processor keeps no such budget, since the finished model could not
    carry it; and for a model without a vision tower that `freeze_vision` could freeze.
    """
    dtype = settings.dtype or ("bfloat16" if settings.lora is not None and torch.cuda.is_available() else "float32")
    checkpoint = load_checkpoint(settings.model, max_pixels=settings.max_pixels, device="cpu", dtype=dtype)
    if checkpoint.max_pixels is not None:
        raise InputError(f"max_pixels: the processor of {settings.model} keeps no pixel budget; leave the key out")
    if settings.freeze_vision:
        vision_tower(checkpoint.model).requires_grad_(False)
    return checkpoint


def vision_tower(model: Any) -> Any:
    """The part that looks at pictures; InputError where a model does not name one."""
    tower = model.get_encoder(modality="image")
    if not any(tower is module for module in list(model.modules())[1:]) or tower is model.base_model:
        raise InputError(f"freeze_vision: {type(model).__name__} names no vision tower; leave the key out")
    return tower


def adapter(settings: Settings, model: Any) -> Any:
    """PEFT's LoraConfig for `lora`, on every linear layer unless it says otherwise; None without it.

    With `freeze_vision` the vision tower gets no adapter.
    """
    if settings.lora is None:
        return None
    frozen = {}
    if settings.freeze_vision:
        tower = vision_tower(model)
        name = next(name for name, module in model.named_modules() if module is tower)
        frozen = {"exclude_modules": rf"{re.escape(name)}\..*"}
    wanted = {"task_type": "CAUSAL_LM", "target_modules": "all-linear", **frozen, **settings.lora}
    try:
        return library("peft").LoraConfig(**wanted)
    except (ValueError, TypeError) as error:
        raise InputError(f"lora: {' '.join(str(error).split())}") from None


def run_trainer(trainer: Any, recipe: Recipe[Any], *, resume: bool) -> None:
    """Train to the end, from the newest whole checkpoint with `resume`.

    Raises `StoppedError` after a signal; MachineError where memory ran out, saying what to lower and to what;
    InputError for settings that do not work, a picture that was lost on the way, a folder in which another process
    trains.
    """
    main = trainer.is_world_process_zero()
    with lock(recipe.out, "--output_dir") if main else nullcontext():
        _run(trainer, recipe, resume=resume, main=main)


def _run(trainer: Any, recipe: Recipe[Any], *, resume: bool, main: bool) -> None:
    start = newest_checkpoint(recipe.out, remove_halves=main) if resume else None
    if resume and start is None and main:
        print(f"{recipe.out}: no whole checkpoint there; training begins at the first step", file=sys.stderr)
    whole = not trainer.is_fsdp_enabled and not trainer.is_deepspeed_enabled  # those keep the model's own names
    if whole and not hasattr(trainer.model, "peft_config"):
        trainer._load_from_checkpoint = partial(restore_weights, trainer.model)
    trainer.create_model_card = lambda **_: None  # TRL's; ours is written by publish.py
    progress = TrainingProgress()
    watch = watcher(progress if main else None)
    trainer.remove_callback(library("transformers").PrinterCallback)  # it writes to stdout
    trainer.add_callback(watch)
    kept = f"what was saved in {recipe.out} is kept: mend it, then the same command with --resume goes on"
    try:
        with progress, catch_signals(watch):
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
    except _NothingLeft:
        return
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(out_of_memory(trainer, recipe, error)) from None
    except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
        if "can't allocate memory" in str(error):
            raise MachineError(out_of_memory(trainer, recipe, error)) from None
        if watch.begun:
            raise
        with recipe.blamed():  # what fails in the first step already fails for its settings
            raise
    except ImageError as error:  # of a worker process it comes with a traceback
        problem = str(error).strip().splitlines()[-1].removeprefix("lad_reasoner.errors.ImageError: ")
        raise InputError(f"{problem}; {kept}") from None
    finally:
        trainer.remove_callback(watch)
    if watch.number and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps} and saved in {recipe.out}; "
            "the same command with --resume goes on",
            watch.number,
        )


class _NothingLeft(Exception):  # noqa: N818
    """Everything is restored and no step is left: the Trainer would do one more."""


def restore_weights(model: Any, checkpoint: str | Path, _wrapped: Any = None) -> None:
    """Put a checkpoint's weights into the model, every one of them."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    model.load_state_dict(load_checkpoint(checkpoint, device="cpu", dtype=dtype).model.state_dict(), strict=True)


def watcher(progress: TrainingProgress | None) -> Any:
    """A TrainerCallback that shows progress and, once its `number` is that of a signal, saves and ends the training."""

    class Watcher(library("transformers").TrainerCallback):  # type: ignore[misc]
        number = 0
        begun = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                progress.stage("training", state.global_step, state.max_steps)
            if state.global_step >= state.max_steps:
                raise _NothingLeft

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if progress is not None and logs and "loss" in logs:
                shown = ", ".join(f"{name} {float(logs[name]):.4f}" for name in SHOWN if name in logs)
                progress.note(f"step {state.global_step} of {state.max_steps}: {shown}")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.begun = True
            if progress is not None:
                progress.advance(1)
            self.number = agree(self.number, args)
            if self.number:
                control.should_training_stop = True
                # At the last step the Trainer saves by itself, unless it is not to save at all.
                control.should_save = True

    return Watcher()


def agree(number: int, args: Any) -> int:
    """The signal that any process got: all must stop after the same step."""
    if args.world_size == 1:
        return number
    shared = torch.tensor(number, device=args.device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return int(shared)


@contextmanager
def catch_signals(watch: Any) -> Iterator[None]:
    """SIGTERM and SIGINT set `watch.number`; the next one does what it does without us. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in wanted}

    def catch(number: int, frame: FrameType | None) -> None:
        watch.number = number
        for each, handler in before.items():
            signal.signal(each, handler)
        print("stopping after this step; once more to leave at once", file=sys.stderr)

    for number in wanted:
        signal.signal(number, catch)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def newest_checkpoint(folder: str | Path, *, remove_halves: bool = False) -> Path | None:
    """The whole checkpoint of the most steps in a run's folder; None where there is none.

    Half written ones are passed over, and removed if asked for, so that they do not count among those to keep.
    """
    found: dict[int, Path] = {}
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if not number.isdigit() or not path.is_dir():
            continue
        if is_whole(path):
            found[int(number)] = path
        elif remove_halves:
            shutil.rmtree(path)
    return found[max(found)] if found else None


def is_whole(checkpoint: Path) -> bool:
    """Whether everything in a checkpoint can be opened: its state, which is written last, all weights, all moments."""
    safetensors = library("safetensors")
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        for file in checkpoint.rglob("*.safetensors"):
            with safetensors.safe_open(file, "pt"):
                pass
        archives = [file for pattern in ("*.pt", "*.pth") for file in checkpoint.rglob(pattern)]
    except (OSError, ValueError, safetensors.SafetensorError):
        return False
    return isinstance(state, dict) and "global_step" in state and all(zipfile.is_zipfile(file) for file in archives)


def out_of_memory(trainer: Any, recipe: Recipe[Any], error: BaseException) -> str:
    """What to lower, and to what, such that the training stays the same as far as it can."""
    args = trainer.args
    batch, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
    mends = []
    if not args.gradient_checkpointing:
        mends.append("--gradient_checkpointing true")
    if batch > 1:
        mends.append(
            f"--per_device_train_batch_size {batch // 2} --gradient_accumulation_steps {steps * batch // (batch // 2)} "
            f"instead of {batch} and {steps} (the same steps in smaller parts)"
        )
    tokens = getattr(args, "max_completion_length", None)
    if tokens:
        mends.append(f"--max_completion_length {max(1, tokens // 2)} instead of {tokens}")
    pictures = trainer.processing_class.image_processor
    if "image_grid_thw" in pictures.model_input_names:  # keeps a pixel budget, see model.py
        budget = int(pictures.size["longest_edge"])
        mends.append(f"--max_pixels {max(SMALLEST, min(USUAL, budget // 2))} instead of {budget}")
    if recipe.ours.lora is None:
        mends.append("--lora.r 16 (an adapter instead of all weights)")
    where = f"{args.device}" if str(args.device) != "cpu" else "this machine"
    return f"not enough memory on {where} ({' '.join(str(error).split())[:120]}); try {', or '.join(mends)}"
