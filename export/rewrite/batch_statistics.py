"""A batch norm with running statistics is a scale and a shift of each channel.

γ · (x - μ) / √(σ² + ε) + β  =  a · x + b,    a = γ / √(σ² + ε),    b = β - μ · a.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.reading import Float64s, constant, decimal, integer


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChannelAffine:
    """x → scale · x + shift, both (C,)."""

    scale: Float64s
    shift: Float64s


def batch_norm_affine(norm: ir.Node) -> ChannelAffine | None:
    """What a node BatchNormalization computes; None if it does not with constants."""
    gamma, beta, mean, variance = (constant(value) for value in norm.inputs[1:5])
    if gamma is None or beta is None or mean is None or variance is None or integer(norm, "training_mode", 0):
        return None
    scale = gamma / np.sqrt(variance + decimal(norm, "epsilon", 1e-5))
    return ChannelAffine(scale=scale, shift=beta - mean * scale)
