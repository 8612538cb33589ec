"""Verbs are killed, what they started ends with them, and a small disk is survived."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import drill_kills
import drill_verbs
import pytest

from helpers.bound import Forked
from lad_reasoner.cli.app import app

ROOT = Path(__file__).parents[2]
READ = {"completion", "data check", "env", "judges", "server check", "station check", "station show"}  # write nothing


def test_each_verb_that_writes_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill_verbs.subprocess, "run", lambda *_, **__: None)  # what makes the stock
    monkeypatch.setattr("helpers.tiny.save_qwen", lambda folder: folder)
    monkeypatch.setattr("helpers.stations.grey_station", lambda *_, **__: None)
    for stock in ("1", "2"):
        (tmp_path / stock).mkdir()
    killed = {*drill_verbs.writing_verbs(tmp_path / "1"), *drill_verbs.slow_verbs(tmp_path / "2")}
    named = {command.name for command in app.registered_commands}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            named.add(f"{group.name} {command.name or command.callback.__name__.replace('_', '-')}")
    assert named - killed - drill_verbs.NOT_KILLED.keys() == READ
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

    monkeypatch.setattr(drill_kills, "start_verb", python)
    writes = "import pathlib, sys, time\nfile = (pathlib.Path(sys.argv[1]) / 'file').open('ab', 0)\n"
    writes += "while True: file.write(bytes(100)); time.sleep(0.01)"
    ended = drill_kills.run_verb([writes], tmp_path, drill_kills.Work(written=1000))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    assert 1000 <= (tmp_path / "file").stat().st_size < 10_000_000
    makes = (
        "import pathlib, sys, time\nfor n in range(9999): (pathlib.Path(sys.argv[1]) / f'{n}').touch(); time.sleep(.01)"
    )
    ended = drill_kills.run_verb([makes], tmp_path, drill_kills.Work(files=5))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    assert 5 <= ended.work.files < 2000
    ended = drill_kills.run_verb(["while True: pass"], tmp_path, drill_kills.Work(computed=0.1))
    assert (ended.killed, ended.code) == (True, -signal.SIGKILL)
    monkeypatch.setattr(drill_kills, "HUNG", 1)
    ended = drill_kills.run_verb(["import time; time.sleep(600)"], tmp_path)
    assert (ended.killed, ended.code) == (False, -signal.SIGKILL)
    assert "hung for 1 s" in ended.said
    assert drill_kills.run_verb(["raise SystemExit('a problem')"], tmp_path).said == "a problem\n"


@pytest.mark.slow  # the command starts some thirty times
def test_kills_and_small_disks_of_one_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    every = drill_verbs.writing_verbs

    def one(stock: Path, seed: int = 0) -> dict[str, drill_verbs.Verb]:
        return {name: verb for name, verb in every(stock, seed).items() if name == "data export"}

    monkeypatch.setattr(drill_kills, "writing_verbs", one)
    for tally in (drill_kills.drill_kills(1, 0, one), drill_kills.drill_disks(1)):
        assert tally.lost == []
