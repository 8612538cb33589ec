"""CSV files: one reader for commas, semicolons and tabs.

    header, rows = read_table_rows("labels.csv")
    for where, cells in rows:
        ...                     # where is "labels.csv:2"; cells may be fewer or more than the header has

The delimiter is the one that occurs most often in the first line. What the columns mean is up to the caller.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable

TableRow = tuple[str, list[str]]  # `file:line`, cells

_MEND = "save it as UTF-8 CSV"
_LONGEST_HEADER = 100_000  # characters: a file without line ends may be no table at all


def read_table_rows(path: str | Path, text: str | None = None) -> tuple[list[str], Iterator[TableRow]]:
    """(cells of the first row, the later rows); blank rows are skipped, the header of an empty file is empty.

    `text` is the content of `path` where it was read before. InputError with the file, and the line where one is known,
    if it cannot be read, is not UTF-8, or is not valid CSV; for the later rows while they are read.
    """
    if text is None:
        text = _read_text(path)
    stream = io.StringIO(text, newline="")
    delimiter = _sniff_delimiter(stream.readline())
    stream.seek(0)
    rows = _parse_rows(stream, delimiter, printable(path))
    _, header = next(rows, ("", []))
    return header, rows


def read_table_header(path: str | Path) -> list[str]:
    """The cells of a file's first line, for a look at what it is: never refused, whatever the file holds."""
    with Path(path).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline(_LONGEST_HEADER)
    return next(csv.reader([line], delimiter=_sniff_delimiter(line)), [])


def _sniff_delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: not UTF-8 ({error}); {_MEND}") from None


def _parse_rows(stream: io.StringIO, delimiter: str, name: str) -> Iterator[TableRow]:
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cells):
                yield f"{name}:{reader.line_num}", cells
    except csv.Error as error:
        raise InputError(f"{name}:{reader.line_num}: not valid CSV ({error}); {_MEND}") from None
