"""A benchmark as a list of pairs, and fixed references for any benchmark: what the user's own files say.

    query,references,label,category,kind               CSV, JSON or JSON lines
    new/001.png,good/1.png;good/2.png,anomalous,bottle,logical
    new/002.png,good/1.png;good/2.png,good,bottle,good

`query`, `references` and `label` are needed. Paths are relative to the file's folder. Several references are separated
by `;`, or are a list in JSON. Labels and kinds are those of data/words.toml. A file of references has a name a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lad_reasoner.data.folder_words import LABELS, word
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.table_files import read_rows
from lad_reasoner.files.tables import read_text
from lad_reasoner.files.walk import suggest_path
from lad_reasoner.records import Kind, Pair
from lad_reasoner.text import printable

MOST_SHOWN = 400  # letters of a value in a message
NEEDED = ("query", "references", "label")
KNOWN = (*NEEDED, "category", "kind", "defect")
KINDS: dict[str, Kind | None] = {"good": "good", "logical": "logical", "structural": "structural", "other": None}


def read_pair_list(path: Path) -> list[Pair]:
    """The pairs of a file, with paths that start at the current folder.

    InputError with file, line and column for a missing or unknown column, label or kind, a picture that does not exist,
    and a query that stands twice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}; give the list of pairs with --root") from None
    pairs: dict[str, Pair] = {}
    for where, row in read_rows(path, content):
        pair = _read_pair(path.parent, where, row)
        if pair.query in pairs:
            raise InputError(f"{where}: query: {_short(row['query'])} stands twice; a query has one line")
        pairs[pair.query] = pair
    if not pairs:
        raise InputError(f"{printable(path)}: no pairs in it; its columns are {', '.join(KNOWN)}")
    return list(pairs.values())


def _read_pair(folder: Path, where: str, row: Mapping[str, Any]) -> Pair:
    for column in NEEDED:
        if not row.get(column):
            raise InputError(f"{where}: {column}: is missing; each line needs {', '.join(NEEDED)}")
    unknown = [name for name in row if name not in KNOWN]
    if unknown:
        raise InputError(f"{where}: {_short(unknown[0])}: no such column; there are {', '.join(KNOWN)}")
    label = word(str(row["label"]))
    if label not in LABELS:
        raise InputError(f"{where}: label: {_short(row['label'])} is neither good nor anomalous")
    kind = KINDS.get(word(str(row.get("kind") or "other")), "unknown")
    if kind == "unknown":
        raise InputError(f"{where}: kind: {_short(row['kind'])} is none of good, logical, structural, other")
    is_good = LABELS[label] == "good"
    if is_good != (kind == "good") and row.get("kind"):
        said = f"{_short(row['kind'])} contradicts the label {_short(row['label'])}"
        raise InputError(f"{where}: kind: {said}")
    names = row["references"] if isinstance(row["references"], list) else str(row["references"]).split(";")
    references = [_find(folder, where, "references", name) for name in names if str(name).strip()]
    if not references:
        raise InputError(f"{where}: references: is missing; each line needs {', '.join(NEEDED)}")
    return Pair.model_validate(
        {
            "query": _find(folder, where, "query", row["query"]),
            "references": references,
            "label": "no" if is_good else "yes",
            "kind": "good" if is_good else kind or LABELS[label],
            "category": str(row.get("category") or folder.resolve().name),
            "defect": str(row.get("defect") or "") or None,
        }
    )


def _short(value: Any) -> str:
    """A value of the list, in a message of one line."""
    text = printable(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _find(folder: Path, where: str, column: str, name: Any) -> str:
    path = folder / str(name).strip()
    try:
        is_there = path.is_file()
    except OSError:  # a name that is too long, a folder that is locked
        is_there = False
    if not is_there:
        raise InputError(f"{where}: {column}: {_short(name)}: no such file{suggest_path(path)}")
    return str(path)


def read_reference_names(path: Path) -> list[str]:
    """The names in a file, one a line; blank lines and lines that begin with # are skipped."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise InputError(f"--references-file {printable(path)}: no names in it; write one picture a line")
    return names
