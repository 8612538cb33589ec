"""Stage two of micro's pretraining: the language part learns to read the tokens of the frozen vision tower.

The tokens of all pictures are computed once. `read` is the language part of Qwen2.5-VL over whole sequences; it gives
the same result as Transformers' own forward, but each layer can be compiled as one function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lad_reasoner.judges.vlm.qwen_speedups import rotate_halves
from lad_reasoner.micro.lessons import Exercise
from lad_reasoner.micro.perception import attend, rms_norm, see
from lad_reasoner.micro.pool import CELL, Shot
from lad_reasoner.micro.vision import to_pixels

VERDICT_WEIGHT = 4.0  # in the loss, of the first token of the verdict and of the answer: two tokens of about eighty
AT_ONCE = 64  # pictures whose tokens are computed


@dataclass
class Batch:
    """Sequences of one layout: the same prompt around pictures of the same shape."""

    features: torch.Tensor  # (rows, pictures * tokens, width)
    before: list[torch.Tensor]  # ids of the text before each picture, and of the token after the last one
    answers: torch.Tensor  # (rows, length): question and answer, padded
    weights: torch.Tensor  # (rows, length) of each token in the loss: 0 in questions and padding
    grid: tuple[int, int]  # rows and columns of a picture's tokens


def layer_forward(
    layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """One decoder layer over (rows, length, width); `mask` (length, length) is added to the attention."""
    attention, mlp = layer.self_attn, layer.mlp
    rows, length, width = hidden.shape
    normed = rms_norm(layer.input_layernorm, hidden)
    query = attention.q_proj(normed).view(rows, length, -1, attention.head_dim).transpose(1, 2)
    key = attention.k_proj(normed).view(rows, length, -1, attention.head_dim).transpose(1, 2)
    value = attention.v_proj(normed).view(rows, length, -1, attention.head_dim).transpose(1, 2)
    query, key = rotate_halves(query, cos, sin), rotate_halves(key, cos, sin)
    groups = attention.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    mixed = attend(query, key, value, attention.scaling, mask)
    hidden = hidden + attention.o_proj(mixed.transpose(1, 2).reshape(rows, length, width))
    normed = rms_norm(layer.post_attention_layernorm, hidden)
    result: torch.Tensor = hidden + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    return result


_layer = layer_forward


def compile_layers(*, wanted: bool) -> None:
    """Compile the layers, so that PyTorch fuses their small steps; without `wanted` undo that."""
    global _layer
    _layer = torch.compile(layer_forward) if wanted else layer_forward


def read(language: Any, embedded: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, length, width) and places (3, length) of all rows -> hidden states half way up and after the last norm."""
    cos, sin = language.rotary_emb(embedded, places[:, None])
    length = embedded.shape[1]
    mask = torch.full((length, length), -1e4, dtype=embedded.dtype, device=embedded.device).triu(1)
    half = embedded
    for number, layer in enumerate(language.layers):
        half = embedded if number == len(language.layers) // 2 else half
        embedded = _layer(layer, embedded, cos, sin, mask)
    return half, rms_norm(language.norm, embedded)


def places_of(batch: Batch, length: int) -> torch.Tensor:
    """(3, length): time, row and column of each token, as Qwen2-VL counts them."""
    rows, columns = batch.grid
    places: list[torch.Tensor] = []
    now = 0
    for index, text in enumerate(batch.before):
        places.append(torch.arange(now, now + len(text)).expand(3, -1))
        now += len(text)
        if index < len(batch.before) - 1:
            row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            places.append(torch.stack([torch.zeros_like(row), row, column]).flatten(1) + now)
            now += max(rows, columns)
    known = sum(part.shape[1] for part in places)
    places.append(torch.arange(now, now + length - known).expand(3, -1))
    return torch.cat(places, 1)


