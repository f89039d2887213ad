"""Orthonormal regularisation: Σ ‖W Wᵀ - I‖²_F over the weights.

Source: Brock et al. 2016; Miyato et al. 2018, equation 14, together with an orthogonal start (`models`). Of W Wᵀ and
WᵀW the smaller is taken: the larger cannot become the identity, and the two differ by a constant. The paper
does not give the weight of the term.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan_train.models import weight_layers


def orthonormal_penalty(network: nn.Module) -> Tensor:
    """The penalty without its weight, a scalar."""
    terms = []
    for _, layer in weight_layers(network):
        matrix = layer.weight_matrix(layer.weight)
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.t()
        gram = matrix @ matrix.t()
        terms.append((gram - torch.eye(len(gram), device=gram.device)).square().sum())
    return torch.stack(terms).sum()
