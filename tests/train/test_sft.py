"""SFT: what is learned from, what stays as it was, and runs that are stopped and killed."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

from helpers import tiny
from helpers.tutored import build, write_recipe
from helpers.watched_sft import watched_step
from lad_reasoner.data.review.decisions import ReviewDecision, append_decision
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.files.whole import own_folder
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.train import grpo, sft
from lad_reasoner.train.checkpoints import find_fault
from lad_reasoner.train.publish import assemble
from lad_reasoner.train.settings import TrainSettings, read_recipe

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    tiny.save_qwen(folder / "model")
    build(folder / "data")
    return folder


@pytest.fixture
def folder(stock: Path, tmp_path: Path) -> Path:
    for name in ("model", "data"):
        (tmp_path / name).symlink_to(stock / name)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers of the test's runs; nothing is published."""
    trainers: list[Any] = []

    def keep(trainer: Any, recipe: Any, run: Any, records: Any) -> Path:
        trainers.append(trainer)
        return Path(recipe.out)

    monkeypatch.setattr(sft, "publish", keep)
    return trainers


def build_pairs(folder: Path) -> None:
    (folder / "data").unlink()
    build(folder / "data", task="pair", records=2)


def leave_a_run(folder: Path) -> None:
    (folder / "run/checkpoint-1").mkdir(parents=True)


@pytest.mark.parametrize("stage", [sft.train_sft, grpo.train_grpo])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_step", "3"], "--max_step: no such setting; did you mean max_steps?"),
        (["--modle", "x"], "--modle: no such setting; did you mean model?"),
        (["7"], "7: belongs to no setting; write --key value"),
    ],
)
def test_a_mistyped_key_is_told_before_trl_is_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stage: Any, words: list[str], message: str
) -> None:
    monkeypatch.setattr(f"{stage.__module__}.require", lambda *_: pytest.fail("TRL is imported first"))
    with pytest.raises(InputError) as raised:
        stage(write_recipe(folder), words)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("words", "spoil", "message"),
    [
        (["--report_to", "wandb"], None, "--report_to: WandbCallback requires wandb to be installed"),
        (["--report_to", "mlflow"], None, "--report_to: MLflowCallback requires mlflow to be installed"),
        (["--report_to", "nothing"], None, "--report_to: nothing is not supported"),
        (["--optim", "adamw_bnb_8bit"], None, "optim: adamw_bnb_8bit needs bitsandbytes: pip install bitsandbytes"),
        (["--data", "nowhere"], None, "nowhere: no such folder"),
        ([], build_pairs, "this stage trains on questions and answers"),
        ([], leave_a_run, "run: already holds a run; use --resume, or give another --output_dir"),
    ],
)
def test_what_is_told_before_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], spoil: Any, message: str
) -> None:
    path = write_recipe(folder)
    if spoil is not None:
        spoil(folder)
    monkeypatch.setattr(sft, "load_trainee", lambda *_: pytest.fail("the model is loaded first"))
    for tracker in ("wandb", "mlflow"):
        monkeypatch.setattr(f"transformers.integrations.integration_utils.is_{tracker}_available", lambda: False)
    later: list[Any] = []  # Python's words about a `__del__`
    monkeypatch.setattr("sys.unraisablehook", later.append)
    with pytest.raises((InputError, MachineError)) as raised:
        sft.train_sft(path, words)
    assert message in str(raised.value)
    del raised
    gc.collect()
    assert not later


