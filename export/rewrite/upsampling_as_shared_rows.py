"""Nearest ×2 and a 3×3 convolution become six 1×2 convolutions, of which the upper and the lower output rows share two.

Down the rows as in `upsampling_as_shared_products`, S · x + Wa · da with S · x in common; across the columns as in
`upsampling_as_phases`, two pixels for each output column. Twelve products an input pixel instead of 36, few enough
nodes for narrow layers, and every sum is one that ONNX Runtime adds up inside a convolution.
"""

from __future__ import annotations

import numpy as np

from export.rewrite.building import Replacement
from export.rewrite.phases import PHASES, interleave
from export.rewrite.reading import Float64s
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import PHASE_TAPS, UpsampledConvolution, applies
from export.rewrite.upsampling_as_shared_products import DIFFERENCE, OUTER, SUM


def rewrite(match: UpsampledConvolution) -> None:
    """Two differences, six products, four sums, interleaved."""
    new = Replacement(match.convolution)
    x, weight = match.x, match.weight

    def product(rows: Float64s, b: int) -> Float64s:
        taps: Float64s = np.einsum("h,qw,oihw->oiq", rows, PHASE_TAPS[b], weight)
        return taps[:, :, None, :]

    middles = [
        new.convolution(x, product(SUM, b), f"middle{b}", bias=match.bias, pads=(0, 1 - b, 0, b)) for b in (0, 1)
    ]
    downs = [
        new.depthwise(x, DIFFERENCE[a][:, None], weight.shape[1], f"down{a}", pads=(1 - a, 0, a, 0)) for a in (0, 1)
    ]
    phases = []
    for a, b in PHASES:
        row = new.convolution(downs[a], product(OUTER[a], b), f"row_product{a}{b}", pads=(0, 1 - b, 0, b))
        phases.append(new.node("Add", [row, middles[b]], f"phase{a}{b}"))
    new.finish(interleave(new, phases))


UPSAMPLING_AS_SHARED_ROWS = Rewrite(name="upsampling_as_shared_rows", applies=applies, rewrite=rewrite)
