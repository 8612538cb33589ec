"""All judges by name.

    judge = load_judge("micro", votes=8)
    judge = load_judge("Qwen/Qwen2.5-VL-7B-Instruct", server="http://localhost:8000/v1")

A name is one of `JUDGES`, `evidence:NAME` (evidence with that vision model), `file:PATH` (predictions of another
system), with the option `server` a model of that service, `package.module:Class` (your own judge), or a vision-language
checkpoint: a folder or a hub name. To add a judge to the package, write a class with the contract of judge.py and add a
line to `JUDGES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lad_reasoner.dotted import import_dotted, is_dotted
from lad_reasoner.errors import InputError, require
from lad_reasoner.judge import Judge
from lad_reasoner.text import first_problem, nearest_name

# Name -> "module:loader", imported on demand.
JUDGES = {
    "evidence": "lad_reasoner.judges.evidence.judge:Evidence",
    "micro": "lad_reasoner.judges.vlm.judge:load_checkpoint_judge",
    "micro-base": "lad_reasoner.judges.vlm.judge:load_checkpoint_judge",
    "always-yes": "lad_reasoner.judges.trivial:always_yes",
    "always-no": "lad_reasoner.judges.trivial:always_no",
    "random": "lad_reasoner.judges.trivial:answer_at_random",
    "pixel-difference": "lad_reasoner.judges.trivial:compare_pixels",
    "colour-histogram": "lad_reasoner.judges.trivial:compare_colours",
    "april-gan": "lad_reasoner.judges.april_gan:load_few_shot",
    "april-gan-zero": "lad_reasoner.judges.april_gan:load_zero_shot",
}
# Other kinds of names -> their loaders.
CHECKPOINT, SERVED, FILE = "NAME", "NAME with server=URL", "file:PATH"
CONTRACT = ("name", "prompt_version", "batch_size", "notes", "parameters", "judge")  # of judge.py
LOADERS = {
    CHECKPOINT: "lad_reasoner.judges.vlm.judge:load_checkpoint_judge",
    SERVED: "lad_reasoner.judges.hosted:load_hosted",
    FILE: "lad_reasoner.evaluation.imported:ImportedPredictions",
}


def load_judge(
    name: str = "evidence", *, evidence: bool = False, defaults: Mapping[str, Any] | None = None, **options: Any
) -> Judge:
    """The judge of this name.

    `options` are those of its loader (`lad-reasoner judges` lists them); None means not given. `defaults` fill options
    that are not given, if the loader has them. With `evidence` the built-in judge adds its map and boxes to the
    verdicts of another judge. InputError for an unknown name or option.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if evidence:
        if name.partition(":")[0] == "evidence":
            raise InputError("evidence: already has a map and boxes; use evidence=True with another model")
        lent = {"backbone": given.pop("backbone")} if "backbone" in given else {}
        # Loaded first, so that a wrong backbone is refused before a large model is loaded.
        lender = load_judge("evidence", **lent)
        return add_evidence(load_judge(name, defaults=defaults, **given), lender)
    loader, bound = _find_loader(name, served="server" in given)
    taken = {key: parameter for key, parameter in loader_options(loader).items() if key not in bound}
    for key in given:
        if key not in taken:
            near = nearest_name(key, taken)
            offer = f"did you mean {near}?" if near else f"it takes {', '.join(taken) or 'no options'}"
            raise InputError(f"{name}: no option {key}; {offer}")
    filled = {key: value for key, value in (defaults or {}).items() if key in taken} | given
    for key, parameter in taken.items():
        if key in filled:
            filled[key] = _convert(name, key, filled[key], parameter.annotation)
        elif parameter.default is Parameter.empty:
            raise InputError(f"{name}: give its {key} with -M {key}=…")
    judge: Judge = loader(**bound, **filled)
    check_judge(judge, name)
    return judge


def check_judge(judge: object, name: str = "") -> None:
    """InputError for what does not keep the contract of judge.py, under this name or that of its class."""
    if isinstance(judge, type):
        raise InputError(f"{name or judge.__name__}: a class, not a judge; give what {judge.__name__}() returns")
    lacking = [each for each in CONTRACT if not hasattr(judge, each)]
    if lacking:
        what = name or type(judge).__name__
        raise InputError(f"{what}: not a judge: it has no {', '.join(lacking)}; see lad_reasoner.Judge")


def add_evidence(judge: Judge, lender: Judge | None = None) -> Judge:
    """The judge, with the map and the boxes of `evidence` added to its verdicts."""
    from lad_reasoner.judges.evidence.judge import WithEvidence

    return WithEvidence(judge, lender or load_judge("evidence"))


def import_loader(name: str) -> Callable[..., Any]:
    """The loader behind a line of `JUDGES` or `LOADERS`."""
    module, _, attribute = (JUDGES | LOADERS)[name].partition(":")
    # Those that need another package need torch, first of all.
    return getattr(require(module, "hf"), attribute)  # type: ignore[no-any-return]


def taken_options(name: str, options: Mapping[str, Any], *, served: bool = False) -> dict[str, Any]:
    """The options that the judge of this name has; `served` if it is behind a service. InputError if unknown."""
    loader, bound = _find_loader(name, served=served)
    taken = loader_options(loader)
    return {key: value for key, value in options.items() if key in taken and key not in bound}


def loader_options(loader: Callable[..., Any]) -> dict[str, Parameter]:
    """The options of a loader by name, without the arguments that are part of the judge's name."""
    parameters = signature(loader, eval_str=True).parameters
    return {key: parameter for key, parameter in parameters.items() if key not in ("name", "path")}


def _find_loader(name: str, *, served: bool) -> tuple[Callable[..., Any], dict[str, str]]:
    """The loader of this name, and the arguments that are part of the name."""
    if served:
        # Whatever a service calls its model: one may serve `micro`.
        if name == "evidence":
            raise InputError("--server: say with --model which model of the service; evidence is no such model")
        return import_loader(SERVED), {"name": name}
    kind, _, rest = name.partition(":")
    if kind == "file":
        return import_loader(FILE), {"path": rest}
    if kind == "evidence" and rest:
        return import_loader("evidence"), {"backbone": rest}
    if is_dotted(name) and not Path(name).exists():
        own = import_dotted(name, "--model ")
        if not callable(own):
            raise InputError(f"--model {name}: not a class or function that makes a judge")
        return own, {}
    if name in JUDGES:
        line = name
    elif "/" in name or Path(name).exists():
        line = CHECKPOINT
    else:
        near = nearest_name(name, JUDGES)
        hint = f"did you mean {near}?" if near else f"give {', '.join(JUDGES)}, a model's folder, or a hub name"
        raise InputError(f"{name}: no such model; {hint}")
    loader = import_loader(line)
    return loader, {"name": name} if "name" in signature(loader).parameters else {}


def _convert(name: str, key: str, value: Any, annotation: Any) -> Any:
    """The value in the type of the loader's parameter; values from the command line are text.

    Of those from a station's file true and false are checked: they are no numbers.
    """
    if not isinstance(value, str | bool) or annotation is Parameter.empty:
        return value
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(annotation).validate_python(value, strict=isinstance(value, bool))
    except ValidationError as error:
        raise InputError(f"{name}: option {key}={value}: {first_problem(error)}") from None
