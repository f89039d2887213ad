"""Adversarial losses: functions of logits, to be minimised."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-V_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), a scalar.

    Source: Miyato et al. 2018, equation 16 (sign changed: the paper maximises).
    """
    return relu(1.0 - real_logits).mean() + relu(1.0 + fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """-E D(G(z)), a scalar. Source: Miyato et al. 2018, equation 17."""
    return -fake_logits.mean()
