"""The convolutions that can be computed in 8-bit numbers, each with the way that its values come in and go out.

Some operators only move values: enlargement by repetition, DepthToSpace, Concat. Whether one rounds before or after
them is the same picture, so a layer reaches over them, and they move bytes in the place of floats. A ReLU behind a
convolution is where the range of its output is cut off, so it belongs to the layer. The four convolutions of an
upsampling written as phases meet in one Concat: they are one layer, with one range.
"""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from export.rewrite.reading import constant, is_operation, is_private, producer, text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """Convolutions of one input and one output.

    Attributes:
        name: the output's name.
        convolutions: Conv nodes with constant float32 weights.
        source: the value that is rounded; from here on bytes are moved to the convolutions.
        output: the value that floats are made of again.
        multiply_adds: of one picture; of one pixel where the graph does not say how large the output is.
    """

    name: str
    convolutions: tuple[ir.Node, ...]
    source: ir.Value
    output: ir.Value
    multiply_adds: int


def find_layers(model: ir.Model) -> list[Layer]:
    """All layers, first to last. The shapes of `model` have been inferred."""
    groups: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if _is_quantizable(node):
            groups.setdefault(_name(_output(node.outputs[0])), []).append(node)
    return [
        Layer(
            name=name,
            convolutions=tuple(convolutions),
            source=_source(convolutions[0].inputs[0]),
            output=_output(convolutions[0].outputs[0]),
            multiply_adds=sum(_multiply_adds(node) for node in convolutions),
        )
        for name, convolutions in groups.items()
    ]


def is_repetition(node: ir.Node | None) -> bool:
    """Whether `node` is a Resize that only copies pixels."""
    return node is not None and is_operation(node, "Resize") and text(node, "mode", "nearest") == "nearest"


def _is_quantizable(node: ir.Node) -> bool:
    """A convolution with constant weights that does not end the graph. The CPU has no transposed one in 8 bits."""
    if not is_operation(node, "Conv") or node.outputs[0].is_graph_output():
        return False
    return constant(node.inputs[1]) is not None and all(constant(bias) is not None for bias in node.inputs[2:])


def _source(value: ir.Value | None) -> ir.Value:
    assert value is not None
    node = value.producer()
    if node is not None and is_repetition(node):
        return _source(node.inputs[0])
    return value


def _output(value: ir.Value) -> ir.Value:
    """Follow `value` over what only moves it, up to and over a ReLU."""
    while is_private(value):
        ((reader, _),) = value.uses()
        if not (is_operation(reader, "DepthToSpace") or is_repetition(reader) or _is_one_layers_concat(reader)):
            return reader.outputs[0] if is_operation(reader, "Relu") else value
        value = reader.outputs[0]
    return value


def _is_one_layers_concat(node: ir.Node) -> bool:
    """Whether `node` joins convolutions of the same input, each for itself."""
    if not is_operation(node, "Concat"):
        return False
    convolutions = [producer(value, "Conv") for value in node.inputs]
    return all(
        convolution is not None
        and _is_quantizable(convolution)
        and is_private(convolution.outputs[0])
        and convolution.inputs[0] is convolutions[0].inputs[0]  # type: ignore[union-attr]
        for convolution in convolutions
    )


def _multiply_adds(node: ir.Node) -> int:
    weight, shape = node.inputs[1], node.outputs[0].shape
    assert weight is not None
    assert weight.const_value is not None
    size = shape[2:] if shape is not None else ()
    pixels = math.prod(side if isinstance(side, int) else 1 for side in size)
    return pixels * math.prod(weight.const_value.shape.numpy())


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
