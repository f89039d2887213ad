"""Adversarial losses: functions of logits, to be minimised.

D is the network's output before any sigmoid, N logits of real and N of generated images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import relu, softplus


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-V_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), a scalar.

    Source: Miyato et al. 2018, equation 16 (sign changed: the paper maximises).
    """
    return relu(1.0 - real_logits).mean() + relu(1.0 + fake_logits).mean()


def non_saturating_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-V = -E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))), a scalar.

    Source: Goodfellow et al. 2014; Miyato et al. 2018, equation 15 (sign changed).
    """
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def non_saturating_generator_loss(fake_logits: Tensor) -> Tensor:
    """-E log sigmoid(D(G(z))), a scalar. Source: Goodfellow et al. 2014, the "alternate cost" of Miyato et al. 2018."""
    return softplus(-fake_logits).mean()


def wasserstein_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E D(G(z)) - E D(x), a scalar; unbounded, so it needs a bound on D. Source: Arjovsky et al. 2017, equation 3."""
    return fake_logits.mean() - real_logits.mean()


def negative_mean_logit(fake_logits: Tensor) -> Tensor:
    """-E D(G(z)), a scalar: the generator's hinge and Wasserstein loss. Source: Miyato et al. 2018, equation 17."""
    return -fake_logits.mean()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Both players' losses."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    "hinge": Loss(discriminator=hinge_discriminator_loss, generator=negative_mean_logit),
    "non-saturating": Loss(discriminator=non_saturating_discriminator_loss, generator=non_saturating_generator_loss),
    "wasserstein": Loss(discriminator=wasserstein_discriminator_loss, generator=negative_mean_logit),
}
