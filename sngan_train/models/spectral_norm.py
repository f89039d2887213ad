"""Spectral normalisation: the one definition of σ.

W̄ = K · W / σ(W), where σ(W) is the largest singular value of W read as a matrix of (outputs) × (everything else) and K
the Lipschitz constant (1 in the paper). Where σ comes from is the rule's `SigmaSource`:

- POWER_ITERATION, for training: σ = uᵀWv with u, v the running estimates of the first singular vectors. They
  are constants of the graph, so the gradient flows through σ as in the paper's equation 12, and they move
  only in `power_iteration`, which the training loop calls immediately before each of a network's own updates.
- FIXED, for the averaged generator that is evaluated, exported and served: σ is the exact one in float64, set
  by `set_exact_sigma` and stored beside the weights.
- NONE stands for a network without spectral norm.

Source: Miyato et al. 2018, section 2.1 and algorithm 1. The official code iterates at every forward pass
instead; see docs/decisions/0003-definition-of-sigma.md.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from sngan_train.models.weight_rule import RuledLayer, WeightRule, weight_layers

INITIAL_ITERATIONS = 15  # from a random start; torch's own parametrization takes as many
NORM_FLOOR = 1e-12  # keeps a zero weight from dividing by zero, as in the official code


class SigmaSource(enum.Enum):
    """Where a layer's σ comes from."""

    NONE = "none"
    POWER_ITERATION = "power iteration"
    FIXED = "fixed"


class SpectralRole(enum.Enum):
    """What σ is for."""

    NORMALIZE = "normalize"  # W̄ = K · W / σ
    NORMALIZE_WITH_GAIN = "normalize with gain"  # W̄ = γ · W / σ, γ learned: the paper's appendix E
    REGULARIZE = "regularize"  # W̄ = W; σ is penalised: Yoshida & Miyato 2017


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralNorm(WeightRule):
    """The rule.

    On the layer: `u` (outputs,) and `v` (everything else,), float32 unit vectors, under POWER_ITERATION; `sigma`, a
    float64 scalar, under FIXED; `gain`, a parameter that starts at σ so that W̄ = W at first (as in the official
    code), with a learned gain.
    """

    source: SigmaSource = SigmaSource.POWER_ITERATION
    lipschitz: float = 1.0
    role: SpectralRole = SpectralRole.NORMALIZE

    def prepare(self, layer: RuledLayer) -> None:
        """Register u and v, or σ, and the gain."""
        if self.source is SigmaSource.FIXED:
            layer.register_buffer("sigma", torch.ones((), dtype=torch.float64))
        else:
            rows, columns = layer.weight_matrix(layer.weight).shape
            layer.register_buffer("u", functional.normalize(torch.randn(rows), dim=0, eps=NORM_FLOOR))
            layer.register_buffer("v", functional.normalize(torch.randn(columns), dim=0, eps=NORM_FLOOR))
        if self.role is SpectralRole.NORMALIZE_WITH_GAIN:
            sigma = exact_sigma(layer.weight_matrix(layer.weight))
            layer.register_parameter("gain", nn.Parameter(sigma.to(layer.weight.dtype)))

    def estimated_sigma(self, layer: RuledLayer) -> Tensor:
        """σ as the forward pass uses it; differentiable in the weight under POWER_ITERATION."""
        if self.source is SigmaSource.FIXED:
            sigma: Tensor = layer.get_buffer("sigma")
            return sigma
        return torch.dot(layer.get_buffer("u"), torch.mv(layer.weight_matrix(layer.weight), layer.get_buffer("v")))

    def normalized_weight(self, layer: RuledLayer) -> Tensor:
        """W̄ as `role` says."""
        if self.role is SpectralRole.REGULARIZE:
            return layer.weight
        # Autocast would take the products in bfloat16, whose σ is good to two digits.
        with torch.autocast(layer.weight.device.type, enabled=False):
            wanted = layer.get_parameter("gain") if self.role is SpectralRole.NORMALIZE_WITH_GAIN else self.lipschitz
            scale = wanted / self.estimated_sigma(layer)
            normalized: Tensor = layer.weight * scale.to(layer.weight.dtype)
            return normalized


def exact_sigma(matrix: Tensor) -> Tensor:
    """The largest singular value of `matrix` (outputs, everything else), by SVD in float64.

    A weight whose first dimension is its outputs may be given as it is.
    """
    singular_values: Tensor = torch.linalg.svdvals(matrix.detach().flatten(1).double())
    return singular_values[0]


def spectral_layers(network: nn.Module) -> Iterator[tuple[str, RuledLayer]]:
    """(name, layer) of every layer of `network` that has a σ."""
    for name, layer in weight_layers(network):
        if isinstance(layer.rule, SpectralNorm):
            yield name, layer


@torch.no_grad()
def power_iteration(network: nn.Module, iterations: int = 1) -> None:
    """Algorithm 1 on every layer of `network`, in float32: v ← Wᵀu / ‖Wᵀu‖, then u ← Wv / ‖Wv‖.

    All layers go together through the vector operations, and each weight is read where it lies: that takes a
    third to two thirds of the time of one layer after the other
    (docs/decisions/0003-definition-of-sigma.md).
    """
    layers = [layer for _, layer in spectral_layers(network)]
    if not layers:
        return
    matrices = [_matrix_in_place(layer) for layer in layers]
    u = [layer.get_buffer("u") for layer in layers]
    with torch.autocast(u[0].device.type, enabled=False):
        for _ in range(iterations):
            v = _normalized([torch.mv(matrix.t(), vector) for matrix, vector in zip(matrices, u, strict=True)])
            torch._foreach_copy_(
                u, _normalized([torch.mv(matrix, vector) for matrix, vector in zip(matrices, v, strict=True)])
            )
    for layer, vector in zip(layers, v, strict=True):
        if _is_channels_last(layer):
            vector = vector.view(-1, layer.weight.shape[1]).t().flatten()  # (kh·kw, in) → (in·kh·kw)
        layer.get_buffer("v").copy_(vector)


def _is_channels_last(layer: RuledLayer) -> bool:
    return layer.weight.dim() == 4 and layer.output_dim == 0 and not layer.weight.is_contiguous()


def _matrix_in_place(layer: RuledLayer) -> Tensor:
    """W as (outputs, everything else) without copying it, where its layout allows.

    The columns of a channels-last kernel then run (kh, kw, in) as they lie in memory; σ and u do not depend on it.
    """
    weight = layer.weight
    if _is_channels_last(layer):
        return weight.permute(0, 2, 3, 1).flatten(1)
    if weight.dim() == 4 and layer.output_dim == 1:
        return weight.permute(0, 2, 3, 1).flatten(0, 2).t()
    return weight.flatten(1)


def _normalized(vectors: list[Tensor]) -> list[Tensor]:
    norms = torch._foreach_norm(vectors)
    torch._foreach_clamp_min_(norms, NORM_FLOOR)
    return list(torch._foreach_div(vectors, norms))


@torch.no_grad()
def set_exact_sigma(network: nn.Module) -> None:
    """Set σ of every layer of `network` to the exact one; for networks under FIXED."""
    for _, layer in spectral_layers(network):
        layer.get_buffer("sigma").copy_(exact_sigma(layer.weight_matrix(layer.weight)))
