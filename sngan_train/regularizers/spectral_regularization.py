"""Spectral norm regularisation: ½ Σ σ(W)² is penalised and W̄ = W.

Source: Yoshida & Miyato 2017, equation 2. Miyato et al. 2018, section 2.1, set their normalisation apart from it: this
one's gradient does not depend on the data. σ is estimated as for normalisation, one power iteration an update.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan_train.models.spectral_norm import spectral_layers


def spectral_penalty(network: nn.Module) -> Tensor:
    """The penalty without its weight λ, a scalar."""
    return 0.5 * torch.stack([layer.estimated_sigma().square() for _, layer in spectral_layers(network)]).sum()
