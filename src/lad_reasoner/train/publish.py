"""The end of a training run: a plain Hugging Face folder, which appears only after a new process has read it back.

    publish(trainer, recipe, run, records)      # -> RUN/model

Adapters are merged. The weights keep the precision of training, unless `save_dtype` asks for another: 50 steps at the
paper's learning rate are mostly lost when they are rounded to bfloat16. The folder holds processor, chat template,
pixel budget and, as README.md, the model card. It is read back, to measure how much of the update it holds, and a new
Python process must give the same greedy answers to a few records, word for word, as the trained weights in this
process; otherwise it keeps its temporary name.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lad_reasoner.errors import InputError, LadError, MachineError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.files.whole import share_modes, write_whole
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, find_folder, in_one_piece, load_checkpoint, saving
from lad_reasoner.templates import render_markdown
from lad_reasoner.text import label_counts
from lad_reasoner.train.dataset import plain_messages
from lad_reasoner.train.run_record import MODEL, save_run_record
from lad_reasoner.train.session import DIVERGED, RESUMED, SHOWN
from lad_reasoner.train.settings import Recipe

logger = logging.getLogger(__name__)

CHECK = "check.json"
KEPT, EXACT = 0.9, 0.9999  # shares of the update: a warning below one; the other allows for sums in another order
PROCESSOR_TYPES = {"video_processor_type", "image_processor_type", "processor_class"}  # keys, one of which is there
ASKED = 4  # records whose answers are compared
TOKENS = 64  # the longest answer
# Environment variables with which a launcher would make the new process part of its run.
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


def publish(
    trainer: Any, recipe: Recipe[Any], run: Mapping[str, Any], records: Any, *, pictures: Sequence[Path] = ()
) -> Path:
    """Write RUN/model from the trainer's current weights; returns the folder.

    Every process must call it, since each may hold a part of the weights; the first one writes. `records` is the
    training set; `pictures` go into the card. MachineError if the reloaded model gives other answers, InputError if the
    weights are not finite.
    """
    target = recipe.out / MODEL
    trained = trainer.deepspeed if trainer.is_deepspeed_enabled else trainer.model
    state = trainer.accelerator.get_state_dict(trained)
    if not trainer.is_world_process_zero():
        return target
    if not all(weight.isfinite().all() for weight in state.values()):
        raise InputError(f"{recipe.out}: {DIVERGED}")
    lora = getattr(trainer.model, "peft_config", {}).get("default")
    checkpoint = assemble(recipe, state, lora)
    # Without its format the data set holds paths, not pictures, so that the prompts can be written as JSON.
    rows = records.with_format(None).select_columns(["id", "prompt", "images"])
    step = max(1, len(rows) // ASKED)
    prompts = [rows[at] for at in range(0, len(rows), step)][:ASKED]
    expected = greedy_answers(checkpoint, prompts)
    if hasattr(trainer, "rollouts"):  # inspection gives the reasoning as many tokens as training did
        checkpoint.model.config.reasoning_tokens = trainer.rollouts.budget
        pictures_of = records.with_format(None)["images"]  # of each record: references and query
        checkpoint.model.config.trained_references = max(map(len, pictures_of)) - 1
    exact = checkpoint.model.state_dict()  # stays unrounded: rounding gives the parameters new tensors
    # A merged adapter is a float32 sum, also of weights in bfloat16.
    whole = lora is not None or any(weight.dtype == torch.float32 for weight in state.values())
    trained_dtype = "float32" if whole else "bfloat16"
    dtype = recipe.ours.save_dtype or trained_dtype
    half = recipe.out / f"{MODEL}.half"
    shutil.rmtree(half, ignore_errors=True)
    save_folder(round_weights(checkpoint, dtype), half, find_folder(recipe.ours.model))
    saved = load_checkpoint(half, device="cpu", dtype="float32")
    kept = update_kept(load_checkpoint(recipe.ours.model, device="cpu").model.state_dict(), exact, saved)
    if dtype == trained_dtype and kept is not None and kept < EXACT:
        raise MachineError(f"{half}: holds {kept:.1%} of the update, not the trained weights; do not use it")
    if dtype != trained_dtype:  # what was asked for: its own answers count, and the log says how many are others
        unrounded, expected = expected, greedy_answers(saved, prompts)
        changed = sum(before != after for before, after in zip(unrounded, expected, strict=True))
        logger.info("save_dtype %s changes %d of %d compared answers", dtype, changed, len(prompts))
    _tell_kept(target, kept, trainer.state.log_history, recipe)
    run = {**run, "published": {"dtype": dtype, "update_kept": kept}}
    write_card(half, recipe, run, trainer.state.log_history, pictures)
    check = recipe.out / CHECK
    write_whole(check, json.dumps({"dtype": "float32", "prompts": prompts, "answers": expected}))
    compare_answers(half, prompts, expected, ask_fresh(half, check)["answers"])
    save_run_record(recipe.out, run)
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
    if recipe.theirs.get("push_to_hub"):
        push(target, recipe)
    return target


def _tell_kept(folder: Path, kept: float | None, history: Sequence[Mapping[str, Any]], recipe: Recipe[Any]) -> None:
    if kept is None:
        logger.warning("%s: the training changed no weight: %s", folder, why_unchanged(history, recipe))
    elif kept < KEPT:
        logger.warning("%s holds %.1f %% of the update; leave save_dtype out to keep all of it", folder, 100 * kept)
    else:
        logger.info("%s holds %.1f %% of the update", folder, 100 * kept)


def compare_answers(
    folder: Path, prompts: Sequence[Mapping[str, Any]], expected: Sequence[str], answers: Sequence[str]
) -> None:
    """MachineError for the first record whose answer differs."""
    for row, wanted, given in zip(prompts, expected, answers, strict=True):
        if wanted != given:
            raise MachineError(
                f"{folder}: the reloaded model answers {row['id']} with {given[:60]!r} instead of {wanted[:60]!r}; "
                "do not use it"
            )


def assemble(recipe: Recipe[Any], state: Mapping[str, torch.Tensor], lora: Any) -> Checkpoint:
    """The original checkpoint with the trained weights in it, adapters merged, in float32."""
    settings = recipe.ours
    checkpoint = load_checkpoint(settings.model, max_pixels=settings.max_pixels, device="cpu", dtype="float32")
    model = checkpoint.model
    vars(model.config).pop("score_temperature", None)  # fitted to the weights that it started from
    if lora is not None:
        model = require("peft", "train").get_peft_model(model, lora)
    model.load_state_dict(state, strict=True)
    if lora is not None:
        model = model.merge_and_unload()
    return Checkpoint(checkpoint.name, model.eval(), checkpoint.processor)


def round_weights(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The checkpoint, its parameters replaced by tensors of this precision."""
    model = checkpoint.model
    model.config.dtype = getattr(torch, dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(model.config.dtype)
    return checkpoint


def update_kept(
    start: Mapping[str, torch.Tensor], trained: Mapping[str, torch.Tensor], saved: Checkpoint
) -> float | None:
    """The share, 0 to 1, of the update from the start to the trained weights that a saved checkpoint holds.

    1 - |saved - trained| / |trained - start|, with the norm over all weights: 1 if the checkpoint holds the trained
    weights exactly, 0 if it is as far from them as the start. None if it holds them, and they are those of the start:
    nothing was trained.
    """
    lost = moved = 0.0  # squared distances, summed over all weights
    weights = saved.model.state_dict()
    for name, weight in trained.items():
        exact = weight.double()
        lost += float((weights[name] - exact).square().sum())
        moved += float((start[name] - exact).square().sum())
    if not moved:
        return 0.0 if lost else None
    return max(0.0, 1 - math.sqrt(lost / moved))


def why_unchanged(history: Sequence[Mapping[str, Any]], recipe: Recipe[Any]) -> str:
    """The likely cause of a training that changed no weight, by what it logged, and the mend."""
    logged = [line for line in history if "loss" in line]
    if not any(line.get("learning_rate") for line in logged):
        zero = "was 0 in each logged step" if logged else "may have been 0, since none was logged (logging_steps)"
        return f"the learning rate {zero}; raise max_steps or learning_rate, or lower warmup_steps"
    if not any(line.get("grad_norm") for line in logged):
        if any(line.get("zero_spread", 0) < 1 for line in logged):
            return "no logged step had a gradient; train more of the model"
        return "all responses of each group earned the same, so that there was no gradient; give other pairs or rewards"
    if recipe.ours.dtype == "bfloat16":
        return "steps of this learning_rate are lost in bfloat16; leave dtype out, or raise learning_rate"
    return "its steps were too small; raise learning_rate"


def save_folder(checkpoint: Checkpoint, folder: Path, base: Path) -> None:
    """Write weights, configs, tokenizer, processor, and the video settings of `base`, which some servers require."""
    with saving(folder, RESUMED):
        checkpoint.model.save_pretrained(folder)
        checkpoint.processor.save_pretrained(folder)
        # Also in a file of its own, where older programs look.
        checkpoint.processor.image_processor.save_pretrained(folder)
        video = "video_preprocessor_config.json"
        if (base / video).is_file() and not (folder / video).exists():
            _copy_settings(base / video, folder / video)
        share_modes(folder)


def _copy_settings(source: Path, target: Path) -> None:
    """Copy the settings of a processor: what a link leads to may be a secret, which must not be published."""
    try:
        fields = load_json(source.read_bytes())
    except (OSError, ValueError):
        fields = None
    if isinstance(fields, dict) and PROCESSOR_TYPES & fields.keys():
        write_whole(target, json.dumps(fields, indent=2) + "\n")
    else:
        logger.warning("%s: not the settings of a processor; it is left out", source)


@torch.inference_mode()
def greedy_answers(checkpoint: Checkpoint, prompts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Greedy answers, one record at a time, end tokens included."""
    model, processor = checkpoint.model, checkpoint.processor
    answers = []
    for row in prompts:
        text = processor.apply_chat_template(plain_messages(row["prompt"]), add_generation_prompt=True, tokenize=False)
        images = [checkpoint.fit(read_picture(path).image) for path in row["images"]]
        inputs = processor(text=[text], images=[images], add_special_tokens=False, return_tensors="pt")
        inputs = inputs.to(model.device, dtype=model.dtype)
        with in_one_piece():  # the other processes of the run are done
            written = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
        answers.append(processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :]))
    return answers


def ask_fresh(folder: str | Path, check: str | Path) -> dict[str, Any]:
    """The `answers` of a new Python process that knows only the folder and the check.

    It computes on the CPU and in the check's `dtype`, as this process does for the comparison.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in LAUNCHER and not name.startswith(("ACCELERATE_", "TORCHELASTIC_", "FSDP_"))
    }
    command = [sys.executable, "-m", "lad_reasoner.train.publish", str(folder), str(check)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MachineError(f"{folder}: a new process cannot load it ({problem[:300]})")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_card(
    folder: Path,
    recipe: Recipe[Any],
    run: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
) -> None:
    """Write README.md, the model card: data, licences, course of the training, settings."""
    base = recipe.ours.model
    logged = [line for line in history if "loss" in line]
    columns = [name for name in SHOWN if any(name in line for line in logged)]
    rows = []
    for line in _thin(logged, 20):
        cells = [_cell(line.get(name)) for name in columns]
        rows.append([line["step"], *cells])
    kept = {key: run[key] for key in ("config", "seed", "versions", "git", "processes")}
    for picture in pictures:
        write_whole(folder / picture.name, picture.read_bytes())
    card = render_markdown(
        "model_card.md",
        name=recipe.out.name,
        base=base,
        on_hub="/" in base and not Path(base).exists(),
        run=run,
        labels=label_counts(run["labels"]),
        classes=[f"{name} ({sum(counts.values())})" for name, counts in run["data"]["classes"].items()],
        licences=run["data"]["licences"],
        columns=columns,
        rows=rows,
        pictures=pictures,
        settings=json.dumps(kept, indent=2, ensure_ascii=False),
    )
    write_whole(folder / "README.md", card)


def _cell(value: Any) -> str:
    return "–" if value is None else f"{float(value):.4f}"


def _thin(lines: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most so many of the lines, evenly spaced, the first and the last one included."""
    if len(lines) <= most:
        return list(lines)
    return [lines[round(at * (len(lines) - 1) / (most - 1))] for at in range(most)]


def push(folder: Path, recipe: Recipe[Any]) -> None:
    """Push the finished folder to the hub, under `hub_model_id` or the run's name. MachineError if that fails."""
    theirs = recipe.theirs
    name = theirs.get("hub_model_id") or recipe.out.name
    hub = require("huggingface_hub", "train").HfApi(token=theirs.get("hub_token"))
    try:
        made = hub.create_repo(name, private=theirs.get("hub_private_repo"), exist_ok=True)
        hub.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Trained with LAD-Reasoner")
    except Exception as error:  # no network, no login, no right, a full account: each an error of the hub's own kind
        problem = " ".join(str(error).split())[:200]
        raise MachineError(f"{name}: cannot be pushed ({problem}); the model is complete in {folder}") from None


def _main(folder: str, check: str) -> None:
    content = json.loads(Path(check).read_text(encoding="utf-8"))
    checkpoint = load_checkpoint(folder, device="cpu", dtype=content.get("dtype"))
    print(json.dumps({"answers": greedy_answers(checkpoint, content["prompts"])}))


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except LadError as problem:
        sys.exit(str(problem))
