"""CSV files: one reader for commas, semicolons and tabs.

    header, rows = read_table_rows("labels.csv")
    for where, cells in rows:
        ...                     # where is "labels.csv:2"; cells may be fewer or more than the header has

The delimiter is the one that occurs most often in the first line with text, or the one that Excel's `sep=;` names.
Files are UTF-8 or UTF-16, with or without a byte order mark. What the columns mean is up to the caller.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lad_reasoner.errors import InputError
from lad_reasoner.text import printable

TableRow = tuple[str, list[str]]  # `file:line`, cells

DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r'"?sep=(?P<delimiter>[,;\t|])"?[,;\t ]*', re.IGNORECASE)
_FORMULA = re.compile("\\s*[=+@\\t\\r\uff1d\uff0b\uff20\uff0d-]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_MEND = "save it as UTF-8 CSV"
_LONGEST_HEADER = 100_000  # characters: a file without line ends may be no table at all


def read_table_rows(path: str | Path, text: str | None = None) -> tuple[list[str], Iterator[TableRow]]:
    """(cells of the first row, the later rows); blank rows are skipped, the header of an empty file is empty.

    `text` is the content of `path` where it was read before. InputError with the file, and the line where one is known,
    if it cannot be read, is not UTF-8, or is not valid CSV; for the later rows while they are read.
    """
    name = printable(path)
    if text is None:
        text = read_text(path)
    delimiter, skipped = _sniff(text)
    rows = _parse_rows(io.StringIO(text[skipped:], newline=""), delimiter, name, text[:skipped].count("\n"))
    _, header = next(rows, ("", []))
    return header, rows


def format_table_row(cells: Iterable[object]) -> str:
    """A line of CSV: every cell quoted, so that no character of it splits the row, and `defused`; None is empty."""
    buffer = io.StringIO()
    texts = ["" if cell is None else defused(str(cell)) for cell in cells]
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(texts)
    return buffer.getvalue()


def defused(text: str) -> str:
    """A cell with an apostrophe before what a spreadsheet would run as a formula; numbers are left as they are."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def read_table_header(path: str | Path) -> list[str]:
    """The cells of a file's first row, for a look at what it is: never refused, whatever the file holds."""
    with Path(path).open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    text = head.decode(_encoding(head), errors="replace")
    delimiter, skipped = _sniff(text)
    return next(csv.reader(text[skipped:].splitlines()[:1], delimiter=delimiter), [])


def read_text(path: str | Path) -> str:
    """The text of a file, without its byte order mark. InputError if it is neither UTF-8 nor UTF-16."""
    try:
        return decode_text(Path(path).read_bytes(), path)
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}") from None


def decode_text(content: bytes, path: str | Path) -> str:
    """As `read_text`, of a file that was read before."""
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: not UTF-8 ({error}); {_MEND}") from None


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if content[1::2][:1] == b"\0":  # PowerShell and Notepad without a mark: each second byte of plain text is zero
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else "utf-8-sig"


def _sniff(text: str) -> tuple[str, int]:
    """The delimiter, and how many characters stand before the header: blank lines, and Excel's `sep=;`."""
    skipped = len(text) - len(text.lstrip("\r\n"))
    line = next(iter(text[skipped : skipped + _LONGEST_HEADER].splitlines()), "")
    said = _SEPARATOR.fullmatch(line)
    if said is None:
        return max(DELIMITERS, key=line.count), skipped
    after = text[skipped + len(line) :]
    return said["delimiter"], len(text) - len(after.lstrip("\r\n"))


def _parse_rows(stream: io.StringIO, delimiter: str, name: str, before: int) -> Iterator[TableRow]:
    """`before` lines of the file are not in the stream."""
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cells):
                yield f"{name}:{before + reader.line_num}", cells
    except csv.Error as error:
        raise InputError(f"{name}:{before + reader.line_num}: not valid CSV ({error}); {_MEND}") from None
