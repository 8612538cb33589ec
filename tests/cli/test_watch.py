"""The verb `watch` in a process of its own."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.command_line import COMMAND, run
from helpers.plant import free_port, wait_for
from helpers.stations import grey_picture, grey_station
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError, LadError
from lad_reasoner.files.whole import lock
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.watcher import journal_path


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_station(tmp_path_factory.mktemp("grey"), max_unsure=0.2)[0]


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    for number, shade in enumerate((101, 116, 250)):
        grey_picture(tmp_path / "in" / f"{number}.png", shade)
    return tmp_path / "in"


def test_a_damaged_picture_of_a_relative_folder_is_named_once(
    station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lad_reasoner.service.watcher.PATIENCE", 0.3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    done = CliRunner().invoke(app, ["watch", "--station", str(station), "--once", "in"])
    assert done.exit_code == 1
    assert re.split(r" {2,}", done.stdout.strip())[1:] == [
        "invalid",
        "broken.png",
        "not a picture that can be read; save it as PNG or JPEG",
    ]


@pytest.mark.slow
def test_once_for_all_pictures_that_are_there(station: Path, camera: Path, tmp_path: Path) -> None:
    command = ("watch", "--station", station, "--to", tmp_path / "out", "--to", tmp_path / "r.jsonl", "--once", camera)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    lines = [re.split(r" {2,}", line)[1:4] for line in done.stdout.splitlines()]
    assert [(outcome, name) for outcome, _, name in lines] == [
        ("good", "0.png"),
        ("unsure", "1.png"),
        ("anomalous", "2.png"),
    ]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")) == [
        "bad/2.png",
        "good/0.png",
        "unsure/1.png",
    ]
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [record["outcome"] for record in records] == ["good", "unsure", "anomalous"]
    again = run(*command)
    assert (again.returncode, again.stdout) == (0, "")
    assert "no new pictures" in again.stderr
    (camera / "broken.png").write_bytes(b"no picture")
    broken = run(*command, "--json")
    assert broken.returncode == 1
    result = json.loads(broken.stdout)
    assert (result["outcome"], result["picture"]) == ("invalid", "broken.png")
    (camera / "lot 2").mkdir()
    (camera / "lot 2/broken.png").write_bytes(b"no picture")
    (line,) = run(*command).stdout.splitlines()
    assert re.split(r" {2,}", line)[1:] == [
        "invalid",
        "lot 2/broken.png",
        "not a picture that can be read; save it as PNG or JPEG",
    ]
    assert result["error"] == f"{camera}/broken.png: not a picture that can be read; save it as PNG or JPEG"


def test_two_lines_on_one_folder_and_a_journal_that_is_none(station: Path, camera: Path) -> None:
    path = journal_path(station, camera)
    path.parent.mkdir(exist_ok=True)
    command = ("watch", "--station", station, "--once", camera)
    with lock(path, "DIR"):
        other = CliRunner().invoke(app, [str(word) for word in command])
    assert isinstance(other.exception, InputError)
    assert "another process is using it; wait for it, or give another DIR" in str(other.exception)
    with Journal(path, camera.resolve()) as journal:
        journal._connection.execute("DROP TABLE pending")
        journal._connection.execute("CREATE VIEW pending AS SELECT 1 AS refused")
        journal._connection.commit()
    damaged = CliRunner().invoke(app, [str(word) for word in command])
    assert isinstance(damaged.exception, LadError), damaged.exception
    assert f"{path}: cannot be used" in str(damaged.exception)
    path.unlink()


def test_results_for_a_sink_that_is_away_are_kept(station: Path, camera: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/hook"
    done = run("watch", "--station", station, "--to", address, "--once", camera)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3, "the line goes on"
    assert f"3 results for {address} are kept" in done.stderr
    without = run("watch", "--station", station, "--once", camera)
    assert without.returncode == 0
    assert f"3 results wait for {address}; --to {address} sends them, --forget {address} drops them" in without.stderr
    command = ["watch", "--station", str(station), "--forget", address, "--once", str(camera)]
    wanted = CliRunner().invoke(app, [*command, "--to", address])
    assert wanted.exit_code == 2
    assert "its results are still wanted" in " ".join(wanted.stderr.split())
    dropped = CliRunner().invoke(app, command)
    assert dropped.exit_code == 0
    assert f"note: dropped 3 results for {address}" in dropped.stderr
    assert "wait for" not in dropped.stderr
    with Journal(journal_path(station, camera), camera.resolve()) as journal:
        assert not journal.waiting()


def test_one_result_is_said_as_one(station: Path, camera: Path) -> None:
    for number in (1, 2):
        (camera / f"{number}.png").unlink()
    address = f"http://127.0.0.1:{free_port()}/hook"
    done = CliRunner().invoke(app, ["watch", "--station", str(station), "--to", address, "--once", str(camera)])
    assert f"1 result for {address} is kept: the next start sends it" in done.stderr


@pytest.mark.posix
def test_a_signal_ends_it_in_order(station: Path, camera: Path, tmp_path: Path) -> None:
    log = tmp_path / "r.jsonl"
    arguments = ["watch", "--station", str(station), "--to", str(log), str(camera)]
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") == 3, 30)
            second = run(*arguments)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 3
    assert "watching" in err
    assert "1 good, 1 unsure, 1 anomalous" in err
    assert second.returncode == 1
    assert "another process is using it" in second.stderr


def test_a_closed_terminal_does_not_stop_the_line(station: Path, camera: Path, tmp_path: Path) -> None:
    log = tmp_path / "r.jsonl"
    reader, writer = os.pipe()
    os.close(reader)
    command = [COMMAND, "watch", "--station", str(station), "--to", str(log), "--once", str(camera)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert log.read_bytes().count(b"\n") == 3
    assert done.returncode == 0, done.stderr
    assert "no longer printed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--move"], 2, "--move needs a folder"),
        (["--to", "{camera}/sorted"], 1, "would be watched again"),
    ],
)
def test_wrong_use(station: Path, camera: Path, arguments: list[str], code: int, problem: str) -> None:
    arguments = [argument.format(camera=camera) for argument in arguments]
    done = run("watch", "--station", station, camera, *arguments)
    assert done.returncode == code, done.stderr
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_missing(station: Path, tmp_path: Path) -> None:
    done = run("watch", "--station", station, tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "not a folder" in done.stderr
