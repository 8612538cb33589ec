"""micro's parts: the model's folder, the lessons, both forward passes against Transformers', a run that resumes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.micro import training
from lad_reasoner.micro.build import build_model, build_tokenizer, read_tokenizer, save_micro
from lad_reasoner.micro.language import Script, batch_loss
from lad_reasoner.micro.lessons import ExerciseSampler
from lad_reasoner.micro.perception import MEASURES, SIGN_WEIGHT, Heads, names_in, rarity, see, teach
from lad_reasoner.micro.pool import Chunk, Shot, draw_chunk, fill_pool, read_pool
from lad_reasoner.micro.training import MicroConfig, MicroRun, read_config
from lad_reasoner.micro.trust import lesson_of, own_responses
from lad_reasoner.micro.vision import augment_shots, lesson_loss, reading_accuracy, stack_lessons, to_pixels
from lad_reasoner.miniloco import EVALUATION, TRAINING
from lad_reasoner.miniloco.words import differing
from lad_reasoner.prompts import build_prompt

SMALL = {"vision_width": 64, "vision_depth": 2, "text_width": 128, "text_depth": 2}


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[Shot]:
    folder = tmp_path_factory.mktemp("pool")
    for name in ("pill_blister", "loose_parts"):
        draw_chunk(Chunk(name, 0, 12, 112, 0), folder)
    return read_pool(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shots: list[Shot]) -> Path:
    """A small micro of random weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    texts = [exercise.answer for _ in range(20) for exercise in ExerciseSampler(shots).draw(rng, 4, 0.5)]
    tokenizer = build_tokenizer([*texts, build_prompt(1)])
    path = tmp_path_factory.mktemp("micro")
    save_micro(build_model(tokenizer, **SMALL), tokenizer, path)
    return path


def test_the_shipped_size_keeps_its_limits(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["a few words"] * 3)
    config = read_config(Path("configs/micro/base.yaml"))
    sizes = {key: getattr(config, key) for key in SMALL}
    model = build_model(tokenizer, **sizes)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 8_000_000
    save_micro(model, tokenizer, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size <= 16 * 1024**2


def test_the_folder_has_all_that_others_need(folder: Path) -> None:
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<|im_end|>")
    config, generation = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "generation_config"))
    assert config["text_config"]["eos_token_id"] == generation["eos_token_id"] == end
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"
    assert "rendered" in config["scope"]
    for name in ("preprocessor_config", "video_preprocessor_config"):
        budget = json.loads((folder / f"{name}.json").read_text())["size"]
        assert budget == {"shortest_edge": 28 * 28, "longest_edge": 224 * 224}


def test_digits_and_tags_are_tokens_of_their_own(folder: Path) -> None:
    tokenizer = load_checkpoint(folder).processor.tokenizer
    text = "<think>nut x12</think><answer>yes</answer>"
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
    assert [piece for piece in pieces if piece.isdigit()] == ["1", "2"]
    assert {"<think>", "</think>", "<answer>", "</answer>", "yes"} <= set(pieces)
    assert tokenizer.decode(tokenizer("Ω < 3 µm, ok?").input_ids) == "Ω < 3 µm, ok?"


def test_seeing_is_what_transformers_computes(folder: Path, shots: list[Shot]) -> None:
    checkpoint = load_checkpoint(folder)
    visual = checkpoint.model.model.visual
    for some in (shots[:2], shots[-2:]):
        pictures = [Image.fromarray(np.asarray(shot.pixels)) for shot in some]
        inputs = checkpoint.processor.image_processor(images=pictures, return_tensors="pt")
        with torch.no_grad():
            wanted = visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
            pixels = to_pixels(torch.from_numpy(np.stack([shot.pixels for shot in some])))
            found = see(visual, pixels)
        assert torch.allclose(found.flatten(0, 1), wanted, atol=1e-5)


