"""Questions that rewrites ask of a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Float64s = NDArray[np.float64]


def is_operation(node: ir.Node | None, op_type: str) -> bool:
    """Whether there is a node, and it is ONNX's `op_type`."""
    return node is not None and node.domain == "" and node.op_type == op_type


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes `value` if it is ONNX's `op_type`."""
    node = value.producer() if value is not None else None
    return node if is_operation(node, op_type) else None


def is_private(value: ir.Value) -> bool:
    """Whether exactly one input of one node reads `value`, so that it may change with its reader."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def constant(value: ir.Value | None) -> Float64s | None:
    """A constant of floats in float64, in which all coefficients are computed; None for anything else."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array.astype(np.float64) if array.dtype == np.float32 else None


def whole_numbers(value: ir.Value | None) -> tuple[int, ...] | None:
    """A constant vector of int64; None for anything else."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return tuple(array.tolist()) if array.dtype == np.int64 and array.ndim == 1 else None


def size(value: ir.Value | None) -> tuple[int, int, int] | None:
    """(C, H, W) of a value (N, C, H, W), where the shapes that were inferred tell all three."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    _, channels, height, width = value.shape.dims
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        return None
    return channels, height, width


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of integers."""
    attribute = node.attributes.get(name)
    return tuple(attribute.as_ints()) if attribute is not None else default


def integer(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is one integer."""
    attribute = node.attributes.get(name)
    return attribute.as_int() if attribute is not None else default


def text(node: ir.Node, name: str, default: str) -> str:
    """An attribute that is a string."""
    attribute = node.attributes.get(name)
    return attribute.as_string() if attribute is not None else default


def decimal(node: ir.Node, name: str, default: float) -> float:
    """An attribute that is one float."""
    attribute = node.attributes.get(name)
    return attribute.as_float() if attribute is not None else default
