"""The verb `server check`. Heavy imports stay inside the verb, see app.py."""

from __future__ import annotations

from typing import Annotated

import typer

from lad_reasoner.cli.options import EXIT_INPUT
from lad_reasoner.text import print_shown as print

server = typer.Typer(help="Models behind a service.", no_args_is_help=True, rich_markup_mode=None)
MARKS = {True: "+", False: "-", None: " "}


@server.callback()
def _keep_the_verb() -> None:
    """Typer drops the name of an only verb otherwise."""


@server.command("check", epilog="Example: lad-reasoner server check http://localhost:8000/v1 --model NAME")
def check_verb(
    url: Annotated[str, typer.Argument(metavar="URL", help="An OpenAI-compatible service; its key: LAD_SERVER_KEY.")],
    model: Annotated[str, typer.Option(metavar="NAME", help="Model of the service.")],
) -> None:
    """Measure what a service can do as a judge.

    It takes a few small requests: + is good, - is a lack.

    Pictures, their order, grammar, log-probabilities, repeatability, reuse of the reference's prefix, limits, proxy.
    Exits with 1 if the service does not take two pictures.
    """
    from lad_reasoner.judges.server_check import TWO_PICTURES, check_server
    from lad_reasoner.text import printable

    usable = True
    for finding in check_server(url, model):
        print(f"{MARKS[finding.good]} {finding.name:<18} {printable(finding.result)}", flush=True)
        usable = usable and not (finding.name == TWO_PICTURES and finding.good is False)
    if not usable:
        raise typer.Exit(EXIT_INPUT)
