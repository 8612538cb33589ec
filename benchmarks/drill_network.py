"""The drill `network`: each verb that writes, under a hook that notes connections and look-ups of names.

The hook sees those of Python. Libraries in C++ connect without it (ONNX Runtime did, to report each start to its
makers), so where there is strace, it watches as well.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from drill_common import Tally, command
from drill_verbs import folder_of, writing_verbs


def drill_network(number: int, seed: int = 0) -> Tally:
    """Every writing verb that ends, under a hook that notes each connection and each look-up of a name: none."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        hook, noted = Path(temporary) / "hook", Path(temporary) / "noted"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK.format(noted=str(noted)))
        paths = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
        traced = Path(temporary) / "traced"
        strace = (
            ["strace", "-D", "-f", "-qq", "-e", "trace=connect", "-o", str(traced)] if shutil.which("strace") else []
        )
        # Under CI ONNX Runtime reports nothing, whatever else is said.
        environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PYTHONPATH": paths}
        for verb, words in list(writing_verbs(Path(temporary), seed).items())[:number]:
            noted.write_text("")
            given = command(*words(Path(temporary) / "out" / folder_of(verb)))
            done = subprocess.run([*strace, *given], env=environment, capture_output=True, text=True)
            tally.tried += 1
            if done.returncode or not noted.read_text().startswith("hooked\n"):
                tally.lost.append(f"{verb}: rc {done.returncode}: {done.stderr.strip()[-200:]}")
            connected = INTERNET.findall(traced.read_text()) if strace else []
            seen = [line for line in noted.read_text().splitlines() if line != "hooked"]
            tally.lost += [f"{verb}: {line}" for line in [*seen, *connected]][:1]
    tally.note = "" if strace else "; libraries in C++ were not watched, since there is no strace"
    return tally


INTERNET = re.compile(r"connect\(.*AF_INET.*")
HOOK = """
import sys
def note(event, arguments, file={noted!r}):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(file, "a") as stream: print(event, *map(str, arguments[-2:]), file=stream)
with open({noted!r}, "a") as stream: print("hooked", file=stream)
sys.addaudithook(note)
"""
