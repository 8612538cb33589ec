"""A benchmark for a harness: the pairs that `eval` judges, read back as a list of pairs."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.evaluation.benchmark import draw_pairs, limit_pairs, open_benchmark
from lad_reasoner.evaluation.pair_export import export_benchmark


def test_the_pairs_are_those_of_eval(tmp_path: Path) -> None:
    miniloco = open_benchmark("miniloco")
    exported = export_benchmark(miniloco, tmp_path / "out", to="lmms-eval", references=2, limit=5)
    assert exported.records == 5
    assert "--tasks lad_reasoner_pairs" in exported.command
    read_back = open_benchmark("manifest", tmp_path / "out/pairs.jsonl")
    pairs, _ = draw_pairs(read_back)
    assert pairs == limit_pairs(draw_pairs(miniloco, references=2)[0], 5)
    for name in (*pairs[0].references, pairs[0].query):
        assert read_back.read(name)[0].image.tobytes() == miniloco.read(name)[0].image.tobytes()
    with pytest.raises(InputError, match="is not empty"):
        export_benchmark(miniloco, tmp_path / "out", to="lmms-eval", limit=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("good/a.png", "good/b.png", "bad/c.png"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.radial_gradient("L").save(path)
    return tmp_path / "own"


def test_own_pictures_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    assert export_benchmark(open_benchmark("folder", folder), tmp_path / "out", to="mmad").records == 3
    assert (tmp_path / "out/bad/c.png").read_bytes() == (folder / "bad/c.png").read_bytes()
    (folder / "bad/c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"c\.png"):
        export_benchmark(open_benchmark("folder", folder), tmp_path / "again", to="mmad")


@pytest.mark.parametrize("name", ["../a.png", "a.yaml"])
def test_names_that_would_leave_the_export_or_are_no_pictures(folder: Path, tmp_path: Path, name: str) -> None:
    for other in ("../a.png", "a.yaml"):
        (folder / other).write_bytes((folder / "good/a.png").read_bytes())
    (folder / "pairs.csv").write_text(f"query,references,label\n{name},good/b.png,good\n", encoding="utf-8")
    with pytest.raises(InputError, match="lies outside of the benchmark, or has no picture's suffix"):
        export_benchmark(open_benchmark("manifest", folder / "pairs.csv"), tmp_path / "out", to="inspect")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--benchmark", "miniloco", "--to", "easyr1"], 2, "nobody trains on a benchmark"),
        (["--benchmark", "miniloco", "--to", "mmad", "--model", "m"], 2, "--model: is for trainers"),
        (["--to", "mmad"], 2, "DIR: is missing"),
        (["set", "--to", "mmad", "--limit", "3"], 2, "--limit: is about a benchmark"),
        (["--benchmark", "mvtec-ad", "--to", "mmad"], 1, "mvtec-ad: give its folder with DIR"),
    ],
)
def test_what_is_not_meant_is_one_line(tmp_path: Path, words: list[str], code: int, problem: str) -> None:
    command = [sys.executable, "-m", "lad_reasoner", "data", "export", "--out", "out", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code
    usage, _, line = done.stderr.rpartition("\n\nError: ") if code == 2 else ("", "", done.stderr)
    assert problem in line
    assert line.count("\n") == 1
    assert usage.startswith("Usage: ") == (code == 2)


def test_pictures_that_other_programs_do_not_open_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "good/b.png").rename(folder / "good/b.heic")
    with pytest.raises(InputError, match=r"good/b\.heic: other programs do not open HEIC; save it as JPEG or PNG"):
        export_benchmark(open_benchmark("folder", folder), tmp_path / "out", to="mmad")
