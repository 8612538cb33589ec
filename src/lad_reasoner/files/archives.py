"""Pictures beyond single files: folders, globs, addresses that fsspec opens, and tables in Parquet.

    found = find_queries(["photos/", "s3://bucket/line3/*.jpg", "zip://*.png::file:///old.zip", "parts.parquet"])
    for source in open_queries(found.queries): ...      # what read_picture takes

A table has its pictures in the first of `COLUMNS`: their bytes, or as the `datasets` library writes them (`bytes` and
`path`), or paths relative to the table's folder. A table of names that the user gives may also name other paths and
addresses; one that was found in a folder, one from elsewhere, and the `path` of a picture may not. Hidden files and
files of other kinds are passed over in folders, as everywhere.
"""

from __future__ import annotations

import glob
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lad_reasoner.errors import ImageError, InputError, LadError, MachineError, require
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.files.walk import SUFFIXES, find_pictures, is_hidden, natural_path
from lad_reasoner.text import printable

EXTRA = "ray"
TABLE = ".parquet"
COLUMNS = ("image", "query", "path")
ROWS = 16  # of a table that are in memory at a time
MOST_BYTES = 512 * 1024**2  # of a file behind an address: no picture that is read has more
TRIES, PAUSE = 3, 1.0  # seconds, doubled after each try


class TableRow(NamedTuple):
    """A picture inside a table: the row of a row group, and its number in the whole table."""

    table: str
    column: str
    group: int
    row: int
    number: int


ArchiveQuery = str | TableRow  # a path or an address, or a row


@dataclass
class FoundQueries:
    """What was found: `queries` in the order of the sources, each once."""

    queries: list[ArchiveQuery] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    repeated: int = 0


def query_name(query: ArchiveQuery) -> str:
    """The name of a query in its line: `photos/1.png`, `s3://bucket/1.png`, `parts.parquet#17`."""
    return printable(query) if isinstance(query, str) else printable(f"{query.table}#{query.number}")


def find_queries(sources: Iterable[str]) -> FoundQueries:
    """All pictures of all sources, each once; `repeated` counts those that were given more than once.

    InputError for a source without pictures, a table without a column of pictures, and for two files whose names are
    one when they are written down.
    """
    found = FoundQueries()
    by_name: dict[str, ArchiveQuery] = {}
    for source in sources:
        for query in _find(source, found.passed_over):
            name = query_name(query)
            if name not in by_name:
                by_name[name] = query
            elif by_name[name] == query:
                found.repeated += 1
            else:
                raise InputError(f"{name}: two files have this name when it is written as text; rename one of them")
    found.queries = list(by_name.values())
    return found


def _find(source: str, passed_over: list[Path]) -> Iterator[ArchiveQuery]:
    beside: list[Path] = []
    if is_address(source):
        names = _find_at(source, beside)
    else:
        try:
            names = [str(path) for path in find_pictures([source], beside)]
        except InputError:
            if not any(_is_table(path) for path in beside):  # a folder of tables alone has no pictures
                raise
            names = []
    passed_over += [path for path in beside if not _is_table(path)]
    for name in names:
        if _is_table(name):
            yield from _rows(name, given=True)
        else:
            yield name
    for path in beside:
        if _is_table(path):
            yield from _rows(str(path), given=False)


def is_address(source: str) -> bool:
    """`s3://bucket/1.png`, `zip://1.png::file:///old.zip`: what is not a path."""
    return "://" in source


def _is_table(name: str | Path) -> bool:
    return str(name).partition("::")[0].lower().endswith(TABLE)


