"""Networks whose patches are compared: vision models of Transformers with random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from helpers import tiny
from helpers.scenes import halves
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.evidence.backbone import load_backbone
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def models() -> dict[str, PreTrainedModel]:
    vision = {**SMALL, "image_size": 56, "patch_size": 14}
    text = {**SMALL, "vocab_size": 20, "max_position_embeddings": 8}
    return {
        "dinov2": Dinov2Model(Dinov2Config(**vision)),
        "dinov2 with registers": Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**vision)),
        "siglip": SiglipVisionModel(SiglipVisionConfig(**vision)),
        "clip": CLIPModel(CLIPConfig(text_config=text, vision_config=vision)),
    }


@pytest.mark.parametrize("name", ["dinov2", "dinov2 with registers", "siglip", "clip"])
def test_any_vision_transformer(name: str, tmp_path: Path) -> None:
    models()[name].save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert backbone.multiple == 14
    features = backbone.features(halves(), (112, 84))
    assert features.shape == (6, 8, 16)
    assert np.linalg.norm(features, axis=-1) == pytest.approx(np.ones((6, 8)), abs=1e-5)


def test_the_vision_tower_of_a_model_that_writes(tmp_path: Path) -> None:
    """Its tokens lie where the picture's parts lie, and are those that the model's own processor leads to."""
    tower = load_backbone("micro")
    assert tower.multiple == 28
    assert 0 < tower.parameters < sum(weight.numel() for weight in tower.model.parameters())
    features = tower.features(halves((224, 168)), (224, 168))
    assert features.shape == (6, 8, 256)
    assert np.linalg.norm(features, axis=-1) == pytest.approx(np.ones((6, 8)), abs=1e-5)
    likeness = features[2, 1] @ features[2].T  # red on the left, blue on the right
    assert likeness[:3].min() > likeness[5:].max()
    checkpoint = load_checkpoint("micro")
    inputs = checkpoint.processor.image_processor(images=[halves((224, 168))], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 12, 16]]
    (tokens,) = checkpoint.model.get_image_features(**inputs).pooler_output
    own = torch.nn.functional.normalize(tokens.detach(), dim=1).reshape(6, 8, -1)
    assert features == pytest.approx(own.numpy(), abs=1e-4)
    qwen3 = load_backbone(str(tiny.save_qwen3(tmp_path / "qwen3")))
    assert qwen3.features(halves(), (qwen3.multiple * 3, qwen3.multiple * 2)).shape[:2] == (2, 3)


def test_evidence_with_a_models_own_vision_tower() -> None:
    pair = PicturePair((read_picture(halves()),), read_picture(halves().transpose(Image.Transpose.ROTATE_180)))
    judge = load_judge("evidence:micro")
    assert judge.name == "evidence:micro"
    (judgement,) = judge.judge([pair])
    (usual,) = load_judge("evidence").judge([pair])
    assert judgement.score is not None
    assert judgement.response.startswith("<think>")
    assert judgement.response != usual.response


def test_unusable_backbones_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such model"):
        load_backbone(str(tmp_path / "nowhere"))
    BertModel(BertConfig(**SMALL, vocab_size=20)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a bert has no patch tokens"):
        load_backbone(str(tmp_path))
    with pytest.raises(
        InputError, match="a llava has no rows and columns of tokens; give a model of the Qwen-VL family"
    ):
        load_backbone(str(tiny.save_llava(tmp_path / "llava")))


def test_a_hostile_backbone_runs_no_code_and_opens_no_other_file(tmp_path: Path) -> None:
    models()["dinov2"].save_pretrained(tmp_path / "good")
    config = json.loads((tmp_path / "good/config.json").read_text())
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    for number, (fields, said) in enumerate(
        (
            ({**config, "attn_implementation": "someone/kernel"}, "asks for code from the hub"),
            ({**config, "model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}, "cannot be"),
            ({**config, "hidden_size": "wide"}, "cannot be loaded"),
            ({**config, "num_attention_heads": 0}, "cannot be loaded"),
            ([config], "cannot be loaded"),
        )
    ):
        folder = shutil.copytree(tmp_path / "good", tmp_path / str(number))
        shutil.copy(tmp_path / "own.py", folder)
        (folder / "config.json").write_text(json.dumps(fields))
        with pytest.raises(InputError, match=said) as caught:
            load_backbone(str(folder))
        assert "\n" not in str(caught.value)
