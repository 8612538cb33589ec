"""The verbs that measure, as a shell sees them."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers import tiny
from helpers.command_line import call, run
from helpers.planted import lamps
from lad_reasoner.cli.app import main


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lamps(tmp_path_factory.mktemp("data") / "lamps")


def test_eval_of_a_baseline_goes_on_and_reports_again(root: Path, tmp_path: Path) -> None:
    options = ("eval", "--benchmark", "folder", "--root", root, "--model", "always-yes", "--out", tmp_path / "run")
    first = call(*options, "--limit", 3)
    assert first.returncode == 0, first.stderr
    assert "note: 3 of 7 pairs are judged so far" in first.stderr
    assert "interrupted" not in first.stderr
    second = call(*options, "--wide")
    assert second.returncode == 0, second.stderr
    assert "resumed with 3 pairs judged and 4 left" in second.stderr
    assert second.stderr.splitlines()[-1] == f"report: {tmp_path / 'run/report.html'}"
    assert "always-yes on folder · 1 reference a query, seed 0" in second.stdout
    rows = [line.split() for line in second.stdout.splitlines()]
    pooled = next(row for row in rows if row[:3] == ["pooled", "over", "images"])
    assert pooled[4::2] == ["7", "42.9", "60.0", "42.9", "100.0", "0.0", "50.0", "0.0"]
    assert any(row[:2] == ["always-no,", "mean"] for row in rows)
    metrics = (tmp_path / "run/metrics.json").read_bytes()
    assert json.loads(metrics)["pooled"]["confusion"]["tp"] == 3
    fewer = call(*options, "--limit", 3)
    assert "resumed with 7 pairs judged and 0 left; the report is of 7, as none is taken out of a run" in fewer.stderr
    again = call("report", tmp_path / "run", "--wide")
    assert (again.returncode, again.stdout) == (0, second.stdout)
    assert (tmp_path / "run/metrics.json").read_bytes() == metrics


@pytest.mark.parametrize("verb", ["eval", "compare", "inspect", "demo", "train micro", "data miniloco"])
def test_no_verb_writes_into_a_folder_of_something_else(verb: str, root: Path, tmp_path: Path) -> None:
    """`compare --out RUN` put its tables beside the run's report, and `eval` a run into a station."""
    mine, config = tmp_path / "mine", tmp_path / "config.yaml"
    mine.mkdir()
    (mine / "manifest.json").write_text("{}")
    base = Path(__file__).parents[2] / "configs/micro/base.yaml"
    config.write_text(base.read_text(encoding="utf-8").replace("out: runs/micro\n", f"out: {mine}\n"))
    words: dict[str, list[str | Path]] = {
        "eval": ["eval", "--benchmark", "folder", "--root", root, "--model", "always-yes", "--out", mine],
        "compare": ["compare", root, root, "--out", mine],
        "inspect": ["inspect", "--reference", root / "good", root / "bad", "--out", mine],
        "demo": ["demo", "--out", mine],
        "data miniloco": ["data", "miniloco", mine, "--per-class", "1"],
        "train micro": ["train", "micro", config],
    }
    done = call(*words[verb])
    flag = {"train micro": "out", "data miniloco": "OUT"}.get(verb, "--out")
    told = f"lad-reasoner: {flag} {mine}: holds a data set (manifest.json); give another folder\n"
    assert (done.returncode, done.stderr) == (1, told)
    assert [path.name for path in mine.iterdir()] == ["manifest.json"]


def test_a_run_is_not_written_among_the_pictures_of_its_benchmark(root: Path) -> None:
    """Its small copies were pictures of the benchmark from then on."""
    done = call("eval", "--benchmark", "folder", "--root", root, "--model", "always-yes", "--out", root / "run")
    told = f"lad-reasoner: --out {root}/run: lies in {root}, so that its pictures would be taken for more of those; "
    assert (done.returncode, done.stderr) == (1, f"{told}give a folder outside\n")
    assert not (root / "run").exists()


def test_an_interrupted_run_has_a_report_that_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import numpy as np
from lad_reasoner import Box, Judgement
from lad_reasoner.errors import MachineError

class Stops:
    name, prompt_version, batch_size, notes, parameters = "stops", "stops-1", 1, (), None
    left = 2

    def judge(self, pairs):
        if not self.left:
            raise MachineError("no memory left")
        self.left -= 1
        return [Judgement("yes", 0.9, boxes=(Box(x=1, y=1, width=4, height=4, strength=2.0),), heat=np.ones((4, 4)))]
