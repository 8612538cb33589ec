"""Tables and texts in TOML files beside the modules that use them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_packaged(module: str, name: str) -> dict[str, Any]:
    """The TOML file `name` beside a module, which gives its `__file__`."""
    return tomllib.loads(Path(module).with_name(name).read_text(encoding="utf-8"))
