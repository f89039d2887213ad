"""A transposed 4×4 convolution of stride 2 becomes four 2×2 convolutions, one for each output phase.

Along one axis, with padding 1, output 2i is V3 · x(i - 1) + V1 · x(i) and output 2i + 1 is V2 · x(i) + V0 · x(i + 1)
(as in `upsampling_as_transposed`). The same products, and the same weights in another order; ONNX Runtime's CPU
provider is slow at transposed convolutions and fast at others.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.phases import phase_convolutions
from export.rewrite.reading import Float64s, constant, integer, integers, is_operation, text
from export.rewrite.rewriting import Rewrite

TAPS = np.array([[3, 1], [2, 0]])  # [a]: the taps of V that meet the first and the second pixel that phase a sees


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TransposedConvolution:
    """The node, its input (N, I, H, W), weight (I, O, 4, 4) and bias, a constant (O,) or None."""

    node: ir.Node
    x: ir.Value
    weight: Float64s
    bias: ir.Value | None


def applies(node: ir.Node) -> TransposedConvolution | None:
    """Whether `node` is a ConvTranspose of one group, 4×4, stride 2, padding 1, with constants."""
    fits = (
        is_operation(node, "ConvTranspose")
        and integer(node, "group", 1) == 1
        and integers(node, "strides", (1, 1)) == (2, 2)
        and integers(node, "dilations", (1, 1)) == (1, 1)
        and integers(node, "pads", (0, 0, 0, 0)) == (1, 1, 1, 1)
        and integers(node, "output_padding", (0, 0)) == (0, 0)
        and "output_shape" not in node.attributes
        and text(node, "auto_pad", "NOTSET") == "NOTSET"
    )
    if not fits:
        return None
    x, weight = node.inputs[0], constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) == 3 else None
    if x is None or weight is None or weight.shape[2:] != (4, 4) or (bias is not None and constant(bias) is None):
        return None
    return TransposedConvolution(node=node, x=x, weight=weight, bias=bias)


def rewrite(match: TransposedConvolution) -> None:
    """Four convolutions, then their pixels interleaved."""
    new = Replacement(match.node)
    chosen = match.weight[:, :, TAPS][..., TAPS]  # (I, O, a, p, b, q)
    kernels = chosen.transpose(2, 4, 1, 0, 3, 5)  # (a, b, O, I, p, q)
    new.finish(phase_convolutions(new, match.x, kernels, match.bias))


TRANSPOSED_AS_PHASES = Rewrite(name="transposed_as_phases", applies=applies, rewrite=rewrite)
