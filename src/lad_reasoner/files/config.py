"""Settings of a training in a YAML file.

values = read_yaml(Path("configs/micro/sft.yaml"))
MyConfig.model_validate(values)                  # a subclass of Config
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.walk import suggest_path


class Config(BaseModel):
    """Base of our settings: unknown keys are refused, and true and false for a number, which would count as 1 and 0."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float}:
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return value


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; InputError names the file."""
    yaml = require("yaml", "train", "pyyaml")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        mend = suggest_path(path) or "; give a config, the repository's own lie in its folder configs/"
        raise InputError(f"{path}: cannot be read ({error.strerror}){mend}") from None
    except Exception as error:  # also ValueError, KeyError and AttributeError, of a date or a tag that cannot be
        reason = " ".join((str(error) or type(error).__name__).split())
        raise InputError(f"{path}: not valid YAML ({reason})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{path}: must hold keys and values, such as `seed: 1`")
    written = [key.value for key, _ in yaml.compose(text, Loader=yaml.SafeLoader).value]
    for key in values:
        if written.count(key) > 1:  # YAML would take the last one
            raise InputError(f"{path}: {key} is given {written.count(key)} times; leave one of them")
    return values
