"""A built set in the form that another framework reads, for those who train as the paper did.

    export_set("sft", "out", to="llama-factory")    # SFT sets: LLaMA-Factory, ms-swift
    export_set("pairs", "out", to="easyr1")         # pairs: EasyR1, ms-swift

    OUT/data.jsonl   images/     the records and their pictures
        LLaMA-Factory: dataset_info.json, train.yaml
        EasyR1: config.yaml, reward.py
        ms-swift: train.sh

The settings beside the data hold what these frameworks' defaults would spoil silently. LLaMA-Factory scales pictures to
768x768 pixels (`image_max_pixels`) and cuts conversations at 2,048 tokens (`cutoff_len`). EasyR1 drops prompts of more
than `max_prompt_length` tokens, and enlarges pictures below `min_pixels`. ms-swift leaves out what is longer than
`max_length` (`truncation_strategy`). Limits are computed from the set, see budget.py; rates and numbers of epochs are
the paper's (section 4.1). Paths are absolute where the framework does not know the data's folder.

What a review decided is honoured: rejected records are left out, edited answers are in their places.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lad_reasoner.data.review.decisions import decided, read_decisions
from lad_reasoner.data.sets.built_set import Entry, put_file, read_entries
from lad_reasoner.data.sets.tokens import MIN_PIXELS, needed_pixels, record_tokens
from lad_reasoner.errors import InputError, MissingExtraError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.report.terminal import track
from lad_reasoner.text import printable

DATA = "data.jsonl"
MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"  # the paper's
STEP = 64  # tokens: limits are rounded up to a multiple
RESPONSE = 1024  # tokens for a reasoning; the paper does not say
TASKS = {"llama-factory": ("sft",), "easyr1": ("pair",), "ms-swift": ("sft", "pair")}
WORDS = {"sft": "an SFT set", "pair": "a set of pairs"}

REWARD = '''"""The paper's reward: half for the structure, half for the right answer. Needs lad-reasoner."""

from lad_reasoner.answers import parse_response


def compute_score(reward_inputs):
    scores = []
    for given in reward_inputs:
        response = parse_response(given["response"])
        accuracy = float(response.answer == given["ground_truth"])
        structure = float(response.structured)
        scores.append({"overall": 0.5 * structure + 0.5 * accuracy, "format": structure, "accuracy": accuracy})
    return scores