"""
    (tmp_path / "stops.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    ended = run("eval", "--benchmark", "folder", "--root", root, "--model", "stops:Stops", "--out", "my run")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "lad-reasoner: no memory left"
    page = (tmp_path / "my run/report.html").read_text(encoding="utf-8")
    assert "the run was interrupted or is still at work: 2 of 7 pairs are judged so far" in page
    assert page.count('class="pic marked" role="img" aria-label="difference map with 1 numbered box"') == 2
    assert f"lad-reasoner eval --benchmark folder --root {root} --model stops:Stops --out &#39;my run&#39;" in page
    (tmp_path / "my run/report.html").unlink()
    assert call("report", "my run").returncode == 0  # the command is that of the run
    assert "--model stops:Stops --out" in (tmp_path / "my run/report.html").read_text(encoding="utf-8")


def test_a_run_on_one_label_says_so_first_and_ends_with_1(root: Path, tmp_path: Path) -> None:
    ended = call(
        *("eval", "--benchmark", "folder", "--root", root, "--kinds", "good"),
        *("--model", "always-no", "--out", tmp_path / "run"),
    )
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert lines[0] == (
        "note: all queries are good, so the figures do not say whether the judge can tell; add anomalous pictures"
    )
    assert "all queries are good" in lines[-1]
    assert (tmp_path / "run/metrics.json").exists()


def test_notes_stand_in_the_metrics(tmp_path: Path) -> None:
    lamp = lamps(tmp_path / "lamps")
    stray = next(lamp.glob("*/test"))
    (stray / "loose.png").write_bytes(b"")
    ended = call("eval", "--benchmark", "folder", "--root", lamp, "--model", "always-no", "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    note = next(line for line in ended.stderr.splitlines() if "loose.png" in line).removeprefix("note: ")
    assert note in json.loads((tmp_path / "run/metrics.json").read_text())["notes"]
    assert "loose.png" in (tmp_path / "run/report.html").read_text()


def test_what_reading_changes_is_said_before_the_first_pair(tmp_path: Path) -> None:
    lamp = lamps(tmp_path / "lamps")
    queries = sorted(lamp.glob("*/test/*/*.png"))[:3]
    for path in queries:
        picture = Image.open(path).convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, 5, 5))
        picture.save(path)
    options = ("--benchmark", "folder", "--root", lamp, "--out", tmp_path / "run", "--model")
    ended = call("eval", *options, "always-no")
    assert ended.returncode == 0, ended.stderr
    said = "in 3 of 7 queries: transparent parts are shown as white"
    assert [line for line in ended.stderr.splitlines() if "transparent" in line] == [f"note: {said}"]
    assert ended.stderr.index(said) < ended.stderr.index("report: ")
    assert said in json.loads((tmp_path / "run/metrics.json").read_text())["notes"]
    assert said in (tmp_path / "run/report.html").read_text()


def test_too_many_references_are_refused_before_the_first_pair(tmp_path: Path) -> None:
    model = tiny.save_qwen(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config.get("text_config", config)["max_position_embeddings"] = 400
    (model / "config.json").write_text(json.dumps(config))
    ended = call("eval", "--model", model, "--references", 30, "--limit", 2, "--out", tmp_path / "run")
    assert ended.returncode == 1
    assert "its context has 400; give at most" in ended.stderr
    assert not (tmp_path / "run/predictions.jsonl").exists()


def test_eval_of_a_checkpoint_on_rendered_pictures(tmp_path: Path) -> None:
    model = tiny.save_qwen(tmp_path / "model")
    options = ("--limit", 2, "--references", 2, "--kinds", "good", "--votes", 3)
    done = call("eval", "--model", model, *options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert [line["pair"]["category"] for line in lines] == ["breakfast_box", "juice_bottle"]
    assert all(len(line["pair"]["references"]) == 2 and len(line["facts"]) == 3 for line in lines)
    assert all(line["verdict"]["answer"] in ("yes", "no") for line in lines)
    for verdict in (line["verdict"] for line in lines):  # the mean of three scores decides
        assert 0 < verdict["score"] < 1
        assert (verdict["score"] >= 0.5) == (verdict["answer"] == "yes") == verdict["anomalous"]
    assert json.loads((tmp_path / "run/settings.json").read_text())["model"] == f"{model} (3 votes)"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["eval", "--model", "random"], 2, "Missing option '--out'"),
        (["report", "OUT"], 1, "no such folder; give the --out folder of an evaluation"),
        (["report", "OUT", "--limit", "3"], 2, "No such option: --limit"),
        (["eval", "--out", "OUT", "--model", "random", "--votes", "3"], 1, "random: no option votes; it takes seed"),
        (["eval", "--out", "OUT", "--votes", "3"], 1, "evidence: no option votes; it takes backbone"),
        (["eval", "--out", "OUT", "--model", "luck"], 1, "luck: no such model; give evidence, micro"),
        (["eval", "--out", "OUT", "--model", "evidnce"], 1, "evidnce: no such model; did you mean evidence?"),
        (["eval", "--out", "OUT", "-M", "backbon=x"], 1, "evidence: no option backbon; did you mean backbone?"),
        (["eval", "--out", "OUT", "-M", "seed=1", "-M", "seed=2"], 2, "-M seed=2: seed is given twice; give it once"),
        (
            ["eval", "--out", "OUT", "--model", "micro", "--votes", "3", "-M", "votes=2"],
            2,
            "-M votes=2: --votes says it too; give it once",
        ),
        (["eval", "--out", "OUT", "-M", "backbone"], 1, "-M backbone: write KEY=VALUE"),
        (["eval", "--out", "OUT", "-M", "defaults=1"], 1, "-M defaults=1: no judge takes an option defaults"),
        (
            ["eval", "--out", "OUT", "--model", "random", "-M", "seed=one"],
            1,
            "option seed=one: Input should be",
        ),
        (["eval", "--out", "OUT", "--model", "april-gan"], 1, "april-gan: give its clip with -M clip="),
        (["eval", "--out", "OUT", "--model", "random", "--benchmark", "visa"], 1, "visa: give its folder with --root"),
        (["eval", "--out", "OUT", "--model", "random", "--kinds", "bad"], 1, "kind 'bad': no such kind"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    options: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(tmp_path / "run") if option == "OUT" else option for option in options]
    monkeypatch.setattr(sys, "argv", ["lad-reasoner", *given])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr().err
    assert left.value.code == code
    assert said in " ".join(told.split())
    assert "Traceback" not in told
    assert code == 2 or told.count("\n") == 1
    assert not (tmp_path / "run").exists()
