"""Nearest ×2 and a 3×3 convolution become one 2×2 convolution with four times the channels.

The four phase kernels of `upsampled_convolution` side by side: with a padding of 1 all around, the 2×2 convolution
gives (H + 1) × (W + 1) pixels, of which phase (a, b) owns those from (a, b) on. Products as with four convolutions,
and one row and column more of each phase, which is thrown away. No target takes it: the benchmark shows why.
"""

from __future__ import annotations

import numpy as np

from export.rewrite.building import Replacement
from export.rewrite.phases import PHASES, interleave
from export.rewrite.reading import constant
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import UpsampledConvolution, applies, phase_kernels

TO_THE_END = np.iinfo(np.int64).max  # ONNX's word for it


def rewrite(match: UpsampledConvolution) -> None:
    """One convolution, four windows of its output, their pixels interleaved."""
    new = Replacement(match.convolution)
    num_outputs, num_inputs = match.weight.shape[:2]
    weight = phase_kernels(match.weight).reshape(4 * num_outputs, num_inputs, 2, 2)
    inputs = [match.x, new.floats(weight, "stacked_weight")]
    bias = constant(match.bias)
    if bias is not None:
        inputs.append(new.floats(np.tile(bias, 4), "stacked_bias"))
    stacked = new.node(
        "Conv",
        inputs,
        "stacked",
        {"kernel_shape": (2, 2), "pads": (1, 1, 1, 1), "strides": (1, 1), "dilations": (1, 1), "group": 1},
    )
    axes = new.integers((1, 2, 3), "axes")
    phases = []
    for number, (a, b) in enumerate(PHASES):
        starts = new.integers((number * num_outputs, a, b), f"starts{a}{b}")
        ends = ((number + 1) * num_outputs, TO_THE_END if a else -1, TO_THE_END if b else -1)
        phases.append(new.node("Slice", [stacked, starts, new.integers(ends, f"ends{a}{b}"), axes], f"phase{a}{b}"))
    new.finish(interleave(new, phases))


UPSAMPLING_AS_STACKED = Rewrite(name="upsampling_as_stacked", applies=applies, rewrite=rewrite)
