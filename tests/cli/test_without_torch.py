"""The package without PyTorch: the built-in judge works, and everything else says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.shots import shot

BLOCKED = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from lad_reasoner.cli.app import main
sys.argv[0] = "lad-reasoner"
main()
"""


def run_without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    reference, query = tmp_path / "reference.png", tmp_path / "query.png"
    shot("good", 0, split="train").image.save(reference)
    shot("logical", 4).image.save(query)
    return reference, query


def test_the_built_in_judge_judges(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    reference, query = pictures
    done = run_without_torch("inspect", "--reference", reference, query, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "1 judged, 1 anomalous" in done.stdout
    assert (tmp_path / "report/report.html").is_file()


@pytest.mark.parametrize("model", ["micro", "evidence:micro", "april-gan", "some/checkpoint"])
def test_other_judges_say_what_to_install(model: str, pictures: tuple[Path, Path]) -> None:
    reference, query = pictures
    done = run_without_torch("inspect", "--model", model, "--reference", reference, query)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("lad-reasoner: torch is not installed; run: pip install -e ")
    assert line.endswith('[hf]"')


def test_training_says_what_to_install(tmp_path: Path) -> None:
    done = run_without_torch("train", "sft", tmp_path / "sft.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("lad-reasoner: torch is not installed; run: pip install ")
    assert '[train]"' in done.stderr


def test_the_list_of_judges_is_complete() -> None:
    done = run_without_torch("judges")
    assert done.returncode == 0, done.stderr
    assert "torch is not installed" in done.stdout
    assert "pixel-difference" in done.stdout


def test_env_reports_it() -> None:
    done = run_without_torch("env")
    assert done.returncode == 0, done.stderr
    line = "device         cpu; for a GPU and for vision-language models: torch is not installed; run: pip install "
    assert line in done.stdout
