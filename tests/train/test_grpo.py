"""GRPO runs: their settings, what they leave behind, bad input, killed and resumed, two processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.tutored import build, write_recipe
from lad_reasoner.answers import parse_response
from lad_reasoner.cli.train import show_samples
from lad_reasoner.errors import InputError, MachineError, StoppedError
from lad_reasoner.prompts import RESPONSE_TOKENS
from lad_reasoner.train import grpo
from lad_reasoner.train.grpo import UNREAD, GrpoSettings, make_arguments
from lad_reasoner.train.rollouts import Rollouts
from lad_reasoner.train.settings import TRL, TrainSettings, check_packages, read_recipe
from lad_reasoner.train.trainer import StructuredGRPOTrainer

trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = {
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 48,
    "learning_rate": "1e-3",
    "reward_weights": "[0.5, 0.5]",
    "beta": 0.01,
    "loss_type": "grpo",
    "save_steps": 1,
    "use_cpu": "true",
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo")
    tiny.save_qwen(folder / "model")
    build(folder / "data", task="pair", records=6)
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

    def keep(trainer: Any, recipe: Any, run: Any, records: Any, *, pictures: Any) -> Path:
        trainers.append(trainer)
        return Path(recipe.out)

    monkeypatch.setattr(grpo, "publish", keep)
    return trainers


def recipe_of(path: Path, *words: str) -> Any:
    return read_recipe(path, words, ours=GrpoSettings, theirs=trl.GRPOConfig, unread=UNREAD)


@pytest.mark.parametrize("name", ["paper/grpo", "micro/grpo", "one-gpu/80gb", "one-gpu/24gb"])
def test_the_configs_that_ship(name: str) -> None:
    recipe = recipe_of(CONFIGS / f"{name}.yaml", "--bf16", "false")
    arguments = make_arguments(recipe)
    assert recipe.ours.rewards == ["structure", "accuracy"]
    assert arguments.reward_weights == [0.5, 0.5]  # section 5.2
    assert recipe.ours.kl == "reward"  # equation 7
    assert arguments.beta > 0
    assert arguments.generation_batch_size % arguments.num_generations == 0
    responses = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    if name == "paper/grpo":
        assert (arguments.max_steps, arguments.learning_rate) == (50, 1e-6)
        assert responses * 8 == 64 * arguments.num_generations  # a batch of 64 pairs on 8 GPUs
    if name == "one-gpu/80gb":
        assert responses == 64 * arguments.num_generations
    if name == "one-gpu/24gb":
        assert recipe.ours.lora is not None
        assert arguments.gradient_checkpointing
        assert arguments.optim == "adamw_bnb_8bit"
    assert recipe.ours.structured
    if name != "micro/grpo":
        assert arguments.max_completion_length == RESPONSE_TOKENS
    assert arguments.vllm_structured_outputs_regex is None  # the trainer sets it, see test_rollouts.py


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero3"])
def test_accelerate_reads_its_files(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = CONFIGS / "accelerate" / f"{name}.yaml"
    config = load_config_from_file(str(path))
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}
    assert config.distributed_type.value == kinds[name]
    assert (config.num_processes, config.mixed_precision) == (8, "bf16")
    parser = launch_command_parser()
    arguments, _, _ = _validate_launch_command(parser.parse_args(["--config_file", str(path), "x"]))
    assert arguments.num_processes == 8
    sharded = {"ddp": "", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]
    assert (bool(arguments.use_fsdp), bool(arguments.use_deepspeed)) == (sharded == "FSDP", sharded == "DEEPSPEED")
    if sharded == "FSDP":
        assert (int(arguments.fsdp_version), arguments.fsdp_state_dict_type) == (2, "FULL_STATE_DICT")
        names = {f"--{key}" for key in config.fsdp_config}
        assert names <= set(parser._option_string_actions)
    if sharded == "DEEPSPEED":
        assert int(arguments.zero_stage) == 3
        assert {f"--{key}" for key in config.deepspeed_config} <= set(parser._option_string_actions)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kl", "none"], "beta: has no effect with kl: none"),
        (["--beta", "0"], "^--beta: the coefficient of the KL must be above 0; or set kl: none$"),
        (["--importance_sampling_level", "sequence"], "has no effect; set importance"),
        (["--multi_objective_aggregation", "normalize_then_sum"], "needs multi_objective_aggregation"),
        (
            ["--reward_weights", "[1]"],
            "^--reward_weights: must be 2 numbers, one for each of structure, accuracy; not 1$",
        ),
        (
            ["--rewards", "[accuracy]"],
            r"recipe\.yaml: reward_weights: must be 1 number, one for each of accuracy; not 2$",
        ),
        (["--reward_weights", "[.nan, 1]"], "^--reward_weights: must be finite numbers"),
        (["--reward_weights", "[0, 0]"], "^--reward_weights: all are 0, so that nothing would be learned; raise one$"),
        (["--num_generations", "3"], "must be divisible by num_generations"),
        (["--num_generations", "0"], "^--num_generations: must be above 0, not 0$"),
        (["--num_generations", "1"], "^--num_generations: GRPO requires at least 2 generations"),
        (["--num_generations", "3"], "^--num_generations: generation_batch_size"),
        (["--steps_per_generation", "0"], "^--steps_per_generation: must be above 0, not 0$"),
        (["--epsilon", "-1"], r"^--epsilon: must be above 0, not -1\.0$"),
        (["--epsilon_high", "-1"], "^--epsilon_high: must be at least 0"),
        (["--top_p", "2"], r"^--top_p: must be at most 1, not 2\.0$"),
        (["--top_p", "0"], "^--top_p: must be above 0"),
        (["--temperature", "-1"], "^--temperature: must be above 0"),
        (["--temperature", "0"], "^--temperature: must be above 0"),
        (["--sample_steps", "true"], "^--sample_steps: must be a number, not true$"),
        (["--beta", "-1"], "^--beta: the coefficient of the KL must be above 0"),
        (["--kl", "rewards"], "--kl"),
        (["--rewards", "structure, accuracy"], r"^--rewards: must be a list; write \[structure, accuracy\]$"),
        (["--rewads", "[structure]"], "did you mean rewards"),
        (["--skip_flat_groups", "true", "--rewards", "[structure, consistent]"], "looks at the reward accuracy"),
        (["--resample_flat_groups", "2", "--use_vllm", "true"], "samples in this process; set use_vllm: false"),
        (
            ["--reward_weights", "[1, 0]"],
            r"recipe\.yaml: rewards: structure alone teaches nothing with structured: true",
        ),
        (
            ["--rewards", "[structure]", "--reward_weights", "[1]"],
            "^--rewards: structure alone teaches nothing with structured: true, .*; add accuracy, or set structured",
        ),
        (["--resample_flat_groups", "-1"], "resample_flat_groups"),
        (["--mask_truncated_completions", "true"], "has no effect with structured: true"),
    ],
)
def test_settings_that_contradict_each_other(folder: Path, words: list[str], message: str) -> None:
    path = write_recipe(folder, **SETTINGS)
    with pytest.raises(InputError, match=message):
        make_arguments(recipe_of(path, *words))


def test_a_config_of_the_other_stage(folder: Path) -> None:
    path = write_recipe(folder, seed=3)
    with pytest.raises(InputError, match="has no key of GRPO, so it is a config of `train sft`; run that, or give one"):
        grpo.train_grpo(path)
    with pytest.raises(InputError, match=r"recipe\.yaml: beta: the coefficient of the KL must be above 0"):
        grpo.train_grpo(path, ["--rewards", "[structure]"])
    with pytest.raises(InputError, match="--max_length: has no effect; it is a key of `train sft`"):
        grpo.train_grpo(path, ["--max_length", "9"])


def test_a_set_with_too_few_pairs_for_a_round(
    folder: Path, trained: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_recipe(folder, **SETTINGS)
    with pytest.raises(InputError, match=r"a round samples responses to 8 pairs .*, and .*data has 6; build more, or"):
        grpo.train_grpo(path, ["--per_device_train_batch_size", "32"])
    assert not (folder / "run" / "run.json").exists()
    grpo.train_grpo(path, ["--per_device_train_batch_size", "16", "--shuffle_dataset", "false"])
    assert "data: its last 2 pairs are in no round of 4 pairs, in any epoch" in caplog.text


def test_what_our_keys_mean_to_trl(folder: Path) -> None:
    path = write_recipe(folder, **SETTINGS)
    assert make_arguments(recipe_of(path)).importance_sampling_level == "token"
    make_arguments(recipe_of(path, "--reward_weights", "[1, 0]", "--structured", "false"))  # the form is taught
    assert make_arguments(recipe_of(path, "--importance", "sequence")).importance_sampling_level == "sequence"
    own = make_arguments(recipe_of(path, "--use_vllm", "true", "--vllm_structured_outputs_regex", "a+"))
    assert own.vllm_structured_outputs_regex == "a+"


def test_losses_of_others_by_the_names_of_trl(folder: Path) -> None:
    """DAPO, Dr. GRPO and GSPO, as docs/training.md gives them."""
    path = write_recipe(folder, **SETTINGS)
    words = [
        "--loss_type",
        "dapo",
        "--epsilon_high",
        "0.28",
        "--kl",
        "none",
        "--beta",
        "0",
        "--skip_flat_groups",
        "true",
    ]
    dapo = make_arguments(recipe_of(path, *words, "--structured", "false", "--mask_truncated_completions", "true"))
    assert (dapo.loss_type, dapo.epsilon_high, dapo.beta, dapo.mask_truncated_completions) == ("dapo", 0.28, 0, True)
    dr = make_arguments(recipe_of(path, "--loss_type", "dr_grpo", "--scale_rewards", "none"))
    assert (dr.loss_type, dr.scale_rewards) == ("dr_grpo", "none")
    assert make_arguments(recipe_of(path, "--importance", "sequence")).importance_sampling_level == "sequence"


@pytest.mark.parametrize(("name", "column"), [("faithful", "facts"), ("places", "masks")])
def test_a_reward_without_anything_to_judge_by(folder: Path, name: str, column: str) -> None:
    path = write_recipe(folder, **SETTINGS, rewards=f"[structure, {name}]")
    with pytest.raises(InputError, match=rf"recipe\.yaml: rewards: {name} needs {column}, and no record of .*data has"):
        grpo.train_grpo(path)


def test_the_page_about_training_names_every_key_and_its_default() -> None:
    page = (CONFIGS.parent / "docs" / "training.md").read_text(encoding="utf-8")
    own = {name: field for name, field in GrpoSettings.model_fields.items() if name not in TrainSettings.model_fields}
    assert {"kl", "importance"} <= own.keys()
    for name, field in own.items():
        value = f"[{', '.join(field.default)}]" if isinstance(field.default, list) else str(field.default).lower()
        assert any(line in page for line in (f"| `{name}` | `{value}` |", f"| `{name}` | {value} |")), name


def test_packages_that_are_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(folder, **SETTINGS)
    recipe = recipe_of(path)
    vllm = make_arguments(recipe_of(path, "--use_vllm", "true"))
    bits = make_arguments(recipe_of(path, "--optim", "adamw_bnb_8bit"))
    plain = make_arguments(recipe)
    lomo = make_arguments(recipe_of(path, "--optim", "lomo"))
    liger = make_arguments(recipe_of(path, "--use_liger_kernel", "true"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MachineError, match="needs vllm: pip install vllm, or set use_vllm: false"):
        check_packages(recipe, vllm)
    with pytest.raises(MachineError, match=r"needs bitsandbytes: .*or set optim: adamw_torch"):
        check_packages(recipe, bits)
    with pytest.raises(MachineError, match=r"^optim: lomo needs lomo-optim: pip install lomo-optim, or set optim: "):
        check_packages(recipe, lomo)
    with pytest.raises(MachineError, match=r"^use_liger_kernel: true needs liger-kernel: .*use_liger_kernel: false"):
        check_packages(recipe, liger)
    check_packages(recipe, plain)


def test_what_trl_refuses_is_told_with_the_flag(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(folder, **{**SETTINGS, "kl": "none", "beta": 0})
    with pytest.raises(InputError, match=r"^--sync_ref_model: .*sync_ref_model"):
        grpo.train_grpo(path, ["--sync_ref_model", "true"])
    with pytest.raises(InputError, match=r"^--loss_type: 'gspo' is none of its values: grpo, bnpo, "):
        grpo.train_grpo(path, ["--loss_type", "gspo"])
    monkeypatch.setitem(TRL["words"]["GRPOConfig"], "loss_type", ["gspo"])  # a word that only TRL refuses
    with pytest.raises(InputError, match=r"^--loss_type: Unknown loss type: gspo"):  # seen in the first step only
        grpo.train_grpo(path, ["--loss_type", "gspo"])


def test_a_run_and_what_it_leaves(folder: Path, trained: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(folder, **SETTINGS, max_steps=2, sample_steps=1, lora="{r: 4}", freeze_vision="true")
    out = grpo.train_grpo(path, ["--report_to", "tensorboard"], show_samples=show_samples)
    [trainer] = trained
    assert trainer.ref_model is None  # the frozen model is the one without its adapter
    history = [line for line in trainer.state.log_history if "loss" in line]
    named = {"reward", "reward_penalised", "yes_rate", "zero_spread", "kl", "response_length", "forced_ends", "entropy"}
    assert all(named <= line.keys() for line in history)
    assert history[0]["kl_sequence"] == pytest.approx(0, abs=1e-3)
    assert (out / "curves.png").stat().st_size > 1000
    run = json.loads((out / "run.json").read_text())
    assert (run["stage"], run["records"], run["config"]["kl"]) == ("grpo", 6, "reward")
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in samples] == [1] * 4 + [2] * 4
    assert all(parse_response(line["response"]).answer == line["answer"] != "invalid" for line in samples)
    written = capfd.readouterr()
    assert "Sampled at step 2" in written.err
    assert written.out == ""

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [events] = {file.parent for file in out.rglob("events.out.*")}
    tags = EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {f"train/{name}" for name in named} <= set(tags)
    labels = {name.rpartition("/")[2] for name in tags if name.startswith("train/rewards/accuracy_reward/")}
    assert labels & {"yes", "no"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('depth')", "rewards: own_reward:reward, asked about r0.* raised KeyError: 'depth'; fix it"),
        ("return [1.0]", "returned 1 values for 4 completions"),
        ("await __import__('asyncio').sleep(0); return [1.0]", "returned 1 values for 4 completions"),
        ("return [float('inf')] * len(completions)", "returned inf; a reward is a finite number"),
    ],
)
def test_a_reward_that_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trained: list[Any], body: str, message: str
) -> None:
    head = "async def" if "await" in body else "def"
    (folder / "own_reward.py").write_text(f"{head} reward(completions, **columns):\n    {body}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_reward", raising=False)
    path = write_recipe(folder, **SETTINGS, rewards="[structure, 'own_reward:reward']")
    with pytest.raises(InputError, match=message):
        grpo.train_grpo(path)
    assert not trained


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ("[structure, Acuracy]", "Acuracy: no such reward; did you mean accuracy?"),
        (
            "[structure, mask]",
            "mask: no such reward; give structure, accuracy, faithful, places, consistent or package.module:function",
        ),
        ("[structure, 'no_such_module:f']", "no_such_module:f: cannot be imported (ModuleNotFoundError"),
        ("[structure, 'json:__all__']", "json:__all__: not a function"),
    ],
)
def test_a_reward_that_is_none(folder: Path, rewards: str, message: str) -> None:
    path = write_recipe(folder, **SETTINGS, rewards=rewards)
    with pytest.raises(InputError, match=rf"recipe\.yaml: rewards: {re.escape(message)}"):
        grpo.train_grpo(path)
    with pytest.raises(InputError, match=f"^--rewards: {re.escape(message)}"):
        grpo.train_grpo(path, ["--rewards", rewards])


@pytest.mark.parametrize("tokens", [1, 16])
def test_too_few_tokens_for_a_response(folder: Path, tokens: int) -> None:
    path = write_recipe(folder, **SETTINGS)
    with pytest.raises(
        InputError, match=f"^--max_completion_length: must be at least 17, not {tokens}: the tags take 16"
    ):
        grpo.train_grpo(path, ["--max_completion_length", str(tokens)])
    assert not (folder / "run").exists()


def test_the_fewest_tokens_make_a_whole_response(folder: Path, trained: list[Any]) -> None:
    grpo.train_grpo(write_recipe(folder, **{**SETTINGS, "max_completion_length": 17}, max_steps=1))
    samples = [json.loads(line) for line in (folder / "run" / "samples.jsonl").read_text().splitlines()]
    assert samples
    assert all(parse_response(sample["response"]).structured for sample in samples)


def test_two_rewards_of_one_name(folder: Path) -> None:
    path = write_recipe(folder, **SETTINGS, rewards="[accuracy, 'lad_reasoner.rewards:accuracy_reward']")
    with pytest.raises(InputError, match="rewards: two have the name accuracy_reward, by which they are logged"):
        grpo.train_grpo(path)


def test_a_reward_that_logs_a_number_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trained: list[Any]
) -> None:
    """As TRL's documentation says: `log_metric` is one of the columns."""
    body = "columns['log_metric']('own', 0.25)\n    return [1.0] * len(completions)"
    (folder / "own_logging.py").write_text(f"def reward(completions, **columns):\n    {body}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    grpo.train_grpo(write_recipe(folder, **SETTINGS, rewards="[structure, 'own_logging:reward']"))
    assert trained[0].state.log_history[0]["own"] == 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "format",
            "format: no such reward; give structure, accuracy, faithful, places, consistent or package.module:function",
        ),
        ("no_such_module:f", "cannot be imported"),
        ("json:no_such_function", "cannot be imported"),
        ("json:__name__", "not a function"),
    ],
)
def test_a_reward_that_is_not_there(folder: Path, name: str, message: str) -> None:
    path = write_recipe(folder, **SETTINGS, rewards=f"[structure, '{name}']")
    with pytest.raises(InputError, match=message):
        grpo.train_grpo(path)


