"""The last convolution, which has very few outputs, computes a square of pixels as channels of one.

ONNX Runtime's CPU provider computes 16 output channels at a time, however few there are: with 3, most of its work is
thrown away. The same 3×3 kernel W, shifted to each pixel of a block of B × B, is one convolution of kernel B + 2,
stride B and O · B² outputs,

    K[p, q](u, v) = W(u - p, v - q),    0 outside the 3×3,

whose outputs are the block's pixels: DepthToSpace puts them into place.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import Float64s, constant, size
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import is_plain_convolution

OUTPUTS_AT_A_TIME = 16
BLOCK_SIDES = (4, 2)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FewOutputs:
    """A 3×3 convolution of `x` with `weight` (O, I, 3, 3) and `bias` (O,), and the blocks that fit."""

    convolution: ir.Node
    x: ir.Value
    weight: Float64s
    bias: Float64s
    block_side: int


def applies(node: ir.Node) -> FewOutputs | None:
    """Whether a block's outputs are at most as many as are computed anyway, and blocks tile the image."""
    if not is_plain_convolution(node, 3):
        return None
    x, weight, known = node.inputs[0], constant(node.inputs[1]), size(node.outputs[0])
    if x is None or weight is None or weight.shape[2:] != (3, 3) or known is None:
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) == 3 else np.zeros(len(weight))
    if bias is None:
        return None
    _, height, width = known
    for side in BLOCK_SIDES:
        if len(weight) * side**2 <= OUTPUTS_AT_A_TIME and height % side == 0 and width % side == 0:
            return FewOutputs(convolution=node, x=x, weight=weight, bias=bias, block_side=side)
    return None


def rewrite(match: FewOutputs) -> None:
    """One convolution with a stride, its outputs put into place."""
    new = Replacement(match.convolution)
    side = match.block_side
    num_outputs, num_inputs = match.weight.shape[:2]
    kernels = np.zeros((side, side, num_outputs, num_inputs, side + 2, side + 2))
    for p, q in np.ndindex(side, side):
        kernels[p, q, :, :, p : p + 3, q : q + 3] = match.weight
    blocks = new.convolution(
        match.x,
        kernels.reshape(side**2 * num_outputs, num_inputs, side + 2, side + 2),
        "blocks",
        bias=new.floats(np.tile(match.bias, side**2), "blocks_bias"),
        pads=(1, 1, 1, 1),
        strides=(side, side),
    )
    new.finish(new.node("DepthToSpace", [blocks], "pixels", {"blocksize": side, "mode": "DCR"}))


IMAGE_IN_BLOCKS = Rewrite(name="image_in_blocks", applies=applies, rewrite=rewrite)
