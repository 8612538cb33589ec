"""The verb `completion`: the script with which a shell completes verbs and options."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from lad_reasoner.text import print_shown as print

PROGRAM = "lad-reasoner"
VARIABLE = "_LAD_REASONER_COMPLETE"  # the shell's script sets it when it asks for words


class Shell(StrEnum):
    """Shells that Typer writes scripts for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def completion_verb(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print a shell's completion script. In bash put `eval "$(lad-reasoner completion bash)"` into ~/.bashrc."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value))


def prepare_completion() -> None:
    """Teach Typer the shells when one of them asks for words; costs nothing otherwise."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
