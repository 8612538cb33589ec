"""The first lessons of micro's vision tower: for each picture token, the part whose centre it shows.

The renderer knows all parts and their places, so every token has a lesson of its own: the part's name and colour, the
number of such parts, its size, its fill level, and how many share its place. A tower of random weights learns several
times faster from these than from captions. The heads are dropped afterwards.

`see` is the vision tower of Qwen2.5-VL for all pictures of one size at once; it gives the same result as Transformers'
own forward, which handles them one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lad_reasoner.judges.vlm.qwen_speedups import rotate_halves
from lad_reasoner.micro.pool import CELL, Shot
from lad_reasoner.miniloco.colours import COLOURS
from lad_reasoner.miniloco.words import group_of, signs_in

MOST = 16  # larger numbers count as this one
SIGN_WEIGHT = 8.0  # in the loss, of a sign of a defect; a common part has 1
BORDER = 4.0  # pixels: a centre so close to the next cell may belong to either
COLOUR_NAMES = tuple(COLOURS)
MEASURES = ("size", "level", "beside")


def see(visual: Any, pictures: torch.Tensor) -> torch.Tensor:
    """(pictures, 3, height, width) in [-1, 1] -> (pictures, tokens, width of the text), row by row."""
    count, _, height, width = pictures.shape
    merge, patch = visual.spatial_merge_size, visual.patch_size
    rows, columns = height // patch, width // patch
    # The order of the processor: the patches of a token follow each other.
    grid = pictures.reshape(count, 3, rows // merge, merge, patch, columns // merge, merge, patch)
    patches = grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count, rows * columns, 3 * patch * patch)
    # The model sees a picture as a film of two equal frames, so its two kernels can be added up.
    kernel: torch.Tensor = visual.patch_embed.proj.weight.sum(2).flatten(1)
    hidden = F.linear(patches, kernel)
    cos, sin = _rotations(visual, rows, columns)
    for block in visual.blocks:
        hidden = _block(block, hidden, cos.to(hidden.dtype), sin.to(hidden.dtype))
    merged = rms_norm(visual.merger.ln_q, hidden).reshape(count, -1, visual.merger.hidden_size)
    tokens: torch.Tensor = visual.merger.mlp(merged)
    return tokens


def _rotations(visual: Any, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    merge = visual.spatial_merge_size
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack([row, column]).reshape(2, rows // merge, merge, columns // merge, merge)
    places = places.transpose(2, 3).reshape(2, -1).T
    device = visual.patch_embed.proj.weight.device
    cos, sin = visual.rotary_pos_emb(torch.empty(0, device=device), places.to(device))
    return cos, sin


def rms_norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Qwen2's norm, in float32."""
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    result: torch.Tensor = scaled.to(x.dtype) * norm.weight.to(x.dtype)
    return result


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention over (pictures, heads, length, width); a `mask` (length, length) is added to it, and must be causal.

    On a CPU written out: in bfloat16 the backward pass of the fused attention is several times slower there.
    """
    if query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, is_causal=mask is not None, scale=scaling)
    weights = query @ key.transpose(-1, -2) * scaling
    weights = weights if mask is None else weights + mask
    return weights.softmax(-1) @ value


def block_forward(block: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """One block over (pictures, patches, width): every patch attends to all of its own picture."""
    count, patches, width = hidden.shape
    attention, mlp = block.attn, block.mlp
    split = attention.qkv(rms_norm(block.norm1, hidden)).view(count, patches, 3, attention.num_heads, -1)
    query, key, value = split.permute(2, 0, 3, 1, 4)
    query, key = rotate_halves(query, cos, sin), rotate_halves(key, cos, sin)
    mixed = attend(query, key, value, attention.scaling).transpose(1, 2).reshape(count, patches, width)
    hidden = hidden + attention.proj(mixed)
    normed = rms_norm(block.norm2, hidden)
    result: torch.Tensor = hidden + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    return result


_block = block_forward


def compile_blocks(*, wanted: bool) -> None:
    """Compile the blocks, which takes a minute and pays in training only; without `wanted` undo that."""
    global _block
    if wanted:
        torch._dynamo.config.recompile_limit = 32  # one for each shape of pictures
    _block = torch.compile(block_forward, dynamic=False) if wanted else block_forward


@dataclass(frozen=True)
class Lesson:
    """What the tokens of one picture show.

    `what` (tokens, names) and `colour` (tokens, colours) are 1 or 0, and -1 if uncertain. `number` (tokens,) is the
    number of such parts in the picture, -1 if the token shows no part or several kinds. `measures` (tokens, MEASURES)
    are log2 of the part's size in cells, its fill level (0 to 1), and log2 of the number of equal parts in its place;
    nan where there is nothing to measure.
    """

    what: NDArray[np.int8]
    colour: NDArray[np.int8]
    number: NDArray[np.int64]
    measures: NDArray[np.float32]


def names_in(shots: Sequence[Shot]) -> list[str]:
    """All names of parts and sights, sorted."""
    return sorted({thing["what"] for shot in shots for thing in _things(shot)})


def rarity(shots: Sequence[Shot], names: dict[str, int]) -> torch.Tensor:
    """(names,): weight in the loss of a visible part: 1 if it is common, up to 5 if it is rare.

    Signs of defects have the largest weight: they are relations between several parts, and are learned last.
    """
    counts = Counter(thing["what"] for shot in shots for thing in _things(shot))
    shown = torch.tensor([float(counts[name]) for name in names])
    weights = (shown.median() / shown.clamp(1)).sqrt().clamp(1, 5)
    for sign in {name for shot in shots for name in signs_in(shot.facts)}:
        weights[names[sign]] = SIGN_WEIGHT
    return weights


def _things(shot: Shot) -> list[dict[str, Any]]:
    return [*shot.facts["items"], *shot.facts.get("sights", ())]


def teach(shot: Shot, names: dict[str, int], dx: int = 0, dy: int = 0, mirrored: bool = False) -> Lesson:
    """The lesson of a picture that was mirrored, if at all, and then moved by (dx, dy) pixels."""
    height, width = shot.pixels.shape[:2]
    rows, columns = height // CELL, width // CELL
    what = np.zeros((rows, columns, len(names)), np.int8)
    colour = np.zeros((rows, columns, len(COLOUR_NAMES)), np.int8)
    number = np.full((rows, columns), -1, np.int64)
    measures = np.full((rows, columns, len(MEASURES)), np.nan, np.float32)
    kinds: dict[tuple[int, int], set[str]] = {}
    things = _things(shot)
    counts = Counter(group_of(thing) for thing in things)
    beside = Counter((thing["what"], thing.get("place")) for thing in things)
    fills = Counter(fill["what"] for fill in shot.facts["fills"])
    levels = {fill["what"]: fill["level"] for fill in shot.facts["fills"] if fills[fill["what"]] == 1}
    for thing in things:
        x, y = thing["centre"]
        x = (width - x if mirrored else x) + dx
        y = y + dy
        if not (0 <= x < width and 0 <= y < height):
            continue
        cell = (int(y // CELL), int(x // CELL))
        group = group_of(thing)
        kinds.setdefault(cell, set()).add(group)
        for row in {int(max(y - BORDER, 0) // CELL), cell[0], int(min(y + BORDER, height - 1) // CELL)}:
            for column in {int(max(x - BORDER, 0) // CELL), cell[1], int(min(x + BORDER, width - 1) // CELL)}:
                value = 1 if (row, column) == cell else -1
                for table, index in ((what, names.get(thing["what"])), (colour, _colour(thing))):
                    if index is not None and table[row, column, index] != 1:
                        table[row, column, index] = value
        if "size" in thing:
            measures[cell][0] = math.log2(thing["size"] / CELL)
        level = int(thing["what"][6:]) / 10 if thing["what"].startswith("level ") else levels.get(thing["what"])
        if level is not None:
            measures[cell][1] = level
        if thing.get("place"):
            measures[cell][2] = math.log2(beside[thing["what"], thing["place"]])
        number[cell] = min(counts[group], MOST) if len(kinds[cell]) == 1 else -1
    return Lesson(
        what.reshape(-1, len(names)),
        colour.reshape(-1, len(COLOUR_NAMES)),
        number.reshape(-1),
        measures.reshape(-1, len(MEASURES)),
    )


def _colour(thing: dict[str, Any]) -> int | None:
    colour = thing.get("colour")
    return COLOUR_NAMES.index(colour) if colour else None


class Heads(torch.nn.Module):
    """Predicts name, colour, number and measures from a token."""

    def __init__(self, width: int, names: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.what = torch.nn.Linear(width, names)
        self.colour = torch.nn.Linear(width, len(COLOUR_NAMES))
        self.number = torch.nn.Linear(width, MOST + 1)
        self.measures = torch.nn.Linear(width, len(MEASURES))

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        normed = self.norm(tokens.float())
        return self.what(normed), self.colour(normed), self.number(normed), self.measures(normed)
