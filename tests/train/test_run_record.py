"""run.json: what it holds, and when a run may be started, resumed or neither."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from helpers.tutored import build, write_recipe
from lad_reasoner.errors import InputError
from lad_reasoner.train.grpo import GrpoSettings
from lad_reasoner.train.run_record import check_out, hash_weights, read_run_record, write_run_record
from lad_reasoner.train.settings import Recipe, TrainSettings, read_recipe

trl = pytest.importorskip("trl")


def read(path: Path, *words: str) -> Recipe[TrainSettings]:
    return read_recipe(path, words, ours=TrainSettings, theirs=trl.SFTConfig)


def test_the_record_of_a_run(tmp_path: Path) -> None:
    build(tmp_path / "data", records=2)
    path = write_recipe(tmp_path, hub_token="hf_secret", seed=7)
    recipe = read(path)
    arguments = recipe.arguments(trl.SFTConfig)
    run = write_run_record(recipe, arguments, {"stage": "sft"}, resume=False)
    text = (tmp_path / "run" / "run.json").read_text()
    assert json.loads(text) == run == read_run_record(tmp_path / "run")
    assert "hf_secret" not in text
    assert run["stage"] == "sft"
    assert run["seed"] == run["resolved"]["seed"] == 7
    assert run["resolved"]["learning_rate"] == run["config"]["learning_rate"] == 0.01
    assert {"torch", "transformers", "trl", "accelerate", "peft", "lad-reasoner"} <= run["versions"].keys()
    assert len(run["data"]["sha256"]["manifest.json"]) == 64
    assert run["git"] is None or len(run["git"]["commit"]) == 40

    (recipe.out / ".lock").touch()  # what a run that ended before its first step leaves
    (recipe.out / "runs/Nov28").mkdir(parents=True)  # TensorBoard's
    faster = read(path, "--learning_rate", "1")
    for resume in (True, False):  # nothing was done yet that could be lost
        write_run_record(faster, faster.arguments(trl.SFTConfig), {}, resume=resume)
    write_run_record(recipe, arguments, {}, resume=False)
    (recipe.out / "samples.jsonl").touch()
    with pytest.raises(InputError, match="already holds a run; use --resume, or give another --output_dir"):
        write_run_record(recipe, arguments, {}, resume=False)
    (recipe.out / "checkpoint-1").mkdir()
    assert len(write_run_record(recipe, arguments, {}, resume=True)["started"]) == 2
    with pytest.raises(InputError, match=r"^--learning_rate is 1\.0, but the run in .* was started with 0\.01"):
        write_run_record(faster, faster.arguments(trl.SFTConfig), {}, resume=True)
    louder = read(path, "--logging_steps", "5")
    assert len(write_run_record(louder, louder.arguments(trl.SFTConfig), {}, resume=True)["started"]) == 3
    parts = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps")
    smaller = read(path, *parts, "2", "--gradient_checkpointing", "true")
    assert len(write_run_record(smaller, smaller.arguments(trl.SFTConfig), {}, resume=True)["started"]) == 4
    fewer = read(path, *parts, "1")
    with pytest.raises(InputError, match=r"a step has 1 records .* was started with 2; make them the same again"):
        write_run_record(fewer, fewer.arguments(trl.SFTConfig), {}, resume=True)
    picture = tmp_path / "data" / "images" / "01.png"
    before = picture.read_bytes()
    picture.write_bytes((tmp_path / "data" / "images" / "00.png").read_bytes())  # the records are the same
    with pytest.raises(InputError, match="data: has changed since the run was started"):
        write_run_record(recipe, arguments, {}, resume=True)
    picture.write_bytes(before)
    old = json.loads((tmp_path / "run" / "run.json").read_text())
    del old["data"]["sha256"]["pictures and masks"]  # as earlier versions wrote it
    (tmp_path / "run" / "run.json").write_text(json.dumps(old))
    write_run_record(recipe, arguments, {}, resume=True)
    (tmp_path / "data" / "metadata.jsonl").write_text("\n")
    with pytest.raises(InputError, match="data: has changed since the run was started"):
        write_run_record(recipe, arguments, {}, resume=True)


def test_what_changes_no_weight_of_grpo_may_change_on_resume(tmp_path: Path) -> None:
    build(tmp_path / "data", task="pair", records=2)
    path = write_recipe(tmp_path, num_generations=2, beta=0.01, rollout_batch_size=8)

    def record(*words: str) -> None:
        recipe = read_recipe(path, words, ours=GrpoSettings, theirs=trl.GRPOConfig)
        write_run_record(recipe, recipe.arguments(trl.GRPOConfig), {}, resume=True)

    record()
    (tmp_path / "run" / "checkpoint-1").mkdir()
    record("--stop_on_collapse", "--guard_steps", "3", "--sample_steps", "1", "--rollout_batch_size", "4")
    with pytest.raises(InputError, match=r"^--beta is 0\.02, but the run in .* was started with 0\.01"):
        record("--beta", "0.02")


def test_a_damaged_record_and_checkpoints_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "data", records=2)
    recipe = read(write_recipe(tmp_path))
    arguments = recipe.arguments(trl.SFTConfig)
    (tmp_path / "run" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(InputError, match="holds a run"):
        write_run_record(recipe, arguments, {}, resume=False)
    for started in (1, 2):  # said of the first time only: that one writes a record
        assert len(write_run_record(recipe, arguments, {}, resume=True)["started"]) == started
        assert caplog.messages == [
            f"{recipe.out}: has checkpoints but no run.json, so nothing tells whether settings and data are those it "
            "was started with"
        ]
    for text, message in (("{", "not JSON"), ("[]", "not a run record")):
        (tmp_path / "run" / "run.json").write_text(text)
        with pytest.raises(InputError, match=message):
            write_run_record(recipe, arguments, {}, resume=True)


def test_another_process_leaves_the_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "data", records=2)
    recipe = read(write_recipe(tmp_path))
    arguments = recipe.arguments(trl.SFTConfig)
    monkeypatch.setattr(type(arguments), "process_index", 1)
    run = write_run_record(recipe, arguments, {"stage": "sft"}, resume=False)
    assert run["stage"] == "sft"
    assert not (tmp_path / "run").exists()


def test_the_weights_that_a_run_started_from_are_kept(tmp_path: Path) -> None:
    build(tmp_path / "data", records=2)
    recipe = read(write_recipe(tmp_path))
    arguments = recipe.arguments(trl.SFTConfig)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    before = hash_weights(recipe.ours.model)
    assert before == {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    assert write_run_record(recipe, arguments, {"weights": before}, resume=False)["weights"] == before
    (recipe.out / "checkpoint-1").mkdir()
    write_run_record(recipe, arguments, {"weights": hash_weights(recipe.ours.model)}, resume=True)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(InputError, match="model: has changed since the run was started"):
        write_run_record(recipe, arguments, {"weights": hash_weights(recipe.ours.model)}, resume=True)


def test_a_folder_of_something_else_is_no_run_folder(tmp_path: Path) -> None:
    recipe = read(write_recipe(tmp_path))
    recipe.out.mkdir()
    (recipe.out / "station.toml").touch()
    for resume in (False, True):
        with pytest.raises(InputError, match=r"^--output_dir .*run: holds a station \(station\.toml\); give another"):
            check_out(recipe, resume=resume)
