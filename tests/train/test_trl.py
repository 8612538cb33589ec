"""Built sets as TRL takes them: `datasets.load_dataset`, then a step of SFTTrainer and of GRPOTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers import tiny
from lad_reasoner.answers import parse_response
from lad_reasoner.data.mmad import read_mmad
from lad_reasoner.data.sets.built_set import read_entries
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import Pool, gather
from lad_reasoner.data.sets.sft import build_sft, plan_sft
from lad_reasoner.data.sources import find_samples
from lad_reasoner.data.teachers.offline import OfflineTeacher
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.miniloco import write_benchmark

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")
# Their own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test tubes are what `datasets` would take for a test split, by their name."""
    folder = tmp_path_factory.mktemp("trl")
    list(write_benchmark(folder / "source", products=["test_tubes", "bolt_plate"], per_class=2, size=64))
    tiny.save_qwen(folder / "model")
    return folder


def load(folder: Path, cache: Path) -> Any:
    data = datasets.load_dataset(str(folder), cache_dir=str(cache))
    assert list(data) == ["train"]
    return data["train"]


def found(folder: Path) -> Pool:
    return gather([find_samples(folder / "source")])


def settings(folder: Path) -> dict[str, Any]:
    common = {"output_dir": str(folder / "out"), "max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True}
    return {**common, "bf16": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True}


def test_sft(folder: Path) -> None:
    list(build_sft(folder / "sft", plan_sft(found(folder), read_mmad(), good_share=0.4), OfflineTeacher()))
    data, entries = load(folder / "sft", folder / "cache"), read_entries(folder / "sft")
    assert data["id"] == [entry.id for entry in entries]
    assert set(data["label"]) == {"yes", "no"}
    [image] = data[0]["images"]
    assert image.size == (64, 48)
    checkpoint = load_checkpoint(folder / "model")
    arguments = trl.SFTConfig(**settings(folder), max_length=None)
    trainer = trl.SFTTrainer(
        model=checkpoint.model, args=arguments, train_dataset=data, processing_class=checkpoint.processor
    )
    assert trainer.train().training_loss > 0


def test_grpo(folder: Path) -> None:
    list(build_pairs(folder / "pairs", plan_pairs(found(folder), references=2)))
    data, entries = load(folder / "pairs", folder / "cache"), read_entries(folder / "pairs")
    assert data["label"] == [entry.label for entry in entries]
    assert [len(images) for images in data["images"]] == [3] * len(entries)
    given: list[tuple[str, str]] = []

    def reward(completions: list[Any], label: list[str], **columns: Any) -> list[float]:
        given.extend(zip(columns["id"], label, strict=True))
        return [
            float(parse_response(turns[0]["content"]).answer == word)
            for turns, word in zip(completions, label, strict=True)
        ]

    checkpoint = load_checkpoint(folder / "model")
    arguments = trl.GRPOConfig(**settings(folder), num_generations=2, max_completion_length=4)
    trainer = trl.GRPOTrainer(
        model=checkpoint.model,
        reward_funcs=reward,
        args=arguments,
        train_dataset=data,
        processing_class=checkpoint.processor,
    )
    trainer.train()
    assert given
    assert set(given) <= {(entry.id, entry.label) for entry in entries}
