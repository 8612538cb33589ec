"""Processes that end with the one that started them, even if that one is killed.

subprocess.Popen(bound([sys.executable, "-m", "lad_reasoner", "serve", "lamp/"]))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

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
