"""float32 arithmetic that rounds as a GPU's float16 does, so that a float16 file can be judged without a GPU.

ONNX Runtime's CPU provider has few float16 kernels: it computes in float32 and leaves out the rounding between
operators, so a float16 file looks better there than it is, and no value ever overflows. Here every value is rounded.
Sums inside one operator are float32's, as they are on a GPU's matrix units.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from export.precision.float16 import last_layers
from export.precision.tidying import with_named_nodes

HALF = ".float16"


def rounded_like_float16(float32: onnx.ModelProto, float16: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph with the weights of `float16`, whose inputs and values are rounded wherever `float16` rounds.

    A value above float16's largest becomes infinite. `float16` is `to_float16(float32)`; neither is changed. The
    graph is for running, not for keeping.
    """
    model = onnx.shape_inference.infer_shapes(with_named_nodes(float32))
    graph = model.graph
    halves = {tensor.name: tensor for tensor in float16.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    for tensor in graph.initializer:
        if tensor.name in halves:
            rounded = numpy_helper.to_array(halves[tensor.name]).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    floats = {
        value.name
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    kept = {node.name for node in last_layers(model)}
    nodes: list[onnx.NodeProto] = []
    exact = {value.name: f"{value.name}.rounded" for value in graph.input if value.name in floats}
    for name, rounded_name in exact.items():
        nodes += _rounding(name, rounded_name)
    for node in graph.node:
        own = onnx.NodeProto()
        own.CopyFrom(node)
        own.input[:] = [exact.get(name, name) for name in node.input]
        nodes.append(own)
        for place, name in enumerate(node.output):
            if node.name not in kept and name in floats:
                own.output[place] = f"{name}.exact"
                nodes += _rounding(f"{name}.exact", name)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model


def _rounding(exact: str, rounded: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [exact], [f"{exact}{HALF}"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{exact}{HALF}"], [rounded], to=TensorProto.FLOAT),
    ]
