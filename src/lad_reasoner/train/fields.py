"""The fields of a settings class: does a value fit its field, and which field was meant?

TRL's and PEFT's settings are dataclasses without checks, ours are Pydantic models; both get the same error messages.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import enum
import importlib.util
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError


def check_fields(values: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """The values, converted to the types of a dataclass's fields; ValueError `field: problem`."""
    return check_values(values, field_hints(config))


def check_values(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """As `check_fields`, of fields with these types."""
    checked = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{key}: no such setting; {nearest(key, hints)}")
        if value is False and _takes(hints[key], str) and not _takes(hints[key], bool):
            value = "no"  # YAML reads the word `no` as false
        if isinstance(value, bool) and not _takes(hints[key], bool):
            word = str(value).lower()
            if _takes(hints[key], int) or _takes(hints[key], float):
                raise ValueError(f"{key}: must be a number, not {word}")
            raise ValueError(f"{key}: {word} is a boolean in YAML; write the word in quotes")
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True))
            checked[key] = adapter.validate_python(value)
        except ValidationError as error:
            if value is None:
                raise ValueError(f"{key}: has no value; give one") from None
            raise ValueError(f"{key}: {error.errors()[0]['msg']}, not {value!r}") from None
        words = _words(hints[key])
        if words and checked[key] not in words:
            raise ValueError(f"{key}: {value!r} is none of its values: {', '.join(words)}")
    return checked


def _words(hint: Any) -> list[str]:
    """The values of a field that takes the words of an enumeration; empty for other fields."""
    kinds = [kind for kind in typing.get_args(hint) if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    return [str(word.value) for kind in kinds for word in kind]


def field_names(config: Any) -> list[str]:
    """The fields that the constructor of a dataclass takes."""
    return [field.name for field in dataclasses.fields(config) if field.init]


def field_hints(config: Any) -> dict[str, Any]:
    """The types of these."""
    hints = typing.get_type_hints(config)
    return {name: hints[name] for name in field_names(config)}


def declared_fields(config: str) -> dict[str, Any]:
    """The fields of TRL's config class of this name, read in its source and those of its bases without an import.

    Importing them takes seconds. A type that the source imports is Any here. Empty where a source is not at its place,
    or names other bases.
    """
    fields: dict[str, Any] = {}
    module = config.removesuffix("Config").lower()
    sources = (("trl", f"trainer/{module}_config.py"), ("trl", "trainer/base_config.py"))
    for package, file in (*sources, ("transformers", "training_args.py")):
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / file if spec and spec.origin else None
        if path is None or not path.is_file():
            return {}
        source = ast.parse(path.read_text(encoding="utf-8"))
        declared = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == config]
        if not declared:
            return {}
        for line in declared[0].body:
            if isinstance(line, ast.AnnAssign):
                fields.setdefault(ast.unparse(line.target), _plain_hint(ast.unparse(line.annotation)))
        config = ", ".join(map(ast.unparse, declared[0].bases))  # declared in the next source
    return {} if config else fields


def _plain_hint(annotation: str) -> Any:
    """The type of an annotation of built-in types; Any for others."""
    declared = type("Declared", (), {"__annotations__": {"field": annotation}, "__module__": "builtins"})
    try:
        return typing.get_type_hints(declared)["field"]
    except (NameError, TypeError, SyntaxError):
        return Any


def describe_keys(model: type[BaseModel]) -> list[tuple[str, str, str]]:
    """(key, default, description) of each of our own keys; the default of a key that must be given is empty."""
    keys = []
    for name, field in model.model_fields.items():
        default = "" if field.is_required() else json.dumps(field.get_default(call_default_factory=True))
        keys.append((name, default, field.description or ""))
    return keys


def takes_truth(hint: Any) -> bool:
    """Whether a field of this type may be true or false; a flag without a value means true."""
    return _takes(hint, bool)


def _takes(hint: Any, kind: type) -> bool:
    """Whether a type hint allows this type, also inside a union."""
    return hint is Any or hint is kind or any(_takes(part, kind) for part in typing.get_args(hint))


def nearest(key: str, names: Iterable[str]) -> str:
    """The end of an error message: the name that is most like the key, if any is like it."""
    near = difflib.get_close_matches(key, list(names), n=1)
    return f"did you mean {near[0]}?" if near else "remove it"


def setting_problem(error: ValidationError, ours: type[BaseModel], path: Path, flags: Mapping[str, str]) -> str:
    """The first problem with our own keys, in one line; `flags` maps a key to the flag that set it."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "missing":
        return f"{path}: {'.'.join(place)} is missing"
    where = ".".join([flags.get(place[0], f"{path}: {place[0]}"), *place[1:]])
    if first["type"] == "extra_forbidden":
        return f"{where}: no such setting; {nearest(place[-1], _names_at(ours, place[:-1]))}"
    if first["input"] is None:
        return f"{where}: has no value; give one"
    if first["type"] == "value_error":  # raised by a validator of ours, with a whole sentence
        return f"{where}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "list_type" and isinstance(first["input"], str):
        return f"{where}: must be a list; write [{first['input']}]"
    return f"{where}: {first['msg']}, not {first['input']!r}"


def _names_at(model: Any, place: Sequence[str]) -> list[str]:
    """The fields of the model that is nested at this place in another."""
    for name in place:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            continue
        # An optional model is a union: the model is one of its parts.
        parts = [field.annotation, *typing.get_args(field.annotation)]
        model = next((part for part in parts if hasattr(part, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))
