"""CSV: three delimiters are told apart, rows keep their line numbers, faults name file and line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.errors import InputError
from lad_reasoner.files.tables import format_table_row, read_table_header, read_table_rows

CELLS = st.text("ab ,;\"\n'é", min_size=1, max_size=6)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_line_numbers(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    lines = ["image,label", "1.png,good", "", ",", '"two\nlines",bad', "3.png"]
    path.write_text("\ufeff" + "\n".join(lines).replace(",", delimiter), encoding="utf-8")
    header, rows = read_table_rows(path)
    assert header == read_table_header(path) == ["image", "label"]
    assert [(where.rpartition(":")[2], cells) for where, cells in rows] == [
        ("2", ["1.png", "good"]),
        ("6", ["two\nlines", "bad"]),
        ("7", ["3.png"]),
    ]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_what_was_written_is_read(table: list[list[str]], delimiter: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([["image", "label"], *table])
    header, rows = read_table_rows("t.csv", buffer.getvalue())
    assert header == ["image", "label"]
    assert [cells for _, cells in rows] == table


PLAIN = "image,label\r\n1.png,good\r\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (PLAIN.encode(), 2),
        (PLAIN.encode("utf-8-sig"), 2),
        (("sep=;\r\n" + PLAIN.replace(",", ";")).encode("utf-8-sig"), 3),
        (("sep=,\n" + PLAIN).encode(), 3),
        (('"sep=\t"\r\n' + PLAIN.replace(",", "\t")).encode(), 3),
        (("SEP=;;\r\n\r\n" + PLAIN.replace(",", ";")).encode(), 4),
        (("\r\n\n" + PLAIN).encode(), 4),
        (PLAIN.encode("utf-16"), 2),
        (PLAIN.encode("utf-16-le"), 2),
        (PLAIN.encode("utf-16-be"), 2),
        (b"\xfe\xff" + PLAIN.encode("utf-16-be"), 2),
        (PLAIN.replace(",", "|").encode(), 2),
        (PLAIN.replace("\r\n", "\r").encode(), 2),
        (PLAIN.replace("image", '"image"').replace("1.png", '"1.png"').encode("utf-8-sig"), 2),
    ],
)
def test_what_excel_powershell_and_notepad_leave(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    header, rows = read_table_rows(path)
    assert header == read_table_header(path) == ["image", "label"]
    assert list(rows) == [(f"{path}:{line}", ["1.png", "good"])]


def test_faults(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(InputError, match=r"t\.csv: No such file"):
        read_table_rows(path)
    path.write_bytes(b"image\n\xff\n")
    with pytest.raises(InputError, match=r"t\.csv: not UTF-8 .*; save it as UTF-8 CSV"):
        read_table_rows(path)
    assert read_table_header(path) == ["image"]
    _, rows = read_table_rows(path, 'image\na\n"b\n')
    assert next(rows)[1] == ["a"]
    with pytest.raises(InputError, match=r"t\.csv:3: not valid CSV"):
        next(rows)
    header, rows = read_table_rows(path, "")
    assert (header, list(rows)) == ([], [])


def test_no_cell_splits_a_row_or_is_run_as_a_formula() -> None:
    cells = [
        "=cmd|'calc'!A1.jpg",
        "+1+1",
        "-2-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "＝1",
        " =1",
        'a"b,c',
        "a\rb\nc",
        None,
        "-0.25",
        0.5,
        True,
    ]
    line = format_table_row(cells)
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert row == [
        *("'=cmd|'calc'!A1.jpg", "'+1+1", "'-2-1", "'@SUM(A1)", "'\t=1", "'\r=1", "'＝1", "' =1"),
        *('a"b,c', "a\rb\nc", "", "-0.25", "0.5", "True"),
    ]
    assert line.count('"') == 2 * len(cells) + 2
