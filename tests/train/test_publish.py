"""The finished model: a plain folder, its card, and a fresh process that must answer as the trained weights do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny
from helpers.tutored import build, write_recipe
from lad_reasoner.data.review.decisions import ReviewDecision, append_decision
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.train import publish as publishing
from lad_reasoner.train import sft
from lad_reasoner.train.publish import (
    ask_fresh,
    assemble,
    compare_answers,
    greedy_answers,
    push,
    round_weights,
    save_folder,
    update_kept,
    why_unchanged,
    write_card,
)
from lad_reasoner.train.settings import Recipe, TrainSettings, read_recipe
from lad_reasoner.train.trainee import load_trainee

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run to its end, with an adapter and a pixel budget of its own."""
    folder = tmp_path_factory.mktemp("publish")
    config = tiny.save_qwen(folder / "model") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"score_temperature": 2.0}))
    build(folder / "data", records=6)
    path = write_recipe(folder, max_steps=3, lora="{r: 4, lora_alpha: 16}", max_pixels=2000, seed=3)
    assert sft.train_sft(path) == folder / "run" / "model"
    return folder


def read(folder: Path, *words: str) -> Recipe[TrainSettings]:
    return read_recipe(folder / "recipe.yaml", words, ours=TrainSettings, theirs=trl.SFTConfig)


@pytest.mark.slow
def test_a_fresh_process_answers_the_same_and_notices_other_weights(folder: Path, tmp_path: Path) -> None:
    run = folder / "run"
    check = json.loads((run / "check.json").read_text())
    assert [row["id"] for row in check["prompts"]] == ["r00", "r01", "r02", "r03"]
    assert greedy_answers(load_checkpoint(run / "model", device="cpu"), check["prompts"]) == check["answers"]
    assert greedy_answers(load_checkpoint(folder / "model", device="cpu"), check["prompts"]) != check["answers"]
    other = tmp_path / "other"
    load_checkpoint(run / "model").processor.save_pretrained(other)
    for file in (run / "model").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"].neg_()
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(MachineError, match=r"the reloaded model answers r00 with .* instead of .*; do not use it"):
        compare_answers(other, check["prompts"], check["answers"], ask_fresh(other, run / "check.json")["answers"])


def test_the_folder_is_whole(folder: Path) -> None:
    model = folder / "run" / "model"
    names = {file.name for file in model.iterdir()}
    assert {"config.json", "model.safetensors", "chat_template.jinja", "tokenizer.json", "README.md"} <= names
    assert {"preprocessor_config.json", "processor_config.json"} <= names
    assert not [name for name in names if "adapter" in name]
    # The temperature of its scores was fitted to the weights that training started from.
    assert load_checkpoint(folder / "model").score_temperature == 2
    assert load_checkpoint(model).score_temperature == 1
    size = load_checkpoint(model).processor.image_processor.size
    assert (size["longest_edge"], size["shortest_edge"]) == (2000, 784)
    before, after = load_file(folder / "model" / "model.safetensors"), load_file(model / "model.safetensors")
    assert before.keys() == after.keys()
    assert {name: value.dtype for name, value in before.items()} == {name: value.dtype for name, value in after.items()}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert not (folder / "run" / "model.half").exists()


