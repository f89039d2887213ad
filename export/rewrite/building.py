"""New nodes and constants in the place of an old node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Attribute = int | float | str | Sequence[int]


def new_constant(graph: ir.Graph, array: NDArray[np.float32] | NDArray[np.int64], name: str) -> ir.Value:
    """A constant of the graph; no other may have the name."""
    assert name not in graph.initializers
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    graph.register_initializer(value)
    return value


def take_over(heir: ir.Value, old: ir.Value) -> None:
    """`heir` is read wherever `old` was, and has its name, type and shape: it may be an output of the graph."""
    heir.name, heir.type, heir.shape = old.name, old.type, old.shape
    old.name = None
    old.replace_all_uses_with(heir, replace_graph_outputs=True)


class Replacement:
    """Collects the nodes that take the place of `replaced`, all named after its output, so that names stay unique.

    The same calls in the same order give the same names, and so the same bytes.
    """

    def __init__(self, replaced: ir.Node) -> None:
        assert len(replaced.outputs) == 1
        assert replaced.graph is not None
        self._replaced = replaced
        self._graph = replaced.graph
        self._nodes: list[ir.Node] = []

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        """A node of one output; `name` says what it computes and is unique among the replacement's."""
        full_name = self._name(name)
        node = ir.node(op_type, inputs, attributes or {}, name=f"node_{full_name}")
        node.outputs[0].name = full_name
        self._nodes.append(node)
        return node.outputs[0]

    def convolution(
        self,
        x: ir.Value,
        weight: NDArray[np.float64],
        name: str,
        *,
        bias: ir.Value | None = None,
        pads: Sequence[int] = (0, 0, 0, 0),
        strides: Sequence[int] = (1, 1),
        dilations: Sequence[int] = (1, 1),
        group: int = 1,
    ) -> ir.Value:
        """A Conv of `weight` (O, I / group, h, w) and, if there is one, the graph's constant `bias` (O,)."""
        inputs = [x, self.floats(weight, f"{name}_weight")] + ([] if bias is None else [bias])
        attributes: dict[str, Attribute] = {
            "kernel_shape": weight.shape[2:],
            "pads": pads,
            "strides": strides,
            "dilations": dilations,
            "group": group,
        }
        return self.node("Conv", inputs, name, attributes)

    def depthwise(
        self,
        x: ir.Value,
        kernel: NDArray[np.float64],
        num_channels: int,
        name: str,
        *,
        pads: Sequence[int] = (0, 0, 0, 0),
        strides: Sequence[int] = (1, 1),
        dilations: Sequence[int] = (1, 1),
    ) -> ir.Value:
        """Every channel by the same `kernel` (h, w)."""
        weight = np.tile(kernel, (num_channels, 1, 1, 1))
        return self.convolution(x, weight, name, pads=pads, strides=strides, dilations=dilations, group=num_channels)

    def floats(self, array: NDArray[np.float64], name: str) -> ir.Value:
        """A constant, stored in float32."""
        return new_constant(self._graph, array.astype(np.float32), self._name(name))

    def integers(self, values: Sequence[int], name: str) -> ir.Value:
        """A constant vector of int64."""
        return new_constant(self._graph, np.array(values, dtype=np.int64), self._name(name))

    def finish(self, result: ir.Value) -> None:
        """Put the nodes where the replaced one was; whoever read its output reads `result`, under the old name."""
        (old,) = self._replaced.outputs
        ir.convenience.replace_nodes_and_values(
            self._graph, self._replaced, [self._replaced], self._nodes, [old], [result]
        )

    def _name(self, name: str) -> str:
        return f"{self._replaced.outputs[0].name}.{name}"
