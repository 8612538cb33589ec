"""Samples from a table: VisA's own split list, or a CSV file of your own.

    image,label,category,split,defect,mask
    pictures/001.png,good,lamp,train,,
    pictures/002.png,bad,lamp,test,missing screw,masks/002.png

`image` and `label` are needed, the others may be absent. Paths are relative to the table's folder and must stay inside
it. Commas, semicolons or tabs. Label: any name of a kind in words.toml; `yes` and `1` mean anomalous. Where labels are
-1 and 1, -1 is anomalous, which is noted.
Several masks are separated by `;` or `|`.

Kaggle's Severstal and its like list where the defects are, as run lengths: `read_run_lengths`.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from lad_reasoner.data.folder_words import COLUMNS, SPLITS, read_labels, word
from lad_reasoner.data.public_sets import LICENCES, UNKNOWN_LICENCE, VISA
from lad_reasoner.errors import InputError
from lad_reasoner.files.tables import read_table_header, read_table_rows
from lad_reasoner.files.walk import SUFFIXES, Parts
from lad_reasoner.records import Sample
from lad_reasoner.text import listed, printable


def has_samples(table: Path) -> bool:
    """Whether the header of a CSV file has the columns image and label."""
    return {"image", "label"} <= _find_columns(read_table_header(table)).keys()


def read_table(
    table: Path, folder: Path, paths: set[Parts], refused: dict[str, list[str]], notes: list[str]
) -> list[Sample]:
    """The samples of a table in the order of its rows; `paths` are all files below `folder`.

    What had to be decided about the labels, and columns that are not read, are added to `notes`. Rows whose picture is
    absent, or lies outside the folder, are added to `refused` (reason -> names), masks of that sort to `notes`.
    InputError with file, line and column for a cell that is empty or unknown.
    """
    visa_defects = _visa_defects(folder, paths)
    samples, absent = [], []
    rows = list(_read_rows(table))
    labels, note = read_labels([row.get("label", "") for _, row in rows])
    notes += [f"{printable(table.name)}: {text}" for text in (note, _note_unread(table)) if text]
    for where, row in rows:
        label, split_word = row.get("label", ""), word(row.get("split", ""))
        _check_row(where, row.get("image", ""), label, labels, split_word)
        image = _inside(row["image"], folder)
        if image is None:
            refused.setdefault(f"are named in {table.name}, but outside its folder", []).append(row["image"])
            continue
        if image not in paths:
            refused.setdefault(f"are named in {table.name}, but absent", []).append(row["image"])
            continue
        category = row.get("category") or folder.resolve().name
        is_visa = word(category) in VISA and [word(part) for part in image[-4:-2]] == ["data", "images"]
        kind = labels[label]
        defect, masks = None, []
        if kind != "good":
            defect = row.get("defect") or visa_defects.get(image)
            for cell in row.get("mask", "").replace("|", ";").split(";"):
                mask = _inside(cell.strip(), folder)
                if mask is not None and mask in paths:
                    masks.append(str(folder.joinpath(*mask)))
                elif cell.strip():
                    absent.append(printable(cell.strip()))
        samples.append(
            Sample(
                image=str(folder.joinpath(*image)),
                dataset="VisA" if is_visa else folder.resolve().name,
                category=word(category) if is_visa else category,
                split=SPLITS.get(split_word),
                kind=kind,
                defect=defect,
                masks=tuple(masks),
                licence=LICENCES["VisA"] if is_visa else UNKNOWN_LICENCE,
            )
        )
    if absent:
        are = "mask is" if len(absent) == 1 else "masks are"
        notes.append(f"{printable(table.name)}: {len(absent)} {are} named, but absent: {listed(absent)}")
    return samples


def _check_row(where: str, image: str, label: str, labels: Container[str], split_word: str) -> None:
    """InputError for a cell that is empty or unknown."""
    if not image:
        raise InputError(f"{where}: image: the cell is empty; name a picture")
    if label not in labels:
        if label.strip().startswith("-1"):
            raise InputError(f"{where}: label: {label!r} stands beside 0; write good and bad")
        raise InputError(f"{where}: label: {label!r} is unknown; write good, bad, logical or structural")
    if split_word and split_word not in SPLITS:
        raise InputError(f"{where}: split: {split_word!r} is unknown; write train, validation or test")


def read_run_lengths(folder: Path, files: Sequence[Parts], refused: dict[str, list[str]]) -> list[Sample]:
    """The samples of train_images/ beside a train.csv with run lengths; what it does not name has no defect.

        ImageId,ClassId,EncodedPixels           or ImageId_ClassId,EncodedPixels, with 1.jpg_1 and empty cells
        0002cc93b.jpg,1,29102 12 29346 24 …

    Severstal (2019): 12,568 pictures, 6,666 with defects of classes 1 to 4. Rows about absent pictures are added to
    `refused`. The run lengths themselves are not read.
    """
    table = folder / "train.csv"
    if ("train.csv",) not in files:
        return []
    names = [word(name) for name in read_table_header(table)]
    if len(names) < 2 or names[0] not in ("imageid", "imageid_classid") or "encodedpixels" not in names:
        return []
    defects: dict[str, set[str]] = {}
    for _, cells in read_table_rows(table)[1]:
        image, number = cells[0].strip(), cells[1].strip()
        if names[0] == "imageid_classid":
            image, _, number = image.rpartition("_")
        if len(cells) > (pixels := names.index("encodedpixels")) and cells[pixels].strip():
            defects.setdefault(image, set()).add(number)
    pictures = {parts[1]: parts for parts in files if len(parts) == 2 and parts[0] == "train_images"}
    for image in sorted(defects.keys() - pictures.keys()):
        refused.setdefault("are named in train.csv, but absent", []).append(printable(image))
    name = folder.resolve().name
    samples = []
    for image, parts in pictures.items():
        if Path(image).suffix.lower() not in SUFFIXES:
            continue
        classes = [f"class {number}" for number in sorted(defects.get(image, ()))]
        sample = Sample(
            image=str(folder.joinpath(*parts)),
            dataset=name,
            category=name,
            split=None,
            kind=None if classes else "good",
            defect=", ".join(classes) or None,
            licence=UNKNOWN_LICENCE,
        )
        samples.append(sample)
    return samples


def _visa_defects(folder: Path, paths: set[Parts]) -> dict[Parts, str]:
    """VisA says in each category's image_anno.csv what is wrong: `chunk of wax missing`."""
    defects = {}
    for parts in paths:
        if len(parts) == 2 and word(parts[0]) in VISA and parts[1] == "image_anno.csv":
            for _, row in _read_rows(folder.joinpath(*parts)):
                image = _inside(row.get("image", ""), folder)
                if image and row.get("label"):
                    defects[image] = row["label"]
    return defects


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


def _note_unread(table: Path) -> str:
    """`columns that are not read: class`: another name of the category would mix all products."""
    header = read_table_header(table)
    read = _find_columns(header).values()
    unread = [name.strip() for at, name in enumerate(header) if at not in read and name.strip()]
    if not unread:
        return ""
    return f"columns that are not read: {printable(listed(unread, 5))}; those that are: {', '.join(COLUMNS)}"


def _inside(cell: str, folder: Path) -> Parts | None:
    """The parts of a path below the folder, or None for one that leads out of it."""
    path = folder.absolute() / cell.replace("\\", "/")
    parts = Path(os.path.relpath(path, folder.absolute())).parts
    return None if not parts or parts[0] == ".." else parts
