"""Nearest ×2 and a 3×3 convolution become nine 1×1 convolutions, whose products the four output phases share.

Along one axis, with S = W0 + W1 + W2 (`upsampled_convolution` has the phases),

    a = 0:  W0 · x(i - 1) + (W1 + W2) · x(i)  =  S · x(i) + W0 · d0(i),    d0(i) = x(i - 1) - x(i)
    a = 1:  (W0 + W1) · x(i) + W2 · x(i + 1)  =  S · x(i) + W2 · d1(i),    d1(i) = x(i + 1) - x(i)

so both outputs share S · x: three products for two outputs. Along two axes, with rows (S, W0, W2) and columns likewise,

    phase (a, b)  =  S S · x  +  Wa S · da x  +  S Wb · x db  +  Wa Wb · da x db,

nine products an input pixel, input and output channel for four outputs: 36 as it stood, 16 in four phases. The nine
kernels are the nine taps in another basis, so the weights are as many as before. The differences are taken by depthwise
convolutions, with zeros outside as before.

Differences of neighbours, and sums that nearly cancel, cost a little accuracy in float32, and more in 8 bits.
"""

from __future__ import annotations

import numpy as np

from export.rewrite.building import Replacement
from export.rewrite.phases import PHASES, interleave
from export.rewrite.reading import Float64s
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import UpsampledConvolution, applies

SUM = np.ones(3)
OUTER = np.eye(3)[[0, 2]]  # [a]: the tap that meets the difference of phase a
DIFFERENCE = np.array([[1.0, -1.0], [-1.0, 1.0]])  # [a]: of the two pixels that phase a sees


def rewrite(match: UpsampledConvolution) -> None:
    """Eight differences, nine products, and the sums that make four phases of them, interleaved."""
    new = Replacement(match.convolution)
    x, weight = match.x, match.weight
    num_inputs = weight.shape[1]

    def product(rows: Float64s, columns: Float64s) -> Float64s:
        tap: Float64s = np.einsum("h,w,oihw->oi", rows, columns, weight)
        return tap[:, :, None, None]

    middle = new.convolution(x, product(SUM, SUM), "middle", bias=match.bias)
    rows, columns = [], []
    for a in (0, 1):
        down = new.depthwise(x, DIFFERENCE[a][:, None], num_inputs, f"down{a}", pads=(1 - a, 0, a, 0))
        row = new.convolution(down, product(OUTER[a], SUM), f"row_product{a}")
        rows.append(new.node("Add", [row, middle], f"row{a}"))
    for b in (0, 1):
        across = new.depthwise(x, DIFFERENCE[b][None, :], num_inputs, f"across{b}", pads=(0, 1 - b, 0, b))
        columns.append(new.convolution(across, product(SUM, OUTER[b]), f"column{b}"))
    phases = []
    for a, b in PHASES:
        kernel = np.outer(DIFFERENCE[a], DIFFERENCE[b])
        both = new.depthwise(x, kernel, num_inputs, f"both{a}{b}", pads=(1 - a, 1 - b, a, b))
        corner = new.convolution(both, product(OUTER[a], OUTER[b]), f"corner{a}{b}")
        edges = new.node("Add", [rows[a], columns[b]], f"edges{a}{b}")
        phases.append(new.node("Add", [corner, edges], f"phase{a}{b}"))
    new.finish(interleave(new, phases))


UPSAMPLING_AS_SHARED_PRODUCTS = Rewrite(name="upsampling_as_shared_products", applies=applies, rewrite=rewrite)