def test_reading_is_what_transformers_computes(folder: Path, shots: list[Shot]) -> None:
    checkpoint = load_checkpoint(folder)
    model, processor = checkpoint.model, checkpoint.processor
    sampler, script = ExerciseSampler(shots), Script(checkpoint.processor, shots)
    rng = np.random.default_rng(1)
    for singles in (0.0, 1.0):
        exercises = sampler.draw(rng, 3, singles)
        pixels = torch.from_numpy(np.stack([shots[i].pixels for e in exercises for i in e.pictures]))
        with torch.no_grad():
            features = see(model.model.visual, to_pixels(pixels))
            batch = script.batch(exercises, features.reshape(len(exercises), -1, features.shape[-1]))
            mine = batch_loss(model, batch)
            total = weight = torch.zeros(())
            for exercise, answer, weights in zip(exercises, batch.answers, batch.weights, strict=True):
                content = [{"type": "image"} for _ in exercise.pictures] + [{"type": "text", "text": exercise.question}]
                text = processor.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
                )
                images = [Image.fromarray(np.asarray(shots[i].pixels)) for i in exercise.pictures]
                inputs = processor(text=[text + exercise.answer + "<|im_end|>"], images=[images], return_tensors="pt")
                length = int((weights > 0).nonzero().max()) + 1
                assert inputs["input_ids"][0, -length:].tolist() == answer[:length].tolist()
                logits = model(**inputs).logits[0, -length - 1 : -1]
                every = F.cross_entropy(logits, answer[:length], reduction="none")
                total, weight = total + (every * weights[:length]).sum(), weight + weights.sum()
        assert mine.item() == pytest.approx((total / weight).item(), abs=1e-4)


