"""Weight clipping: after every update, each convolution's entries are cut to [-c, c].

Source: Arjovsky et al. 2017, algorithm 1; on the convolutions alone and with c = 0.01 as in Miyato et al. 2018,
section 4.1.
"""

from __future__ import annotations

import torch
from torch import nn

from sngan_train.models.layers import Convolution


@torch.no_grad()
def clip_weights(network: nn.Module, clip_at: float) -> None:
    """Cut the entries of every convolution's weight to [-clip_at, clip_at], in place; biases are left alone."""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.weight.clamp_(-clip_at, clip_at)
