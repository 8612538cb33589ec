"""Bulk inspection: one line a query whatever dies in between, on a cluster of two workers and without one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.command_line import COMMAND
from lad_reasoner import bulk
from lad_reasoner.bulk import BulkRun, BulkSettings, open_inspector, read_references
from lad_reasoner.cli.app import app
from lad_reasoner.cli.bulk import _opener, _station_opener
from lad_reasoner.errors import InputError, MachineError, MissingExtraError, RecordError
from lad_reasoner.files.archives import ArchiveQuery, find_queries, query_name
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.files.whole import lock
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import ResultLine
from lad_reasoner.service.setup import create_station
from lad_reasoner.service.station import SecondLookSettings

# A judge of the tests' own, in a module that the workers import. It leaves its process's number in a folder.
OWN = """
import os, time
from pathlib import Path
from lad_reasoner.judge import Judgement

class Slow:
    name, prompt_version, batch_size, notes, parameters = "slow", "slow-1", 2, ("for tests",), None
    looks_at_pictures = False

    def judge(self, pairs):
        Path("workers", str(os.getpid())).touch()
        time.sleep(0.15 * len(pairs))
        return [Judgement("yes" if "bad" in pair.query.name else "no") for pair in pairs]
"""


class Plain:
    """Anomalous are those whose names say so."""

    name, prompt_version, batch_size, notes, parameters = "plain", "plain-1", 4, ("a note",), None
    looks_at_pictures = False

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        return [Judgement("yes" if "bad" in pair.query.name else "no") for pair in pairs]


class Broken(Plain):
    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        raise ZeroDivisionError("a fault")


class Learns(Plain):
    """Sees after some pictures that its service is another one."""

    seen = 0

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.seen += len(pairs)
        if self.seen > 5:
            self.notes = ("a note", "another model answers")
        return super().judge(pairs)


class Later(Plain):
    prompt_version = "plain-2"


class HerePool:
    """Workers in this process; those of a unit with `fatal` in a name die each time, as a crash of a decoder does."""

    def __init__(self, ray: Any, opener: Any, workers: int, gpus: float) -> None:
        self.workers = workers
        self.worker = bulk._Worker(opener, "/nowhere", bulk._Attempts())

    def answers(self, units: Sequence[list[ArchiveQuery]]) -> Iterator[dict[str, Any]]:
        for unit in units:
            if "fatal" not in str(unit):
                (answer,) = self.worker({"unit": [json.dumps(unit)]})["answer"]
                yield json.loads(answer)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    monkeypatch.setattr(bulk, "_Pool", HerePool)
    monkeypatch.setattr(bulk, "_cluster", lambda address, workers: nullcontext(cluster))
    monkeypatch.setattr(bulk, "PART", 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 pictures, two of them bad; a reference; a table of 3 pictures; one file that is no picture."""
    (tmp_path / "query").mkdir()
    for name in (*(f"{number}" for number in range(10)), "bad1", "bad\n2"):
        Image.linear_gradient("L").resize((32, 32)).save(tmp_path / f"query/{name}.png")
    (tmp_path / "query/cut.png").write_bytes((tmp_path / "query/1.png").read_bytes()[:60])
    content = (tmp_path / "query/1.png").read_bytes()
    pq.write_table(pa.table({"image": [content] * 3}), tmp_path / "more.parquet")
    Image.linear_gradient("L").save(tmp_path / "good.png")
    return tmp_path


def start(folder: Path, judge: str = "test_bulk:Plain", *, more: Sequence[str] = (), **options: Any) -> BulkRun:
    found = find_queries([f"{folder}/query", f"{folder}/more.parquet", *more])
    opener = partial(_open, judge, [folder / "good.png"])
    settings = BulkSettings(model=judge, references=("digest",))
    return BulkRun(folder / "out", found.queries, opener, settings, **options)


def _open(judge: str, references: list[Path]) -> Any:
    made = {"Plain": Plain, "Broken": Broken, "Later": Later}[judge.rpartition(":")[2]]()
    inspector = open_inspector("always-no", {}, read_references(references))
    inspector.judge = made
    return inspector


def lines_of(out: Path) -> list[ResultLine]:
    return [line for path in sorted(out.glob("part-*.jsonl")) for line in read_records(path, ResultLine)]


