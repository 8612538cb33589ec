"""Every command and every Python line of the README works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lad_reasoner.errors import require
from lad_reasoner.train import grpo, sft
from lad_reasoner.train.settings import TrainSettings, read_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)

# Any setting may follow these verbs; they are read as a run would read them.
STAGES: dict[str, dict[str, Any]] = {
    "train sft": {"ours": TrainSettings, "theirs": require("trl", "train").SFTConfig, "unread": sft.UNREAD},
    "train grpo": {
        "ours": grpo.GrpoSettings,
        "theirs": require("trl", "train").GRPOConfig,
        "unread": grpo.UNREAD,
    },
}


@pytest.mark.slow
def test_commands_and_python(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("lad-reasoner", "demo")  # what `make demo` calls
    commands = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    assert len(commands) >= 6
    for command in commands:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        else:
            assert run("sh", "-c", command), command
    (code,) = (block for kind, block in BLOCKS if kind == "python")
    assert run(sys.executable, "-c", code).startswith("yes ")


def test_layout_names_every_module() -> None:
    (layout,) = (block for _, block in BLOCKS if block.startswith("src/"))
    modules = {path.name for path in (ROOT / "src/lad_reasoner").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^  (\w+\.py)", layout, re.MULTILINE)) == modules


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_examples_that_are_not_run_use_real_options() -> None:
    text = "".join(block for kind, block in BLOCKS if kind == "text")
    examples = re.findall(r"^lad-reasoner ((?:data |train )?\w+)(.*)$", text, re.MULTILINE)
    assert len(examples) >= 3
    for verb, rest in examples:
        if verb in ("train sft", "train grpo"):
            config, *words = rest.split()
            read_recipe(ROOT / config, [word for word in words if word != "--resume"], **STAGES[verb])
            continue
        command = [Path(sys.executable).with_name("lad-reasoner"), *verb.split(), "--help"]
        usage = subprocess.run(command, capture_output=True, text=True).stdout
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in usage, (verb, option)
