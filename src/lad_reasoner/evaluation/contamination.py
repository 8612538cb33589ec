"""Which weights of others saw MVTec LOCO AD before they are measured on it; contamination.toml says it, with sources.

    note_on("runs/AnomalyGPT-train_supervised")     # -> "saw MVTec LOCO AD in training: …"

Only the name of a system is known here, not whether somebody has trained it further. `unknown` means that nobody who
knows has published it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@cache
def contamination() -> Mapping[str, Any]:
    """contamination.toml, parsed."""
    path = files("lad_reasoner.evaluation").joinpath("contamination.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def note_on(name: str) -> str:
    """One line on a system of this name; empty for those that learn nothing."""
    table = contamination()
    letters = re.sub(r"[^a-z0-9]", "", Path(name).name.lower())
    if letters.startswith(tuple(table["untrained"])):
        return ""
    # From the special to the general: AnomalyGPT's supervised weights before AnomalyGPT.
    for system in table["systems"]:
        if re.search(system["pattern"], letters):
            return f"{table['sentences'][system['saw']]}: {system['why']} ({system['source']})"
    return f"{table['sentences']['unknown']}: nothing is recorded about it here"