def test_only_the_answer_is_learned(folder: Path, trained: list[Any]) -> None:
    """Labels and loss, against a mask that is made by hand from the chat template's text."""
    sft.train_sft(write_recipe(folder, learning_rate=0.0))
    [trainer] = trained
    rows = [trainer.train_dataset[at] for at in range(3)]
    batch = trainer.data_collator([dict(row) for row in rows])
    processor = trainer.processing_class
    losses, tokens = 0.0, 0
    model = load_checkpoint(folder / "model", device="cpu").model
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        answer = row["completion"][0]["content"][0]["text"]
        asked = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>How many red screws?<|im_end|>\n"
        images = [[read_picture(folder / "data" / "images" / f"{row['id'][1:]}.png").image]]
        whole = processor(
            text=[f"{asked}<|im_start|>assistant\n{answer}<|im_end|>\n"], images=images, return_tensors="pt"
        )
        prompt = processor(text=[f"{asked}<|im_start|>assistant\n"], images=images, return_tensors="pt")
        start, end = prompt["input_ids"].shape[1], whole["input_ids"].shape[1]
        assert ids[:end].tolist() == whole["input_ids"][0].tolist()
        expected = [-100] * start + whole["input_ids"][0, start:].tolist()
        assert labels.tolist() == expected + [-100] * (len(ids) - end)
        assert processor.tokenizer.decode(labels[labels != -100]) == f"{answer}<|im_end|>\n"
        with torch.inference_mode():
            logits = model(**whole).logits[0, start - 1 : end - 1]
        losses += F.cross_entropy(logits, whole["input_ids"][0, start:], reduction="sum").item()
        tokens += end - start
    with torch.inference_mode():
        loss = trainer.compute_loss(trainer.model.eval(), dict(batch))
    assert loss.item() == pytest.approx(losses / tokens, rel=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_vision_tower_stays_as_it_was(folder: Path, trained: list[Any], frozen: bool) -> None:
    sft.train_sft(write_recipe(folder, freeze_vision=str(frozen).lower(), max_steps=2))
    before, after = (
        load_file(folder / "model" / "model.safetensors"),
        load_file(folder / "run" / "checkpoint-2" / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    visual = {name for name in before if "visual" in name}
    assert visual
    assert bool(changed & visual) is not frozen
    assert changed - visual


def test_a_merged_adapter_answers_as_it_did(folder: Path, trained: list[Any]) -> None:
    path = write_recipe(folder, max_steps=3, lora="{r: 4, lora_alpha: 16}", freeze_vision="true")
    sft.train_sft(path)
    [trainer] = trained
    unmerged = trainer.model.eval()
    names = [name for name, parameter in unmerged.named_parameters() if parameter.requires_grad]
    assert names
    assert not [name for name in names if "visual" in name or "lora" not in name]
    batch = trainer.data_collator([dict(trainer.train_dataset[at]) for at in range(3)])
    batch.pop("labels")
    recipe = read_recipe(path, ours=TrainSettings, theirs=trl.SFTConfig)
    merged = assemble(recipe, unmerged.state_dict(), unmerged.peft_config["default"]).model
    base = load_checkpoint(folder / "model", device="cpu").model
    with torch.inference_mode():
        logits = [model(**batch).logits for model in (unmerged, merged, base)]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-3, atol=1e-4)
    assert (logits[2] - logits[0]).abs().max() > 0.1
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_what_a_review_rejected_is_not_trained_on(tmp_path: Path, stock: Path, trained: list[Any]) -> None:
    (tmp_path / "model").symlink_to(stock / "model")
    build(tmp_path / "data", records=6)
    append_decision(tmp_path / "data", ReviewDecision(id="r02", decision="reject"))
    sft.train_sft(write_recipe(tmp_path))
    [trainer] = trained
    assert trainer.train_dataset["id"] == ["r00", "r01", "r03", "r04", "r05"]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["records"], run["labels"]) == (5, {"no": 3, "yes": 2})
    assert len(run["data"]["sha256"]["decisions.jsonl"]) == 64
    assert run["data"]["classes"] == {"mine/screws": {"no": 3, "yes": 2}} and run["data"]["licences"] == {"mine": 5}


def test_memory_that_runs_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trl.SFTTrainer, "training_step", full)
    with pytest.raises(MachineError) as raised:
        sft.train_sft(write_recipe(folder, per_device_train_batch_size=8, gradient_accumulation_steps=2))
    message = str(raised.value)
    assert "--gradient_checkpointing true" in message
    assert "--per_device_train_batch_size 4 --gradient_accumulation_steps 4 instead of 8 and 2" in message
    assert "--lora.r 16" in message
    assert "\n" not in message


