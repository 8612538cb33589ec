"""The stage of both parts together: chunks that become a stock, batches of it, and a run that goes on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lad_reasoner.judges.vlm.checkpoint import find_folder
from lad_reasoner.micro import joint
from lad_reasoner.micro.joint import Stock, draw_ahead, encode_chunk, joint_chunks, joint_loss
from lad_reasoner.micro.language import Script, batch_loss
from lad_reasoner.micro.lessons import ExerciseSampler
from lad_reasoner.micro.perception import Heads, names_in, see, teach
from lad_reasoner.micro.pool import Chunk, draw_chunk, read_chunk
from lad_reasoner.micro.training import MicroRun, read_config
from lad_reasoner.micro.vision import stack_lessons, to_pixels
from lad_reasoner.miniloco import EVALUATION, TRAINING
from lad_reasoner.miniloco.families.free import FAMILIES

CHUNK = Chunk("wiring", joint.FIRST, 12, 224, 3)


@pytest.fixture(scope="module")
def base() -> Path:
    return find_folder("micro-base")


def test_chunks_are_new_and_never_of_evaluation_products() -> None:
    first = list(itertools.islice(joint_chunks(224, 1), 54))
    assert len({chunk.stem for chunk in first}) == len(first)
    assert min(chunk.number for chunk in first) == joint.FIRST
    assert {chunk.name for chunk in first} == {*TRAINING, *FAMILIES}
    assert not {chunk.name for chunk in first} & set(EVALUATION)
    assert sum(chunk.name in FAMILIES for chunk in first) == 45


def test_a_batch_shows_what_its_texts_and_lessons_say(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_chunk(CHUNK, tmp_path)
    shots = read_chunk(tmp_path / f"{CHUNK.stem}.jsonl")
    names = {name: number for number, name in enumerate(names_in(shots))}
    stock = Stock(torch.device("cpu"), base)
    files = encode_chunk(CHUNK, tmp_path, base, names)
    stock.add(CHUNK.name, files)
    assert stock.pictures == len(shots) == 12
    assert not any(file.exists() for file in files)
    # As they were drawn, without a shift.
    monkeypatch.setattr(joint, "SHIFTS", 1)
    drawn = stock.draw(np.random.default_rng(0), 8, 0.0)
    assert drawn.pixels.shape[0] == 16
    tokenizer = Script(joint._script(base).processor, shots).processor.tokenizer
    height, width = drawn.pixels.shape[2:]
    possible = {
        (first, second): to_pixels(torch.from_numpy(np.stack([shots[first].pixels, shots[second].pixels])))
        for first, second in itertools.permutations(range(12), 2)
        if shots[first].pixels.shape[:2] == shots[second].pixels.shape[:2] == (height, width)
        and shots[first].group == shots[second].group
        and shots[first].good
    }
    sampler = ExerciseSampler(shots)
    what = drawn.lessons[0].reshape(16, -1, len(names))
    for row, (ids, weights) in enumerate(zip(drawn.texts.answers, drawn.texts.weights, strict=True)):
        pictures = drawn.pixels[2 * row : 2 * row + 2]
        # The light of a picture changes by some hundredths.
        key = min(possible, key=lambda pair: float((possible[pair] - pictures).abs().mean()))
        said = tokenizer.decode(ids[weights > 0])
        right = sampler.respond(np.random.default_rng(0), *key)
        assert said.partition(". ")[0] == right.answer.partition(". ")[0]
        for side in (0, 1):
            assert np.array_equal(what[2 * row + side].numpy(), teach(shots[key[side]], names).what)


def test_moved_pictures_have_moved_lessons(base: Path, tmp_path: Path) -> None:
    draw_chunk(CHUNK, tmp_path)
    shots = read_chunk(tmp_path / f"{CHUNK.stem}.jsonl")
    names = {name: number for number, name in enumerate(names_in(shots))}
    shape = shots[0].pixels.shape
    with np.load(encode_chunk(CHUNK, tmp_path, base, names)[0]) as opened:
        arrays = {key: opened[key] for key in opened.files}
    chosen = [shot for shot in shots if shot.pixels.shape == arrays["pixels"].shape[1:]]
    assert any(arrays["shifts"].flatten())
    stock = torch.from_numpy(arrays["pixels"])
    for number, slot in itertools.product(range(len(chosen)), range(joint.SHIFTS)):
        dx, dy = (int(v) for v in arrays["shifts"][number, slot])
        wanted = stack_lessons([teach(chosen[number], names, dx, dy)])
        assert np.array_equal(arrays["what"][number, slot], wanted[0].numpy())
        assert np.array_equal(arrays["number"][number, slot], wanted[2].numpy())
        moved = Stock._shifted(stock, torch.tensor([number]), torch.tensor([[dx, dy]]))[0]
        still = to_pixels(stock[number : number + 1])[0]
        rows = np.clip(np.arange(shape[0]) - dy, 0, shape[0] - 1)
        columns = np.clip(np.arange(shape[1]) - dx, 0, shape[1] - 1)
        assert torch.equal(moved, still[:, rows][:, :, columns])


def test_the_loss_is_that_of_the_responses_and_a_share_of_the_lessons(base: Path, tmp_path: Path) -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    names = {name: n for n, name in enumerate(["wire", "connector"])}
    stock = Stock(torch.device("cpu"), base)
    stock.add(CHUNK.name, encode_chunk(CHUNK, tmp_path, base, names))
    heads, locate, rare = Heads(256, len(names)), torch.nn.Linear(256, 2), torch.ones(len(names))
    drawn = stock.draw(np.random.default_rng(1), 4, 0.0)
    loss = joint_loss(model, heads, locate, drawn, rare)
    loss.backward()
    assert model.model.visual.patch_embed.proj.weight.grad.abs().max() > 0  # through the responses too
    with torch.no_grad():
        tokens = see(model.model.visual, drawn.pixels)
        texts = replace(drawn.texts, features=tokens.reshape(4, -1, 256))
        responses = batch_loss(model, texts, locate).item()
        assert batch_loss(model, texts).item() < 0.5  # the shipped weights know how to respond
        share = joint.lesson_loss(heads, tokens, drawn.lessons, rare).item()
    assert loss.item() == pytest.approx(responses + joint.LESSON_SHARE * share, rel=1e-5)


def test_chunks_come_as_they_are_done(base: Path, tmp_path: Path) -> None:
    chunks = iter([replace(CHUNK, number=number, pictures=6) for number in range(50)])
    found = draw_ahead(chunks, tmp_path, base, {"wire": 0}, workers=1)
    done = list(itertools.islice((item for item in found if item is not None), 2))
    found.close()
    assert [name for name, _ in done] == ["wiring", "wiring"]
    assert all(file.is_file() for _, files in done for file in files)


class Quiet:
    """Watches a run and says nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None: ...

    def stage(self, name: str, done: int, total: int) -> None: ...

    def advance(self, count: int, text: str = "") -> None: ...

    def note(self, text: str) -> None:
        assert "loss" in text


def test_a_run_from_shipped_weights_goes_on_where_it_stopped(base: Path, tmp_path: Path) -> None:
    config = read_config(Path("configs/micro/gpu.yaml"))
    small = config.model_copy(
        update={
            "out": tmp_path / "run",
            "size": 112,
            "chunk": 6,
            "workers": 1,
            "family_chunks": 4,
            "joint": config.joint.model_copy(update={"minutes": 0.02, "batch": 2}),
            "trust": config.trust.model_copy(update={"steps": 0}),
        }
    )
    model = MicroRun(small, Quiet()).train()
    assert (model / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    before = (model / "model.safetensors").read_bytes()
    longer = small.joint.model_copy(update={"minutes": 0.04})
    run = MicroRun(small.model_copy(update={"joint": longer}), Quiet())
    run.train()
    assert run.done["joint"] >= 60 * 0.04
    assert (model / "model.safetensors").read_bytes() != before
