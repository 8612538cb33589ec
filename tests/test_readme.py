"""Every command (of fewer pictures) and Python line of the README and of docs/ works; every link leads somewhere."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import call
from lad_reasoner.errors import require
from lad_reasoner.judges import CHECKPOINT, FILE, JUDGES, LOADERS, SERVED, import_loader, loader_options
from lad_reasoner.train import grpo, sft
from lad_reasoner.train.settings import TrainSettings, read_recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [
    ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENCES.md", "src/lad_reasoner/weights/README.md")
]
# Pages that the documentation site generates.
GENERATED = {ROOT / "docs/reference" / name for name in ("cli.md", "config.md", "json.md", "rest.md")}

# Any setting may follow these verbs; they are read as a run would read them.
STAGES: dict[str, dict[str, Any]] = {
    "train sft": {"ours": TrainSettings, "theirs": require("trl", "train").SFTConfig, "unread": sft.UNREAD},
    "train grpo": {
        "ours": grpo.GrpoSettings,
        "theirs": require("trl", "train").GRPOConfig,
        "unread": grpo.UNREAD,
    },
}


def blocks_of(kind: str, pages: list[Path] = PAGES) -> list[str]:
    """The fenced blocks of this kind on the pages, in order."""
    pattern = re.compile(rf"^```{kind}(?: title=[^\n]*)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [block for page in pages for block in pattern.findall(page.read_text(encoding="utf-8"))]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder; it must end with 0."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def run_here(folder: Path, code: str) -> str:
    """What the code prints; in this process, which has imported what a process of its own takes seconds for."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are errors in the tests' own process alone
        exec(compile(code, "block", "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder in which `lad-reasoner demo` ran, which is what `make demo` calls, and what that said."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, str(Path(sys.executable).with_name("lad-reasoner")), "demo")


@pytest.mark.slow
def test_demo(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    found = re.findall(
        r"^(\w+): (\d+) of (\d+) verdicts right .* balanced accuracy ([\d.]+)$", done.stdout, re.MULTILINE
    )
    assert [(judge, total) for judge, _, total, _ in found] == [("evidence", "24"), ("micro", "30")]
    assert int(found[0][1]) >= 18
    told = " ".join(README.read_text(encoding="utf-8").split())
    counts = re.search(r"(\d+) of 24 by `evidence`, (\d+) of 30 by `micro`", told)
    assert counts
    # One verdict may lie so near its limit that another processor decides it.
    assert all(
        abs(int(right) - int(count)) <= 1 for (_, right, _, _), count in zip(found, counts.groups(), strict=True)
    )
    assert float(found[1][3]) > 0.5
    assert "note: micro: micro only knows rendered" in done.stderr
    report = (folder / "runs/demo/report.html").read_text()
    assert "circuit_board" in report
    assert "truth: " in done.stdout


@pytest.mark.posix
@pytest.mark.slow
def test_commands_and_python(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """In the folder of the demo, whose pictures many commands judge; the demo was a process as a shell starts it."""
    folder, _ = demo
    # The README's commands stand on the other pages too: each is run once, and the demo has run.
    commands = list(dict.fromkeys(["lad-reasoner demo", *"".join(blocks_of("sh")).splitlines()]))
    assert len(commands) >= 16
    for command in commands[1:]:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
            continue
        program, *words = shlex.split(command)
        assert program == "lad-reasoner", command
        done = call(*words, cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.stdout, command
    (code,) = blocks_of("python", [README])
    assert run(folder, sys.executable, "-c", code).stdout.startswith("True ")
    outputs = [run_here(folder, block) for block in blocks_of("python", PAGES[1:])]
    assert len(outputs) >= 3
    assert any(output.startswith("brightness ") for output in outputs)


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    table = results.partition("| data | references | AUROC | balanced accuracy")[2].partition("\n\n")[0]
    measured = {}  # (data, references) -> (AUROC, balanced accuracy of the verdict)
    for line in table.splitlines()[2:]:
        data, references, auroc, accuracy, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        measured[data, references] = auroc.split()[0], accuracy.split()[0]  # the interval stands behind
    row = r"^\| (?:`evidence`)? ?\| (.+?), ([\d /]+?)(?: references)? \| ([\d. /]+) \| ([\d. /]+) \|"
    rows = re.findall(row, README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len({data for data, _ in measured})
    for data, *cells in rows:
        numbers, accuracies, aurocs = (cell.split(" / ") for cell in cells)
        for references, accuracy, auroc in zip(numbers, accuracies, aurocs, strict=True):
            assert measured[data, references] == (auroc, accuracy), (data, references)
    micro = "balanced accuracy of **0.924** (TPR 0.884, TNR 0.963) and an AUROC of **0.940**"
    assert micro in results.replace("\n", " ")
    assert "| 92.4 | 94.0 |" in README.read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, *OTHERS]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
            linked = page.parent / target if target else page
            if linked.resolve() in GENERATED:
                continue
            assert linked.exists(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.*)", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_examples_that_are_not_run_use_real_options() -> None:
    example = r"^lad-reasoner ((?:data |train |server |station )?\w+)(.*)$"
    examples = re.findall(example, "".join(blocks_of("text")), re.MULTILINE)
    assert len(examples) >= 12
    usages: dict[str, str] = {}
    for verb, rest in examples:
        if verb in ("train sft", "train grpo"):
            config, *words = shlex.split(rest)
            read_recipe(ROOT / config, [word for word in words if word != "--resume"], **STAGES[verb])
            continue
        if verb not in usages:
            command = [Path(sys.executable).with_name("lad-reasoner"), *verb.split(), "--help"]
            usages[verb] = subprocess.run(command, capture_output=True, text=True).stdout
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in usages[verb], (verb, option)
        own = re.search(r"--model \w+:[A-Z]", rest)  # a class beside the page, which test_pages.py runs
        for key in [] if own else re.findall(r"-M (\w+)=", rest):
            assert key in loader_options(import_loader(loader_of(rest))), (rest, key)


def test_the_changelog_names_real_options() -> None:
    keys = set(re.findall(r"-M ([a-z_]+)=", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    assert len(keys) >= 10
    assert keys <= {key for name in JUDGES | LOADERS for key in loader_options(import_loader(name))}


def loader_of(example: str) -> str:
    """The line of JUDGES or LOADERS that the example's --model means."""
    (model,) = re.findall(r"--model (\S+)", example) or ["evidence"]
    if "--server" in example:
        return SERVED
    if "/" in model:  # a hub name
        return CHECKPOINT
    return FILE if model.startswith("file:") else model
