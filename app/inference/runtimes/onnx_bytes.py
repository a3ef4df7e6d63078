"""A graph over normalised pixels as one over 8-bit pixels: a cast in front, the rest folded into the first convolution
where that is exact.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.inference.preprocessing import Preprocessing

_INPUT = "pixels"


def take_bytes(model: onnx.ModelProto, steps: Preprocessing) -> None:
    """Let the graph, whose one input is `pixels` float[n, 3, h, w], take uint8 instead; changed in place."""
    graph = model.graph
    multiplier, offset = (np.array(three, np.float32) for three in (steps.multiplier, steps.offset))
    first = _only_reader(graph)
    added = [helper.make_node("Cast", [_INPUT], ["pixels_float"], to=TensorProto.FLOAT)]
    weight = None if first is None else _weight_of(graph, first)
    if first is not None and weight is not None:
        values = numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(values * multiplier[:, None, None], weight.name))
        added.append(_elementwise(graph, "Add", "pixels_float", offset / multiplier, "pixels_normalised"))
    else:
        added.append(_elementwise(graph, "Mul", "pixels_float", multiplier, "pixels_scaled"))
        added.append(_elementwise(graph, "Add", "pixels_scaled", offset, "pixels_normalised"))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == _INPUT:
                node.input[index] = "pixels_normalised"
    for node in reversed(added):
        graph.node.insert(0, node)
    next(
        given for given in graph.input if given.name == _INPUT
    ).type.tensor_type.elem_type = TensorProto.UINT8


def _elementwise(
    graph: onnx.GraphProto, kind: str, given: str, values: np.ndarray, result: str
) -> onnx.NodeProto:
    graph.initializer.append(numpy_helper.from_array(values.reshape(1, 3, 1, 1), f"{result}_by"))
    return helper.make_node(kind, [given, f"{result}_by"], [result])


def _only_reader(graph: onnx.GraphProto) -> onnx.NodeProto | None:
    """The convolution that reads the pixels, where nothing else does."""
    readers = [node for node in graph.node if _INPUT in node.input]
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Conv" else None


def _weight_of(graph: onnx.GraphProto, conv: onnx.NodeProto) -> onnx.TensorProto | None:
    """Its float32 weights [filters, 3, h, w], where they lie in the graph and nothing else reads them."""
    name = conv.input[1]
    users = sum(name in node.input for node in graph.node)
    for tensor in graph.initializer:
        if tensor.name == name:
            is_own = tensor.data_type == TensorProto.FLOAT and not tensor.external_data and users == 1
            return tensor if is_own and len(tensor.dims) == 4 and tensor.dims[1] == 3 else None
    return None
