"""Gradient penalty: E (‖∇D(x̂)‖₂ - 1)² at points x̂ = ε·x̃ + (1 - ε)·x between real and generated images.

Source: Gulrajani et al. 2017, equation 3; Miyato et al. 2018, section 3, with λ = 10. With the Wasserstein loss it is
the paper's WGAN-GP, with the non-saturating one its GAN-GP.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sngan_train.models import Discriminator


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor
) -> Tensor:
    """The penalty without its weight, a scalar, differentiable in the discriminator's parameters.

    Args:
        discriminator: is called uncompiled, as a compiled backward pass cannot be differentiated again.
        real: float32 (N, C, S, S).
        fake: of the same shape.
        labels: int64 (N,), of the real images; a point between images of two classes has the real one's.
        epsilon: U(0, 1), (N, 1, 1, 1).
    """
    with torch.autocast(real.device.type, enabled=False):  # a norm of gradients needs more than bfloat16's digits
        between = (epsilon * fake + (1.0 - epsilon) * real).requires_grad_(True)
        logits = discriminator.forward(between, labels)
        (gradient,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
        norms = gradient.flatten(1).norm(dim=1)  # (N,)
        penalty: Tensor = (norms - 1.0).square().mean()
        return penalty
