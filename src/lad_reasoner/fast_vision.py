"""Two speed-ups of the vision towers of the Qwen-VL family, with the same results.

The patch embedding is a three-dimensional convolution whose kernel equals its stride, which is a matrix product and
runs as one. Attention runs window by window and picture by picture in Transformers, hundreds of calls a layer; here
windows of equal length share one call.
"""

from __future__ import annotations

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
