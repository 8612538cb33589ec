"""APRIL-GAN (Chen, Han, Zhang: arXiv 2305.17382) on Transformers' CLIP, zero- and few-shot: a baseline of the paper.

    AprilGan("openai/clip-vit-large-patch14-336", "visa_pretrained.pth")        # few-shot, `april-gan`
    AprilGan("openai/clip-vit-large-patch14-336")                               # zero-shot, `april-gan-zero`

Words: the picture's CLIP embedding against the mean embeddings of 245 sentences about a good and 175 about a damaged
product of this name; `p` is the softmax for damaged. Zero-shot, `p` is the score. Few-shot, `m` is the largest value of
a map: over several depths of CLIP, the same softmax for each patch, mapped into CLIP's space by a linear layer that
the authors trained, plus the cosine distance to the most similar patch of the references.

The authors' score is (p + m') / 2, where m' is m rescaled to [0, 1] over the test pictures of a class: no picture can
be judged before all are known (*transductive*), and one of them always has m' = 1. Here m' = m / (2 * depths), at most
1, which needs no other picture; `evaluation/transductive.py` makes the authors' version of a finished run. The answer
is yes from 0.5 on (the LAD-Reasoner paper, its experiments); the authors of APRIL-GAN set no threshold.

Deviations from the authors' program: float32 throughout; Transformers interpolates the position embeddings (bicubic, no
antialiasing, corners not aligned); class names are written with blanks (`metal nut`, theirs: `metal_nut`); a pair
without a class is an `object`.

The layers are the authors' .pth files (a dict with `trainable_linearlayer`), of which only tensors are unpickled, or
the same tensors (`fc.0.weight` …) as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair, refuse_copy
from lad_reasoner.judges.evidence.vision_models import pixel_statistics
from lad_reasoner.judges.vlm.checkpoint import check_folder, find_folder
from lad_reasoner.packaged import read_packaged
from lad_reasoner.text import printable

SIDE = 518  # pixels: every picture is stretched to a square of this size
SHARPNESS = 100.0  # of the softmax over cosines: CLIP's own
ALONE = "each picture is scored by itself; the authors stretch the maps over all test pictures of a class"

_SENTENCES = read_packaged(__file__, "april_gan.toml")
STATES = (_SENTENCES["good"], _SENTENCES["damaged"])
PHOTOS = _SENTENCES["photos"]


class AprilGan:
    """See the module's docstring; few-shot with `layers`, zero-shot without.

    `clip` is a folder or hub name of a CLIP with safetensors. Raises InputError if it is not a CLIP, or if the layers
    are missing or do not match it.
    """

    batch_size = 1

    def __init__(self, clip: str, layers: str | Path | None = None) -> None:
        folder = find_folder(clip)
        check_folder(folder, clip)
        transformers = require("transformers", "hf")
        fields = load_json((folder / "config.json").read_text(encoding="utf-8"))
        kind = fields.get("model_type") if isinstance(fields, dict) else None
        if kind != "clip":
            raise InputError(f"clip {clip}: a {kind}, not a CLIP; give one such as openai/clip-vit-large-patch14-336")
        try:
            model = transformers.CLIPModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, local_files_only=True
            )
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # a damaged folder fails in more ways than can be listed
            raise InputError(f"clip {clip}: cannot be loaded ({' '.join(str(error).split())[:200]})") from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model: Any = model.eval().to(self.device)
        self.mean, self.std = pixel_statistics(folder)
        vision = self.model.config.vision_config
        self.layers = [] if layers is None else _load_layers(Path(layers), vision.hidden_size, model.projection_dim)
        depths = len(self.layers)
        self.parameters = sum(weight.numel() for weight in self.model.parameters())
        self.parameters += sum(weight.numel() + bias.numel() for weight, bias in self.layers)
        # ViT-L has 24 blocks and four layers: blocks 6, 12, 18 and 24, as in the authors' scripts.
        self.depths = [vision.num_hidden_layers * (depth + 1) // depths for depth in range(depths)]
        self.side = SIDE // vision.patch_size * vision.patch_size
        self.name = "april-gan" if layers else "april-gan-zero"
        digest = hashlib.sha256(Path(layers).read_bytes()).hexdigest()[:12] if layers else "no layers"
        self.prompt_version = f"april-gan-1 ({clip}, {digest})"
        self.notes: tuple[str, ...] = (ALONE,) if layers else ()
        # Bounded: a run has some tens of products, and each pair may have references of its own.
        self._words = lru_cache(128)(self._embed_states)
        self._known = lru_cache(4)(self._look_at_references)

    def __reduce__(self) -> NoReturn:
        refuse_copy(self, "a network")

    @torch.inference_mode()
    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge pair after pair; the response holds p and, few-shot, m."""
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: PicturePair) -> Judgement:
        words = self._words(pair.category.replace("_", " ").strip() or "object")
        embedding, patches = self._look(pair.query.image)
        p = float((SHARPNESS * embedding @ words).softmax(dim=-1)[1])
        if not self.layers:
            return _judgement(p, {"p": p})
        found = self._map(patches, self._known(pair.references), words)
        m, depths = float(found.max()), len(self.layers)
        # 1 where m' is one half.
        heat = (found / depths).cpu().numpy()
        return _judgement((p + min(1.0, m / (2 * depths))) / 2, {"p": p, "m": m}, heat)

    def _look_at_references(self, references: tuple[Picture, ...]) -> list[list[torch.Tensor]]:
        """Patches (patches, width) of each depth, of each reference."""
        return [self._look(reference.image)[1] for reference in references]

    def _embed_states(self, product: str) -> torch.Tensor:
        """Unit-length embeddings (channels, 2) of a good and of a damaged product."""
        return torch.stack([self._embed(product, states) for states in STATES], dim=1)

    def _embed(self, product: str, states: Sequence[str]) -> torch.Tensor:
        sentences = [photo.format(state.format(product)) for state in states for photo in PHOTOS]
        tokens = self._tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(self.device)
        pooled = self.model.text_projection(self.model.text_model(**tokens).pooler_output)
        return F.normalize(F.normalize(pooled, dim=-1).mean(dim=0), dim=0)

    def _look(self, image: Image.Image) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Unit-length embedding (channels) of a picture, and patches (patches, width) of each depth."""
        resized = image.resize((self.side, self.side), Image.Resampling.BICUBIC)
        pixels = (np.asarray(resized, dtype=np.float32) / 255 - self.mean) / self.std
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().to(self.device)
        output = self.model.vision_model(pixel_values=x, interpolate_pos_encoding=True, output_hidden_states=True)
        embedding = F.normalize(self.model.visual_projection(output.pooler_output)[0], dim=-1)
        return embedding, [output.hidden_states[depth][0, 1:] for depth in self.depths]

    def _map(
        self, patches: Sequence[torch.Tensor], known: Sequence[Sequence[torch.Tensor]], words: torch.Tensor
    ) -> torch.Tensor:
        """The anomaly map (side, side): a sum over the depths, words and references."""
        total = torch.zeros(self.side, self.side, device=self.device)
        for depth, (weight, bias) in enumerate(self.layers):
            projected = F.linear(patches[depth], weight.to(self.device), bias.to(self.device))
            likeness = SHARPNESS * F.normalize(projected, dim=-1) @ words
            total += self._widen(likeness).softmax(dim=0)[1]
            memory = F.normalize(torch.cat([reference[depth] for reference in known]), dim=-1)
            distance = 1 - (F.normalize(patches[depth], dim=-1) @ memory.T).max(dim=1).values
            total += self._widen(distance[:, None])[0]
        return total

    def _widen(self, values: torch.Tensor) -> torch.Tensor:
        """(patches, channels) -> (channels, side, side)"""
        rows = int(values.shape[0] ** 0.5)
        grid = values.T.reshape(1, -1, rows, rows)
        return F.interpolate(grid, size=(self.side, self.side), mode="bilinear", align_corners=True)[0]


def load_few_shot(clip: str, layers: Path) -> AprilGan:
    """APRIL-GAN, a baseline of the paper: CLIP with its authors' linear `layers`, words and reference patches."""
    return AprilGan(clip, layers)


