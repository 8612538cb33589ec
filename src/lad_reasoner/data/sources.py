"""Data sets on disk -> samples: folders in a known layout, folders of your own, and tables.

    source = find_samples("mvtec_anomaly_detection")
    source.samples      # records.Sample, in natural order
    source.refused      # reason -> pictures that were left out

What each picture of a folder shows its layout says (layouts.py); one function reads them all, also several data sets
side by side. A CSV file, yours or VisA's, says itself what it lists (csv_table.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.data.class_folders import is_picture, refuse_path
from lad_reasoner.data.csv_table import has_samples, read_run_lengths, read_table
from lad_reasoner.data.folder_words import is_short_split, read_name, word
from lad_reasoner.data.layouts import read_layouts
from lad_reasoner.data.public_sets import LICENCES, LOCO, LOCO_ROOTS
from lad_reasoner.errors import InputError
from lad_reasoner.files.tables import read_table_header
from lad_reasoner.files.walk import Parts, list_files, natural_path, suggest_path
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Sample
from lad_reasoner.text import listed, printable, shown

EXPECTED: str = read_packaged(__file__, "layouts.toml")["expected"]


@dataclass(frozen=True)
class Source:
    """The samples of a folder. `refused`: reason -> pictures that were left out, relative to the folder.

    `notes` say what had to be decided about labels, and what is not finished.
    """

    folder: Path
    samples: tuple[Sample, ...]
    refused: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def find_samples(folder: str | Path) -> Source:
    """The samples below a folder, or of a CSV file, in natural order of their paths.

    Pictures are opened only where names do not tell masks from pictures, or where masks are the only labels: 15,000
    files take about a second. InputError, in one line, if the folder does not exist,
    if its layout is not recognised (with what it holds and what was expected), and if a table or facts.jsonl is
    malformed (with file and line).
    """
    path = Path(folder)
    refused: dict[str, list[str]] = {}
    notes: list[str] = []
    if path.is_file():
        if not _is_table(path.name) or not has_samples(path):
            columns = f"; it has {_columns(path)}" if _is_table(path.name) else _why_no_table(path.name)
            raise InputError(f"{shown(path)}: give a folder, or a CSV file with the columns image and label{columns}")
        base = path.parents[1] if path.parent.name == "split_csv" else path.parent
        samples = read_table(path, base, set(list_files(base, [])), refused, notes)
        if not samples:
            raise InputError(
                f"{shown(path)}: no picture of it can be used ({count_reasons(refused) or 'it has no rows'})"
            )
        return _sort(path, base, samples, refused, notes)
    if not path.is_dir():
        raise InputError(f"{shown(path)}: no such folder{suggest_path(path)}")
    # CLASS/test alone is read as what it is: a part of CLASS.
    is_part = word(path.name) == "image" or read_name(path.name).split is not None
    base, top = (path.parent, (path.name,)) if is_part else (path, ())
    unreadable: list[Parts] = []
    files = [(*top, *parts) for parts in list_files(path, unreadable)]
    for parts in unreadable:
        refuse_path("cannot be read: links without a target, pipes, or locked folders", (*top, *parts), refused)
    if top:
        files += _mask_folders(base)
    samples = []
    lengths = read_run_lengths(base, files, refused)
    samples += lengths
    listed_files = {Path(sample.image).relative_to(base).parts for sample in lengths}
    files = [parts for parts in files if parts not in listed_files]
    tables = _tables(base, files)
    for table, prefix in tables.items():
        below = {parts[len(prefix) :] for parts in files if _is_below(parts, prefix)}
        samples += read_table(table, base.joinpath(*prefix), below, refused, notes)
    notes += filter(None, (_note_short_splits(files), _note_unfinished(path)))
    rest = [parts for parts in files if not any(_is_below(parts, prefix) for prefix in tables.values())]
    samples += read_layouts(base, rest, refused)
    if not samples:
        raise InputError(
            f"{shown(path)}: layout not recognised; {_describe(base, files, refused)}; expected {EXPECTED}"
        )
    return _sort(path, base, samples, refused, notes)


def _note_short_splits(files: Sequence[Parts]) -> str:
    """`te/ was taken for test, tr/ for train`: two letters may be a product's name as well."""
    folders: set[str] = set()
    for parts in files:
        if is_picture(parts):
            folders.update(parts[:-1])
    taken = [f"{name}/ for {read_name(name).split}" for name in sorted(folders) if is_short_split(name)]
    return f"taken for splits by their names: {', '.join(taken)}" if taken else ""


def _note_unfinished(folder: Path) -> str:
    """What `data miniloco` had not finished when it was stopped: its hidden folders are passed over."""
    names = sorted(half.name[1:-5] for half in folder.glob(".*.part") if half.is_dir())
    if not names:
        return ""
    mend = "the same `lad-reasoner data miniloco` again draws the rest"
    return shown(f"passed over, not drawn to the end: {listed(names, 5)}; {mend}")


