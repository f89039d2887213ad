"""A conditional batch norm becomes two rows of tables and one multiply-add.

Running statistics are constants of a channel, so with the row y of the tables γ and β (K, C)

    γ_y · (x - μ) / √(σ² + ε) + β_y  =  γ'_y · x + β'_y,    γ' = γ / √(σ² + ε),    β' = β - μ · γ'.

A norm with a scale and shift of its own before the class's (g · normalised + b) gives γ' = γ · g / √(σ² + ε) and
β' = β + γ · b - μ · γ'. Where the statistics already went into the convolution before, they are 0 and 1 here. The
new tables are (K, C, 1, 1), so that a gathered row multiplies an image (C, H, W) as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.batch_statistics import ChannelAffine, batch_norm_affine
from export.rewrite.building import Replacement
from export.rewrite.reading import Float64s, constant, integer, is_operation, is_private, producer, whole_numbers
from export.rewrite.rewriting import Rewrite


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassNorm:
    """A conditional batch norm that ends at `last`.

    Attributes:
        x: what is normalised, (N, C, H, W).
        label: (N,) int64.
        scale, shift: the tables, (K, C).
        affine: the running statistics, as a scale and shift of each channel.
    """

    last: ir.Node
    x: ir.Value
    label: ir.Value
    scale: Float64s
    shift: Float64s
    affine: ChannelAffine


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    table: Float64s
    label: ir.Value


def applies(node: ir.Node) -> ClassNorm | None:
    """Whether `node` is the addition of a class's shift to the product of a class's scale and something."""
    if not is_operation(node, "Add"):
        return None
    for shift_input, product_input in (node.inputs, node.inputs[::-1]):
        shift, product = _row(shift_input), producer(product_input, "Mul")
        if shift is None or product is None or not is_private(product.outputs[0]):
            continue
        for scale_input, x in (product.inputs, product.inputs[::-1]):
            scale = _row(scale_input)
            if scale is not None and scale.label is shift.label and x is not None and _row(x) is None:
                return _class_norm(node, x, scale, shift)
    return None


def rewrite(norm: ClassNorm) -> None:
    """Two gathered rows, one product, one sum."""
    scale = norm.scale * norm.affine.scale
    shift = norm.shift + norm.scale * norm.affine.shift
    new = Replacement(norm.last)
    rows = {
        name: new.node("Gather", [new.floats(table[:, :, None, None], f"{name}s"), norm.label], name, {"axis": 0})
        for name, table in (("class_scale", scale), ("class_shift", shift))
    }
    product = new.node("Mul", [norm.x, rows["class_scale"]], "scaled")
    new.finish(new.node("Add", [product, rows["class_shift"]], "shifted"))


def _class_norm(last: ir.Node, x: ir.Value, scale: _Row, shift: _Row) -> ClassNorm:
    num_channels = scale.table.shape[1]
    affine = ChannelAffine(scale=np.ones(num_channels), shift=np.zeros(num_channels))
    norm = producer(x, "BatchNormalization")
    own = batch_norm_affine(norm) if norm is not None else None
    if norm is not None and own is not None:
        before = norm.inputs[0]
        assert before is not None
        x, affine = before, own
    return ClassNorm(last=last, x=x, label=scale.label, scale=scale.table, shift=shift.table, affine=affine)


def _row(value: ir.Value | None) -> _Row | None:
    """The table (K, C) and the label behind a value (N, C, 1, 1)."""
    unsqueeze = producer(value, "Unsqueeze")
    if unsqueeze is None or whole_numbers(unsqueeze.inputs[1]) != (2, 3):
        return None
    gather = producer(unsqueeze.inputs[0], "Gather")
    if gather is None or integer(gather, "axis", 0) != 0:
        return None
    table, label = constant(gather.inputs[0]), gather.inputs[1]
    if table is None or table.ndim != 2 or label is None:
        return None
    return _Row(table=table, label=label)


CLASS_TABLES = Rewrite(name="class_tables", applies=applies, rewrite=rewrite)
