"""The command line as a shell sees it: output, exit codes, and one clear line for every fault."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers import tiny
from helpers.command_line import COMMAND, call
from helpers.shots import shot
from lad_reasoner.records import Verdict
from lad_reasoner.version import __version__


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "reference").mkdir()
    (folder / "query").mkdir()
    for i in range(2):
        shot("good", i, split="train").image.save(folder / f"reference/{i}.png")
    shot("good", 1).image.save(folder / "query/good.png")
    shot("logical", 4).image.save(folder / "query/bad.png")
    return folder


def test_json_lines_in_order(folder: Path) -> None:
    done = run("inspect", "-r", "reference", "query/good.png", "query", "--json", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == ""
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["query"] for verdict in verdicts] == ["query/good.png", "query/bad.png", "query/good.png"]
    assert [verdict["answer"] for verdict in verdicts] == ["no", "yes", "no"]
    assert verdicts[1]["boxes"][0].keys() == {"x", "y", "width", "height", "strength"}
    assert verdicts[0]["references"] == ["reference/0.png", "reference/1.png"]


def test_csv(folder: Path) -> None:
    done = call(
        "inspect",
        "-r",
        "reference/0.png",
        "-r",
        "reference/1.png",
        "query/bad.png",
        "query/no.png",
        "--csv",
        cwd=folder,
    )
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [(row["answer"], row["anomalous"]) for row in rows] == [
        ("yes", "True"),
        ("invalid", ""),
    ]  # never taken for good
    assert rows[0]["references"] == "reference/0.png;reference/1.png"
    assert rows[1]["error"] == "query/no.png: no such file"
    x, _, width, _ = map(int, rows[0]["boxes"].split()[0].split(":"))
    assert 0 <= x < x + width <= 385
    assert done.returncode == 1


def test_table_out_and_fail_on_anomaly(folder: Path) -> None:
    done = call("inspect", "-r", "reference/*.png", "query", "--out", "out", "--fail-on-anomaly", cwd=folder)
    assert done.returncode == 3
    assert "ANOMALOUS" in done.stdout
    assert "2 judged, 1 anomalous, 0 not judged" in done.stdout
    assert "Compared patch by patch" not in done.stdout  # the headline stands for it
    headlines = [json.loads(line)["headline"] for line in (folder / "out/verdicts.jsonl").read_text().splitlines()]
    assert headlines[1].startswith("Nothing stands out")
    assert "missing" not in done.stdout  # of the good one; the bad one has something added
    assert " ".join(headlines[0].split()[:3]) in " ".join(done.stdout.split())
    told = call("inspect", "-r", "reference/*.png", "query", "--verbose", cwd=folder).stdout
    assert " ".join(told.split()).count("Compared patch by patch") == 2
    assert done.stderr == "report: out/report.html\n"
    lines = (folder / "out/verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["yes", "no"]
    assert all("Compared patch by patch" in json.loads(line)["details"] for line in lines)
    assert Verdict.model_fields.keys() <= json.loads(lines[0]).keys()
    assert "query/bad.png" in (folder / "out/report.html").read_text()
    assert call("inspect", "-r", "reference", "query/good.png", "--fail-on-anomaly", cwd=folder).returncode == 0


def test_a_query_that_is_a_reference_is_told(folder: Path) -> None:
    done = call("inspect", "--model", "random", "-r", "reference", "reference/0.png", "query/good.png", cwd=folder)
    assert done.returncode == 0
    assert "note: 1 of 2 queries are references too: such a verdict compares a picture with itself" in done.stderr


def test_bad_queries_are_named_and_the_others_judged(folder: Path, tmp_path: Path) -> None:
    files = {
        "empty.png": b"",
        "fake.jpg": b"<html>404</html>",
        "cut.png": (folder / "query/good.png").read_bytes()[:3000],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("1", (10_000, 9_000)).save(tmp_path / "huge.png")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    shutil.copy(folder / "query/bad.png", tmp_path / "z_bad.png")
    (tmp_path / "hollow").mkdir()
    done = run("inspect", "-r", folder / "reference", "hollow", "*.webp", "gone.png", ".", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    results = {line["query"]: line for line in map(json.loads, done.stdout.splitlines())}
    reasons = {
        "hollow": "no pictures in this folder",
        "*.webp": "no file matches",
        "gone.png": "no such file",
        "empty.png": "the file is empty",
        "fake.jpg": "not a picture",
        "cut.png": "damaged",
        "one.png": "too small",
        "huge.png": "at most 80 megapixels",
        "film.gif": "more than one frame",
    }
    assert results.keys() == {*reasons, "z_bad.png"}
    for query, reason in reasons.items():
        assert reason in results[query]["error"]
        assert results[query]["error"].startswith(query)
    assert results["z_bad.png"]["answer"] == "yes"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.set_scope(tiny.save_qwen(tmp_path_factory.mktemp("models") / "discs"), "It only knows <discs>.")


def test_what_a_model_was_made_for_is_said_once(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    done = run("inspect", "-r", "reference", "query", "--model", checkpoint, "--json", "--out", tmp_path, cwd=folder)
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["note: It only knows <discs>.", f"report: {tmp_path}/report.html"]
    assert [json.loads(line)["boxes"] for line in done.stdout.splitlines()] == [[], []]
    assert (tmp_path / "report.html").read_text().count("It only knows &lt;discs&gt;.") == 1


def test_evidence_beside_a_model(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    args = ("inspect", "-r", "reference", "query/bad.png", "--model", checkpoint)
    alone = json.loads(call(*args, "--json", cwd=folder).stdout)
    done = call(*args, "--evidence", "--json", "--out", tmp_path, cwd=folder)
    verdict = json.loads(done.stdout)
    changed = {key for key in alone if verdict[key] != alone[key]} - {"seconds"}
    assert changed == {"boxes", "boxes_from", "notes"}  # the notes say whose boxes they are
    assert verdict["boxes"] == json.loads(call(*args[:4], "--json", cwd=folder).stdout)["boxes"] != []
    origin = f"Map and boxes come from evidence, everything else from {checkpoint}."
    assert done.stderr.splitlines()[:2] == ["note: It only knows <discs>.", f"note: {origin}"]
    html = (tmp_path / "report.html").read_text()
    assert origin in html
    assert "· map and boxes from evidence" in html
    assert '<img alt="" src="data:image/png' in html
    assert 'class="box"' in html
    rows = list(csv.DictReader(call(*args, "--evidence", "--csv", cwd=folder).stdout.splitlines()))
    assert [(row["boxes_from"], row["model"]) for row in rows] == [("evidence", str(checkpoint))]
    assert "--evidence" in call("inspect", "--help").stdout


def test_reasoning_and_precision_are_flags(folder: Path, checkpoint: Path) -> None:
    args = ("inspect", "-r", "reference", "query/bad.png", "--model", checkpoint, "--json")
    done = call(*args, "--reasoning", "never", "--dtype", "bfloat16", cwd=folder)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["model"] == f"{checkpoint} (reasoning never)"
    assert verdict["reasoning"] == "..."
    (note,) = [note for note in verdict["notes"] if "bfloat16" in note]
    assert f"note: {note}" in done.stderr
    refused = call(*args, "--reasoning", "often", cwd=folder)
    assert refused.returncode == 1
    assert "option reasoning=often: Input should be 'always', 'flagged' or 'never'" in refused.stderr
    assert "option dtype=8" in call(*args, "--dtype", "8", cwd=folder).stderr


def test_a_backbone_beside_a_model_is_that_of_evidence(folder: Path, checkpoint: Path) -> None:
    args = ("inspect", "-r", "reference", "query/bad.png", "--model", checkpoint, "-M", "backbone=nowhere")
    refused, missing = call(*args, cwd=folder), call(*args, "--evidence", cwd=folder)
    assert (refused.returncode, missing.returncode) == (1, 1)
    taken = "votes, max_pixels, device, reasoning_tokens, batch_size, dtype, reasoning, flag_limit, engine"
    assert refused.stderr == f"lad-reasoner: {checkpoint}: no option backbone; it takes {taken}\n"
    assert "nowhere: no such model" in missing.stderr
    assert missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["inspect", "query/good.png"], 2, "--reference"),
        (["inspect", "-r", "reference"], 2, "QUERY"),
        (["inspect", "-r", "reference", "query", "--json", "--csv"], 2, "exclude each other"),
        (["inspect", "-r", "reference", "query", "--evidence"], 2, "--evidence is for another --model"),
        (["inspect", "-r", "reference", "query", "--colour"], 2, "No such option"),
        (["inspect", "-r", "gone.png", "query"], 1, "gone.png: no such file"),
        (["inspect", "-r", "empty", "query"], 1, "empty: no pictures in this folder"),
        (["inspect", "-r", "reference", "query", "--model", "nowhere"], 1, "nowhere"),
        (["inspect", "-r", "reference", "query", "-M", "backbone=nowhere"], 1, "nowhere: no such model"),
        (["inspect", "-r", "reference", "query", "--out", "query/good.png"], 1, "--out query/good.png"),
        (["data", "miniloco", "drawn", "--products", "teapot"], 1, "teapot"),
        (["teapot"], 2, "teapot"),
    ],
)
def test_faults_are_one_clear_line(args: list[str], code: int, message: str, folder: Path) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    done = call(*args, cwd=folder)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if code == 1:
        assert done.stderr.startswith("lad-reasoner: ")
        assert done.stderr.count("\n") == 1


def _child_seconds() -> float:
    """Processor time of what has run and ended, since a busy machine takes several times as long by the clock."""
    times = os.times()
    return times.children_user + times.children_system


def test_help_is_quick_and_every_example_is_there() -> None:
    assert run("--help").returncode == 0  # compiles what is not compiled yet
    seconds = []
    for _ in range(5):
        start = _child_seconds()
        assert "inspect" in run("--help").stdout
        seconds.append(_child_seconds() - start)
    assert min(seconds) < 0.4
    for verb in (["inspect"], ["demo"], ["data", "miniloco"], ["data", "review"]):
        text = call(*verb, "--help").stdout
        assert f"Example: lad-reasoner {' '.join(verb)}" in " ".join(text.split())


def test_arguments_in_help_read_as_they_are_typed() -> None:
    assert "Usage: lad-reasoner inspect [OPTIONS] QUERY...\n" in call("inspect", "--help").stdout
    assert "Usage: lad-reasoner serve [OPTIONS] [STATION...]\n" in call("serve", "--help").stdout
    pages = [call(*verb, "--help").stdout for verb in (["inspect"], ["station", "show"], ["data", "sft"], ["key"])]
    assert not any(re.search(r"<(str|path|list)|\{[A-Z]", page) for page in pages), "types of Python"


@pytest.mark.posix
def test_what_a_folder_holds_beside_pictures_is_named_and_counted(folder: Path, tmp_path: Path) -> None:
    """Damaged files, links without a target and pipes end as one line each; their neighbours are judged."""
    queries = tmp_path / "queries"
    queries.mkdir()
    shutil.copy(folder / "query/good.png", queries / "a_good.png")
    shutil.copy(folder / "query/bad.png", queries / "z_bad.png")
    page = Image.open(folder / "query/good.png").resize((40, 30))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    data = (tmp_path / "pages.tif").read_bytes()
    (queries / "cut.tif").write_bytes(data[: len(data) * 2 // 5])
    page.save(queries / "script.png", "EPS")
    (queries / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(queries / "pipe.png")
    (queries / "IMG_1.MOV").write_bytes(b"x")
    (queries / "notes.txt").write_text("x")
    done = run("inspect", "-r", folder / "reference", queries, "--json", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({tuple(line) for line in lines}) == 1  # verdicts and failures have the same keys
    judged = {Path(line["query"]).name: line["answer"] for line in lines if not line["error"]}
    failed = [Path(line["query"]).name for line in lines if line["error"]]
    assert judged == {"a_good.png": "no", "z_bad.png": "yes"}
    assert failed == ["cut.tif", "gone.png", "pipe.png", "script.png"]
    said = "2 files in folders were passed over (1 x .mov, 1 x .txt): IMG_1.MOV, notes.txt"
    assert done.stderr.count(said) == 1
    assert said in (tmp_path / "out/report.html").read_text()


def test_what_reading_changes_is_said_once_before_the_first_verdict(folder: Path, tmp_path: Path) -> None:
    """With its number, in the terminal, in every line of JSON, and in the report."""
    queries = tmp_path / "queries"
    queries.mkdir()
    for number, name in enumerate(("good.png", "bad.png", "good.png")):
        picture = Image.open(folder / "query" / name).convert("RGBA")
        if number < 2:
            picture.paste((0, 0, 0, 0), (0, 0, 9, 9))
        picture.save(queries / f"{number}.png")
    said = "in 2 of 3 queries: transparent parts are shown as white"
    command = ("inspect", "-r", folder / "reference", queries)
    done = call(*command, "--json", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(said) == 1
    assert all(said in json.loads(line)["notes"] for line in done.stdout.splitlines())
    assert said in (tmp_path / "out/report.html").read_text()
    kept = (tmp_path / "out/verdicts.jsonl").read_text().splitlines()
    assert all(said in json.loads(line)["notes"] for line in kept)
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}  # so that both streams are in the order of a terminal
    both = subprocess.run(
        [COMMAND, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=unbuffered
    )
    seen = both.stdout
    assert seen.count(said) == 1
    assert seen.index(said) < seen.index("0.png")


def test_too_many_references_are_refused_before_anything_is_read(folder: Path) -> None:
    first = next(iter(sorted((folder / "reference").iterdir())))
    references = [word for _ in range(120) for word in ("-r", first)]
    done = run("inspect", "--model", "micro", *references, folder / "query")
    assert (done.returncode, done.stdout) == (1, "")
    assert "studying" not in done.stderr
    assert "Token indices" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "context" in line]
    assert "120 references and a query" in line
    assert re.search(r"give at most \d+ references", line)


def test_names_that_are_no_text_and_names_that_are_none(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "query/good.png", os.fsencode(tmp_path) + b"/b\xffd.png")
    shutil.copy(folder / "query/good.png", tmp_path / "z <b>\n.png")
    done = run(
        "inspect", "-r", folder / "reference", ".", "a" * 300 + ".png", "", "--json", "--out", "out", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["query"] for line in lines] == ["b\\udcffd.png", "z <b>\n.png", "a" * 300 + ".png", ""]
    assert [line.get("answer") for line in lines] == ["no", "no", "invalid", "invalid"]
    assert lines[3]["error"].startswith("the name is empty")
    assert "z &lt;b&gt;" in (tmp_path / "out/report.html").read_text()


@pytest.mark.posix
def test_output_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for args in (["demo", "--out", "file"], ["data", "miniloco", "file", "--products", "pushpins"]):
        done = call(*args, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "file: File exists; choose a folder that can be written" in done.stderr
    with Path("/dev/full").open("w") as full:
        command = [
            COMMAND,
            "inspect",
            "-r",
            folder / "reference",
            folder / "query",
            "--json",
            "--out",
            tmp_path / "out",
        ]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert len((tmp_path / "out/verdicts.jsonl").read_text().splitlines()) >= 1  # what was judged is kept


INTERRUPTED = """
import os, signal, time
from lad_reasoner.cli import app