@pytest.mark.usefixtures("here")
def test_what_a_judge_learns_later_is_told_once(folder: Path) -> None:
    words = ["inspect", "-r", f"{folder}/good.png", f"{folder}/query", "--model", "test_bulk:Learns", "--ray", "local"]
    done = CliRunner().invoke(app, [*words, "--out", f"{folder}/out"])
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: a")]
    assert notes == ["note: a note", "note: another model answers"]
    settings = BulkSettings.model_validate_json((folder / "out/_settings.json").read_bytes())
    assert settings.notes == ("a note", "another model answers")


@pytest.mark.usefixtures("here")
def test_one_line_a_query_and_failures_are_lines(folder: Path) -> None:
    run = start(folder)
    assert (len(run.todo), run.done) == (16, 0)
    lines = list(run.lines(workers=2))
    assert lines == lines_of(folder / "out")
    assert {line.query for line in lines} == {
        *(f"{folder}/query/{name}.png" for name in (*range(10), "bad1", "bad\n2", "cut")),
        *(f"{folder}/more.parquet#{row}" for row in range(3)),
    }
    assert run.tally.answers == {"no": 13, "yes": 2, "failed": 1}
    (failure,) = (line for line in lines if line.error)
    assert (failure.answer, failure.score) == ("invalid", None)
    assert "cut.png: the picture is damaged" in str(failure.error)
    assert run.settings.notes == ("a note",)
    lengths = [len(path.read_text().splitlines()) for path in sorted((folder / "out").glob("part-*"))]
    assert lengths == [5, 5, 5, 1]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("parquet", [False, True])
def test_a_run_that_was_cut_off_goes_on(folder: Path, parquet: bool) -> None:
    whole = start(folder, parquet=parquet).lines()
    first = [next(whole).query for _ in range(7)]
    whole.close()  # as a signal does
    part = folder / "out/part-00001.jsonl"
    with part.open("a") as file:
        file.write('{"query": "half a li')
    Image.linear_gradient("L").resize((32, 32)).save(folder / "query/new.png")  # the archive has grown
    run = start(folder, parquet=parquet)
    assert (run.done, len(run.todo)) == (7, 10)
    rest = [line.query for line in run.lines()]
    assert not set(first) & set(rest)
    again = start(folder, parquet=parquet)
    assert (again.done, again.todo, list(again.lines())) == (17, [], [])
    assert again.tally.answers == run.tally.answers == {"no": 14, "yes": 2, "failed": 1}
    if parquet:
        assert not list((folder / "out").glob("*.jsonl"))
        table = pq.read_table(folder / "out", filters=[("answer", "=", "yes")])
        assert sorted(table["query"].to_pylist()) == [f"{folder}/query/bad\n2.png", f"{folder}/query/bad1.png"]
        assert table.schema.names == list(ResultLine.model_fields)
        # Killed between the Parquet file and the end of its lines: they are there once.
        (folder / "out/part-00000.jsonl").write_text('{"query": "of the part"}\n')
        assert start(folder).done == 17


@pytest.mark.usefixtures("here")
def test_a_query_whose_worker_dies_each_time_is_a_failure(folder: Path) -> None:
    Image.linear_gradient("L").save(folder / "query/5 fatal.png")
    run = start(folder)
    lines = list(run.lines())
    (failure,) = (line for line in lines if "fatal" in line.query)
    assert "its worker died 3 times" in str(failure.error)
    assert run.tally.answers == {"no": 13, "yes": 2, "failed": 2}
    assert not run.todo


@pytest.mark.usefixtures("here")
def test_such_a_failure_has_the_outcome_of_a_station(folder: Path) -> None:
    """As every picture has that a station cannot judge."""
    Image.linear_gradient("L").save(folder / "query/5 fatal.png")
    create_station(folder / "station", [folder / "good.png"], judge="pixel-difference")
    opener, settings = _station_opener(folder / "station", {})
    run = BulkRun(folder / "out", find_queries([f"{folder}/query"]).queries, opener, settings)
    failed = {Path(line.query).name: line for line in run.lines() if line.error is not None}
    assert {(line.station, line.outcome) for line in failed.values()} == {("station", "invalid")}
    assert sorted(failed) == ["5 fatal.png", "cut.png"]


