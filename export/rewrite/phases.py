"""A map of twice the size as four maps of its pixels: phase (a, b) holds the pixels (2i + a, 2j + b).

ONNX's word for the interleaving is DepthToSpace.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import Float64s

PHASES = tuple(itertools.product((0, 1), repeat=2))  # in the order of DepthToSpace


def phase_convolutions(new: Replacement, x: ir.Value, kernels: Float64s, bias: ir.Value | None) -> ir.Value:
    """(N, I, H, W) by kernels (2, 2, O, I, 2, 2) → (N, O, 2H, 2W): four convolutions, one a phase.

    Phase (a, b) sees 2×2 input pixels: rows i - 1 and i for a = 0, i and i + 1 for a = 1, columns likewise. So its
    padding is one row above (a = 0) or below (a = 1), one column left or right: the convolution's own padding, which
    may differ between sides.
    """
    return interleave(
        new,
        [new.convolution(x, kernels[a, b], f"phase{a}{b}", bias=bias, pads=(1 - a, 1 - b, a, b)) for a, b in PHASES],
    )


def interleave(new: Replacement, phases: Sequence[ir.Value]) -> ir.Value:
    """Four (N, C, H, W), in the order of PHASES → (N, C, 2H, 2W)."""
    stacked = new.node("Concat", phases, "phases", {"axis": 1})
    return new.node("DepthToSpace", [stacked], "interleaved", {"blocksize": 2, "mode": "DCR"})
