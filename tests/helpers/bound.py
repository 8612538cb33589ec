"""Processes that end with the one that started them, even if that one is killed.

subprocess.Popen(bound([sys.executable, "-m", "lad_reasoner", "serve", "lamp/"]))
Forked(["export", "--station", "lamp/", "--edge", "edge/"], said=Path("stderr"), preloaded=["torch"])
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# Asks the kernel for SIGKILL at the parent's end, and becomes the command. Between fork and exec of a process with
# threads (preexec_fn) this could wait for ever.
_CODE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[1]):
    os._exit(137)  # killed before that was asked
os.execv(sys.argv[2], sys.argv[2:])
"""


def bound(command: Sequence[str]) -> list[str]:
    """The command (its first word a path), to be started by this thread: Linux ends it when the thread ends.

    Elsewhere it is the command itself.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _CODE, str(os.getpid()), *command]


class Forked:
    """A run of `lad-reasoner WORDS` in a process that is forked from one which has imported the modules `preloaded`.

    It is started and asked as a Popen; its stderr goes to the file `said`. It ends with this process.
    """

    def __init__(self, words: Sequence[str], *, said: Path, preloaded: Sequence[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preloaded))  # is taken by the first one that is started
        self._process = context.Process(target=_run_words, args=(list(words), said))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, if it has ended; as of a Popen, below zero for a signal."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Until it has ended; returns the exit code."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code


def _run_words(words: list[str], said: Path) -> None:
    threading.Thread(target=_end_with_starter, daemon=True).start()
    nowhere = os.open(os.devnull, os.O_RDWR)
    written = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, target in ((0, nowhere), (1, nowhere), (2, written)):
        os.dup2(target, stream)
    sys.stdin = open(0)  # noqa: SIM115 - multiprocessing closed it
    sys.argv = ["lad-reasoner", *words]
    from lad_reasoner.cli.app import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a forked process leaves them out


def _end_with_starter() -> None:
    starter = multiprocessing.parent_process()
    assert starter is not None
    starter.join()
    os.kill(os.getpid(), signal.SIGKILL)
