"""Weight and Frobenius normalisation against what the paper says of their singular values, and against torch."""

import pytest
import torch
from torch import nn

from sngan_train.models.frobenius_norm import FrobeniusNorm
from sngan_train.models.layers import Convolution, Linear, TransposedConvolution
from sngan_train.models.weight_norm import WeightNorm
from sngan_train.models.weight_rule import PLAIN, RuledLayer, weight_layers

RTOL = 1e-5  # float32 sums of a few hundred squares


def squared_singular_values(layer: RuledLayer) -> torch.Tensor:
    matrix = layer.weight_matrix(layer.normalized_weight().detach())
    return torch.linalg.svdvals(matrix.double()).square()


@pytest.mark.parametrize(
    "make",
    [
        lambda rule: Linear(20, 12, rule),
        lambda rule: Convolution(5, 12, 3, rule),
        lambda rule: TransposedConvolution(5, 12, rule),
    ],
)
def test_sums_of_squared_singular_values_are_the_papers(make) -> None:
    """Equation 13: the number of outputs under weight norm; 1 under the Frobenius norm."""
    torch.manual_seed(0)
    assert squared_singular_values(make(WeightNorm())).sum().item() == pytest.approx(12.0, rel=RTOL)
    assert squared_singular_values(make(FrobeniusNorm())).sum().item() == pytest.approx(1.0, rel=RTOL)


def test_weight_norm_is_torchs_with_a_gain_of_one() -> None:
    torch.manual_seed(1)
    ours = Convolution(4, 8, 3, WeightNorm())
    theirs = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3, padding=1))
    with torch.no_grad():
        theirs.parametrizations.weight.original1.copy_(ours.weight)
        theirs.parametrizations.weight.original0.fill_(1.0)
        theirs.bias.copy_(ours.bias)
    x = torch.randn(2, 4, 6, 6)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    weights = torch.randn_like(ours(x))
    (ours(x) * weights).sum().backward()
    (theirs(x) * weights).sum().backward()
    assert torch.allclose(ours.weight.grad, theirs.parametrizations.weight.original1.grad, atol=1e-5)


def test_scaling_the_raw_weight_changes_nothing() -> None:
    for rule in (WeightNorm(), FrobeniusNorm()):
        layer = Linear(7, 5, rule)
        before = layer.normalized_weight().detach().clone()
        with torch.no_grad():
            layer.weight.mul_(3.0)
        assert torch.allclose(layer.normalized_weight(), before, rtol=RTOL)


def test_the_plain_rule_is_the_weight_and_knows_no_sigma() -> None:
    layer = Linear(3, 2, PLAIN)
    assert layer.normalized_weight() is layer.weight
    assert [name for name, _ in weight_layers(nn.Sequential(layer, nn.ReLU()))] == ["0"]
    with pytest.raises(TypeError):
        layer.estimated_sigma()
