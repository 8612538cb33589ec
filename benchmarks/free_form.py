"""Does the structure reward teach the form? A model that lost it learns it again by GRPO with `structured: false`.

    python benchmarks/free_form.py --out runs/free-form        # a few minutes of one core; resumes where it was stopped

micro-base writes the form by itself, so there is nothing to learn. SFT on the appearance questions, whose answers have
no tags, at ten times the rate of configs/micro/sft.yaml makes it forget the form. GRPO samples freely from there, with
both rewards. Before and after, plain `generate` without any of our decoding answers pairs that no run saw.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from lad_reasoner.answers import parse_response
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sets.sft import build_sft, plan_sft
from lad_reasoner.data.sources import find_samples
from lad_reasoner.data.teachers.offline import OfflineTeacher
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.miniloco import TRAINING, write_benchmark
from lad_reasoner.train.checkpoints import STATE
from lad_reasoner.train.dataset import load_set
from lad_reasoner.train.grpo import train_grpo
from lad_reasoner.train.sft import train_sft

CONFIGS = Path(__file__).parents[1] / "configs" / "micro"
TOKENS, BATCH = 128, 36


def structured_share(model: str | Path, pairs: Path) -> float:
    """The share of structured responses of plain greedy `generate` on a set of pairs."""
    checkpoint = load_checkpoint(model)
    processor, data = checkpoint.processor, load_set(pairs, kind="pair")
    structured = 0
    for start in range(0, len(data), BATCH):
        rows = data[start : start + BATCH]
        texts = processor.apply_chat_template(rows["prompt"], add_generation_prompt=True, tokenize=False)
        inputs: Any = processor(
            text=texts, images=rows["images"], padding=True, padding_side="left", return_tensors="pt"
        )
        with torch.inference_mode():
            ids = checkpoint.model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
        written = ids[:, inputs["input_ids"].shape[1] :]
        responses = processor.tokenizer.batch_decode(written, skip_special_tokens=True)
        structured += sum(parse_response(response).structured for response in responses)
    return structured / len(data)


def build_sets(out: Path) -> None:
    """Questions and pairs of one drawing of the training products, and pairs of another."""
    for seed, name in ((1, "source"), (2, "held-out")):
        if not (out / name).is_dir():
            for _ in write_benchmark(out / name, products=TRAINING, per_class=4, seed=seed):
                pass
        pool = gather([find_samples(out / name)])
        for _ in build_pairs(out / f"{name}-pairs", plan_pairs(pool, kinds=("good", "logical"))):
            pass
    plan = plan_sft(gather([find_samples(out / "source")]), read_mmad(None, None))
    for _ in build_sft(out / "questions", plan, OfflineTeacher()):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/free-form"))
    parser.add_argument("--steps", type=int, default=40, help="steps of GRPO, of 4 pairs with 8 responses each")
    given = parser.parse_args()
    out: Path = given.out
    build_sets(out)
    common = ["--report_to", "none", "--save_steps", "10"]
    forgot, learned = out / "forgot", out / f"learned-{given.steps}"
    if not (forgot / "model").is_dir():
        words = ["--data", f"{out / 'questions'}", "--output_dir", f"{forgot}", "--learning_rate", "5e-4"]
        train_sft(CONFIGS / "sft.yaml", [*words, "--max_steps", "30", *common], resume=forgot.is_dir())
    if not (learned / "model").is_dir():
        words = ["--model", f"{forgot / 'model'}", "--data", f"{out / 'source-pairs'}", "--output_dir", f"{learned}"]
        words += ["--structured", "false", "--learning_rate", "1e-4", "--max_steps", f"{given.steps}"]
        words += ["--per_device_train_batch_size", "32", "--max_completion_length", f"{TOKENS}"]
        train_grpo(CONFIGS / "grpo.yaml", [*words, *common], resume=learned.is_dir())
    for title, model in (
        ("micro-base", "micro-base"),
        ("after SFT without tags", forgot / "model"),
        (f"after {given.steps} steps of GRPO", learned / "model"),
    ):
        print(
            f"{title}: {structured_share(model, out / 'held-out-pairs'):.1%} of plain responses structured", flush=True
        )
    print(f"the reward of each step: {learned / f'checkpoint-{given.steps}' / STATE}")


if __name__ == "__main__":
    main()
