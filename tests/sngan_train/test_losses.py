import pytest
import torch

from sngan_train.losses import hinge_discriminator_loss, hinge_generator_loss


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    # max(0, 1 - D(x)) = 0, 0.5, 2; max(0, 1 + D(G)) = 0, 1
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(2.5 / 3 + 0.5, rel=1e-6)
    assert hinge_generator_loss(fake).item() == 1.5
