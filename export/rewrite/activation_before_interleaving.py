"""An activation moves before the interleaving of the pixels it acts on.

It treats every value alike and DepthToSpace only moves values, so f(interleave(p, q, …)) = interleave(f(p), f(q), …).
Behind a convolution ONNX Runtime computes it in passing.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import integer, is_operation, is_private, producer, text
from export.rewrite.rewriting import Rewrite

ACTIVATIONS = ("Relu", "Tanh")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LateActivation:
    """An activation of interleaved pixels.

    Attributes:
        activation: the node.
        parts: what is interleaved: values that are concatenated, or the one that is not.
        block_side: of the interleaving.
        mode: of the interleaving.
    """

    activation: ir.Node
    parts: tuple[ir.Value, ...]
    block_side: int
    mode: str


def applies(node: ir.Node) -> LateActivation | None:
    """Whether `node` is an activation that alone reads a DepthToSpace."""
    if not any(is_operation(node, operation) for operation in ACTIVATIONS):
        return None
    interleaving = producer(node.inputs[0], "DepthToSpace")
    if interleaving is None or not is_private(interleaving.outputs[0]):
        return None
    stacked = interleaving.inputs[0]
    concatenation = producer(stacked, "Concat")
    inputs = [stacked] if concatenation is None or not is_private(concatenation.outputs[0]) else concatenation.inputs
    return LateActivation(
        activation=node,
        parts=tuple(value for value in inputs if value is not None),
        block_side=integer(interleaving, "blocksize", 0),
        mode=text(interleaving, "mode", "DCR"),
    )


def rewrite(match: LateActivation) -> None:
    """The activation of each part, then the same interleaving."""
    new = Replacement(match.activation)
    operation = match.activation.op_type
    active = [new.node(operation, [part], f"active{number}") for number, part in enumerate(match.parts)]
    stacked = active[0] if len(active) == 1 else new.node("Concat", active, "phases", {"axis": 1})
    new.finish(new.node("DepthToSpace", [stacked], "interleaved", {"blocksize": match.block_side, "mode": match.mode}))


ACTIVATION_BEFORE_INTERLEAVING = Rewrite(name="activation_before_interleaving", applies=applies, rewrite=rewrite)
