"""The command `lad-reasoner` without the seconds in which PyTorch, Transformers and SciPy are imported, over and over.

    subprocess.run([warm_command(), "inspect", "--reference", "good.png", "query.png"])

The program asks a server, which forks: the child has the program's arguments, folder, environment and streams, and
runs what the installed command runs. What a child imported of `HEAVY`, the server imports for the next ones. Whoever
sends signals, looks at the time or wants another Python starts the installed command itself, as each verb is
somewhere in the tests.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from helpers.bound import bound

COMMAND = str(Path(sys.executable).with_name("lad-reasoner"))
HEAVY = re.compile(
    r"onnxruntime|rich\.progress|scipy\.stats|torch|transformers\.models\.qwen2_5_vl\.modeling_qwen2_5_vl|trl"
    r"|lad_reasoner\.(?!__main__)[\w.]+"
)
MOST = 4000  # bytes, which a pipe takes at once
# Read while modules are imported: with others than the server's, the installed command runs.
STARTED_WITH = dict(os.environ)
IMPORTED_WITH = re.compile("PYTHON(?!PATH)|OMP_|CUDA_|HF_|TORCH_|TRANSFORMERS_|TOKENIZERS_|ORT_")
# Few lines, since each run starts with them: to send arguments and streams, and to end as the child has ended.
PROGRAM = """#!{python} -ISE
import os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
variables = [f"{{name}}={{value}}" for name, value in os.environ.items()]
pieces = [os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:], *variables]
request = b"\\0".join(map(os.fsencode, pieces))
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
server.sendall(request)
for stream in (0, 1, 2):
    os.close(stream)
answer = server.recv(9).decode()
code = int(answer) if answer else -signal.SIGKILL
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def warm_command() -> str:
    """The path of the program, whose name is `lad-reasoner`; its server ends with this process."""
    if sys.platform != "linux":
        return COMMAND
    folder = Path(tempfile.mkdtemp(prefix="lad-warm-"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    os.set_inheritable(listener.fileno(), True)
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        bound([sys.executable, "-m", "helpers.warm", str(listener.fileno())]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        pass_fds=[listener.fileno()],
    )
    listener.close()
    program = folder / "lad-reasoner"
    program.write_text(PROGRAM.format(python=sys.executable, address=str(folder / "socket")))
    program.chmod(0o755)

    def end() -> None:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    return str(program)


def serve(listener: socket.socket) -> None:
    """For each program a child that waits for the run; what runs imported comes back through a pipe."""
    children: set[int] = set()
    said, say = os.pipe()
    os.set_blocking(said, False)
    importlib.import_module("lad_reasoner.cli.app")
    while True:
        asked, _ = listener.accept()
        while (ended := os.waitpid(-1, os.WNOHANG) if children else (0, 0))[0]:
            children.discard(ended[0])
        try:
            names = os.read(said, 65_536).decode().split()
        except BlockingIOError:
            names = []
        for name in dict.fromkeys(names):
            importlib.import_module(name)
        child = os.fork()
        if child == 0:
            listener.close()
            os.close(said)
            wait_for_run(asked, say)
        children.add(child)
        asked.close()


def wait_for_run(asked: socket.socket, say: int) -> None:
    """Run what is asked in a child, and tell how it ended: its code, or below zero its signal."""
    length, streams, *_ = socket.recv_fds(asked, 4, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += asked.recv(1 << 20)
    folder, number, *words = map(os.fsdecode, request.split(b"\0"))
    environment = dict(pair.split("=", 1) for pair in words[int(number) :])
    runs = os.fork()
    if runs == 0:
        asked.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        os.chdir(folder)
        run(words[: int(number)], environment, say)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(runs)
    ready, _, _ = select.select([asked, ended], [], [])
    if ended not in ready:  # the program was killed
        os.kill(runs, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(runs, 0)[1])
    with suppress(OSError):  # the program may have been killed
        asked.sendall(str(code).encode())
    os._exit(0)


def run(words: list[str], environment: dict[str, str], say: int) -> None:
    """What the installed command does, in this process, which it ends."""
    names = filter(IMPORTED_WITH.match, environment.keys() | STARTED_WITH.keys())
    changed = any(environment.get(name) != STARTED_WITH.get(name) for name in names)
    os.environ.clear()
    os.environ.update(environment)
    if changed:
        os.execv(COMMAND, [COMMAND, *words])
    sys.path[:1] = [str(Path(COMMAND).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [COMMAND, *words]
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape" if name == "stdin" else "strict"
        stream = open(number, mode, errors=errors, closefd=False, buffering=1 if name == "stderr" else -1)  # noqa: SIM115
        setattr(sys, name, stream)
    known = set(sys.modules)
    code: object = 1
    try:
        importlib.import_module("lad_reasoner.cli.app").main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    new = " ".join(filter(HEAVY.fullmatch, sys.modules.keys() - known)).encode()[:MOST]
    os.write(say, new[: new.rfind(b" ") + 1])
    os._exit(int(code or 0))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
