"""Each loss by hand, and against torch's own cross entropy where there is one."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from sngan_train.config import LOSSES as LOSS_NAMES
from sngan_train.losses import LOSSES

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])


def test_hinge_by_hand() -> None:
    # max(0, 1 - D(x)) = 0, 0.5, 2; max(0, 1 + D(G)) = 0, 1
    assert LOSSES["hinge"].discriminator(REAL, FAKE).item() == pytest.approx(2.5 / 3 + 0.5, rel=1e-6)
    assert LOSSES["hinge"].generator(FAKE).item() == 1.5


def test_wasserstein_by_hand() -> None:
    assert LOSSES["wasserstein"].discriminator(REAL, FAKE).item() == pytest.approx(-1.5 - 0.5)
    assert LOSSES["wasserstein"].generator(FAKE).item() == 1.5


def test_non_saturating_is_binary_cross_entropy() -> None:
    loss = LOSSES["non-saturating"]
    expected = binary_cross_entropy_with_logits(REAL, torch.ones(3)) + binary_cross_entropy_with_logits(
        FAKE, torch.zeros(2)
    )
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(expected.item(), rel=1e-6)
    # The generator wants its images taken for real ones.
    assert loss.generator(FAKE).item() == pytest.approx(
        binary_cross_entropy_with_logits(FAKE, torch.ones(2)).item(), rel=1e-6
    )


def test_non_saturating_survives_large_logits() -> None:
    huge = torch.tensor([1e4, -1e4])
    assert torch.isfinite(LOSSES["non-saturating"].discriminator(huge, huge))


def test_the_config_knows_exactly_these() -> None:
    assert set(LOSSES) == set(LOSS_NAMES)
