"""The verb `judges`: every judge by name, with its options."""

from __future__ import annotations

import inspect

from lad_reasoner.errors import MissingExtraError

# Two names of one loader.
WEIGHTS = {
    "micro": "The built-in vision-language model: micro-base after SFT and GRPO.",
    "micro-base": "The built-in vision-language model before SFT and GRPO: what training begins with.",
}


def judges_verb() -> None:
    """List all judges and the options that each takes with -M."""
    from rich.console import Console
    from rich.table import Table

    from lad_reasoner.judges import JUDGES, LOADERS, import_loader, loader_options
    from lad_reasoner.report.terminal import plain

    table = Table("judge", "what it is", "options (-M key=value)", show_edge=False)
    for name in (*JUDGES, *LOADERS):
        try:
            loader = import_loader(name)
        except MissingExtraError as error:
            table.add_row(plain(name), plain(str(error)), "")
            continue
        summary = WEIGHTS.get(name) or (inspect.getdoc(loader) or "").partition("\n")[0]
        options = [_option(key, parameter) for key, parameter in loader_options(loader).items() if key != "benchmark"]
        table.add_row(plain(name), plain(summary), plain("\n".join(options)))
    Console().print(table)


def _option(key: str, parameter: inspect.Parameter) -> str:
    """`votes=1`, or `clip (required)`."""
    if parameter.default is parameter.empty:
        return f"{key} (required)"
    return f"{key}={parameter.default}"
