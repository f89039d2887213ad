"""Weight normalisation without gain: every output's row of W has norm 1.

W̄_i = W_i / ‖W_i‖₂. Source: Salimans & Kingma 2016, equation 2, with γ = 1 as in Miyato et al. 2018, section 4.1; then
Σ σ_t(W̄)² is the number of outputs (equation 13 there).
"""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.linalg import vector_norm

from sngan_train.models.spectral_norm import NORM_FLOOR
from sngan_train.models.weight_rule import RuledLayer, WeightRule


@dataclasses.dataclass(frozen=True)
class WeightNorm(WeightRule):
    """The rule; it keeps nothing."""

    def normalized_weight(self, layer: RuledLayer) -> Tensor:
        """W with every output's row divided by its norm."""
        others = [dim for dim in range(layer.weight.dim()) if dim != layer.output_dim]
        norms = vector_norm(layer.weight, dim=others, keepdim=True)
        normalized: Tensor = layer.weight / norms.clamp_min(NORM_FLOOR)
        return normalized
