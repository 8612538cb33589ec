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

from lad_reasoner.cli import app as cli
from lad_reasoner.train import sft


def watched_step(log: Path, seconds: float = 0) -> Any:
    """TRL's training step, which first appends the number of the step and the answers of its records to the log."""
    step = trl.SFTTrainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        tokenizer = self.processing_class.tokenizer
        answers = [tokenizer.decode(row[row != -100]) for row in inputs["labels"]]
        with log.open("a") as file:
            file.write(json.dumps({"step": self.state.global_step, "answers": answers}) + "\n")
        time.sleep(seconds)
        return step(self, model, inputs, *rest, **more)

    return watched


def killed_save(step: int) -> Any:
    """The Trainer's saving of the optimizer, which comes after that of the weights; at this step it is the end."""
    save = trl.SFTTrainer._save_optimizer_and_scheduler

    def watched(self: Any, output_dir: str) -> None:
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, output_dir)

    return watched


if __name__ == "__main__":
    torch.set_num_threads(1)
    log, seconds, kill_at, *sys.argv[1:] = sys.argv[1:]
    trl.SFTTrainer.training_step = watched_step(Path(log), float(seconds))
    trl.SFTTrainer._save_optimizer_and_scheduler = killed_save(int(kill_at))
    sft.publish = lambda trainer, recipe, run, records: recipe.out
    cli.main()
