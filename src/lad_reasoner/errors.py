"""Every error that this package raises on purpose.

    LadError                    one clear line for the user: what is wrong, where, and the mend
    ├── InputError              a file, folder, field or flag that the user gave
    │   ├── ImageError          a picture that cannot be read, or must not be
    │   └── RecordError         a line of JSON that is not what it should be
    ├── StoppedError            somebody stopped the work; what was done is saved
    └── MachineError            something that is missing on this machine
        ├── MissingExtraError   an optional dependency; the message holds the pip line
        └── ServiceError        a server on the network fails, is silent, or talks nonsense

The command line prints the message of any `LadError` without a traceback and exits with 1.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class LadError(Exception):
    """Base class: catch this to catch everything that the package raises on purpose."""


class InputError(LadError):
    """A file, folder, field or flag that the user gave cannot be used."""


class ImageError(InputError):
    """A picture cannot be read, or is refused (too large, too small)."""


class RecordError(InputError):
    """A JSON line does not hold the record that it should."""


class StoppedError(LadError):
    """Work was stopped by a signal (`number`) after what was done had been saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class MachineError(LadError):
    """The machine lacks something: weights, a network, memory."""


class MissingExtraError(MachineError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'lad-reasoner[{extra}]'")


class ServiceError(MachineError):
    """A server on the network fails, is silent, or talks nonsense."""


def require(module: str, extra: str, package: str = "") -> ModuleType:
    """The module, or MissingExtraError with the pip line; `package` where the module has another name than that."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            # Something that the module itself needs is missing: name that.
            raise MissingExtraError(error.name or root, extra) from None
        raise MissingExtraError(package or root, extra) from None
