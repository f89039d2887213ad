"""Pixels of integers interleaved and repeated by joining long pieces of memory.

ONNX Runtime's integer convolutions want the channels last, and it turns the tensors round before and after each. Its
DepthToSpace and Resize of bytes go value by value; together with the turning they take a fifth of the time of an 8-bit
generator. With the channels last, the pixels (2i + a, 2j + b) come from four pictures x_ab by two joins: along the
channels, where two pixels that shall be neighbours lie behind one another, and along the columns, where two rows do.
What is turned round here, the runtime cancels against its own turning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
KEEP, REST = 0, -1  # what Reshape understands

# (operator, inputs, what it makes, attributes) → the new value, whose name is derived from what it makes
NewNode = Callable[[str, Sequence[ir.Value], str, dict[str, Any]], ir.Value]
NewShape = Callable[[Sequence[int], str], ir.Value]


def interleaved(
    phases: Sequence[ir.Value], channels: int, width: int, new_node: NewNode, new_shape: NewShape
) -> ir.Value:
    """Four (N, C, H, W), x_00, x_01, x_10, x_11 → (N, C, 2H, 2W), what Concat and DepthToSpace (DCR, 2) make of them.

    Args:
        phases: integers.
        channels: C.
        width: 2W.
        new_node: makes a node of the graph.
        new_shape: makes a constant.
    """
    last = [
        new_node("Transpose", [phase], f"phase{place}_channels_last", {"perm": CHANNELS_LAST})
        for place, phase in enumerate(phases)
    ]
    row_shape = new_shape((KEEP, KEEP, REST, channels), "row_shape")
    rows = [_row(last[2 * a : 2 * a + 2], f"rows{a}", row_shape, new_node) for a in (0, 1)]
    return _picture(rows, channels, width, new_node, new_shape)


def repeated(value: ir.Value, channels: int, width: int, new_node: NewNode, new_shape: NewShape) -> ir.Value:
    """(N, C, H, W) → (N, C, 2H, 2W) with every pixel twice along both axes. Arguments as in `interleaved`."""
    last = new_node("Transpose", [value], "small_channels_last", {"perm": CHANNELS_LAST})
    row_shape = new_shape((KEEP, KEEP, REST, channels), "row_shape")
    row = _row([last, last], "rows", row_shape, new_node)
    return _picture([row, row], channels, width, new_node, new_shape)


def _row(pair: Sequence[ir.Value], name: str, row_shape: ir.Value, new_node: NewNode) -> ir.Value:
    """Two (N, H, W, C) → (N, H, 2W, C), a pixel of the one, a pixel of the other."""
    joined = new_node("Concat", pair, f"{name}_joined", {"axis": 3})  # (N, H, W, 2C)
    return new_node("Reshape", [joined, row_shape], name, {})


def _picture(rows: Sequence[ir.Value], channels: int, width: int, new_node: NewNode, new_shape: NewShape) -> ir.Value:
    """Two (N, H, 2W, C) → (N, C, 2H, 2W), a row of the one, a row of the other."""
    both = new_node("Concat", rows, "both_rows", {"axis": 2})  # (N, H, 4W, C)
    picture_shape = new_shape((KEEP, REST, width, channels), "picture_shape")
    pixels = new_node("Reshape", [both, picture_shape], "channels_last", {})  # (N, 2H, 2W, C)
    return new_node("Transpose", [pixels], "channels_first", {"perm": CHANNELS_FIRST})
