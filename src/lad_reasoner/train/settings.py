"""The settings of a training run, from a YAML file and the command line.

    recipe = read_recipe("configs/micro/sft.yaml", ["--max_steps", "10"], ours=TrainSettings, theirs=trl.SFTConfig)
    recipe.ours         # our own keys, checked
    recipe.theirs       # TRL's settings, under TRL's names
    arguments = recipe.arguments(trl.SFTConfig)

A key of the file is ours (`TrainSettings` and what a stage adds) or a field of TRL's config class; any other key is
refused with the nearest right name. The command line wins over the file. Relative paths start at the current folder.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import torch
from pydantic import Field, ValidationError, field_validator

from lad_reasoner.errors import InputError, MachineError, require
from lad_reasoner.files.config import Config, read_yaml
from lad_reasoner.packaged import read_packaged
from lad_reasoner.train.fields import (
    check_fields,
    check_values,
    declared_fields,
    field_hints,
    field_names,
    nearest,
    setting_problem,
    takes_truth,
)

TRL: dict[str, Any] = read_packaged(__file__, "trl.toml")
ELSEWHERE: dict[str, str] = TRL["without_effect"]["any_stage"]


class TrainSettings(Config):
    """Our own keys, common to both stages; a stage adds its own in a subclass.

    `lora` takes PEFT's own names (`r`, `lora_alpha`, `target_modules` …) and trains an adapter instead of all weights.
    """

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
        """The flag or the line of the file that a setting comes from, for messages; `lora.r` for one of `lora`'s."""
        return _where(key, self.path, self.flags)

    def arguments(self, config: Any) -> Any:
        """An instance of TRL's config class; InputError, with the flag or the line, for values that TRL refuses."""
        # With push_to_hub the trainer would push every checkpoint; publish.py pushes the finished model only.
        wanted = {key: value for key, value in self.theirs.items() if key != "push_to_hub"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Transformers' and TRL's deprecations of each other's names
            try:
                return config(**wanted)
            except Exception as error:
                with self.translated_errors(self._culprit(config, wanted, str(error))):
                    raise

    def _culprit(self, config: Any, wanted: Mapping[str, Any], problem: str) -> str:
        """The setting without which TRL's config class does not have this problem, flags first; empty if none."""
        for key in sorted(wanted, key=lambda key: key not in self.flags):
            try:
                config(**{name: value for name, value in wanted.items() if name != key})
            except Exception as error:
                if str(error) == problem:
                    continue
            return key
        return ""

    @contextmanager
    def translated_errors(self, culprit: str = "") -> Iterator[None]:
        """Turn a library's error into an InputError, or a MachineError for a missing package.

        Its message names the setting at fault: `culprit`, else the one that the library's message is about.
        """
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            remedy = "; try --lora.r 16 (trains an adapter instead of all weights)" if self.ours.lora is None else ""
            raise MachineError(f"{self.path}: not enough memory to start training {self.ours.model}{remedy}") from None
        except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
            kind = MachineError if "install" in str(error) else InputError
            message = " ".join(str(error).split())[:300]
            key = culprit or self._mentioned(message)
            raise kind(f"{self.where(key) if key else self.path}: {message}") from None

    def _mentioned(self, message: str) -> str:
        """The given setting that a library's message names, or whose value (a word) it begins with; empty if none."""
        if re.match(r"\w+Callback requires ", message):  # Transformers' words about a tracker that is not installed
            return "report_to" if "report_to" in self.theirs else ""
        given = {**self.theirs, **{f"lora.{key}": value for key, value in (self.ours.lora or {}).items()}}
        for key in sorted(given, key=lambda key: key not in self.flags):
            name = key.rpartition(".")[2]
            # A name of one word is only meant in quotes, as in "`r` should be positive", or where the message begins.
            pattern = rf"\b{name.replace('_', '[ _]')}\b" if "_" in name else rf"^{name}\b|[`'\"]{name}[`'\"=]"
            if re.search(pattern, message, re.IGNORECASE) or (
                isinstance(given[key], str) and message.startswith(f"{given[key]} ")
            ):
                return key
        return ""


def check_early(
    path: str | Path, overrides: Sequence[str], *, ours: type[TrainSettings], theirs: str, others: Iterable[str] = ()
) -> None:
    """InputError for a key that neither we nor TRL know, or a wrong value, before TRL is imported, which takes seconds.

    `ours` are our keys of the stage, `others` those of the other stage, `theirs` is the name of TRL's config class.
    `read_recipe` checks all else, such as values whose types TRL imports.
    """
    given = _read_given(Path(path), overrides)
    declared = {name: declared_fields(name) for name in ("SFTConfig", "GRPOConfig")}
    if not all(declared.values()):
        return
    known = {*ours.model_fields, *others, *declared["SFTConfig"], *declared["GRPOConfig"]}
    for key in given.values:
        if key not in known:
            raise InputError(
                f"{given.where(key)}: no such setting; {_suggest(key, [*ours.model_fields, *declared[theirs]])}"
            )
    if not given.values.keys() <= {*ours.model_fields, *declared[theirs]}:  # a config of the other stage
        return
    without_effect = {key for keys in TRL["without_effect"].values() for key in keys}
    hints = {name: hint for name, hint in declared[theirs].items() if name not in without_effect}
    values = {key: value for key, value in given.values.items() if key in hints or key in ours.model_fields}
    _check_values(given, values, ours, hints, theirs)


def _suggest(key: str, names: Sequence[str]) -> str:
    """As `nearest`, where other tools' names are known, too."""
    usual = TRL["usual_names"].get(key.lower(), "")
    return f"did you mean {usual}?" if usual.partition(".")[0] in names else nearest(key, names)


def check_packages(recipe: Recipe[Any], arguments: Any) -> None:
    """MachineError for a package that the settings need and that is not installed, before a model is loaded.

    `arguments` is an instance of TRL's config class. InputError if `report_to` names no tracker.
    """
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    needs = [("use_vllm: true", "vllm", "use_vllm: false")] if getattr(arguments, "use_vllm", False) else []
    if arguments.use_liger_kernel:
        needs.append(("use_liger_kernel: true", "liger_kernel", "use_liger_kernel: false"))
    needs += [
        (f"optim: {optimizer}", package, "optim: adamw_torch")
        for begin, package in TRL["optimizer_packages"].items()
        if optimizer.startswith(begin)
    ]
    for setting, package, instead in needs:
        if importlib.util.find_spec(package) is None:
            name = TRL["pip_names"].get(package, package)
            raise MachineError(f"{setting} needs {name}: pip install {name}, or set {instead}")
    trackers = require("transformers.integrations", "train").get_reporting_integration_callbacks
    with recipe.translated_errors("report_to"):
        for tracker in trackers(arguments.report_to):
            # The trainer makes its own, after the model. Some fail in `__del__`, too, if they did in `__init__`.
            type(tracker.__name__, (tracker,), {"__del__": lambda _: None})()


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
    given = _read_given(Path(path), overrides)
    path, flags, where = given.path, given.flags, given.where
    refused = {**ELSEWHERE, **unread}
    names = [*ours.model_fields, *field_names(theirs)]
    for key in given.values:
        if key in refused:
            raise InputError(f"{where(key)}: has no effect; {refused[key]}")
        if key not in names:
            raise InputError(f"{where(key)}: no such setting; {_suggest(key, names)}")
    settings, rest = _check_values(given, given.values, ours, field_hints(theirs), theirs.__name__)
    shortened = "max_steps" in flags and "num_train_epochs" not in flags  # a trial of a config that counts epochs
    if rest.get("max_steps", -1) > 0 and "num_train_epochs" in rest and not shortened:
        raise InputError(
            f"{where('num_train_epochs')}: has no effect with max_steps {rest['max_steps']}; leave it out, or give "
            "--max_steps -1"
        )
    if not rest.get("output_dir"):
        raise InputError(f"{path}: output_dir is missing; give a run folder")
    return Recipe(path, settings, {**machine_defaults(rest), **rest}, flags)


def _check_values(
    given: _Given, values: Mapping[str, Any], ours: type[Ours], hints: Mapping[str, Any], theirs: str
) -> tuple[Ours, dict[str, Any]]:
    """Our settings, and the others by their types `hints` in TRL's config class of the name `theirs`.

    InputError with the flag or the line of a wrong value.
    """
    mine: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in values.items():
        is_ours = key in ours.model_fields
        if key in given.bare and not takes_truth(ours.model_fields[key].annotation if is_ours else hints[key]):
            raise InputError(f"--{key}: has no value; write --{key} VALUE")
        (mine if is_ours else rest)[key] = value
    try:
        settings = ours.model_validate(mine)
    except ValidationError as error:
        raise InputError(setting_problem(error, ours, given.path, given.flags)) from None
    try:
        rest = check_values(rest, hints)
    except ValueError as error:
        key, _, problem = str(error).partition(": ")
        raise InputError(f"{given.where(key)}: {problem}") from None
    numbers = {**rest, **{f"lora.{key}": value for key, value in (settings.lora or {}).items()}}
    for key, value in numbers.items():
        problem = _range_problem(key, value)
        if problem:
            raise InputError(f"{given.where(key)}: {problem}, not {value}")
    for key, words in TRL["words"].get(theirs, {}).items():
        if rest.get(key, words[0]) not in words:
            raise InputError(f"{given.where(key)}: {rest[key]!r} is none of its values: {', '.join(words)}")
    return settings, rest


@dataclass(frozen=True)
class _Given:
    """What file and command line give. `flags`: key -> the flag that set it; `bare`: keys whose flag has no value."""

    path: Path
    values: dict[str, Any]
    flags: dict[str, str]
    bare: set[str]

    def where(self, key: str) -> str:
        return _where(key, self.path, self.flags)


def _read_given(path: Path, overrides: Sequence[str]) -> _Given:
    given = _Given(path, read_yaml(path), {}, set())
    for name, value in _read_words(overrides):
        _put(given.values, name, True if value is None else _read_value(value))
        key = name.partition(".")[0]
        given.flags[key], given.flags[name] = f"--{key}", f"--{name}"
        given.bare.discard(key)
        if value is None:
            given.bare.add(key)
    if "out" in given.values and "model" not in given.values:
        raise InputError(f"{path}: a config of `train micro`; run that, or give one with model, data and output_dir")
    return given


def _where(key: str, path: Path, flags: Mapping[str, str]) -> str:
    outer, _, inner = key.partition(".")
    if inner and key not in flags and outer in flags:  # the flag gave all of them: --lora '{r: 8}'
        return f"{flags[outer]}: {inner}"
    return flags.get(key, f"{path}: {key}")


def _range_problem(key: str, value: Any) -> str:
    """What a number of TRL's or PEFT's must be and is not (nan is nothing of it); empty if it is in its range."""
    if not isinstance(value, int | float) or (key, value) == ("max_steps", -1):  # TRL's: num_train_epochs counts
        return ""
    if key in TRL["above_zero"] and not value > 0:
        return "must be above 0"
    if key in TRL["not_negative"] and not value >= 0:
        return "must be at least 0"
    if key in TRL["at_most_one"] and not value <= 1:
        return "must be at most 1"
    return ""


def machine_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that depend on this machine: is there a GPU, and does it support bfloat16?"""
    gpu = torch.cuda.is_available() and not given.get("use_cpu")
    exact = {} if given.get("fp16") else {"bf16": gpu and torch.cuda.is_bf16_supported()}
    return {"use_cpu": not gpu, "disable_tqdm": True, **exact}  # session.py shows the progress


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
