"""What follows an interleaving of pixels, pixel by pixel, is computed before its channels come first again.

A transposition only moves values, so f(transpose(x)) = transpose(f(x)) for an activation, and

    transpose(x) · row + …  =  transpose(x · row' + …)

for a class's row of a table: (K, C, 1, 1) beside channels first, (K, 1, 1, C) beside channels last. The transposition
ends up before the next convolution, where it costs nothing (`interleaving_of_pixels`).
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.interleaving_of_pixels import CHANNELS_FIRST
from export.rewrite.reading import Float64s, constant, integer, integers, is_operation, producer
from export.rewrite.rewriting import Rewrite


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LatePointwise:
    """A Relu, or a Mul or Add of a class's row, of a value whose channels were brought first.

    Attributes:
        node: the operation.
        pixels: its first operand before that, (N, H, W, C).
        table: (K, C, 1, 1), of which the second operand is a row; None for a Relu.
        label: which row.
    """

    node: ir.Node
    pixels: ir.Value
    table: Float64s | None
    label: ir.Value | None


def applies(node: ir.Node) -> LatePointwise | None:
    """Whether `node` is such an operation."""
    pixels = _before_channels_first(node.inputs[0]) if node.inputs else None
    if pixels is None:
        return None
    if is_operation(node, "Relu"):
        return LatePointwise(node=node, pixels=pixels, table=None, label=None)
    if not is_operation(node, "Mul") and not is_operation(node, "Add"):
        return None
    row = producer(node.inputs[1], "Gather")
    table = constant(row.inputs[0]) if row is not None and integer(row, "axis", 0) == 0 else None
    if row is None or table is None or table.ndim != 4 or table.shape[2:] != (1, 1):
        return None
    return LatePointwise(node=node, pixels=pixels, table=table, label=row.inputs[1])


def rewrite(match: LatePointwise) -> None:
    """The operation, then the transposition."""
    new = Replacement(match.node)
    operands = [match.pixels]
    if match.table is not None:
        table = new.floats(match.table.transpose(0, 2, 3, 1), "table_channels_last")
        operands.append(new.node("Gather", [table, match.label], "row_channels_last", {"axis": 0}))
    result = new.node(match.node.op_type, operands, "channels_last")
    new.finish(new.node("Transpose", [result], "channels_first", {"perm": CHANNELS_FIRST}))


def _before_channels_first(value: ir.Value | None) -> ir.Value | None:
    transposition = producer(value, "Transpose")
    if transposition is None or integers(transposition, "perm", ()) != CHANNELS_FIRST:
        return None
    return transposition.inputs[0]


POINTWISE_CHANNELS_LAST = Rewrite(name="pointwise_channels_last", applies=applies, rewrite=rewrite)
