"""The user's own functions and classes by name, `package.module:name`, also from the current folder."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError


def is_dotted(name: str) -> bool:
    """Whether a name has the form `package.module:name`."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name) is not None


def import_dotted(name: str, about: str = "") -> Any:
    """What `package.module:name` names; InputError, beginning with `about`, if it cannot be imported.

    Installed packages come before modules of the current folder, so that a file of yours cannot replace one of them.
    """
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # the script's own path has the folder of the script in its place
    importlib.invalidate_caches()
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module can fail in any way while it is imported
        raise InputError(f"{about}{name}: cannot be imported ({type(error).__name__}: {error})") from None
