"""`lad-reasoner train sft …` with a log of what each step is trained on; ends itself where it is told to.

    python -m watched_sft LOG SECONDS KILL_AT train sft CONFIG …

Each step takes SECONDS more. The process is killed while it writes the checkpoint of step KILL_AT. The finished model
is not published, since that is tested elsewhere.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import trl

from lad_reasoner import cli, train_sft

torch.set_num_threads(1)
log, seconds, kill_at = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
step, save = trl.SFTTrainer.training_step, trl.SFTTrainer._save_optimizer_and_scheduler


def watched_step(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
    tokenizer = self.processing_class.tokenizer
    answers = [tokenizer.decode(row[row != -100]) for row in inputs["labels"]]
    with log.open("a") as file:
        file.write(json.dumps({"step": self.state.global_step, "answers": answers}) + "\n")
    time.sleep(seconds)
    return step(self, model, inputs, *rest, **more)


def watched_save(self: Any, output_dir: str) -> None:
    if self.state.global_step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, output_dir)


trl.SFTTrainer.training_step = watched_step
trl.SFTTrainer._save_optimizer_and_scheduler = watched_save
train_sft.publish = lambda trainer, recipe, run, records: recipe.out
sys.argv[1:] = sys.argv[4:]
cli.main()
