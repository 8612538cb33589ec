"""Pretraining of micro from random weights: a pool of pictures, then the stages vision, language, joint and trust.

    lad-reasoner train micro configs/micro/base.yaml    from random weights, in half a day on two cores
    lad-reasoner train micro configs/micro/gpu.yaml     micro-base further, in minutes on a GPU

1. pool: pictures of the training products and of free scenes (never of the evaluation products) with their facts.
2. vision: the vision tower learns name, colour and number of the parts in each of its tokens (`perception.py`).
3. language: the vision tower is frozen; the language part learns to describe one picture and to compare two
   (`lessons.py`).
4. joint: both learn together, on pictures that are drawn meanwhile (`joint.py`).
5. trust: the language part responds to pictures of no earlier stage, and learns the right answer after its own
   reasoning (`trust.py`).

But for the stage joint the data of a step depends on the seed, the stage and the step's number only, and checkpoints
contain the optimizer: a resumed run ends with the same weights as an uninterrupted one. The paper starts from
Qwen2.5-VL-3B; this replaces that model's pretraining.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.config import Config, read_yaml
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.whole import write_whole
from lad_reasoner.judges.vlm.checkpoint import find_folder, load_checkpoint, saving
from lad_reasoner.micro import build
from lad_reasoner.micro.joint import Stock, draw_ahead, joint_chunks, joint_loss
from lad_reasoner.micro.language import Script, batch_loss, compile_layers, look_at_all
from lad_reasoner.micro.lessons import Exercise, ExerciseSampler
from lad_reasoner.micro.perception import Heads, compile_blocks, names_in, rarity, see
from lad_reasoner.micro.pool import Chunk, fill_pool, read_pool
from lad_reasoner.micro.trust import lesson_of, own_responses
from lad_reasoner.micro.vision import Deck, augment_shots, lesson_loss, reading_accuracy, stack_lessons
from lad_reasoner.miniloco.catalogue import TRAINING
from lad_reasoner.miniloco.families.free import FAMILIES
from lad_reasoner.progress import ProgressDisplay
from lad_reasoner.prompts import build_prompt
from lad_reasoner.text import first_problem

HELD_OUT = 40  # every fortieth group of free scenes is used for measuring only
FRESH = 1000  # number of the first chunk for the last stage only
SAVE_SECONDS = 180.0
HEADS_FIRST = 200  # steps of the stage joint in which only the heads learn
TAKE_IN = 50  # steps of the stage joint between two looks at what was drawn
NEW = ("heads.", "locate.")  # what a shipped checkpoint does not have

Stage = Literal["vision", "language", "joint", "trust"]
STAGES: tuple[Stage, ...] = ("vision", "language", "joint", "trust")


class StageConfig(Config):
    """One stage: its steps, the exercises of a step, the highest learning rate."""

    steps: int = Field(ge=0)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)


class JointConfig(Config):
    """The stage of both parts together: its minutes, the exercises of a step, the highest learning rate."""

    minutes: float = Field(ge=0)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)


class MicroConfig(Config):
    """All settings of a run."""

    out: Path
    start: str | None = Field(None, description="checkpoint that a run starts from; without it, random weights")
    seed: int = Field(ge=0)
    size: int = Field(ge=112, description="pixels of a picture's long side")
    chunk: int = Field(ge=6, multiple_of=6, description="pictures of a chunk")
    product_chunks: int = Field(ge=1, description="chunks of each training product")
    family_chunks: int = Field(ge=1, description="chunks of each family of free scenes")
    workers: int = Field(ge=1, description="processes that draw pictures")
    compile: bool = Field(description="whether PyTorch compiles the layers, which takes a minute and a C++ compiler")
    # The widths of attention heads, of which there is at least one.
    vision_width: int = Field(ge=32, multiple_of=32)
    vision_depth: int = Field(ge=1)
    text_width: int = Field(ge=128, multiple_of=64)
    text_depth: int = Field(ge=1)
    singles: float = Field(ge=0, le=1, description="share of batches about one picture, in the language stage")
    vision: StageConfig
    language: StageConfig
    joint: JointConfig = JointConfig(minutes=0, batch=1, lr=1e-3)  # of a config without it the stage is left out
    trust: StageConfig
    fresh_chunks: int = Field(ge=1, description="chunks of each product and family that only the last stage sees")
    responses: int = Field(ge=1, description="own responses that the last stage learns from")


def read_config(path: Path) -> MicroConfig:
    """The config of a YAML file; InputError names the file and the field."""
    fields = read_yaml(path)
    if "output_dir" in fields:
        raise InputError(f"{path}: a config of `train sft` or `train grpo`; run that, or give one with out")
    try:
        return MicroConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None


def fresh_chunks(config: MicroConfig) -> list[Chunk]:
    """The chunks for the last stage only."""
    return [
        Chunk(name, FRESH + i, config.chunk, config.size, config.seed)
        for i in range(config.fresh_chunks)
        for name in (*TRAINING, *FAMILIES)
    ]


def pool_chunks(config: MicroConfig) -> list[Chunk]:
    """The chunks for the earlier stages, products and families in turn."""
    wanted = [(name, config.product_chunks) for name in TRAINING]
    wanted += [(name, config.family_chunks) for name in FAMILIES]
    most = max(config.product_chunks, config.family_chunks)
    return [
        Chunk(name, i, config.chunk, config.size, config.seed)
        for i in range(most)
        for name, count in wanted
        if i < count
    ]


class MicroRun:
    """One run in its folder: pool, model, optimizer, and the steps done in each stage."""

    def __init__(self, config: MicroConfig, progress: ProgressDisplay) -> None:
        self.config, self.progress = config, progress
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.folder = config.out
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep_settings()

    def _keep_settings(self) -> None:
        """Write config.json; InputError if the folder was made with other settings than the lengths of the stages."""
        mine = self.config.model_dump(
            mode="json", exclude={"out", "workers", "compile", "fresh_chunks", "responses", *STAGES}
        )
        file = self.folder / "config.json"
        if file.is_file():
            try:
                kept = dict(load_json(file.read_bytes()))
            except (ValueError, TypeError) as error:
                raise InputError(f"{file}: damaged ({error}); give another `out`") from None
            differing = sorted(key for key in mine if mine[key] != kept.get(key))
            if differing:
                raise InputError(f"{self.folder}: this run was started with another {differing[0]}; give another `out`")
        write_whole(file, json.dumps(mine, indent=2) + "\n")

    def train(self) -> Path:
        """Run all remaining stages; returns the folder of the finished model."""
        self._draw(pool_chunks(self.config))
        shots = read_pool(self.folder / "pool")
        wanted = {chunk.stem for chunk in pool_chunks(self.config)}
        self.shots = [shot for shot in shots if shot.chunk in wanted]
        groups = sorted({shot.group for shot in self.shots if shot.facts["product"] in FAMILIES})
        held = set(groups[HELD_OUT // 2 :: HELD_OUT])
        self.held = [shot for shot in self.shots if shot.group in held]
        self.shots = [shot for shot in self.shots if shot.group not in held]
        self.names = {name: number for number, name in enumerate(names_in(self.shots))}
        self.rare = rarity(self.shots, self.names).to(self.device)
        self._build()
        for stage in STAGES:
            self._train_joint() if stage == "joint" else self._train_stage(stage)
        return self.export()

    def export(self) -> Path:
        """Write the current model as a plain Hugging Face folder, which is whole at once; returns the folder."""
        target, half = self.folder / "model", self.folder / ".model.part"
        shutil.rmtree(half, ignore_errors=True)
        with saving(half):
            build.save_micro(self.model, self.tokenizer, half)
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)
        return target

    def _draw(self, chunks: list[Chunk]) -> None:
        done = sum((self.folder / "pool" / f"{chunk.stem}.jsonl").is_file() for chunk in chunks)
        self.progress.stage("pictures", done, len(chunks))
        for count in fill_pool(self.folder / "pool", chunks, workers=self.config.workers):
            self.progress.advance(1, f"{count} more")

    def _build(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        sampler, rng = ExerciseSampler(self.shots), np.random.default_rng(config.seed)
        texts = [exercise.answer for _ in range(100) for exercise in sampler.draw(rng, 20, 0.2)]
        kept = find_folder(config.start) if config.start else self.folder / "model"
        if (kept / "tokenizer.json").is_file():
            # The weights belong to this vocabulary.
            self.tokenizer = build.read_tokenizer(kept)
        else:
            self.tokenizer = build.build_tokenizer([*texts, *[build_prompt(1), build_prompt(2)] * 20])
        self.model = self._first_weights().to(self.device)
        self.heads = Heads(config.text_width, len(self.names)).to(self.device)
        self.locate = torch.nn.Linear(config.text_width, 2).to(self.device)
        self.sampler = sampler
        self.done: dict[str, float] = dict.fromkeys(STAGES, 0)
        self.moments: dict[str, torch.Tensor] = {}
        state = self._state_file()
        if state.is_file():
            try:
                self._restore(state)
            except (
                require("safetensors", "hf").SafetensorError,
                KeyError,
                TypeError,
                ValueError,
                RuntimeError,
            ) as error:
                problem = " ".join(str(error).split())[:200]
                raise InputError(f"{state}: damaged ({problem}); remove it to train from the first step") from None
        compile_blocks(wanted=self.config.compile)
        compile_layers(wanted=self.config.compile)

    def _first_weights(self) -> Any:
        """The model of the first step, in float32."""
        config = self.config
        if config.start is None:
            return build.build_model(
                self.tokenizer,
                vision_width=config.vision_width,
                vision_depth=config.vision_depth,
                text_width=config.text_width,
                text_depth=config.text_depth,
            )
        model = require("transformers", "hf").Qwen2_5_VLForConditionalGeneration
        return model.from_pretrained(find_folder(config.start), dtype=torch.float32)

    def _state_file(self) -> Path:
        return self.folder / "state.safetensors"

    def _restore(self, file: Path) -> None:
        tensors = require("safetensors.torch", "hf").load_file(file)
        for part, module in (("model", self.model), ("heads", self.heads), ("locate", self.locate)):
            own = {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{part}.")}
            module.load_state_dict(own, strict=False)
        with require("safetensors", "hf").safe_open(file, "pt") as opened:
            kept = load_json(opened.metadata()["done"])
        self.done = {stage: kept.get(stage, 0) for stage in STAGES}
        self.moments = {key: value for key, value in tensors.items() if key.startswith(("first.", "second."))}

    def _save(self, optimizer: torch.optim.Optimizer, named: dict[str, torch.Tensor], finished: bool) -> None:
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items() if key != "lm_head.weight"}
        for part, module in (("heads", self.heads), ("locate", self.locate)):
            tensors |= {f"{part}.{key}": value for key, value in module.state_dict().items()}
        if not finished:
            for name, parameter in named.items():
                moments = optimizer.state[parameter]
                if moments:
                    tensors |= {f"first.{name}": moments["exp_avg"], f"second.{name}": moments["exp_avg_sq"]}
        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        content = require("safetensors.torch", "hf").save(tensors, metadata={"done": json.dumps(self.done)})
        write_whole(self._state_file(), content)

    def _train_stage(self, stage: Stage) -> None:
        settings: StageConfig = getattr(self.config, stage)
        if self.done[stage] >= settings.steps:
            return
        if stage != "trust":
            self.done["trust"] = 0  # its responses come from the weights of the earlier stages
        named = self._trained(stage)
        optimizer = self._optimizer(named, int(self.done[stage]))
        loss_of = self._losses(stage, settings.batch)
        self.progress.stage(stage, int(self.done[stage]), settings.steps)
        saved, losses = time.monotonic(), list[float]()
        try:
            while self.done[stage] < settings.steps:
                step = int(self.done[stage])
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * _schedule(step, settings.steps)
                rng = np.random.default_rng([self.config.seed, STAGES.index(stage), step])
                loss = loss_of(rng, step / settings.steps)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                self.done[stage] = step + 1
                losses.append(loss.item())
                self.progress.advance(1, f"loss {np.mean(losses[-100:]):.3f}")
                if len(losses) % 500 == 0:
                    self._report(stage, losses)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save(optimizer, named, finished=False)
                    saved = time.monotonic()
        finally:
            # Also when interrupted, so that no step is lost.
            self._save(optimizer, named, finished=self.done[stage] >= settings.steps)
        self._report(stage, losses)

    def _train_joint(self) -> None:
        """Train both parts for the minutes of the config; `done` counts the seconds."""
        settings, seconds = self.config.joint, 60 * self.config.joint.minutes
        if self.done["joint"] >= seconds:
            return
        self.done["trust"] = 0
        named = self._trained("joint")
        resumed = self.done["joint"] > 0
        optimizer = self._optimizer(named, 1 if resumed else 0)
        kept, folder = self.export(), self.folder / "joint"
        folder.mkdir(exist_ok=True)
        stock, steps, losses = Stock(self.device, kept), 0, list[torch.Tensor]()
        chunks = draw_ahead(
            joint_chunks(self.config.size, self.config.seed), folder, kept, self.names, self.config.workers
        )
        self.progress.stage("joint", round(self.done["joint"]), round(seconds))
        while stock.pictures < 2 * settings.batch:
            self._take_in(stock, chunks)
            time.sleep(0.05)
        began, saved, earlier = time.monotonic(), time.monotonic(), self.done["joint"]
        try:
            while self.done["joint"] < seconds:
                if steps % TAKE_IN == 0:
                    self._take_in(stock, chunks)
                # A resumed run warms up again. In a new one the heads, which start at random, learn alone at first.
                warm = min(1.0, max(0, steps + 1 - (0 if resumed else HEADS_FIRST)) / 200)
                rate = settings.lr * _half_cosine(self.done["joint"] / seconds)
                for group in optimizer.param_groups:
                    group["lr"] = rate if group["new"] else rate * warm
                rng = np.random.default_rng([self.config.seed, STAGES.index("joint"), round(earlier), steps])
                drawn = stock.draw(rng, settings.batch, self.config.singles)
                with torch.autocast(self.device.type, torch.bfloat16):
                    loss = joint_loss(self.model, self.heads, self.locate, drawn, self.rare)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
                losses.append(loss.detach())
                now = time.monotonic()
                self.done["joint"] = earlier + now - began
                if steps % 500 == 0:
                    self._report_joint(steps, stock, losses)
                if now - saved > SAVE_SECONDS:
                    self._save(optimizer, named, finished=False)
                    self.export()
                    saved = time.monotonic()
        finally:
            chunks.close()
            self._save(optimizer, named, finished=self.done["joint"] >= seconds)
        self._report_joint(steps, stock, losses)
        self._report("joint", [loss.item() for loss in losses[-500:]])

    def _report_joint(self, steps: int, stock: Stock, losses: Sequence[torch.Tensor]) -> None:
        loss = torch.stack(list(losses[-500:])).mean().item()
        self.progress.note(
            f"joint {self.done['joint']:.0f} s, step {steps}, {stock.pictures} pictures: loss {loss:.3f}"
        )

    def _take_in(self, stock: Stock, chunks: Generator[tuple[str, list[Path]] | None]) -> None:
        while (drawn := next(chunks)) is not None:
            stock.add(*drawn)

    def _trained(self, stage: Stage) -> dict[str, torch.Tensor]:
        """The parameters of a stage by name."""
        parts: dict[str, Any] = {}
        if stage in ("vision", "joint"):
            parts |= {"visual": self.model.model.visual, "heads": self.heads}
        if stage != "vision":
            parts |= {"language": self.model.model.language_model, "locate": self.locate}
        return {f"{part}.{key}": p for part, module in parts.items() for key, p in module.named_parameters()}

    def _optimizer(self, named: dict[str, torch.Tensor], step: int) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = []
        for new in (True, False):
            mine = [p for name, p in named.items() if name.startswith(NEW) == new]
            groups += [
                {"params": [p for p in mine if p.ndim > 1], "weight_decay": 0.05, "new": new},
                {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0, "new": new},
            ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        for name, parameter in named.items():
            if step == 0 or f"first.{name}" not in self.moments:
                continue  # a new stage, or a finished one that is now longer
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=self.device),
                "exp_avg": self.moments[f"first.{name}"].to(self.device),
                "exp_avg_sq": self.moments[f"second.{name}"].to(self.device),
            }
        return optimizer

    def _losses(self, stage: Stage, size: int) -> Callable[[np.random.Generator, float], torch.Tensor]:
        visual = self.model.model.visual
        if stage == "vision":
            deck = Deck(self.shots)

            def vision(rng: np.random.Generator, done: float) -> torch.Tensor:
                pixels, lessons = augment_shots(deck.draw(rng, size), self.names, rng)
                with torch.autocast(self.device.type, torch.bfloat16):
                    tokens = see(visual, pixels.to(self.device))
                targets = tuple(target.to(self.device) for target in stack_lessons(lessons))
                return lesson_loss(self.heads, tokens, targets, self.rare)

            return vision
        script = Script(self._processor(), self.shots)
        if stage == "language":
            features = look_at_all(visual, self.shots)

            def language(rng: np.random.Generator, done: float) -> torch.Tensor:
                # Single pictures first: micro must describe a picture before it can compare two.
                singles = max(self.config.singles, 1 - 8 * done)
                exercises = self.sampler.draw(rng, size, singles)
                rows = torch.stack([torch.cat([features[i] for i in exercise.pictures]) for exercise in exercises])
                with torch.autocast(self.device.type, torch.bfloat16):
                    return batch_loss(self.model, script.batch(exercises, rows), self.locate)

            return language

        return self._trust_loss(size, script.processor)

    def _trust_loss(self, size: int, processor: Any) -> Callable[[np.random.Generator, float], torch.Tensor]:
        chunks = fresh_chunks(self.config)
        self._draw(chunks)
        wanted = {chunk.stem for chunk in chunks}
        shots = [shot for shot in read_pool(self.folder / "pool") if shot.chunk in wanted]
        sampler, rng = ExerciseSampler(shots), np.random.default_rng(self.config.seed)
        count = self.config.responses
        batches = [sampler.draw(rng, size, 0) for _ in range(math.ceil(count / size))]
        exercises = [exercise for batch in batches for exercise in batch][:count]
        self.progress.stage("responses", 0, count)
        lessons: dict[tuple[int, ...], list[Exercise]] = {}
        for exercise, response in own_responses(self.folder / "model", shots, exercises, self._responses):
            shape = shots[exercise.pictures[0]].pixels.shape
            lessons.setdefault(shape, []).append(lesson_of(exercise, response))
            self.progress.advance(1)
        shares = np.asarray([len(group) for group in lessons.values()], np.float64)
        script, features = Script(processor, shots), look_at_all(self.model.model.visual, shots)

        def trust(rng: np.random.Generator, done: float) -> torch.Tensor:
            group = list(lessons.values())[int(rng.choice(len(shares), p=shares / shares.sum()))]
            chosen = [group[int(i)] for i in rng.integers(len(group), size=size)]
            rows = torch.stack([torch.cat([features[i] for i in exercise.pictures]) for exercise in chosen])
            with torch.autocast(self.device.type, torch.bfloat16):
                return batch_loss(self.model, script.batch(chosen, rows))

        return trust

    @property
    def _responses(self) -> Path:
        """The file of the model's own responses; what weights and exercises depend on stands in its name."""
        weights = [round(self.done[stage]) for stage in STAGES if stage != "trust"]
        exercises = [self.config.fresh_chunks, self.config.trust.batch]
        return self.folder / f"responses-{'-'.join(map(str, weights + exercises))}.jsonl"

    def _processor(self) -> Any:
        """The processor of the saved model."""
        return load_checkpoint(self.export()).processor

    def _report(self, stage: Stage, losses: Sequence[float]) -> None:
        text = f"{stage} step {self.done[stage]:.0f}: loss {np.mean(losses[-500:]):.3f}"
        if stage in ("vision", "joint"):
            accuracy = reading_accuracy(self.model.model.visual, self.heads, self.held[:400], self.names)
            text += ", seen right " + ", ".join(f"{key} {value:.3f}" for key, value in accuracy.items())
        self.progress.note(text)


def _schedule(step: int, steps: int) -> float:
    """Warm up over 200 steps, then half a cosine down to 2 %."""
    return min(1.0, (step + 1) / 200) * _half_cosine(step / steps)


def _half_cosine(done: float) -> float:
    """From 1 to 2 % as `done` goes from 0 to 1."""
    return max(0.02, 0.5 * (1 + math.cos(math.pi * done)))
