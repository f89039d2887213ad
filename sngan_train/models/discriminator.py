"""Projection discriminator.

D(x, y) = ψ(φ(x)) + ⟨V_y, φ(x)⟩ with φ the sum-pooled features, ψ linear and V the class embedding, every weight
spectrally normalised. Source: Miyato & Koyama 2018, equation 3; Miyato et al. 2018, table 4.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from sngan_train.models.blocks import DiscriminatorBlock, FirstDiscriminatorBlock
from sngan_train.models.layers import Embedding, Linear
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import WeightRule


class Discriminator(nn.Module):
    """Image and label → one logit."""

    def __init__(
        self, *, channels: int, image_channels: int, num_classes: int, rule: WeightRule, form: ResamplingForm
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            FirstDiscriminatorBlock(image_channels, channels, rule, form),
            DiscriminatorBlock(channels, channels, rule, form, downsamples=True),
            DiscriminatorBlock(channels, channels, rule, form, downsamples=False),
            DiscriminatorBlock(channels, channels, rule, form, downsamples=False),
        )
        self.linear = Linear(channels, 1, rule, bias=False)  # the official code's head has none at 32 pixels
        self.class_embedding = Embedding(num_classes, channels, rule)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(N, C, S, S), (N,) int64 → (N,) logits, float32."""
        features = relu(self.blocks(x)).float().sum(dim=(2, 3))  # (N, channels)
        projection = (self.class_embedding(label) * features).sum(dim=1)
        logits: Tensor = self.linear(features)[:, 0].float() + projection
        return logits
