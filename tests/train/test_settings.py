"""Recipes: files, overrides of the command line, and the error messages for both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.tutored import write_recipe
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.train import settings as recipes
from lad_reasoner.train import sft
from lad_reasoner.train.fields import field_names
from lad_reasoner.train.grpo import GrpoSettings
from lad_reasoner.train.settings import TRL, Recipe, TrainSettings, check_early, machine_defaults, read_recipe

trl = pytest.importorskip("trl")
transformers = pytest.importorskip("transformers")
CONFIGS = Path(__file__).parents[2] / "configs"


def read(path: Path, *words: str) -> Recipe[TrainSettings]:
    return read_recipe(path, words, ours=TrainSettings, theirs=trl.SFTConfig)


def test_the_file_and_the_words_that_win_over_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, learning_rate="1e-6", lora="{r: 4}", per_device_train_batch_size=16)
    plain = read(path)
    assert plain.theirs["learning_rate"] == 1e-6  # a word in YAML, a number here
    assert plain.ours.lora == {"r": 4}
    assert plain.out == tmp_path / "run"
    words = ("--learning_rate", "2e-5", "--lora.r=8", "--lora.lora_alpha", "32", "--freeze-vision", "--max_steps", "-1")
    changed = read(path, *words)
    assert changed.theirs["learning_rate"] == 2e-5
    assert changed.theirs["max_steps"] == -1
    assert changed.theirs["per_device_train_batch_size"] == 16
    assert changed.ours.lora == {"r": 8, "lora_alpha": 32}
    assert changed.ours.freeze_vision
    assert read(path, "--lora", "null").ours.lora is None
    trial = read(CONFIGS / "paper" / "sft.yaml", "--max_steps", "2")  # it counts epochs
    assert trial.theirs["max_steps"] == 2
    assert read(path, "--save_strategy", "no").theirs["save_strategy"] == "no"
    assert read(path, "--run_name", "'a").theirs["run_name"] == "'a"  # no YAML, but a name


@given(st.floats(1e-9, 1e3), st.integers(1, 10**6))
def test_numbers_survive_the_command_line(rate: float, steps: int) -> None:
    words = ["--learning_rate", repr(rate), f"--max_steps={steps}", "--lora.r", str(steps)]
    assert [(name, float(value or "")) for name, value in recipes._read_words(words)] == [
        ("learning_rate", rate),
        ("max_steps", steps),
        ("lora.r", steps),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learnin_rate", "1"], "--learnin_rate: no such setting; did you mean learning_rate?"),
        (["--lr", "1"], "--lr: no such setting; did you mean learning_rate?"),
        (["--lora_r", "8"], "--lora_r: no such setting; did you mean lora.r?"),
        (["--group_size", "8"], "--group_size: no such setting; remove it"),  # it is one of GRPO
        (["--verbose", "2"], "--verbose: no such setting; remove it"),
        (["--loss_type", "nlll"], "--loss_type: 'nlll' is none of its values: nll, chunked_nll, dft"),
        (["--modle", "x"], "--modle: no such setting; did you mean model?"),
        (["--freeze_visoin"], "--freeze_visoin: no such setting; did you mean freeze_vision?"),
        (["--lora.lora_alfa", "3"], "--lora: lora_alfa: no such setting; did you mean lora_alpha?"),
        (["--lora.r", "many"], "--lora: r: Input should be a valid integer"),
        (["--learning_rate", "fast"], "--learning_rate: Input should be a valid number"),
        (["--learning_rate", "true"], "--learning_rate: must be a number, not true"),
        (["--learning_rate.x", "1"], "--learning_rate.x: learning_rate has no settings of its own"),
        (["--learning_rate"], "--learning_rate: has no value; write --learning_rate VALUE"),
        (["--model", "--seed", "3"], "--model: has no value; write --model VALUE"),
        (["--seed", "[1"], "--seed: Input should be a valid integer"),
        (["--gradient_checkpointing", "--lora"], "--lora: Input should be a valid dictionary"),
        (["--max_pixels", "3"], "--max_pixels: Input should be greater than or equal to 784, not 3"),
        (["--dtype", "int8"], "--dtype: Input should be 'float32' or 'bfloat16', not 'int8'"),
        (["--optim", "adamm"], "--optim: 'adamm' is none of its values: adamw_torch, "),
        (["--lr_scheduler_type", "kosine"], "--lr_scheduler_type: 'kosine' is none of its values: linear, cosine, "),
        (["--max_pixels", "true"], "--max_pixels: must be a number, not true"),
        (["--learning_rate", "-1"], "--learning_rate: must be at least 0, not -1.0"),
        (["--learning_rate", ".nan"], "--learning_rate: must be at least 0, not nan"),
        (["--warmup_steps", "-3"], "--warmup_steps: must be at least 0, not -3.0"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size: must be above 0, not 0"),
        (["--adam_beta1", "2"], "--adam_beta1: must be at most 1, not 2.0"),
        (["--lora.r", "0"], "--lora.r: must be above 0, not 0"),
        (["--lora", "{r: 0}"], "--lora: r: must be above 0, not 0"),
        (["--lora.lora_dropout", "3"], "--lora.lora_dropout: must be at most 1, not 3.0"),
        (["--fp16", "--bf16"], "--fp16: At most one of fp16 and bf16 can be True"),
        (["--seed", "3", "--fsdp", "nonsense"], "--fsdp: "),
        (["--max_steps", "0"], "--max_steps: must be above 0, not 0"),
        (["--max_steps", "-1", "--num_train_epochs", "0"], "--num_train_epochs: must be above 0, not 0.0"),
        (
            ["--max_steps", "60", "--num_train_epochs", "3"],
            "--num_train_epochs: has no effect with max_steps 60; leave it out, or give --max_steps -1",
        ),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps: must be above 0, not 0"),
        (["--do_eval"], "--do_eval: has no effect; measure with `lad-reasoner eval`"),
        (["--resume_from_checkpoint", "x"], "--resume_from_checkpoint: has no effect; use --resume"),
        (["7"], "7: belongs to no setting; write --key value"),
        (["--max_steps", "7", "8"], "8: belongs to no setting; write --key value"),
        (["--output_dir="], "output_dir is missing"),
    ],
)
def test_words_that_cannot_be_used(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as raised:
        read(write_recipe(tmp_path), *words).arguments(trl.SFTConfig)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learnin_rate": 1}, "recipe.yaml: learnin_rate: no such setting; did you mean learning_rate?"),
        ({"learning_rate": "fast"}, "recipe.yaml: learning_rate: Input should be a valid number"),
        ({"freeze_vision": "perhaps"}, "recipe.yaml: freeze_vision: Input should be a valid boolean"),
        ({"learning_rate": -1}, "recipe.yaml: learning_rate: must be at least 0, not -1.0"),
        ({"lora": "{r: 0}"}, "recipe.yaml: lora.r: must be above 0, not 0"),
        ({"fsdp": "nonsense"}, "recipe.yaml: fsdp: "),
        ({"lora": "{rr: 4}"}, "recipe.yaml: lora: rr: no such setting; did you mean r?"),
        ({"trust_remote_code": "true"}, "recipe.yaml: trust_remote_code: has no effect; code of a checkpoint is"),
    ],
)
def test_keys_that_cannot_be_used_are_named_with_the_file(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        read(write_recipe(tmp_path, **settings)).arguments(trl.SFTConfig)
    assert message in str(raised.value)


def test_every_setting_that_nothing_reads_is_one_of_theirs() -> None:
    """Else the list would go stale without being seen."""
    known = {*field_names(trl.SFTConfig), *field_names(trl.GRPOConfig)}
    assert set(recipes.ELSEWHERE) <= known
    assert set(sft.UNREAD) <= set(field_names(trl.SFTConfig))
    known |= {f"lora.{name}" for name in field_names(pytest.importorskip("peft").LoraConfig)}
    for numbers in ("above_zero", "not_negative", "at_most_one"):
        assert set(recipes.TRL[numbers]) <= known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- model\n", "must hold keys and values"),
        ("model: [x\n", "not valid YAML"),
        ("[" * 100_000, "not valid YAML"),
        ("seed: " + "1" * 5000, "not valid YAML"),
        ("seed: 2026-99-99", "not valid YAML"),
        ("seed: !!bool x", "not valid YAML"),
        ("model: x\nseed: 1\nmodel: y\n", "model is given 2 times; leave one of them"),
        ("", "must hold keys and values"),
        ("data: x\noutput_dir: y\n", "model is missing"),
        ("out: x\nseed: 1\n", "a config of `train micro`; run that, or give one with model, data and output_dir"),
        ("model: x\ndata: y\n", "output_dir is missing"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read(tmp_path / "none.yaml")


def test_what_the_machine_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert machine_defaults({})["use_cpu"] is True
    assert machine_defaults({})["bf16"] is False
    arguments = read(write_recipe(tmp_path)).arguments(trl.SFTConfig)
    assert (str(arguments.device), arguments.bf16) == ("cpu", False)
    assert read(write_recipe(tmp_path), "--bf16").arguments(trl.SFTConfig).bf16
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    assert (machine_defaults({})["use_cpu"], machine_defaults({})["bf16"]) == (False, True)
    assert "bf16" not in machine_defaults({"fp16": True})
    assert machine_defaults({"use_cpu": True})["bf16"] is False


@pytest.mark.parametrize("name", ["paper", "micro"])
def test_the_configs_that_ship(name: str) -> None:
    recipe = read(CONFIGS / name / "sft.yaml")
    arguments = recipe.arguments(trl.SFTConfig)
    if name == "paper":  # section 5.2
        batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        assert (arguments.num_train_epochs, arguments.learning_rate, batch) == (3, 1e-6, 16)
        assert (recipe.ours.model, recipe.ours.lora) == ("Qwen/Qwen2.5-VL-3B-Instruct", None)
    else:
        assert recipe.ours.model == "micro-base"


@pytest.mark.parametrize(
    ("problem", "kind", "message"),
    [
        (ZeroDivisionError("modulo\nby zero"), InputError, r"recipe\.yaml: modulo by zero$"),
        (RuntimeError("run `pip install wandb`"), MachineError, r"recipe\.yaml: run `pip install wandb`"),
        (MemoryError(), MachineError, r"recipe\.yaml: not enough memory to start training .*; try --lora\.r 16"),
    ],
)
def test_what_libraries_refuse_is_one_line(
    tmp_path: Path, problem: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message), read(write_recipe(tmp_path)).translated_errors():
        raise problem


@pytest.mark.parametrize(
    ("words", "problem", "start"),
    [
        (["--report_to", "nothing"], "nothing is not supported, only wandb are supported.", "--report_to: nothing"),
        (
            ["--report_to", "[tensorboard, wandb]"],
            "WandbCallback requires wandb to be there. Run `pip`.",
            "--report_to: Wandb",
        ),
        (["--lora.r", "8"], "`r` should be a positive integer", "--lora.r: `r` should"),
        (
            ["--lora", "{target_modules: [x]}"],
            "No modules. Please check your `target_modules`",
            "--lora: target_modules: ",
        ),
        (["--seed", "3"], "warmup_steps cannot be read", "{path}: warmup_steps: warmup_steps cannot"),
        (["--loss_type", "nll"], "Unknown loss type: nll", "--loss_type: Unknown"),
        (["--seed", "9" * 20], "Seed must be between 0 and 2**32 - 1", "--seed: Seed must"),
        (["--seed", "3"], "the model has no seed", "{path}: the model"),
    ],
)
def test_what_a_trainer_refuses_names_the_flag_or_the_line(
    tmp_path: Path, words: list[str], problem: str, start: str
) -> None:
    path = write_recipe(tmp_path, warmup_steps=1)
    with pytest.raises(InputError) as raised, read(path, *words).translated_errors():
        raise ValueError(problem)
    assert str(raised.value).startswith(start.format(path=path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learnin_rate", "1"], "--learnin_rate: no such setting; did you mean learning_rate?"),
        (["--learning_rate", "fast"], "--learning_rate: Input should be a valid number"),
        (["--max_completion_length", "0"], "--max_completion_length: must be above 0, not 0"),
        (["--group_size", "0"], "--group_size: no such setting; did you mean num_generations?"),
        (["--loss_type", "grppo"], "--loss_type: 'grppo' is none of its values: grpo, "),
        (["--kl", "los"], "--kl: Input should be 'reward', 'loss' or 'none', not 'los'"),
        (["--beta"], "--beta: has no value; write --beta VALUE"),
    ],
)
def test_what_needs_no_import_of_trl(tmp_path: Path, words: list[str], message: str) -> None:
    """Wrong values were told once TRL was imported, some once the model was loaded."""
    with pytest.raises(InputError) as raised:
        check_early(write_recipe(tmp_path), words, ours=GrpoSettings, theirs="GRPOConfig")
    assert message in str(raised.value)


def test_a_config_of_the_other_stage_is_told_as_one() -> None:
    """Not by a word that only GRPO knows."""
    with pytest.raises(InputError, match="has no effect; it is a key of `train grpo`"):
        sft.train_sft(CONFIGS / "micro/grpo.yaml")


@pytest.mark.parametrize(("config", "stage"), [("SFTConfig", "sft"), ("GRPOConfig", "grpo")])
def test_the_words_are_those_of_trl(config: str, stage: str) -> None:
    trainer = Path(trl.__file__).parent / f"trainer/{stage}_trainer.py"
    sources = trainer.read_text(), trainer.with_name(f"{stage}_config.py").read_text()
    # loss_type == "sapo", loss_type in ["grpo", "sapo"]
    compared = re.findall(r'loss_type (?:==|in|not in) ("\w+"|[\[(][^\])]*)', "".join(sources))
    words = {word for text in compared for word in re.findall(r'"(\w+)"', text)}
    assert words == set(TRL["words"][config]["loss_type"])


def test_optimizers_that_need_a_package_are_those_of_transformers() -> None:
    names = {word.value for word in transformers.training_args.OptimizerNames}
    assert all(any(name.startswith(begin) for name in names) for begin in TRL["optimizer_packages"])
    assert set(TRL["pip_names"]) <= {*TRL["optimizer_packages"].values(), "liger_kernel"}


def test_usual_names_are_no_settings_and_mean_some() -> None:
    known = {*GrpoSettings.model_fields, *field_names(trl.SFTConfig), *field_names(trl.GRPOConfig)}
    assert not known & set(TRL["usual_names"])
    assert {name.partition(".")[0] for name in TRL["usual_names"].values()} <= known
