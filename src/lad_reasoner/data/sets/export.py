"""A built set in the form that another framework reads, to train as the paper did.

    export_set("sft", "out", to="llama-factory")                           # SFT sets: LLaMA-Factory, ms-swift
    export_set("pairs", "out", to="easyr1", model="runs/paper-sft/model")  # pairs: EasyR1, ms-swift

    OUT/data.jsonl   images/     the records and their pictures
        LLaMA-Factory: dataset_info.json, train.yaml, train.sh
        EasyR1: config.yaml, reward.py
        ms-swift: train.sh, with pairs rewards.py

Evaluation harnesses (inspect, lmms-eval, vlmevalkit, mmad) get pairs to measure on: harnesses.py.

The settings beside the data (export.toml) replace defaults that would spoil it silently. LLaMA-Factory scales pictures
to 768x768 pixels (`image_max_pixels`) and cuts conversations at 2,048 tokens (`cutoff_len`). EasyR1 drops prompts of
more than `max_prompt_length` tokens, and enlarges pictures below `min_pixels`. ms-swift drops conversations longer than
`max_length` (`truncation_strategy`). Limits are computed from the set (tokens.py). Paths are absolute where the
framework does not know the data's folder.

The decisions of a review count: rejected records are left out, edited answers are in their places.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lad_reasoner.data.review.decisions import read_decided
from lad_reasoner.data.sets.built_set import Entry, count_places, names_outside, put_file
from lad_reasoner.data.sets.check import ROLES, WRONG_PLACES, WRONG_ROLES
from lad_reasoner.data.sets.harnesses import WRITERS, check_for_harness, write_for_harness, write_jsonl
from lad_reasoner.data.sets.tokens import MIN_PIXELS, needed_pixels, record_tokens
from lad_reasoner.errors import InputError, require
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.files.walk import HEIC_SUFFIXES, SUFFIXES
from lad_reasoner.files.whole import check_new_folder, new_folder, write_whole
from lad_reasoner.packaged import read_packaged
from lad_reasoner.progress import Track, silent
from lad_reasoner.prompts import RESPONSE_TOKENS
from lad_reasoner.text import printable

DATA = "data.jsonl"
STEP = 64  # tokens: limits are rounded up to a multiple
SFT_BATCH, PAIR_BATCH = 16, 64  # records of a step (section 5.2)
TASKS = {"llama-factory": ("sft",), "easyr1": ("pair",), "ms-swift": ("sft", "pair")}
TASKS |= dict.fromkeys(WRITERS, ("pair",))
WORDS = {"sft": "an SFT set", "pair": "a set of pairs"}
BASE = "Qwen/Qwen2.5-VL-3B-Instruct"


@dataclass(frozen=True)
class Exported:
    """The number of records that were written, and the command that trains on them."""

    records: int
    command: str


@dataclass(frozen=True)
class SetLimits:
    """The largest of a set: pixels of a picture, tokens of a prompt and of a prompt with its answer, pictures."""

    max_pixels: int
    min_pixels: int
    prompt: int
    whole: int
    pictures: int


def export_set(
    folder: str | Path,
    out: str | Path,
    *,
    to: Literal["llama-factory", "easyr1", "ms-swift", "inspect", "lmms-eval", "vlmevalkit", "mmad"],
    model: str | None = None,
    max_pixels: int | None = None,
    track: Track = silent,
) -> Exported:
    """Write `folder` to `out`, which must be new or empty, or left by the same call before it was killed.

    `model` is what the training starts from, a folder or a hub name; for an SFT set Qwen2.5-VL-3B unless given.
    `max_pixels` is the pixel budget of a picture; by default that of the largest. InputError if the framework does not
    train on such a set, if pairs come without `model`, and if the review left no record.
    """
    folder, out = Path(folder), Path(out).absolute()
    entries = read_decided(folder)
    call = f"{to} {folder.absolute()} {model} {max_pixels} {entries}"
    work = hashlib.sha256(call.encode("utf-8", "backslashreplace")).hexdigest()
    check_new_folder(out, "--out", work)
    if not entries:
        raise InputError(f"{printable(folder)}: no record is left to export")
    for entry in entries:
        _check_names(entry, folder)
    task = entries[0].task
    _check_task(task, to)
    for entry in entries:
        _check_messages(entry, folder)
    names = list(dict.fromkeys(name for entry in entries for name in entry.images_file_names))
    if to in WRITERS:
        check_for_harness(entries, to)
        for name in track(names, len(names), "Reading pictures"):
            read_picture(folder / name)
        return _export_for_harness(folder, out, entries, to, work)
    start = _find_start(model, task)
    sizes = {name: _size(folder / name) for name in track(names, len(names), "Measuring pictures")}
    limits = _measure(entries, sizes, max_pixels)
    write = {"llama-factory": _llama_factory, "easyr1": _easyr1, "ms-swift": _ms_swift}[to]
    with new_folder(out, "--out", work):
        for name in names:
            put_file(folder / name, out / name)
        return Exported(len(entries), write(out, entries, limits, start))


def _check_names(entry: Entry, folder: Path) -> None:
    """InputError for a picture that lies outside of the set, or that its name does not call a picture for others."""
    where = f"{printable(folder)}: {entry.id}:"
    for name in names_outside(entry, folder):
        raise InputError(f"{where} {printable(name)} leads out of the set; build it again")
    for name in entry.images_file_names:
        suffix = Path(name).suffix.lower()
        # Beside the files of a framework, a module or settings of a stranger would be run.
        if suffix not in SUFFIXES:
            raise InputError(f"{where} {printable(name)} has no picture's suffix; rename it as one")
        if suffix in HEIC_SUFFIXES:
            mend = "build the set from JPEG or PNG"
            raise InputError(f"{where} {printable(name)}: other programs do not open HEIC; {mend}")


def _check_task(task: str, to: str) -> None:
    """InputError if the framework takes no such set."""
    if task in TASKS[to]:
        return
    if to in WRITERS:
        raise InputError(f"--to {to}: does not measure on {WORDS[task]}; build one with `data pairs`")
    others = " or ".join(name for name, tasks in TASKS.items() if task in tasks and name not in WRITERS)
    raise InputError(f"--to {to}: does not train on {WORDS[task]}; give --to {others}")


def _check_messages(entry: Entry, folder: Path) -> None:
    """InputError for messages that no build writes."""
    where = f"{printable(folder)}: {entry.id}:"
    if [message["role"] for message in entry.messages] != ROLES[entry.task]:
        raise InputError(f"{where} {WRONG_ROLES}; build it again")
    if not 0 <= entry.query < len(entry.images_file_names):
        raise InputError(f"{where} there is no picture {entry.query}; build it again")
    if count_places(entry) != len(entry.images_file_names):
        raise InputError(f"{where} {WRONG_PLACES}; build it again")


def _find_start(model: str | None, task: str) -> str:
    """The model that the training starts from: a hub name, or the absolute path of a folder."""
    if model is None and task == "pair":
        raise InputError(
            f"--model: is missing; GRPO starts from the model after SFT, or without that stage from {BASE}"
        )
    model = model or BASE
    folder = Path(model).expanduser()
    if not folder.exists():
        return model
    if not (folder / "config.json").is_file():
        raise InputError(f"--model: {model} has no config.json; give a model's folder, such as RUN/model")
    return str(folder.absolute())


def _export_for_harness(folder: Path, out: Path, entries: Sequence[Entry], to: str, work: str) -> Exported:
    with new_folder(out, "--out", work):
        command = write_for_harness(out, entries, to)
        for entry in entries:
            for name in entry.images_file_names:
                put_file(folder / name, out / name)
        return Exported(len(entries), command)


def _size(path: Path) -> tuple[int, int]:
    picture = read_picture(path)
    return picture.width, picture.height


def _measure(entries: Sequence[Entry], sizes: Mapping[str, tuple[int, int]], max_pixels: int | None) -> SetLimits:
    """`sizes`: picture -> (width, height)."""
    budget = max(needed_pixels(*size) for size in sizes.values()) if max_pixels is None else max_pixels
    prompt = whole = 0
    for entry in entries:
        prompt_tokens, answer_tokens = record_tokens(
            entry.messages, [sizes[name] for name in entry.images_file_names], budget
        )
        prompt = max(prompt, prompt_tokens)
        whole = max(whole, prompt_tokens + answer_tokens)
    return SetLimits(
        max_pixels=budget,
        min_pixels=min(MIN_PIXELS, budget),
        prompt=_round_up(prompt),
        whole=_round_up(whole),
        pictures=max(len(entry.images_file_names) for entry in entries),
    )


def _round_up(tokens: int) -> int:
    return math.ceil(tokens / STEP) * STEP


def _settings() -> dict[str, Any]:
    # The order of the settings is that of the files that are written.
    return read_packaged(__file__, "export.toml")


def _llama_factory(out: Path, entries: Sequence[Entry], limits: SetLimits, model: str) -> str:
    """https://github.com/hiyouga/LLaMA-Factory: data/README.md (sharegpt, with the tags of chat messages)."""
    lines = [{"messages": _with_places(entry.messages), "images": entry.images_file_names} for entry in entries]
    write_jsonl(out / DATA, lines)
    settings = _settings()
    info = json.dumps(settings["llama-factory dataset"], indent=2)
    write_whole(out / "dataset_info.json", info + "\n")
    train = settings["llama-factory"] | {"model_name_or_path": model}
    train |= {"image_max_pixels": limits.max_pixels, "image_min_pixels": limits.min_pixels, "cutoff_len": limits.whole}
    train |= {"dataset_dir": str(out), "media_dir": str(out), "output_dir": str(out / "checkpoint")}
    _write_yaml(out / "train.yaml", train)
    steps = train["gradient_accumulation_steps"]
    return _write_script(out, ["llamafactory-cli train", shlex.quote(str(out / "train.yaml"))], parts=steps)


