"""Products in bfloat16: chosen by measurement or by name, said in the notes, and close to float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import tiny
from lad_reasoner import load_model
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.vlm import judge as judge_module
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.precision import bfloat16_gain, use_bfloat16_products


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_qwen(tmp_path_factory.mktemp("qwen"))


def test_the_gain_is_measured_once_and_quickly() -> None:
    gain = bfloat16_gain()
    assert gain > 0
    assert bfloat16_gain() == gain


def test_only_products_are_in_bfloat16(folder: Path) -> None:
    model, exact = load_checkpoint(folder).model, load_checkpoint(folder).model
    use_bfloat16_products(model)
    layer = model.model.language_model.layers[0]
    assert layer.mlp.up_proj.weight.dtype == model.model.visual.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert model.get_output_embeddings().weight.dtype == layer.input_layernorm.weight.dtype == torch.float32
    ids = torch.arange(20, 40)[None]
    with torch.inference_mode():
        rounded, plain = model(input_ids=ids).logits, exact(input_ids=ids).logits
    assert rounded.dtype == torch.float32
    difference = (rounded - plain).abs().max() / plain.abs().max()
    assert 0 < difference < 0.02  # bfloat16 has 8 bits


def test_a_layer_without_bias_and_a_vector() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(8, 4, bias=False), torch.nn.Linear(4, 3))
    layers.get_output_embeddings = lambda: None  # type: ignore[assignment]
    expected = layers(torch.ones(8))
    use_bfloat16_products(layers)
    assert layers(torch.ones(8)) == pytest.approx(expected.tolist(), abs=0.02)  # type: ignore[comparison-overlap]
    assert layers[0].bias is None


@pytest.mark.parametrize(
    ("dtype", "gain", "rounded", "note"),
    [
        (None, 9.0, False, ""),
        ("float32", 9.0, False, ""),
        ("bfloat16", 1.0, True, "products in bfloat16, 1.0 times as fast"),
        ("auto", 9.0, True, "products in bfloat16, 9.0 times as fast"),
        ("auto", 1.2, False, "computed in float32: products in bfloat16 are 1.2 times as fast"),
    ],
)
def test_precision_is_chosen_and_said(
    dtype: str | None, gain: float, rounded: bool, note: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "bfloat16_gain", lambda: gain)
    judge = load_model(str(folder), dtype=dtype)
    layer = judge.engine.checkpoint.model.model.language_model.layers[0].mlp.up_proj  # type: ignore[attr-defined]
    assert (layer.weight.dtype == torch.bfloat16) == rounded
    assert len(judge.notes) == bool(note)
    assert judge.notes[0].startswith(note) if note else True


def test_scores_are_close_to_those_in_float32() -> None:
    references = (read_picture(tiny.picture(100, 224, 224)),)
    pairs = [PicturePair(references, read_picture(tiny.picture(seed, 224, 224))) for seed in range(4)]
    scores: dict[str, list[float | None]] = {}
    for dtype in ("float32", "bfloat16"):
        judge = load_model("micro", dtype=dtype, reasoning="never")
        scores[dtype] = [judgement.score for judgement in judge.judge(pairs)]
    assert scores["float32"] != scores["bfloat16"]
    assert scores["bfloat16"] == pytest.approx(scores["float32"], abs=0.02)


def test_a_precision_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="option dtype=float8"):
        load_model(str(folder), dtype="float8")
    with pytest.raises(InputError, match="dtype 8: must be auto, float32, bfloat16"):
        load_model(str(folder), dtype=8)


def test_true_is_no_number(folder: Path) -> None:
    """As a station's file can have it; it counted as 1."""
    with pytest.raises(InputError, match="option reasoning_tokens=True: "):
        load_model(str(folder), reasoning_tokens=True)
    checkpoint = load_checkpoint(folder)
    checkpoint.model.config.reasoning_tokens = True  # of its config.json
    assert checkpoint.reasoning_tokens is None
