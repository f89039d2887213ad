"""Training on a CUDA device against training on the processor. Not yet run on a GPU: skipped where there is none."""

from pathlib import Path

import pytest
import torch

from sngan_train.checkpoint import open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.loop import train
from sngan_train.noise import Noise
from sngan_train.objective import Objective
from sngan_train.runtime import choose_device
from sngan_train.state import TrainState
from sngan_train.steps import discriminator_step

pytestmark = pytest.mark.gpu
TF32_RTOL = 1e-2  # ten bits of mantissa in the convolutions


def test_a_run_trains_stops_and_goes_on(tiny_config: RunConfig, tiny_data: ImageData, tmp_path: Path) -> None:
    device = choose_device("cuda")
    train(tiny_config.override({"training": {"total_steps": 2}}), tiny_data, tmp_path, device, quiet=True)
    train(tiny_config.override({"training": {"compile": True}}), tiny_data, tmp_path, device, quiet=True)
    assert open_checkpoint(tmp_path).step == 4


def test_a_discriminator_update_is_the_processors(tiny_config: RunConfig) -> None:
    images, labels = torch.randn(6, 1, 16, 16).clamp(-1, 1), torch.arange(6) % 3
    losses = []
    reference = TrainState.create(tiny_config, 3, torch.device("cpu"), torch.float32)
    for device in (torch.device("cpu"), choose_device("cuda")):
        state = TrainState.create(tiny_config, 3, device, torch.float32)
        state.generator.load_state_dict(reference.generator.state_dict())
        state.discriminator.load_state_dict(reference.discriminator.state_dict())
        noise = Noise(generator=torch.Generator(device).manual_seed(0))
        # The two devices draw other fakes; the real images' logits are of the same weights.
        outcome = discriminator_step(state, Objective.of(tiny_config), images.to(device), labels.to(device), noise)
        losses.append(outcome.real_logit.item())
    assert losses[1] == pytest.approx(losses[0], rel=TF32_RTOL)
