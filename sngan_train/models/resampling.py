"""Resampling joined to the convolution beside it, in a plain and in a fused form of the same function.

Fused: nearest ×2 followed by a 3×3 convolution (padding 1) is one transposed 4×4 convolution of stride 2, as every
output pixel sees a 2×2 neighbourhood of the input whose weights are sums of the 3×3 kernel's. A 3×3 convolution
(padding 1) followed by 2×2 mean pooling is one 4×4 convolution of stride 2, whose kernel is the mean of the four
shifts of the 3×3. Both spare the arithmetic that the resampling makes redundant. ONNX Runtime's CPU provider
is slow at transposed convolutions, so the exporter takes the plain form.

Shapes: N images, C channels, H × W pixels; kernels (out, in, 3, 3).
"""

from __future__ import annotations

import enum

from torch import Tensor
from torch.nn import functional


class ResamplingForm(enum.Enum):
    """Which of the two forms a network computes with."""

    PLAIN = "plain"
    FUSED = "fused"


def upsample(x: Tensor) -> Tensor:
    """Nearest neighbour: (N, C, H, W) → (N, C, 2H, 2W)."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def downsample(x: Tensor) -> Tensor:
    """Mean of every 2×2 square: (N, C, H, W) → (N, C, H/2, W/2)."""
    return functional.avg_pool2d(x, 2)


def _sum_of_shifts(kernel: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 4, 4): the sum of the kernel at the four positions it takes within 4×4."""
    padded = functional.pad(kernel, (1, 1, 1, 1))
    return padded[..., 1:, 1:] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., :-1, :-1]


def upsample_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, form: ResamplingForm) -> Tensor:
    """`upsample`, then a 3×3 convolution: (N, in, H, W) → (N, out, 2H, 2W)."""
    if form is ResamplingForm.PLAIN:
        return functional.conv2d(upsample(x), weight, bias, padding=1)
    kernel = _sum_of_shifts(weight.flip(2, 3).transpose(0, 1))  # (in, out, 4, 4)
    return functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def convolution_downsample(x: Tensor, weight: Tensor, bias: Tensor | None, form: ResamplingForm) -> Tensor:
    """A 3×3 convolution, then `downsample`: (N, in, H, W) → (N, out, H/2, W/2)."""
    if form is ResamplingForm.PLAIN:
        return downsample(functional.conv2d(x, weight, bias, padding=1))
    return functional.conv2d(x, _sum_of_shifts(weight) / 4.0, bias, stride=2, padding=1)
