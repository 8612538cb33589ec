"""API keys: who may do what. The file holds hashes, so that reading it gives no key away.

key = add_key("keys.toml", "line 3", "operator")    # shown once, kept nowhere
holder = Keys.read("keys.toml").find(key)           # Holder(name="line 3", role="operator"), or None
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.whole import lock, write_whole
from lad_reasoner.records import Record
from lad_reasoner.text import first_problem, printable

logger = logging.getLogger(__name__)

Role = Literal["operator", "engineer"]
PREFIX = "lad_"  # so that scanners for leaked keys recognise one


class Holder(Record):
    """Who holds a key. An operator inspects and says what was wrong; an engineer also changes stations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    role: Role


class _Line(Holder):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _File(Record):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[_Line, ...] = Field(min_length=1)


class Keys:
    """The keys of a file. It is read again when it has changed: a key that is deleted there opens nothing any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._lines = _read(path).keys

    @classmethod
    def read(cls, path: str | Path) -> Keys:
        """InputError with file and field if it cannot be used."""
        return cls(Path(path))

    def find(self, key: str) -> Holder | None:
        """Who holds this key. All lines are compared, each in constant time, so that time says nothing of a key."""
        self._read_again()
        digest = _digest(key)
        found = None
        for line in self._lines:
            if hmac.compare_digest(digest, line.sha256):
                found = Holder(name=line.name, role=line.role)
        return found

    def _read_again(self) -> None:
        """A file that cannot be used, perhaps since it is just being written, leaves the keys that were read last."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._lines = _read(self.path).keys
        except InputError as error:
            logger.warning("%s; the keys that were read before stay valid", error)
        else:
            logger.info("--key-file %s: read again", printable(self.path))


def add_key(path: str | Path, name: str, role: Role) -> str:
    """Make a key, add its hash to the file, and return the key. InputError if the name has one already."""
    path = Path(path)
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        line = _Line(name=name, role=role, sha256=_digest(key))
    except ValidationError as error:
        raise InputError(f"key: {first_problem(error)}") from None
    tomli_w = require("tomli_w", "serve", "tomli-w")
    with lock(path, "--key-file"):  # of two that add a key at once, neither is lost
        lines = _read(path).keys if path.exists() else ()
        if any(each.name == name for each in lines):
            raise InputError(f"{printable(path)}: {printable(name)} has a key; give another name, or delete its entry")
        owner = path.stat() if path.exists() else None
        write_whole(path, tomli_w.dumps({"keys": [each.model_dump() for each in (*lines, line)]}))
        path.chmod(0o600)
        if owner is not None and hasattr(os, "chown"):
            with suppress(PermissionError):  # of root: the server's user must still be able to read it
                os.chown(path, owner.st_uid, owner.st_gid)
    return key


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        mend = "make one with `lad-reasoner key`"
        raise InputError(f"--key-file {printable(path)}: {error.strerror}; {mend}") from None
    except ValidationError as error:
        raise InputError(f"--key-file {printable(path)}: {first_problem(error)}") from None
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number of 5000 digits
        raise InputError(f"--key-file {printable(path)}: not valid TOML: {error}") from None


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes with the file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(key: str) -> str:
    """A plain hash is enough: keys are 256 random bits, which nobody can try out."""
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
