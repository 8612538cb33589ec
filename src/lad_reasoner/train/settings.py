"""What a training run is made from: its settings in a YAML file, and the record of settings and data in run.json.

    recipe = read_recipe("configs/micro/sft.yaml", ["--max_steps", "10"], ours=Settings, theirs=trl.SFTConfig)
    recipe.ours         # our few keys, checked
    recipe.theirs       # TRL's own settings under TRL's own names
    arguments = recipe.arguments(trl.SFTConfig)
    write_run(recipe, arguments, {}, resume=False)

The keys of the file are ours (`Settings` and what a stage adds) or fields of TRL's config class; anything else is
refused with the nearest right name. Words of the command line win over the file. Relative paths are taken from where
the command is run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lad_reasoner.data.sets.built_set import DECISIONS, MANIFEST, METADATA, hash_file
from lad_reasoner.errors import InputError, MachineError, MissingExtraError
from lad_reasoner.train.fields import check_fields, explain, field_names, nearest, takes_truth

RUN = "run.json"
SECRET = "hub_token"
PACKAGES = ("lad-reasoner", "torch", "transformers", "trl", "accelerate", "peft", "datasets")
# TRL's settings that neither stage reads, and what stands in their place.
MEASURE, FINISHED, TEMPLATE = (
    "measure with `lad-reasoner eval`",
    "push_to_hub sends the finished model",
    "tokenizer and chat template are the model's own",
)
ELSEWHERE = {
    "resume_from_checkpoint": "say --resume",
    "restore_callback_states_from_checkpoint": "say --resume",
    "model_init_kwargs": "the model is loaded by `model`, `dtype` and `max_pixels`",
    "trust_remote_code": "code of a checkpoint is never run",
    "chat_template_path": TEMPLATE,
    "eos_token": TEMPLATE,
    "pad_token": TEMPLATE,
    "enable_jit_checkpoint": "SIGTERM saves a checkpoint anyway",
    "do_train": "it trains",
    "do_eval": MEASURE,
    "do_predict": MEASURE,
    "eval_strategy": MEASURE,
    "eval_steps": MEASURE,
    "eval_on_start": MEASURE,
    "load_best_model_at_end": MEASURE,
    "metric_for_best_model": MEASURE,
    "hub_strategy": FINISHED,
    "hub_always_push": FINISHED,
    "hub_revision": FINISHED,
}
# What may change when a run goes on: where and how often it speaks and saves, never what it computes.
FREE = frozenset(
    {"logging_steps", "logging_first_step", "report_to", "run_name", "save_steps", "save_strategy", "save_total_limit"}
    | {"disable_tqdm", "log_level", "push_to_hub", "hub_model_id", "hub_private_repo", SECRET}
    | {"dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor"}
    | {"gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_checkpointing"}
)
# These too, as long as a step sees as many records: smaller parts where memory ran out, other machines.
PARTS = ("per_device_train_batch_size", "gradient_accumulation_steps")


class Settings(BaseModel):
    """The keys that are ours in every stage; a stage adds its own in a subclass.

    `lora` takes PEFT's own names (`r`, `lora_alpha`, `target_modules` …) and trains an adapter instead of all weights.
    """

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="micro-base, a model's folder or a hub name")
    data: Path = Field(description="folder that `lad-reasoner data` built")
    max_pixels: int | None = Field(None, ge=28 * 28, description="pixel budget of a picture, kept with the model")
    dtype: Literal["float32", "bfloat16"] | None = Field(
        None, description="of the weights while they are trained; float32 unless `lora` is given"
    )
    freeze_vision: bool = Field(False, description="leave the vision tower as it is")
    lora: dict[str, Any] | None = None
    leave_out_long: bool = Field(False, description="leave out records longer than the context instead of stopping")

    @field_validator("lora")
    @classmethod
    def _names_of_peft(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if lora is None else check_fields(lora, library("peft").LoraConfig)


Ours = TypeVar("Ours", bound=Settings)


@dataclass(frozen=True)
class Recipe(Generic[Ours]):
    """A run's settings. `theirs` are the settings given to TRL's config class, with our defaults for this machine."""

    path: Path
    ours: Ours
    theirs: dict[str, Any]

    @property
    def out(self) -> Path:
        """The run's folder: TRL's output_dir."""
        return Path(self.theirs["output_dir"]).expanduser()

    def arguments(self, config: Any) -> Any:
        """The object of TRL's config class; InputError, with the file's name, for what TRL refuses."""
        # The trainer would push every checkpoint; here the finished model is pushed (publish.py).
        wanted = {key: value for key, value in self.theirs.items() if key != "push_to_hub"}
        with self.blamed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Transformers' and TRL's deprecations of each other's names
            return config(**wanted)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What a library refuses in here becomes an InputError with the file's name, what it lacks a MachineError."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            mend = "; say --lora.r 16 (an adapter instead of all weights)" if self.ours.lora is None else ""
            raise MachineError(f"{self.path}: not enough memory to begin with {self.ours.model}{mend}") from None
        except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
            kind = MachineError if "install" in str(error) else InputError
            raise kind(f"{self.path}: {' '.join(str(error).split())[:300]}") from None


def library(module: str) -> Any:
    """A module of the extra `train`; MissingExtraError where it is not installed."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError({"yaml": "pyyaml"}.get(package, package), "train")
    # TRL would tell its makers about each run.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return importlib.import_module(module)