def test_attempts_are_counted_until_a_unit_is_done() -> None:
    attempts = bulk._Attempts()
    for attempt in range(1, 4):
        assert attempts.begin("[1]") == attempt
    assert attempts.begin("[2]") == 1
    worker = bulk._Worker(partial(_open, "Plain", []), "/nowhere", attempts)
    assert worker({"unit": ["[1]"]}) == {"answer": ["null"]}  # the fourth time
    attempts.end("[2]")
    assert attempts.begin("[2]") == 1


@pytest.mark.usefixtures("here")
def test_what_stops_a_run(folder: Path) -> None:
    with pytest.raises(MachineError, match="a worker failed: ZeroDivisionError: a fault"):
        list(start(folder, "test_bulk:Broken").lines())
    list(start(folder, more=[f"{folder}/gone.png"]).lines())  # nothing was judged: another judge may
    with pytest.raises(InputError, match="made with model test_bulk:Plain; give another --out"):
        start(folder, "test_bulk:Broken")
    settings = json.loads((folder / "out/_settings.json").read_text())
    (folder / "out/_settings.json").write_text(json.dumps(settings | {"references": ["another"]}))
    with pytest.raises(InputError, match="made with other references"):
        start(folder)
    (folder / "out/_settings.json").write_text(json.dumps(settings | {"prompt_version": "plain-0"}))
    Image.linear_gradient("L").save(folder / "query/new.png")
    with pytest.raises(InputError, match="made with prompt_version plain-0, not plain-1"):
        list(start(folder).lines())
    (folder / "out/_settings.json").unlink()
    with pytest.raises(InputError, match=r"contains lines without _settings\.json"):
        start(folder)
    (folder / "out/_settings.json").write_text(json.dumps(settings))
    part = folder / "out/part-00000.jsonl"
    part.write_text(part.read_text() * 2)
    with pytest.raises(RecordError, match="holds 2 lines about"):
        start(folder)
    part.write_text("".join(dict.fromkeys(part.read_text().splitlines(keepends=True))))
    (folder / "out/part-00000.jsonl.bak").write_text("{}")  # of the user's, who keeps a copy
    assert start(folder).done > 0
    with lock(folder / "out", "--out"), pytest.raises(InputError, match="another process is using it"):
        start(folder)


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/settings.json").write_text("{}")
    with pytest.raises(InputError, match=r"--out .*out: holds a run of `eval` \(settings\.json\); give another folder"):
        start(folder)
    assert [path.name for path in (folder / "out").iterdir()] == ["settings.json"]


def test_units_stay_in_one_group_of_one_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"-"] * 5}), tmp_path / "a.parquet", row_group_size=3)
    found = find_queries([f"{tmp_path}/a.parquet", f"{tmp_path}/1.png", f"{tmp_path}/2.png", f"{tmp_path}/3.png"])
    units = [[query_name(query).rpartition("/")[2] for query in unit] for unit in bulk._units(found.queries, 2)]
    assert units == [
        ["a.parquet#0", "a.parquet#1"],
        ["a.parquet#2"],
        ["a.parquet#3", "a.parquet#4"],
        ["1.png", "2.png"],
        ["3.png"],
    ]