def test_picture_tokens_are_asked_where_they_are(folder: Path, shots: list[Shot]) -> None:
    checkpoint = load_checkpoint(folder)
    model, processor = checkpoint.model, checkpoint.processor
    script, locate = Script(processor, shots), torch.nn.Linear(model.config.text_config.hidden_size, 2)
    (exercise,) = ExerciseSampler(shots).draw(np.random.default_rng(3), 1, 0.0)
    images = [Image.fromarray(np.asarray(shots[i].pixels)) for i in exercise.pictures]
    rows, columns = (side // 28 for side in shots[exercise.pictures[0]].pixels.shape[:2])
    assert (rows, columns) != (1, 1)
    wanted = [
        (2 * row / (rows - 1) - 1, 2 * column / (columns - 1) - 1) for row in range(rows) for column in range(columns)
    ]
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": exercise.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=[text], images=[images], return_tensors="pt")
    with torch.no_grad():
        features = see(model.model.visual, to_pixels(torch.from_numpy(np.stack([np.asarray(i) for i in images]))))
        batch = script.batch([exercise], features.reshape(1, -1, features.shape[-1]))
        found = (batch_loss(model, batch, locate) - batch_loss(model, batch)).item()
        states = model(**inputs, output_hidden_states=True).hidden_states
        half = states[(len(states) - 1) // 2][0][inputs["input_ids"][0] == processor.image_token_id]
        off = F.smooth_l1_loss(locate(half), torch.tensor([*wanted, *wanted]), beta=0.1).item()
    assert found == pytest.approx(off, abs=1e-4)


def test_a_pair_shares_its_rule_and_begins_with_a_good_picture(shots: list[Shot]) -> None:
    sampler, rng = ExerciseSampler(shots), np.random.default_rng(2)
    anomalous, lots = [], []
    for _ in range(60):
        for exercise in sampler.draw(rng, 2, 0.0):
            reference, query = (shots[i] for i in exercise.pictures)
            assert reference.group == query.group
            assert reference.good
            assert exercise.pictures[0] != exercise.pictures[1]
            response = parse_response(exercise.answer)
            assert exercise.verdict is not None
            rest = exercise.answer[exercise.verdict :]
            anomalous.append(not query.good)
            if query.good and differing(reference.facts, query.facts):
                # Nobody has told yet whether this matters: the answer is drawn by lot.
                assert rest.startswith(" It differs in tablet.")
                lots.append(response.answer)
                continue
            assert response.answer == ("no" if query.good else "yes")
            assert rest.startswith(" Everything is in order." if query.good else " ")
    assert 0.3 < np.mean(anomalous) < 0.7
    assert 0.25 < lots.count("yes") / len(lots) < 0.75


def test_questions_about_one_picture_are_answered_from_its_facts(shots: list[Shot]) -> None:
    sampler, rng = ExerciseSampler(shots), np.random.default_rng(3)
    kinds = set()
    for number in range(len(shots)):
        for _ in range(10):
            exercise = sampler.single(rng, number)
            kinds.add(exercise.question.split(":")[0])
            if exercise.question.startswith("How many"):
                group = exercise.question.partition(": ")[2].rstrip("?")
                things = [*shots[number].facts["items"], *shots[number].facts.get("sights", [])]
                count = sum(f"{thing.get('colour', '')} {thing['what']}".strip() == group for thing in things)
                assert exercise.answer == f"x{count}." if count < 10 else "x10+."
    assert kinds == {"What does the image show?", "How many are there", "Where is it"}


def test_a_lesson_says_what_stands_in_each_token(shots: list[Shot]) -> None:
    names = {name: i for i, name in enumerate(names_in(shots))}
    for shot in shots:
        rows, columns = (side // 28 for side in shot.pixels.shape[:2])
        lesson, mirrored = teach(shot, names), teach(shot, names, mirrored=True)
        assert lesson.what.shape == (rows * columns, len(names))
        for item in shot.facts["items"]:
            x, y = item["centre"]
            if 0 <= x < columns * 28 and 0 <= y < rows * 28:
                assert lesson.what[int(y // 28) * columns + int(x // 28), names[item["what"]]] == 1
        flipped = lesson.what.reshape(rows, columns, -1)[:, ::-1].reshape(rows * columns, -1)
        assert (flipped == 1).sum() == (mirrored.what == 1).sum()
        assert lesson.number.max() <= len(shot.facts["items"])
        for name, value in zip(MEASURES, np.nanmax(lesson.measures, 0, initial=-9), strict=True):
            sizes = [item["size"] for item in shot.facts["items"]]
            most = {"size": np.log2(max(sizes, default=1) / 28), "level": 1, "beside": np.log2(max(1, len(sizes)))}
            assert value <= most[name] + 1e-5


def test_a_lesson_measures_size_level_and_company() -> None:
    facts = {
        "items": [
            {"what": "pin", "colour": "", "size": 56.0, "place": "row 1", "centre": [10, 10]},
            {"what": "pin", "colour": "", "size": 14.0, "place": "row 1", "centre": [40, 10]},
            {"what": "pin", "colour": "", "size": 28.0, "place": "", "centre": [70, 10]},
        ],
        "sights": [{"what": "level 4", "centre": [10, 40]}, {"what": "cereal", "centre": [40, 40]}],
        "fills": [{"what": "cereal", "level": 0.35}],
    }
    shot = Shot("x", "x", facts, np.zeros((56, 84, 3), np.uint8))
    nan = np.nan
    assert np.array_equal(
        teach(shot, {"pin": 0}).measures,
        np.float32([[1, nan, 1], [-1, nan, 1], [0, nan, nan], [nan, 0.4, nan], [nan, 0.35, nan], [nan, nan, nan]]),
        equal_nan=True,
    )


def test_a_moved_picture_moves_its_lesson(shots: list[Shot]) -> None:
    names = {name: i for i, name in enumerate(names_in(shots))}
    moved = teach(shots[0], names, dx=28)
    still = teach(shots[0], names)
    columns = shots[0].pixels.shape[1] // 28
    wide = (-1, columns, len(names))
    assert np.array_equal(moved.what.reshape(wide)[:, 1:], still.what.reshape(wide)[:, :-1])
    pixels, _ = augment_shots([shots[0]], names, np.random.default_rng(0))
    assert pixels.shape == (1, 3, *shots[0].pixels.shape[:2])
    assert pixels.abs().max() <= 1


def test_signs_of_defects_weigh_more_than_common_parts(shots: list[Shot]) -> None:
    sign = {"what": "empty compartment", "centre": [20.0, 20.0]}
    some = [*shots[1:], replace(shots[0], facts={**shots[0].facts, "sights": [sign]})]
    names = {name: i for i, name in enumerate(names_in(some))}
    weights = rarity(some, names)
    assert weights[names["empty compartment"]] == SIGN_WEIGHT == weights.max()
    assert weights[names["tablet"]] == 1 == weights.min()


def test_own_responses_become_lessons(folder: Path, shots: list[Shot]) -> None:
    drawn = ExerciseSampler(shots).draw(np.random.default_rng(0), 8, 0.0)
    exercise = next(e for e in drawn if "<answer>yes" in e.answer)
    own = "<think>Reference to query: tablet x1 to x1 same. Everything is in order.</think><answer>no</answer>"
    lesson = lesson_of(exercise, own)
    assert lesson.answer == own.replace("no</answer>", "yes</answer>")
    assert lesson_of(exercise, "No list.<answer>no</answer>") == replace(
        exercise, answer="No list.<answer>yes</answer>", verdict=len("No list.<answer>"), given=True
    )
    assert lesson_of(exercise, "") == exercise
    assert exercise.answer[: exercise.verdict].startswith("<think>Reference to query: ")
    assert exercise.answer[: exercise.verdict].endswith(("same.", "less.", "more."))
    processor = load_checkpoint(folder).processor
    batch = Script(processor, shots).batch([lesson, exercise], torch.zeros(2, 1, 1))
    learned = [
        processor.tokenizer.decode(row[weights > 0]).removesuffix("<|im_end|>")
        for row, weights in zip(batch.answers, batch.weights, strict=True)
    ]
    assert learned == ["yes</answer>", exercise.answer]  # what stands before an own answer is given


def test_own_responses_are_kept(folder: Path, shots: list[Shot], tmp_path: Path) -> None:
    exercises, file = ExerciseSampler(shots).draw(np.random.default_rng(0), 3, 0.0), tmp_path / "own.jsonl"
    said = list(own_responses(folder, shots, exercises, file))
    assert [exercise for exercise, _ in said] == exercises
    assert all("<answer>" in response for _, response in said)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])  # killed while writing the third
    assert list(own_responses(folder, shots, exercises, file)) == said
    assert file.read_text().splitlines() == lines
    assert list(own_responses(tmp_path / "no model", shots, exercises, file)) == said


def test_the_loss_of_a_perfect_answer_is_small(folder: Path, shots: list[Shot]) -> None:
    names = {name: i for i, name in enumerate(names_in(shots))}
    heads = Heads(128, len(names))
    some = [shot for shot in shots if shot.group == "pill_blister"][:4]
    lessons = [teach(shot, names) for shot in some]

    class Knowing(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
            what, colour = (
                torch.from_numpy(np.concatenate([getattr(x, key) for x in lessons])).float()
                for key in ("what", "colour")
            )
            number = torch.from_numpy(np.concatenate([x.number for x in lessons])).clamp(0)
            measures = torch.from_numpy(np.concatenate([x.measures for x in lessons])).nan_to_num()
            return what * 40 - 20, colour * 40 - 20, F.one_hot(number, 17).float() * 40, measures

    tokens = torch.zeros(len(some), lessons[0].number.size, 128)
    knowing: Any = Knowing()
    targets = stack_lessons(lessons)
    assert lesson_loss(knowing, tokens, targets) < 0.01 < lesson_loss(heads, tokens, targets)
    figures = reading_accuracy(load_checkpoint(folder).model.model.visual, heads, some, names)
    assert set(figures) == {"what", "colour", "number", "measures", "precision"}
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_pool_never_shows_evaluation_products_and_is_drawn_once(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    chunks = training.pool_chunks(config)
    assert not {chunk.name for chunk in chunks} & set(EVALUATION)
    assert set(TRAINING) <= {chunk.name for chunk in chunks}
    some = [replace(chunk, pictures=6) for chunk in chunks[:2]]
    assert list(fill_pool(tmp_path / "pool", some, workers=1)) == [6, 6]
    before = {file: file.read_bytes() for file in (tmp_path / "pool").iterdir()}
    assert list(fill_pool(tmp_path / "pool", some, workers=1)) == []
    (tmp_path / "pool" / f"{some[0].stem}.jsonl").unlink()
    assert list(fill_pool(tmp_path / "pool", some, workers=1)) == [6]
    assert before == {file: file.read_bytes() for file in (tmp_path / "pool").iterdir()}


PARENT = """
from pathlib import Path
from lad_reasoner.micro.pool import Chunk, fill_pool
if __name__ == "__main__":
    for _ in fill_pool(Path("pool"), [Chunk("pill_blister", number, 6, 112, 0) for number in range(2000)], workers=2):
        pass
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for the children of a process")
def test_what_draws_the_pool_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed ends nothing by itself: its workers would wait for the next chunk for ever."""
    (tmp_path / "draw.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, "draw.py"], cwd=tmp_path)
    try:
        wait_until(lambda: list(tmp_path.glob("pool/*.jsonl")))
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 3  # two that draw, and one that looks after their resources
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(map(lives, children)))


def wait_until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 120  # a machine may be busy
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(process: str) -> bool:
    """Whether a process is there, and is not one that only its parent has to take note of."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def small_config(out: Path, steps: int = 4) -> MicroConfig:
    stage = {"steps": steps, "batch": 2, "lr": 1e-3}
    return MicroConfig(
        out=out, seed=0, size=112, chunk=6, product_chunks=1, family_chunks=1, workers=2, compile=False, singles=0.3,
        fresh_chunks=1, responses=4, **SMALL, vision=stage, language=stage, trust=stage,
        joint={"minutes": 0, "batch": 2, "lr": 1e-3},
    )  # fmt: skip


class Silent:
    """Watches a run and says nothing; stops it after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left, self.stages = stop_after, list[str]()

    def stage(self, name: str, done: int, total: int) -> None:
        self.stages.append(f"{name} {done}/{total}")

    def advance(self, count: int, text: str = "") -> None:
        if self.left is not None and self.stages[-1].partition(" ")[0] not in ("pictures", "responses"):
            self.left -= count
            if self.left <= 0:
                raise KeyboardInterrupt

    def note(self, text: str) -> None:
        assert "loss" in text


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    straight = MicroRun(small_config(tmp_path / "one"), Silent()).train()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "pool").rename(tmp_path / "two" / "pool")
    # Once in the middle of the first stage, once at the very end of the second, once in the last.
    for stop_after in (2, 6, 2):
        with pytest.raises(KeyboardInterrupt):
            MicroRun(small_config(tmp_path / "two"), Silent(stop_after)).train()
    watcher = Silent()
    resumed = MicroRun(small_config(tmp_path / "two"), watcher).train()
    assert watcher.stages == ["pictures 14/14", "pictures 14/14", "responses 0/4", "trust 2/4"]
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        assert (straight / name).read_bytes() == (resumed / name).read_bytes()
    checkpoint = load_checkpoint(resumed)
    assert checkpoint.scope.startswith("micro only knows rendered")
    # A finished stage can be made longer; how far to trust its responses is learned anew then.
    watcher = Silent()
    MicroRun(small_config(tmp_path / "two", steps=5), watcher).train()
    assert watcher.stages == [
        *("pictures 14/14", "vision 4/5", "language 4/5", "pictures 14/14", "responses 0/4", "trust 0/5"),
    ]


def test_own_responses_belong_to_the_weights_and_the_exercises(tmp_path: Path) -> None:
    names = set()
    for change, done in (
        ({}, {}),
        ({}, {"vision": 3}),
        ({}, {"joint": 61.7}),
        ({"fresh_chunks": 9}, {}),
        ({"trust": training.StageConfig(steps=1, batch=9, lr=1e-3)}, {}),
    ):
        run = MicroRun(small_config(tmp_path / "run").model_copy(update=change), Silent())
        run.done = dict.fromkeys(training.STAGES, 0) | done
        names.add(run._responses.name)
        run.done["trust"] = 4
        assert run._responses.name in names
    assert len(names) == 5


def test_a_tokenizer_that_is_read_again_is_saved_as_it_was(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["a few words"] * 3)
    model = build_model(tokenizer, **SMALL)
    save_micro(model, tokenizer, tmp_path / "one")
    save_micro(model, read_tokenizer(tmp_path / "one"), tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_run_folder_belongs_to_one_config(tmp_path: Path) -> None:
    MicroRun(small_config(tmp_path), Silent())
    MicroRun(small_config(tmp_path, steps=9), Silent())
    with pytest.raises(InputError, match="started with another seed"):
        MicroRun(small_config(tmp_path).model_copy(update={"seed": 1}), Silent())
    for damage in ("{", "[1]", "[" * 100_000):
        (tmp_path / "config.json").write_text(damage)
        with pytest.raises(InputError, match=r"config\.json: damaged \("):
            MicroRun(small_config(tmp_path), Silent())


def test_a_damaged_state_is_named_and_half_a_model_is_replaced(
    tmp_path: Path, folder: Path, shots: list[Shot], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MicroRun(small_config(tmp_path), Silent())
    checkpoint = load_checkpoint(folder)
    run.model, run.tokenizer = checkpoint.model, checkpoint.processor.tokenizer
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part/tokenizer.json").write_text("half")
    assert run.export() == tmp_path / "model"
    assert load_checkpoint(tmp_path / "model").model.config.known_pictures == "renders"

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(run.model), "save_pretrained", fail)
    with pytest.raises(MachineError, match=r"\.model\.part: cannot be written \(No space left .*free some space"):
        run.export()
    assert (tmp_path / "model/tokenizer.json").is_file()  # the earlier one stays
    (tmp_path / "state.safetensors").write_bytes(b"half of it")
    run.shots, run.names = shots, {"x": 0}
    with pytest.raises(InputError, match=r"state\.safetensors: damaged \(.*remove it to train from the first step"):
        run._build()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("seed: [", "YAML"),
        ("seed: 2026-99-99", "YAML"),
        ("seed: !!bool x", "YAML"),
        ("seed: 1", "out"),
        ("- 1", "must hold keys and values"),
        (Path("configs/micro/sft.yaml").read_text(), "a config of `train sft` or `train grpo`; run that"),
        (Path("configs/micro/base.yaml").read_text() + "\nsede: 1\n", "sede"),
        (Path("configs/micro/base.yaml").read_text().replace("steps: ", "steps: -"), "vision.steps"),
        (Path("configs/micro/base.yaml").read_text().replace("text_width: 256", "text_width: 32"), "text_width"),
        (
            Path("configs/micro/base.yaml").read_text().replace("seed: 1", "seed: true"),
            "seed: must be a number, not true",
        ),
        (
            Path("configs/micro/base.yaml").read_text().replace("{ steps: 300", "{ steps: true"),
            r"trust\.steps: must be a number, not true",
        ),
    ],
)
def test_a_wrong_config_is_named(text: str, word: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=word) as caught:
        read_config(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_config(tmp_path / "none.yaml")
