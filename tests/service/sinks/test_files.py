"""Pictures sorted into folders, and JSON lines."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.plant import part_result
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks import open_sink
from lad_reasoner.service.sinks.files import SortedFolders
from lad_reasoner.service.sinks.sink import RejectedResultError


def picture(path: Path, content: bytes) -> PictureFile:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    file = PictureFile.at(path)
    assert file is not None
    return file


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("move", [False, True])
def test_each_outcome_has_its_folder(tmp_path: Path, move: bool) -> None:
    sink = open_sink(str(tmp_path / "out"), move=move)
    outcomes = {"good": "good", "anomalous": "bad", "unsure": "unsure", "invalid": "invalid"}
    for number, outcome in enumerate(outcomes, 1):
        file = picture(tmp_path / "in" / f"{outcome}.png", outcome.encode())
        sink.deliver(part_result(number, outcome=outcome), file)
        assert file.path.exists() is not move
        assert PictureFile.at(tmp_path / "out" / outcomes[outcome] / file.path.name) == PictureFile(
            tmp_path / "out" / outcomes[outcome] / file.path.name, file.size, file.modified_ns
        )
    assert files_below(tmp_path / "out") == {f"{outcomes[name]}/{name}.png": name.encode() for name in outcomes}


@pytest.mark.parametrize("move", [False, True])
def test_no_picture_replaces_another(tmp_path: Path, move: bool) -> None:
    sink = open_sink(str(tmp_path / "out"), move=move)
    for number, content in enumerate((b"first", b"second", b"third"), 1):
        sink.deliver(part_result(number, outcome="good"), picture(tmp_path / "in" / "latest.png", content))
    assert files_below(tmp_path / "out") == {
        "good/latest.png": b"first",
        "good/latest_2.png": b"second",
        "good/latest_3.png": b"third",
    }


@pytest.mark.parametrize("move", [False, True])
def test_a_delivery_that_a_crash_repeats_changes_nothing(tmp_path: Path, move: bool) -> None:
    sink = open_sink(str(tmp_path / "out"), move=move)
    file = picture(tmp_path / "in" / "a.png", b"a")
    for _ in range(2):
        sink.deliver(part_result(outcome="good"), file)
    assert files_below(tmp_path / "out") == {"good/a.png": b"a"}
    # A crash between the copy to another disk and the removal of the original.
    again = picture(tmp_path / "in" / "a.png", b"a")
    sink.deliver(part_result(outcome="good"), again)
    assert files_below(tmp_path / "out") == {"good/a.png": b"a"}
    assert again.path.exists() is not move


def test_a_move_to_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    file = picture(tmp_path / "in" / "a.png", b"a")
    open_sink(str(tmp_path / "out"), move=True).deliver(part_result(outcome="good"), file)
    assert files_below(tmp_path) == {"out/good/a.png": b"a"}
    assert (tmp_path / "out/good/a.png").stat().st_mtime_ns == file.modified_ns


@pytest.mark.parametrize("move", [False, True])
def test_another_picture_of_that_name_is_not_taken_for_it(tmp_path: Path, move: bool) -> None:
    sink = open_sink(str(tmp_path / "out"), move=move)
    file = picture(tmp_path / "in" / "latest.png", b"first")
    picture(file.path, b"the next part")
    with pytest.raises(RejectedResultError, match="overwritten"):
        sink.deliver(part_result(outcome="good"), file)
    file.path.unlink()
    with pytest.raises(RejectedResultError, match="removed"):
        sink.deliver(part_result(outcome="good"), file)
    assert not files_below(tmp_path / "out")


@pytest.mark.parametrize("stem", ["a" * 251, "ü" * 125])
def test_a_name_as_long_as_a_disk_takes_it_is_cut_before_a_number_follows(tmp_path: Path, stem: str) -> None:
    sink = open_sink(str(tmp_path / "out"))
    for number, content in enumerate((b"first", b"second"), 1):
        for _ in range(2):  # the second time as after a crash
            sink.deliver(part_result(number, outcome="good"), picture(tmp_path / "in" / f"{stem}.png", content))
    names = sorted(path.name for path in (tmp_path / "out/good").iterdir())
    assert len(names) == 2 and f"{stem}.png" in names
    (numbered,) = [name for name in names if name.endswith("_2.png")]
    assert 253 <= len(numbered.encode()) <= 255


def test_json_lines_have_no_half_and_no_double_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    results = [part_result(number) for number in (1, 2, 3)]
    file = PictureFile(tmp_path / "a.png", 1, 1)
    sink = open_sink(str(path))
    sink.open()
    for result in results[:2]:
        sink.deliver(result, file)
    with path.open("ab") as lines:
        lines.write(b'{"number": 3, "ti')
    after_a_crash = open_sink(str(path))
    after_a_crash.open()
    for result in results:  # a power cut may undo what the journal noted of several deliveries
        after_a_crash.deliver(result, file)
    assert list(read_records(path, PartResult)) == results
    assert path.read_bytes().count(b"\n") == 3


def test_lines_of_two_folders_stand_between_and_none_is_double(tmp_path: Path) -> None:
    path, file = tmp_path / "results.jsonl", PictureFile(tmp_path / "a.png", 1, 1)
    begin = datetime(2026, 5, 4, tzinfo=UTC)
    mine = part_result(7, time=begin)
    others = [part_result(number, time=begin + timedelta(seconds=number), part="other") for number in (1, 2)]
    sink = open_sink(str(path))
    sink.open()
    for result in (mine, *others):
        sink.deliver(result, file)
    after_a_crash = open_sink(str(path))
    after_a_crash.open()
    after_a_crash.deliver(mine, file)
    assert list(read_records(path, PartResult)) == [mine, *others]


def test_a_file_of_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for start in (b"", b'{"number"'):
        path.write_bytes(start)
        sink = open_sink(str(path))
        sink.open()
        sink.deliver(part_result(), PictureFile(tmp_path / "a.png", 1, 1))
        assert list(read_records(path, PartResult)) == [part_result()]


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    file = picture(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"), b"a")
    open_sink(str(tmp_path / "out")).deliver(part_result(outcome="good"), file)
    assert (tmp_path / "out" / "good" / os.fsdecode(b"caf\xe9.png")).read_bytes() == b"a"


def test_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    for address, problem in {"file": "a file", "folder.jsonl": "a folder", "out.csv": "FILE.jsonl"}.items():
        with pytest.raises(InputError, match=problem):
            open_sink(str(tmp_path / address))
    assert isinstance(open_sink(str(tmp_path / "out")), SortedFolders)
