"""float32 graph → float16 graph, by ONNX Runtime's own converter.

For CUDA and TensorRT. The CPU provider runs it too, by converting to float32 and back, and no faster than float32.
"""

from __future__ import annotations

import onnx

from export.precision.tidying import tidy, with_named_nodes
from handlers.session import import_onnxruntime

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FLOAT32_SUFFIX = "_float32"


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of `model` computed in float16, with the inputs, outputs and metadata of `model`, which is not changed.

    The last layer with weights and all that comes after it (the tanh, the bytes of `image_u8`) stay in float32:
    rounding there is seen in every pixel, and no later sum averages it away. The sizes that Resize takes stay too. A
    weight that float16 cannot hold becomes the nearest number that it can, and never 0. Equal graphs give equal bytes.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the converter made a graph that is not valid.
    """
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    named = onnx.shape_inference.infer_shapes(with_named_nodes(model))
    last = last_layers(named)
    # The last layers are cut off, not named in the converter's `node_block_list`: between two nodes of that list, and
    # before the output, it rounds to float16 and back.
    trunk = _trunk(named, last)
    converted: onnx.ModelProto = convert_float_to_float16(trunk, keep_io_types=True)
    _append(converted.graph, last, named.graph)
    tidy(converted, like=model)
    onnx.checker.check_model(converted, full_check=True)
    return converted


def last_layers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes from the last layers with weights to the outputs, in the graph's order."""
    producers = {name: node for node in model.graph.node for name in node.output}
    names: set[str] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.name in names:
            continue
        names.add(node.name)
        if node.op_type not in WEIGHTED:
            waiting.extend(node.input)
    return [node for node in model.graph.node if node.name in names]


def _trunk(model: onnx.ModelProto, last: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The graph before the last layers; its outputs are what those read of it. `model` has its shapes inferred."""
    trunk = onnx.ModelProto()
    trunk.CopyFrom(model)
    graph = trunk.graph
    cut = {node.name for node in last}
    nodes = [node for node in model.graph.node if node.name not in cut]
    read = {name for node in last for name in node.input}
    shapes = {value.name: value for value in model.graph.value_info}
    outputs = [shapes[name] for node in nodes for name in node.output if name in read]
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    for field, kept in ((graph.node, nodes), (graph.output, outputs), (graph.initializer, constants)):
        del field[:]
        field.extend(kept)
    return trunk


def _append(graph: onnx.GraphProto, last: list[onnx.NodeProto], source: onnx.GraphProto) -> None:
    """Put the last layers of `source` behind the trunk `graph`, with float32 constants of their own."""
    taken = {tensor.name for tensor in graph.initializer}
    constants = {tensor.name: tensor for tensor in source.initializer}
    renamed: dict[str, str] = {}
    for node in last:
        own = graph.node.add()
        own.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name not in constants:
                continue
            if name not in renamed:
                renamed[name] = name + FLOAT32_SUFFIX if name in taken else name
                constant = graph.initializer.add()
                constant.CopyFrom(constants[name])
                constant.name = renamed[name]
            own.input[place] = renamed[name]
    del graph.output[:]
    graph.output.extend(source.output)
