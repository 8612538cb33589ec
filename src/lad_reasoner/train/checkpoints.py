"""Checkpoints of a run: the newest complete one, and its weights put back into the model.

Weights are restored here because Transformers 5 saves those of several families under other names than the model has:
its Trainer looks for the model's names, finds none, and would resume with the weights that training started with.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from lad_reasoner.errors import require
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint

STATE = "trainer_state.json"  # the file that the Trainer writes last


def newest_checkpoint(folder: str | Path, *, remove_halves: bool = False) -> Path | None:
    """The complete checkpoint with the most steps in a run folder; None if there is none.

    Incomplete ones are skipped, and with `remove_halves` removed, so that they do not count as one of those to keep.
    """
    complete: dict[int, Path] = {}
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if not number.isdigit() or not path.is_dir():
            continue
        if is_whole(path):
            complete[int(number)] = path
        elif remove_halves:
            shutil.rmtree(path)
    return complete[max(complete)] if complete else None


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint can be opened: its state, all weights, all optimizer and random states."""
    safetensors = require("safetensors", "train")
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        for file in checkpoint.rglob("*.safetensors"):
            with safetensors.safe_open(file, "pt"):
                pass
        # A zip file has its directory at the end, which is missing if the file was cut off.
        archives = [*checkpoint.rglob("*.pt"), *checkpoint.rglob("*.pth")]
    except (OSError, ValueError, safetensors.SafetensorError):
        return False
    return isinstance(state, dict) and "global_step" in state and all(zipfile.is_zipfile(file) for file in archives)


def restore_weights(model: Any, checkpoint: str | Path, _wrapped: Any = None) -> None:
    """Load every weight of a checkpoint into the model, in the model's precision."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    model.load_state_dict(load_checkpoint(checkpoint, device="cpu", dtype=dtype).model.state_dict(), strict=True)
