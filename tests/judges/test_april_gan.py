"""APRIL-GAN on a tiny random CLIP, against the same arithmetic in NumPy; and the files of layers."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from helpers import tiny
from helpers.planted import lamps
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import open_benchmark
from lad_reasoner.evaluation.run import Run, read_run
from lad_reasoner.evaluation.transductive import rescale, rescale_run
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.april_gan import PHOTOS, SIDE, STATES, AprilGan

Array = NDArray[np.float64]

WIDTH, CHANNELS, DEPTHS, HEADS, PATCH = 16, 12, 4, 2, 74  # seven patches a side: no position is interpolated


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = tiny.byte_level_tokenizer().backend_tokenizer
    # Not <|im_end|>, whose id is 2: Transformers then looks for the largest id instead, as for CLIPs of old.
    end = tokenizer.token_to_id("<|vision_end|>")
    tokenizer.post_processor = TemplateProcessing(
        single="$A <|vision_end|>", pair="$A $B <|vision_end|>", special_tokens=[("<|vision_end|>", end)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|vision_end|>", pad_token="<|endoftext|>", model_max_length=77
    ).save_pretrained(folder)
    shape = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 24, "projection_dim": CHANNELS}
    text = {
        **shape,
        "num_hidden_layers": 2,
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": end,
        "eos_token_id": end,
    }
    vision = {**shape, "num_hidden_layers": 4, "image_size": SIDE, "patch_size": PATCH}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=CHANNELS)
    torch.manual_seed(0)
    model = CLIPModel(config)
    for parameter in model.parameters():  # wide apart, so that no two answers are alike
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    normal = {"image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.26, 0.27]}
    (folder / "preprocessor_config.json").write_text(json.dumps(normal))
    return folder


def linear_layers(count: int = DEPTHS, width: int = WIDTH) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = {"weight": (CHANNELS, width), "bias": (CHANNELS,)}
    return {
        f"fc.{i}.{part}": torch.randn(shape, generator=draw) for i in range(count) for part, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layers") / "visa_pretrained.pth"
    torch.save({"trainable_linearlayer": linear_layers()}, path)
    return path


class Recomputed:
    """The authors' arithmetic: CLIP, words, map and score, in NumPy."""

    def __init__(self, clip: Path, layers: dict[str, torch.Tensor]) -> None:
        self.weights = {name: value.astype(np.float64) for name, value in load_file(clip / "model.safetensors").items()}
        self.layers = {name: value.double().numpy() for name, value in layers.items()}
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(clip)

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def blocks(self, x: Array, tower: str, count: int, mask: Array | float = 0.0) -> Iterator[Array]:
        for number in range(count):
            block = f"{tower}.encoder.layers.{number}"
            h = self.norm(x, f"{block}.layer_norm1")
            q, k, v = (
                self.linear(h, f"{block}.self_attn.{name}_proj").reshape(len(x), HEADS, -1).swapaxes(0, 1)
                for name in "qkv"
            )
            attention = softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]) + mask, axis=-1)
            x = x + self.linear((attention @ v).swapaxes(0, 1).reshape(len(x), -1), f"{block}.self_attn.out_proj")
            h = self.linear(self.norm(x, f"{block}.layer_norm2"), f"{block}.mlp.fc1")
            x = x + self.linear(h / (1 + np.exp(-1.702 * h)), f"{block}.mlp.fc2")
            yield x

    def words(self, product: str) -> Array:
        columns = []
        for states in STATES:
            found = []
            for state in states:
                for photo in PHOTOS:
                    ids = self.tokenizer(photo.format(state.format(product)))["input_ids"]
                    embeddings = self.weights["text_model.embeddings.token_embedding.weight"][ids]
                    x = embeddings + self.weights["text_model.embeddings.position_embedding.weight"][: len(ids)]
                    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
                    *_, last = self.blocks(x, "text_model", 2, mask)
                    end = self.norm(last, "text_model.final_layer_norm")[-1]
                    found.append(unit(end @ self.weights["text_projection.weight"].T))
            columns.append(unit(np.mean(found, axis=0)))
        return np.stack(columns, axis=1)

    def look(self, picture: Any) -> tuple[Array, list[Array]]:
        pixels = np.asarray(picture.image.resize((SIDE, SIDE), 3), np.float64) / 255
        pixels = (pixels - [0.48, 0.45, 0.4]) / [0.26, 0.26, 0.27]
        rows = SIDE // PATCH
        patches = pixels.reshape(rows, PATCH, rows, PATCH, 3).transpose(0, 2, 4, 1, 3).reshape(rows * rows, -1)
        x = patches @ self.weights["vision_model.embeddings.patch_embedding.weight"].reshape(WIDTH, -1).T
        x = np.vstack([self.weights["vision_model.embeddings.class_embedding"], x])
        x = self.norm(
            x + self.weights["vision_model.embeddings.position_embedding.weight"], "vision_model.pre_layrnorm"
        )
        states = list(self.blocks(x, "vision_model", 4))
        pooled = self.norm(states[-1][0], "vision_model.post_layernorm")
        return unit(pooled @ self.weights["visual_projection.weight"].T), [state[1:] for state in states]

    def raw(self, pair: PicturePair, product: str) -> tuple[float, Array]:
        """p, and the map whose maximum is m."""
        words = self.words(product)
        embedding, patches = self.look(pair.query)
        known = [self.look(reference)[1] for reference in pair.references]
        total = np.zeros((SIDE, SIDE))
        for depth in range(DEPTHS):
            projected = patches[depth] @ self.layers[f"fc.{depth}.weight"].T + self.layers[f"fc.{depth}.bias"]
            likeness = 100 * unit(projected) @ words
            total += softmax(np.stack([widen(likeness[:, 0]), widen(likeness[:, 1])]), axis=0)[1]
            memory = np.vstack([unit(reference[depth]) for reference in known])
            total += widen(np.min(1 - memory @ unit(patches[depth]).T, axis=0))
        return float(softmax(100 * embedding @ words, axis=-1)[1]), total


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def widen(values: Array) -> Array:
    """Bilinear, corners aligned."""
    rows = int(len(values) ** 0.5)
    at = np.linspace(0, rows - 1, SIDE)
    low = np.minimum(at.astype(int), rows - 2)
    matrix = np.zeros((SIDE, rows))
    matrix[np.arange(SIDE), low], matrix[np.arange(SIDE), low + 1] = 1 - (at - low), at - low
    return matrix @ values.reshape(rows, rows) @ matrix.T


