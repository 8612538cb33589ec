"""The command `lad-reasoner` in a process of its own, or in this one."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

from lad_reasoner.cli.app import main

COMMAND = str(Path(sys.executable).with_name("lad-reasoner"))


def run(*args: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, env=environment)


def call(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported already what a process of its own takes seconds for.

    For tests of what a verb does: what libraries in C print, and signals, are a process's own.
    """
    words = ["lad-reasoner", *map(str, args)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    code: object = 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.dict(os.environ, COLUMNS="120"),
        patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # they are errors in the tests' own process alone
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    told, said = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, int(code or 0), told, said)  # type: ignore[call-overload]
