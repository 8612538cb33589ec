"""Checkpoints of a run: sealed, rotated, the newest whole one found, and its weights put back into the model.

    seal(folder / "checkpoint-50")                  # once every process has written its part
    rotate(folder, keep=2)
    newest_checkpoint(folder)

Whole is a checkpoint with weights, optimizer and random state, each as it was written: the seal has a hash of every
file. Without one of them the Trainer would resume all the same, and end with other weights.

Weights are restored here because Transformers 5 saves those of several families under other names than the model has:
its Trainer looks for the model's names, finds none, and would resume with the weights that training started with.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

from lad_reasoner.errors import require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.whole import hash_file, write_whole
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"  # the file that the Trainer writes last
SEAL = "hashes.json"  # the file that we write after it
# Files and folders of which one must be there. Under FSDP and DeepSpeed several names are usual.
PARTS = {
    "weights": ("*.safetensors", "pytorch_model*", "global_step*"),
    "optimizer": ("optimizer*", "global_step*"),
    "random state": ("rng_state*.pth",),
}


def newest_checkpoint(folder: str | Path, *, remove_halves: bool = False) -> Path | None:
    """The whole checkpoint with the most steps in a run folder; None if there is none.

    Later ones that are damaged or incomplete are skipped, and with `remove_halves` named in the log and removed: the
    run will write them again. A whole one that has no seal, since the run was killed before it, gets one then.
    """
    for number, path in sorted(_numbered(folder).items(), reverse=True):
        fault = find_fault(path, number)
        if not fault:
            if remove_halves and not (path / SEAL).exists():
                seal(path)
            return path
        if remove_halves:
            logger.warning("%s: %s; it is removed, and training resumes before it", path, fault)
            _remove(path)
    return None


def rotate(folder: str | Path, keep: int | None) -> None:
    """Remove all but the `keep` checkpoints with the most steps; None keeps all.

    The Trainer goes by the time of the files, and removes the checkpoint that it has just written if the clock was set
    back.
    """
    paths = [path for _, path in sorted(_numbered(folder).items())]
    for path in paths[: -max(1, keep)] if keep else ():
        _remove(path, ignore_errors=True)


def _remove(path: Path, *, ignore_errors: bool = False) -> None:
    """A checkpoint; of a link only the link."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=ignore_errors)


def seal(checkpoint: Path) -> None:
    """Write the hash of every file of a checkpoint into it."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL)
    hashes = {path.relative_to(checkpoint).as_posix(): hash_file(path) for path in files}
    write_whole(checkpoint / SEAL, json.dumps(hashes, indent=2) + "\n")


def find_fault(checkpoint: Path, number: int | None = None) -> str:
    """What is missing or damaged in the checkpoint of this step; empty if it is whole."""
    if checkpoint.is_symlink():
        return "is a link, through which nothing is written"
    for part, names in PARTS.items():
        if not any(any(checkpoint.glob(name)) for name in names):
            return f"has no {part}"
    # Without a seal it was cut off, or written by an earlier version.
    fault = _broken_seal(checkpoint) if (checkpoint / SEAL).exists() else _unreadable_file(checkpoint)
    return fault or _wrong_state(checkpoint, number)


def _numbered(folder: str | Path) -> dict[int, Path]:
    """Number of steps -> checkpoint."""
    numbered: dict[int, Path] = {}
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if number.isdecimal() and path.is_dir():
            numbered[int(number)] = path
    return numbered


def _broken_seal(checkpoint: Path) -> str:
    try:
        hashes = load_json((checkpoint / SEAL).read_text(encoding="utf-8"))
        for name, wanted in hashes.items():
            if hash_file(checkpoint / name) != wanted:
                return f"{name} is not as it was written"
    except (OSError, ValueError, AttributeError) as error:
        return f"is incomplete ({error})"
    return ""


def _unreadable_file(checkpoint: Path) -> str:
    """A file without a hash that cannot be opened to its end."""
    safetensors = require("safetensors", "train")
    for file in sorted(checkpoint.rglob("*.safetensors")):
        try:
            with safetensors.safe_open(file, "pt"):
                pass
        except (OSError, safetensors.SafetensorError):
            return f"{file.name} is cut off or damaged"
    for file in sorted([*checkpoint.rglob("*.pt"), *checkpoint.rglob("*.pth")]):
        # A zip file has its directory at the end, which is missing if the file was cut off.
        if not zipfile.is_zipfile(file):
            return f"{file.name} is cut off or damaged"
    return ""


def _wrong_state(checkpoint: Path, number: int | None) -> str:
    try:
        step = load_json((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, TypeError, KeyError):
        return f"has no valid {STATE}"
    return "" if number in (None, step) else f"{STATE} is of step {step}"


def restore_weights(model: Any, checkpoint: str | Path, _wrapped: Any = None) -> None:
    """Load every weight of a checkpoint into the model, in the model's precision."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    model.load_state_dict(load_checkpoint(checkpoint, device="cpu", dtype=dtype).model.state_dict(), strict=True)