def batch_loss(model: Any, batch: Batch, locate: torch.nn.Module | None = None) -> torch.Tensor:
    """Weighted mean cross-entropy of the answers' tokens, plus the error of `locate` at the places of picture tokens.

    Attention depends on the distances between tokens only. In 33,000 steps with questions about places micro did not
    learn to derive a token's place from the prompt around the picture, so `locate` asks each token for it.
    """
    language, embed = model.model.language_model, model.model.language_model.embed_tokens
    device = embed.weight.device
    rows, tokens = len(batch.features), batch.grid[0] * batch.grid[1]
    answers, features = batch.answers.to(device), batch.features.to(device)
    parts: list[torch.Tensor] = []
    for index, text in enumerate(batch.before):
        parts.append(embed(text.to(device)).expand(rows, -1, -1))
        if index < len(batch.before) - 1:
            parts.append(features[:, index * tokens : (index + 1) * tokens].to(parts[0].dtype))
    start = sum(part.shape[1] for part in parts) - 1
    embedded = torch.cat([*parts, embed(answers[:, :-1])], 1)
    if torch.is_autocast_enabled(device.type):
        embedded = embedded.bfloat16()
    places = places_of(batch, embedded.shape[1]).to(device)
    half, hidden = read(language, embedded, places)
    logits = model.lm_head(hidden[:, start:]).float()
    each = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none")
    weights = batch.weights.to(device)
    loss = (each * weights.flatten()).sum() / weights.sum()
    if locate is None:
        return loss
    shown = torch.cat([torch.full((part.shape[1],), bool(index % 2)) for index, part in enumerate(parts)])
    tokens_shown = shown.nonzero()[:, 0].to(device)
    row, column = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in batch.grid), indexing="ij")
    wanted = torch.stack([row, column], -1).flatten(0, 1).repeat(len(batch.before) - 1, 1).to(device)
    located = locate(half[:, tokens_shown]).float()
    return loss + F.smooth_l1_loss(located, wanted.expand_as(located), beta=0.1)


class Script:
    """Turns exercises into batches, with the checkpoint's chat template."""

    def __init__(self, processor: Any, shots: Sequence[Shot]) -> None:
        self.processor, self.shots = processor, shots
        self.prompts: dict[tuple[int, str], tuple[list[torch.Tensor], list[int]]] = {}

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _prompt(self, pictures: int, question: str) -> tuple[list[torch.Tensor], list[int]]:
        """Ids before each picture and of the token after the last one; and of the question that follows."""
        key = (pictures, question)
        if key not in self.prompts:
            content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": question}]
            text = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
            *parts, last = (self._ids(part) for part in text.split(self.processor.image_token))
            self.prompts[key] = ([torch.tensor(part) for part in (*parts, last[:1])], last[1:])
        return self.prompts[key]

    def before(self, pictures: int, question: str) -> list[torch.Tensor]:
        """Ids of the text before each picture of a prompt, and of the token after the last one."""
        return self._prompt(pictures, question)[0]

    def batch(self, exercises: Sequence[Exercise], features: torch.Tensor) -> Batch:
        """Exercises with equally many pictures of one shape; features (exercises, pictures * tokens, width)."""
        end = self.processor.tokenizer.eos_token_id
        rows: list[list[int]] = []
        weights: list[list[float]] = []
        for exercise in exercises:
            question = self._prompt(len(exercise.pictures), exercise.question)[1]
            cut = len(exercise.answer) if exercise.verdict is None else exercise.verdict
            head, tail = self._ids(exercise.answer[:cut]), self._ids(exercise.answer[cut:])
            rows.append([*question, *head, *tail, end])
            weight = [0.0] * len(question) + [float(not exercise.given)] * len(head) + [1.0] * (len(tail) + 1)
            if exercise.verdict is not None:
                # The answer comes before its end tag and the end of text.
                weight[len(question) + len(head)] = weight[-3] = VERDICT_WEIGHT
            weights.append(weight)
        length = max(map(len, rows))
        answers, weighed = torch.full((len(rows), length), end), torch.zeros(len(rows), length)
        for number, (row, weight) in enumerate(zip(rows, weights, strict=True)):
            answers[number, : len(row)] = torch.tensor(row)
            weighed[number, : len(row)] = torch.tensor(weight)
        first = exercises[0]
        height, width = self.shots[first.pictures[0]].pixels.shape[:2]
        before = self._prompt(len(first.pictures), first.question)[0]
        return Batch(features, before, answers, weighed, (height // CELL, width // CELL))


@torch.no_grad()
def look_at_all(visual: Any, shots: Sequence[Shot]) -> list[torch.Tensor]:
    """The tokens (tokens, width) of every picture, in bfloat16."""
    device = visual.patch_embed.proj.weight.device
    looked: list[torch.Tensor | None] = [None] * len(shots)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, shot in enumerate(shots):
        by_shape.setdefault(shot.pixels.shape, []).append(number)
    for group in by_shape.values():
        for start in range(0, len(group), AT_ONCE):
            numbers = group[start : start + AT_ONCE]
            pixels = to_pixels(torch.from_numpy(np.stack([shots[i].pixels for i in numbers])).to(device))
            with torch.autocast(device.type, torch.bfloat16):
                tokens = see(visual, pixels).bfloat16()
            for number, token in zip(numbers, tokens, strict=True):
                looked[number] = token.clone()
    assert all(token is not None for token in looked)
    return [token for token in looked if token is not None]