def _easyr1(out: Path, entries: Sequence[Entry], limits: SetLimits, model: str) -> str:
    """https://github.com/hiyouga/EasyR1: examples/config.yaml; lines with `problem`, `answer` and paths of `images`."""
    lines = []
    for entry in entries:
        [message] = _with_places(entry.messages)
        lines.append({"problem": message["content"], "answer": entry.label, "images": entry.images_file_names})
    write_jsonl(out / DATA, lines)
    settings = _settings()
    write_whole(out / "reward.py", settings["easyr1 reward"])
    config = settings["easyr1"]
    config["data"] |= {"train_files": str(out / DATA), "val_files": str(out / DATA), "image_dir": str(out)}
    config["data"] |= {"max_prompt_length": limits.prompt, "max_response_length": RESPONSE_TOKENS}
    config["data"] |= {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels, "format_prompt": None}
    rollout = config["worker"]["rollout"]
    rollout["limit_images"] = limits.pictures
    rollout["max_num_batched_tokens"] = max(rollout["max_num_batched_tokens"], limits.prompt + RESPONSE_TOKENS)
    config["worker"]["actor"]["model"]["model_path"] = model
    config["worker"]["reward"]["reward_function"] = f"{out / 'reward.py'}:compute_score"
    config["trainer"]["save_checkpoint_path"] = str(out / "checkpoint")
    _write_yaml(out / "config.yaml", config)
    return f"python3 -m verl.trainer.main config={shlex.quote(str(out / 'config.yaml'))}"


