"""The convolutions that can be computed in 8-bit numbers, each with the way that its values come in and go out.

Pixels that are only repeated, or interleaved, can be rounded before or after: it is the same picture. So a layer
reaches over that, and bytes are moved in the place of floats. A ReLU behind a convolution is where the range of its
output is cut off, so it belongs to the layer. The four convolutions of an upsampling written as phases are one layer,
with one range.
"""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from export.rewrite.reading import constant, integer, is_operation, is_private, producer, text
from export.rewrite.upsampled_convolution import upsampling_by_two


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
    """Whether `node` enlarges by repeating every pixel, to a known size."""
    return (
        node is not None
        and is_operation(node, "Resize")
        and upsampling_by_two(node.outputs[0]) is not None
        and channels_and_width(node.outputs[0]) is not None
    )


def phases_of(node: ir.Node | None) -> list[ir.Value] | None:
    """The four convolutions' outputs that the DepthToSpace `node` interleaves, if it is one, of a known size."""
    if node is None or not is_operation(node, "DepthToSpace"):
        return None
    if integer(node, "blocksize", 0) != 2 or text(node, "mode", "DCR") != "DCR":
        return None
    concat = producer(node.inputs[0], "Concat")
    if concat is None or not is_private(concat.outputs[0]) or channels_and_width(node.outputs[0]) is None:
        return None
    convolutions = [producer(value, "Conv") for value in concat.inputs]
    phases = [node.outputs[0] for node in convolutions if node is not None and _is_quantizable(node)]
    inputs = {node.inputs[0] for node in convolutions if node is not None}
    if len(phases) != len(convolutions) or len(phases) != 4 or len(inputs) > 1 or not all(map(is_private, phases)):
        return None
    return phases


def channels_and_width(value: ir.Value) -> tuple[int, int] | None:
    """Of (N, C, H, W), where the graph says them."""
    shape = value.shape
    if shape is None or len(shape) != 4:
        return None
    channels, width = shape[1], shape[3]
    return (channels, width) if isinstance(channels, int) and isinstance(width, int) else None


def _is_quantizable(node: ir.Node) -> bool:
    """A convolution with constant weights that does not end the graph. The CPU has no transposed one in 8 bits."""
    if not is_operation(node, "Conv") or node.outputs[0].is_graph_output():
        return False
    return constant(node.inputs[1]) is not None and all(constant(bias) is not None for bias in node.inputs[2:])


def _source(value: ir.Value | None) -> ir.Value:
    """Back over repetitions."""
    assert value is not None
    node = value.producer()
    return _source(node.inputs[0]) if node is not None and is_repetition(node) else value


def _output(value: ir.Value) -> ir.Value:
    """On from a convolution over the interleaving with its sisters and repetitions, up to and over a ReLU."""
    while is_private(value):
        ((reader, _),) = value.uses()
        behind = [use.node for use in reader.outputs[0].uses()]
        if is_operation(reader, "Concat") and len(behind) == 1 and phases_of(behind[0]) is not None:
            value = behind[0].outputs[0]
        elif is_repetition(reader):
            value = reader.outputs[0]
        else:
            return reader.outputs[0] if is_operation(reader, "Relu") else value
    return value


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