'''


@dataclass(frozen=True)
class Exported:
    """What was written, and how to train with it."""

    records: int
    command: str


@dataclass(frozen=True)
class Limits:
    """Of a set: pixels of a picture, tokens of a prompt and of a prompt with its answer, pictures of a record."""

    max_pixels: int
    min_pixels: int
    prompt: int
    whole: int
    pictures: int


def export_set(
    folder: str | Path,
    out: str | Path,
    *,
    to: Literal["llama-factory", "easyr1", "ms-swift"],
    max_pixels: int | None = None,
) -> Exported:
    """Write `folder` to `out`, which must be new or empty.

    `max_pixels` is the pixel budget of a picture; by default what the largest needs. InputError for a set of a task
    that the framework does not train, and for one of which nothing is left after the review.
    """
    folder, out = Path(folder), Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {printable(out)}: is not empty; give a new folder")
    records = [entry.model_dump(mode="json") for entry in read_entries(folder)]
    entries = [Entry.model_validate(record) for record in decided(records, read_decisions(folder))]
    if not entries:
        raise InputError(f"{printable(folder)}: no record is left to export")
    task = entries[0].task
    if task not in TASKS[to]:
        others = " or ".join(name for name, tasks in TASKS.items() if task in tasks)
        raise InputError(f"--to {to}: does not train on {WORDS[task]}; give --to {others}")
    limits = _measure(folder, entries, max_pixels)
    out.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(name for entry in entries for name in entry.images_file_names):
        put_file(folder / name, out / name)
    write = {"llama-factory": _llama_factory, "easyr1": _easyr1, "ms-swift": _ms_swift}[to]
    return Exported(len(entries), write(out, entries, limits))


def _measure(folder: Path, entries: Sequence[Entry], max_pixels: int | None) -> Limits:
    names = dict.fromkeys(name for entry in entries for name in entry.images_file_names)
    sizes = {name: _size(folder / name) for name in track(names, len(names), "Measuring pictures")}
    budget = max(needed_pixels(*size) for size in sizes.values()) if max_pixels is None else max_pixels
    counts = [
        record_tokens(entry.messages, [sizes[name] for name in entry.images_file_names], budget) for entry in entries
    ]
    return Limits(
        max_pixels=budget,
        min_pixels=min(MIN_PIXELS, budget),
        prompt=_round_up(max(prompt for prompt, _ in counts)),
        whole=_round_up(max(prompt + answer for prompt, answer in counts)),
        pictures=max(len(entry.images_file_names) for entry in entries),
    )


def _size(path: Path) -> tuple[int, int]:
    picture = read_picture(path)
    return picture.width, picture.height


def _round_up(tokens: int) -> int:
    return math.ceil(tokens / STEP) * STEP


def _llama_factory(out: Path, entries: Sequence[Entry], limits: Limits) -> str:
    """https://github.com/hiyouga/LLaMA-Factory: data/README.md (sharegpt, with the tags of chat messages)."""
    _write_lines(
        out / DATA,
        [{"messages": _with_places(entry.messages), "images": list(entry.images_file_names)} for entry in entries],
    )
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {"lad_sft": {"file_name": DATA, "formatting": "sharegpt", "columns": columns, "tags": tags}}
    (out / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    _write_yaml(
        out / "train.yaml",
        {
            "model_name_or_path": MODEL,
            "image_max_pixels": limits.max_pixels,
            "image_min_pixels": limits.min_pixels,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "freeze_vision_tower": False,
            "freeze_multi_modal_projector": False,
            "dataset_dir": str(out),
            "media_dir": str(out),
            "dataset": "lad_sft",
            "template": "qwen2_vl",
            "cutoff_len": limits.whole,
            "output_dir": str(out / "checkpoint"),
            "learning_rate": 1.0e-6,
            "num_train_epochs": 3.0,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 16,
            "bf16": True,
        },
    )
    return f"llamafactory-cli train {shlex.quote(str(out / 'train.yaml'))}"


def _easyr1(out: Path, entries: Sequence[Entry], limits: Limits) -> str:
    """https://github.com/hiyouga/EasyR1: examples/config.yaml; lines with `problem`, `answer` and paths of `images`."""
    lines = []
    for entry in entries:
        [message] = _with_places(entry.messages)
        lines.append({"problem": message["content"], "answer": entry.label, "images": list(entry.images_file_names)})
    _write_lines(out / DATA, lines)
    (out / "reward.py").write_text(REWARD, encoding="utf-8")
    config = {
        "data": {
            "train_files": str(out / DATA),
            "val_files": str(out / DATA),
            "prompt_key": "problem",
            "answer_key": "answer",
            "image_key": "images",
            "image_dir": str(out),
            "format_prompt": None,
            "max_prompt_length": limits.prompt,
            "max_response_length": RESPONSE,
            "rollout_batch_size": 64,
            "min_pixels": limits.min_pixels,
            "max_pixels": limits.max_pixels,
            "filter_overlong_prompts": True,
        },
        "algorithm": {"adv_estimator": "grpo", "disable_kl": False, "use_kl_loss": True},
        "worker": {
            "actor": {
                "global_batch_size": 64,
                "model": {"model_path": MODEL, "freeze_vision_tower": False},
                "optim": {"lr": 1.0e-6},
            },
            "rollout": {"limit_images": limits.pictures},
            "reward": {"reward_type": "batch", "reward_function": f"{out / 'reward.py'}:compute_score"},
        },
        "trainer": {
            "max_steps": 50,
            "val_freq": -1,
            "val_before_train": False,
            "save_checkpoint_path": str(out / "checkpoint"),
        },
    }
    _write_yaml(out / "config.yaml", config)
    return f"python3 -m verl.trainer.main config={shlex.quote(str(out / 'config.yaml'))}"


def _ms_swift(out: Path, entries: Sequence[Entry], limits: Limits) -> str:
    """https://swift.readthedocs.io: Custom dataset, Command line parameters. Pairs carry their label as `solution`.

    A field called `label` means another thing there (KTO, classification). Paths of pictures are absolute, as its
    documentation asks for.
    """
    task = entries[0].task
    lines = []
    for entry in entries:
        line: dict[str, Any] = {"messages": _with_places(entry.messages)}
        line["images"] = [str(out / name) for name in entry.images_file_names]
        lines.append(line | ({"solution": entry.label} if task == "pair" else {}))
    _write_lines(out / DATA, lines)
    options: dict[str, Any] = {"model": MODEL, "dataset": str(out / DATA), "max_pixels": limits.max_pixels}
    if task == "sft":
        command = "swift sft"
        options |= {"max_length": limits.whole, "num_train_epochs": 3}
        options |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16}
    else:
        command = "swift rlhf --rlhf_type grpo"
        options |= {"max_length": limits.prompt, "max_completion_length": RESPONSE, "max_steps": 50}
    options |= {"freeze_vit": "false", "learning_rate": 1e-6, "output_dir": str(out / "checkpoint")}
    words = [f"MAX_PIXELS={limits.max_pixels}", f"MIN_PIXELS={limits.min_pixels}", command]
    words += [f"--{name} {shlex.quote(str(value))}" for name, value in options.items()]
    note = "" if task == "sft" else "# Add --reward_funcs: the label stands in the column `solution`.\n"
    (out / "train.sh").write_text(f'{note}{" ".join(words[:2])} {" ".join(words[2:])} "$@"\n', encoding="utf-8")
    return f"sh {shlex.quote(str(out / 'train.sh'))}"


def _with_places(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages whose content is one text in which `<image>` stands for each picture."""
    return [
        {
            "role": message["role"],
            "content": "".join("<image>" if part["type"] == "image" else part["text"] for part in message["content"]),
        }
        for message in messages
    ]


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _write_yaml(path: Path, settings: dict[str, Any]) -> None:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("pyyaml", "data") from None
    path.write_text(yaml.safe_dump(settings, sort_keys=False, width=1000), encoding="utf-8")
