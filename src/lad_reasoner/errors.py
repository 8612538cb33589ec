"""Every error that this package raises on purpose.

    LadError                    one clear line for the user: what is wrong, where, the remedy
    ├── InputError              a file, folder, field or flag cannot be used
    │   ├── ImageError          a picture cannot be read, or is refused
    │   └── RecordError         a line of JSON lines is invalid
    ├── StoppedError            a signal stopped the work; its progress is saved
    └── MachineError            the machine lacks something
        ├── MissingExtraError   an optional dependency; the message has the pip line
        └── ServiceError        a server fails, does not answer, or sends invalid answers

The command line prints the message of any `LadError` without a traceback and exits with 1.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

CHECKOUT = Path(__file__).parents[2]  # only with a pyproject.toml in it


class LadError(Exception):
    """Base class: catch this to catch everything that the package raises on purpose."""


class InputError(LadError):
    """A file, folder, field or flag that the user gave cannot be used."""


class ImageError(InputError):
    """A picture cannot be read, or is refused (too large, too small)."""


class RecordError(InputError):
    """A line of JSON lines is not a valid record."""


class StoppedError(LadError):
    """A signal (`number`) stopped the work; its progress is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class MachineError(LadError):
    """The machine lacks something: weights, a network, memory."""


class MissingExtraError(MachineError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {pip_line(extra)}")


class ServiceError(MachineError):
    """A server fails, does not answer, or sends invalid answers."""


def pip_line(extra: str) -> str:
    """The command that installs an extra, in every shell: of this checkout, or of the package."""
    if not (CHECKOUT / "pyproject.toml").is_file():
        return f'pip install "lad-reasoner[{extra}]"'
    return f'pip install -e "{"." if Path.cwd() == CHECKOUT else CHECKOUT}[{extra}]"'


def require(module: str, extra: str, package: str = "") -> ModuleType:
    """The module, or MissingExtraError with the pip line; `package` is its name for pip if that is another one."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            # Something that the module itself needs is missing: name that.
            raise MissingExtraError(error.name or root, extra) from None
        raise MissingExtraError(package or root, extra) from None