def pairs() -> list[PicturePair]:
    pictures = [read_picture(tiny.picture(seed, 80, 64)) for seed in range(4)]
    return [
        PicturePair(tuple(pictures[:2]), pictures[2], "metal_nut"),
        PicturePair((pictures[1],), pictures[3], "metal_nut"),
        PicturePair((pictures[0],), pictures[3], ""),
    ]


def test_score_equals_the_recomputation(clip: Path, layers: Path) -> None:
    shown, theirs = pairs(), Recomputed(clip, linear_layers())
    few, zero = AprilGan(str(clip), layers), AprilGan(str(clip))
    raw = [theirs.raw(pair, product) for pair, product in zip(shown, ["metal nut"] * 2 + ["object"], strict=True)]
    expected = [(p, float(total.max())) for p, total in raw]
    found = few.judge(shown)
    for one, (_, total) in zip(found, raw, strict=True):
        assert one.heat is not None
        assert one.heat == pytest.approx(total / DEPTHS, abs=1e-3)
    assert zero.judge(shown)[0].heat is None
    assert [json.loads(one.response) for one in found] == [
        {"p": pytest.approx(p, abs=1e-4), "m": pytest.approx(m, abs=1e-3)} for p, m in expected
    ]
    assert [one.score for one in found] == [pytest.approx((p + min(1, m / 8)) / 2, abs=1e-3) for p, m in expected]
    assert [one.answer for one in found] == ["yes" if one.score and one.score >= 0.5 else "no" for one in found]
    assert [one.score for one in zero.judge(shown)] == [pytest.approx(p, abs=1e-4) for p, _ in expected]
    assert len({round(m, 2) for _, m in expected}) == 3
    assert len({round(p, 2) for p, _ in expected}) == 2  # of the class more than of the picture
    assert (few.name, zero.name, few.depths) == ("april-gan", "april-gan-zero", [1, 2, 3, 4])
    assert few.prompt_version != zero.prompt_version


def test_depths_are_spread_evenly(clip: Path, tmp_path: Path) -> None:
    save_file(linear_layers(2), tmp_path / "two.safetensors")
    assert AprilGan(str(clip), tmp_path / "two.safetensors").depths == [2, 4]


def test_the_same_layers_as_safetensors(clip: Path, layers: Path, tmp_path: Path) -> None:
    save_file(linear_layers(), tmp_path / "same.safetensors")
    ours = load_judge("april-gan", clip=str(clip), layers=str(tmp_path / "same.safetensors"))
    (first,), (second,) = ours.judge(pairs()[:1]), AprilGan(str(clip), layers).judge(pairs()[:1])
    assert (first.answer, first.score, first.response) == (second.answer, second.score, second.response)


