"""From an empty folder to a calibrated station with page and REST: the three commands of docs/serve.md."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.served import TESTS, serving

DOCUMENT = TESTS.parent / "docs" / "serve.md"


@pytest.mark.slow  # renders and judges some twenty pictures
def test_three_commands_lead_from_an_empty_folder_to_a_served_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = DOCUMENT.read_text().split("```text\n")
    commands = next(block for block in blocks if block.startswith("lad-reasoner data miniloco")).split("```")[0]
    pictures, create, serve = (shlex.split(line)[1:] for line in commands.splitlines())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]))
    for words in (pictures, create):
        done = subprocess.run([sys.executable, "-m", "lad_reasoner", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "at most 5 % of good parts" in done.stdout
    verb, folder = serve
    assert verb == "serve"
    with serving(folder, log=tmp_path / "log") as served:
        assert served.ask("GET", "/readyz").json["ready"] is True
        assert b"drop or choose a picture" in served.ask("GET", "/stations/bottle").body
        good = next((tmp_path / "pictures/bolt_plate/test/good").glob("*.png")).read_bytes()
        answer = served.inspect(good, station="bottle", part="4711", seconds="300").json
        assert answer["outcome"] == "good" and answer["p_value"] is not None
        assert served.stop() == 0
    shutil.rmtree(tmp_path / "pictures")