def load_zero_shot(clip: str) -> AprilGan:
    """APRIL-GAN without references: CLIP and words only."""
    return AprilGan(clip)


def _judgement(score: float, raw: dict[str, float], heat: NDArray[np.float32] | None = None) -> Judgement:
    return Judgement("yes" if score >= 0.5 else "no", score, response=json.dumps(raw), heat=heat)


def _load_layers(path: Path, width: int, channels: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight (channels, width) and bias (channels) of each linear layer."""
    shown = f"layers {printable(path)}"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old pickles, which are read or refused all the same
                tensors = torch.load(path, map_location="cpu", weights_only=True)["trainable_linearlayer"]
        layers: list[Any] = []
        while f"fc.{len(layers)}.weight" in tensors:
            layers.append(tuple(tensors[f"fc.{len(layers)}.{part}"].float() for part in ("weight", "bias")))
    except FileNotFoundError:
        raise InputError(f"{shown}: no such file") from None
    except pickle.UnpicklingError:
        raise InputError(f"{shown}: contains more than tensors, which can run code; it was not opened") from None
    except Exception as error:  # other files fail with errors of many kinds
        raise InputError(f"{shown}: not layers of APRIL-GAN ({type(error).__name__}: {str(error)[:100]})") from None
    if not layers:
        raise InputError(f"{shown}: contains no layers of APRIL-GAN (fc.0.weight, …)")
    for weight, bias in layers:
        if tuple(weight.shape) != (channels, width) or tuple(bias.shape) != (channels,):
            shapes = f"{tuple(weight.shape)}, not {(channels, width)}"
            raise InputError(f"{shown}: made for another CLIP (a layer is {shapes}); give the CLIP of its training")
    return [(weight, bias) for weight, bias in layers]
