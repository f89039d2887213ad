"""Spectral normalisation: the one definition of σ.

A normalised layer computes with W̄ = K · W / σ(W), where σ(W) is the largest singular value of W read as a matrix
of (outputs) × (everything else) and K the Lipschitz constant (1 in the paper). Where σ comes from is the
layer's `SigmaSource`:

- POWER_ITERATION, for training: σ = uᵀWv with u, v the running estimates of the first singular vectors. They
  are constants of the graph, so the gradient flows through σ as in the paper's equation 12, and they move
  only in `power_iteration`, which the training loop calls immediately before each of a network's own updates.
- FIXED, for the averaged generator that is evaluated, exported and served: σ is the exact one in float64, set
  by `set_exact_sigma` and stored beside the weights.
- NONE: W̄ = W.

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

INITIAL_ITERATIONS = 15  # from a random start; torch's own parametrization takes as many
NORM_FLOOR = 1e-12  # keeps a zero weight from dividing by zero, as in the official code


class SigmaSource(enum.Enum):
    """Where a layer's σ comes from."""

    NONE = "none"
    POWER_ITERATION = "power iteration"
    FIXED = "fixed"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeightRule:
    """How a network's weights become the ones it computes with."""

    source: SigmaSource = SigmaSource.NONE
    lipschitz: float = 1.0


PLAIN = WeightRule()


class SpectrallyNormalized(nn.Module):
    """Mixin for a layer with a `weight` whose first dimension is its outputs.

    Buffers: `u` (outputs,) and `v` (inputs · kernel,), float32 unit vectors, under POWER_ITERATION;
    `sigma`, a float64 scalar, under FIXED; none otherwise.
    """

    weight: Tensor
    u: Tensor
    v: Tensor
    sigma: Tensor

    def _set_rule(self, rule: WeightRule) -> None:
        """Call once the weight exists."""
        self.rule = rule
        if rule.source is SigmaSource.POWER_ITERATION:
            rows, columns = self.weight.flatten(1).shape
            self.register_buffer("u", functional.normalize(torch.randn(rows), dim=0, eps=NORM_FLOOR))
            self.register_buffer("v", functional.normalize(torch.randn(columns), dim=0, eps=NORM_FLOOR))
        elif rule.source is SigmaSource.FIXED:
            self.register_buffer("sigma", torch.ones((), dtype=torch.float64))

    def estimated_sigma(self) -> Tensor:
        """σ as this layer uses it, a scalar; differentiable in the weight under POWER_ITERATION."""
        if self.rule.source is SigmaSource.FIXED:
            return self.sigma
        return torch.dot(self.u, torch.mv(self.weight.flatten(1), self.v))

    def normalized_weight(self) -> Tensor:
        """W̄ = K · W / σ, float32, in the weight's own shape."""
        if self.rule.source is SigmaSource.NONE:
            return self.weight
        # Autocast would take the products in bfloat16, whose σ is good to two digits.
        with torch.autocast(self.weight.device.type, enabled=False):
            scale = self.rule.lipschitz / self.estimated_sigma()
            normalized: Tensor = self.weight * scale.to(self.weight.dtype)
            return normalized

    @torch.no_grad()
    def iterate(self, iterations: int = 1) -> None:
        """Algorithm 1: v ← Wᵀu / ‖Wᵀu‖, then u ← Wv / ‖Wv‖, `iterations` times, in float32."""
        matrix = self.weight.flatten(1)
        with torch.autocast(self.weight.device.type, enabled=False):
            for _ in range(iterations):
                functional.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=NORM_FLOOR, out=self.v)
                functional.normalize(torch.mv(matrix, self.v), dim=0, eps=NORM_FLOOR, out=self.u)


def exact_sigma(weight: Tensor) -> Tensor:
    """The largest singular value of `weight` read as (outputs) × (everything else), by SVD in float64."""
    singular_values: Tensor = torch.linalg.svdvals(weight.detach().flatten(1).double())
    return singular_values[0]


def spectral_layers(network: nn.Module) -> Iterator[tuple[str, SpectrallyNormalized]]:
    """(name, layer) of every layer of `network` that is normalised."""
    for name, layer in network.named_modules():
        if isinstance(layer, SpectrallyNormalized) and layer.rule.source is not SigmaSource.NONE:
            yield name, layer


def power_iteration(network: nn.Module, iterations: int = 1) -> None:
    """Move u and v of every normalised layer of `network`; for networks under POWER_ITERATION."""
    for _, layer in spectral_layers(network):
        layer.iterate(iterations)


@torch.no_grad()
def set_exact_sigma(network: nn.Module) -> None:
    """Set σ of every normalised layer of `network` to the exact one; for networks under FIXED."""
    for _, layer in spectral_layers(network):
        layer.sigma.copy_(exact_sigma(layer.weight))
