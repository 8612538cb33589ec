"""What one wants to see while GRPO runs: sampled responses now and then, and a warning when the policy collapses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lad_reasoner.files.jsonl import repair_records

LOW, HIGH = 0.05, 0.95  # the yes-rate of a policy that still tells pairs apart
SHOWN = 4  # responses in a table

SPREAD = (
    "all responses of each group earned the same for {steps} logged steps, so nothing is learned; the pairs are too "
    "easy or too hard for this model, or its responses are alike: raise temperature or num_generations, or start from "
    "a model after SFT"
)
YES = (
    "{share:.0%} of the answers were yes for {steps} logged steps ({labels:.0%} of the labels are); likely the labels "
    "are out of balance (data pairs --balanced), learning_rate is too high, or beta too low"
)


@dataclass
class CollapseGuard:
    """Counts the logged steps on which the policy no longer tells pairs apart, or no group of responses differs.

    After `patience` such steps in a row it says so, with the likely cause, and again after as many more.
    """

    patience: int
    bad: dict[str, int] = field(default_factory=lambda: {"yes": 0, "spread": 0})

    def look(self, logs: Mapping[str, Any]) -> str:
        """The warning that these figures give rise to, or nothing; figures that are absent are passed over."""
        share, same = logs.get("yes_rate"), logs.get("zero_spread")
        problems = []
        if share is not None and self._count("yes", not LOW <= share <= HIGH):
            labels = logs.get("label_yes_rate", 0.5)
            problems.append(YES.format(share=share, labels=labels, steps=self.bad["yes"]))
        if same is not None and self._count("spread", same >= 1):
            problems.append(SPREAD.format(steps=self.bad["spread"]))
        return "; ".join(problems)

    def _count(self, what: str, bad: bool) -> bool:
        self.bad[what] = self.bad[what] + 1 if bad else 0
        return bad and self.bad[what] % self.patience == 0


class Samples:
    """Sampled responses, every `every` steps: a table on stderr, and all of that step's appended to a JSONL file."""

    def __init__(self, path: Path, every: int, console: Console | None = None) -> None:
        self.path, self.every = path, every
        self.console = console or Console(stderr=True, highlight=False)

    def due(self, step: int) -> bool:
        """Whether samples of this step are wanted."""
        return step == 1 or step % self.every == 0

    def add(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Append the samples of a step and show a few, no two of one pair where there are enough pairs."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"step": step, **sample}, ensure_ascii=False) + "\n" for sample in samples)
        self.console.print(sample_table(step, samples))

    def forget(self, step: int) -> None:
        """Drop what was sampled after this step: the run goes on from there and will sample it again."""
        if not self.path.exists():
            return
        repair_records(self.path)
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            half = self.path.with_name(f"{self.path.name}.half")
            half.write_text("".join(kept), encoding="utf-8")
            half.replace(self.path)


def sample_table(step: int, samples: Sequence[Mapping[str, Any]]) -> Table:
    """The first response of each of the first pairs; what the model wrote is shown as text only."""
    first = list({sample["id"]: sample for sample in reversed(samples)}.values())[::-1]
    table = Table(title=f"Sampled at step {step}", title_justify="left", show_lines=True, show_header=False)
    for sample in first[:SHOWN]:
        right = sample["answer"] == sample["label"]
        rewards = ", ".join(f"{name.removesuffix('_reward')} {value:g}" for name, value in sample["rewards"].items())
        line = Text(f"{sample['id']}: label {sample['label']}, answer ").append(
            sample["answer"], style="green" if right else "red"
        )
        line.append(f", {rewards}, advantage {sample.get('advantage', 0):+.2f}\n").append(
            sample["response"], style="dim"
        )
        table.add_row(line)
    return table
