"""What must not pass unseen: numbers that are none stop a run, signs of collapse warn.

Nothing here reads or writes; the loop and the log feed it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from sngan_train.errors import DivergenceError

# Hinge and non-saturating losses are sums of two terms above 0. At 0.01 a hinge leaves practically no image inside the
# margin, and a non-saturating discriminator gives real and fake 99.5 % each. A whole run of digits stays above 0.4.
LOSS_FLOORS = {"hinge": 0.01, "non-saturating": 0.01}  # the Wasserstein loss has no floor
FLOOR_RECORDS = 10  # one easy batch is chance, ten records in a row are not
# Mean over pixels of the standard deviation over latents, on the scale -1 ... 1: one grey level is 2/255 = 0.008, so
# below this the images of a class look the same. Real digits have 0.25 to 0.38 in a class, generated ones 0.15 or more.
SPREAD_FLOOR = 0.01
NAMES_SHOWN = 5


def check_losses(
    step: int, losses: Mapping[str, float], networks: Mapping[str, nn.Module], last_checkpoint: Path | None
) -> None:
    """Raise DivergenceError, with the place and what to do, if one of `losses` is no finite number.

    The named `networks` are looked through only then, in the given order.
    """
    for name, value in losses.items():
        if not math.isfinite(value):
            raise _divergence(f"the {name.replace('_', ' ')} became {value}", step, networks, last_checkpoint)


def check_weights(step: int, networks: Mapping[str, nn.Module], last_checkpoint: Path | None) -> None:
    """Raise DivergenceError if a parameter or a buffer of the named `networks` is not finite.

    For before they are saved or decomposed: a step whose loss was finite may have spoilt them.
    """
    for name, network in networks.items():
        if nonfinite_tensors(network, gradients=False):
            raise _divergence(f"the {name}'s weights stopped being finite", step, networks, last_checkpoint)


@torch.no_grad()
def nonfinite_tensors(network: nn.Module, *, gradients: bool = True) -> list[str]:
    """Names of the parameters and buffers that hold a NaN or an infinity, in the order of the network's layers.

    A parameter that is finite itself and has a gradient that is not is told as "gradient of NAME".
    """
    bad = []
    for name, tensor in itertools.chain(network.named_parameters(), network.named_buffers()):
        if not bool(torch.isfinite(tensor).all()):
            bad.append(name)
        elif gradients and tensor.grad is not None and not bool(torch.isfinite(tensor.grad).all()):
            bad.append(f"gradient of {name}")
    return bad


class CollapseWatch:
    """Says once when a sign of collapse begins, and again only if it went away in between.

    Fed with every record of a run; each method gives the warning to show, or None.
    """

    def __init__(self, loss: str) -> None:
        """Watch a run with the adversarial loss `loss`, a name of `config.LOSSES`."""
        self._floor = LOSS_FLOORS.get(loss, -math.inf)
        self._records_at_floor = 0
        self._alike: set[str] = set()

    def discriminator_loss(self, value: float) -> str | None:
        """The discriminator's loss at the next record."""
        self._records_at_floor = self._records_at_floor + 1 if value <= self._floor else 0
        if self._records_at_floor != FLOOR_RECORDS:
            return None
        return (
            f"the discriminator's loss is at its floor (at most {self._floor} in {FLOOR_RECORDS} records in a row): it "
            "tells every real image from every fake, and the generator has little to learn from. In another run, lower "
            "optimizer.discriminator_learning_rate or optimizer.critic_steps, or set training.augmentation"
        )

    def latent_spread(self, spread: Mapping[str, float]) -> str | None:
        """By class, how much its images differ: see `sampling.latent_spread`."""
        alike = {name for name, value in spread.items() if value < SPREAD_FLOOR}
        begun = [name for name in spread if name in alike - self._alike]
        self._alike = alike
        if not begun:
            return None
        more = f" and {len(begun) - NAMES_SHOWN} more" if len(begun) > NAMES_SHOWN else ""
        return (
            f"the images of {', '.join(begun[:NAMES_SHOWN])}{more} hardly depend on the latent (spread below "
            f"{SPREAD_FLOOR}): the generator has collapsed there. If it stays so, start another run with more "
            "optimizer.critic_steps, a lower optimizer.generator_learning_rate or a higher spectral_norm.lipschitz"
        )


def _divergence(
    what: str, step: int, networks: Mapping[str, nn.Module], last_checkpoint: Path | None
) -> DivergenceError:
    places = []
    for name, network in networks.items():
        bad = nonfinite_tensors(network)
        if bad:
            others = f" (and {len(bad) - 1} more of the {name}'s tensors)" if len(bad) > 1 else ""
            places.append(f"{name}: {bad[0]}{others}")
    where = f"the first that are not finite: {'; '.join(places)}" if places else "all weights and gradients are finite"
    kept = f"the last good checkpoint is {last_checkpoint}" if last_checkpoint else "no checkpoint was written"
    return DivergenceError(
        f"{what} at step {step}; {where}; {kept}. Going on from it would end the same way: start another run (--run) "
        "with lower optimizer.generator_learning_rate and optimizer.discriminator_learning_rate, or with "
        "training.precision=float32"
    )
