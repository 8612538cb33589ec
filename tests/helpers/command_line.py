"""The command `lad-reasoner` in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("lad-reasoner"))


def run(*args: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, env=environment)
