"""Matrix products in bfloat16 on processors that have units for them.

    if bfloat16_gain() >= WORTHWHILE:
        use_bfloat16_products(model)

Only the products are in bfloat16. What is added up between them stays in float32, because rounding it layer by layer
changes four times as many verdicts of micro (`python benchmarks/speed.py vlm` measures both).
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORTHWHILE = 2.0  # how many times as fast a product must be, since rounding to bfloat16 takes time too
SIDE, ROUNDS = 512, 7  # of the matrices of the measurement, some 10 milliseconds


@cache
def bfloat16_gain() -> float:
    """How many times as fast as in float32 a matrix product in bfloat16 is on this processor."""
    seconds: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(SIDE, SIDE, dtype=dtype)
        times: list[float] = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)  # the first rounds warm up, and another program may interrupt some
    return seconds[torch.float32] / seconds[torch.bfloat16]


def use_bfloat16_products(model: Any) -> None:
    """Compute the linear layers of a float32 model, but not its output layer, by products in bfloat16.

    For inference only. The logits of the output layer become the score, so they stay as exact as they are.
    """
    output = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child is not output:
                setattr(module, name, _Bfloat16Linear(child))


class _Bfloat16Linear(nn.Linear):
    """A linear layer with weights in bfloat16, which takes and gives what its neighbours have."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight = nn.Parameter(layer.weight.detach().to(torch.bfloat16), requires_grad=False)
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.detach().to(torch.bfloat16), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """(…, width) -> (…, width of the output), both in the input's precision."""
        product = F.linear(input.to(torch.bfloat16), self.weight, cast("Tensor | None", self.bias))
        return product.to(input.dtype)
