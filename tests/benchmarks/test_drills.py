"""A short run of the drills."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import drill_files
import drill_models
import drills
import pytest
import yaml

from helpers.bound import Forked
from helpers.plant import part_result
from helpers.stations import grey_picture, grey_station
from lad_reasoner.answers import Response
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_record
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Seen
from lad_reasoner.service.parts import PictureFile

ROOT = Path(__file__).parents[2]


def test_damaged_pictures_are_read_or_refused() -> None:
    # In a process of its own, since this one may have taken more memory than the drill allows.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        tally = pool.submit(drills.drill_pictures, 1200, seed=1).result()
    assert tally.lost == []
    assert tally.tried == 1200 + len(drills.make_pictures()) == tally.read + tally.refused
    assert min(tally.read, tally.refused) > 100
    assert f"tried {tally.tried}, survived {tally.tried} (" in str(tally)


def test_whole_pictures_of_one_frame_are_read() -> None:
    for name, data in drills.make_pictures().items():
        if "film" not in name and "pages" not in name:
            assert read_picture(data).image.size in ((56, 40), (40, 56)), name


def test_what_else_is_raised_is_lost(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(data: bytes) -> None:
        raise KeyError("damaged")

    monkeypatch.setattr(drills, "read_picture", fail)
    monkeypatch.setattr(drills, "peak_mb", lambda: 0.0)  # of all tests before this one
    tally = drills.drill_pictures(3)
    assert len(tally.lost) == tally.tried
    assert tally.lost[0] == "whole png: KeyError: 'damaged'"


@pytest.mark.slow  # two verbs in processes of their own
def test_good_pictures_among_odd_files_are_judged_and_each_other_has_a_line() -> None:
    tally = drills.drill_sweep(500, seed=2)
    assert tally.lost == []
    assert tally.tried == 520
    assert "(20 good pictures, 300 files that are none, " in tally.note


@pytest.mark.slow  # each life of the line imports torch
def test_a_killed_line_loses_and_repeats_nothing() -> None:
    tally = drills.drill_watch(1, seed=3)
    assert tally.lost == []
    assert tally.kills == 1
    assert tally.pictures > 5


def test_what_a_line_lost_or_repeated_is_found(tmp_path: Path) -> None:
    folder, station = grey_station(tmp_path)
    archive = Archive(folder, station.name)
    (tmp_path / "incoming").mkdir()
    file = PictureFile.at(grey_picture(tmp_path / "sorted" / "good" / "part-1.png", 100))
    assert file is not None
    result = part_result(outcome="good")
    archive.keep([Seen(result.part, "watch in 1", "good", 1, verdict=result.verdict, content=b"x")])
    archive.close()
    append_record(tmp_path / "results.jsonl", result)
    written = {"part-1.png": "good"}

    def lost(written: dict[str, str], came: dict[str, int]) -> list[str]:
        tally = drills.WatchTally()
        drills._compare(tally, written, tmp_path, Counter(came))
        return tally.lost

    assert lost(written, {"part-1.png": 2}) == []
    assert lost(written, {}) == ["webhook: part-1.png never came"]
    assert len(lost({**written, "2.png": "good"}, {"part-1.png": 1, "2.png": 1})) == 3
    assert len(lost({"part-1.png": "anomalous"}, {"part-1.png": 1})) == 6
    append_record(tmp_path / "results.jsonl", result)
    assert lost(written, {"part-1.png": 1}) == [
        "JSON lines: ('part-1.png', 'good') is there 2 times, not 1",
    ]
    grey_picture(tmp_path / "incoming" / "3.png", 100)
    assert "still in the folder: 3.png" in lost(written, {"part-1.png": 1})


def test_the_parser_and_the_scanner_agree() -> None:
    tally = drills.drill_parser(3000, seed=2)
    assert tally.lost == []
    assert 100 < int(tally.note.split("(")[1].split()[0]) < 2000


def test_a_wrong_parser_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills, "parse_response", lambda text: Response("a", "yes", True))
    tally = drills.drill_parser(50)
    assert len(tally.lost) > 20
    assert str(tally).startswith(f"tried 50, survived {50 - len(tally.lost)}, lost {len(tally.lost)}")


def test_a_faulty_service_loses_nothing() -> None:
    tally = drills.drill_service(6, seed=1)
    assert (tally.tried, tally.lost) == (6, [])


def test_each_promise_names_drills_and_tests_that_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\|(?! promise|---)(.*)\|$", page, re.MULTILINE):
        shown_by = re.findall("`([^`]*)`", row.rpartition("|")[2])
        assert shown_by, row
        for name in shown_by:
            file, _, drill = name.partition(" ")
            assert (ROOT / file).is_file(), name
            assert not drill or drill in drills.DRILLS, name


READ = {"completion", "data check", "env", "judges", "server check", "station check", "station show"}  # write nothing


def test_each_verb_that_writes_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills.subprocess, "run", lambda *_, **__: None)  # what makes the stock
    monkeypatch.setattr("helpers.tiny.save_qwen", lambda folder: folder)
    monkeypatch.setattr("helpers.stations.grey_station", lambda *_, **__: None)
    for stock in ("1", "2"):
        (tmp_path / stock).mkdir()
    killed = {*drills.writing_verbs(tmp_path / "1"), *drills.slow_verbs(tmp_path / "2")}
    named = {command.name for command in app.registered_commands}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            named.add(f"{group.name} {command.name or command.callback.__name__.replace('_', '-')}")
    assert named - killed - drills.NOT_KILLED.keys() == READ
    assert killed - named == {"inspect --ray"}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent when asked")
def test_what_a_drill_started_ends_with_it() -> None:
    start = "import subprocess, sys\nfrom helpers.bound import bound\n"
    start += "subprocess.Popen(bound([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)']))\n"
    start += "import time; time.sleep(600)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    drill = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, env=environment)
    assert drill.stdout is not None
    assert drill.stdout.readline() == b"1\n"  # the child is at work
    drill.kill()
    assert drill.stdout.read() == b""  # returns when the child has ended, too: it held the other end
    drill.wait()
    drill.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent when asked")
def test_a_verb_that_is_forked_runs_as_if_it_was_started_and_ends_with_the_drill(tmp_path: Path) -> None:
    said = tmp_path / "said"
    run = Forked(["inspect", "--reference", str(tmp_path / "nowhere.png"), "q.png"], said=said, preloaded=[])
    assert (run.wait(), run.poll()) == (1, 1)
    assert said.read_text().startswith(f"lad-reasoner: {tmp_path}/nowhere.png: ")
    start = "import sys, time\nfrom pathlib import Path\nfrom helpers.bound import Forked\n"
    start += "words = ['serve', '--port', '0', '--model', 'always-no']\n"
    start += "if __name__ == '__main__':\n print(Forked(words, said=Path(sys.argv[1]), preloaded=[]).pid, flush=True)\n"
    start += " time.sleep(600)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])}
    drill = subprocess.Popen([sys.executable, "-c", start, said], stdout=subprocess.PIPE, env=environment)
    assert drill.stdout is not None
    pid = int(drill.stdout.readline())
    wait_until(lambda: "serving at" in said.read_text())
    drill.kill()
    drill.wait()
    drill.stdout.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_verb_is_killed_by_what_it_has_done_and_one_that_hangs_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def python(words: Sequence[object], said: Path) -> subprocess.Popen[bytes]:
        with said.open("wb") as stream:
            return subprocess.Popen([sys.executable, "-c", str(words[0]), str(tmp_path)], stderr=stream)

    monkeypatch.setattr(drills, "start_verb", python)
    writes = "import pathlib, sys, time\nfile = (pathlib.Path(sys.argv[1]) / 'file').open('ab', 0)\n"
    writes += "while True: file.write(bytes(100)); time.sleep(0.01)"
    ended = drills.run_verb([writes], tmp_path, drills.Work(written=1000))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    assert 1000 <= (tmp_path / "file").stat().st_size < 10_000_000
    makes = (
        "import pathlib, sys, time\nfor n in range(9999): (pathlib.Path(sys.argv[1]) / f'{n}').touch(); time.sleep(.01)"
    )
    ended = drills.run_verb([makes], tmp_path, drills.Work(files=5))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    assert 5 <= ended.work.files < 2000
    ended = drills.run_verb(["while True: pass"], tmp_path, drills.Work(computed=0.1))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    monkeypatch.setattr(drills, "HUNG", 1)
    ended = drills.run_verb(["import time; time.sleep(600)"], tmp_path)
    assert (ended.killed, ended.code) == (False, -signal.SIGKILL)
    assert "hung for 1 s" in ended.said
    assert drills.run_verb(["raise SystemExit('a problem')"], tmp_path).said == "a problem\n"


def test_ci_runs_the_drills() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert {"run": "python benchmarks/drills.py all"} in jobs["drills"]["steps"]


@pytest.mark.slow  # a server starts four times
def test_a_server_that_is_attacked() -> None:
    tally = drills.drill_server(40, seed=1)
    assert tally.lost == []
    assert tally.tried > 60


@pytest.mark.slow  # the command starts some thirty times
def test_kills_and_small_disks_of_one_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    every = drills.writing_verbs

    def one(stock: Path, seed: int = 0) -> dict[str, drills.Verb]:
        return {name: verb for name, verb in every(stock, seed).items() if name == "data export"}

    monkeypatch.setattr(drills, "writing_verbs", one)
    for tally in (drills.drill_kills(1, 0, one), drills.drill_disks(1)):
        assert tally.lost == []


def test_a_value_is_replaced_and_what_that_raises_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.jsonl").write_text('{"a": {"b": 1}, "c": [2]}\n' * 3)
    seen: list[str] = []

    def read(folder: Path) -> None:
        text = (folder / "lines.jsonl").read_text(encoding="utf-8", errors="surrogatepass")
        seen.append(text)
        if len(seen) % 2:
            raise InputError("lines.jsonl: not valid")
        raise KeyError("b")

    taken, refused, lost = drill_files.try_files([drill_files.Victim("lines.jsonl", tmp_path, read)], 40, 3)
    assert (taken, refused, len(lost)) == (0, 20, 20)
    assert "KeyError: 'b' (test_drills.py:" in lost[0]
    assert len(set(seen)) > 30
    victims = drill_files.victims(tmp_path / "stock")
    assert len(victims) > 15
    for victim in victims:
        assert (victim.folder / victim.name).is_file()


def test_a_few_pictures_of_soak() -> None:
    tally = drills.drill_soak(4)
    assert tally.tried == 8  # by two judges
    assert not any("open" in line or "picture" in line for line in tally.lost)


@pytest.mark.slow  # bombs of a hundred million pixels
def test_cut_off_and_odd_pictures() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        tally = pool.submit(drills.drill_odd, 40, seed=1).result()
    assert tally.lost == []
    assert tally.read > 40 and tally.tried > 85


def test_what_a_strangers_model_did_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    good = drill_models.Outcome(0, "a note", ran=False)
    refused = drill_models.Outcome(1, f"lad-reasoner: {model}: no weights in it", ran=False)
    assert good.problem([model]) == refused.problem([model]) == ""
    for outcome, said in (
        (replace(good, ran=True), "code ran"),
        (replace(good, code=None), "no end within 60 s"),
        (replace(good, code=-11), "rc -11"),
        (replace(good, said="Traceback (most recent call last):"), "Traceback"),
        (replace(refused, said="lad-reasoner: no weights"), "rc 1: lad-reasoner: no weights"),
        (replace(refused, said=f"lad-reasoner: {model}: a\nlad-reasoner: {model}: b"), "rc 1: "),
    ):
        assert said in outcome.problem([model])


@pytest.mark.slow  # a verb starts, and loads a model
def test_a_strangers_model_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_traces(folder: Path, whole: Path) -> None:
        (folder.parent / "ran").touch()

    hostile = {"pickle called safetensors": drill_models.HOSTILE_MODELS["pickle called safetensors"]}
    monkeypatch.setattr(
        drill_models,
        "HOSTILE_MODELS",
        {**hostile, "code": leave_traces, "weights elsewhere": drill_models._text("own.py", "")},
    )
    judged, refused, lost = drill_models.try_models(drills.start_verb, 3, tmp_path)
    assert (judged, refused, lost) == (2, 1, ["code: code ran", "weights elsewhere: it was taken"])
