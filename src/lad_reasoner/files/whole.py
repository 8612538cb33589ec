"""Whole files: atomic writes, hashes, and locks on files and run folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it, so that neither a reader nor a crash sees half of it."""
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        # Otherwise a power cut may leave an empty file under the new name.
        os.fsync(file.fileno())
    partial.replace(path)


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: str | Path, flag: str) -> Iterator[None]:
    """Hold the lock of a file or of a run folder; the system releases it when the process ends in any way.

    InputError if another process holds it; the message tells the user to give another `flag`. Where a network file
    system has no such locks, filelock falls back to a lock file and warns.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    beside = path / ".lock" if path.is_dir() else path.with_name(f"{path.name}.lock")
    try:
        # Not bound to a thread: a generator that holds the lock may be closed by another thread.
        held = FileLock(beside, thread_local=False).acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"{printable(path)}: another process is using it; wait for it, or give another {flag}"
        ) from None
    with held:
        yield
