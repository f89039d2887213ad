"""Residual discriminator.

Source: Miyato et al. 2018, tables 4 to 6. The concat kind joins an embedding of the class to the features of an
inner block, as the paper's conditional ImageNet network does (table 6 c).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from sngan_train.models.discriminator import Discriminator
from sngan_train.models.feature_norm import FeatureNorm
from sngan_train.models.layers import Embedding
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.residual_blocks import DiscriminatorBlock, FirstDiscriminatorBlock
from sngan_train.models.resnet_shapes import RESNET_SHAPES
from sngan_train.models.weight_rule import WeightRule

CONCAT_EMBEDDING_DIM = 128  # table 6: "we embedded the integer label into 128 dimension"


class ResNetDiscriminator(Discriminator):
    """Image, and label if conditional → one logit."""

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        image_channels: int,
        num_classes: int,
        conditioning: str,
        rule: WeightRule,
        feature_norm: FeatureNorm,
        form: ResamplingForm,
    ) -> None:
        """`channels` is the base width."""
        super().__init__(conditioning)
        shape = RESNET_SHAPES[image_size]
        self.concat_after = shape.concat_after if conditioning == "concat" else 0
        widths = [channels * multiple for multiple in shape.discriminator_widths]
        self.blocks = nn.Sequential(FirstDiscriminatorBlock(image_channels, widths[0], rule, form, feature_norm))
        for number in range(1, len(widths)):
            joined = CONCAT_EMBEDDING_DIM if number == self.concat_after else 0
            self.blocks.append(
                DiscriminatorBlock(
                    widths[number - 1] + joined,
                    widths[number],
                    rule,
                    form,
                    feature_norm,
                    downsamples=number < shape.num_downsampling,
                )
            )
        self._add_head(widths[-1], num_classes, rule, bias=shape.head_bias)
        if conditioning == "concat":
            self.class_embedding = Embedding(num_classes, CONCAT_EMBEDDING_DIM, rule)

    def features(self, x: Tensor, label: Tensor | None) -> Tensor:
        """(N, C, S, S), (N,) int64 → (N, last width), the sum over all pixels."""
        h = x
        for number, block in enumerate(self.blocks):
            if number and number == self.concat_after:
                embedded = self.class_embedding(label).to(h.dtype)[:, :, None, None]  # (N, dim, 1, 1)
                h = torch.cat([h, embedded.expand(-1, -1, *h.shape[2:])], dim=1)
            h = block(h)
        return relu(h).float().sum(dim=(2, 3))
