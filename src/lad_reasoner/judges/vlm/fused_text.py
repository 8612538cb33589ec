"""The language part of a small model of the Qwen-VL family on a CPU, with the same results in fewer and larger steps.

    text = FusedText(model.model.language_model, torch.float32)
    hidden = text(embedded, positions, rows, mask)

Queries, keys and values are one product, so are both inputs of the gate; query heads that share keys and values are
one call of attention, which saves copies of them; and a pass takes so few rows that they stay in the processor's
caches. The weights are copies, which is why this is for small models. `dtype` is that of the products; what is added
up between them is in float32 (see precision.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from lad_reasoner.judges.vlm.prefix_cache import Rows
from lad_reasoner.judges.vlm.qwen_speedups import rotate_halves

TOKENS = 512  # of a pass


@dataclass(frozen=True, eq=False)
class _Layer:
    """The weights of a layer."""

    before: torch.Tensor  # norm before attention
    queries_keys_values: torch.Tensor
    bias: torch.Tensor | None
    norms: tuple[torch.Tensor, torch.Tensor] | None  # of queries and keys, in Qwen3
    out: torch.Tensor
    behind: torch.Tensor  # norm before the gate
    gate_up: torch.Tensor
    down: torch.Tensor


class FusedText:
    """See the module's docstring. For a language part whose layers all have full attention."""

    def __init__(self, text: Any, dtype: torch.dtype) -> None:
        config = text.config
        attention = text.layers[0].self_attn
        self.dtype, self.rotary, self.epsilon = dtype, text.rotary_emb, float(config.rms_norm_eps)
        self.heads, self.shared = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.width = int(attention.head_dim)
        self.norm = text.norm.weight.detach()
        self.layers = [self._fuse(layer) for layer in text.layers]

    def _fuse(self, layer: Any) -> _Layer:
        attention, gate = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        biases = [projection.bias for projection in projections]
        has_norms = hasattr(attention, "q_norm")
        return _Layer(
            before=layer.input_layernorm.weight.detach(),
            queries_keys_values=self._join([projection.weight for projection in projections]),
            bias=None if biases[0] is None else self._join(biases),
            norms=(attention.q_norm.weight.detach(), attention.k_norm.weight.detach()) if has_norms else None,
            out=self._join([attention.o_proj.weight]),
            behind=layer.post_attention_layernorm.weight.detach(),
            gate_up=self._join([gate.gate_proj.weight, gate.up_proj.weight]),
            down=self._join([gate.down_proj.weight]),
        )

    def _join(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([weight.detach().to(self.dtype) for weight in weights])

    def __call__(
        self,
        embedded: torch.Tensor,
        positions: torch.Tensor,
        rows: Rows,
        places: torch.Tensor,
        length: int,
        deeper: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Hidden states (rows, tokens, width) of `embedded`, of the same shape.

        `positions` (3, rows, tokens) are rotary, `places` (rows, tokens) those in `rows`, below `length`. `deeper` is
        added to the states behind the first layers, one (rows, tokens, width) each.
        """
        count = max(1, TOKENS // embedded.shape[1])
        hidden: list[torch.Tensor] = []
        for start in range(0, len(embedded), count):
            some = slice(start, start + count)
            part = rows.part(start, min(start + count, rows.count))
            mask = part.place(places[some], length)
            added = [layer[some] for layer in deeper]
            hidden.append(self._read(embedded[some], positions[:, some], part, mask, added))
        return torch.cat(hidden)

    def _read(
        self,
        states: torch.Tensor,
        positions: torch.Tensor,
        rows: Rows,
        mask: torch.Tensor,
        deeper: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        count, tokens, wide = states.shape
        group, width = self.heads // self.shared, self.width
        # (rows, tokens, 1, head width), the same for all heads.
        cos, sin = (part.unsqueeze(2) for part in self.rotary(states, positions))
        if tokens > 1:
            # Heads of a group stand one below the other, so each has the mask.
            mask = mask.repeat(1, 1, group, 1)
        for number, layer in enumerate(self.layers):
            normed = F.rms_norm(states, (wide,), layer.before, self.epsilon)
            joint = self._multiply(normed, layer.queries_keys_values, layer.bias).view(count, tokens, -1, width)
            queries, keys, values = torch.split(joint, [self.heads, self.shared, self.shared], 2)
            if layer.norms is None:
                turned = rotate_halves(joint[:, :, : self.heads + self.shared], cos, sin)
                queries, keys = turned[:, :, : self.heads], turned[:, :, self.heads :]
            else:
                queries = rotate_halves(F.rms_norm(queries, (width,), layer.norms[0], self.epsilon), cos, sin)
                keys = rotate_halves(F.rms_norm(keys, (width,), layer.norms[1], self.epsilon), cos, sin)
            # (rows, shared heads, group · tokens, head width)
            queries = queries.transpose(1, 2).reshape(count, self.shared, group * tokens, width)
            kept_keys, kept_values = rows.update(keys.transpose(1, 2), values.transpose(1, 2), number)
            attended = F.scaled_dot_product_attention(queries, kept_keys, kept_values, attn_mask=mask)
            attended = attended.reshape(count, self.heads, tokens, width).transpose(1, 2).reshape(count, tokens, -1)
            states = states + self._multiply(attended, layer.out)
            normed = F.rms_norm(states, (wide,), layer.behind, self.epsilon)
            gate, up = self._multiply(normed, layer.gate_up).chunk(2, -1)
            states = states + self._multiply(F.silu(gate) * up, layer.down)
            if number < len(deeper):
                states = states + deeper[number]
        return F.rms_norm(states, (wide,), self.norm, self.epsilon)

    def _multiply(self, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return F.linear(states.to(self.dtype), weight, bias).float()
