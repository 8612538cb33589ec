"""Two speed-ups of the vision towers of the Qwen-VL family, with the same results.

The patch embedding is a three-dimensional convolution whose kernel equals its stride, which is a matrix product and
runs as one. Attention runs window by window and picture by picture in Transformers, hundreds of calls a layer; here
windows of equal length share one call.

In training, a picture that occurs several times in a batch can be seen once (`share_pictures`): the responses of a GRPO
group all look at the same pictures.
"""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F


def speed_up(model: Any) -> bool:
    """Put the faster steps into a loaded model's vision tower; False if it has none of this kind."""
    visual: Any = getattr(getattr(model, "model", None), "visual", None)
    blocks = getattr(visual, "blocks", ())
    embed: Any = getattr(visual, "patch_embed", None)
    projection = getattr(embed, "proj", None)
    if not isinstance(projection, torch.nn.Conv3d) or projection.kernel_size != projection.stride:
        return False
    embed.forward = MethodType(_embed, embed)
    for block in blocks:
        attention = block.attn
        # Flash attention packs windows by itself.
        if attention.config._attn_implementation in ("sdpa", "eager") and hasattr(attention, "qkv"):
            attention.forward = MethodType(_attend, attention)
    return True


def share_pictures(model: Any) -> bool:
    """Let a loaded model look once at each picture of a batch, however often it occurs; gradients are the same, too.

    For Qwen2-VL and Qwen2.5-VL, whose language part takes one result of the vision tower; False for others.
    """
    if getattr(model.config, "model_type", None) not in ("qwen2_vl", "qwen2_5_vl"):
        return False
    visual = model.model.visual
    visual.forward = MethodType(partial(_look_once, visual.forward), visual)
    return True


def _look_once(
    forward: Any, self: Any, hidden_states: torch.Tensor, grid_thw: torch.Tensor, *positional: Any, **named: Any
) -> Any:
    pieces = torch.split(hidden_states, grid_thw.prod(-1).tolist())
    different: list[int] = []  # numbers of the first pictures of their kind
    seen: dict[tuple[Any, ...], list[int]] = {}
    kinds = []
    marks = torch.stack([piece.double().sum() for piece in pieces]).tolist()
    for number, (piece, grid, mark) in enumerate(zip(pieces, grid_thw.tolist(), marks, strict=True)):
        alike = seen.setdefault((*grid, mark), [])
        kind = next((kind for kind in alike if torch.equal(pieces[different[kind]], piece)), None)
        if kind is None:
            kind = len(different)
            different.append(number)
            alike.append(kind)
        kinds.append(kind)
    given = any(isinstance(value, torch.Tensor) for value in (*positional, *named.values()))  # made for all pictures
    if given or len(different) == len(pieces):
        return forward(hidden_states, grid_thw, *positional, **named)
    found = forward(torch.cat([pieces[number] for number in different]), grid_thw[different], *positional, **named)
    lengths = (grid_thw[different].prod(-1) // self.spatial_merge_size**2).tolist()
    results = found.pooler_output.split(lengths)
    found.pooler_output = torch.cat([results[kind] for kind in kinds])
    return found


def _embed(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    weight, bias = self.proj.weight, self.proj.bias
    flat = hidden_states.reshape(-1, weight[0].numel()).to(weight.dtype)
    return F.linear(flat, weight.flatten(1), bias)


def _attend(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_: Any,
) -> torch.Tensor:
    count = hidden_states.shape[0]
    query, key, value = self.qkv(hidden_states).view(count, 3, self.num_heads, -1).unbind(1)
    cos, sin = (part.unsqueeze(-2).float() for part in position_embeddings)
    # In float32, as Transformers does.
    query, key = (turn(states.float(), cos, sin).to(value.dtype) for states in (query, key))
    mixed = torch.empty_like(value)
    for rows in _windows_by_length(cu_seqlens):
        one, two, three = (states[rows].transpose(1, 2) for states in (query, key, value))
        mixed[rows] = F.scaled_dot_product_attention(one, two, three, scale=self.scaling).transpose(1, 2)
    result: torch.Tensor = self.proj(mixed.reshape(count, -1))
    return result


def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the halves of each head by the angles of their places."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _windows_by_length(cu_seqlens: torch.Tensor) -> list[torch.Tensor]:
    """For each length that occurs: (windows, length) indices of the rows of all windows that are so long."""
    starts, lengths = cu_seqlens[:-1].long(), (cu_seqlens[1:] - cu_seqlens[:-1]).long()
    return [
        starts[lengths == length, None] + torch.arange(length, device=cu_seqlens.device)
        for length in sorted(set(lengths.tolist()))
        if length > 0
    ]
