"""The verbs of `train`: what they hand on, and how they end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lad_reasoner.cli.app import app
from lad_reasoner.cli.train import show_samples
from lad_reasoner.errors import StoppedError
from lad_reasoner.train import sft

runner = CliRunner()


def test_every_key_goes_to_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def train(path: str, overrides: list[str], *, resume: bool, **_: Any) -> Path:
        given.append((path, overrides, resume))
        return Path("runs/x/model")

    monkeypatch.setattr(sft, "train_sft", train)
    words = ["--max_steps", "-1", "--resume", "--lora.r=8", "--freeze_vision"]
    done = runner.invoke(app, ["train", "sft", "recipe.yaml", *words])
    assert (done.exit_code, done.output) == (0, "model: runs/x/model\n")
    assert given == [("recipe.yaml", ["--max_steps", "-1", "--lora.r=8", "--freeze_vision"], True)]
    assert runner.invoke(app, ["train", "sft", "--resume", "recipe.yaml"]).exit_code == 0
    assert given[1] == ("recipe.yaml", [], True)
    done = runner.invoke(app, ["train", "sft", "--max_steps", "3", "recipe.yaml"])
    assert done.exit_code == 2
    assert "Error: CONFIG comes first" in done.output


def test_the_share_of_the_update_that_was_published_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.json").write_text('{"published": {"dtype": "bfloat16", "update_kept": 0.114}}')
    monkeypatch.setattr(sft, "train_sft", lambda *_, **__: tmp_path / "model")
    done = runner.invoke(app, ["train", "sft", "recipe.yaml"])
    assert done.stderr == "the model holds 11.4 % of the update, in bfloat16\n"
    assert done.stdout == f"model: {tmp_path / 'model'}\n"
    (tmp_path / "run.json").write_text('{"published": {"dtype": "float32", "update_kept": null}}')
    done = runner.invoke(app, ["train", "sft", "recipe.yaml"])
    assert done.stderr == ""  # `publish` has warned, with the reason


def sample(name: str, response: str = "<think>a</think><answer>yes</answer>") -> dict[str, object]:
    rewards = {"structure_reward": 1.0, "accuracy_reward": 0.0}
    return {"id": name, "label": "no", "answer": "yes", "rewards": rewards, "advantage": -0.5, "response": response}


def test_samples_of_a_run_are_shown_as_plain_text() -> None:
    written = io.StringIO()
    samples = [sample("a"), sample("a", "again"), sample("b", "[red]no markup[/red]")]
    show_samples(1, samples, Console(file=written, width=100))
    shown = written.getvalue()
    assert "a: label no, answer yes, structure 1, accuracy 0, advantage -0.50" in shown
    assert "again" not in shown
    assert "[red]no markup[/red]" in shown


def test_a_few_samples_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_samples(3, [sample(name) for name in "abcdef"])
    written = capsys.readouterr()
    assert "Sampled at step 3" in written.err
    assert "d: label" in written.err
    assert "e: label" not in written.err
    assert written.out == ""


def test_a_run_that_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> Path:
        raise StoppedError("stopped at step 3 of 8", 15)

    monkeypatch.setattr(sft, "train_sft", train)
    done = runner.invoke(app, ["train", "sft", "recipe.yaml"])
    assert done.exit_code == 143
    assert done.stderr == "lad-reasoner: stopped at step 3 of 8\n"
    assert done.stdout == ""


@pytest.mark.parametrize("verb", ["sft", "grpo", "micro"])
def test_help_ends_with_an_example(verb: str) -> None:
    done = runner.invoke(app, ["train", verb, "--help"])
    assert done.exit_code == 0
    assert f"Example: lad-reasoner train {verb} configs/micro/" in " ".join(done.output.split())
