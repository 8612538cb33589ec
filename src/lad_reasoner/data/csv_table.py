"""Samples from a table: VisA's own split list, or a CSV file of your own.

    image,label,category,split,defect,mask
    pictures/001.png,good,lamp,train,,
    pictures/002.png,bad,lamp,test,missing screw,masks/002.png

`image` and `label` are needed, the others may be absent. Paths are relative to the table's folder and must stay inside
it. Commas, semicolons or tabs. Label: any of `WORDS`, `no`/`yes` or `0`/`1`, where `yes` and `1` mean anomalous.
Several masks are separated by `;` or `|`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lad_reasoner.data.public_sets import LICENCES, UNKNOWN_LICENCE, VISA
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Parts
from lad_reasoner.files.tables import read_table_header, read_table_rows
from lad_reasoner.records import Kind, Sample, Split

# Usual names of folders and labels -> the kind of their pictures; None: anomalous, of unknown kind.
WORDS: dict[str, Kind | None] = {
    **dict.fromkeys(
        ("good", "normal", "ok", "io", "pass", "passed", "flawless", "anomaly_free", "defect_free"), "good"
    ),
    **dict.fromkeys(("bad", "abnormal", "anomaly", "anomalies", "anomalous", "defect", "defects", "defective"), None),
    **dict.fromkeys(("nok", "not_ok", "ng", "ko", "nio", "fail", "failed", "faulty", "reject", "rejected"), None),
    **dict.fromkeys(("logical", "logical_anomaly", "logical_anomalies"), "logical"),
    **dict.fromkeys(("structural", "structural_anomaly", "structural_anomalies"), "structural"),
}
LABELS: dict[str, Kind | None] = {
    **WORDS,
    "0": "good",
    "no": "good",
    "false": "good",
    "1": None,
    "yes": None,
    "true": None,
}
SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
COLUMNS = {
    "image": ("image", "path", "file", "filename", "image_path"),
    "label": ("label", "kind"),
    "category": ("category", "object", "product"),
    "split": ("split",),
    "defect": ("defect", "defect_name"),
    "mask": ("mask", "masks", "mask_path"),
}


def word(name: str) -> str:
    """`Not OK` -> `not_ok`: the form in which names are compared with the words above."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def has_samples(table: Path) -> bool:
    """Whether the header of a CSV file has the columns image and label."""
    return {"image", "label"} <= _find_columns(read_table_header(table)).keys()


def read_table(table: Path, folder: Path, files: set[Parts], refused: dict[str, list[str]]) -> list[Sample]:
    """The samples of a table in the order of its rows; `files` are all files below `folder`.

    Rows whose picture is absent, or lies outside the folder, are added to `refused` (reason -> names). InputError with
    file, line and column for a cell that is empty or unknown.
    """
    notes = _visa_defects(folder, files)
    samples = []
    for where, row in _read_rows(table):
        if not row.get("image"):
            raise InputError(f"{where}: image: the cell is empty; name a picture")
        label, split_word = word(row.get("label", "")), word(row.get("split", ""))
        if label not in LABELS:
            raise InputError(f"{where}: label: {label!r} is unknown; write good, bad, logical or structural")
        if split_word and split_word not in SPLITS:
            raise InputError(f"{where}: split: {split_word!r} is unknown; write train, validation or test")
        kind = LABELS[label]
        image = _inside(row["image"], folder)
        if image is None:
            refused.setdefault(f"named in {table.name}, but outside its folder", []).append(row["image"])
            continue
        if image not in files:
            refused.setdefault(f"named in {table.name}, but absent", []).append(row["image"])
            continue
        category = row.get("category") or folder.resolve().name
        visa = category in VISA and [word(part) for part in image[-4:-2]] == ["data", "images"]
        masks = [_inside(cell.strip(), folder) for cell in row.get("mask", "").replace("|", ";").split(";")]
        samples.append(
            Sample(
                image=str(folder.joinpath(*image)),
                dataset="VisA" if visa else folder.resolve().name,
                category=category,
                split=SPLITS.get(split_word),
                kind=kind,
                defect=(row.get("defect") or notes.get(image)) if kind != "good" else None,
                masks=tuple(str(folder.joinpath(*mask)) for mask in masks if mask in files) if kind != "good" else (),
                licence=LICENCES["VisA"] if visa else UNKNOWN_LICENCE,
            )
        )
    return samples


def _visa_defects(folder: Path, files: set[Parts]) -> dict[Parts, str]:
    """VisA says in each category's image_anno.csv what is wrong: `chunk of wax missing`."""
    notes = {}
    for parts in files:
        if len(parts) == 2 and parts[0] in VISA and parts[1] == "image_anno.csv":
            for _, row in _read_rows(folder.joinpath(*parts)):
                image = _inside(row.get("image", ""), folder)
                if image and row.get("label"):
                    notes[image] = row["label"]
    return notes


def _read_rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(`file:line`, our name of the column -> cell) of each row."""
    header, rows = read_table_rows(table)
    columns = _find_columns(header)
    for where, cells in rows:
        yield where, {ours: cells[at].strip() for ours, at in columns.items() if at < len(cells)}


def _find_columns(header: Sequence[str]) -> dict[str, int]:
    """Our name of each column that is there -> its position."""
    names = [word(cell) for cell in header]
    positions = {}
    for ours, aliases in COLUMNS.items():
        position = next((names.index(alias) for alias in aliases if alias in names), None)
        if position is not None:
            positions[ours] = position
    return positions


def _inside(cell: str, folder: Path) -> Parts | None:
    """The parts of a path below the folder, or None for one that leads out of it."""
    path = folder.absolute() / cell.replace("\\", "/")
    parts = Path(os.path.relpath(path, folder.absolute())).parts
    return None if not parts or parts[0] == ".." else parts