def first_process() -> bool:
    """Whether this is the process that speaks and writes, of those that a launcher started for one run."""
    return os.environ.get("RANK", "0") == "0"


def read_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    ours: type[Ours],
    theirs: Any,
    unread: Mapping[str, str] = MappingProxyType({}),
) -> Recipe[Ours]:
    """The settings of a YAML file, with the words of a command line (`--key value`, `--key=value`, `--lora.r 8`).

    `theirs` is TRL's config class, `unread` those of its settings that this stage does not read, with what stands in
    their place. InputError names file or flag, field and the mend: for what is no YAML, an unknown
    key, a wrong value, a missing `output_dir`.
    """
    path = Path(path)
    values = _read_yaml(path)
    given, bare = {}, {}
    for name, value in _read_words(overrides):
        _put(values, name, True if value is None else _read_value(value))
        key = name.partition(".")[0]
        given[key] = f"--{key}"
        bare[key] = value is None

    def where(key: str) -> str:
        return given.get(key, f"{path}: {key}")

    refused = {**ELSEWHERE, **unread}
    names = [*ours.model_fields, *field_names(theirs)]
    for key in values:
        if key in refused:
            raise InputError(f"{where(key)}: nothing reads it; {refused[key]}")
        if key not in names:
            raise InputError(f"{where(key)}: no such setting; {nearest(key, names)}")
        if bare.get(key) and not takes_truth(key, theirs if key not in ours.model_fields else ours):
            raise InputError(f"--{key}: has no value; write --{key} VALUE")
    mine = {key: value for key, value in values.items() if key in ours.model_fields}
    rest = {key: value for key, value in values.items() if key not in ours.model_fields}
    try:
        settings = ours.model_validate(mine)
    except ValidationError as error:
        raise InputError(explain(error, ours, path, given)) from None
    try:
        rest = check_fields(rest, theirs)
    except ValueError as error:
        key, _, problem = str(error).partition(": ")
        raise InputError(f"{where(key)}: {problem}") from None
    if not rest.get("output_dir"):
        raise InputError(f"{path}: output_dir is missing; give the run's folder")
    return Recipe(path, settings, {**machine_defaults(rest), **rest})


