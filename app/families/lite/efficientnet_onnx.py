"""The networks of `lite` written as an ONNX graph, in a fraction of a second instead of torch.export's several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from app.families.lite.efficientnet_lite import Block, EfficientNetLite, PaddedConv
from app.families.lite.features import LitePair, RootedLite
from app.families.lite.variants import EPSILON, LEVEL_SHARE

OPSET = 18
IR_VERSION = 10


class _Graph:
    """Nodes and weights as they are added; every method takes and returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, tensor: torch.Tensor) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name))
        return name

    def conv(self, x: str, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> str:
        """A convolution with its batch norm folded into weight and bias."""
        if bn.running_var is None or bn.running_mean is None or bn.bias is None:
            raise ValueError("the batch norm keeps no statistics")
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        weight = self.weight(conv.weight * scale[:, None, None, None])
        bias = self.weight(bn.bias - bn.running_mean * scale)
        edges = conv.edges if isinstance(conv, PaddedConv) else None
        before, after = (edges[0], edges[1]) if edges else (int(conv.padding[0]),) * 2
        return self.op(
            "Conv",
            x,
            weight,
            bias,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            group=conv.groups,
            pads=[before, before, after, after],
        )

    def relu6(self, x: str) -> str:
        return self.op("Clip", x, "zero", "six")

    def block(self, x: str, block: nn.Module) -> str:
        if not isinstance(block, Block):
            raise TypeError("the network has another kind of block")
        wide = self.relu6(self.conv(x, block.expand_conv, block.bn0)) if block.expands else x
        wide = self.relu6(self.conv(wide, block.depthwise_conv, block.bn1))
        y = self.conv(wide, block.project_conv, block.bn2)
        return self.op("Add", x, y) if block.residual else y

    def features(self, module: torch.nn.Module) -> str:
        """Of `pixels`, as the module computes them in eval mode."""
        if isinstance(module, LitePair):
            return self.op("Concat", self.features(module.lite0), self.features(module.lite2), axis=1)
        if not isinstance(module, EfficientNetLite):
            raise TypeError("the tower of lite is another network")
        x = level = self.before_last_stage(module)
        for block in list(module.blocks)[module.cut :]:
            x = self.block(x, block)
        x = self.relu6(self.conv(x, module.conv_head, module.bn1))
        pooled = self.pool(x)
        if not isinstance(module, RootedLite):
            return pooled
        level_root = self.op("Mul", self.unit_root(self.pool(level)), "level_share")
        return self.op("Concat", self.unit_root(pooled), level_root, axis=1)

    def before_last_stage(self, module: EfficientNetLite) -> str:
        """See `EfficientNetLite`; of `pixels`."""
        x = self.relu6(self.conv("pixels", module.conv_stem, module.bn0))
        for block in list(module.blocks)[: module.cut]:
            x = self.block(x, block)
        return x

    def model(self, output: str, name: str, dims: Sequence[str | int], side: int) -> onnx.ModelProto:
        """All that was added, from `pixels` float[n, 3, side, side] to `output` under another name."""
        self.nodes.append(helper.make_node("Identity", [output], [name]))
        self.weights += [
            helper.make_tensor(constant, TensorProto.FLOAT, [], [value])
            for constant, value in (("zero", 0.0), ("six", 6.0))
        ]
        proto = helper.make_graph(
            self.nodes,
            "efficientnet_lite",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)],
            self.weights,
        )
        return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def pool(self, x: str) -> str:
        return self.op("Flatten", self.op("GlobalAveragePool", x), axis=1)

    def unit_root(self, x: str) -> str:
        """`app.families.lite.features.signed_root`, scaled to unit length."""
        size = self.op("Sqrt", self.op("Add", self.op("Abs", x), "epsilon"))
        root = self.op("Div", x, size)
        length = self.op("ReduceL2", root, "last_axis", keepdims=1)
        return self.op("Div", root, self.op("Max", length, "least_length"))


def to_onnx(module: torch.nn.Module, side: int) -> onnx.ModelProto:
    """`pixels` float[n, 3, side, side] to `features` float[n, d], as a network of `lite` computes in eval mode."""
    graph = _Graph()
    if not isinstance(module, EfficientNetLite) or isinstance(module, RootedLite):
        constants = {"epsilon": EPSILON, "level_share": LEVEL_SHARE, "least_length": 1e-12}
        graph.weights.append(helper.make_tensor("last_axis", TensorProto.INT64, [1], [1]))
        graph.weights += [
            helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in constants.items()
        ]
    return graph.model(graph.features(module), "features", ["n", "d"], side)


def trunk_to_onnx(module: EfficientNetLite, side: int) -> onnx.ModelProto:
    """`pixels` float[n, 3, side, side] to the last stage's input, `activations` float[n, c, side / 32, side / 32]."""
    graph = _Graph()
    dims: list[str | int] = ["n", module.level_width, side // 32, side // 32]
    return graph.model(graph.before_last_stage(module), "activations", dims, side)
