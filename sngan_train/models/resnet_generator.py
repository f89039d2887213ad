"""Residual generator.

Source: Miyato et al. 2018, tables 4 to 6, with conditional batch norm as in Miyato & Koyama 2018. The last batch norm
is an ordinary one, as in the official code.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from sngan_train.models.feature_norm import batch_norm
from sngan_train.models.generator import Generator
from sngan_train.models.layers import Convolution, Linear
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.residual_blocks import GeneratorBlock
from sngan_train.models.resnet_shapes import RESNET_SHAPES
from sngan_train.models.weight_rule import WeightRule


class ResNetGenerator(Generator):
    """Latent, and label if conditional → image."""

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
        """`channels` is the base width, `num_classes` 0 for an unconditional network."""
        super().__init__(latent_dim=latent_dim, conditional=num_classes > 0)
        shape = RESNET_SHAPES[image_size]
        self.bottom_size = shape.bottom_size
        widths = [channels * multiple for multiple in (shape.bottom_width, *shape.generator_widths)]
        self.linear = Linear(latent_dim, widths[0] * self.bottom_size**2, rule)
        self.blocks = nn.ModuleList(
            GeneratorBlock(narrow_from, to, num_classes, rule, form) for narrow_from, to in itertools.pairwise(widths)
        )
        self.norm = batch_norm(widths[-1], affine=True)
        self.conv = Convolution(widths[-1], image_channels, 3, rule)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, latent_dim) float32, (N,) int64 → (N, image_channels, S, S) in [-1, 1]."""
        h = self.linear(z).view(len(z), -1, self.bottom_size, self.bottom_size)
        for block in self.blocks:
            h = block(h, label)
        return torch.tanh(self.conv(relu(self.norm(h))))
