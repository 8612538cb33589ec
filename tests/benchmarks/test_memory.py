"""Memory stays flat, in a short form; the long one is the command's default."""

import subprocess
import sys
from pathlib import Path

import memory
import pytest


def test_growth_is_that_of_the_last_tenth_over_the_second() -> None:
    assert memory.growth([10] + [100] * 19) == 0  # what is loaded at first does not count
    assert memory.growth([100] * 10 + [150] * 10) == pytest.approx(0.5)
    assert memory.growth(list(range(100, 200))) > memory.MOST


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident size is read from /proc")
@pytest.mark.parametrize(("model", "queries"), [("pixel-difference", 400), ("evidence", 30)])
def test_a_short_run_is_flat(model: str, queries: int) -> None:
    command = [sys.executable, memory.__file__, "--model", model, "--queries", str(queries), "--size", "128"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{queries} queries: " in done.stdout


@pytest.mark.posix
@pytest.mark.slow  # two clusters are started
def test_a_run_of_two_workers_is_killed_and_has_one_line_a_query() -> None:
    pytest.importorskip("ray")
    command = [
        sys.executable,
        memory.__file__,
        "--ray",
        "--model",
        "pixel-difference",
        "--queries",
        "60",
        "--size",
        "64",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 queries, each with one line" in done.stdout
    assert int(done.stdout.partition("killed once at ")[2].split()[0]) >= 30
