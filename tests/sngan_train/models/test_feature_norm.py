"""The discriminator's feature normalisations against torch's own modules with their gain held at one."""

import torch
from torch import nn

from sngan_train.models.feature_norm import BatchNormWithoutGain, FeatureNorm, LayerNormWithoutGain

ATOL = 1e-5  # float32


def test_batch_norm_without_gain_is_batch_norm_with_gain_one() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNormWithoutGain(4), nn.BatchNorm2d(4, eps=2e-5)
    nn.init.normal_(ours.bias)
    with torch.no_grad():
        theirs.bias.copy_(ours.bias)
    x = torch.randn(6, 4, 5, 5) * 3.0 + 1.0
    assert torch.allclose(ours(x), theirs(x), atol=ATOL)
    assert [name for name, _ in ours.named_parameters()] == ["bias"]


def test_layer_norm_without_gain_is_layer_norm_with_gain_one() -> None:
    torch.manual_seed(1)
    ours, theirs = LayerNormWithoutGain(4), nn.LayerNorm((4, 5, 5), eps=1e-6)
    nn.init.normal_(ours.bias)
    with torch.no_grad():
        theirs.bias.copy_(ours.bias[:, None, None].expand(4, 5, 5))
    x = torch.randn(6, 4, 5, 5) * 3.0 + 1.0
    assert torch.allclose(ours(x), theirs(x), atol=ATOL)
    assert [name for name, _ in ours.named_parameters()] == ["bias"]


def test_only_batch_norm_lets_images_of_a_batch_meet() -> None:
    torch.manual_seed(2)
    x = torch.randn(6, 4, 5, 5)
    for kind in FeatureNorm:
        layer = kind.layer(4)
        alone = layer(x[:3])
        together = layer(x)[:3]
        assert torch.allclose(alone, together, atol=ATOL) == (kind is not FeatureNorm.BATCH)
