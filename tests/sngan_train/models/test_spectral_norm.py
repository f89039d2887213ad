"""σ against the SVD, its gradient against the paper's closed form, and both against torch's parametrization."""

import pytest
import torch
from torch import nn

from sngan_train.models.layers import Convolution, Embedding, Linear, TransposedConvolution
from sngan_train.models.spectral_norm import (
    SigmaSource,
    SpectralNorm,
    SpectralRole,
    exact_sigma,
    power_iteration,
    set_exact_sigma,
    spectral_layers,
)
from sngan_train.models.weight_rule import PLAIN

CONVERGED_RTOL = 1e-4  # the power iteration's fixed point in float32
GRADIENT_ATOL = 1e-5  # float32, gradients of order 1
POWER = SpectralNorm()
FIXED = SpectralNorm(source=SigmaSource.FIXED)


def layers(rule: SpectralNorm) -> dict[str, nn.Module]:
    return {
        "linear": Linear(20, 12, rule),
        "convolution": Convolution(5, 12, 3, rule),
        "pointwise": Convolution(5, 12, 1, rule),
        "strided": Convolution(5, 12, 4, rule),
        "transposed": TransposedConvolution(5, 12, rule),
        "embedding": Embedding(7, 12, rule),
    }


KINDS = ("linear", "convolution", "pointwise", "strided", "transposed", "embedding")


def as_matrix(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """Outputs × everything else, written again: torch keeps a transposed convolution's outputs second."""
    return weight.permute(1, 0, 2, 3).reshape(12, -1) if kind == "transposed" else weight.reshape(len(weight), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_converges_to_the_largest_singular_value(kind: str) -> None:
    torch.manual_seed(0)
    layer = layers(POWER)[kind]
    power_iteration(layer, 500)
    expected = torch.linalg.svdvals(as_matrix(layer.weight.detach(), kind).double())[0]
    assert layer.estimated_sigma().item() == pytest.approx(expected.item(), rel=CONVERGED_RTOL)
    normalized = as_matrix(layer.normalized_weight().detach(), kind)
    assert torch.linalg.svdvals(normalized)[0].item() == pytest.approx(1.0, rel=CONVERGED_RTOL)


def test_gradient_is_the_papers_equation_12() -> None:
    """∂V/∂W = (Ê[δhᵀ] - λ u₁v₁ᵀ) / σ with λ = Ê[δᵀ(W̄h)], written out by hand for V = mean of c·W̄h."""
    torch.manual_seed(1)
    layer = Linear(9, 6, POWER, bias=False)
    power_iteration(layer, 200)
    h, c = torch.randn(32, 9), torch.randn(32, 6)
    (c * layer(h)).sum(dim=1).mean().backward()

    left, singular, right = torch.linalg.svd(layer.weight.detach())
    sigma, u1, v1 = singular[0], left[:, 0], right[0]
    normalized = layer.weight.detach() / sigma
    mean_outer = (c[:, :, None] * h[:, None, :]).mean(dim=0)
    adaptive = (c * (h @ normalized.T)).sum(dim=1).mean()
    expected = (mean_outer - adaptive * torch.outer(u1, v1)) / sigma
    assert torch.allclose(layer.weight.grad, expected, atol=GRADIENT_ATOL)
    # The second term is not a trifle that the tolerance would swallow.
    assert (adaptive * torch.outer(u1, v1)).abs().max() > 100 * GRADIENT_ATOL


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torchs_parametrization_on_equal_state(kind: str) -> None:
    torch.manual_seed(2)
    ours = layers(POWER)[kind]
    theirs = nn.utils.parametrizations.spectral_norm(layers(PLAIN)[kind])
    with torch.no_grad():
        theirs.parametrizations.weight.original.copy_(ours.weight)
        if kind != "embedding":
            theirs.bias.copy_(ours.bias)
        theirs.parametrizations.weight[0]._u.copy_(ours.u)
        theirs.parametrizations.weight[0]._v.copy_(ours.v)
    theirs.eval()  # frozen, so that both use the same u and v
    inputs = {"linear": torch.randn(3, 20), "embedding": torch.tensor([0, 3, 6, 3])}
    x = inputs.get(kind, torch.randn(3, 5, 6, 6))
    weights = torch.randn_like(ours(x))
    assert torch.allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    (ours(x) * weights).sum().backward()
    (theirs(x) * weights).sum().backward()
    expected = theirs.parametrizations.weight.original.grad
    assert (ours.weight.grad - expected).abs().max() < GRADIENT_ATOL * expected.abs().max()


def test_learned_gain_starts_as_the_plain_network_and_learns() -> None:
    torch.manual_seed(6)
    layer = Convolution(3, 8, 3, SpectralNorm(role=SpectralRole.NORMALIZE_WITH_GAIN))
    power_iteration(layer, 500)
    assert torch.allclose(layer.normalized_weight(), layer.weight, rtol=CONVERGED_RTOL)
    layer(torch.randn(2, 3, 5, 5)).square().sum().backward()
    assert layer.gain.grad is not None
    assert layer.gain.grad.abs() > 0
    with torch.no_grad():
        layer.gain.fill_(3.0)
        layer.weight.mul_(7.0)
    assert exact_sigma(layer.normalized_weight()).item() == pytest.approx(3.0, rel=CONVERGED_RTOL)


def test_for_regularization_the_weight_is_left_alone() -> None:
    layer = Linear(9, 6, SpectralNorm(role=SpectralRole.REGULARIZE))
    assert layer.normalized_weight() is layer.weight
    power_iteration(layer, 500)
    assert layer.estimated_sigma().item() == pytest.approx(exact_sigma(layer.weight).item(), rel=CONVERGED_RTOL)


def test_lipschitz_constant_is_the_norm_of_what_is_computed_with() -> None:
    torch.manual_seed(3)
    layer = Linear(10, 10, SpectralNorm(lipschitz=2.5))
    power_iteration(layer, 500)
    assert exact_sigma(layer.normalized_weight()).item() == pytest.approx(2.5, rel=CONVERGED_RTOL)


def test_u_and_v_move_only_when_told() -> None:
    layer = Linear(10, 10, POWER)
    before = layer.u.clone()
    layer.train()(torch.randn(2, 10))
    layer.eval()(torch.randn(2, 10))
    assert torch.equal(layer.u, before)
    power_iteration(layer)
    assert not torch.equal(layer.u, before)


def test_sigma_is_float32_under_autocast() -> None:
    torch.manual_seed(4)
    layer = Linear(64, 64, POWER)
    power_iteration(layer, 15)
    outside = layer.normalized_weight()
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer.normalized_weight()
        power_iteration(layer)
    assert inside.dtype is torch.float32
    assert torch.equal(inside, outside)
    assert layer.u.dtype is torch.float32


def test_fixed_sigma_is_the_svds_and_only_set_on_request() -> None:
    torch.manual_seed(5)
    network = nn.Sequential(Convolution(3, 8, 3, FIXED), Linear(8, 8, FIXED))
    set_exact_sigma(network)
    for _, layer in spectral_layers(network):
        assert layer.sigma.dtype is torch.float64
        assert exact_sigma(layer.normalized_weight()).item() == pytest.approx(1.0, rel=1e-6)
    before = network[1].sigma.clone()
    with torch.no_grad():
        network[1].weight.mul_(2.0)
    assert torch.equal(network[1].sigma, before)
