"""The settings of a training run, from a YAML file and the command line.

    recipe = read_recipe("configs/micro/sft.yaml", ["--max_steps", "10"], ours=TrainSettings, theirs=trl.SFTConfig)
    recipe.ours         # our own keys, checked
    recipe.theirs       # TRL's settings, under TRL's names
    arguments = recipe.arguments(trl.SFTConfig)

A key of the file is ours (`TrainSettings` and what a stage adds) or a field of TRL's config class; any other key is
refused with the nearest right name. The command line wins over the file. Relative paths start at the current folder.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lad_reasoner.errors import InputError, MachineError, require
from lad_reasoner.packaged import read_packaged
from lad_reasoner.train.fields import check_fields, field_names, nearest, setting_problem, takes_truth

TRL: dict[str, Any] = read_packaged(__file__, "trl.toml")
ELSEWHERE: dict[str, str] = TRL["without_effect"]["any_stage"]


class TrainSettings(BaseModel):
    """Our own keys, common to both stages; a stage adds its own in a subclass.

    `lora` takes PEFT's own names (`r`, `lora_alpha`, `target_modules` …) and trains an adapter instead of all weights.
    """

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="micro-base, a model folder or a hub name")
    data: Path = Field(description="folder that `lad-reasoner data` built")
    max_pixels: int | None = Field(None, ge=28 * 28, description="pixel budget of a picture, saved with the model")
    dtype: Literal["float32", "bfloat16"] | None = Field(
        None, description="precision of the weights during training; float32 unless `lora` is given"
    )
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="precision of the published weights; that of training unless given"
    )
    freeze_vision: bool = Field(False, description="do not train the vision tower")
    lora: dict[str, Any] | None = Field(None, description="train an adapter with these keys of PEFT's LoraConfig")
    leave_out_long: bool = Field(False, description="drop records longer than the context instead of stopping")

    @field_validator("lora")
    @classmethod
    def _names_of_peft(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if lora is None else check_fields(lora, require("peft", "train").LoraConfig)


Ours = TypeVar("Ours", bound=TrainSettings)


@dataclass(frozen=True)
class Recipe(Generic[Ours]):
    """A run's settings. `theirs` holds those for TRL's config class, with our defaults for this machine.

    `flags` maps a key to the flag that set it.
    """

    path: Path
    ours: Ours
    theirs: dict[str, Any]
    flags: Mapping[str, str]

    @property
    def out(self) -> Path:
        """The run folder: TRL's output_dir."""
        return Path(self.theirs["output_dir"]).expanduser()

    def where(self, key: str) -> str:
        """The flag or the line of the file that a setting comes from, for messages."""
        return self.flags.get(key, f"{self.path}: {key}")

    def arguments(self, config: Any) -> Any:
        """An instance of TRL's config class; InputError, with the file's name, for values that TRL refuses."""
        # With push_to_hub the trainer would push every checkpoint; publish.py pushes the finished model only.
        wanted = {key: value for key, value in self.theirs.items() if key != "push_to_hub"}
        with self.translated_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Transformers' and TRL's deprecations of each other's names
            return config(**wanted)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn a library's error into an InputError with the file's name, or a MachineError for a missing package."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            remedy = "; try --lora.r 16 (trains an adapter instead of all weights)" if self.ours.lora is None else ""
            raise MachineError(f"{self.path}: not enough memory to start training {self.ours.model}{remedy}") from None
        except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
            kind = MachineError if "install" in str(error) else InputError
            raise kind(f"{self.path}: {' '.join(str(error).split())[:300]}") from None


def read_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    ours: type[Ours],
    theirs: Any,
    unread: Mapping[str, str] = MappingProxyType({}),
) -> Recipe[Ours]:
    """The settings of a YAML file, with overrides from the command line (`--key value`, `--key=value`, `--lora.r 8`).

    `theirs` is TRL's config class; `unread` maps those of its settings that have no effect in this stage to what to do
    instead. InputError names the file or flag, the field and the remedy: for invalid YAML, an unknown key, a wrong
    value, a missing `output_dir`.
    """
    path = Path(path)
    values = _read_yaml(path)
    flags: dict[str, str] = {}  # key -> the flag that set it, for error messages
    bare: set[str] = set()  # keys whose flag came without a value
    for name, value in _read_words(overrides):
        _put(values, name, True if value is None else _read_value(value))
        key = name.partition(".")[0]
        flags[key] = f"--{key}"
        bare.discard(key)
        if value is None:
            bare.add(key)

    def where(key: str) -> str:
        return flags.get(key, f"{path}: {key}")

    if "out" in values and "model" not in values:
        raise InputError(f"{path}: a config of `train micro`; run that, or give one with model, data and output_dir")
    refused = {**ELSEWHERE, **unread}
    names = [*ours.model_fields, *field_names(theirs)]
    mine: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in values.items():
        if key in refused:
            raise InputError(f"{where(key)}: has no effect; {refused[key]}")
        if key not in names:
            raise InputError(f"{where(key)}: no such setting; {nearest(key, names)}")
        is_ours = key in ours.model_fields
        if key in bare and not takes_truth(key, ours if is_ours else theirs):
            raise InputError(f"--{key}: has no value; write --{key} VALUE")
        (mine if is_ours else rest)[key] = value
    try:
        settings = ours.model_validate(mine)
    except ValidationError as error:
        raise InputError(setting_problem(error, ours, path, flags)) from None
    try:
        rest = check_fields(rest, theirs)
    except ValueError as error:
        key, _, problem = str(error).partition(": ")
        raise InputError(f"{where(key)}: {problem}") from None
    for key in {*TRL["above_zero"]} & rest.keys():
        if rest[key] <= 0 and (key, rest[key]) != ("max_steps", -1):  # TRL's default: num_train_epochs counts
            raise InputError(f"{where(key)}: must be above 0, not {rest[key]}")
    shortened = "max_steps" in flags and "num_train_epochs" not in flags  # a trial of a config that counts epochs
    if rest.get("max_steps", -1) > 0 and "num_train_epochs" in rest and not shortened:
        raise InputError(
            f"{where('num_train_epochs')}: has no effect with max_steps {rest['max_steps']}; leave it out, or give "
            "--max_steps -1"
        )
    if not rest.get("output_dir"):
        raise InputError(f"{path}: output_dir is missing; give a run folder")
    return Recipe(path, settings, {**machine_defaults(rest), **rest}, flags)


def machine_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that depend on this machine: is there a GPU, and does it support bfloat16?"""
    gpu = torch.cuda.is_available() and not given.get("use_cpu")
    exact = {} if given.get("fp16") else {"bf16": gpu and torch.cuda.is_bf16_supported()}
    return {"use_cpu": not gpu, "disable_tqdm": True, **exact}  # session.py shows the progress


def _read_yaml(path: Path) -> dict[str, Any]:
    yaml = require("yaml", "train", "pyyaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        mend = "the repository's own lie in its folder configs/"
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a config, {mend}") from None
    except Exception as error:  # also ValueError, KeyError and AttributeError, of a date or a tag that cannot be
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
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
    """A value as YAML reads it; a word that is not valid YAML is plain text."""
    yaml = require("yaml", "train", "pyyaml")
    try:
        return yaml.safe_load(word)
    except Exception:  # as above
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