def _mask_folders(base: Path) -> list[Parts]:
    """The files in the folders of masks directly below `base`."""
    files: list[Parts] = []
    for folder in sorted(base.iterdir()):
        if read_name(folder.name).role == "masks" and folder.is_dir():
            files += [(folder.name, *parts) for parts in list_files(folder, [])]
    return files


def why_not_train(sample: Sample) -> str | None:
    """Why a sample must not enter a training set, or None if it may.

    MVTec LOCO AD is the benchmark; MiniLOCO's evaluation products have the names of its classes. A name in the path
    is enough, so that a copy in another layout or in a table is refused too.
    """
    names = {word(name) for name in (sample.category, *Path(sample.image).parts)}
    if sample.dataset == "MVTec LOCO AD" or names & (LOCO | LOCO_ROOTS):
        return "MVTec LOCO AD and MiniLOCO's evaluation products are benchmarks"
    return None


def is_public(sample: Sample) -> bool:
    """Whether the picture is one that everybody has, known by its name in whatever layout; MiniLOCO is rendered."""
    return sample.dataset in LICENCES and sample.dataset != "MiniLOCO"


def _sort(path: Path, base: Path, samples: list[Sample], refused: dict[str, list[str]], notes: Sequence[str]) -> Source:
    """In natural order, each picture once."""
    kept: dict[tuple[str | None, ...], Sample] = {}
    for sample in sorted(samples, key=lambda sample: natural_path(Path(sample.image).relative_to(base).parts)):
        image = Path(sample.image)
        key: tuple[str | None, ...]
        if is_public(sample):
            # VisA's defects have other words in each layout.
            defect = sample.defect if sample.dataset == "MVTec AD" else None
            key = (sample.dataset, sample.category, sample.split, sample.kind, defect, image.stem.casefold())
        else:
            key = tuple(part.casefold() for part in image.parts)
        if key in kept:
            name = printable(image.relative_to(base).as_posix())
            refused.setdefault("have the name of another picture, or differ only in case", []).append(name)
        else:
            kept[key] = sample
    reasons = {reason: tuple(names) for reason, names in refused.items()}
    return Source(path, tuple(kept.values()), reasons, tuple(notes))


def _is_below(parts: Parts, prefix: Parts) -> bool:
    return parts[: len(prefix)] == prefix


def _tables(base: Path, files: list[Parts]) -> dict[Path, Parts]:
    """The tables that list pictures of this folder -> the folder that each describes."""
    tables = {base.joinpath(*parts): parts[:-2] for parts in files if parts[-2:] == ("split_csv", "1cls.csv")}
    names = [parts[0] for parts in files if len(parts) == 1 and _is_table(parts[0])]
    own = [name for name in names if name != "image_anno.csv" and has_samples(base / name)]
    own = [name for name in own if name.casefold().endswith(".csv")] or own
    if len(own) > 1:
        raise InputError(f"{shown(base)}: several tables of pictures ({', '.join(own)}); give one of them")
    return tables or {base / name: () for name in own}


def _is_table(name: str) -> bool:
    return Path(name).suffix.lower() in (".csv", ".tsv", ".txt")


def _why_no_table(name: str) -> str:
    """The mend for a file that holds labels in another form."""
    suffix = Path(name).suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        return f"; {shown(name)} is a workbook: save it as CSV"
    return f"; {shown(name)} is not read: write its labels as CSV" if suffix in (".json", ".jsonl", ".parquet") else ""


def _columns(table: Path) -> str:
    """The columns of a table that is not understood."""
    return shown(listed([name.strip() for name in read_table_header(table)], 8)) or "none"


def _describe(base: Path, files: list[Parts], refused: Mapping[str, list[str]]) -> str:
    """What an unrecognised folder holds, in a few words."""
    near = ["/".join(parts) for parts in files if len(parts) <= 2]
    tables = [name for name in near if name.casefold().endswith((".csv", ".tsv"))]
    columns = "".join(f", {shown(name)} with the columns {_columns(base / name)}" for name in tables[:3])
    columns += "".join([why for name in near if (why := _why_no_table(name))][:2])
    pictures = [parts for parts in files if is_picture(parts)]
    if not pictures:
        suffixes = sorted({Path(parts[-1]).suffix or "without a suffix" for parts in files})
        kinds = f" ({', '.join(suffixes[:5])})" if suffixes else ""
        reasons = f"; {why}" if (why := count_reasons(refused)) else ""
        return shown(f"found no pictures, {len(files)} other files{kinds}{reasons}{columns}")
    folders = list(dict.fromkeys("/".join(parts[:-1]) or "the folder itself" for parts in pictures))
    reasons = count_reasons(refused) or "all of them masks"
    return shown(f"found {len(pictures)} pictures in {listed(folders, 5)} ({reasons}){columns}")


def count_reasons(refused: Mapping[str, Sequence[str]]) -> str:
    """`3 cannot be read; 1 are in two of the sources`; empty without refusals."""
    return "; ".join(f"{len(names)} {reason}" for reason, names in refused.items())
