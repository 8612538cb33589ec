"""Which weights of others saw MVTec LOCO AD before they are measured on it; contamination.toml says it, with sources.

    note_on("runs/AnomalyGPT-train_supervised")     # -> "saw MVTec LOCO AD in training: …"

A model that was trained here has the note of the model that it started from, found through its run.json; the data
builders let no picture of MVTec LOCO AD in. Of others only the name is known, not whether somebody has trained them
further. `unknown` means that nobody who knows has published it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from lad_reasoner.files.jsonl import load_json
from lad_reasoner.packaged import read_packaged


@cache
def contamination() -> dict[str, Any]:
    """contamination.toml, parsed."""
    return read_packaged(__file__, "contamination.toml")


def note_on(name: str) -> str:
    """One line on a system of this name; empty for those that learn nothing."""
    base = _start_of(name)
    if base is not None and (note := note_on(base)):
        return f"{note}; it was trained from {base}"
    table = contamination()
    letters = re.sub(r"[^a-z0-9]", "", Path(name).name.lower())
    if letters.startswith(tuple(table["untrained"])):
        return ""
    # From the special to the general: AnomalyGPT's supervised weights before AnomalyGPT.
    for system in table["systems"]:
        if re.search(system["pattern"], letters):
            return f"{table['sentences'][system['saw']]}: {system['why']} ({system['source']})"
    return f"{table['sentences']['unknown']}: nothing is recorded about it here"


def _start_of(name: str) -> str | None:
    """The model that a folder of weights was trained from here; None for others, and if the record names the folder."""
    try:
        run = load_json((Path(name).parent / "run.json").read_text(encoding="utf-8"))
        base = run["config"]["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if isinstance(base, str) and base != name else None