def test_a_collapse_stops_the_run_if_asked_to(
    folder: Path, trained: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    # No free response of this model has the form, so that each earns 0.
    settings = {**SETTINGS, "reward_weights": "[1.0]", "kl": "none", "beta": 0, "structured": "false"}
    path = write_recipe(folder, **settings, rewards="[structure]", max_steps=3, guard_steps=2)
    grpo.train_grpo(path, ["--output_dir", str(folder / "warned")])
    assert trained[0].state.global_step == 3
    assert "all responses of each group got the same reward for 2 logged steps" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"stopped at step 2: .*all responses of each group"):
        grpo.train_grpo(path, ["--stop_on_collapse", "true"])
    assert (folder / "run" / "checkpoint-2").is_dir()
    assert (folder / "run" / "curves.png").exists()
    assert len(trained) == 1


def test_sets_that_cannot_be_trained_on(folder: Path, stock: Path) -> None:
    one = build(folder / "one-label", task="pair", records=4, labels=("yes",))
    path = write_recipe(folder, **SETTINGS)
    with pytest.raises(InputError, match="label"):
        grpo.train_grpo(path, ["--data", str(one)])
    build(folder / "questions", records=4)
    with pytest.raises(InputError, match="this stage trains on pairs"):
        grpo.train_grpo(path, ["--data", str(folder / "questions")])
    with pytest.raises(InputError, match=r"6 of 6 records are longer than the model's context, 1024 with 1000.*r00"):
        grpo.train_grpo(path, ["--max_completion_length", "1000"])


