"""Class-conditional residual generator.

Source: Miyato et al. 2018, table 4 (32 pixels), with conditional batch norm as in Miyato & Koyama 2018. The last
batch norm is an ordinary one, as in the official code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from sngan_train.models.blocks import GeneratorBlock
from sngan_train.models.layers import Convolution, Linear, batch_norm
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import WeightRule

BOTTOM_SIZE = 4  # pixels a side of the first feature map


class Generator(nn.Module):
    """Latent and label → image."""

    def __init__(
        self,
        *,
        latent_dim: int,
        channels: int,
        image_size: int,
        image_channels: int,
        num_classes: int,
        rule: WeightRule,
        form: ResamplingForm,
    ) -> None:
        """Build for `image_size` = 4 · 2^(number of blocks) pixels."""
        super().__init__()
        num_blocks = (image_size // BOTTOM_SIZE).bit_length() - 1
        assert BOTTOM_SIZE * 2**num_blocks == image_size
        self.latent_dim = latent_dim
        self.channels = channels
        self.linear = Linear(latent_dim, channels * BOTTOM_SIZE**2, rule)
        self.blocks = nn.ModuleList(
            GeneratorBlock(channels, channels, num_classes, rule, form) for _ in range(num_blocks)
        )
        self.norm = batch_norm(channels, affine=True)
        self.conv = Convolution(channels, image_channels, 3, rule)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, latent_dim) float32, (N,) int64 → (N, image_channels, S, S) in [-1, 1]."""
        h = self.linear(z).view(-1, self.channels, BOTTOM_SIZE, BOTTOM_SIZE)
        for block in self.blocks:
            h = block(h, label)
        return torch.tanh(self.conv(relu(self.norm(h))))
