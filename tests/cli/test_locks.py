"""Every verb that writes into a folder holds its lock before it writes: a second process ends, and changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.planted import lamps
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock

CONFIGS = Path(__file__).parents[2] / "configs"
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark, pictures of MiniLOCO, a run, a set of pairs and a config."""
    folder = tmp_path_factory.mktemp("stock")
    lamps(folder / "lamps")
    for words in (
        "data miniloco {0}/m --products bolt_plate --per-class 2 --size 64",
        "data pairs {0}/m --out {0}/set",
        "eval --benchmark folder --root {0}/lamps --model random --out {0}/run",
        "eval --benchmark folder --root {0}/lamps --model always-no --out {0}/other",
    ):
        done = RUNNER.invoke(app, words.format(folder).split())
        assert done.exit_code == 0, (words, done.output, done.exception)
    base = (CONFIGS / "micro/base.yaml").read_text()
    (folder / "micro.yaml").write_text(re.sub("(?m)^out: .*", f"out: {folder}/held", base))
    return folder


VERBS = {
    "inspect": "inspect -r {0}/lamps/lamp/train/good/000.png {0}/lamps/lamp/test/good/000.png --out {0}/held",
    "eval": "eval --benchmark folder --root {0}/lamps --model random --out {0}/held",
    "compare": "compare {0}/run {0}/other --out {0}/held",
    "demo": "demo --out {0}/held",
    "data miniloco": "data miniloco {0}/held --products screw_bag --per-class 1 --size 64",
    "data sft": "data sft {0}/m --teacher offline --out {0}/held",
    "data pairs": "data pairs {0}/m --out {0}/held",
    "data export": "data export {0}/set --to easyr1 --model m --out {0}/held",
    "train micro": "train micro {0}/micro.yaml",
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_another_process_uses_stays_as_it_is(stock: Path, verb: str) -> None:
    (stock / "held").mkdir(exist_ok=True)
    with lock(stock / "held", "--out"):
        done = RUNNER.invoke(app, VERBS[verb].format(stock).split())
    assert isinstance(done.exception, InputError), done.output
    assert "held: another process is using it; wait for it, or give another " in str(done.exception)
    assert [path.name for path in (stock / "held").iterdir()] == [".lock"]


def test_two_reviews_of_one_set(stock: Path) -> None:
    with lock(stock / "set" / "decisions.jsonl", "data set"):
        done = RUNNER.invoke(app, ["data", "review", str(stock / "set"), "--port", "0"])
    assert isinstance(done.exception, InputError), done.output
    assert "decisions.jsonl: another process is using it" in str(done.exception)
