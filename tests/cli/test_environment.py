"""Help, completion, `env` and `python -m lad_reasoner`."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers.command_line import COMMAND, run
from lad_reasoner.cli.app import app
from lad_reasoner.cli.environment import REQUIREMENT
from lad_reasoner.version import __version__


def verbs_of(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every verb with the words that call it."""
    verbs = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            verbs += verbs_of(command, (*path, name))
        else:
            verbs.append(((*path, name), command))
    return verbs


VERBS = verbs_of(get_command(app))


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "lad_reasoner", "-h"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0
    assert done.stdout == run("--help").stdout
    assert done.stdout.startswith("Usage: lad-reasoner ")


def test_the_main_job_comes_first() -> None:
    names = re.findall(r"^  (\w+)  ", run("-h").stdout.partition("Commands:")[2], re.MULTILINE)
    assert names[:2] == ["inspect", "demo"]


@pytest.mark.parametrize("group", [(), ("station",), ("data",), ("train",), ("server",)], ids=" ".join)
def test_no_line_of_the_help_is_cut(group: tuple[str, ...]) -> None:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*group, "--help"])
    lines = done.output.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    names = {path[len(group)] for path, _ in VERBS if path[: len(group)] == group}
    assert {line.split()[0] for line in lines} == names
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize("path", [path for path, _ in VERBS], ids=" ".join)
def test_options_have_names_that_read(path: tuple[str, ...]) -> None:
    command = dict(VERBS)[path]
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.is_flag and parameter.name != "help":
            assert parameter.metavar, f"{' '.join(path)}: {parameter.opts[0]} has no metavar"
    assert command.epilog, f"{' '.join(path)}: its help ends without an example"


def test_training_lists_its_keys_and_points_to_trl() -> None:
    text = " ".join(run("train", "grpo", "--help").stdout.split())
    for part in (
        "save_dtype precision of",
        "[required]",
        "guard_steps logged steps",
        "TRL's GRPOConfig",
        "grpo_trainer",
    ):
        assert part in text
    assert "guard_steps" not in run("train", "sft", "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion(shell: str) -> None:
    assert "_LAD_REASONER_COMPLETE" in run("completion", shell).stdout


def test_a_shell_gets_the_words() -> None:
    asked = {"_LAD_REASONER_COMPLETE": "complete_bash", "COMP_WORDS": "lad-reasoner insp", "COMP_CWORD": "1"}
    done = subprocess.run([COMMAND], capture_output=True, text=True, env={**os.environ, **asked})
    assert done.stdout.split() == ["inspect"]


def test_env() -> None:
    done = run("env")
    assert done.returncode == 0
    lines = dict(re.split(r"\s{2,}|(?<=extra \w{4}) ", line, maxsplit=1) for line in done.stdout.splitlines())
    assert lines["lad-reasoner"] == __version__
    assert lines["python"].startswith(sys.version.split()[0])
    assert int(lines["cores"]) >= 1
    assert "device         cpu, " in done.stdout
    assert re.search(r"^extra train +(complete|lacks )", done.stdout, re.MULTILINE)


def test_requirements_are_read() -> None:
    lines = {
        "transformers>=5.0; extra == 'hf'": ("transformers", None, "hf"),
        'mkdocstrings[python]>=0.29; extra == "docs"': ("mkdocstrings", "python", "docs"),
        "lad-reasoner[serve]; extra == 'plant'": ("lad-reasoner", "serve", "plant"),
        "numpy>=1.26": ("numpy", None, None),
    }
    for line, parts in lines.items():
        match = REQUIREMENT.match(line)
        assert match is not None
        assert match.groups() == parts


def test_a_reward_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def short(completions, **_):\n    return [0.0 for _ in completions]\n")
    code = "from lad_reasoner.train.rewards import load_reward; print(load_reward('mine:short')(['a']))"
    # A console script has its own folder, not the current one, first on the path: -P is the same.
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[0.0]\n", done.stderr
