"""A checkpoint of the real training loop, small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sngan_train.data import ImageData
from sngan_train.presets import find_preset


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 3 classes at 16 pixels, one channel; do not change it."""
    from sngan_train.loop import train

    config = find_preset("digits").override(
        {
            "generator": {"channels": 8, "latent_dim": 8},
            "discriminator": {"channels": 8},
            "spectral_norm": {"lipschitz": 1.5},  # not 1, so that a forgotten factor shows
            "training": {"total_steps": 4, "batch_size": 6, "precision": "float32"},
        }
    )
    generator = torch.Generator().manual_seed(0)
    data = ImageData(
        images=torch.randint(0, 256, (21, 1, 16, 16), dtype=torch.uint8, generator=generator),
        labels=torch.arange(21) % 3,
        class_names=("plain", "with space & 'quotes'", "Ünïcode 猫"),
        origin="random",
    )
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(config, data, run, torch.device("cpu"), quiet=True)
    return run
