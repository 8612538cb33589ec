"""The command `lad-reasoner` in a process of its own."""

import os
import subprocess
from pathlib import Path

from helpers.warm import COMMAND, warm_command

__all__ = ["COMMAND", "command_path", "run"]


def run(*args: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The warm command with these words and this environment beside that of the tests."""
    command = [warm_command(), *map(str, args)]
    changed = os.environ | {"COLUMNS": "120"} | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=changed)


def command_path() -> str:
    """PATH for a shell that finds the warm command, then what is installed beside this Python."""
    return os.pathsep.join([str(Path(warm_command()).parent), str(Path(COMMAND).parent), os.environ["PATH"]])
