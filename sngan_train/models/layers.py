"""The layers that the networks are made of; each computes with its weight as its `WeightRule` says.

Initialisation is the official code's: Glorot uniform with a gain of √2 for the 3×3 convolutions of a block and 1
elsewhere, biases 0, conditional scales 1 and shifts 0.
"""

from __future__ import annotations

import enum

import torch
from torch import Tensor, nn
from torch.nn import functional

from sngan_train.models.resampling import (
    ResamplingForm,
    convolution_downsample,
    upsample_convolution,
)
from sngan_train.models.spectral_norm import SpectrallyNormalized, WeightRule

BATCH_NORM_EPSILON = 2e-5  # Chainer's default, not torch's
BATCH_NORM_MOMENTUM = 0.1  # the weight of the new batch; Chainer writes it as a decay of 0.9


class Resampling(enum.Enum):
    """What a convolution does beside convolving."""

    NONE = "none"
    UP = "up"
    DOWN = "down"


class Linear(SpectrallyNormalized, nn.Linear):
    """(N, in) → (N, out)."""

    def __init__(self, num_inputs: int, num_outputs: int, rule: WeightRule, *, bias: bool = True) -> None:
        super().__init__(num_inputs, num_outputs, bias=bias)
        nn.init.xavier_uniform_(self.weight)
        if bias:
            nn.init.zeros_(self.bias)
        self._set_rule(rule)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) → (N, out)."""
        return functional.linear(x, self.normalized_weight(), self.bias)


class Embedding(SpectrallyNormalized, nn.Embedding):
    """Labels (N,) → (N, dim). Its outputs, for σ, are its rows, as in the official code."""

    def __init__(self, num_classes: int, dim: int, rule: WeightRule) -> None:
        super().__init__(num_classes, dim)
        nn.init.xavier_uniform_(self.weight)
        self._set_rule(rule)

    def forward(self, labels: Tensor) -> Tensor:
        """(N,) int64 → (N, dim)."""
        return functional.embedding(labels, self.normalized_weight())


class Convolution(SpectrallyNormalized, nn.Conv2d):
    """Stride 1, output as large as the input; a 3×3 may carry an up- or downsampling with it.

    σ is that of this kernel, never of the fused one that may be computed with.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int,
        rule: WeightRule,
        *,
        gain: float = 1.0,
        resampling: Resampling = Resampling.NONE,
        form: ResamplingForm = ResamplingForm.PLAIN,
    ) -> None:
        assert resampling is Resampling.NONE or kernel_size == 3
        super().__init__(num_inputs, num_outputs, kernel_size, padding=kernel_size // 2)
        nn.init.xavier_uniform_(self.weight, gain=gain)
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
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


def batch_norm(channels: int, *, affine: bool) -> nn.BatchNorm2d:
    """Batch normalisation with the official code's constants."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, affine=affine)


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
