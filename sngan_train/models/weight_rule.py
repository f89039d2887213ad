"""How a layer's weight becomes the one that it computes with.

A layer keeps the raw weight W that the optimiser moves, and computes with W̄ = rule(W). Each rule is a small file
of its own: `spectral_norm`, `weight_norm`, `frobenius_norm`. A rule is a constant; what it has to remember (u, v, a
gain) it registers on the layer, so that the layer's state dict holds everything.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


class WeightRule:
    """The plain rule, W̄ = W, and the base of the others."""

    def prepare(self, layer: RuledLayer) -> None:
        """Register what the rule keeps on `layer`; called once, when the raw weight exists."""

    def normalized_weight(self, layer: RuledLayer) -> Tensor:
        """W̄ in the weight's own shape, float32, differentiable in W."""
        return layer.weight

    def estimated_sigma(self, layer: RuledLayer) -> Tensor:
        """σ as the rule uses it, a scalar; TypeError for a rule that has none."""
        raise TypeError(f"{type(self).__name__} knows no σ")


PLAIN = WeightRule()


class RuledLayer(nn.Module):
    """Mixin for a layer whose `weight` goes through a rule.

    Matrices are read as (outputs) × (everything else); `output_dim` says which dimension of the weight the outputs are.
    """

    weight: Tensor
    rule: WeightRule
    output_dim = 0

    def _set_rule(self, rule: WeightRule) -> None:
        """Call once the weight exists and is initialised."""
        self.rule = rule
        rule.prepare(self)

    def weight_matrix(self, weight: Tensor) -> Tensor:
        """`weight`, of this layer's shape, as (outputs, everything else)."""
        return weight.transpose(0, self.output_dim).flatten(1)

    def normalized_weight(self) -> Tensor:
        """The weight that the forward pass uses, float32, in the raw weight's shape."""
        return self.rule.normalized_weight(self)

    def estimated_sigma(self) -> Tensor:
        """σ as this layer's rule uses it, a scalar; TypeError for a rule that has none."""
        return self.rule.estimated_sigma(self)


def weight_layers(network: nn.Module) -> Iterator[tuple[str, RuledLayer]]:
    """(name, layer) of every layer of `network` with a weight that a rule may act on."""
    for name, layer in network.named_modules():
        if isinstance(layer, RuledLayer):
            yield name, layer
