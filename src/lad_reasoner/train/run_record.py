"""run.json, the record of a training run: settings, versions, git state, hashes of the data and the first weights.

    run = write_run_record(recipe, arguments, {"stage": "sft"}, resume=False)
    read_run_record("runs/sft")["seed"]

A resumed run must have the settings and the data that it was started with, except those that change no weight.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lad_reasoner.data.review.decisions import read_decided
from lad_reasoner.data.sets.built_set import DECISIONS, MANIFEST, METADATA, Entry, summarise_set
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.whole import check_own_folder, hash_file, write_whole
from lad_reasoner.judges.vlm.checkpoint import find_folder
from lad_reasoner.train.session import first_process
from lad_reasoner.train.settings import TRL, Recipe
from lad_reasoner.version import installed_versions

logger = logging.getLogger(__name__)

RUN, SAMPLES, MODEL = "run.json", "samples.jsonl", "model"  # in a run folder, beside its checkpoints
PICTURES = "pictures and masks"  # one hash for all
SECRET = "hub_token"
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "datasets")
FREE = frozenset(TRL["free_on_resume"])  # these may change when a run is resumed
# These too, as long as their product with the processes stays: smaller parts where memory ran out, other machines.
PARTS = ("per_device_train_batch_size", "gradient_accumulation_steps")
# And this one, for the same reasons; other random numbers are drawn then.
ROLLOUT_PARTS = "rollout_batch_size"


def write_run_record(recipe: Recipe[Any], config: Any, facts: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """Write run.json into the run folder and return it.

    `config` is an instance of TRL's config class, of which every field is kept; `facts` are the stage's own. With
    `resume`, InputError names the setting in which the run of the folder differs. Without it, InputError where the
    folder already holds a run; a run.json alone is no hindrance, since that run never started.
    """
    data = recipe.ours.data
    hashes = {name: hash_file(data / name) for name in (MANIFEST, METADATA, DECISIONS) if (data / name).is_file()}
    counts = {}  # for the model card: a review may go on during the training
    if config.process_index == 0:
        entries = read_decided(data)
        hashes[PICTURES] = _hash_pictures(data, entries)
        summary = summarise_set(entries)
        counts = {name: summary[name] for name in ("classes", "licences")}
    run: dict[str, Any] = {
        "config": recipe.ours.model_dump(mode="json") | _without_secret(recipe.theirs),
        "data": {"folder": str(data), "sha256": hashes, **counts},
        "seed": config.seed,
        **facts,
        "file": str(recipe.path),
        "resolved": _without_secret(config.to_dict()),
        "versions": installed_versions(PACKAGES),
        "git": _git(),
        "processes": config.world_size,
        "started": [datetime.now(UTC).isoformat(timespec="seconds")],
    }
    run = json.loads(json.dumps(run, default=str))  # as it will be read back, so that two records compare
    if config.process_index != 0:
        return run
    earlier = read_run_record(recipe.out)
    has_checkpoint = any(recipe.out.glob("checkpoint-*"))
    if resume and earlier is not None:
        if has_checkpoint:
            _check_same(earlier, run, recipe)
        run["started"] = [*earlier.get("started", []), *run["started"]]
    elif resume and has_checkpoint:
        logger.warning(
            "%s: has checkpoints but no %s, so nothing tells whether settings and data are those it was started with",
            recipe.out,
            RUN,
        )
    check_out(recipe, resume=resume)
    recipe.out.mkdir(parents=True, exist_ok=True)
    save_run_record(recipe.out, run)
    return run


def check_out(recipe: Recipe[Any], *, resume: bool) -> None:
    """InputError where the run folder holds something else, or, without `resume`, already a run.

    Of several processes the first checks.
    """
    if not first_process():
        return
    check_own_folder(recipe.out, "--output_dir", RUN)
    if resume:
        return
    earlier = read_run_record(recipe.out)
    if any(recipe.out.glob("checkpoint-*")) or (earlier is not None and _holds_work(recipe.out)):
        raise InputError(f"{recipe.out}: already holds a run; use --resume, or give another --output_dir")


def save_run_record(folder: Path, run: Mapping[str, Any]) -> None:
    """Write run.json into an existing folder."""
    write_whole(folder / RUN, json.dumps(run, indent=2, ensure_ascii=False) + "\n")


def hash_weights(model: str) -> dict[str, str]:
    """SHA-256 of each weight file of the checkpoint that a run starts from."""
    return {file.name: hash_file(file) for file in sorted(find_folder(model).glob("*.safetensors"))}


def _hash_pictures(data: Path, entries: Iterable[Entry]) -> str:
    """SHA-256 over the names and contents of all pictures and masks of these records of a built set."""
    names = sorted({name for entry in entries for name in (*entry.images_file_names, *entry.masks)})
    hashes = {name: hash_file(data / name) for name in names}
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def _without_secret(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != SECRET}


def _holds_work(folder: Path) -> bool:
    """Whether a run wrote samples or a model; what a tracker such as TensorBoard has put there is none."""
    return any((folder / name).exists() for name in (SAMPLES, MODEL))


def read_run_record(folder: str | Path) -> dict[str, Any] | None:
    """run.json of a run folder; None if there is none. InputError if it is damaged."""
    path = Path(folder) / RUN
    if not path.is_file():
        return None
    try:
        run = load_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); give another --output_dir") from None
    if not isinstance(run, dict):
        raise InputError(f"{path}: not a run record; give another --output_dir")
    return run


def _check_same(earlier: Mapping[str, Any], run: Mapping[str, Any], recipe: Recipe[Any]) -> None:
    """InputError if a resumed run has other settings or data than it was started with."""
    before, now = earlier.get("config") or {}, run["config"]
    for key in sorted({*before, *now} - FREE - {"output_dir", "use_cpu", "data", *PARTS, ROLLOUT_PARTS}):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{recipe.where(key)} is {now.get(key)}, but the run in {recipe.out} was started with "
                f"{before.get(key)}; change it back, or give another --output_dir"
            )
    records_before, records_now = _step_records(earlier), _step_records(run)
    if records_before != records_now:
        raise InputError(
            f"{recipe.path}: a step has {records_now} records ({' x '.join(PARTS)} x processes), but the run in "
            f"{recipe.out} was started with {records_before}; make them the same again"
        )
    if earlier.get("weights", run.get("weights")) != run.get("weights"):
        raise InputError(f"{recipe.ours.model}: has changed since the run was started; give another --output_dir")
    hashes_before, hashes_now = (earlier.get("data") or {}).get("sha256") or {}, run["data"]["sha256"]
    # Runs of earlier versions have no hash of the pictures.
    if {PICTURES: hashes_now[PICTURES], **hashes_before} != hashes_now:
        raise InputError(f"{recipe.ours.data}: has changed since the run was started; give another --output_dir")


def _step_records(run: Mapping[str, Any]) -> int:
    resolved = run.get("resolved") or {}
    return math.prod([run.get("processes", 1), *(resolved.get(part, 1) for part in PARTS)])


def _git() -> dict[str, Any] | None:
    """Commit of this package's source and whether it was changed since; None where it is installed without git."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=20, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails if another repository surrounds the installation
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
