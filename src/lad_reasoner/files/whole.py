"""Files that are whole or not there, and folders that one process works in at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that no reader and no crash ever meets half of it."""
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        # Otherwise a power cut may leave the new name with nothing behind it.
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def lock(path: str | Path, flag: str) -> Iterator[None]:
    """Hold the lock of a file or of a run's folder; the system releases it however the process ends.

    InputError where another process holds it; `flag` is the option that names another file or folder.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    beside = path / ".lock" if path.is_dir() else path.with_name(f"{path.name}.lock")
    try:
        # One lock for all threads of this process: work that one thread begins, another may end.
        held = FileLock(beside, thread_local=False).acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"{printable(path)}: another process is using it; wait for it, or give another {flag}"
        ) from None
    except NotImplementedError:  # some file systems on a network know no locks
        yield
        return
    with held:
        yield
