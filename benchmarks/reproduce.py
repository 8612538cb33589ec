"""The paper in miniature: micro-base, SFT, GRPO and its two ablations, each measured on products it never saw.

    python benchmarks/reproduce.py              # under an hour on two cores; resumes where it was stopped
    python benchmarks/reproduce.py --quick      # the same chain in some ten minutes; its figures mean nothing

Every step is a command of `lad-reasoner`, printed as it is run. What comes out lies in the folder: four trained
checkpoints, two runs of `eval` for each, `comparison/` with Table 1 on logical defects, paired tests, Figure 5
(`curves.png`) and Figure 6, and `comparison-structural/` with the same on structural ones.

The last checkpoint is ours, not the paper's: after SFT its GRPO also rewards claims that are true by the facts and
answers that follow from the reasoning.

Deviations from the paper: micro for Qwen2.5-VL-3B, MiniLOCO's nine training products for MVTec AD and VisA, facts for
Gemini, MiniLOCO's five evaluation products for MVTec LOCO AD. Learning rates are micro's, not the 3B model's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lad_reasoner.report.curves import draw_curves
from lad_reasoner.train.checkpoints import STATE

COMMAND = Path(sys.executable).with_name("lad-reasoner")
CONFIGS = Path(__file__).parents[1] / "configs/micro"
BASE = "micro-base"
GRPO_RUNS = {"grpo": "GRPO only", "lad": "SFT, then GRPO", "ours": "SFT, then GRPO with our rewards"}
OUR_REWARDS = ["--rewards", "[structure, accuracy, faithful, consistent]", "--reward_weights", "[0.25, 0.5, 0.15, 0.1]"]


def steps(out: Path, *, quick: bool) -> list[list[str]]:
    """The commands, in order."""
    pictures, queries = ("3", "2") if quick else ("60", "100")
    short = ["--max_steps", "2"] if quick else []
    source, benchmark = str(out / "source"), str(out / "benchmark")
    questions, pairs = str(out / "questions"), str(out / "pairs")
    chain = [
        ["data", "miniloco", source, "--products", "training", "--per-class", pictures, "--seed", "1"],
        ["data", "miniloco", benchmark, "--per-class", queries],
        ["data", "sft", source, "--teacher", "offline", "--out", questions],
        ["data", "pairs", source, "--kinds", "good,logical", "--out", pairs],
    ]
    for name, stage, model in (
        ("sft", "sft", BASE),
        ("grpo", "grpo", BASE),
        ("lad", "grpo", str(out / "sft" / "model")),
        ("ours", "grpo", str(out / "sft" / "model")),
    ):
        data = questions if stage == "sft" else pairs
        settings = ["--model", model, "--data", data, "--output_dir", str(out / name), *short]
        settings += OUR_REWARDS if name == "ours" else []
        resumed = ["--resume"] if (out / name).exists() else []
        chain.append(["train", stage, str(CONFIGS / f"{stage}.yaml"), *resumed, *settings])
    for kind, suffix in (("logical", ""), ("structural", "-structural")):
        runs = []
        for name in ("pixel-difference", "base", "sft", "grpo", "lad", "ours"):
            model = {"pixel-difference": name, "base": BASE}.get(name, str(out / name / "model"))
            runs.append(str(out / f"runs{suffix}" / name))
            measured = ["eval", "--benchmark", "miniloco", "--root", benchmark, "--kinds", f"good,{kind}"]
            chain.append([*measured, "--model", model, "--out", runs[-1]])
        chain.append(["compare", *runs, "--out", str(out / f"comparison{suffix}")])
    return chain


def run(step: Sequence[str]) -> int:
    """Run a step and return its exit code. Pictures that are all drawn are not drawn again."""
    if step[:2] == ["data", "miniloco"] and is_drawn(Path(step[2])):
        return 0
    try:
        return subprocess.run([COMMAND, *step], check=False).returncode
    except KeyboardInterrupt:  # the step got it too and has saved what it did
        return 128 + signal.SIGINT


def is_drawn(folder: Path) -> bool:
    """Whether `data miniloco` has drawn all products: while one is missing, a hidden folder waits for its pictures."""
    return any(folder.glob("*/facts.jsonl")) and not any(folder.glob(".*.part"))


def logged(run: Path) -> list[dict[str, Any]]:
    """What a run of GRPO logged, a dictionary a step, from its last checkpoint."""
    states = sorted(run.glob(f"checkpoint-*/{STATE}"), key=lambda path: int(path.parent.name.rpartition("-")[2]))
    return json.loads(states[-1].read_text("utf-8"))["log_history"] if states else []


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder (default: runs/reproduce, or runs/reproduce-quick)")
    parser.add_argument("--quick", action="store_true", help="a few pictures and steps, to try the chain")
    given = parser.parse_args()
    out = given.out or Path("runs/reproduce-quick" if given.quick else "runs/reproduce")
    begun = time.monotonic()
    for step in steps(out, quick=given.quick):
        print(f"[{time.monotonic() - begun:5.0f} s] lad-reasoner {shlex.join(step)}", flush=True)
        code = run(step)
        if code:
            print(f"stopped: exit code {code}; the same command goes on from here", file=sys.stderr)
            return code
    draw_curves({title: logged(out / name) for name, title in GRPO_RUNS.items()}, out / "comparison" / "curves.png")
    print(f"[{time.monotonic() - begun:5.0f} s] done: {out / 'comparison'}, {out / 'comparison-structural'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
