"""The verbs that write, for the drills that disturb them: what each needs, how it is started, and what it leaves."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drill_common import command


def files_of(folder: Path, written_as: Path | None = None) -> dict[str, object]:
    """What a folder holds, without its path, times and what a run learns only about itself; of pages only their names.

    `written_as` is the path that it had when it was written.
    """
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and path.suffix == ".part":
            content[name] = "what a kill left"
        if path.is_dir() or name.startswith(".") or "/." in name:
            continue
        if path.suffix in (".html", ".pt", ".pth", ".bin", ".md") or path.name in ABOUT_ITSELF:
            content[name] = ""
        elif path.suffix in (".json", ".jsonl", ".toml", ".yaml", ".sh"):
            text = TIMES.sub("", path.read_text(encoding="utf-8").replace(str(written_as or folder), ""))
            # The workers of `inspect --ray` hand in their units in any order.
            content[name] = sorted(text.splitlines()) if path.name.startswith("part-") else text
        else:
            content[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return content


ABOUT_ITSELF = ("metrics.json", "run.json", "trainer_state.json", "check.json", "hashes.json")
TIMES = re.compile(r'"seconds":[0-9.e-]+,?|^made = .*$', re.MULTILINE)

# Verb that changes a folder -> the folder of the stock that it begins with
CHANGED = {"report": "run", "station calibrate": "station", "station zones": "station", "station rules": "station"}
# Verb that writes and is not killed here -> why
NOT_KILLED = {
    "data review": "tests/data/review/test_page.py kills it",
    "key": "writes one file, whole, with another key each time",
    "serve": "the drill `server`",
    "station test": "appends a line of its own each time",
    "watch": "the drill `watch`",
}

Verb = Callable[[Path], Sequence[object]]  # folder that it writes -> words of the command


def writing_verbs(stock: Path, seed: int = 0) -> dict[str, Verb]:
    """Every verb that writes a folder and ends, with what it needs in `stock`."""
    from helpers.planted import lamps
    from helpers.stations import grey_pictures

    lamps(stock / "lamps", good=20, bad=20)
    grey_pictures(stock / "good", [100])
    grey_pictures(stock / "normal", range(101, 121))
    judged = ["eval", "--benchmark", "folder", "--root", stock / "lamps", "--model"]
    miniloco = ["data", "miniloco", "--products", "bolt_plate,screw_bag", "--per-class", 3, "--size", 64]
    for words in (
        [*miniloco, stock / "m"],
        ["data", "pairs", stock / "lamps", "--out", stock / "pairs"],
        [*judged, "pixel-difference", "--out", stock / "run"],
        [*judged, "always-no", "--out", stock / "other"],
    ):
        subprocess.run(command(*words), check=True, capture_output=True)
    create = ["station", "create", "--references", stock / "good", "--normal", stock / "normal"]
    create += ["--max-false-alarms", 0.1, "--model", "pixel-difference", "-o"]
    subprocess.run(command(*create, stock / "station"), check=True, capture_output=True)
    (stock / "zones.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect class="ignore" width="8" height="8"/></svg>'
    )

    def changing(verb: str, *words: object) -> Verb:
        """A verb that changes a folder, which is a copy of one in the stock."""

        def words_of(out: Path) -> Sequence[object]:
            if not out.exists():
                shutil.copytree(stock / CHANGED[verb], out)
            return [*verb.split(), out, *words]

        return words_of

    return {
        "inspect": lambda out: [
            "inspect",
            "-r",
            stock / "lamps/lamp/train/good",
            stock / "lamps/lamp/test",
            "--out",
            out,
        ],
        "eval": lambda out: [*judged, "pixel-difference", "--out", out],
        "report": changing("report"),
        "compare": lambda out: ["compare", stock / "run", stock / "other", "--out", out],
        "data miniloco": lambda out: [*miniloco, out],
        "data sft": lambda out: ["data", "sft", stock / "m", "--teacher", "offline", "--out", out],
        "data pairs": lambda out: ["data", "pairs", stock / "lamps", "--out", out],
        "data export": lambda out: ["data", "export", stock / "pairs", "--to", "easyr1", "--model", "m", "--out", out],
        "station create": lambda out: [*create, out],
        "station calibrate": changing("station calibrate", "--max-false-alarms", 0.2),
        "station zones": changing("station zones", "--svg", stock / "zones.svg", "--clear"),
        "station rules": changing("station rules"),
    }


def slow_verbs(stock: Path, seed: int = 0) -> dict[str, Verb]:
    """Both stages with a tiny model, and the pretraining of one; and what is slow, too."""
    from helpers import tiny
    from helpers.stations import grey_pictures, grey_station
    from helpers.tutored import build, write_recipe

    verbs: dict[str, Verb] = {}
    for stage, task in (("sft", "sft"), ("grpo", "pair")):
        folder = stock / stage
        tiny.save_qwen(folder / "model")
        build(folder / "data", task=task, records=6)
        more = {"num_generations": 4, "max_completion_length": 48, "beta": 0.01} if stage == "grpo" else {}
        batch = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 1, "use_cpu": "true"}
        recipe = write_recipe(folder, **{**batch, **more})
        words = ("train", stage, recipe, "--output_dir")
        verbs[f"train {stage}"] = lambda out, words=words: [*words, out, *["--resume"] * out.exists()]

    def micro(out: Path) -> Sequence[object]:
        out.parent.mkdir(parents=True, exist_ok=True)
        config = out.with_name(f"{out.name}.yaml")
        config.write_text(f"out: {out}\n{SMALL_MICRO}", encoding="utf-8")
        return ["train", "micro", config]

    grey_station(stock, normals=0, judge="evidence", max_false_alarms=None)
    grey_pictures(stock / "many", [100, 250] * 100)
    bulk = ["inspect", "--ray", "local", "--workers", 1, "-r", stock / "good", "--model", "pixel-difference"]
    return verbs | {
        "train micro": micro,
        "demo": lambda out: ["demo", "--out", out],
        "inspect --ray": lambda out: [*bulk, "--out", out, stock / "many"],
        "export": lambda out: ["export", "--station", stock / "station", "--edge", out],
    }


SMALL_MICRO = """
seed: 0
size: 112
chunk: 6
product_chunks: 1
family_chunks: 1
fresh_chunks: 1
responses: 4
workers: 2
compile: false
singles: 0.3
vision_width: 64
vision_depth: 2
text_width: 128
text_depth: 2
vision: {steps: 4, batch: 2, lr: 1.0e-3}
language: {steps: 4, batch: 2, lr: 1.0e-3}
trust: {steps: 4, batch: 2, lr: 1.0e-3}
"""

PRELOADED = ("lad_reasoner.cli.app", "trl", "lad_reasoner.train.trainer", "lad_reasoner.judges.evidence.judge")


def start_verb(words: Sequence[object], said: Path) -> Any:
    """A run of `lad-reasoner WORDS` whose stderr goes to the file."""
    from helpers.bound import Forked

    return Forked([str(word) for word in words], said=said, preloaded=PRELOADED)


def folder_of(verb: str) -> str:
    """Without spaces: a file that holds a command would quote a path with some."""
    return verb.replace(" ", "-")