class Hostile:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("hostile-code-ran",)


def test_layers_that_are_none(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"trainable_linearlayer": linear_layers(), "more": Hostile()}, "hostile.pth")
    Path("plain.pth").write_bytes(pickle.dumps(Hostile()))
    torch.save(linear_layers(), "bare.pth")
    torch.save({"trainable_linearlayer": {"other": torch.zeros(1)}}, "other.pth")
    torch.save({"trainable_linearlayer": linear_layers(width=20)}, "wide.pth")
    Path("empty.pth").write_bytes(b"")
    said = {
        "hostile.pth": "contains more than tensors, which can run code; it was not opened",
        "plain.pth": "contains more than tensors, which can run code; it was not opened",
        "bare.pth": r"not layers of APRIL-GAN \(KeyError",
        "other.pth": r"contains no layers of APRIL-GAN \(fc.0.weight",
        "wide.pth": r"made for another CLIP \(a layer is \(12, 20\), not \(12, 16\)\)",
        "empty.pth": "not layers of APRIL-GAN",
        "nowhere.pth": "layers nowhere.pth: no such file",
    }
    for name, words in said.items():
        with pytest.raises(InputError, match=words):
            AprilGan(str(clip), name)
    assert not Path("hostile-code-ran").exists()


def test_what_is_no_clip(tmp_path: Path, layers: Path) -> None:
    with pytest.raises(InputError, match="a qwen2_5_vl, not a CLIP"):
        AprilGan(str(tiny.save_qwen(tmp_path / "qwen")), layers)
    with pytest.raises(InputError, match="april-gan: give its clip with -M clip="):
        load_judge("april-gan", layers=layers)
    with pytest.raises(InputError, match="april-gan: give its layers with -M layers="):
        load_judge("april-gan", clip="x")
    with pytest.raises(InputError, match="april-gan-zero: no option layers; it takes clip"):
        load_judge("april-gan-zero", clip="x", layers=layers)


def test_the_transductive_version_stretches_each_class(clip: Path, layers: Path, tmp_path: Path) -> None:
    benchmark = open_benchmark("folder", lamps(tmp_path / "lamps"))
    lines = list(Run(tmp_path / "run", AprilGan(str(clip), layers), benchmark).predict())
    raw = [json.loads(line.verdict.response) for line in lines]
    lows, highs = min(one["m"] for one in raw), max(one["m"] for one in raw)
    expected = [(one["p"] + (one["m"] - lows) / (highs - lows)) / 2 for one in raw]
    failed = lines[0].model_copy(update={"error": "not a picture"})
    assert [line.verdict.score for line in rescale(lines)] == [pytest.approx(score) for score in expected]
    assert rescale([failed])[0] == failed
    (alone,) = rescale(lines[:1])
    assert alone.verdict.score == pytest.approx(raw[0]["p"] / 2)
    renamed = [line.model_copy(update={"pair": line.pair.model_copy(update={"category": "b"})}) for line in lines[:2]]
    both = rescale([*lines[2:], *renamed])
    assert both[-2:] == rescale(renamed)
    out = rescale_run(tmp_path / "run")
    made = read_run(out)
    assert made.settings.model == "april-gan-transductive"
    assert made.settings.notes[0] == "transductive: scores depend on all 7 test pictures that were judged"
    assert [line.verdict.score for line in made.predictions] == [pytest.approx(score) for score in expected]
    assert len(list((out / "thumbnails").iterdir())) == len(list((tmp_path / "run/thumbnails").iterdir())) > 7
    before = (out / "predictions.jsonl").read_bytes()
    assert (rescale_run(tmp_path / "run") / "predictions.jsonl").read_bytes() == before


def test_the_verb_writes_both(clip: Path, layers: Path, tmp_path: Path) -> None:
    root, run = lamps(tmp_path / "lamps"), tmp_path / "run"
    words = [
        "eval",
        "--benchmark",
        "folder",
        "--root",
        root,
        "--model",
        "april-gan",
        "-M",
        f"clip={clip}",
        "--out",
        run,
    ]
    done = CliRunner().invoke(app, [*map(str, words), "-M", f"layers={layers}", "--limit", "3"])
    assert done.exit_code == 0, done.output
    assert "each picture is scored by itself" in done.stderr
    assert (run / "transductive/report.html").is_file()
    assert read_run(run).settings.model == "april-gan"
    assert len(read_run(run / "transductive").predictions) == 3
