"""Which weights of others saw MVTec LOCO AD before they are measured on it; contamination.toml says it, with sources.

    note_on("runs/AnomalyGPT-train_supervised")     # -> "saw MVTec LOCO AD in training: …"

Only the name of a system is known here, not whether somebody has trained it further. `unknown` means that nobody who
knows has published it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from lad_reasoner.packaged import read_packaged


@cache
def contamination() -> dict[str, Any]:
    """contamination.toml, parsed."""
    return read_packaged(__file__, "contamination.toml")


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