def test_a_picture_that_is_lost_on_the_way(tmp_path: Path, stock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").symlink_to(stock / "model")
    data = build(tmp_path / "data", records=6)
    first = trl.SFTTrainer.training_step

    def lose(self: Any, *rest: Any, **more: Any) -> Any:
        for picture in (data / "images").iterdir():
            picture.write_bytes(picture.read_bytes()[:200])
        return first(self, *rest, **more)

    monkeypatch.setattr(trl.SFTTrainer, "training_step", lose)
    with pytest.raises(
        InputError, match=r"images/\d\d\.png: .*damaged.*kept: repair it, then run the same command with --resume"
    ):
        sft.train_sft(write_recipe(tmp_path, max_steps=3, save_steps=1))
    assert not find_fault(tmp_path / "run" / "checkpoint-1")


def test_a_config_of_the_other_stage(folder: Path) -> None:
    with pytest.raises(InputError, match=r"recipe\.yaml: rewards: has no effect; it is a key of `train grpo`"):
        sft.train_sft(write_recipe(folder, rewards="[structure]", beta=0.01))
    with pytest.raises(InputError, match="--num_generations: has no effect; it is a key of `train grpo`"):
        sft.train_sft(write_recipe(folder), ["--num_generations", "4"])
    with pytest.raises(InputError, match="--learnin_rate: no such setting; did you mean learning_rate"):
        sft.train_sft(write_recipe(folder), ["--learnin_rate", "4"])


def test_a_set_smaller_than_a_batch_is_not_dropped_whole(folder: Path, trained: list[Any]) -> None:
    """Nothing was trained, and a model was published all the same."""
    words = ["--dataloader_drop_last", "true", "--per_device_train_batch_size", "500"]
    with pytest.raises(InputError, match=r"^--dataloader_drop_last: a batch takes 500 records and .*data has \d+, so"):
        sft.train_sft(write_recipe(folder), words)
    assert not trained


def test_settings_that_only_the_trainer_can_judge(folder: Path, trained: list[Any]) -> None:
    with pytest.raises(InputError, match=r"^--lora\.target_modules: Target modules .*nothing_such.* not found"):
        sft.train_sft(write_recipe(folder), ["--lora.target_modules", "[nothing_such]"])
    with pytest.raises(MachineError, match=r"^optim: adamw_bnb_8bit needs bitsandbytes"):
        sft.train_sft(write_recipe(folder), ["--optim", "adamw_bnb_8bit"])
    with pytest.raises(InputError, match=r"^--learning_rate: must be at least 0, not -1\.0$"):
        sft.train_sft(write_recipe(folder), ["--learning_rate", "-1"])
    sft.train_sft(write_recipe(folder))  # in the same folder, where nothing was begun
    assert [trainer.state.global_step for trainer in trained] == [1]
    assert not (folder / "run" / "README.md").exists()  # the card is the model's


@pytest.mark.parametrize("lora", ["null", "{r: 4}"])
def test_going_on_restores_every_weight(folder: Path, trained: list[Any], lora: str) -> None:
    path = write_recipe(folder, max_steps=4, save_steps=2, lora=lora)
    sft.train_sft(path)
    last, kept = folder / "run" / "checkpoint-4", folder / "kept"
    last.rename(kept)
    sft.train_sft(path, ["--gradient_checkpointing", "true"], resume=True)
    [weights] = [file.name for file in kept.glob("*.safetensors")]
    torch.testing.assert_close(load_file(last / weights), load_file(kept / weights), rtol=0, atol=0)
    moments = [torch.load(end / "optimizer.pt", weights_only=True) for end in (last, kept)]
    torch.testing.assert_close(*moments, rtol=0, atol=0)
    assert trained[1].state.global_step == 4

    sft.train_sft(path, resume=True)  # nothing is left to do
    assert trained[2].state.global_step == 4
    assert not (folder / "run" / "checkpoint-5").exists()
    before, after = trained[1].model.state_dict(), trained[2].model.state_dict()
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_a_run_resumed_in_a_later_epoch_ends_the_same(folder: Path, trained: list[Any]) -> None:
    path = write_recipe(folder, max_steps=5, save_steps=3, per_device_train_batch_size=5)  # three steps an epoch
    sft.train_sft(path)
    shutil.rmtree(folder / "run" / "checkpoint-5")
    sft.train_sft(path, resume=True)
    whole, chain = (trainer.model.state_dict() for trainer in trained)
    torch.testing.assert_close(chain, whole, rtol=0, atol=0)
    losses = [[line["loss"] for line in trainer.state.log_history if "loss" in line] for trainer in trained]
    assert losses[0] == losses[1]


def test_a_folder_in_which_another_process_trains_is_left_as_it_is(folder: Path, trained: list[Any]) -> None:
    with (
        own_folder(folder / "run", "--output_dir"),
        pytest.raises(InputError, match="run: another process is using it; wait for it, or give another --output_dir"),
    ):
        sft.train_sft(write_recipe(folder))
    assert [path.name for path in (folder / "run").iterdir()] == [".lock"]
    assert trained == []


def test_a_clock_that_was_set_back_loses_no_checkpoint(folder: Path, trained: list[Any]) -> None:
    path = write_recipe(folder, max_steps=4, save_steps=2, save_total_limit=1)
    sft.train_sft(path)
    last = folder / "run" / "checkpoint-4"
    earlier = last.rename(folder / "run" / "checkpoint-2")
    state = json.loads((earlier / "trainer_state.json").read_text())
    (earlier / "trainer_state.json").write_text(json.dumps({**state, "global_step": 2}))
    (earlier / "hashes.json").unlink()
    tomorrow = time.time() + 86400
    os.utime(earlier, (tomorrow, tomorrow))
    sft.train_sft(path, resume=True)
    assert [checkpoint.name for checkpoint in (folder / "run").glob("checkpoint-*")] == ["checkpoint-4"]
    assert (last / "hashes.json").is_file()
    assert not find_fault(last)
    assert trained[1].args.save_total_limit == 1


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("[enforce fail] No space left"), SafetensorError("I/O")],
)
def test_a_disk_that_is_full_is_named_with_its_place(
    folder: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(trl.SFTTrainer, "_save_optimizer_and_scheduler", fail)
    with pytest.raises(MachineError, match=r"run/checkpoint-1: cannot be written \(.*\); free some space, .*--resume"):
        sft.train_sft(write_recipe(folder, max_steps=2, save_steps=1))
    monkeypatch.undo()
    assert find_fault(folder / "run" / "checkpoint-1")


def test_a_pickle_in_a_checkpoint_is_refused_in_one_line(folder: Path, trained: list[Any]) -> None:
    path = write_recipe(folder, max_steps=2, save_steps=1)
    sft.train_sft(path)
    shutil.rmtree(folder / "run" / "checkpoint-2")
    earlier = folder / "run" / "checkpoint-1"
    (earlier / "hashes.json").unlink()  # as an attacker would
    torch.save({"code": Path}, earlier / "optimizer.pt")
    with pytest.raises(InputError, match=r"checkpoint-1: holds more than numbers, which is never opened"):
        sft.train_sft(path, resume=True)


def test_a_model_without_a_chat_template(tmp_path: Path, stock: Path) -> None:
    tiny.save_qwen(tmp_path / "model")
    (tmp_path / "data").symlink_to(stock / "data")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        sft.train_sft(write_recipe(tmp_path))


class Chain:
    """Runs of one recipe in processes of their own, with a common log."""

    def __init__(self, folder: Path, name: str) -> None:
        self.log, self.out = folder / f"{name}.jsonl", folder / name
        self.recipe = folder / "recipe.yaml"

    def run(self, monkeypatch: pytest.MonkeyPatch, *, resume: bool = False) -> None:
        """In this process, to the end: a process of its own takes most of its time to begin."""
        threads = torch.get_num_threads()
        with monkeypatch.context() as patched:
            patched.setattr(trl.SFTTrainer, "training_step", watched_step(self.log))
            torch.set_num_threads(1)
            try:
                sft.train_sft(self.recipe, ["--output_dir", str(self.out)], resume=resume)
            finally:
                torch.set_num_threads(threads)

    def start(self, *words: str, seconds: float = 0, kill_at: int = -1) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "helpers.watched_sft", str(self.log), str(seconds), str(kill_at)]
        command += ["train", "sft", str(self.recipe), "--output_dir", str(self.out), *words]
        paths = [str(Path(__file__).parents[1]), str(Path(sft.__file__).parents[1])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def order(self, accumulated: int) -> dict[int, list[Any]]:
        """What each step was trained on, the last time that it was done."""
        steps: dict[int, list[Any]] = {}
        for line in self.lines():
            if len(steps.get(line["step"], ())) == accumulated:
                steps[line["step"]] = []  # done again after a kill
            steps.setdefault(line["step"], []).append(line["answers"])
        return steps


@pytest.mark.posix
@pytest.mark.slow
def test_stopped_and_killed_and_gone_on_with(
    folder: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGTERM, then SIGKILL while a checkpoint is written; the end is that of a run that nothing happened to.

    An adapter with dropout also needs the random numbers to go on where they were.
    """
    lora = "{r: 4, lora_alpha: 16, lora_dropout: 0.5}"
    write_recipe(folder, max_steps=8, save_steps=2, gradient_accumulation_steps=2, lora=lora)
    whole, chain = Chain(folder, "whole"), Chain(folder, "chain")
    stopped = chain.start(seconds=0.3)
    while not any(line["step"] == 2 for line in chain.lines()):
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert "training: 0 of 8 done" in err
    assert "stopping after this step" in err
    assert "stopped at step 3 of 8" in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert out == ""
    assert not find_fault(chain.out / "checkpoint-3")

    killed = chain.start("--resume", kill_at=6)
    whole.run(monkeypatch)
    assert killed.wait(timeout=120) == -signal.SIGKILL, killed.communicate()
    killed.communicate()
    assert (chain.out / "checkpoint-6").is_dir()
    assert find_fault(chain.out / "checkpoint-6")
    assert not find_fault(chain.out / "checkpoint-4")

    caplog.set_level(logging.INFO, "lad_reasoner")
    chain.run(monkeypatch, resume=True)
    assert "training: 4 of 8 done" in caplog.text

    assert chain.order(2) == whole.order(2)
    assert sorted(whole.order(2)) == list(range(8))
    assert len(chain.lines()) > len(whole.lines())
    ends = [run.out / "checkpoint-8" for run in (whole, chain)]
    states = [json.loads((end / "trainer_state.json").read_text()) for end in ends]
    assert [state["global_step"] for state in states] == [8, 8]
    for name in ("optimizer.pt", "scheduler.pt"):
        one, other = (torch.load(end / name, weights_only=True) for end in ends)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    one, other = (load_file(end / "adapter_model.safetensors") for end in ends)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert json.loads((chain.out / "run.json").read_text())["started"][2:]
