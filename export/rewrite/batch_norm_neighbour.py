"""A plain batch norm goes into the layers whose sum it normalises.

With running statistics it is a · x + b on each channel (`batch_statistics`). Where x is W * h + c, a convolution, a
transposed one or a linear layer whose output nobody else reads,

    a · (W * h + c) + b  =  (a · W) * h + (a · c + b),    a along the output channels.

It goes further up through what commutes with it: a nearest upsampling repeats values, so a · up(x) + b = up(a · x + b);
a reshape from (N, C·H·W) moves none; and a residual sum takes the scale on both sides and the shift on one:

    a · (x + y) + b  =  (a · x + b) + a · y.

A norm whose input has other readers stays: scaled weights would change what those read.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.batch_statistics import ChannelAffine, batch_norm_affine
from export.rewrite.building import new_constant, take_over
from export.rewrite.reading import (
    Float64s,
    constant,
    decimal,
    integer,
    is_operation,
    is_private,
    producer,
    text,
    whole_numbers,
)
from export.rewrite.rewriting import Rewrite

OUTPUT_DIMENSION = {"Conv": 0, "ConvTranspose": 1}  # of the weight


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer that takes the norm's scale.

    Attributes:
        node: Conv, ConvTranspose or Gemm, with a constant weight and a constant bias or none.
        weight: its weight.
        bias: its bias; zeros if it has none.
        output_dimension: the weight's dimension of outputs.
        repeats: outputs of the layer a channel; more than 1 for a linear layer that is reshaped into feature maps.
        takes_shift: whether the norm's shift goes here too.
    """

    node: ir.Node
    weight: Float64s
    bias: Float64s
    output_dimension: int
    repeats: int
    takes_shift: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourNorm:
    """A norm and the layers it goes into."""

    norm: ir.Node
    affine: ChannelAffine
    layers: tuple[Layer, ...]


def applies(node: ir.Node) -> NeighbourNorm | None:
    """Whether `node` is a batch norm with running statistics of a sum of layers that nobody else reads."""
    affine = batch_norm_affine(node) if is_operation(node, "BatchNormalization") else None
    if affine is None:
        return None
    layers = _layers(node.inputs[0], len(affine.scale), takes_shift=True)
    return None if layers is None else NeighbourNorm(norm=node, affine=affine, layers=layers)


def rewrite(match: NeighbourNorm) -> None:
    """New weights and biases for the layers; the norm is gone."""
    graph = match.norm.graph
    assert graph is not None
    for layer in match.layers:
        scale, shift = (np.repeat(each, layer.repeats) for each in (match.affine.scale, match.affine.shift))
        along_outputs = [1] * layer.weight.ndim
        along_outputs[layer.output_dimension] = -1
        weight = layer.weight * scale.reshape(along_outputs)
        bias = layer.bias * scale + (shift if layer.takes_shift else 0.0)
        node = layer.node
        name = node.outputs[0].name
        node.resize_inputs(3)
        node.replace_input_with(1, new_constant(graph, weight.astype(np.float32), f"{name}.normalized_weight"))
        node.replace_input_with(2, new_constant(graph, bias.astype(np.float32), f"{name}.normalized_bias"))
    before = match.norm.inputs[0]
    assert before is not None
    take_over(before, match.norm.outputs[0])
    graph.remove(match.norm, safe=True)


def _layers(value: ir.Value | None, num_channels: int, *, takes_shift: bool) -> tuple[Layer, ...] | None:
    """The layers whose sum `value` is; None where there is another reader or anything else between."""
    if value is None or not is_private(value):
        return None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Add":
        left = _layers(node.inputs[0], num_channels, takes_shift=takes_shift)
        right = _layers(node.inputs[1], num_channels, takes_shift=False)
        return None if left is None or right is None else left + right
    if node.op_type == "Resize":
        repeats_values = text(node, "mode", "nearest") == "nearest"
        return _layers(node.inputs[0], num_channels, takes_shift=takes_shift) if repeats_values else None
    if node.op_type == "Reshape":
        return _reshaped_linear(node, num_channels, takes_shift=takes_shift)
    if node.op_type in OUTPUT_DIMENSION and integer(node, "group", 1) == 1:
        return _layer(node, OUTPUT_DIMENSION[node.op_type], num_channels, takes_shift=takes_shift)
    return None


def _reshaped_linear(reshape: ir.Node, num_channels: int, *, takes_shift: bool) -> tuple[Layer, ...] | None:
    """A linear layer whose outputs (N, C·H·W) become (N, C, H, W)."""
    shape = whole_numbers(reshape.inputs[1])
    linear = producer(reshape.inputs[0], "Gemm")
    if shape is None or len(shape) != 4 or shape[1] != num_channels:
        return None
    if linear is None or not is_private(linear.outputs[0]):
        return None
    if decimal(linear, "alpha", 1.0) != 1.0 or decimal(linear, "beta", 1.0) != 1.0:
        return None
    return _layer(linear, 0 if integer(linear, "transB", 0) else 1, num_channels, takes_shift=takes_shift)


def _layer(node: ir.Node, output_dimension: int, num_channels: int, *, takes_shift: bool) -> tuple[Layer, ...] | None:
    weight = constant(node.inputs[1])
    if weight is None or weight.shape[output_dimension] % num_channels:
        return None
    num_outputs = weight.shape[output_dimension]
    bias: Float64s | None = np.zeros(num_outputs)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
    if bias is None or bias.shape != (num_outputs,):
        return None
    return (
        Layer(
            node=node,
            weight=weight,
            bias=bias,
            output_dimension=output_dimension,
            repeats=num_outputs // num_channels,
            takes_shift=takes_shift,
        ),
    )


BATCH_NORM_NEIGHBOUR = Rewrite(name="batch_norm_neighbour", applies=applies, rewrite=rewrite)