def test_memory_that_runs_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("lad_reasoner.train.rollouts.Rollouts.__call__", full)
    with pytest.raises(MachineError, match="--max_completion_length 24 instead of 48") as raised:
        grpo.train_grpo(write_recipe(folder, **SETTINGS))
    assert "--rollout_batch_size 2 (responses sampled at a time)" in str(raised.value)


@pytest.mark.parametrize("structured", ["true", "false"])
def test_weights_that_are_not_finite(folder: Path, trained: list[Any], structured: str) -> None:
    path = write_recipe(folder, **{**SETTINGS, "learning_rate": "1e38"}, max_steps=9, structured=structured)
    with pytest.raises(InputError, match=r"run: its weights are not finite any more, since the training diverged"):
        grpo.train_grpo(path)
    assert not trained


def test_a_picture_that_is_lost_on_the_way(folder: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").unlink()
    data = build(folder / "data", task="pair", records=6)
    sample = Rollouts.__call__

    def lose(self: Any, prompts: Any, trainer: Any) -> Any:
        for picture in (data / "images").iterdir():
            picture.write_bytes(picture.read_bytes()[:100])
        return sample(self, prompts, trainer)

    monkeypatch.setattr(Rollouts, "__call__", lose)
    with pytest.raises(InputError, match=r"\.png.*the checkpoints in .* are kept: repair it, .*--resume"):
        grpo.train_grpo(write_recipe(folder, **SETTINGS, max_steps=3))
    assert (folder / "run" / "checkpoint-1").is_dir()
    assert not trained


def start(folder: Path, *words: str, kill_at: int = -1, processes: int = 1, publish: bool = False) -> Any:
    """helpers/watched_grpo.py in own processes, with folder/recipe.yaml; `folder/RANK.json` tells how each ended."""
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests.parent / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    ends = ["publish" if publish else "keep", str(folder / "recipe.yaml")]
    command = [*launcher, "helpers.watched_grpo", str(folder), str(kill_at), *ends, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the processes of `start`: sums over several threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_in_the_middle_and_gone_on_with(folder: Path, trained: list[Any]) -> None:
    """SIGKILL between sampling and the optimizer's step; the end is that of a run that nothing happened to."""
    path = write_recipe(folder, **SETTINGS, max_steps=4, sample_steps=1)
    killed = start(folder, "--output_dir", str(folder / "chain"), kill_at=2)
    grpo.train_grpo(path, ["--output_dir", str(folder / "whole")])
    assert killed.wait(timeout=300) == -signal.SIGKILL, killed.communicate()
    killed.communicate()
    assert sorted(path.name for path in (folder / "chain").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    grpo.train_grpo(path, ["--output_dir", str(folder / "chain")], resume=True)

    whole, chain = trained
    assert whole.state.global_step == chain.state.global_step == 4
    for (name, weight), other in zip(whole.model.state_dict().items(), chain.model.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name
    kept = [whole.optimizer.state_dict(), chain.optimizer.state_dict()]
    assert kept[0]["param_groups"] == kept[1]["param_groups"]
    for number, moments in kept[0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, kept[1]["state"][number][name])
    # The same records in the same order, and the same responses to them; the step that was done twice is there once.
    samples = [(folder / name / "samples.jsonl").read_text() for name in ("whole", "chain")]
    assert samples[0] == samples[1]
    assert [json.loads(line)["step"] for line in samples[1].splitlines()] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4


@pytest.mark.posix
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "words", [["--num_iterations", "2"], ["--steps_per_generation", "2", "--gradient_accumulation_steps", "1"]]
)
def test_a_round_of_several_steps_is_never_cut(
    folder: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Checkpoints stand where new responses are sampled, so that a resumed run samples the same ones."""
    path = write_recipe(folder, **SETTINGS, max_steps=4, sample_steps=1)
    grpo.train_grpo(path, ["--output_dir", str(folder / "whole"), *words])
    steps = sorted(int(path.name.removeprefix("checkpoint-")) for path in (folder / "whole").glob("checkpoint-*"))
    assert steps == [2, 4]

    loss = StructuredGRPOTrainer._compute_loss

    def signal_once(self: Any, model: Any, inputs: Any) -> Any:
        if self.state.global_step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            monkeypatch.setattr(StructuredGRPOTrainer, "_compute_loss", loss)
        return loss(self, model, inputs)

    monkeypatch.setattr(StructuredGRPOTrainer, "_compute_loss", signal_once)
    own = ["--output_dir", str(folder / "chain"), *words]
    with pytest.raises(StoppedError, match="stopped at step 2 of 4"):
        grpo.train_grpo(path, own)
    grpo.train_grpo(path, own, resume=True)
    whole, chain = trained
    for (name, weight), other in zip(whole.model.state_dict().items(), chain.model.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name
    samples = [(folder / name / "samples.jsonl").read_text() for name in ("whole", "chain")]
    assert samples[0] == samples[1]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("records", "words", "steps", "kept"),
    [
        (6, ["--num_generations", "2"], 6, 4),  # two pairs a step, three steps an epoch
        # An epoch is one round of three batches: a step of two, and one of what is left.
        (3, ["--num_generations", "4", "--steps_per_generation", "3", "--gradient_accumulation_steps", "2"], 4, 2),
    ],
)
def test_a_run_resumed_in_a_later_epoch_sees_the_same_pairs(
    folder: Path, trained: list[Any], records: int, words: list[str], steps: int, kept: int
) -> None:
    (folder / "data").unlink()
    build(folder / "data", task="pair", records=records)
    path = write_recipe(folder, **SETTINGS, max_steps=steps, sample_steps=1)
    grpo.train_grpo(path, ["--output_dir", str(folder / "whole"), *words])
    shutil.copytree(folder / "whole", folder / "chain")
    for checkpoint in (folder / "chain").glob("checkpoint-*"):
        if int(checkpoint.name.removeprefix("checkpoint-")) > kept:
            shutil.rmtree(checkpoint)
    assert (folder / "chain" / f"checkpoint-{kept}").is_dir()
    grpo.train_grpo(path, ["--output_dir", str(folder / "chain"), *words], resume=True)
    whole, chain = trained
    samples = [(folder / name / "samples.jsonl").read_text().splitlines() for name in ("whole", "chain")]
    assert [json.loads(line)["id"] for line in samples[0]] == [json.loads(line)["id"] for line in samples[1]]
    assert samples[0] == samples[1]
    for (name, weight), other in zip(whole.model.state_dict().items(), chain.model.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(folder: Path) -> None:
    write_recipe(folder, **{**SETTINGS, "per_device_train_batch_size": 2}, max_steps=2)
    both = start(folder, processes=2, publish=True)
    _, err = both.communicate(timeout=300)
    assert both.returncode == 0, err
    ends = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [end["step"] for end in ends] == [2, 2]
    assert ends[0]["before"] == ends[1]["before"] != ends[0]["after"]
    assert ends[0]["after"] == ends[1]["after"]
    assert json.loads((folder / "run" / "run.json").read_text())["processes"] == 2
    history = json.loads((folder / "run" / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert history[0]["kl_sequence"] == pytest.approx(0, abs=1e-3)
    # A fresh process has read the finished model back, or there would be none.
    assert (folder / "run" / "model" / "curves.png").exists()
    assert "grpo" in (folder / "run" / "model" / "README.md").read_text()
    # Inspection says when it is given more references than there were here.
    assert json.loads((folder / "run" / "model" / "config.json").read_text())["trained_references"] == 1
