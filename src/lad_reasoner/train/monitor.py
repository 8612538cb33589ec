"""Two views of a GRPO run while it trains: sampled responses, and a warning when the policy collapses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lad_reasoner.errors import RecordError
from lad_reasoner.files.jsonl import load_json, repair_records
from lad_reasoner.files.whole import named_errors, own_file, write_whole
from lad_reasoner.packaged import read_packaged

LOW, HIGH = 0.05, 0.95  # the yes-rate of a policy that still tells pairs apart

WARNINGS: dict[str, str] = read_packaged(__file__, "monitor.toml")

Sample = Mapping[str, Any]  # id, label, answer, rewards by name, tokens, response, advantage


@dataclass
class CollapseGuard:
    """Counts the logged steps in a row on which the policy gives one answer only, or no group of responses differs.

    After `patience` such steps, and after every further `patience`, it warns and names the likely cause.
    """

    patience: int
    bad: dict[str, int] = field(default_factory=lambda: {"yes": 0, "spread": 0})

    def look(self, logs: Mapping[str, Any]) -> str:
        """The warning for one logged step, or an empty string; absent values are ignored."""
        share, same = logs.get("yes_rate"), logs.get("zero_spread")
        problems = []
        if share is not None and self._count("yes", not LOW <= share <= HIGH):
            labels = logs.get("label_yes_rate", 0.5)
            problems.append(WARNINGS["yes"].format(share=share, labels=labels, steps=self.bad["yes"]))
        if same is not None and self._count("spread", same >= 1):
            problems.append(WARNINGS["spread"].format(steps=self.bad["spread"]))
        return "; ".join(problems)

    def _count(self, what: str, bad: bool) -> bool:
        self.bad[what] = self.bad[what] + 1 if bad else 0
        return bad and self.bad[what] % self.patience == 0


class Samples:
    """Sampled responses of every `every`-th step: appended to a JSONL file and handed to `show`."""

    def __init__(self, path: Path, every: int, show: Callable[[int, Sequence[Sample]], None] | None = None) -> None:
        self.path, self.every, self.show = path, every, show

    def due(self, step: int) -> bool:
        """Whether the samples of this step are wanted."""
        return step == 1 or step % self.every == 0

    def add(self, step: int, samples: Sequence[Sample]) -> None:
        """Append the samples of a step and show them."""
        with named_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"step": step, **sample}, ensure_ascii=False) + "\n" for sample in samples)
        if self.show is not None:
            self.show(step, samples)

    def forget(self, step: int) -> None:
        """Drop the samples of later steps: a run that resumes at this step will sample them again."""
        own_file(self.path.parent, self.path.name)
        if not self.path.exists():
            return
        repair_records(self.path)
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = []
        for number, line in enumerate(lines, 1):
            try:
                earlier = load_json(line)["step"] <= step
            except (ValueError, TypeError, KeyError):
                problem = "not a sample of this run; remove the line, then run the same command with --resume"
                raise RecordError(f"{self.path}:{number}: {problem}") from None
            if earlier:
                kept.append(line)
        if len(kept) < len(lines):
            write_whole(self.path, b"".join(kept))
