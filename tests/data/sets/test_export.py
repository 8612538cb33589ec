"""What other frameworks read: parsed by the field names of their documentation, with limits that lose nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from helpers.skeletons import FakeTeacher, draw, truthful
from lad_reasoner.data.layouts import find_samples
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.review.decisions import Decision, append_decision
from lad_reasoner.data.sets.built_set import read_entries
from lad_reasoner.data.sets.export import export_set
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sets.sft import build_sft, plan_sft
from lad_reasoner.errors import InputError


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


def test_llama_factory(sft: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = export_set(sft, out, to="llama-factory")
    settings = yaml.safe_load((out / "train.yaml").read_text())
    assert written.command == f"llamafactory-cli train {out / 'train.yaml'}"
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
    export_set(pairs, out, to="easyr1")
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
    path, function = config["worker"]["reward"]["reward_function"].split(":")
    scope: dict[str, Any] = {}
    exec(Path(path).read_text(), scope)
    scores = scope[function](
        [
            {"response": "<think>One is missing.</think><answer>yes</answer>", "ground_truth": "yes"},
            {"response": "<think>One is missing.</think><answer>yes</answer>", "ground_truth": "no"},
            {"response": "yes", "ground_truth": "yes"},
        ]
    )
    assert [score["overall"] for score in scores] == [1.0, 0.5, 0.0]


def options(script: Path) -> tuple[dict[str, str], list[str], dict[str, str]]:
    """(environment, command, options) of a shell script of one command."""
    [line] = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    words = shlex.split(line)
    assert words.pop() == "$@"
    environment = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    words = words[len(environment) :]
    first = next(at for at, word in enumerate(words) if word.startswith("--"))
    return environment, words[:first], dict(zip(words[first::2], words[first + 1 :: 2], strict=True))


def test_ms_swift_sft(sft: Path, tmp_path: Path) -> None:
    export_set(sft, tmp_path / "o ut", to="ms-swift")
    environment, command, flags = options(tmp_path / "o ut/train.sh")
    assert command == ["swift", "sft"]
    assert environment["MAX_PIXELS"] == flags["--max_pixels"] == str(1036 * 1036)
    assert int(flags["--max_length"]) >= 37 * 37 + 50
    for line, entry in zip(lines(Path(flags["--dataset"])), read_entries(sft), strict=True):
        assert line.keys() == {"messages", "images"}
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert line["messages"][0]["content"].count("<image>") == len(line["images"]) == 1
        assert Path(line["images"][0]).is_absolute()
        assert Path(line["images"][0]).read_bytes() == (sft / entry.images_file_names[0]).read_bytes()


def test_ms_swift_pairs(pairs: Path, tmp_path: Path) -> None:
    export_set(pairs, tmp_path / "out", to="ms-swift")
    _, command, flags = options(tmp_path / "out/train.sh")
    assert command == ["swift", "rlhf"]
    assert flags["--rlhf_type"] == "grpo"
    assert int(flags["--max_length"]) >= 2 * 37 * 37
    found = lines(Path(flags["--dataset"]))
    assert [line["solution"] for line in found] == [entry.label for entry in read_entries(pairs)]
    for line in found:
        assert "label" not in line  # that is another thing there
        [message] = line["messages"]
        assert message["content"].count("<image>") == len(line["images"]) == 3


def test_a_smaller_budget_of_pixels(pairs: Path, tmp_path: Path) -> None:
    export_set(pairs, tmp_path / "out", to="easyr1", max_pixels=28 * 28 * 100)
    data = yaml.safe_load((tmp_path / "out/config.yaml").read_text())["data"]
    assert data["max_pixels"] == 28 * 28 * 100
    assert 3 * 9 < data["max_prompt_length"] < 3 * 100 + 200


def test_what_the_review_decided(sft: Path, pairs: Path, tmp_path: Path) -> None:
    first, second, *_ = [entry.id for entry in read_entries(sft)]
    append_decision(sft, Decision(id=first, decision="reject"))
    append_decision(sft, Decision(id=second, decision="edit", answer="The shade is torn."))
    assert export_set(sft, tmp_path / "out", to="llama-factory").records == 5
    assert lines(tmp_path / "out/data.jsonl")[0]["messages"][1]["content"] == "The shade is torn."
    entries = read_entries(pairs)
    append_decision(pairs, Decision(id=entries[0].id, decision="edit", answer="no"))
    export_set(pairs, tmp_path / "easy", to="easyr1")
    assert [line["answer"] for line in lines(tmp_path / "easy/data.jsonl")] == ["no", *(e.label for e in entries[1:])]
    for entry in entries:
        append_decision(pairs, Decision(id=entry.id, decision="reject"))
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
