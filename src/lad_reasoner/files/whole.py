"""Whole files: atomic writes, hashes, and locks on files and run folders."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable

UNFINISHED = ".unfinished"  # in a folder whose files are still being written
# The file that tells what a folder holds, and what that is.
HOLDS = {
    "station.toml": "a station",
    "manifest.json": "a data set",
    "run.json": "a training run",
    "config.json": "a model",
    "settings.json": "a run of `eval`",
    "_settings.json": "a run of `inspect --ray`",
    "verdicts.jsonl": "an inspection",
    "table1.md": "a comparison",
    "seeds.md": "a comparison",
}


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it, so that neither a reader nor a crash sees half of it.

    An OSError has the file's name.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    # Each writer has its own, and no walk over the folder takes a hidden one for a file of the user's.
    partial = path.with_name(f".{os.getpid()}-{threading.get_native_id()}.part")
    with named_errors(path):
        try:
            partial.unlink(missing_ok=True)  # of a process that had the same number and was killed
            # "x" follows no link, which a stranger's folder may hold under any name.
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                # Otherwise a power cut may leave an empty file under the new name.
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)  # half of it would keep a full disk full
            raise


def own_file(folder: Path, name: str) -> Path:
    """The path of a file to which lines are appended, in a folder that may come from a stranger.

    InputError if it is a link: what it leads to would be cut and written.
    """
    path = folder / name
    if path.is_symlink():
        raise InputError(f"{printable(path)}: a link; put the file itself in its place, or give another folder")
    return path


@contextmanager
def named_errors(path: str | Path) -> Iterator[None]:
    """Give an OSError the name of this file: that of a full disk has none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def describe_write_error(error: OSError, path: str | Path) -> str:
    """`runs/x/metadata.jsonl: No space left on device; free some space …`; `path` is named unless the error has one."""
    mend = "choose a folder that can be written"
    if is_full(error):
        mend = "free some space, then run the same command again; what was written is kept"
    return f"{printable(error.filename or path)}: {error.strerror or error}; {mend}"


def share_modes(folder: Path) -> None:
    """Give all files of a folder the mode of the user's umask: safetensors makes files that others cannot read."""
    sample = folder / f".{os.getpid()}-mode.part"
    sample.touch()
    mode = sample.stat().st_mode & 0o777
    sample.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


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
    except OSError as error:
        raise InputError(f"{flag} {describe_write_error(error, path)}") from None
    with held:
        yield


def check_own_folder(folder: str | Path, flag: str, *own: str) -> None:
    """InputError for a folder of something else, by its file in `HOLDS`; `own` are those of what will be written.

    Files that are in none of ours may be there, such as a log of the same run.
    """
    for name, what in HOLDS.items():
        if name not in own and (Path(folder) / name).exists():
            raise InputError(f"{flag} {printable(folder)}: holds {what} ({name}); give another folder")


def check_outside(folder: str | Path, flag: str, source: str | Path) -> None:
    """InputError for a folder to write into that lies in one whose pictures are read: they would become more."""
    if Path(source).is_dir() and Path(folder).resolve().is_relative_to(Path(source).resolve()):
        raise InputError(
            f"{flag} {printable(folder)}: lies in {printable(source)}, so that its pictures would be taken for more of "
            "those; give a folder outside"
        )


@contextmanager
def new_folder(folder: str | Path, flag: str, work: str) -> Iterator[Path]:
    """`own_folder` of a folder that is new or empty, or was left by the same `work` before it was killed.

    What is written twice must come out the same. InputError if it holds anything else.
    """
    folder = Path(folder)
    check_new_folder(folder, flag, work)  # a folder of something else gets no lock file
    with own_folder(folder, flag):
        check_new_folder(folder, flag, work)  # again: another process may have written into it meanwhile
        write_whole(folder / UNFINISHED, work)
        yield folder
        (folder / UNFINISHED).unlink(missing_ok=True)


def check_new_folder(folder: Path, flag: str, work: str) -> None:
    """InputError if something is there that is not unfinished `work`."""
    marker = folder / UNFINISHED
    if not folder.exists() or (marker.is_file() and marker.read_bytes() == work.encode("utf-8")):
        return
    if not folder.is_dir() or any(not _is_leftover(path) for path in folder.iterdir()):
        raise InputError(f"{flag} {printable(folder)}: is not empty; give a new folder")


def _is_leftover(path: Path) -> bool:
    """Whether a command that was killed before it had written anything of its own leaves such a file."""
    return path.name in (".lock", UNFINISHED) or (path.name.startswith(".") and path.suffix == ".part")


@contextmanager
def own_folder(folder: str | Path, flag: str) -> Iterator[Path]:
    """Make a folder if it is not there and hold its lock: to be done before anything is written into it.

    InputError if it cannot be made or written, or another process uses it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} {describe_write_error(error, folder)}") from None
    with lock(folder, flag):
        yield folder
