"""The standard CNN, in two variants that are both cited as the paper's.

`paper`: table 3 as printed. `chainer-gan-lib`: the code that the authors name for the table's standard-CNN rows, whose
generator has batch norm and ReLU after the linear layer, and whose discriminator widens one convolution earlier and
has leaky ReLUs of slope 0.2. Both start from N(0, 0.02²), the code's choice; table 3 gives none.
"""

from __future__ import annotations

import enum
import functools
import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from sngan_train.models.discriminator import Discriminator
from sngan_train.models.feature_norm import FeatureNorm
from sngan_train.models.generator import Generator
from sngan_train.models.layers import Convolution, Linear, TransposedConvolution, generator_batch_norm
from sngan_train.models.weight_rule import WeightRule

normal = functools.partial(nn.init.normal_, std=0.02)
RESAMPLING_FACTOR = 8  # between the image and the smallest feature map
GENERATOR_WIDTHS = (8, 4, 2, 1)


class Variant(enum.Enum):
    """Which of the two descriptions of the network."""

    PAPER = "cnn"
    CHAINER_GAN_LIB = "cnn-chainer-gan-lib"


# Widths of the discriminator's convolutions, in multiples of the base width; 3×3 and 4×4 (stride 2) alternate.
DISCRIMINATOR_WIDTHS = {
    Variant.PAPER: (1, 1, 2, 2, 4, 4, 8),
    Variant.CHAINER_GAN_LIB: (1, 2, 2, 4, 4, 8, 8),
}
LEAKY_SLOPES = {Variant.PAPER: 0.1, Variant.CHAINER_GAN_LIB: 0.2}


class CNNGenerator(Generator):
    """linear, three transposed convolutions with BN-ReLU, a 3×3 convolution, tanh."""

    def __init__(
        self,
        *,
        variant: Variant,
        latent_dim: int,
        channels: int,
        image_size: int,
        image_channels: int,
        num_classes: int,
        rule: WeightRule,
    ) -> None:
        """`channels` is the width before the last convolution (64 in the paper), `num_classes` 0 is unconditional."""
        super().__init__(latent_dim=latent_dim, conditional=num_classes > 0)
        self.bottom_size = image_size // RESAMPLING_FACTOR
        widths = [channels * multiple for multiple in GENERATOR_WIDTHS]
        self.linear = Linear(latent_dim, widths[0] * self.bottom_size**2, rule, initializer=normal)
        self.first_norm: nn.Module | None = None
        if variant is Variant.CHAINER_GAN_LIB:
            self.first_norm = generator_batch_norm(widths[0], num_classes)
        self.convs = nn.ModuleList(
            TransposedConvolution(wide, narrow, rule, initializer=normal) for wide, narrow in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(generator_batch_norm(width, num_classes) for width in widths[1:])
        self.conv = Convolution(widths[-1], image_channels, 3, rule, initializer=normal)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, latent_dim) float32, (N,) int64 → (N, image_channels, S, S) in [-1, 1]."""
        h = self.linear(z).view(len(z), -1, self.bottom_size, self.bottom_size)
        if self.first_norm is not None:
            h = relu(self.first_norm(h, label))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = relu(norm(conv(h), label))
        return torch.tanh(self.conv(h))


class CNNDiscriminator(Discriminator):
    """Seven convolutions with leaky ReLUs, feature normalisation after all but the first, a linear layer."""

    def __init__(
        self,
        *,
        variant: Variant,
        channels: int,
        image_size: int,
        image_channels: int,
        num_classes: int,
        conditioning: str,
        rule: WeightRule,
        feature_norm: FeatureNorm,
    ) -> None:
        """`channels` is the first convolution's width (64 in the paper)."""
        super().__init__(conditioning)
        self.slope = LEAKY_SLOPES[variant]
        widths = [image_channels, *(channels * multiple for multiple in DISCRIMINATOR_WIDTHS[variant])]
        self.convs = nn.ModuleList(
            Convolution(num_inputs, num_outputs, 4 if number % 2 else 3, rule, initializer=normal)
            for number, (num_inputs, num_outputs) in enumerate(itertools.pairwise(widths))
        )
        self.norms = nn.ModuleList([nn.Identity(), *(feature_norm.layer(width) for width in widths[2:])])
        self._add_head(
            widths[-1] * (image_size // RESAMPLING_FACTOR) ** 2, num_classes, rule, bias=True, initializer=normal
        )

    def features(self, x: Tensor, label: Tensor | None) -> Tensor:
        """(N, C, S, S), ignored → (N, last width · pixels of the last map)."""
        h = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = leaky_relu(norm(conv(h)), self.slope)
        return h.flatten(1)
