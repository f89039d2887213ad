"""Penalties against closed forms, and clipping against what it promises."""

import pytest
import torch
from torch import Tensor, nn

from sngan_train.config import RunConfig
from sngan_train.models import Discriminator, build_discriminator, weight_layers
from sngan_train.models.layers import Convolution, Linear
from sngan_train.models.spectral_norm import SpectralNorm, SpectralRole, power_iteration
from sngan_train.models.weight_rule import PLAIN
from sngan_train.regularizers.gradient_penalty import gradient_penalty
from sngan_train.regularizers.orthonormal import orthonormal_penalty
from sngan_train.regularizers.spectral_regularization import spectral_penalty
from sngan_train.regularizers.weight_clipping import clip_weights

RTOL = 1e-4  # float32


class Quadratic(Discriminator):
    """D(x) = a·x + ½ b·‖x‖², whose gradient a + b·x is known."""

    def __init__(self, a: Tensor, b: float) -> None:
        super().__init__("none")
        self.a = nn.Parameter(a)
        self.b = nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        return flat @ self.a + 0.5 * self.b * flat.square().sum(dim=1)


def test_gradient_penalty_is_the_closed_form_and_trains() -> None:
    torch.manual_seed(0)
    discriminator = Quadratic(torch.randn(12), 0.7)
    real, fake = torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)
    epsilon = torch.rand(5, 1, 1, 1)
    penalty = gradient_penalty(discriminator, real, fake, torch.zeros(5, dtype=torch.int64), epsilon)
    between = (epsilon * fake + (1 - epsilon) * real).flatten(1)
    a, b = discriminator.a.detach().requires_grad_(), discriminator.b.detach().requires_grad_()
    expected = ((a + b * between).norm(dim=1) - 1).square().mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=RTOL)
    penalty.backward()
    expected.backward()
    assert torch.allclose(discriminator.a.grad, a.grad, rtol=RTOL)
    assert discriminator.b.grad.item() == pytest.approx(b.grad.item(), rel=RTOL)


def test_orthonormal_penalty_is_zero_for_orthonormal_weights_and_counts_the_smaller_gram() -> None:
    torch.manual_seed(1)
    wide, tall = Linear(9, 4, PLAIN), Linear(4, 9, PLAIN)
    for layer in (wide, tall):
        nn.init.orthogonal_(layer.weight)
    assert orthonormal_penalty(nn.Sequential(wide, tall)).item() == pytest.approx(0.0, abs=1e-9)
    with torch.no_grad():
        wide.weight.mul_(2.0)
    assert orthonormal_penalty(nn.Sequential(wide, tall)).item() == pytest.approx(4 * (4 - 1) ** 2, rel=RTOL)
    values = torch.linalg.svdvals(torch.randn(4, 9))
    left, _, right = torch.linalg.svd(torch.randn(4, 9), full_matrices=False)
    with torch.no_grad():
        wide.weight.copy_(left @ values.diag() @ right)
    expected = (values.square() - 1).square().sum().item()
    assert orthonormal_penalty(wide).item() == pytest.approx(expected, rel=RTOL)


def test_orthonormal_networks_start_orthonormal() -> None:
    config = RunConfig.from_dict({"discriminator": {"channels": 8, "normalization": "orthonormal"}})
    assert orthonormal_penalty(build_discriminator(config, 3)).item() == pytest.approx(0.0, abs=1e-6)


def test_spectral_penalty_is_half_the_sum_of_squared_sigmas() -> None:
    torch.manual_seed(2)
    rule = SpectralNorm(role=SpectralRole.REGULARIZE)
    network = nn.Sequential(Linear(9, 6, rule), Linear(6, 4, rule))
    power_iteration(network, 500)
    penalty = spectral_penalty(network)
    svds = [torch.linalg.svd(layer.weight.detach()) for _, layer in weight_layers(network)]
    assert penalty.item() == pytest.approx(0.5 * sum(float(s[0]) ** 2 for _, s, _ in svds), rel=RTOL)
    penalty.backward()
    left, values, right = svds[0]
    expected = values[0] * torch.outer(left[:, 0], right[0])  # d(½σ²)/dW = σ u vᵀ
    assert torch.allclose(network[0].weight.grad, expected, atol=1e-3)


def test_clipping_cuts_the_convolutions_and_nothing_else() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(Convolution(3, 4, 3, PLAIN), nn.Flatten(), Linear(64, 1, PLAIN))
    with torch.no_grad():
        network[0].bias.fill_(5.0)
    weight, linear = network[0].weight.detach().clone(), network[2].weight.detach().clone()
    clip_weights(network, 0.01)
    assert torch.equal(network[0].weight, weight.clamp(-0.01, 0.01))
    assert network[0].weight.abs().max().item() == pytest.approx(0.01)
    assert torch.equal(network[2].weight, linear)
    assert torch.equal(network[0].bias, torch.full((4,), 5.0))