def _find_at(address: str, passed_over: list[Path]) -> list[str]:
    """The files behind an address: one file, those of a folder, or those that match a pattern."""
    if urlsplit(address).password:
        raise InputError("an address with a password would be written into every line; give it by the environment")
    inner, chain, outer = address.partition("::")
    if _is_wanted(inner) and not glob.has_magic(inner):
        return [address]
    system, path = _system_of(address)
    try:
        if glob.has_magic(path):
            above = glob.escape(path).partition("[")[0].rpartition("/")[0]  # without a pattern in it
            paths = [name for name in system.glob(path) if not _is_hidden_below(name, above) and system.isfile(name)]
        elif system.isdir(path):
            paths = [name for name in system.find(path) if not _is_hidden_below(name, path)]
        else:
            paths = [path] if system.exists(path) else []
    except Exception as error:  # each file system has its own
        raise InputError(f"{printable(address)}: {_reason(error)}") from None
    passed_over += [Path(name) for name in paths if not _is_wanted(name)]
    wanted = sorted(filter(_is_wanted, paths), key=lambda name: natural_path(PurePosixPath(name).parts))
    if not wanted:
        raise InputError(f"{printable(address)}: no pictures and no {TABLE} files there")
    return [f"{system.unstrip_protocol(name)}{chain}{outer}" for name in wanted]


