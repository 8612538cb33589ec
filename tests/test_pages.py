"""The blocks of the pages that need files, a port or time of yours: run with small ones, as they stand but for these.

A block that no test runs says why in its title.
"""

import base64
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import call
from helpers.planted import lamps
from lad_reasoner.miniloco import draw_picture

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```text( title=\"[^\"\n]+\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(
    r"^(lad-reasoner|pip|python|pytest|make|curl|docker|sudo|inspect|accelerate|vllm|uv|cd) ", re.MULTILINE
)
WHY = {
    "installs packages",
    "needs a cluster",
    "needs a plant's network",
    "needs a service",
    "needs an administrator",
    "needs data",
    "needs GPUs",
    "needs their results",
    "needs weights",
    "needs your module",
    "runs until stopped",
    "takes an hour",
}
# Page, and words of a block that a test below runs.
JUDGE = ("howto/judge.md", "brightness:Brightness")
ENGINE = ("howto/engine.md", "plain:Plain")
REWARD_DATA = ("howto/reward.md", "data pairs")
REWARD = ("howto/reward.md", "train grpo")
FOLDERS = ("howto/benchmark.md", "--benchmark folder")
MANIFEST = ("howto/benchmark.md", "--benchmark manifest")
FIXED = ("howto/benchmark.md", "--references-file")
TEXT = ("inspect.md", "-M text=true")
SCALE = ("scale.md", "benchmarks/scale.py")
ZONES = ("station.md", "station zones")
RULES = ("station.md", "station rules")
SECOND_LOOK = ("station.md", "--second-look micro")
SERVE = ("serve.md", "lad-reasoner serve bottle\n")
ONE = ("serve.md", "picture=@part.png\n")
BASE64 = ("serve.md", "iVBORw0KGgo")
NO_STATION = ("serve.md", "reference=@good1.png")
BATCH = ("serve.md", "v1/batch")
HISTORY = ("serve.md", "inspections?outcome")
TABLE = ("serve.md", "history.csv' -o")
TEACH = ("serve.md", "changes/1/apply")
SERVED_ZONES = ("serve.md", "bottle/zones")
SERVED_RULES = ("serve.md", "bottle/rules")
KEYS = ("serve.md", "lad-reasoner key")
KEPT = ("serve.md", "--keep-good")
RUN = [
    *(JUDGE, ENGINE, REWARD_DATA, REWARD, FOLDERS, MANIFEST, FIXED, TEXT, SCALE, ZONES, RULES, SECOND_LOOK),
    *(SERVE, ONE, BASE64, NO_STATION, BATCH, HISTORY, TABLE, TEACH, SERVED_ZONES, SERVED_RULES, KEYS, KEPT),
]

pytestmark = pytest.mark.posix


def find(block: tuple[str, str]) -> str:
    """The text of the first block of the page that has these words."""
    page, words = block
    texts = [text for _, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))]
    return next(text for text in texts if words in text)


def commands(block: tuple[str, str], replaced: Mapping[str, str] | None = None) -> list[str]:
    """The commands of a block, one a line, but for `pip`; `replaced` maps what the page says to what is run."""
    text = find(block).replace("\\\n", " ")
    for old, new in (replaced or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    return [line for line in text.splitlines() if not line.startswith("pip ")]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run(folder: Path, *lines: str) -> str:
    """Run each line as a shell would, our own command in this process; returns the stdout of the last."""
    for line in lines:
        program, *words = shlex.split(line)
        if program == "lad-reasoner" and "--ray" not in words:  # a cluster is a process's own
            done = call(*words, cwd=folder)
        else:
            done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def save(folder: Path, product: str, **names: tuple[str, str, int]) -> None:
    """Rendered pictures as NAME.png, each (split, kind, number)."""
    for name, (split, kind, number) in names.items():
        draw_picture(product, split, kind, number).image.save(folder / f"{name}.png")


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    ran = 0
    for page in PAGES:
        for title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if title:
                assert title.removeprefix(' title="').removesuffix('"') in WHY, (page, title)
            elif COMMAND.search(text):
                ran += 1
                assert any(page == DOCS / name and words in text for name, words in RUN), (page, text)
    assert ran == len(RUN)


@pytest.fixture(autouse=True)
def no_module_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's module is found in the current folder, which is another one in each test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("brightness", "plain", "mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_own_judge(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/brightness.py", tmp_path)
    save(tmp_path, "bolt_plate", good=("train", "good", 0), query=("test", "good", 0))
    run(tmp_path, *commands(JUDGE))
    assert len((tmp_path / "runs/brightness/predictions.jsonl").read_text().splitlines()) == 20


@pytest.mark.slow
def test_own_engine(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/plain.py", tmp_path)
    save(tmp_path, "bolt_plate", good=("train", "good", 0), query=("test", "logical", 0))
    run(tmp_path, *commands(ENGINE, {"--limit 20": "--limit 4"}))
    lines = (tmp_path / "runs/plain/predictions.jsonl").read_text().splitlines()
    answers = [json.loads(line)["verdict"]["answer"] for line in lines]
    assert len(answers) == 4
    assert "invalid" not in answers


@pytest.mark.slow
def test_own_reward(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/mine.py", tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    run(tmp_path, *commands(REWARD_DATA, {"--per-class 20": "--per-class 2"}))
    (line,) = commands(REWARD)
    run(tmp_path, f"{line} --max_steps 1 --num_generations 2 --per_device_train_batch_size 2")
    (state,) = (tmp_path / "runs/short").glob("checkpoint-*/trainer_state.json")
    assert any("rewards/short/mean" in logged for logged in json.loads(state.read_text())["log_history"])


@pytest.mark.slow
def test_own_benchmark(tmp_path: Path) -> None:
    lamps(tmp_path / "my_pictures")
    run(tmp_path, *commands(FOLDERS, {"--references 4": "--references 2"}))
    for name in ("good/1", "good/2", "new/001", "new/002"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kind = "logical" if name == "new/001" else "good"
        draw_picture("bolt_plate", "test", kind, int(name[-1])).image.save(tmp_path / f"{name}.png")
    (tmp_path / "pairs.csv").write_text(find(("howto/benchmark.md", "query,references")))
    run(tmp_path, *commands(MANIFEST))
    assert len((tmp_path / "runs/manifest/predictions.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_fixed_references(tmp_path: Path) -> None:
    """MVTec AD's layout, with rendered pictures."""
    bottle = tmp_path / "mvtec_anomaly_detection/bottle"
    folders = {"train/good": ("train", "good"), "test/good": ("test", "good"), "test/broken_large": ("test", "logical")}
    for folder, (split, kind) in folders.items():
        (bottle / folder).mkdir(parents=True)
        for number in range(2):
            draw_picture("bolt_plate", split, kind, number).image.save(bottle / folder / f"{number:03}.png")
    (tmp_path / "references.txt").write_text("# the one\nbottle/train/good/001.png\n")
    run(tmp_path, *commands(FIXED))
    lines = (tmp_path / "runs/fixed/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["pair"]["references"] for line in lines] == [["bottle/train/good/001.png"]] * 4


@pytest.mark.slow
def test_text_on_the_product(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    save(tmp_path, "bolt_plate", good=("train", "good", 0), query=("test", "good", 0))
    assert "1 judged" in run(tmp_path, *commands(TEXT))


@pytest.mark.slow
def test_a_million_pictures(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    told = run(tmp_path, *commands(SCALE, {"--per-class 60": "--per-class 8", "--pictures 1000000": "--pictures 1000"}))
    assert "| 64 |" in told


@pytest.mark.slow
def test_zones_rules_and_a_second_look(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures/circuit_board/test/good"
    pictures.mkdir(parents=True)
    for index in range(1, 22):
        draw_picture("circuit_board", "test", "good", index).image.save(pictures / f"{index:03}.png")
    create = "lad-reasoner station create --model pixel-difference --reference 'pictures/*/test/good/001.png'"
    run(tmp_path, f"{create} --normal 'pictures/*/test/good/00[2-9].png' -o board --max-false-alarms 0.2")
    width, height = size(tmp_path / "board/references/0001.png")
    (tmp_path / "zones.svg").write_text(find(("station.md", "<svg ")))
    mask = np.zeros((height, width), np.uint8)
    mask[:20, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    run(tmp_path, *commands(ZONES))
    told = run(tmp_path, "lad-reasoner station show board")
    assert all(name in told for name in ("date", "fixture"))
    run(tmp_path, *commands(RULES))
    assert 'broken = "anomalous"' in (tmp_path / "board/station.toml").read_text()
    assert "1 judged" in run(tmp_path, *commands(SECOND_LOOK))


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(folder: Path, line: str, port: int) -> Iterator[None]:
    """Run the line until the end of the block; it listens on this port when the block begins."""
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=folder, env=environment(), stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 120
            while not listens(port):
                assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait(60)


def ask(folder: Path, lines: list[str]) -> list[Any]:
    """The answers to each `curl`, read as JSON; None for a file."""
    answers = [run(folder, line) for line in lines]
    told = [json.loads(answer) if answer else None for answer in answers]
    assert not any(isinstance(answer, Mapping) and "error" in answer for answer in told), told
    return told


def wait_for_preview(folder: Path, look: str) -> None:
    deadline = time.monotonic() + 120
    while ask(folder, [look])[0]["state"] == "preparing":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(folder, [look])[0]["state"] == "preview", run(folder, look)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_page_about_serving(tmp_path: Path) -> None:
    names = {f"good{number}": ("train", "good", number) for number in (1, 2)}
    save(tmp_path, "bolt_plate", **names)
    for number in (1, 2):
        shutil.copy(tmp_path / f"good{number}.png", tmp_path / f"{number}.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = {"127.0.0.1:8000": f"127.0.0.1:{port}"}
    *make, serve = commands(SERVE)
    run(tmp_path, *make)
    with started(tmp_path, f"{serve} --port {port}", port):
        for number in range(23):  # each is another: the same picture cannot become two references
            save(tmp_path, "bolt_plate", part=("test", "good", 100 + number))
            (one,) = ask(tmp_path, commands(ONE, here))
        assert (one["id"], one["part"], one["outcome"]) == (23, "4711", "good")
        picture = base64.b64encode((tmp_path / "part.png").read_bytes()).decode()
        (tmp_path / "body.json").write_text(
            re.search(r"-d '(.*)'", commands(BASE64)[0])[1].replace("iVBORw0KGgo…", picture)
        )  # type: ignore[index]
        line = re.sub(r"-d '.*'", "-d @body.json", commands(BASE64, here)[0])  # a shell's line is not that long
        assert ask(tmp_path, [line])[0]["verdict"]["score"] == one["verdict"]["score"]
        assert ask(tmp_path, commands(NO_STATION, here))[0]["id"] == 0
        lines = run(tmp_path, *commands(BATCH, here)).splitlines()
        assert [json.loads(line)["part"] for line in lines] == ["4711", "4712"]
        _, _, inspections, _, feedback = ask(tmp_path, commands(HISTORY, here))
        assert (len(inspections), bool(feedback)) == (25, True)
        run(tmp_path, *commands(TABLE, here))
        head, *rows = (tmp_path / "history.csv").read_text(encoding="utf-8-sig").splitlines()
        assert head.startswith('"id","time","part","outcome"') and len(rows) == 26
        assert size(tmp_path / "17.png") == size(tmp_path / "part.png")
        propose, look, *rest = commands(TEACH, here)
        ask(tmp_path, [propose])
        wait_for_preview(tmp_path, look)
        ask(tmp_path, rest)
        ask(tmp_path, commands(SERVED_ZONES, here))
        wait_for_preview(tmp_path, look.replace("changes/1", "changes/2"))
        ask(tmp_path, commands(SERVED_RULES, here))
    operator, engineer, serve, look = commands(KEYS, {"plant-pc:8000": f"127.0.0.1:{port}"})
    keys = [run(tmp_path, line).split()[-1] for line in (operator, engineer)]
    with started(tmp_path, f"{serve} --port {port}", port):
        assert "error" in run(tmp_path, look)
        for key in keys:
            assert ask(tmp_path, [look.replace("KEY", key)])
    (serve,) = commands(KEPT)
    with started(tmp_path, f"{serve} --port {port}", port):
        assert ask(tmp_path, commands(HISTORY, here)[:1])
