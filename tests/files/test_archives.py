"""Pictures in folders, behind addresses and in tables: found, each once, and opened."""

import io
import sys
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lad_reasoner.errors import ImageError, InputError, MachineError
from lad_reasoner.files import archives
from lad_reasoner.files.archives import FoundQueries, fetch, find_queries, open_queries, query_name
from lad_reasoner.files.pictures import read_picture


def draw(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), (grey, 0, 0)).save(path)
    return path


def greys(found: FoundQueries) -> list[int]:
    """The red value of each picture, as `read_picture` reads it from what `open_queries` gives."""
    values = []
    for query in found.queries:
        (source,) = open_queries([query])
        picture = read_picture(source)
        assert picture.name == query_name(query)
        values.append(int(np.asarray(picture.image)[0, 0, 0]))
    return values


def names(found: FoundQueries) -> list[str]:
    return [query_name(query) for query in found.queries]


def test_folders_globs_and_files_each_once(tmp_path: Path) -> None:
    for number in (10, 9):
        draw(tmp_path / f"a/{number}.png", number)
    (tmp_path / "a/notes.txt").write_text("-")
    found = find_queries([f"{tmp_path}/a", f"{tmp_path}/a/*.png", f"{tmp_path}/gone.png"])
    assert names(found) == [f"{tmp_path}/a/9.png", f"{tmp_path}/a/10.png", f"{tmp_path}/gone.png"]
    assert (found.repeated, [path.name for path in found.passed_over]) == (2, ["notes.txt"])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no pictures in this folder"):
        find_queries([f"{tmp_path}/none"])


def test_names_of_strangers(tmp_path: Path) -> None:
    odd = ["new\nline.png", "ü #1.png", "\udcff.png", "{}%s.png"]
    for grey, name in enumerate(odd):
        draw(tmp_path / name, grey)
    found = find_queries([str(tmp_path)])
    assert sorted(greys(found)) == [0, 1, 2, 3]
    assert f"{tmp_path}/\\udcff.png" in names(found)
    draw(tmp_path / "\\udcff.png", 4)  # in letters what the other one is as a byte
    with pytest.raises(InputError, match="two files have this name"):
        find_queries([str(tmp_path)])


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    draw(tmp_path / "in/1.png", 1)
    draw(tmp_path / "in/deep/2.png", 2)
    draw(tmp_path / "in/.hidden/3.png", 3)
    (tmp_path / "in/notes.txt").write_text("-")
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.write(tmp_path / "in/1.png", "z/4.png")
    for address in (f"file://{tmp_path}/in", f"file://{tmp_path}/in/**/*.png"):
        found = find_queries([address])
        assert names(found) == [f"file://{tmp_path}/in/1.png", f"file://{tmp_path}/in/deep/2.png"]
        assert greys(found) == [1, 2]
    zipped = find_queries([f"zip://**/*.png::file://{tmp_path}/old.zip"])
    assert names(zipped) == [f"zip://z/4.png::file://{tmp_path}/old.zip"]
    assert greys(zipped) == [1]
    for address, error, problem in (
        (f"file://{tmp_path}/none", InputError, "no pictures and no .parquet files there"),
        ("nowhere://x/y", InputError, "nowhere"),
        (f"zip://*::file://{tmp_path}/gone.zip", InputError, "no such file"),
        ("https://me:secret@host/1.png", InputError, "address with a password"),
        ("s3://bucket/folder", MachineError, "s3fs"),
    ):
        with pytest.raises(error, match=problem) as raised:
            find_queries([address])
        assert "secret" not in str(raised.value)


def test_tables(tmp_path: Path) -> None:
    one, two = (draw(tmp_path / f"p/{grey}.png", grey) for grey in (1, 2))
    contents = [path.read_bytes() for path in (one, two)]
    pq.write_table(pa.table({"id": [7, 8], "image": contents}), tmp_path / "p/bytes.parquet", row_group_size=1)
    written = [{"bytes": contents[0], "path": None}, {"bytes": None, "path": "2.png"}]
    pq.write_table(pa.table({"image": written}), tmp_path / "p/datasets.parquet")
    pq.write_table(pa.table({"path": ["2.png", f"file://{one}"]}), tmp_path / "p/names.parquet")
    found = find_queries([f"{tmp_path}/p/bytes.parquet", f"file://{tmp_path}/p/datasets.parquet"])
    assert names(found) == [
        f"{tmp_path}/p/bytes.parquet#0",
        f"{tmp_path}/p/bytes.parquet#1",
        f"file://{tmp_path}/p/datasets.parquet#0",
        f"file://{tmp_path}/p/datasets.parquet#1",
    ]
    assert greys(found) == [1, 2, 1, 2]
    listed = find_queries([f"{tmp_path}/p/names.parquet"])
    assert names(listed) == [f"{tmp_path}/p/2.png", f"file://{tmp_path}/p/1.png"]
    for path in (one, two):
        path.unlink()
    assert names(find_queries([f"{tmp_path}/p"]))[0] == f"{tmp_path}/p/bytes.parquet#0"  # a folder of tables alone
    pq.write_table(pa.table({"image": [contents[0], None]}), tmp_path / "p/bytes.parquet", row_group_size=1)
    with pytest.raises(ImageError, match=r"bytes.parquet#1: image is empty"):
        read_picture(open_queries(found.queries[1:2])[0])
    pq.write_table(pa.table({"image": contents[:1]}), tmp_path / "p/bytes.parquet")
    with pytest.raises(InputError, match="changed"):
        open_queries([found.queries[0]._replace(row=3)])  # type: ignore[union-attr]