def verb(**_):
    try:
        os.kill(os.getpid(), signal.NAME)
        time.sleep(60)
    finally:
        print("saving", flush=True)
        os.kill(os.getpid(), signal.NAME)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the suite runs in the background
app.app = verb
app.main()
"""


@pytest.mark.posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_second_interrupt_ends_at_once_and_without_a_traceback(name: str, code: int) -> None:
    program = INTERRUPTED.replace("NAME", name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (code, "saving\n", "")


STOPPED = """
import os, signal, time
from lad_reasoner import Judgement

class Stopped:
    name, prompt_version, batch_size, notes, parameters = "stopped", "stopped-1", 1, (), None
    left = 2

    def judge(self, pairs):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return [Judgement("yes", 0.9)]
"""


@pytest.mark.posix
def test_what_is_stopped_by_sigterm_leaves_a_report_that_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED)
    judge = ("--model", "stopped:Stopped", "--out", "out")
    queries = [folder / "query/good.png", folder / "query/bad.png"] * 3
    done = run("inspect", "-r", folder / "reference", *judge, *queries, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (143, False)
    written = len((tmp_path / "out/verdicts.jsonl").read_text().splitlines())
    assert 1 <= written < 6
    page = (tmp_path / "out/report.html").read_text()
    queries = "the query" if written == 1 else f"the {written} queries"
    assert f"interrupted: this report has {queries} that came before" in page
    shutil.rmtree(tmp_path / "out")
    done = run("eval", "--benchmark", "miniloco", "--limit", 9, *judge, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (143, False)
    assert "the same command resumes the run" in done.stderr
    page = (tmp_path / "out/report.html").read_text()
    assert re.search(r"interrupted or is still at work: [12] of \d+ pairs are judged so far", page)


def test_terminals_without_blocks(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [COMMAND, "inspect", "-r", folder / "reference", folder / "query/bad.png"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert "ANOMALOUS" in done.stdout


def test_version() -> None:
    assert run("--version").stdout == f"lad-reasoner {__version__}\n"


def test_miniloco(tmp_path: Path) -> None:
    done = call("data", "miniloco", tmp_path / "out", "--products", "pushpins", "--per-class", 2, "--size", 96)
    assert done.returncode == 0
    assert done.stdout.startswith("10 pictures of pushpins")
    assert len(list((tmp_path / "out/pushpins/test/logical_anomalies").glob("*.png"))) == 2
    again = call("data", "miniloco", tmp_path / "out", "--products", "pushpins", "--per-class", 2)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_a_picture_that_lies_across_is_told(tmp_path: Path) -> None:
    colours = Image.effect_noise((64, 48), 60).convert("RGB")
    colours.save(tmp_path / "good.png")
    colours.rotate(90, expand=True).save(tmp_path / "lying.png")
    command = ("inspect", "-r", tmp_path / "good.png", tmp_path / "lying.png", tmp_path / "good.png")
    done = call(*command, "--model", "always-no", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    said = "1 query lies across, landscape beside portrait or the other way round: turn by a quarter: "
    assert f"note: {said}" in done.stderr
    assert said in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_few_references_and_mostly_anomalous_queries_are_told_once_at_the_end(folder: Path, tmp_path: Path) -> None:
    def inspect(good: int, bad: int, references: int) -> tuple[str, str]:
        queries = [folder / f"query/{name}.png" for name in ["good"] * good + ["bad"] * bad]
        given = [word for number in range(references) for word in ("-r", folder / f"reference/{number % 2}.png")]
        done = call("inspect", *given, *queries, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        return done.stderr, (tmp_path / "out/report.html").read_text(encoding="utf-8")

    said = (
        "5 of 8 queries are anomalous by 1 reference: how much is normal is guessed from so few; where good ones are "
        "among them, give 4 references or more"
    )
    told, report = inspect(3, 5, 1)
    assert [line for line in told.splitlines() if "anomalous by" in line] == [f"note: {said}"]
    assert report.count(said) == 1
    for good, bad, references in ((4, 4, 1), (2, 5, 1), (3, 5, 4)):  # no more than half, too few queries, enough
        assert "anomalous by" not in inspect(good, bad, references)[0]


def test_garbage_is_searched_for_less_often_and_not_at_the_end() -> None:
    program = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 1000))\n"  # runs last
        "from lad_reasoner.cli.app import main\n"
        "sys.argv = ['lad-reasoner', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "10000 True"
