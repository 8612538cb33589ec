"""What other frameworks read: parsed by the field names of their documentation, with limits that lose nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import transformers
import yaml
from PIL import Image

from helpers.skeletons import FakeTeacher, draw, truthful
from helpers.tutored import build
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.review.decisions import ReviewDecision, append_decision
from lad_reasoner.data.review.session import read_reviewable
from lad_reasoner.data.sets.built_set import read_entries
from lad_reasoner.data.sets.check import check_set
from lad_reasoner.data.sets.export import export_set
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sets.sft import build_sft, plan_sft
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError, InputError, RecordError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "lamp"
    for i in range(3):
        draw(folder / f"good/{i}.png", i, side=1024)
        draw(folder / f"bad/{i}.png", 9 + i, side=100 + i)
    return folder


@pytest.fixture
def sft(source: Path, tmp_path: Path) -> Path:
    plan = plan_sft(gather([find_samples(source)]), read_mmad(), good_share=0.5)
    list(build_sft(tmp_path / "sft", plan, FakeTeacher(truthful)))
    return tmp_path / "sft"


@pytest.fixture
def pairs(source: Path, tmp_path: Path) -> Path:
    list(build_pairs(tmp_path / "pairs", plan_pairs(gather([find_samples(source)]), references=2)))
    return tmp_path / "pairs"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text_of(message: dict[str, Any]) -> str:
    text: str = message["content"][-1]["text"]
    return text


MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
FIELDS = json.loads(Path(__file__).with_name("framework_fields.json").read_text(encoding="utf-8"))
THEIRS = {field.name for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments)}
CLASSES = {  # part of EasyR1's config -> class of its fields
    "data": "DataConfig",
    "algorithm": "AlgorithmConfig",
    "trainer": "TrainerConfig",
    "worker": "WorkerConfig",
    "worker.actor": "ActorConfig",
    "worker.actor.model": "ModelConfig",
    "worker.actor.optim": "OptimConfig",
    "worker.ref": "RefConfig",
    "worker.ref.fsdp": "FSDPConfig",
    "worker.rollout": "RolloutConfig",
    "worker.reward": "RewardConfig",
}


def unknown_to_easyr1(config: dict[str, Any], where: str = "") -> list[str]:
    """Keys that no class of its config has; OmegaConf refuses a structured config with one of these."""
    unknown = []
    for name, value in config.items():
        place = f"{where}.{name}".lstrip(".")
        if where and name not in FIELDS["easyr1"]["classes"][CLASSES[where]]:
            unknown.append(place)
        elif isinstance(value, dict):
            unknown += unknown_to_easyr1(value, place)
    return unknown


def start(script: Path, *, gpus: int | None = None) -> tuple[list[str], dict[str, str]]:
    """(argv, environment) with which train.sh starts a program; a stand-in takes the program's place."""
    bin = script.parent.with_name("bin")
    bin.mkdir(exist_ok=True)
    (bin / "stand_in").write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))\n"
    )
    (bin / "stand_in").chmod(0o755)
    for name in ("swift", "llamafactory-cli"):
        if not (bin / name).exists():
            (bin / name).symlink_to(bin / "stand_in")
    environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
    environment |= {} if gpus is None else {"NPROC_PER_NODE": str(gpus)}
    command = ["sh", str(script), "own"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words, environment = json.loads(done.stdout)
    assert words.pop() == "own"
    return [Path(words[0]).name, *words[1:]], environment


@pytest.mark.posix
def test_llama_factory(sft: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = export_set(sft, out, to="llama-factory")
    settings = yaml.safe_load((out / "train.yaml").read_text())
    assert written.command == f"sh {out / 'train.sh'}"
    assert not set(settings) - set(FIELDS["llama-factory"]["own"]) - THEIRS
    assert settings["model_name_or_path"] == MODEL
    # 16 records a step on any number of GPUs, with the schedule of configs/paper/sft.yaml.
    for gpus in (None, 1, 8):
        words, environment = start(out / "train.sh", gpus=gpus)
        steps = 16 // (gpus or 1)
        expected = ["llamafactory-cli", "train", str(out / "train.yaml"), f"gradient_accumulation_steps={steps}"]
        assert (words, environment["NPROC_PER_NODE"]) == (expected, str(gpus or 1))
    assert (settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]) == (1, 16)
    assert (settings["lr_scheduler_type"], settings["warmup_ratio"]) == ("cosine", 0.1)
    info = json.loads((Path(settings["dataset_dir"]) / "dataset_info.json").read_text())[settings["dataset"]]
    assert info["formatting"] == "sharegpt"
    columns, tags = info["columns"], info["tags"]
    found = lines(out / info["file_name"])
    assert len(found) == written.records == 6
    for line, entry in zip(found, read_entries(sft), strict=True):
        user, assistant = line[columns["messages"]]
        assert (user[tags["role_tag"]], assistant[tags["role_tag"]]) == (tags["user_tag"], tags["assistant_tag"])
        assert user[tags["content_tag"]] == f"<image>{text_of(entry.messages[0])}"
        assert assistant[tags["content_tag"]] == text_of(entry.messages[1])
        [name] = line[columns["images"]]
        with Image.open(Path(settings["media_dir"]) / name) as image:
            assert image.width * image.height <= settings["image_max_pixels"]
    assert settings["image_max_pixels"] == 1036 * 1036  # 37 patches of 28 pixels; its default is 768 * 768
    assert settings["cutoff_len"] >= 37 * 37 + 50
    assert (settings["stage"], settings["finetuning_type"]) == ("sft", "full")
    assert (settings["learning_rate"], settings["num_train_epochs"]) == (1e-6, 3)


def test_easyr1(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_set(pairs, out, to="easyr1", model="runs/sft/model")
    config = yaml.safe_load((out / "config.yaml").read_text())
    data = config["data"]
    found = lines(Path(data["train_files"]))
    for line, entry in zip(found, read_entries(pairs), strict=True):
        assert line[data["prompt_key"]] == f"<image><image><image>{text_of(entry.messages[0])}"
        assert line[data["answer_key"]] == entry.label
        assert tuple(line[data["image_key"]]) == entry.images_file_names
        for name in line[data["image_key"]]:
            with Image.open(Path(data["image_dir"]) / name) as image:
                assert data["min_pixels"] <= image.width * image.height <= data["max_pixels"]
    # Its default of 2,048 would drop, silently, every pair of two such pictures.
    assert data["filter_overlong_prompts"] is True
    assert data["max_prompt_length"] >= 2 * 37 * 37
    assert config["worker"]["rollout"]["limit_images"] == 3
    assert config["trainer"]["max_steps"] == 50
    assert config["worker"]["actor"]["optim"]["lr"] == 1e-6
    assert unknown_to_easyr1(config) == []
    assert config["worker"]["actor"]["model"]["model_path"] == "runs/sft/model"
    assert config["worker"]["rollout"]["n"] == 8
    # The KL in the reward, as in equation 7: in the loss its estimator `kl` has no gradient.
    algorithm = config["algorithm"]
    assert (algorithm["disable_kl"], algorithm["use_kl_loss"], algorithm["kl_penalty"]) == (False, False, "kl")
    assert "wandb" not in config["trainer"]["logger"]
    tokens = data["max_prompt_length"] + data["max_response_length"]
    assert config["worker"]["rollout"]["max_num_batched_tokens"] >= tokens  # its rollouts refuse less
    assert config["worker"]["ref"]["fsdp"]["torch_dtype"] == "fp32"
    path, function = config["worker"]["reward"]["reward_function"].split(":")
    scope: dict[str, Any] = {}
    exec(Path(path).read_text(), scope)
    assert scope["REWARD_TYPE"] == "batch"
    scores = scope[function](
        [
            {"response": "<think>One is missing.</think><answer>yes</answer>", "ground_truth": "yes"},
            {"response": "<think>One is missing.</think><answer>yes</answer>", "ground_truth": "no"},
            {"response": "yes", "ground_truth": "yes"},
        ]
    )
    assert [score["overall"] for score in scores] == [1.0, 0.5, 0.0]


def swift_options(words: list[str]) -> dict[str, list[str]]:
    """The values of each option."""
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            options[word.removeprefix("--")] = []
        else:
            options[next(reversed(options))].append(word)
    assert not set(options) - set(FIELDS["ms-swift"]["own"]) - THEIRS
    return options


@pytest.mark.posix
def test_ms_swift_sft(sft: Path, tmp_path: Path) -> None:
    export_set(sft, tmp_path / "o ut", to="ms-swift")
    words, environment = start(tmp_path / "o ut/train.sh", gpus=4)
    assert words[:2] == ["swift", "sft"]
    options = swift_options(words[2:])
    assert [environment["MAX_PIXELS"]] == options["max_pixels"] == [str(1036 * 1036)]
    assert int(options["max_length"][0]) >= 37 * 37 + 50
    # All weights, in the precision that keeps small steps; 16 records a step.
    assert (options["tuner_type"], options["torch_dtype"]) == (["full"], ["float32"])
    assert (options["per_device_train_batch_size"], options["gradient_accumulation_steps"]) == (["1"], ["4"])
    assert options["model"] == [MODEL]
    for line, entry in zip(lines(Path(options["dataset"][0])), read_entries(sft), strict=True):
        assert line.keys() == {"messages", "images"}
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert line["messages"][0]["content"].count("<image>") == len(line["images"]) == 1
        assert Path(line["images"][0]).is_absolute()
        assert Path(line["images"][0]).read_bytes() == (sft / entry.images_file_names[0]).read_bytes()


@pytest.mark.posix
def test_ms_swift_pairs(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "sft model").mkdir()
    with pytest.raises(InputError, match=r"sft model has no config\.json; give a model's folder"):
        export_set(pairs, tmp_path / "out", to="ms-swift", model=str(tmp_path / "sft model"))
    (tmp_path / "sft model" / "config.json").touch()
    export_set(pairs, tmp_path / "out", to="ms-swift", model=str(tmp_path / "sft model"))
    for gpus in (1, 8):
        words, _ = start(tmp_path / "out/train.sh", gpus=gpus)
        options = swift_options(words[2:])
        at_once, steps = (
            int(options[name][0]) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
        )
        assert at_once * steps * gpus == 64 * 8  # 64 pairs a step, which 8 generations divide
    assert options["num_generations"] == ["8"]
    assert words[:2] == ["swift", "rlhf"]
    assert options["rlhf_type"] == ["grpo"]
    assert options["model"] == [str(tmp_path / "sft model")]
    assert (options["tuner_type"], options["torch_dtype"]) == (["full"], ["float32"])
    assert int(options["max_length"][0]) >= 2 * 37 * 37
    found = lines(Path(options["dataset"][0]))
    assert [line["solution"] for line in found] == [entry.label for entry in read_entries(pairs)]
    for line in found:
        assert "label" not in line  # that is another thing there
        [message] = line["messages"]
        assert message["content"].count("<image>") == len(line["images"]) == 3


@pytest.mark.posix
def test_the_rewards_of_ms_swift(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_set(pairs, tmp_path / "out", to="ms-swift", model=MODEL)
    options = swift_options(start(tmp_path / "out/train.sh")[0][2:])
    rewards: dict[str, Any] = {}
    swift = ModuleType("swift.rewards")
    swift.__dict__.update(ORM=object, orms=rewards)
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", swift)
    exec(Path(options["external_plugins"][0]).read_text(), {})
    assert list(rewards) == options["reward_funcs"]
    assert [float(weight) for weight in options["reward_weights"]] == [0.5, 0.5]
    texts = ["<think>One is missing.</think><answer>yes</answer>"] * 2 + ["yes"]
    structure, accuracy = (reward()(completions=texts, solution=["yes", "no", "yes"]) for reward in rewards.values())
    assert (structure, accuracy) == ([1, 1, 0], [1, 0, 0])


@pytest.mark.posix
def test_a_number_of_gpus_that_does_not_divide_the_batch(sft: Path, tmp_path: Path) -> None:
    export_set(sft, tmp_path / "out", to="llama-factory")
    environment = {**os.environ, "NPROC_PER_NODE": "3"}
    done = subprocess.run(["sh", str(tmp_path / "out/train.sh")], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "NPROC_PER_NODE must divide 16\n")


def test_pairs_need_the_model_that_grpo_starts_from(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--model: is missing; GRPO starts from the model after SFT"):
        export_set(pairs, tmp_path / "out", to="easyr1")
    assert not (tmp_path / "out").exists()


def test_a_smaller_budget_of_pixels(pairs: Path, tmp_path: Path) -> None:
    export_set(pairs, tmp_path / "out", to="easyr1", model=MODEL, max_pixels=28 * 28 * 100)
    data = yaml.safe_load((tmp_path / "out/config.yaml").read_text())["data"]
    assert data["max_pixels"] == 28 * 28 * 100
    assert 3 * 9 < data["max_prompt_length"] < 3 * 100 + 200


def test_what_the_review_decided(sft: Path, pairs: Path, tmp_path: Path) -> None:
    first, second, *_ = [entry.id for entry in read_entries(sft)]
    append_decision(sft, ReviewDecision(id=first, decision="reject"))
    append_decision(sft, ReviewDecision(id=second, decision="edit", answer="The shade is torn."))
    assert export_set(sft, tmp_path / "out", to="llama-factory").records == 5
    assert lines(tmp_path / "out/data.jsonl")[0]["messages"][1]["content"] == "The shade is torn."
    entries = read_entries(pairs)
    append_decision(pairs, ReviewDecision(id=entries[0].id, decision="edit", answer="no"))
    export_set(pairs, tmp_path / "easy", to="easyr1", model=MODEL)
    assert [line["answer"] for line in lines(tmp_path / "easy/data.jsonl")] == ["no", *(e.label for e in entries[1:])]
    for entry in entries:
        append_decision(pairs, ReviewDecision(id=entry.id, decision="reject"))
    with pytest.raises(InputError, match="no record is left"):
        export_set(pairs, tmp_path / "none", to="easyr1")


def test_what_a_framework_does_not_train(sft: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not train on a set of pairs; give --to easyr1 or ms-swift"):
        export_set(pairs, tmp_path / "out", to="llama-factory")
    with pytest.raises(InputError, match="does not train on an SFT set; give --to llama-factory or ms-swift"):
        export_set(sft, tmp_path / "out", to="easyr1")
    with pytest.raises(InputError, match="is not empty"):
        export_set(sft, sft, to="llama-factory")
    assert not (tmp_path / "out").exists()


ONE_TEXT = [{"role": "user", "content": "Is it good?"}]  # which has no place for a picture


@pytest.mark.parametrize("change", [{"messages": []}, {"query": 7}, {"messages": ONE_TEXT}], ids=str)
def test_a_record_that_does_not_fit_its_task_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = build(tmp_path / "set", task="pair", records=2)
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    records[0] |= change
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for to in ("easyr1", "ms-swift", "mmad"):
        with pytest.raises(InputError, match=r"set: r00: .*; build it again"):
            export_set(folder, tmp_path / "out", to=to, model="m")  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["easyr1", "lmms-eval"])
def test_a_picture_that_other_programs_do_not_open_is_not_exported(tmp_path: Path, to: str) -> None:
    folder = build(tmp_path / "set", task="pair", records=2)
    (folder / "images/00.png").rename(folder / "images/00.HEIC")
    whole = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(whole.replace("images/00.png", "images/00.HEIC"))
    with pytest.raises(InputError, match=r"set: r00: images/00\.HEIC: other programs do not open HEIC; build the set"):
        export_set(folder, tmp_path / "out", to=to, model="m")  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["easyr1", "lmms-eval"])
def test_a_picture_that_would_be_a_program_beside_the_framework_is_not_exported(tmp_path: Path, to: str) -> None:
    """Python finds modules, and lmms-eval the settings of tasks, in the folder of the export."""
    folder = tmp_path / "set"
    build(folder, task="pair", records=2)
    whole = (folder / "metadata.jsonl").read_text()
    for name in ("images/task.yaml", "torch.py", "images/sitecustomize"):
        (folder / name).write_bytes((folder / "images/00.png").read_bytes())
        (folder / "metadata.jsonl").write_text(whole.replace("images/00.png", name))
        with pytest.raises(InputError, match=f"set: r00: {name} has no picture's suffix"):
            export_set(folder, tmp_path / "out", to=to, model="m")  # type: ignore[arg-type]
    (folder / "metadata.jsonl").write_text(whole)
    (folder / "images/00.png").write_text("import os")
    with pytest.raises(ImageError, match=r"00\.png: "):
        export_set(folder, tmp_path / "out", to=to, model="m")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../escaped.png", "/etc/hostname.png", "images/link.png"])
def test_a_name_that_leads_out_of_the_set_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a/b/set"
    build(folder, records=2)
    (tmp_path / "secret.png").write_bytes((folder / "images/00.png").read_bytes())
    (folder / "images/link.png").symlink_to(tmp_path / "secret.png")
    lines = (folder / "metadata.jsonl").read_text().replace("images/00.png", name)
    (folder / "metadata.jsonl").write_text(lines)
    with pytest.raises(InputError, match=r"set: r00: .* leads out of the set; build it again"):
        export_set(folder, tmp_path / "out", to="llama-factory")
    assert not (tmp_path / "out").exists()
    assert "a path leads out of the folder" in check_set(folder).errors
    with pytest.raises(RecordError, match=r"metadata\.jsonl:1: .* leads out of the set"):
        read_reviewable(folder)
