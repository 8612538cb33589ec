"""What each part of the recipe is worth: GRPO of micro-base, a row a setting, three seeds, tests on the same pairs.

    python benchmarks/ablations.py --out runs/ablations            # 20 steps of 32 responses: minutes a run
    python benchmarks/ablations.py --short --out runs/short        # 8 steps of 24: a row in minutes, and little power
    python benchmarks/ablations.py --short --out runs/short --print

A run is one setting with one seed. What is finished is kept, so the same command goes on where it was stopped; the
seeds take turns, so that a part of the runs is a whole table with fewer seeds. `--only` names the rows.

Each row differs from the first, the paper's rewards, in what its name says alone. Logical and structural anomalies are
judged apart, both against the same good queries, of MiniLOCO's evaluation products. p is that of a permutation test:
for each pair the number of seeds with the right answer, less that of the first row; the signs of these differences are
exchanged at random. It is about these pairs and these seeds: that other seeds would give the same, only the range over
the seeds can tell. The p-values are not corrected for the number of rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from scipy.stats import permutation_test

from lad_reasoner.api import evaluate
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sources import find_samples
from lad_reasoner.evaluation.metrics import compute_metrics
from lad_reasoner.evaluation.run import measure_run, read_run
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.whole import write_whole
from lad_reasoner.miniloco import EVALUATION, TRAINING, write_benchmark
from lad_reasoner.miniloco.families.free import free_names
from lad_reasoner.records import Prediction
from lad_reasoner.train.grpo import train_grpo

CONFIG = Path(__file__).parents[1] / "configs" / "micro" / "grpo.yaml"
BASE, SEEDS = "micro-base", (1, 2, 3)
SKIPPED = ("--skip_flat_groups", "true")
RESAMPLED = (*SKIPPED, "--resample_flat_groups", "2")
TWICE = ("--num_iterations", "2")  # without it every ratio is 1: nothing is clipped, and its level does not matter


@dataclass(frozen=True)
class Row:
    """A setting: the words of `train grpo`, and the pairs that it trains on."""

    words: tuple[str, ...] = ()
    pairs: str = "plain"


def rewards(*names: str) -> Row:
    """The paper's two rewards and these: a fifth of the weight each."""
    share = 0.2 * len(names)
    weights = [round((1 - share) / 2, 2)] * 2 + [0.2] * len(names)
    return Row(("--rewards", f"[structure, accuracy, {', '.join(names)}]", "--reward_weights", str(weights)))


FIRST = "the paper's rewards"
ROWS = {
    FIRST: Row(),
    "+ faithful": rewards("faithful"),
    "+ places": rewards("places"),
    "+ consistent": rewards("consistent"),
    "+ faithful, places, consistent": rewards("faithful", "places", "consistent"),
    "flat groups skipped": Row(SKIPPED),
    "flat groups resampled": Row(RESAMPLED),
    "curriculum: easy first": Row(("--shuffle_dataset", "false"), "easy-first"),
    "DAPO": Row(("--loss_type", "dapo", "--epsilon_high", "0.28", "--kl", "none", "--beta", "0", *TWICE, *RESAMPLED)),
    "Dr. GRPO": Row(("--loss_type", "dr_grpo", "--scale_rewards", "none")),
    "two updates a sample": Row(TWICE),
    "two updates a sample, GSPO": Row((*TWICE, "--importance", "sequence")),
    "pairs: allowed differences": Row(pairs="allowed"),
    "pairs: hard ones": Row(pairs="hard"),
    "pairs: free scenes as well": Row(pairs="free"),
}


@dataclass(frozen=True)
class Size:
    """How much is drawn, trained and judged: pictures of a kind and class, draws of a family, words of `train grpo`."""

    training: int
    evaluation: int
    draws: int
    words: tuple[str, ...] = ()


FULL = Size(
    training=30,
    evaluation=60,
    draws=40,
    words=(
        *("--max_steps", "20", "--per_device_train_batch_size", "32"),
        *("--learning_rate", "1e-4", "--save_steps", "20"),
    ),
)
SHORT = Size(
    training=6,
    evaluation=12,
    draws=6,
    words=(
        *("--max_steps", "8", "--per_device_train_batch_size", "24", "--num_generations", "6"),
        *("--learning_rate", "2e-4", "--warmup_steps", "2"),
    ),
)


def draw(folder: Path, products: Sequence[str] | None, per_class: int, seed: int) -> Path:
    """The pictures of these products, drawn once."""
    if not folder.is_dir():
        half = folder.with_name(f"{folder.name}.half")
        for _ in write_benchmark(half, products=products, per_class=per_class, seed=seed, overwrite=True):
            pass
        half.rename(folder)
    return folder


def build(out: Path, name: str, size: Size) -> Path:
    """The pairs of this name, built or resumed."""
    source = draw(out / "source", TRAINING, size.training, 1)
    sources, choices = [find_samples(source)], {}
    if name == "free":
        sources.append(find_samples(draw(out / "free", free_names(size.draws), 1, 1)))
    elif name == "allowed":
        choices = {"allowed": True}
    elif name in ("hard", "easy-first"):
        run = out / "base-on-source"
        evaluate(BASE, "miniloco", root=source, kinds=("good", "logical"), out=run)
        choices = {"hard_from": run} if name == "hard" else {"easy_first": run}
    plan = plan_pairs(gather(sources), kinds=("good", "logical"), **choices)  # type: ignore[arg-type]
    for _ in build_pairs(out / f"pairs-{name}", plan):
        pass
    return out / f"pairs-{name}"