def machine_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What this machine decides where nothing is said: whether there is a GPU, and whether it knows bfloat16."""
    gpu = torch.cuda.is_available() and not given.get("use_cpu")
    exact = {} if given.get("fp16") else {"bf16": gpu and torch.cuda.is_bf16_supported()}
    return {"use_cpu": not gpu, "disable_tqdm": True, **exact}  # progress is shown by training.py


def write_run(recipe: Recipe[Any], config: Any, facts: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """Write run.json into the run's folder: settings, versions, git state, hashes of the data, seed; returns it.

    `config` is TRL's config object, whose every field is kept, `facts` what the stage adds. With `resume` the run must
    be the one whose checkpoints are there: InputError names the setting that differs. Without it the folder must hold
    no run. A run.json alone is of a run that never began, and is no hindrance.
    """
    run: dict[str, Any] = {
        "config": recipe.ours.model_dump(mode="json") | {k: v for k, v in recipe.theirs.items() if k != SECRET},
        "data": {
            "folder": str(recipe.ours.data),
            "sha256": {
                name: hash_file(recipe.ours.data / name)
                for name in (MANIFEST, METADATA, DECISIONS)
                if (recipe.ours.data / name).is_file()
            },
        },
        "seed": config.seed,
        **facts,
        "file": str(recipe.path),
        "resolved": {name: value for name, value in config.to_dict().items() if name != SECRET},
        "versions": _versions(),
        "git": _git(),
        "processes": config.world_size,
        "started": [datetime.now(UTC).isoformat(timespec="seconds")],
    }
    run = json.loads(json.dumps(run, default=str))
    if config.process_index != 0:
        return run
    there, saved = read_run(recipe.out), any(recipe.out.glob("checkpoint-*"))
    begun = saved or (there is not None and any(not path.name.startswith(RUN) for path in recipe.out.iterdir()))
    if resume and there is not None:
        if saved:
            _same(there, run, recipe)
        run["started"] = [*there.get("started", []), *run["started"]]
    elif begun and not resume:
        raise InputError(f"{recipe.out}: holds a run; go on with it by --resume, or give another --output_dir")
    recipe.out.mkdir(parents=True, exist_ok=True)
    half = recipe.out / f"{RUN}.half"
    half.write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(recipe.out / RUN)
    return run


def read_run(folder: str | Path) -> dict[str, Any] | None:
    """run.json of a run's folder; None where there is none. InputError where it is damaged."""
    path = Path(folder) / RUN
    if not path.is_file():
        return None
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); give another --output_dir") from None
    if not isinstance(run, dict):
        raise InputError(f"{path}: no record of a run; give another --output_dir")
    return run


def _same(there: Mapping[str, Any], run: Mapping[str, Any], recipe: Recipe[Any]) -> None:
    """InputError where a run that is gone on with has other settings or data than it was begun with."""
    before, now = there.get("config") or {}, run["config"]
    for key in sorted({*before, *now} - FREE - {"output_dir", "use_cpu", "data", *PARTS}):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{recipe.path}: {key} is {now.get(key)}, but the run in {recipe.out} was begun with "
                f"{before.get(key)}; put it back, or give another --output_dir"
            )
    if (records := _step_records(there)) != _step_records(run):
        raise InputError(
            f"{recipe.path}: a step has {_step_records(run)} records ({' x '.join(PARTS)} x processes), but the run in "
            f"{recipe.out} was begun with {records}; make them the same again"
        )
    if (there.get("data") or {}).get("sha256") != run["data"]["sha256"]:
        raise InputError(f"{recipe.ours.data}: has changed since the run was begun; give another --output_dir")


def _step_records(run: Mapping[str, Any]) -> int:
    resolved = run.get("resolved") or {}
    return math.prod([run.get("processes", 1), *(resolved.get(part, 1) for part in PARTS)])


def _read_yaml(path: Path) -> dict[str, Any]:
    yaml = library("yaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{path}: must hold keys and values, such as `learning_rate: 1e-6`")
    return values


def _read_words(words: Iterable[str]) -> list[tuple[str, str | None]]:
    """(name, value) of `--name value`, `--name=value`, and `--name` without one; dashes in a name are underscores."""
    pairs: list[tuple[str, str | None]] = []
    for word in words:
        if re.match(r"--[A-Za-z]", word):
            name, equals, value = word[2:].partition("=")
            pairs.append((name.replace("-", "_"), value if equals else None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], word)
        else:
            raise InputError(f"{word}: belongs to no setting; write --key value")
    return pairs


def _read_value(word: str) -> Any:
    """A value as YAML reads it; what is no YAML is a plain text."""
    yaml = library("yaml")
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a value, one level deeper for each dot of its name."""
    *outer, last = name.split(".")
    for key in outer:
        inner = values.get(key)
        if inner is None:
            inner = values[key] = {}
        elif not isinstance(inner, dict):
            raise InputError(f"--{name}: {key} has no settings of its own")
        values = inner
    values[last] = value


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "lad-reasoner" not in found:
        from lad_reasoner import __version__

        found["lad-reasoner"] = __version__
    return found


def _git() -> dict[str, Any] | None:
    """Commit of this package's source and whether it was changed since; None where it is installed without git."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "."))}