def test_flags(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    words = ["inspect", "-r", f"{folder}/good.png", f"{folder}/query"]
    for flags, problem in (
        (["--ray", "local"], "give --out"),
        (["--ray", "local", "--out", f"{folder}/out", "--json"], "no --json"),
        (["--ray", f"{folder}/query", "--out", f"{folder}/out"], "write --ray local"),
        (["--workers", "2"], "go with --ray"),
    ):
        done = runner.invoke(app, [*words, *flags])
        assert done.exit_code == 2, done.output
        assert problem in " ".join(re.sub("[│╭╰─╮╯]", "", done.output).split()), done.output
    service = ["--model", "m", "--server", "http://localhost:1/v1", "--ray", "local", "--out", f"{folder}/out"]
    monkeypatch.setitem(sys.modules, "ray", None)
    # Two workers could not use one file of answers: the run stopped after it had paid for some.
    done = runner.invoke(app, [*words, *service, "-M", "cache=answers.jsonl"])
    assert done.exit_code == 2 and "one worker of --ray at a time" in done.output
    done = runner.invoke(app, [*words, *service, "-M", "prices=1,2", "-M", "budget=5"])
    assert "each worker keeps to the budget of 5 by itself" in done.stderr
    for alone in ("cache=answers.jsonl", "budget=5"):
        done = runner.invoke(app, [*words, *service, "-M", alone, "--workers", "1"])
        assert isinstance(done.exception, MissingExtraError) and not done.stderr
    # Nor can the judge that a station asks near its limit.
    station = create_station(folder / "second", [folder / "good.png"], judge="pixel-difference")
    again = SecondLookSettings(model="m", options={"server": "http://localhost:1/v1", "cache": "answers.jsonl"})
    station.model_copy(update={"second_look": again}).save(folder / "second")
    monkeypatch.setenv("LAD_TRUSTED", "answers.jsonl")
    at_station = ["inspect", f"{folder}/query", "--station", f"{folder}/second", "--ray", "local"]
    done = runner.invoke(app, [*at_station, "--out", f"{folder}/out"])
    assert done.exit_code == 2 and "one worker of --ray at a time" in done.output
    done = runner.invoke(app, [*words, "--ray", "local", "--out", f"{folder}/out"])
    assert isinstance(done.exception, MissingExtraError)
    assert str(done.exception).startswith("ray is not installed; run: pip install ")
    assert "[ray]" in str(done.exception)


def test_a_run_at_a_service_is_resumed_with_more_money_and_patience(folder: Path) -> None:
    def options(**given: Any) -> str:
        return _opener([f"{folder}/good.png"], "big", given, evidence=False)[1].options

    poor = options(server="http://localhost:1/v1", budget="1", prices="1,2")
    assert options(server="http://localhost:1/v1", budget="5", prices="1,2", concurrency="2", patience="900") == poor
    assert options(server="http://localhost:1/v1", max_pixels="200704") != poor
    assert options(max_tokens="5") != options()  # of another judge, it may mean anything


def wait_for(happened: Any, process: subprocess.Popen[str]) -> None:
    """Until `happened()`; a loaded machine may take long to start a cluster."""
    end = time.monotonic() + 240
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.posix
@pytest.mark.slow  # a cluster takes ten seconds to start, and this needs two
def test_a_cluster_of_two_workers_all_of_it_killed_then_one_of_them(folder: Path) -> None:
    """The whole run is killed; the next one goes on, loses a worker, and ends."""
    for number in range(30):
        os.link(folder / "query/1.png", folder / f"query/more{number}.png")
    (folder / "own_judge.py").write_text(OWN)
    (folder / "workers").mkdir()
    out = folder / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])}
    args = ["inspect", "--ray", "local", "--workers", "2", "-r", "good.png", "--model", "own_judge:Slow"]
    args += ["--out", "out", "query", "more.parquet", f"file://{folder}/query", "query/1.png"]

    def begin() -> subprocess.Popen[str]:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([COMMAND, *args], cwd=folder, env=environment, start_new_session=True, **streams)

    first = begin()
    try:
        wait_for(lambda: lines_of(out), first)
    finally:
        first.kill()  # its cluster ends with it
        first.communicate()
    before = lines_of(out)
    earlier = set((folder / "workers").iterdir())
    second = begin()
    try:

        def killed_one_at_work() -> bool:
            """Of two workers one that has just begun with pictures: one between two units has nothing to lose."""
            workers = sorted(set((folder / "workers").iterdir()) - earlier, key=lambda mark: mark.stat().st_mtime)
            if len(workers) < 2 or time.time() - workers[-1].stat().st_mtime > 0.1:
                return False
            os.kill(int(workers[-1].name), signal.SIGKILL)
            return True

        wait_for(killed_one_at_work, second)
        stdout, stderr = second.communicate(timeout=300)
    finally:
        second.kill()
    assert second.returncode == 1, stderr  # one picture is damaged
    lines = lines_of(out)
    assert lines[: len(before)] == before
    expected = 2 * (12 + 1 + 30) + 3
    assert len(before) < expected
    assert [count for _, count in Counter(line.query for line in lines).most_common()] == [1] * expected
    assert {line.query.rpartition("/")[2] for line in lines if line.error} == {"cut.png"}
    assert stdout == f"{expected - 2} judged, 4 anomalous, 2 not judged\n"  # nothing of Ray's
    assert f"resumed with {len(before)} queries judged" in stderr
    assert "note: workers died; " in stderr
    assert "note: for tests" in stderr
    assert "note: 1 picture given more than once: judged once" in stderr
