"""Exit codes, and the options that choose a judge, declared once for all verbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.errors import InputError
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.records import Tally

EXIT_INPUT, EXIT_ANOMALY, EXIT_UNSURE = 1, 3, 4


class FlagsError(typer.BadParameter):
    """Flags that do not go together: exit code 2, and the message alone, since no single value is invalid."""

    def format_message(self) -> str:
        """Without the "Invalid value:" of Typer."""
        return self.message


MaxPixels = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Pixel budget of a picture; larger ones are scaled down."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where a vision-language model runs: cpu, cuda, cuda:1, mps, or auto."),
]
ReasoningTokens = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Longest reasoning of a vision-language model in this process."),
]


def _judge_flags(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A judge (evidence, micro, random …; `lad-reasoner judges` lists them), file:PATH, your own "
            "package.module:Class, or the folder or hub name of a vision-language model.",
            show_default="evidence",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-M", metavar="KEY=VALUE", help="An option of this judge; repeatable."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of an OpenAI-compatible service that runs --model, such as http://localhost:8000/v1; the "
            "key is read from LAD_SERVER_KEY, answers are cached.",
        ),
    ] = None,
    votes: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Responses to sample; the score is the mean of theirs."),
    ] = None,
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
    reasoning: Annotated[
        str | None,
        typer.Option(
            metavar="always|flagged|never",
            help="Which queries a vision-language model in this process writes reasons for; flagged are those that it "
            "scores from -M flag_limit on at first sight.",
            show_default="always",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="auto|float32|bfloat16",
            help="Precision of a vision-language model in this process; auto takes bfloat16 where the processor is "
            "fast at it.",
        ),
    ] = None,
) -> None:
    """Declares the flags. All but --model are options of the judge's loader."""


REFERENCE = typer.Option(
    "--reference",
    "--references",  # what one types of a folder
    "-r",
    metavar="REF",
    help="Known-good picture, folder or quoted glob; repeatable.",
)
STATION = typer.Option(
    metavar="STATION", help="Station folder, with references, judge and limit; see `lad-reasoner station create`."
)
JUDGE_FLAGS = signature(_judge_flags, eval_str=True).parameters
# What may be given beside a station's own options: the machine, and what its limit must fit.
OVER_A_STATION = ("max_pixels", "device", "reasoning_tokens")


def with_judge_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the judge flags to a verb that takes `model` and `options` (key -> value, for `load_judge`).

    Typer reads the flags from the signature of the returned function. A verb with `station` takes either that, with the
    options of `OVER_A_STATION`, or all flags.
    """

    @wraps(verb)
    def with_flags(*, model: str | None, option: list[str] | None, **given: Any) -> None:
        flags = {name: given.pop(name) for name in JUDGE_FLAGS if name in given}
        options, from_flags = parse_options(option or []), given_options(**flags)
        for name in options.keys() & from_flags.keys():
            raise FlagsError(f"-M {name}={options[name]}: --{name.replace('_', '-')} says it too; give it once")
        options |= from_flags
        if given.get("station") and (model or options.keys() - OVER_A_STATION):
            raise FlagsError(
                "--station has its own judge and options; leave --model and the like out, except for "
                f"{', '.join('--' + name.replace('_', '-') for name in OVER_A_STATION)}"
            )
        verb(model=model or "evidence", options=options, **given)

    own = signature(verb, eval_str=True).parameters
    # Keyword-only: otherwise a required parameter could not follow one with a default.
    parameters = [own[name].replace(kind=Parameter.KEYWORD_ONLY) for name in own if name not in ("model", "options")]
    parameters += JUDGE_FLAGS.values()
    with_flags.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_flags


def given_options(**flags: Any) -> dict[str, Any]:
    """The flags that were given, as options of a judge."""
    return {name: value for name, value in flags.items() if value is not None}


def parse_options(words: list[str]) -> dict[str, Any]:
    """`["votes=8", "server=URL"]` -> `{"votes": "8", "server": "URL"}`; FlagsError for a key twice."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise InputError(f"-M {word}: write KEY=VALUE, such as -M votes=8")
        if key in ("name", "defaults"):
            raise InputError(f"-M {word}: no judge takes an option {key}; `lad-reasoner judges` lists them")
        if key in options:
            raise FlagsError(f"-M {word}: {key} is given twice; give it once")
        options[key] = value
    return options


def exit_by(tally: Tally, *, fail_on_anomaly: bool) -> None:
    """Exit with the code for what was judged, unless it is 0."""
    if tally.missing:
        raise typer.Exit(EXIT_INPUT)
    if fail_on_anomaly and tally.answers["yes"]:
        raise typer.Exit(EXIT_ANOMALY)
    if fail_on_anomaly and tally.answers["unsure"]:
        raise typer.Exit(EXIT_UNSURE)


def print_receipt(judge: Any, role: str = "") -> None:
    """Print the receipt of a judge behind a service on stderr, behind its `role`; other judges have none."""
    receipt = getattr(judge, "receipt", None)
    if receipt and (text := receipt()):
        print(f"{role}{text}", file=sys.stderr)


# How long the history of a station keeps pictures; the rows stay.
KEEP_GOOD = typer.Option(min=0, metavar="DAYS", help="Days that pictures of good parts are kept.")
KEEP_REJECTED = typer.Option(min=0, metavar="DAYS", help="Days that pictures of all other parts are kept.")
KEEP_REVIEWED = typer.Option(min=0, metavar="DAYS", help="Days that pictures with feedback are kept.")
