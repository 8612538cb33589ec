"""The miniature's chain of commands: each is one that the command line knows, with settings that can be read."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import reproduce
from typer.main import get_command

from lad_reasoner.cli.app import app

trl = pytest.importorskip("trl")
from lad_reasoner.train import sft  # noqa: E402
from lad_reasoner.train.grpo import UNREAD, GrpoSettings, make_arguments  # noqa: E402
from lad_reasoner.train.settings import TrainSettings, read_recipe  # noqa: E402


def parse(words: list[str]) -> Any:
    """What the command line makes of the words, without running them; wrong verbs and options raise."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command.make_context(command.name, list(words))


@pytest.mark.parametrize(("quick", "begun"), [(True, True), (False, True), (True, False)])
def test_every_step_is_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: bool, begun: bool) -> None:
    """Runs that were begun are resumed; on a first start nothing is said of checkpoints that are missing."""
    monkeypatch.chdir(tmp_path)  # the recipes are found from anywhere
    for name in ("sft", *reproduce.GRPO_RUNS) if begun else ():
        (tmp_path / name).mkdir()
    trained, compared, made = [], [], {tmp_path / "source", tmp_path / "benchmark"}
    for step in reproduce.steps(tmp_path, quick=quick):
        context = parse(step)
        if step[0] == "train":
            assert context.params["resume"] is begun
            path, words = context.params["config"], context.args
            if step[1] == "sft":
                recipe: Any = read_recipe(path, words, ours=TrainSettings, theirs=trl.SFTConfig, unread=sft.UNREAD)
                arguments = recipe.arguments(trl.SFTConfig)
            else:
                recipe = read_recipe(path, words, ours=GrpoSettings, theirs=trl.GRPOConfig, unread=UNREAD)
                arguments = make_arguments(recipe)
            assert recipe.ours.data in made
            assert recipe.ours.model == reproduce.BASE or Path(recipe.ours.model) in made
            assert (arguments.max_steps == 2) is quick
            trained.append(recipe.out.name)
            made.add(recipe.out / "model")
        else:
            assert not context.args
        if "--model" in step and step[0] == "eval":
            judge = step[step.index("--model") + 1]
            assert judge in (reproduce.BASE, "pixel-difference") or Path(judge) in made
        if "--out" in step:
            made.add(Path(step[step.index("--out") + 1]))
        if step[0] == "compare":
            assert {Path(run) for run in step[1:-2]} <= made
            compared.append((Path(step[-1]).name, len(step[1:-2])))
    assert trained == ["sft", "grpo", "lad", "ours"]
    assert recipe.ours.rewards == ["structure", "accuracy", "faithful", "consistent"]
    assert compared == [("comparison", 6), ("comparison-structural", 6)]


def test_a_curve_is_that_of_the_last_checkpoint(tmp_path: Path) -> None:
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(
            f'{{"global_step": {step}, "log_history": [{{"step": {step}, "reward": 0.5}}]}}'
        )
    assert reproduce.logged(tmp_path) == [{"step": 10, "reward": 0.5}]


def test_a_wrong_word_would_be_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["eval", "--benchmrk", "miniloco"])
    with pytest.raises(KeyError):
        parse(["data", "minloco"])


@pytest.mark.posix
def test_pictures_that_were_half_drawn_are_drawn_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real command, of which a kill left one product of two."""
    monkeypatch.setattr(reproduce, "COMMAND", Path(sys.executable).with_name("lad-reasoner"))
    source = tmp_path / "out" / "source"
    step = ["data", "miniloco", str(source), "--products", "bolt_plate,gear_pair", "--per-class", "1"]
    assert reproduce.run(step) == 0
    assert capfd.readouterr().out.endswith(f" in {source}\n")  # the folder that the step names
    drawn = sorted(path.name for path in source.iterdir())
    assert reproduce.run(step) == 0
    assert capfd.readouterr().out == ""  # nothing is left to draw
    shutil.rmtree(source / "gear_pair")
    (source / ".gear_pair.part").mkdir()
    assert reproduce.run(step) == 0
    assert sorted(path.name for path in source.iterdir()) == drawn
    (source / "bolt_plate").rename(source / ".bolt_plate.part")
    (source / "gear_pair").rename(source / ".gear_pair.part")
    monkeypatch.setattr(reproduce, "COMMAND", Path(shutil.which("false") or ""))
    assert reproduce.run(step) == 1