def work(out: Path, name: str, seed: int, size: Size) -> None:
    """Train and judge one run; a finished one is left as it is."""
    row, folder = ROWS[name], out / "runs" / f"{slug(name)}-{seed}"
    if (folder / "seconds.json").is_file():
        return
    data, begun = build(out, row.pairs, size), time.monotonic()
    if not (folder / "model").is_dir():
        words = ["--model", BASE, "--data", str(data), "--output_dir", str(folder), "--seed", str(seed)]
        words += ["--report_to", "none", *size.words, *row.words]
        train_grpo(CONFIG, words, resume=folder.is_dir())
    judge(out, str(folder / "model"), folder / "eval", size)
    write_whole(folder / "seconds.json", f"{time.monotonic() - begun:.0f}\n")


def judge(out: Path, model: str, run: Path, size: Size) -> None:
    """All kinds of queries in one run of `eval`; their metrics are separated afterwards."""
    benchmark = draw(out / "benchmark", EVALUATION, size.evaluation, 0)
    evaluate(model, "miniloco", root=benchmark, kinds=("good", "logical", "structural"), out=run)


def slug(name: str) -> str:
    """A folder's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def right(run: Path, kind: str) -> dict[str, bool]:
    """Query -> whether it was judged right, of the good ones and those of a kind."""
    lines = read_run(run).predictions
    return {line.pair.query: line.verdict.answer == line.pair.label for line in of_kind(lines, kind)}


def of_kind(lines: Sequence[Prediction], kind: str) -> list[Prediction]:
    return [line for line in lines if line.pair.kind in ("good", kind)]


def p_value(first: Sequence[dict[str, bool]], other: Sequence[dict[str, bool]]) -> float:
    """Of the permutation test above; both have as many seeds."""
    queries = sorted(first[0])
    counts = [np.array([sum(seed[query] for seed in seeds) for query in queries], float) for seeds in (first, other)]
    if np.array_equal(*counts):
        return 1.0
    test = permutation_test(
        counts,
        lambda one, two, axis: np.mean(one - two, axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        rng=0,
    )
    return float(test.pvalue)


def table(out: Path, names: Sequence[str]) -> Iterator[str]:
    """The lines of the table in Markdown, of the runs that are finished."""
    finished = {
        name: [seed for seed in SEEDS if (out / "runs" / f"{slug(name)}-{seed}" / "seconds.json").is_file()]
        for name in names
    }
    heads = ["", "seeds", "logical, %", "p", "AUROC", "structural, %", "p", "AUROC", "true claims, %", "flat, %", "s"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    if (out / "untrained").is_dir():
        yield line_of("untrained", [out / "untrained"], ["–", "–"], "–", "–")
    for name, seeds in finished.items():
        if not seeds:
            continue
        folders = [out / "runs" / f"{slug(name)}-{seed}" for seed in seeds]
        runs = [folder / "eval" for folder in folders]
        tests = ["–", "–"]
        common = [seed for seed in seeds if seed in finished.get(FIRST, [])]
        if name != FIRST and common:
            tests = []
            for kind in ("logical", "structural"):
                both = [
                    [right(out / "runs" / f"{slug(which)}-{seed}" / "eval", kind) for seed in common]
                    for which in (FIRST, name)
                ]
                tests.append(f"{p_value(*both):.2g}")
        seconds = mean(float((folder / "seconds.json").read_text()) for folder in folders)
        yield line_of(name, runs, tests, flat_share(folders), f"{seconds:.0f}")


def line_of(name: str, runs: Sequence[Path], tests: Sequence[str], flat: str, seconds: str) -> str:
    """A row: balanced accuracies as a mean over the seeds with their range, AUROC and true claims as means."""
    predictions = [read_run(run).predictions for run in runs]
    cells = [name, str(len(runs))]
    for kind, test in zip(("logical", "structural"), tests, strict=True):
        pooled = [compute_metrics(of_kind(lines, kind), resamples=0).pooled for lines in predictions]
        balanced = [100 * (metrics.balanced_accuracy.value or 0) for metrics in pooled]
        spread = f" ({min(balanced):.1f}–{max(balanced):.1f})" if len(runs) > 1 else ""
        cells += [f"{mean(balanced):.1f}{spread}", test, f"{mean(100 * (m.auroc.value or 0) for m in pooled):.1f}"]
    claims = [measure_run(lines, resamples=0).explanations for lines in predictions]
    precisions = [found.faithfulness["all"].precision.value for found in claims if found and found.faithfulness]
    cells.append(f"{mean(100 * (value or 0) for value in precisions):.1f}" if precisions else "–")
    return f"| {' | '.join([*cells, flat, seconds])} |"


def flat_share(folders: Sequence[Path]) -> str:
    """How many groups had no spread in their rewards while training, as a mean over steps and seeds."""
    shares = []
    for folder in folders:
        states = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
        if states:
            history = load_json(states[-1].read_text(encoding="utf-8"))["log_history"]
            shares += [line["zero_spread"] for line in history if "zero_spread" in line]
    return f"{100 * mean(shares):.0f}" if shares else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--short", action="store_true", help="8 steps of 24 responses, 180 queries")
    parser.add_argument("--only", help="rows, with semicolons between; default: all")
    parser.add_argument("--print", action="store_true", help="only print the table of what is finished")
    given = parser.parse_args()
    out: Path = given.out
    size = SHORT if given.short else FULL
    names = [name.strip() for name in given.only.split(";")] if given.only else list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"--only {unknown[0]}: no such row; there are {'; '.join(ROWS)}")
    if not given.print:
        out.mkdir(parents=True, exist_ok=True)
        judge(out, BASE, out / "untrained", size)
        for seed in SEEDS:
            for name in dict.fromkeys((FIRST, *names)):
                work(out, name, seed, size)
                print(f"{name}, seed {seed}: done", flush=True)
    for line in table(out, list(dict.fromkeys((FIRST, *names)))):
        print(line)


if __name__ == "__main__":
    main()
