"""EfficientNet-Lite0 written as an ONNX graph, in a fraction of a second instead of torch.export's several."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from app.families.lite.efficientnet_lite import FEATURES, Block, EfficientNetLite0, PaddedConv

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

    def block(self, x: str, block: Block) -> str:
        wide = self.relu6(self.conv(x, block.expand_conv, block.bn0)) if block.expands else x
        wide = self.relu6(self.conv(wide, block.depthwise_conv, block.bn1))
        y = self.conv(wide, block.project_conv, block.bn2)
        return self.op("Add", x, y) if block.residual else y


def to_onnx(module: EfficientNetLite0, side: int) -> onnx.ModelProto:
    """`pixels` float[n, 3, side, side] to `features` float[n, 1280], as the module computes in eval mode."""
    graph = _Graph()
    graph.weights += [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("six", TensorProto.FLOAT, [], [6.0]),
    ]
    x = graph.relu6(graph.conv("pixels", module.conv_stem, module.bn0))
    for block in module.blocks:
        if isinstance(block, Block):
            x = graph.block(x, block)
    x = graph.relu6(graph.conv(x, module.conv_head, module.bn1))
    pooled = graph.op("GlobalAveragePool", x)
    graph.nodes.append(helper.make_node("Flatten", [pooled], ["features"], axis=1))
    proto = helper.make_graph(
        graph.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
        graph.weights,
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
