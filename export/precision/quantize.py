"""Layers in 8-bit numbers, as pairs of QuantizeLinear and DequantizeLinear around plain operators (QDQ).

An activation x is stood for by the integer q = clip(round(x / s) + p), so that x ≈ s · (q − p), with one scale s and
one zero point p for a whole tensor. A weight has a scale for each output channel and the zero point 0, a bias is an
int32 with the scale s_x · s_w that the sums of products have. A runtime that knows the pattern computes
DequantizeLinear → Conv → QuantizeLinear in integers; any other computes it as it is written.

Where a range starts at 0, p is the lowest integer and rounding cuts off what is negative: a ReLU before it would do
nothing more, and is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.precision.calibration import Range
from export.precision.channels_last import NewNode, NewShape, interleaved, repeated
from export.precision.layers import Layer, channels_and_width, is_repetition, phases_of
from export.precision.number_format import NumberFormat
from export.rewrite.reading import constant, producer

# A weight's scale is at least so large that its channel's bias fits an int32 and leaves room for the sums.
LARGEST_BIAS = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    """What an activation is rounded to. `scale`, a constant of the graph, holds `step`; `zero_point` is one too."""

    step: float
    scale: ir.Value
    zero_point: ir.Value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Rounded:
    """An activation in integers."""

    value: ir.Value
    grid: _Grid


def quantize_layers(
    model: ir.Model, layers: Iterable[Layer], ranges: Mapping[str, Range], numbers: NumberFormat
) -> None:
    """Change `model` so that `layers` of it are computed in `numbers`.

    Args:
        model: the layers' graph, in float32.
        layers: in the order of the graph.
        ranges: of the source and the output of every layer, by name.
        numbers: the integers to use.
    """
    writer = _Writer(model.graph, ranges, numbers)
    for layer in layers:
        writer.add(layer)
    writer.finish()
    RemoveUnusedNodesPass()(model)


class _Writer:
    """Adds integer paths beside the float ones, then makes the float readers read the new ones."""

    def __init__(self, graph: ir.Graph, ranges: Mapping[str, Range], numbers: NumberFormat) -> None:
        self._graph = graph
        self._ranges = ranges
        self._numbers = numbers
        self._rounded: dict[str, _Rounded] = {}  # sources and outputs of layers, by name
        self._outputs: list[tuple[ir.Value, ir.Value]] = []  # of layers: as they were, made of integers
        self._own_readers: set[ir.Node] = set()  # of convolutions whose output is rounded

    def add(self, layer: Layer) -> None:
        """Round what comes in and what goes out."""
        source, grid = self._source(layer.source), self._grid(layer.output)
        rounded = self._path(layer.output, layer, grid)
        for convolution in layer.convolutions:
            moved = self._moved_to(convolution.inputs[0], layer.source, source.value)
            self._convolution(convolution, _Rounded(value=moved, grid=source.grid))
        self._rounded[layer.name] = _Rounded(value=rounded, grid=grid)
        self._outputs.append((layer.output, self._dequantize(rounded, grid, f"{layer.name}.dequantized")))

    def finish(self) -> None:
        """Hand the new outputs to whoever read the old ones."""
        for old, new in self._outputs:
            for reader, place in old.uses():
                if reader not in self._own_readers:
                    reader.replace_input_with(place, new)
        self._graph.sort()

    def _source(self, value: ir.Value) -> _Rounded:
        name = _name(value)
        if name not in self._rounded:
            grid = self._grid(value)
            relu = producer(value, "Relu")
            read = value if relu is None else relu.inputs[0]
            assert read is not None
            self._rounded[name] = _Rounded(value=self._quantize(read, grid, f"{name}.quantized"), grid=grid)
        return self._rounded[name]

    def _moved_to(self, value: ir.Value | None, source: ir.Value, rounded: ir.Value) -> ir.Value:
        """`rounded`, which stands for `source`, moved as `value` is."""
        assert value is not None
        if value is source:
            return rounded
        node = value.producer()
        assert node is not None
        return self._repeat(value, self._moved_to(node.inputs[0], source, rounded))

    def _path(self, value: ir.Value, layer: Layer, grid: _Grid) -> ir.Value:
        """Integers that stand for `value`, which lies between the layer's convolutions and its output."""
        node = value.producer()
        assert node is not None
        if node in layer.convolutions:
            quantized = self._quantize(value, grid, f"{_name(value)}.quantized")
            reader = quantized.producer()
            assert reader is not None
            self._own_readers.add(reader)
            return quantized
        if node.op_type == "Relu":
            return self._path(_input(node), layer, grid)
        if is_repetition(node):
            return self._repeat(value, self._path(_input(node), layer, grid))
        phases = phases_of(node)
        assert phases is not None
        return self._interleave(value, [self._path(phase, layer, grid) for phase in phases])

    def _repeat(self, value: ir.Value, rounded: ir.Value) -> ir.Value:
        """Integers for `value`, the enlargement of what `rounded` stands for."""
        return repeated(rounded, *_size(value), *self._makers(value))

    def _interleave(self, value: ir.Value, phases: list[ir.Value]) -> ir.Value:
        """Integers for `value`, the interleaving of what `phases` stand for."""
        return interleaved(phases, *_size(value), *self._makers(value))

    def _makers(self, value: ir.Value) -> tuple[NewNode, NewShape]:
        """Of nodes and constants on the way to integers for `value`."""
        name = f"{_name(value)}.quantized"

        def new_node(operator: str, inputs: Sequence[ir.Value], made: str, attributes: dict[str, Any]) -> ir.Value:
            return self._node(operator, inputs, f"{name}.{made}", attributes)

        def new_shape(sizes: Sequence[int], made: str) -> ir.Value:
            return self._constant(np.array(sizes, dtype=np.int64), f"{name}.{made}")

        return new_node, new_shape

    def _convolution(self, node: ir.Node, source: _Rounded) -> None:
        name = _name(node.outputs[0])
        weight = constant(node.inputs[1])
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        assert weight is not None
        largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        step = largest / self._numbers.largest_weight
        if bias is not None:
            step = np.maximum(step, np.abs(bias) / (source.grid.step * LARGEST_BIAS))
        step = np.where(step > 0.0, step, 1.0).astype(np.float32)
        levels = np.rint(weight / step.reshape(-1, 1, 1, 1)).astype(np.int8)
        node.replace_input_with(0, self._dequantize(source.value, source.grid, f"{name}.input"))
        node.replace_input_with(1, self._channels(levels, step, f"{name}.weight"))
        if bias is not None:
            bias_step = step * np.float32(source.grid.step)
            sums = np.rint(bias / bias_step).astype(np.int32)
            node.replace_input_with(2, self._channels(sums, bias_step, f"{name}.bias"))

    def _grid(self, value: ir.Value) -> _Grid:
        """The steps that cover the value's range and 0, which padding needs exactly."""
        name, numbers = _name(value), self._numbers
        low, high = min(self._ranges[name].low, 0.0), max(self._ranges[name].high, 0.0)
        step = np.float32((high - low) / (numbers.highest - numbers.lowest)) or np.float32(1.0)
        zero_point = numbers.lowest + round(-low / float(step))
        return _Grid(
            step=float(step),
            scale=self._constant(np.array(step, dtype=np.float32), f"{name}.scale"),
            zero_point=self._constant(np.array(zero_point, dtype=numbers.activation), f"{name}.zero_point"),
        )

    def _channels(self, levels: NDArray[Any], step: NDArray[np.float32], name: str) -> ir.Value:
        """A constant with a scale for each of its first indices."""
        inputs = [self._constant(levels, f"{name}.levels"), self._constant(step, f"{name}.scale")]
        return self._node("DequantizeLinear", inputs, name, {"axis": 0})

    def _quantize(self, value: ir.Value, grid: _Grid, name: str) -> ir.Value:
        return self._node("QuantizeLinear", [value, grid.scale, grid.zero_point], name)

    def _dequantize(self, value: ir.Value, grid: _Grid, name: str) -> ir.Value:
        return self._node("DequantizeLinear", [value, grid.scale, grid.zero_point], name)

    def _node(self, op_type: str, inputs: Sequence[ir.Value], name: str, attributes: Any = None) -> ir.Value:
        node = ir.node(op_type, inputs, attributes or {}, name=f"node_{name}")
        node.outputs[0].name = name
        self._graph.append(node)
        return node.outputs[0]

    def _constant(self, array: NDArray[Any], name: str) -> ir.Value:
        assert name not in self._graph.initializers
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        self._graph.register_initializer(value)
        return value


def _input(node: ir.Node) -> ir.Value:
    assert node.inputs[0] is not None
    return node.inputs[0]


def _size(value: ir.Value) -> tuple[int, int]:
    size = channels_and_width(value)
    assert size is not None
    return size


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
