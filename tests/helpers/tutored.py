"""A small built data set with an answer of its own for each record, and a recipe for training a tiny model on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from helpers import tiny
from lad_reasoner.data.sets.built_set import Builder, Entry
from lad_reasoner.prompts import PROMPT_VERSION, build_messages

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]


def build(folder: Path, *, task: str = "sft", records: int = 12, labels: tuple[str, ...] = ("yes", "no")) -> Path:
    """Records r00, r01 … of which each answer is a number in words; labels take turns."""
    with Builder(folder, task, {}) as builder:  # type: ignore[arg-type]
        for at in range(records):
            label = labels[at % len(labels)]
            names = [f"images/{at:02}.png"] if task == "sft" else [f"images/{at:02}_good.png", f"images/{at:02}.png"]
            turns: list[dict[str, Any]] = build_messages(1)
            if task == "sft":
                asked = [{"type": "image"}, {"type": "text", "text": "How many red screws?"}]
                told = [{"type": "text", "text": f"The query shows {NUMBERS[at % 12]}."}]
                turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
            entry = Entry(
                id=f"r{at:02}",
                images_file_names=tuple(names),
                messages=turns,
                prompt=None if task == "sft" else turns,
                task=task,  # type: ignore[arg-type]
                question="count" if task == "sft" else None,
                query=len(names) - 1,
                label=label,  # type: ignore[arg-type]
                kind="good" if label == "no" else "logical",
                dataset="mine",
                category="screws",
                defect=None,
                source=f"screws/{at:02}.png",
                licence="mine",
                prompt_version=PROMPT_VERSION,
            )
            files = {}
            for nth, name in enumerate(names):
                files[name] = folder.with_name(f"{folder.name}-source") / name
                files[name].parent.mkdir(parents=True, exist_ok=True)
                tiny.picture(2 * at + nth, 84, 56).save(files[name])
            builder.add(entry, files)
        builder.finish([f"r{at:02}" for at in range(records)], {})
    shutil.rmtree(folder.with_name(f"{folder.name}-source"))
    return folder


def write_recipe(folder: Path, **settings: Any) -> Path:
    """folder/recipe.yaml for folder/model and folder/data; settings win."""
    fields: dict[str, Any] = {
        "model": str(folder / "model"),
        "data": str(folder / "data"),
        "output_dir": str(folder / "run"),
        "max_steps": 1,
        "learning_rate": "1e-2",
        "per_device_train_batch_size": 2,
        "gradient_checkpointing": "false",
        "logging_steps": 1,
        "report_to": "none",
        **settings,
    }
    path = folder / "recipe.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()), encoding="utf-8")
    return path
