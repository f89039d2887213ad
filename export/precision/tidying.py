"""What ONNX Runtime's converters leave behind, put in order: equal graphs give equal bytes, and no trace of a tool.

Their nodes come in the order in which sets were walked, which changes from process to process.
"""

from __future__ import annotations

import onnx


def tidy(converted: onnx.ModelProto, like: onnx.ModelProto) -> None:
    """Sort `converted` in place, drop what no output needs, and describe it as `like` is described.

    Its only imports are those of `like`; an operator of another domain or version is our mistake.
    """
    imports = {entry.domain: entry.version for entry in like.opset_import}
    assert {node.domain for node in converted.graph.node} <= set(imports)
    assert {(entry.domain, entry.version) for entry in converted.opset_import} >= set(imports.items())
    del converted.opset_import[:]
    converted.opset_import.extend(like.opset_import)
    converted.ir_version = like.ir_version
    converted.producer_name, converted.producer_version = like.producer_name, like.producer_version
    converted.doc_string = like.doc_string
    converted.graph.name = like.graph.name
    del converted.metadata_props[:]
    converted.metadata_props.extend(like.metadata_props)
    graph = converted.graph
    del graph.value_info[:]
    _sort(graph)
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        del item.metadata_props[:]


def with_named_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name, and no two the same: the converters find nodes by name."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    taken: set[str] = set()
    for node in named.graph.node:
        name = node.name or f"node_{node.output[0]}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)
    return named


def _sort(graph: onnx.GraphProto) -> None:
    """Nodes and constants in the order in which the outputs need them, first input first; the others are dropped."""
    outputs = [name for node in graph.node for name in node.output if name]
    assert len(set(outputs)) == len(outputs), "a value that two nodes compute"
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: dict[str, onnx.NodeProto] = {}  # by first output
    tensors: dict[str, onnx.TensorProto] = {}
    waiting = [(value.name, False) for value in reversed(graph.output)]
    while waiting:
        name, inputs_are_done = waiting.pop()
        if name in constants:
            tensors.setdefault(name, constants[name])
        node = producers.get(name)
        if node is None or node.output[0] in nodes:
            continue
        if inputs_are_done:
            nodes[node.output[0]] = node
        else:
            waiting.append((name, True))
            waiting.extend((given, False) for given in reversed(node.input))
    del graph.node[:]
    graph.node.extend(nodes.values())
    del graph.initializer[:]
    graph.initializer.extend(tensors.values())
