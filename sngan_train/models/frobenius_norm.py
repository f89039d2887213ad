"""Frobenius normalisation: Σ σ_t(W̄)² = 1.

W̄ = W / ‖W‖_F. Source: Miyato et al. 2018, section 3 and appendix E (table 7, where it collapsed).
"""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.linalg import vector_norm

from sngan_train.models.spectral_norm import NORM_FLOOR
from sngan_train.models.weight_rule import RuledLayer, WeightRule


@dataclasses.dataclass(frozen=True)
class FrobeniusNorm(WeightRule):
    """The rule; it keeps nothing."""

    def normalized_weight(self, layer: RuledLayer) -> Tensor:
        """W divided by the root of the sum of its squared entries."""
        normalized: Tensor = layer.weight / vector_norm(layer.weight).clamp_min(NORM_FLOOR)
        return normalized
