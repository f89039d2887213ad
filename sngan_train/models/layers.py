"""The layers that the networks are made of; each computes with its weight as its `WeightRule` says.

Weights start as the network says, Glorot uniform if it says nothing; biases at 0, conditional scales at 1 and shifts
at 0, as in the official code.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sngan_train.models.feature_norm import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, batch_norm
from sngan_train.models.resampling import (
    ResamplingForm,
    convolution_downsample,
    upsample_convolution,
)
from sngan_train.models.weight_rule import RuledLayer, WeightRule

Initializer = Callable[[Tensor], object]  # fills a weight in place


class Resampling(enum.Enum):
    """What a convolution does beside convolving."""

    NONE = "none"
    UP = "up"
    DOWN = "down"


class Linear(RuledLayer, nn.Linear):
    """(N, in) → (N, out)."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        rule: WeightRule,
        *,
        bias: bool = True,
        initializer: Initializer = nn.init.xavier_uniform_,
    ) -> None:
        super().__init__(num_inputs, num_outputs, bias=bias)
        initializer(self.weight)
        if bias:
            nn.init.zeros_(self.bias)
        self._set_rule(rule)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) → (N, out)."""
        return functional.linear(x, self.normalized_weight(), self.bias)


class Embedding(RuledLayer, nn.Embedding):
    """Labels (N,) → (N, dim). Its outputs, for σ, are its rows, as in the official code."""

    def __init__(
        self, num_classes: int, dim: int, rule: WeightRule, *, initializer: Initializer = nn.init.xavier_uniform_
    ) -> None:
        super().__init__(num_classes, dim)
        initializer(self.weight)
        self._set_rule(rule)

    def forward(self, labels: Tensor) -> Tensor:
        """(N,) int64 → (N, dim)."""
        return functional.embedding(labels, self.normalized_weight())


class Convolution(RuledLayer, nn.Conv2d):
    """Kernel 1 or 3 with stride 1, output as large as the input, or kernel 4 with stride 2, output half as large.

    A 3×3 may carry an up- or downsampling with it; σ is that of this kernel, never of the fused one that may be
    computed with.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int,
        rule: WeightRule,
        *,
        initializer: Initializer = nn.init.xavier_uniform_,
        resampling: Resampling = Resampling.NONE,
        form: ResamplingForm = ResamplingForm.PLAIN,
    ) -> None:
        assert kernel_size in (1, 3, 4)
        assert resampling is Resampling.NONE or kernel_size == 3
        stride = 2 if kernel_size == 4 else 1
        super().__init__(num_inputs, num_outputs, kernel_size, stride=stride, padding=(kernel_size - 1) // 2)
        initializer(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.resampling = resampling
        self.form = form
        self._set_rule(rule)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H', W')."""
        weight = self.normalized_weight()
        if self.resampling is Resampling.UP:
            return upsample_convolution(x, weight, self.bias, self.form)
        if self.resampling is Resampling.DOWN:
            return convolution_downsample(x, weight, self.bias, self.form)
        return functional.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding)


class TransposedConvolution(RuledLayer, nn.ConvTranspose2d):
    """4×4, stride 2: twice the resolution. Its weight is (in, out, 4, 4), so its outputs are dimension 1."""

    output_dim = 1

    def __init__(
        self, num_inputs: int, num_outputs: int, rule: WeightRule, *, initializer: Initializer = nn.init.xavier_uniform_
    ) -> None:
        super().__init__(num_inputs, num_outputs, 4, stride=2, padding=1)
        initializer(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self._set_rule(rule)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # torch's takes an output size as well
        """(N, in, H, W) → (N, out, 2H, 2W)."""
        return functional.conv_transpose2d(x, self.normalized_weight(), self.bias, stride=2, padding=1)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are the class's own.

    Source: Dumoulin et al. 2017; tables (classes, channels) as in Miyato & Koyama 2018. Never spectrally
    normalised: a bound on the tables would bound how much classes may differ.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.normalization = batch_norm(channels, affine=False)
        self.scale = nn.Embedding(num_classes, channels)
        self.shift = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, C, H, W), (N,) → (N, C, H, W)."""
        normalized = self.normalization(x)
        scale = self.scale(labels)[:, :, None, None].to(normalized.dtype)  # (N, C, 1, 1)
        shift = self.shift(labels)[:, :, None, None].to(normalized.dtype)
        return torch.addcmul(shift, scale, normalized)


class UnconditionalBatchNorm(nn.BatchNorm2d):
    """Ordinary batch normalisation that takes, and ignores, labels; so a block need not know which it has."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:  # type: ignore[override]
        """(N, C, H, W), anything → (N, C, H, W)."""
        return super().forward(x)


def generator_batch_norm(channels: int, num_classes: int) -> nn.Module:
    """The generator's normalisation, called with (features, labels): `num_classes` 0 is unconditional."""
    return ConditionalBatchNorm(channels, num_classes) if num_classes else UnconditionalBatchNorm(channels)
