"""What every discriminator is: features of the image, then a head.

D(x, y) = ψ(φ(x)) + ⟨V_y, φ(x)⟩ with φ the features, ψ linear and V the class embedding; without the second term unless
the discriminator is of the projection kind. Source: Miyato & Koyama 2018, equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan_train.models.layers import Embedding, Initializer, Linear
from sngan_train.models.weight_rule import WeightRule


class Discriminator(nn.Module):
    """Image, and label if conditional → one logit. A network adds `features`."""

    def __init__(self, conditioning: str) -> None:
        super().__init__()
        assert conditioning in ("none", "projection", "concat")
        self.conditioning = conditioning

    def _add_head(
        self,
        num_features: int,
        num_classes: int,
        rule: WeightRule,
        *,
        bias: bool,
        initializer: Initializer = nn.init.xavier_uniform_,
    ) -> None:
        self.linear = Linear(num_features, 1, rule, bias=bias, initializer=initializer)
        if self.conditioning == "projection":
            self.class_embedding = Embedding(num_classes, num_features, rule, initializer=initializer)

    def features(self, x: Tensor, label: Tensor | None) -> Tensor:
        """φ: (N, C, S, S), (N,) int64 → (N, number of features)."""
        raise NotImplementedError

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, S, S), (N,) int64 → (N,) logits, float32; an unconditional discriminator ignores the label."""
        features = self.features(x, label)
        # The head costs nothing, and its products in bfloat16 would give the loss two digits.
        with torch.autocast(x.device.type, enabled=False):
            features = features.float()
            logits: Tensor = self.linear(features)[:, 0]
            if self.conditioning == "projection":
                logits = logits + (self.class_embedding(label) * features).sum(dim=1)
        return logits