def _ms_swift(out: Path, entries: Sequence[Entry], limits: SetLimits, model: str) -> str:
    """https://swift.readthedocs.io: Custom dataset, Command line parameters. Pairs carry their label as `solution`.

    A field called `label` means another thing there (KTO, classification). Paths of pictures are absolute, as its
    documentation asks for.
    """
    task = entries[0].task
    lines = []
    for entry in entries:
        line: dict[str, Any] = {"messages": _with_places(entry.messages)}
        line["images"] = [str(out / name) for name in entry.images_file_names]
        if task == "pair":
            line["solution"] = entry.label
        lines.append(line)
    write_jsonl(out / DATA, lines)
    settings = _settings()
    options = settings[f"ms-swift {task}"] | {"model": model, "dataset": str(out / DATA)}
    options |= {"max_pixels": limits.max_pixels, "output_dir": str(out / "checkpoint")}
    if task == "sft":
        verb, parts = "sft", SFT_BATCH
        options["max_length"] = limits.whole
    else:
        verb, parts = "rlhf", PAIR_BATCH * options["num_generations"] // options["per_device_train_batch_size"]
        write_whole(out / "rewards.py", settings["ms-swift rewards"])
        options |= {"max_length": limits.prompt, "max_completion_length": RESPONSE_TOKENS}
        options["external_plugins"] = str(out / "rewards.py")
    words = [f"MAX_PIXELS={limits.max_pixels}", f"MIN_PIXELS={limits.min_pixels}", f"swift {verb}"]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *(shlex.quote(str(part)) for part in values)]
    size = options["per_device_train_batch_size"]
    return _write_script(out, words, parts=parts, size=size, accumulation="--gradient_accumulation_steps ")


def _write_script(
    out: Path, words: Sequence[str], *, parts: int, size: int = 1, accumulation: str = "gradient_accumulation_steps="
) -> str:
    """Write train.sh, in which a step has `parts` parts of `size` records; returns the command that starts it."""
    command = " ".join([*words, f"{accumulation}$(({parts} / NPROC_PER_NODE))"])
    script = _settings()["script"].format(parts=parts, size=size, command=command)
    write_whole(out / "train.sh", script)
    return f"sh {shlex.quote(str(out / 'train.sh'))}"


def _with_places(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages whose content is one text, with `<image>` for each picture."""
    texts = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join("<image>" if part["type"] == "image" else part["text"] for part in content)
        texts.append({"role": message["role"], "content": content})
    return texts


def _write_yaml(path: Path, settings: Mapping[str, Any]) -> None:
    yaml = require("yaml", "data", "pyyaml")
    write_whole(path, yaml.safe_dump(settings, sort_keys=False, width=1000))
