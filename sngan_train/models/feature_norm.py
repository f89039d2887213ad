"""What the discriminator may do to its features: batch or layer normalisation, both without gain, or nothing.

Miyato et al. 2018, section 4.1, leave the multiplier γ out so that the methods cannot violate the Lipschitz condition
by it; the shift β stays. Placed as in DCGAN: after every convolution but the first, before the activation.
"""

from __future__ import annotations

import enum

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH_NORM_EPSILON = 2e-5  # Chainer's default, not torch's
BATCH_NORM_MOMENTUM = 0.1  # the weight of the new batch; Chainer writes it as a decay of 0.9
LAYER_NORM_EPSILON = 1e-6  # Chainer's default
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # a batch norm's, in a state dict


def batch_norm(channels: int, *, affine: bool) -> nn.BatchNorm2d:
    """Batch normalisation with the official code's constants."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, affine=affine)


class BatchNormWithoutGain(nn.Module):
    """(x - mean) / std over images and pixels, plus β of the channel. Source: Ioffe & Szegedy 2015, γ = 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normalization = batch_norm(channels, affine=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        normalized: Tensor = self.normalization(x)
        return normalized + self.bias[:, None, None].to(normalized.dtype)


class LayerNormWithoutGain(nn.Module):
    """(x - mean) / std over one image's features, plus β of the channel. Source: Ba et al. 2016, γ = 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        # One group of all channels: mean and variance over C, H and W, whatever H and W are.
        normalized = functional.group_norm(x, 1, eps=LAYER_NORM_EPSILON)
        return normalized + self.bias[:, None, None].to(normalized.dtype)


class FeatureNorm(enum.Enum):
    """Which of them a discriminator has."""

    NONE = "none"
    BATCH = "batch-norm"
    LAYER = "layer-norm"

    def layer(self, channels: int) -> nn.Module:
        """A fresh module for features of so many channels."""
        if self is FeatureNorm.BATCH:
            return BatchNormWithoutGain(channels)
        if self is FeatureNorm.LAYER:
            return LayerNormWithoutGain(channels)
        return nn.Identity()
