"""Four small convolutions, one for each of the four output pixels of an input pixel, and their interleaving.

Phase (a, b) makes the output pixels (2i + a, 2j + b). It sees 2×2 input pixels: rows i - 1 and i for a = 0, i and i + 1
for a = 1, columns likewise. So its padding is one row above (a = 0) or below (a = 1), one column left or right: the
convolution's own padding, which may differ between sides.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import Float64s

PHASES = tuple(itertools.product((0, 1), repeat=2))  # in the order of DepthToSpace


def phase_convolutions(new: Replacement, x: ir.Value, kernels: Float64s, bias: ir.Value | None) -> ir.Value:
    """(N, I, H, W) by kernels (2, 2, O, I, 2, 2) → (N, O, 2H, 2W)."""
    phases = []
    for a, b in PHASES:
        weight = new.floats(kernels[a, b], f"phase{a}{b}_weight")
        pads = (1 - a, 1 - b, a, b)
        inputs = [x, weight] if bias is None else [x, weight, bias]
        phases.append(
            new.node(
                "Conv",
                inputs,
                f"phase{a}{b}",
                {"kernel_shape": (2, 2), "pads": pads, "strides": (1, 1), "dilations": (1, 1), "group": 1},
            )
        )
    return interleave(new, phases)


def interleave(new: Replacement, phases: list[ir.Value]) -> ir.Value:
    """Four (N, C, H, W), in the order of PHASES → (N, C, 2H, 2W)."""
    stacked = new.node("Concat", phases, "phases", {"axis": 1})
    return new.node("DepthToSpace", [stacked], "interleaved", {"blocksize": 2, "mode": "DCR"})
