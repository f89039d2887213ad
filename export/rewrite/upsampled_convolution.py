"""The pattern that several rewrites share: nearest ×2, then a 3×3 convolution with padding 1.

Along one axis, output pixel 2i + a of the upsampled image sees the low-resolution pixels

    a = 0:  W0 · x(i - 1) + (W1 + W2) · x(i)
    a = 1:  (W0 + W1) · x(i) + W2 · x(i + 1)

so of the 9 taps of the kernel at most 4 are different pixels. The padding's zeros stay zeros: outside, x is 0 as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.reading import (
    Float64s,
    constant,
    integer,
    integers,
    is_operation,
    is_private,
    producer,
    text,
)

# Row a: which taps of the kernel (columns) meet the first and the second of the two pixels that phase a sees.
PHASE_TAPS = np.array(
    [
        [[1, 0, 0], [0, 1, 1]],
        [[1, 1, 0], [0, 0, 1]],
    ],
    dtype=np.float64,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UpsampledConvolution:
    """What such a pair computes.

    Attributes:
        convolution: the last node.
        x: (N, I, H, W), before the upsampling.
        weight: (O, I, 3, 3).
        bias: the graph's constant (O,), or None.
    """

    convolution: ir.Node
    x: ir.Value
    weight: Float64s
    bias: ir.Value | None


def upsampling_by_two(value: ir.Value | None) -> ir.Value | None:
    """The value (N, C, H, W) of which `value` is the nearest-neighbour ×2; None if it is none or has other readers."""
    resize = producer(value, "Resize")
    if value is None or resize is None or not is_private(value):
        return None
    scales = constant(resize.inputs[2]) if len(resize.inputs) == 3 else None
    if scales is None or scales.tolist() != [1, 1, 2, 2]:
        return None
    form = (
        text(resize, "mode", "nearest"),
        text(resize, "coordinate_transformation_mode", "half_pixel"),
        text(resize, "nearest_mode", "round_prefer_floor"),
    )
    # Of ONNX's many nearest neighbours only those that repeat each pixel twice; torch's exporter writes the first.
    if form not in (("nearest", "asymmetric", "floor"), ("nearest", "half_pixel", "round_prefer_floor")):
        return None
    return resize.inputs[0]


def is_plain_convolution(node: ir.Node, kernel_size: int) -> bool:
    """A Conv of one group and stride 1 whose output is as large as its input."""
    return (
        is_operation(node, "Conv")
        and integer(node, "group", 1) == 1
        and integers(node, "kernel_shape", (kernel_size, kernel_size)) == (kernel_size, kernel_size)
        and integers(node, "strides", (1, 1)) == (1, 1)
        and integers(node, "dilations", (1, 1)) == (1, 1)
        and integers(node, "pads", (0, 0, 0, 0)) == (kernel_size // 2,) * 4
        and text(node, "auto_pad", "NOTSET") == "NOTSET"
    )


def applies(node: ir.Node) -> UpsampledConvolution | None:
    """Whether `node` is the convolution of such a pair, with a constant weight and a bias that is constant or none."""
    if not is_plain_convolution(node, 3):
        return None
    x, weight = upsampling_by_two(node.inputs[0]), constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) == 3 else None
    if x is None or weight is None or weight.shape[2:] != (3, 3) or (bias is not None and constant(bias) is None):
        return None
    return UpsampledConvolution(convolution=node, x=x, weight=weight, bias=bias)


def phase_kernels(weight: Float64s) -> Float64s:
    """(O, I, 3, 3) → (2, 2, O, I, 2, 2): [a, b] computes the output pixels (2i + a, 2j + b)."""
    # p and q count the two pixels, h and w the taps, along height and width.
    kernels: Float64s = np.einsum("aph,bqw,oihw->aboipq", PHASE_TAPS, PHASE_TAPS, weight)
    return kernels