def _is_wanted(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES or _is_table(name)


def _is_hidden_below(name: str, folder: str) -> bool:
    return any(map(is_hidden, PurePosixPath(name.removeprefix(folder)).parts))


def _system_of(address: str) -> tuple[Any, str]:
    fsspec = require("fsspec", EXTRA)
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:  # `Install s3fs to access S3`
        raise MachineError(f"{printable(address)}: {error}") from None
    except Exception as error:  # an unknown protocol, an archive that is not there
        raise InputError(f"{printable(address)}: {_reason(error)}") from None
    return system, path


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return " ".join(str(error).split()) or type(error).__name__


def _rows(table: str, *, given: bool) -> Iterator[ArchiveQuery]:
    """The pictures of a table: rows where it holds bytes, else the names in it; `given` by the user, not found."""
    with _open_table(table) as parquet:
        schema = parquet.schema_arrow
        column = next((name for name in COLUMNS if name in schema.names), None)
        if column is None:
            raise InputError(
                f"{printable(table)}: no column of pictures; call it {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]} "
                f"(it has {', '.join(schema.names)})"
            )
        number = 0
        for group in range(parquet.num_row_groups):
            if str(schema.field(column).type) in ("string", "large_string"):
                for value in parquet.read_row_group(group, columns=[column]).column(0).to_pylist():
                    if not value:
                        raise InputError(f"{printable(table)}#{number}: {column} is empty")
                    yield _beside(table, value, anywhere=given)
                    number += 1
                continue
            for row in range(parquet.metadata.row_group(group).num_rows):
                yield TableRow(table, column, group, row, number)
                number += 1


def _beside(table: str, name: str, *, anywhere: bool) -> str:
    """A name in a table: an address, or a path relative to the table's folder.

    InputError for a name that leads out of that folder, unless the table lies on this machine and may name what is
    `anywhere`; one from elsewhere may also name other addresses of its host.
    """
    if is_address(table):
        inner, chain, outer = table.partition("::")
        if not is_address(name) and not name.startswith("/") and ".." not in PurePosixPath(name).parts:
            return f"{inner.rpartition('/')[0]}/{name}{chain}{outer}"
        place = urlsplit(table)[:2]
        if chain or "::" in name or not is_address(name) or not place[1] or urlsplit(name)[:2] != place:
            raise InputError(f"{printable(table)}: names {printable(name)}, which is not where the table is")
        return name
    if not anywhere and not _is_below(name, Path(table).parent):
        raise InputError(f"{printable(table)}: names {printable(name)}, which is not in its folder")
    return name if is_address(name) or name.startswith("/") else str(Path(table).parent / name)


def _is_below(name: str, folder: Path) -> bool:
    """Whether a path, relative or not, or an address of this machine is in the folder."""
    path = name.removeprefix("file://")
    try:
        return not is_address(path) and (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


@contextmanager
def _open_table(table: str) -> Iterator[Any]:
    """A Parquet file while it is open; whatever fails there is an InputError with its name."""
    parquet = require("pyarrow.parquet", EXTRA)
    arrow = require("pyarrow", EXTRA)
    try:
        with _open_bytes(table) as stream, parquet.ParquetFile(stream) as opened:
            yield opened
    except (OSError, arrow.ArrowException) as error:
        raise InputError(f"{printable(table)}: not a Parquet file that can be read ({_reason(error)})") from None


@contextmanager
def _open_bytes(name: str) -> Iterator[Any]:
    if is_address(name):
        system, path = _system_of(name)  # has a name: an archive is closed when nobody holds it
        with system.open(path, "rb") as stream:
            yield stream
    else:
        with Path(name).open("rb") as stream:
            yield stream


def open_queries(queries: Sequence[ArchiveQuery]) -> Sequence[PictureSource]:
    """What `read_picture` takes, one for each query; rows are all of one group of one table.

    Files behind addresses are fetched when they are read, in the thread that decodes ahead.
    """
    rows = [query for query in queries if isinstance(query, TableRow)]
    return _Sources(queries, _read_rows(rows) if rows else {})


class _Sources(Sequence[PictureSource]):
    """Makes each source when it is asked for, so that no more files are in memory than are being read."""

    def __init__(self, queries: Sequence[ArchiveQuery], values: dict[TableRow, Any]) -> None:
        self.queries, self.values = queries, values

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, at: Any) -> Any:
        query = self.queries[at]
        if isinstance(query, TableRow):
            return _FetchedPicture(query_name(query), partial(_content, query, self.values[query]))
        return _FetchedPicture(printable(query), partial(fetch, query)) if is_address(query) else query


class _FetchedPicture(io.BytesIO):
    """A file in memory, whose bytes are fetched when it is first read."""

    def __init__(self, name: str, get: Callable[[], bytes]) -> None:
        super().__init__()
        self.name, self._get = name, get

    def seek(self, position: int, whence: int = 0, /) -> int:
        """All who read a picture begin with this."""
        if not self.getbuffer().nbytes:
            self.write(self._get())
        return super().seek(position, whence)


def _content(row: TableRow, value: Any) -> bytes:
    if isinstance(value, dict):  # as `datasets` writes pictures
        path = value.get("path")
        value = value.get("bytes") or (fetch(_beside(row.table, path, anywhere=False)) if path else None)
    if not value:
        raise ImageError(f"{query_name(row)}: {row.column} is empty")
    return bytes(value)


def _read_rows(rows: Sequence[TableRow]) -> dict[TableRow, Any]:
    """Their values: bytes, or what `datasets` writes."""
    wanted = {row.row: row for row in rows}
    table, column, group = rows[0].table, rows[0].column, rows[0].group
    values: dict[TableRow, Any] = {}
    with _open_table(table) as opened:
        first = 0
        # A batch at a time: a row group may hold more pictures than memory does.
        for batch in opened.iter_batches(batch_size=ROWS, row_groups=[group], columns=[column]):
            for row in range(first, first + len(batch)):
                if row in wanted:
                    values[wanted[row]] = batch.column(0)[row - first].as_py()
            first += len(batch)
            if len(values) == len(wanted):
                break
    missing = [row for row in rows if row not in values]
    if missing:
        raise InputError(f"{query_name(missing[0])}: no such row any more; the table was changed")
    return values


def fetch(name: str) -> bytes:
    """The bytes of a file behind a path or an address.

    ImageError if it is not there or too large; MachineError if the network fails `TRIES` times, since it would fail
    for all others, too.
    """
    shown = printable(name)
    for attempt in range(TRIES):
        try:
            with _open_bytes(name) as stream:
                content: bytes = stream.read(MOST_BYTES + 1)
        except (FileNotFoundError, IsADirectoryError, PermissionError, KeyError) as error:
            denied = isinstance(error, PermissionError)
            raise ImageError(f"{shown}: {'no permission to read it' if denied else 'no such file'}") from None
        except LadError:
            raise
        except Exception as error:  # each file system has its own
            if attempt == TRIES - 1:
                raise MachineError(f"{shown}: cannot be fetched ({_reason(error)})") from None
            time.sleep(PAUSE * 2**attempt)
        else:
            break
    if len(content) > MOST_BYTES:
        raise ImageError(f"{shown}: larger than {MOST_BYTES // 1024**2} MB")
    if not content:
        raise ImageError(f"{shown}: the file is empty, no picture; copy it again")
    return content