def test_a_table_from_elsewhere_names_nothing_of_this_machine(tmp_path: Path) -> None:
    draw(tmp_path / "mine.png", 1)
    memory = fsspec.filesystem("memory")
    memory.pipe("/set/1.png", draw(tmp_path / "1.png", 7).read_bytes())
    try:
        for name in (
            f"{tmp_path}/mine.png",
            f"file://{tmp_path}/mine.png",
            "../mine.png",
            "http://127.0.0.1:9/1.png",
            f"memory://set/1.png::file://{tmp_path}/mine.png",
        ):
            for value in (name, {"bytes": None, "path": name}):
                content = io.BytesIO()
                pq.write_table(pa.table({"image": [value]}), content)
                memory.pipe("/set/t.parquet", content.getvalue())
                with pytest.raises(InputError) as refused:
                    greys(find_queries(["memory://set/t.parquet"]))
                assert str(refused.value).endswith(f"names {name}, which is not where the table is")
        content = io.BytesIO()
        pq.write_table(pa.table({"image": ["1.png", "memory://set/1.png"]}), content)
        memory.pipe("/set/t.parquet", content.getvalue())
        assert greys(find_queries(["memory://set/t.parquet"]))[0] == 7
    finally:
        memory.rm("/set", recursive=True)


@pytest.mark.parametrize("place", ["", "file://"])
def test_a_table_in_a_folder_of_a_stranger_names_nothing_outside(tmp_path: Path, place: str) -> None:
    mine = draw(tmp_path / "mine.png", 1)
    draw(tmp_path / "set/1.png", 7)
    for name in (
        str(mine),
        f"file://{mine}",
        "../mine.png",
        "http://127.0.0.1:9/1.png",
        f"reference://1::file://{mine}",
    ):
        for value in (name, {"bytes": None, "path": name}):
            pq.write_table(pa.table({"image": [value]}), tmp_path / "set/t.parquet")
            with pytest.raises(InputError) as refused:
                greys(find_queries([f"{place}{tmp_path}/set"]))
            assert f"names {name}, which is not " in str(refused.value)
    pq.write_table(pa.table({"image": ["1.png"]}), tmp_path / "set/t.parquet")
    assert greys(find_queries([f"{place}{tmp_path}/set/t.parquet"])) == [7]
    # A table of names that the user gives is a list of the user's.
    pq.write_table(pa.table({"image": [str(mine)]}), tmp_path / "set/t.parquet")
    assert greys(find_queries([f"{tmp_path}/set/t.parquet"])) == [1]
    pq.write_table(pa.table({"image": [{"bytes": None, "path": str(mine)}]}), tmp_path / "set/t.parquet")
    with pytest.raises(InputError, match="which is not in its folder"):
        greys(find_queries([f"{tmp_path}/set/t.parquet"]))


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1]}), tmp_path / "none.parquet")
    pq.write_table(pa.table({"path": ["a.png", None]}), tmp_path / "hole.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    for name, problem in (
        ("none", r"call it image, query or path \(it has label\)"),
        ("hole", "hole.parquet#1: path is empty"),
        ("text", "not a Parquet file that can be read"),
        ("gone", "no such file"),
    ):
        with pytest.raises(InputError, match=problem):
            find_queries([f"{tmp_path}/{name}.parquet"])


def test_a_file_that_is_not_there_is_its_own_fault_and_the_network_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.png").touch()
    for name, problem in ((f"file://{tmp_path}/gone.png", "no such file"), (f"{tmp_path}/empty.png", "is empty")):
        with pytest.raises(ImageError, match=problem):
            fetch(name)
    with pytest.raises(ImageError, match=r"gone.png: no such file"):
        read_picture(open_queries([f"file://{tmp_path}/gone.png"])[0])
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    with pytest.raises(ImageError, match="larger than"):
        fetch(str(draw(tmp_path / "1.png", 1)))
    tried = []

    def fail(name: str) -> None:
        tried.append(name)
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(archives, "_open_bytes", fail)
    monkeypatch.setattr(archives, "PAUSE", 0)
    with pytest.raises(MachineError, match=r"s3://b/1.png: cannot be fetched \(reset by peer\)"):
        fetch("s3://b/1.png")
    assert len(tried) == archives.TRIES
