"""`train_grpo` in a process of its own, which ends itself where it is told to.

    python -m watched_grpo FOLDER KILL_AT publish|keep CONFIG [--key value …]
    torchrun --nproc_per_node 2 -m watched_grpo …

The process is killed in the middle of the step after KILL_AT, when its responses are sampled and its loss is computed.
Each process writes FOLDER/RANK.json at the end: the step, and hashes of the weights before and after.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from lad_reasoner.train import grpo
from lad_reasoner.train.publish import publish
from lad_reasoner.train.trainer import StructuredGRPOTrainer

torch.set_num_threads(1)
folder, kill_at, published = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "publish"
before: list[str] = []
loss, begin = StructuredGRPOTrainer._compute_loss, StructuredGRPOTrainer.train


def hash_weights(model: Any) -> str:
    state = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        state.update(name.encode() + weight.detach().float().numpy().tobytes())
    return state.hexdigest()


def watched_loss(self: Any, model: Any, inputs: Any) -> Any:
    found = loss(self, model, inputs)
    if self.state.global_step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def watched_train(self: Any, **named: Any) -> Any:
    before.append(hash_weights(self.model))
    return begin(self, **named)


def watched_publish(trainer: Any, recipe: Any, run: Any, records: Any, *, pictures: Any) -> Path:
    facts = {"step": trainer.state.global_step, "before": before[0], "after": hash_weights(trainer.model)}
    (folder / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(facts))
    return publish(trainer, recipe, run, records, pictures=pictures) if published else recipe.out


StructuredGRPOTrainer._compute_loss = watched_loss
StructuredGRPOTrainer.train = watched_train
grpo.publish = watched_publish
grpo.train_grpo(sys.argv[4], sys.argv[5:])
