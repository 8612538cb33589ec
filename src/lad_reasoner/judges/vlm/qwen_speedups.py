"""Faster steps for the vision towers of the Qwen-VL family, with the same results.

The patch embedding is a three-dimensional convolution whose kernel equals its stride: a matrix product, and computed as
one. Transformers runs attention window by window and picture by picture, hundreds of calls a layer; here windows of
equal length share one call.

In training, a picture that occurs several times in a batch can be looked at once (`share_pictures`): the responses of
a GRPO group all look at the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F


def speed_up(model: Any) -> bool:
    """Put the faster steps into a loaded model's vision tower; False if its tower is of another kind."""
    return speed_up_tower(getattr(getattr(model, "model", None), "visual", None))


def speed_up_tower(visual: Any) -> bool:
    """Put the faster steps into a vision tower; False if it is of another kind."""
    blocks = getattr(visual, "blocks", ())
    projection: Any = getattr(getattr(visual, "patch_embed", None), "proj", None)
    # Only without overlap is the convolution a matrix product.
    if not isinstance(projection, torch.nn.Conv3d) or projection.kernel_size != projection.stride:
        return False
    # The module itself is still called: weights that are spread over processes are gathered then.
    vars(projection)["forward"] = MethodType(_project, projection)
    for block in blocks:
        attention = block.attn
        # Flash attention packs windows by itself.
        if attention.config._attn_implementation in ("sdpa", "eager") and hasattr(attention, "qkv"):
            attention.forward = MethodType(_attend, attention)
    for module in visual.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_norm, module)
    return True


def share_pictures(model: Any) -> bool:
    """Let a loaded model look at each picture of a batch only once; results and gradients stay the same.

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
    """The tower's `forward` on the different pictures of a batch, its tokens handed to all pictures that are equal.

    `hidden_states` is (patches of all pictures, values), `grid_thw` (pictures, 3): frames, rows and columns of patches.
    """
    pieces = torch.split(hidden_states, grid_thw.prod(-1).tolist())
    first, kinds = find_different(pieces, grid_thw.tolist())
    # Other tensors, such as positions, belong to all pictures and cannot be cut to the different ones.
    has_tensors = any(isinstance(value, torch.Tensor) for value in (*positional, *named.values()))
    if has_tensors or len(first) == len(pieces):
        return forward(hidden_states, grid_thw, *positional, **named)
    output = forward(torch.cat([pieces[number] for number in first]), grid_thw[first], *positional, **named)
    # The tower merges squares of patches into tokens; (tokens of all pictures, width).
    lengths = (grid_thw[first].prod(-1) // self.spatial_merge_size**2).tolist()
    tokens = output.pooler_output.split(lengths)
    output.pooler_output = torch.cat([tokens[kind] for kind in kinds])
    return output


def find_different(pieces: Sequence[torch.Tensor], grids: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The numbers of the pictures that are the first of their kind, and the kind of each picture."""
    first: list[int] = []
    kinds: list[int] = []
    # Equal pictures have equal sums: only those few are compared value by value.
    sums = torch.stack([piece.double().sum() for piece in pieces]).tolist()
    candidates: dict[tuple[float, ...], list[int]] = {}  # grid and sum -> kinds
    for number, (piece, grid, total) in enumerate(zip(pieces, grids, sums, strict=True)):
        alike = candidates.setdefault((*grid, total), [])
        kind = next((kind for kind in alike if torch.equal(pieces[first[kind]], piece)), None)
        if kind is None:
            kind = len(first)
            first.append(number)
            alike.append(kind)
        kinds.append(kind)
    return first, kinds


def _project(self: Any, patches: torch.Tensor) -> torch.Tensor:
    """(patches, channels, frames, rows, columns) -> (patches, width); a kernel has the shape of a patch."""
    return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)


def _attend(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_: Any,
) -> torch.Tensor:
    """Attention inside each window over (patches, width); `cu_seqlens` (windows + 1,) are the windows' bounds."""
    count = hidden_states.shape[0]
    # (patches, queries or keys or values, heads, head width)
    joint = self.qkv(hidden_states).view(count, 3, self.num_heads, -1)
    # Rotated in float32, as Transformers does; (patches, 1, 1, head width) for all heads of both.
    cos, sin = (part[:, None, None].float() for part in position_embeddings)
    turned = rotate_halves(joint[:, :2].float(), cos, sin).to(joint.dtype)
    query, key, value = turned[:, 0], turned[:, 1], joint[:, 2]
    lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
    if len(set(lengths)) == 1:
        # Windows of one length, one after the other: their rows need not be gathered.
        whole = (states.view(len(lengths), lengths[0], self.num_heads, -1) for states in (query, key, value))
        mixed = _mix(self, *whole)
    else:
        mixed = torch.empty_like(value)
        for rows in _windows_by_length(cu_seqlens):
            mixed[rows] = _mix(self, query[rows], key[rows], value[rows])
    result: torch.Tensor = self.proj(mixed.reshape(count, -1))
    return result


def _mix(self: Any, *states: torch.Tensor) -> torch.Tensor:
    """Attention inside each window; queries, keys, values and result are (windows, length, heads, head width)."""
    queries, keys, values = (part.transpose(1, 2) for part in states)
    return F.scaled_dot_product_attention(queries, keys, values, scale=self.scaling).transpose(1, 2)


def _norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """The norm (…, width) in one step; 16-bit states are rounded between the steps, as Transformers does."""
    if hidden_states.dtype != torch.float32:
        return type(self).forward(self, hidden_states)  # type: ignore[no-any-return]
    return F.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)


def rotate_halves(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding: `x` (…, head width), its halves rotated by the angles of their places."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _windows_by_length(cu_seqlens: torch.Tensor) -> list[torch.Tensor]:
    """For each length that occurs: (windows, length) indices of the rows of all windows of that length."""
    starts, lengths = cu_seqlens[:-1].long(), (cu_seqlens[1:] - cu_seqlens[:-1]).long()
    windows: list[torch.Tensor] = []
    for length in sorted(set(lengths.tolist()) - {0}):
        offsets = torch.arange(length, device=cu_seqlens.device)
        windows.append(starts[lengths == length, None] + offsets)  # (windows, 1) + (length,)
    return windows