def test_the_card(folder: Path) -> None:
    card = (folder / "run" / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "6 records (3 anomalous, 3 good) of mine/screws (6)." in card
    assert "Licences of the pictures: mine." in card
    assert len(re.findall(r"^\| [123] \| \d+\.\d{4} \|$", card, re.MULTILINE)) == 3
    settings = json.loads(re.search(r"```json\n(.*?)```", card, re.DOTALL)[1])  # type: ignore[index]
    assert settings["seed"] == settings["config"]["seed"] == 3
    assert settings["config"]["lora"] == {"r": 4, "lora_alpha": 16}
    assert "trl" in settings["versions"]


def test_a_card_with_a_curve_and_a_name_of_the_hub(folder: Path, tmp_path: Path) -> None:
    recipe = read(folder, "--model", "Qwen/Qwen2.5-VL-3B-Instruct")
    run = json.loads((folder / "run" / "run.json").read_text())
    (tmp_path / "curves.png").write_bytes(b"a picture")
    (tmp_path / "model").mkdir()
    history: list[Any] = [{"loss": "0.5", "reward": step / 100, "step": step} for step in range(1, 101)]
    history += [{"loss": "0.1", "step": 100}, {"train_loss": 1.0, "step": 100}]
    append_decision(folder / "data", ReviewDecision(id="r01", decision="reject"))
    write_card(tmp_path / "model", recipe, run, history, [tmp_path / "curves.png"])
    append_decision(folder / "data", ReviewDecision(id="r01", decision="undo"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert " of mine/screws (6)." in card, "as it was trained on, whatever a review decided meanwhile"
    assert "base_model: Qwen/Qwen2.5-VL-3B-Instruct\n" in card
    assert "![curves](curves.png)" in card
    assert (tmp_path / "model" / "curves.png").read_bytes() == b"a picture"
    assert "| step | loss | reward |\n|---|---|---|\n| 1 | 0.5000 | 0.0100 |\n" in card
    assert "| 100 | 0.1000 | – |\n" in card
    steps = [int(step) for step in re.findall(r"^\| (\d+) \|", card, re.MULTILINE)]
    assert (len(steps), steps[0], steps[-1]) == (20, 1, 100)


def test_a_folder_that_answers_otherwise_gets_no_name(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    recipe = read(folder, "--output_dir", str(tmp_path / "run"), "--lora", "null")
    (tmp_path / "run").mkdir()
    model = load_checkpoint(folder / "model").model
    trainer = SimpleNamespace(
        is_deepspeed_enabled=False,
        model=model,
        accelerator=SimpleNamespace(get_state_dict=lambda trained: trained.state_dict()),
        is_world_process_zero=lambda: True,
        state=SimpleNamespace(log_history=[]),
    )
    run = json.loads((folder / "run" / "run.json").read_text())
    data = sft.load_set(folder / "data", kind="sft")
    monkeypatch.setattr(publishing, "ask_fresh", lambda *_: {"dtype": "float32", "answers": ["no idea"] * 4})
    with pytest.raises(MachineError, match="answers r00 with 'no idea'"):
        publishing.publish(trainer, recipe, run, data)
    assert not (tmp_path / "run" / "model").exists()
    trainer.is_world_process_zero = lambda: False
    assert publishing.publish(trainer, recipe, run, data) == tmp_path / "run" / "model"
    assert not (tmp_path / "run" / "model").exists()


def test_a_folder_that_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"a new process cannot load it \(.*no config.json"):
        publishing.ask_fresh(tmp_path, folder / "run" / "check.json")


def test_weights_keep_the_precision_of_training(folder: Path) -> None:
    recipe = read(folder, "--model", "micro-base", "--max_pixels", "null")  # micro-base is stored in bfloat16
    state = load_checkpoint("micro-base").model.state_dict()
    assembled = assemble(recipe, state, None)
    assert {parameter.dtype for parameter in assembled.model.parameters()} == {torch.float32}
    rounded = round_weights(assembled, "bfloat16").model
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    lacking = {name: value for name, value in state.items() if "norm" not in name}
    with pytest.raises(RuntimeError, match="Missing key"):
        assemble(recipe, lacking, None)


@pytest.fixture
def stepped(folder: Path, tmp_path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The trainer of a model whose start is stored in bfloat16, after small steps; and its weights."""
    base = round_weights(load_checkpoint(folder / "model", device="cpu"), "bfloat16")
    publishing.save_folder(base, tmp_path / "base", folder / "model")
    model = round_weights(base, "float32").model
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 5e-5 * torch.randn_like(parameter).sign()  # 50 steps at 1e-6, one way
    trainer = SimpleNamespace(
        is_deepspeed_enabled=False,
        model=model,
        accelerator=SimpleNamespace(get_state_dict=lambda trained: trained.state_dict()),
        is_world_process_zero=lambda: True,
        state=SimpleNamespace(log_history=[]),
    )
    return trainer, {name: weight.clone() for name, weight in model.state_dict().items()}


def publish_here(monkeypatch: Any, folder: Path, trainer: Any, out: Path, *words: str) -> Path:
    """`publish` with the answers of this process, for speed."""

    def ask(model: Path, check: Path) -> dict[str, Any]:
        content = json.loads(check.read_text())
        checkpoint = load_checkpoint(model, device="cpu", dtype=content["dtype"])
        return {"answers": greedy_answers(checkpoint, content["prompts"])}

    monkeypatch.setattr(publishing, "ask_fresh", ask)
    out.mkdir()
    words = ("--output_dir", str(out), "--lora", "null", *words)
    run = json.loads((folder / "run" / "run.json").read_text())
    return publishing.publish(trainer, read(folder, *words), run, sft.load_set(folder / "data", kind="sft"))


def test_small_steps_are_not_rounded_away(
    folder: Path, stepped: Any, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, trained = stepped
    trainer.rollouts = SimpleNamespace(budget=31)
    base = ("--model", str(tmp_path / "base"))
    caplog.set_level("INFO", logger="lad_reasoner")
    whole = publish_here(monkeypatch, folder, trainer, tmp_path / "whole", *base)
    saved = load_checkpoint(whole, device="cpu").model.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in trained.items())
    run = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert run["published"] == {"dtype": "float32", "update_kept": 1.0}
    assert load_checkpoint(whole, device="cpu").reasoning_tokens == 31  # inspection gives as many as training did
    assert "whole/model holds 100.0 % of the update" in caplog.text
    assert "are float32 and hold 100.0 % of the update" in (whole / "README.md").read_text()

    rounded = publish_here(monkeypatch, folder, trainer, tmp_path / "rounded", *base, "--save_dtype", "bfloat16")
    assert {weight.dtype for weight in load_file(rounded / "model.safetensors").values()} == {torch.bfloat16}
    kept = json.loads((tmp_path / "rounded" / "run.json").read_text())["published"]["update_kept"]
    assert 0 <= kept < 0.5
    warning = [record.message for record in caplog.records if record.levelname == "WARNING"][-1]
    assert f"holds {100 * kept:.1f} % of the update; leave save_dtype out" in warning
    # A run that goes on from the published folder, and its frozen model, start from what was trained.
    following = read(folder, "--model", str(whole), "--max_pixels", "null", "--lora", "null")
    start = load_trainee(following).model.state_dict()
    assert all(torch.equal(start[name], weight) for name, weight in trained.items())


def test_a_training_that_changed_nothing_says_so(
    folder: Path, stepped: Any, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start = load_checkpoint(tmp_path / "base", device="cpu", dtype="float32").model.state_dict()
    stepped[0].model.load_state_dict(start)
    stepped[0].state.log_history.append({"step": 1, "loss": 0.1, "learning_rate": 1e-12, "grad_norm": 0.1})
    model = publish_here(monkeypatch, folder, stepped[0], tmp_path / "run", "--model", str(tmp_path / "base"))
    assert caplog.messages[-1].startswith(f"{model}: the training changed no weight: its steps were too small; raise")
    assert "The training changed none of its weights." in (model / "README.md").read_text()


def test_a_training_that_diverged_is_told_as_such(folder: Path, stepped: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with torch.no_grad():
        next(stepped[0].model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="run: its weights are not finite any more, since the training div"):
        publish_here(monkeypatch, folder, stepped[0], tmp_path / "run", "--model", str(tmp_path / "base"))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("logged", "words", "cause"),
    [
        (
            {"learning_rate": 0.0, "grad_norm": 0.3},
            [],
            "the learning rate was 0 in each logged step; raise",
        ),
        ({"learning_rate": 1e-6, "grad_norm": 0.0}, [], "no logged step had a gradient"),
        (
            {"learning_rate": 1e-6, "grad_norm": 0.0, "zero_spread": 1.0},
            [],
            "all responses of each group earned the same",
        ),
        ({"learning_rate": 1e-6, "grad_norm": 0.3}, ["--dtype", "bfloat16"], "are lost in bfloat16; leave dtype out"),
        ({"learning_rate": 1e-12, "grad_norm": 0.3}, [], "its steps were too small; raise learning_rate"),
    ],
)
def test_why_a_training_changed_nothing(folder: Path, logged: dict[str, float], words: list[str], cause: str) -> None:
    history = [{"loss": 0.1, **logged}, {"train_runtime": 1.0}]
    assert cause in why_unchanged(history, read(folder, *words))
    unlogged = why_unchanged([{"train_runtime": 1.0}], read(folder))
    assert "may have been 0, since none was logged (logging_steps); raise" in unlogged


def test_a_folder_that_lost_the_update_gets_no_name(
    folder: Path, stepped: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    def save_rounded(checkpoint: Any, *where: Path) -> None:
        save(round_weights(checkpoint, "bfloat16"), *where)

    save = publishing.save_folder
    monkeypatch.setattr(publishing, "save_folder", save_rounded)
    with pytest.raises(MachineError, match=r"holds \d+\.\d% of the update, not the trained weights"):
        publish_here(monkeypatch, folder, stepped[0], tmp_path / "run", "--model", str(tmp_path / "base"))
    assert not (tmp_path / "run" / "model").exists()


def test_the_share_of_an_update() -> None:
    def share(start: float, trained: float, saved: float) -> float | None:
        here = SimpleNamespace(model=SimpleNamespace(state_dict=lambda: {"w": torch.tensor([0.0, saved])}))
        return update_kept({"w": torch.tensor([0.0, start])}, {"w": torch.tensor([0.0, trained])}, here)  # type: ignore[arg-type]

    assert share(1, 3, 3) == 1
    assert share(1, 3, 2) == 0.5
    assert share(1, 3, 1) == share(1, 3, 9) == 0
    assert share(1, 1, 1) is None, "nothing was trained, so that there is no share of it"
    assert share(1, 1, 2) == 0


def test_pushing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls: list[tuple[str, Any]] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            calls.append(("token", token))

        def create_repo(self, name: str, *, private: bool | None, exist_ok: bool) -> Any:
            if name == "taken":
                raise PermissionError("403\nnot yours")
            calls.append((name, private))
            return SimpleNamespace(repo_id=f"me/{name}")

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            calls.append((repo_id, folder_path.name))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    push(folder / "run" / "model", read(folder, "--push-to-hub", "--hub_private_repo", "--hub_token", "hf_x"))
    assert calls == [("token", "hf_x"), ("run", True), ("me/run", "model")]
    with pytest.raises(MachineError, match=r"taken: cannot be pushed \(403 not yours\); the model is complete in"):
        push(folder / "run" / "model", read(folder, "--push_to_hub", "--hub_model_id", "taken"))


def test_files_are_readable_by_others_and_no_link_to_a_secret_is_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny.save_qwen(tmp_path / "base")
    (tmp_path / "secret").write_text('{"password": "x"}')
    video = "video_preprocessor_config.json"
    (base / video).unlink(missing_ok=True)
    (base / video).symlink_to(tmp_path / "secret")
    save_folder(load_checkpoint(base, device="cpu"), tmp_path / "out", base)
    assert not (tmp_path / "out" / video).exists()
    assert f"{video}: not the settings of a processor; it is left out" in caplog.text
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    (tmp_path / "new").touch()
    assert modes == {(tmp_path / "new").stat().st_mode & 0o777}
    (base / video).unlink()
    (base / video).write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    save_folder(load_checkpoint(base, device="cpu"), tmp_path / "again", base)
    assert json.loads((tmp_path / "again" / video).read_text()) == {"video_processor_type": "Qwen2VLVideoProcessor"}
