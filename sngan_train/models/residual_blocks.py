"""Residual blocks, exactly those of the official code.

A 1×1 convolution commutes with nearest upsampling and with mean pooling, so each shortcut convolves at whichever
resolution is the smaller: the same values at a quarter of the work.
"""

from __future__ import annotations

import functools
import math

from torch import Tensor, nn
from torch.nn.functional import relu

from sngan_train.models.feature_norm import FeatureNorm
from sngan_train.models.layers import Convolution, Resampling, generator_batch_norm
from sngan_train.models.resampling import ResamplingForm, downsample, upsample
from sngan_train.models.weight_rule import WeightRule

# With a gain of √2 in the 3×3 convolutions, as in the official code; the shortcuts' is 1.
glorot = functools.partial(nn.init.xavier_uniform_, gain=math.sqrt(2.0))


class GeneratorBlock(nn.Module):
    """BN-ReLU-up-conv-BN-ReLU-conv, plus up-conv1×1; twice the resolution, hidden width = out."""

    def __init__(
        self, num_inputs: int, num_outputs: int, num_classes: int, rule: WeightRule, form: ResamplingForm
    ) -> None:
        """`num_classes` 0 is an unconditional block."""
        super().__init__()
        self.norm1 = generator_batch_norm(num_inputs, num_classes)
        self.conv1 = Convolution(
            num_inputs, num_outputs, 3, rule, initializer=glorot, resampling=Resampling.UP, form=form
        )
        self.norm2 = generator_batch_norm(num_outputs, num_classes)
        self.conv2 = Convolution(num_outputs, num_outputs, 3, rule, initializer=glorot)
        self.shortcut = Convolution(num_inputs, num_outputs, 1, rule)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(N, in, H, W), (N,) → (N, out, 2H, 2W)."""
        h = self.conv1(relu(self.norm1(x, labels)))
        h = self.conv2(relu(self.norm2(h, labels)))
        out: Tensor = h + upsample(self.shortcut(x))
        return out


class FirstDiscriminatorBlock(nn.Module):
    """conv-ReLU-conv-pool, plus pool-conv1×1; no ReLU before the image. Half the resolution."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        rule: WeightRule,
        form: ResamplingForm,
        feature_norm: FeatureNorm = FeatureNorm.NONE,
    ) -> None:
        super().__init__()
        self.conv1 = Convolution(num_inputs, num_outputs, 3, rule, initializer=glorot)
        self.norm = feature_norm.layer(num_outputs)
        self.conv2 = Convolution(
            num_outputs, num_outputs, 3, rule, initializer=glorot, resampling=Resampling.DOWN, form=form
        )
        self.shortcut = Convolution(num_inputs, num_outputs, 1, rule)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H/2, W/2)."""
        out: Tensor = self.conv2(relu(self.norm(self.conv1(x)))) + self.shortcut(downsample(x))
        return out


class DiscriminatorBlock(nn.Module):
    """[norm-]ReLU-conv-[norm-]ReLU-conv[-pool], plus [conv1×1[-pool]]; hidden width = in.

    The shortcut has a convolution where the width changes or the block downsamples.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        rule: WeightRule,
        form: ResamplingForm,
        feature_norm: FeatureNorm = FeatureNorm.NONE,
        *,
        downsamples: bool,
    ) -> None:
        super().__init__()
        self.downsamples = downsamples
        resampling = Resampling.DOWN if downsamples else Resampling.NONE
        self.norm1 = feature_norm.layer(num_inputs)
        self.conv1 = Convolution(num_inputs, num_inputs, 3, rule, initializer=glorot)
        self.norm2 = feature_norm.layer(num_inputs)
        self.conv2 = Convolution(num_inputs, num_outputs, 3, rule, initializer=glorot, resampling=resampling, form=form)
        self.shortcut: nn.Module = nn.Identity()
        if downsamples or num_inputs != num_outputs:
            self.shortcut = Convolution(num_inputs, num_outputs, 1, rule)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H', W')."""
        h = self.conv2(relu(self.norm2(self.conv1(relu(self.norm1(x))))))
        out: Tensor = h + self.shortcut(downsample(x) if self.downsamples else x)
        return out
